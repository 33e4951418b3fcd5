"""What word vectors know: similarity, analogies and categories, each as a number."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from llmbook.datasets import sotu, word_similarities
from llmbook.word2vec import Setup, nearest, sentences, train, vocabulary

Vectors = Float[np.ndarray, "words d_model"]

GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        kind: tuple(words.split())
        for kind, words in {
            "months": "january february march april may june july august"
            " september october november december",
            "metals": "gold silver iron copper steel lead",
            "countries": "france germany england spain mexico china japan russia",
            "states": "texas kansas louisiana california ohio virginia maryland",
            "numbers": "two three four five six seven eight nine ten twenty",
            "crops": "wheat cotton corn tobacco rice sugar wool",
        }.items()
    }
)
"""Words by category, for `categories`."""

EPOCHS: Final = (2, 5, 10)
"""How often `by_epochs` reads the addresses."""


def similarity(
    words: Sequence[str], vectors: Vectors, pairs: Iterable[tuple[str, str, float]]
) -> tuple[float, int]:
    """How well cosines put pairs of words into people's order: Spearman's rank correlation.

    Args:
        words: In the order of `vectors`.
        vectors: One for each word.
        pairs: Two words and how related people find them, as `llmbook.datasets.word_similarities`.

    Returns:
        The correlation, from -1 to 1, and the number of pairs of which both words are known.

    Raises:
        ValueError: If fewer than three pairs are known.

    Examples:
        >>> from llmbook.datasets import glove, word_similarities
        >>> rho, known = similarity(*glove(), word_similarities())
        >>> round(rho, 2), known
        (0.57, 325)

    Source:
        [Finkelstein et al. 2002][finkelstein2002placing].
    """
    place = {word: index for index, word in enumerate(words)}
    known = [(place[a], place[b], s) for a, b, s in pairs if a in place and b in place]
    if len(known) < 3:
        raise ValueError(f"pairs must have at least three with known words, got {len(known)}")
    unit = _unit(vectors)
    first, second, scores = (np.array(column) for column in zip(*known, strict=True))
    cosines = (unit[first] * unit[second]).sum(axis=1)
    return float(np.corrcoef(_ranks(cosines), _ranks(scores))[0, 1]), len(known)


def analogies(
    words: Sequence[str],
    vectors: Vectors,
    questions: Mapping[str, Sequence[tuple[str, str, str, str]]],
    *,
    exclude_inputs: bool = True,
) -> dict[str, tuple[int, int]]:
    r"""Of each kind of question, how many are answered rightly, and how many can be asked.

    *a* is to *b* as *c* is to what? Right is the last word, if its vector is nearest to
    $\vec b - \vec a + \vec c$, with all vectors of length 1, as in `llmbook.word2vec.analogy`.

    Args:
        words: In the order of `vectors`.
        vectors: One for each word.
        questions: By kind, as `llmbook.datasets.analogy_questions`; those with an unknown word are
            not asked.
        exclude_inputs: The answer may be none of the three words that are given.

    Examples:
        >>> space = np.array([[1.0, 1], [1, -1], [3, 1], [3, -1]])
        >>> words = ["man", "woman", "king", "queen"]
        >>> analogies(words, space, {"all": [("man", "king", "woman", "queen")]})
        {'all': (1, 1)}

    Source:
        [Mikolov et al. 2013][mikolov2013efficient], section 4.1.
    """
    place = {word: index for index, word in enumerate(words)}
    unit = _unit(vectors)
    results = {}
    for kind, asked in questions.items():
        known = [[place[w] for w in four] for four in asked if place.keys() >= set(four)]
        right = 0
        for start in range(0, len(known), 512):  # so many rows of cosines at once fit in memory
            a, b, c, d = np.array(known[start : start + 512]).T
            cosines = (unit[b] - unit[a] + unit[c]) @ unit.T
            if exclude_inputs:
                for given in (a, b, c):
                    cosines[np.arange(len(given)), given] = -np.inf
            right += int((cosines.argmax(axis=1) == d).sum())
        results[kind] = (right, len(known))
    return results


def pairs_and_steps(
    words: Sequence[str],
    vectors: Vectors,
    questions: Mapping[str, Sequence[tuple[str, str, str, str]]],
) -> dict[str, tuple[float, float]]:
    """Of each kind of question: how alike are the words of a pair, and the steps of two pairs?

    Args:
        words: In the order of `vectors`.
        vectors: One for each word.
        questions: As for `analogies`; those with an unknown word are left out.

    Returns:
        The mean cosine of the two words of a pair, and that of two pairs' differences. An analogy
        adds one pair's difference to another's word, so the second is what it relies on.

    Examples:
        >>> space = np.array([[1.0, 1], [1, -1], [3, 1], [3, -1]])
        >>> words = ["man", "woman", "king", "queen"]
        >>> alike, parallel = pairs_and_steps(
        ...     words, space, {"all": [("man", "woman", "king", "queen")]}
        ... )["all"]
        >>> round(alike, 2), round(parallel, 2)
        (0.4, 1.0)
    """
    place = {word: index for index, word in enumerate(words)}
    unit = _unit(vectors)
    results = {}
    for kind, asked in questions.items():
        known = [four for four in asked if place.keys() >= set(four)]
        pairs = {pair for a, b, c, d in known for pair in ((a, b), (c, d))}
        first, second = (unit[[place[pair[side]] for pair in pairs]] for side in (0, 1))
        steps = _unit(second - first)
        count = len(pairs)
        parallel = (np.linalg.norm(steps.sum(axis=0)) ** 2 - count) / (count * (count - 1))
        results[kind] = float((first * second).sum(axis=1).mean()), float(parallel)
    return results


def categories(
    words: Sequence[str], vectors: Vectors, groups: Mapping[str, Sequence[str]]
) -> tuple[int, int]:
    """How many words have a nearest neighbour, among all words of the groups, in their own group.

    Args:
        words: In the order of `vectors`.
        vectors: One for each word.
        groups: Words by category; unknown ones are left out.

    Returns:
        How many do, and how many words are known.

    Examples:
        >>> space = np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]])
        >>> categories(["may", "june", "gold", "silver"], space, {"months": ["may", "june"],
        ...     "metals": ["gold", "silver"]})
        (4, 4)
    """
    place = {word: index for index, word in enumerate(words)}
    known = [(place[w], kind) for kind, group in groups.items() for w in group if w in place]
    kinds = np.array([kind for _, kind in known])
    unit = _unit(vectors)[[index for index, _ in known]]
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return int((kinds[cosines.argmax(axis=1)] == kinds).sum()), len(known)


def counted(
    corpus: Iterable[Sequence[str]],
    counts: Mapping[str, int],
    window: int = 5,
    d_model: int = 100,
) -> Float[np.ndarray, "vocab d_model"]:
    r"""Vectors from counting alone: the baseline that trains nothing.

    How much more often two words stand near each other than chance would have it, as
    $\max(0, \ln P(w, c) - \ln P(w) P(c)^{3/4})$, cut down to its strongest directions.

    Args:
        corpus: Sentences of words; words that `counts` lacks are left out.
        counts: The words, such as those of `llmbook.word2vec.vocabulary`.
        window: Largest distance; a neighbour at distance $k$ counts $1/k$.
        d_model: How many directions to keep, at most the number of words.

    Source:
        [Levy and Goldberg 2014][levy2014neural]; the power: [Levy et al. 2015][levy2015improving],
        section 3.2.
    """
    place = {word: index for index, word in enumerate(counts)}
    near = np.zeros((len(counts), len(counts)), dtype=np.float32)
    for sentence in corpus:
        row = np.array([place[word] for word in sentence if word in place], dtype=np.int64)
        for distance in range(1, min(window, len(row) - 1) + 1):
            np.add.at(near, (row[distance:], row[:-distance]), 1 / distance)
    near += near.T
    total = near.sum()
    of_word = near.sum(axis=1) / total
    of_context = of_word**0.75 / (of_word**0.75).sum()
    ratio = near / total / np.maximum(np.outer(of_word, of_context), 1e-30)
    return _strongest(np.log(np.maximum(ratio, 1)), d_model)


def from_addresses(
    way: str,
    groups: Mapping[str, Sequence[str]],
    asked: Sequence[str] = (),
    *,
    since: int = 0,
    epochs: int = 2,
    seed: int = 0,
) -> dict[str, Any]:
    """Make vectors from the State of the Union and test them; the results alone, for `kept`.

    Args:
        way: "skip-gram" or "CBOW", trained; "counted"; or "random", which reads nothing.
        groups: For `categories`.
        asked: Words whose nearest neighbours to give.
        since: The first year to read.
        epochs: How often to read it.
        seed: Of all randomness.

    Returns:
        "similarity" with WordSim-353 and how many "pairs" that is of, "right" categories of "known"
        words, and "neighbours" of each asked word.

    Raises:
        ValueError: If `way` is none of the four.
    """
    corpus = [words for address in sotu(since) for words in sentences(address.text)]
    counts = vocabulary(corpus)
    if way == "skip-gram":
        vectors = train(corpus, counts, Setup(epochs=epochs, lr=0.05), seed=seed)
    elif way == "CBOW":
        vectors = train(corpus, counts, Setup(cbow=True, epochs=epochs), seed=seed)
    elif way == "counted":
        vectors = counted(corpus, counts)
    elif way == "random":
        vectors = np.random.default_rng(seed).standard_normal((len(counts), 100))
    else:
        raise ValueError(f"way must be 'skip-gram', 'CBOW', 'counted' or 'random', got {way!r}")
    words = list(counts)
    rho, pairs = similarity(words, vectors, word_similarities())
    right, known = categories(words, vectors, groups)
    near = {word: [other for other, _ in nearest(words, vectors, word)] for word in asked}
    return {"similarity": rho, "pairs": pairs, "right": right, "known": known, "neighbours": near}


def by_epochs(seed: int) -> dict[str, Any]:
    """Skip-gram on the State of the Union, read more and more often.

    Args:
        seed: Of all randomness.

    Returns:
        "skip-gram": for each of `EPOCHS`, what `from_addresses` gives of `GROUPS`, with "epochs".
    """
    runs = [
        {"epochs": epochs, **from_addresses("skip-gram", GROUPS, epochs=epochs, seed=seed)}
        for epochs in EPOCHS
    ]
    return {"skip-gram": runs}


def _strongest(matrix: Float[np.ndarray, "n n"], count: int) -> Float[np.ndarray, "n count"]:
    import torch

    torch.manual_seed(0)
    left, sizes, _ = torch.svd_lowrank(torch.from_numpy(matrix), q=min(count, len(matrix)), niter=4)
    return np.asarray((left * sizes.sqrt()).numpy())


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))


def _ranks(values: Float[np.ndarray, " n"] | Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """From 1 on; equal values share the mean of their ranks."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = sizes.cumsum()
    return np.asarray((last - (sizes - 1) / 2)[group])
