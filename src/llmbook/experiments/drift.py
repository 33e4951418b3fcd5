"""Words in two times: how much of their company has changed, and how much changes by lot."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float, Int

from llmbook.datasets import sotu
from llmbook.word2vec import sentences

Pairs = Int[np.ndarray, " _"]
Counts = Float[np.ndarray, "words company"]
OfWords = Float[np.ndarray, " words"]
Texts = Bool[np.ndarray, " texts"]
WINDOW: Final = 4
EARLY: Final = 1880  # the last year of the early addresses
LATE: Final = 1934  # the first of the late ones
FEW: Final = 5  # draws are enough where only a mean is looked at


def pairs(
    texts: Sequence[Sequence[str]],
    words: Sequence[str],
    company: Sequence[str],
    window: int = WINDOW,
) -> list[Pairs]:
    """Which word stands near which, for each text: `word × len(company) + neighbour`, as often.

    Args:
        texts: Their words in order.
        words: Those that are asked about.
        company: Those that may stand beside them.
        window: The largest distance.

    Examples:
        >>> pairs([["a", "b", "a"]], ["a"], ["a", "b"], window=1)
        [array([1, 1])]
    """
    of_word = {word: number for number, word in enumerate(words)}
    of_company = {word: number for number, word in enumerate(company)}
    found = []
    for text in texts:
        left = np.array([of_word.get(word, -1) for word in text], dtype=np.int64)
        right = np.array([of_company.get(word, -1) for word in text], dtype=np.int64)
        codes = []
        for distance in range(1, min(window, len(text) - 1) + 1):
            for a, b in (
                (left[:-distance], right[distance:]),
                (left[distance:], right[:-distance]),
            ):
                both = (a >= 0) & (b >= 0)
                codes.append(a[both] * len(company) + b[both])
        found.append(np.concatenate(codes) if codes else np.zeros(0, dtype=np.int64))
    return found


def ppmi(counts: Counts) -> Counts:
    r"""How much more often than by chance each pair stands together, at least zero.

    $$\max\!\left(0,\; \ln \frac{P(w, c)}{P(w)\,P(c)}\right)$$

    Args:
        counts: Of each word with each of its company.

    Examples:
        >>> ppmi(np.array([[2.0, 0.0], [0.0, 2.0]])).round(2).tolist()
        [[0.69, 0.0], [0.0, 0.69]]

    Source:
        [Levy and Goldberg 2014][levy2014neural].
    """
    share = counts / max(counts.sum(), 1)
    chance = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    ratio = np.maximum(share, 1e-300) / np.maximum(chance, 1e-300)
    found: Counts = np.log(ratio).clip(0) * (share > 0)
    return found


def occurrences(
    near: Sequence[Pairs], late: Texts, shape: tuple[int, int]
) -> Float[np.ndarray, "2 words company"]:
    """How often each word stands beside each of its company, in two groups of texts.

    Args:
        near: As `pairs` gives it for each text.
        late: Which texts are in the second group.
        shape: How many words, and how many in their company.
    """
    sides = []
    for group in (~late, late):
        codes = np.concatenate([each for each, there in zip(near, group, strict=True) if there])
        sides.append(np.bincount(codes, minlength=shape[0] * shape[1]).reshape(shape))
    return np.stack(sides).astype(float)


def change(
    near: Sequence[Pairs],
    late: Texts,
    shape: tuple[int, int],
    most: OfWords | None = None,
    dice: np.random.Generator | None = None,
) -> OfWords:
    r"""One minus the cosine of each word's company in two groups of texts.

    The company is the same list in both, so nothing has to be turned to fit, as trained vectors
    have to be.

    Args:
        near: As `pairs` gives it for each text.
        late: Which texts are in the second group.
        shape: How many words, and how many in their company.
        most: Of each word, keep about as many pairs in either group and no more, drawn by lot:
            the fewer there are, the more of a change is chance. All, without.
        dice: For `most`.

    Returns:
        0 for the same company in the same proportions, 1 for no common one.
    """
    counts = occurrences(near, late, shape)
    if most is not None:
        share = np.minimum(1, most / np.maximum(counts.sum(axis=2), 1))
        dice = dice or np.random.default_rng(0)
        counts = dice.binomial(counts.astype(int), share[..., None]).astype(float)
    sides = [ppmi(each) for each in counts]
    lengths = [np.linalg.norm(side, axis=1) for side in sides]
    dot = (sides[0] * sides[1]).sum(axis=1)
    found: OfWords = 1 - dot / np.maximum(lengths[0] * lengths[1], 1e-12)
    return found


def measured(
    lots: int = 20, seed: int = 0, least: int = 100, without: str | None = None
) -> dict[str, Any]:
    """The words of the State of the Union until 1880 and since 1934, and the controls.

    Of each word as many pairs are kept in either group as the rarer time has: a word that only
    one time uses much would otherwise change less by lot, where both groups have many.

    Args:
        lots: How often the same addresses are dealt into two groups by lot, as large as the real
            ones: what changes then has nothing to do with time. As often, pairs are drawn.
            Of what else is measured, `FEW` times are enough.
        seed: Of the lots.
        least: How often a word must occur in each time.
        without: A regular expression: what to leave out of the addresses.

    Returns:
        "words", how often each is in the rarer time ("count"), its "change", its mean change "by
        lot" and the largest one ("most"); both once more with "all pairs", and where each word
        has "as few" as the rarest; "halves": the mean change between the first and the second
        half of the early and of the late addresses, each beside that by lot; for each word its
        strongest "company" in both times.
    """
    addresses = [a for a in sotu() if a.year <= EARLY or a.year >= LATE]
    late = np.array([address.year >= LATE for address in addresses])
    spoken = [re.sub(without, " ", a.text, flags=re.I) if without else a.text for a in addresses]
    texts = [[w for sentence in sentences(text) for w in sentence] for text in spoken]
    often = [Counter[str](), Counter[str]()]
    for text, then in zip(texts, late, strict=True):
        often[int(then)].update(text)
    rarer = {word: min(often[0][word], often[1][word]) for word in often[0]}
    words = sorted(word for word, count in rarer.items() if count >= least and len(word) > 2)
    company = sorted(word for word, count in rarer.items() if count >= least / 2)
    near, shape = pairs(texts, words, company), (len(words), len(company))
    dice = np.random.default_rng(seed)

    def both(
        near: Sequence[Pairs], second: Texts, most: OfWords | None, times: int
    ) -> Float[np.ndarray, "2 times words"]:
        """The change by `second`, and by lot."""
        real = [change(near, second, shape, most, dice) for _ in range(times)]
        dealt = [change(near, dice.permutation(second), shape, most, dice) for _ in range(times)]
        return np.array([real, dealt])

    def rarest(near: Sequence[Pairs], second: Texts) -> OfWords:
        """The pairs of each word where it has less."""
        found: OfWords = occurrences(near, second, shape).sum(axis=2).min(axis=0)
        return found

    most, few = rarest(near, late), min(lots, FEW)
    found = {"": both(near, late, most, lots), "all pairs": both(near, late, None, few)}
    found["as few"] = both(near, late, np.full_like(most, most.min()), few)
    means = {
        name: {"change": real.mean(axis=0).tolist(), "by lot": dealt.mean(axis=0).tolist()}
        for name, (real, dealt) in found.items()
    }
    halves = {}
    for name, group in (("early", ~late), ("late", late)):
        some = [each for each, there in zip(near, group, strict=True) if there]
        second = np.arange(len(some)) >= len(some) // 2
        halves[name] = both(some, second, rarest(some, second), few).mean(axis=(1, 2)).tolist()
    return {
        "words": words,
        "count": [rarer[word] for word in words],
        **means.pop(""),
        **means,
        "most": found[""][1].max(axis=0).tolist(),
        "halves": halves,
        "company": _strongest(near, late, shape, company),
    }


def excess(found: dict[str, Any]) -> OfWords:
    """Each word's change beyond what words that change as much by lot have on average.

    A straight line through all words says what a change by lot goes with; what is above it is a
    word's own, and not that of the language.

    Args:
        found: As `measured` gives it.
    """
    lot, real = np.array(found["by lot"]), np.array(found["change"])
    slope, height = np.polyfit(lot, real, 1)
    above: OfWords = real - (slope * lot + height)
    return above


def _strongest(
    near: Sequence[Pairs],
    late: Texts,
    shape: tuple[int, int],
    company: Sequence[str],
    count: int = 5,
) -> list[list[list[str]]]:
    """For each word, in both times, the company that it keeps most beyond chance.

    Pairs that occur less than five times are left out: their share is mostly chance.
    """
    both = []
    for counts in occurrences(near, late, shape):
        strength = np.where(counts >= 5, ppmi(counts), 0)
        best = np.argsort(-strength, axis=1, kind="stable")[:, :count]
        both.append(
            [
                [company[column] for column in row if strength[number, column] > 0]
                for number, row in enumerate(best)
            ]
        )
    return [list(each) for each in zip(*both, strict=True)]
