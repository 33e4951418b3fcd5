"""Word2Vec: words as vectors, learned by telling a word's neighbours from words drawn at random."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmbook.sizes import make_whole, whole

CHUNK = 256  # pairs that share their negatives
CHUNKS = 16  # that are worked on at once
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def one_hot(indices: Sequence[int], vocab_size: int) -> Float[np.ndarray, "words vocab"]:
    """A vector for each word with a single 1: all words are equally far from each other.

    Args:
        indices: Places of the words in the vocabulary.
        vocab_size: Words in the vocabulary, and length of each vector.

    Raises:
        ValueError: If an index is no place in the vocabulary.

    Examples:
        >>> vectors = one_hot([0, 2], vocab_size=3)
        >>> vectors @ vectors.T
        array([[1., 0.],
               [0., 1.]])
    """
    rows, vocab_size = np.asarray(indices, dtype=np.int64), whole("vocab_size", vocab_size)
    if rows.size and not 0 <= rows.min() <= rows.max() < vocab_size:
        raise ValueError(f"indices must be from 0 to vocab_size - 1 = {vocab_size - 1}")
    return np.asarray(rows[:, None] == np.arange(vocab_size), dtype=np.float64)


def sentences(text: str) -> Iterator[list[str]]:
    """Cut a text at its punctuation, and each piece into words in lower case.

    Examples:
        >>> list(sentences("The cat sat, and it's tired. Why?"))
        [['the', 'cat', 'sat'], ['and', "it's", 'tired'], ['why']]
    """
    for piece in re.split(r"[^\w\s'’-]+|--", text.lower()):
        if words := WORD.findall(piece):
            yield words


def vocabulary(corpus: Iterable[Sequence[str]], min_count: int = 5) -> dict[str, int]:
    """Count the words; keep those that occur at least `min_count` times, the most frequent first.

    Args:
        corpus: Sentences of words, such as of `sentences`. What can be read only once, such as a
            generator, is used up here and has nothing left for `train`: put it into a list.
        min_count: Occurrences of a word that is kept.

    Raises:
        TypeError: If a sentence is a str, whose words would be letters.
        ValueError: If no word is left.

    Examples:
        >>> vocabulary([["a", "b", "a"], ["a", "c", "c"]], min_count=2)
        {'a': 3, 'c': 2}
    """
    counts = Counter(word for sentence in _checked(corpus) for word in sentence)
    kept = {word: n for word, n in counts.most_common() if n >= min_count}
    if not kept:
        raise ValueError(f"no word occurs min_count={min_count} times, of {len(counts)} words")
    return kept


def _checked(corpus: Iterable[Sequence[str]]) -> Iterator[Sequence[str]]:
    """Refuse sentences that are no lists of words."""
    for sentence in corpus:
        if isinstance(sentence, str | bytes):
            raise TypeError(
                "corpus must hold sentences as lists of words, got a sentence as one "
                f"{type(sentence).__name__}, {sentence[:40]!r}: sentences() or split() cuts it"
            )
        yield sentence


def keep_probability(
    counts: Float[np.ndarray, " vocab"] | Int[np.ndarray, " vocab"], threshold: float | int = 1e-3
) -> Float[np.ndarray, " vocab"]:
    r"""Subsampling: how likely an occurrence of each word is to stay in the corpus of an epoch.

    $$P(\text{keep } w) = \min\left(1, \sqrt{t / f(w)}\right)$$

    Args:
        counts: Occurrences of each word.
        threshold: $t$. A word of which that is the share $f$, or less, always stays.

    Raises:
        ValueError: If `threshold` is not positive.

    Examples:
        >>> keep_probability(np.array([900, 99, 1]), threshold=0.01).round(2)
        array([0.11, 0.32, 1.  ])

    Source:
        [Mikolov et al. 2013][mikolov2013distributed], equation 5.
    """
    if threshold <= 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    exact = np.asarray(counts, dtype=np.float64)
    share = exact / exact.sum()
    return np.asarray(np.minimum(1, np.sqrt(threshold / share)))


def noise(
    counts: Float[np.ndarray, " vocab"] | Int[np.ndarray, " vocab"], power: float | int = 0.75
) -> Float[np.ndarray, " vocab"]:
    r"""From which negatives are drawn: $P(w) \propto \mathrm{count}(w)^{3/4}$.

    The power lies between drawing all words alike (0) and as often as they occur (1).

    Examples:
        >>> noise(np.array([16, 1])).round(3)
        array([0.889, 0.111])

    Source:
        [Mikolov et al. 2013][mikolov2013distributed], section 2.2.
    """
    weights = np.asarray(counts, dtype=np.float64) ** power
    return np.asarray(weights / weights.sum())


def draw(
    cumulative: Float[Tensor, " vocab"],
    shape: tuple[int, ...],
    generator: torch.Generator | None = None,
) -> Int[Tensor, "..."]:
    """Draw words from the cumulative sum of their probabilities.

    Examples:
        >>> draw(torch.tensor([0.0, 1.0]), (3,)).tolist()
        [1, 1, 1]
    """
    random = torch.rand(shape, generator=generator, dtype=cumulative.dtype)
    return torch.searchsorted(cumulative, random, right=True).clamp(max=len(cumulative) - 1)


def context_pairs(
    words: Int[Tensor, " words"],
    sentence: Int[Tensor, " words"],
    window: int,
    generator: torch.Generator | None = None,
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
    """Positions of each centre and of each of its neighbours, up to a random reach.

    The reach of a centre is drawn from 1 to `window`, so that near neighbours are taken more often.

    Args:
        words: The corpus as one row of word indices.
        sentence: The number of the sentence that each belongs to; pairs never cross sentences.
        window: The largest reach.
        generator: Source of randomness.

    Returns:
        Positions of centres, and of their neighbours.

    Examples:
        >>> centre, neighbour = context_pairs(torch.tensor([7, 8, 9]), torch.tensor([0, 0, 1]), 1)
        >>> list(zip(centre.tolist(), neighbour.tolist()))
        [(0, 1), (1, 0)]
    """
    reach = torch.randint(1, window + 1, words.shape, generator=generator)
    centres, neighbours = [], []
    for distance in range(1, window + 1):
        same = sentence[distance:] == sentence[:-distance]
        left = torch.nonzero(same & (reach[:-distance] >= distance))[:, 0]
        right = torch.nonzero(same & (reach[distance:] >= distance))[:, 0]
        centres += [left, right + distance]
        neighbours += [left + distance, right]
    return torch.cat(centres), torch.cat(neighbours)


def negative_sampling(
    inside: Float[Tensor, "chunks pairs d_model"],
    outside: Float[Tensor, "chunks pairs d_model"],
    negative: Float[Tensor, "chunks noise d_model"],
    weight: float | int,
) -> tuple[
    Float[Tensor, "chunks pairs d_model"],
    Float[Tensor, "chunks pairs d_model"],
    Float[Tensor, "chunks noise d_model"],
]:
    r"""Gradients of the loss that tells true pairs from pairs with a random word.

    $$L = -\sum_{(v, u)} \left( \ln\sigma(u^\top v) + w \sum_{n} \ln\sigma(-n^\top v) \right)$$

    Written out, because autograd would make a gradient for every word of the vocabulary.

    Args:
        inside: $v$, of the word that predicts (in CBOW, the mean over the neighbours).
        outside: $u$, of the word that is predicted.
        negative: $n$, of random words, shared by all pairs of a chunk.
        weight: $w$: 1, or less if a pair shall count fewer negatives than its chunk has.

    Returns:
        The gradients of `inside`, `outside` and `negative`.

    Source:
        [Mikolov et al. 2013][mikolov2013distributed], equation 4.
    """
    true = (inside * outside).sum(-1, keepdim=True).sigmoid() - 1
    false = (inside @ negative.transpose(-1, -2)).sigmoid() * weight
    return true * outside + false @ negative, true * inside, false.transpose(-1, -2) @ inside


@dataclass(frozen=True)
class Setup:
    """How word vectors are trained.

    Attributes:
        cbow: Predict a word from the mean of its neighbours, instead of each neighbour from it.
        d_model: Length of the vectors.
        window: Largest distance of a neighbour.
        negatives: Random words that a true pair is weighed against.
        shared: Draw so many for 256 pairs together and weigh them down to `negatives`, which turns
            many small products into few large ones; 0 draws `negatives` anew for each pair.
        epochs: How often the corpus is read.
        lr: At the start; 0.025 if left out, and 0.1 for CBOW, where a mean spreads its gradient
            over all its words.
        threshold: For `keep_probability`.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a size is not positive.
    """

    cbow: bool = False
    d_model: int = 100
    window: int = 5
    negatives: int = 5
    shared: int = 64
    epochs: int = 3
    lr: float | int | None = None
    threshold: float | int = 1e-3

    def __post_init__(self) -> None:
        make_whole(self)
        for name in ("d_model", "window", "negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def highest_lr(self) -> float | int:
        """The learning rate from which it falls."""
        usual = 0.1 if self.cbow else 0.025
        return usual if self.lr is None else self.lr


def train(
    corpus: Iterable[Sequence[str]],
    counts: dict[str, int],
    setup: Setup = Setup(),
    *,
    seed: int = 0,
    **changes: Any,
) -> Float[np.ndarray, "vocab d_model"]:
    """Learn a vector for each word, with skip-gram or CBOW and negative sampling.

    The pairs of an epoch are made at once and shuffled; the learning rate falls linearly to zero.
    A step adds up the gradients of at most 4,096 pairs, and of hardly more than there are words in
    the vocabulary, because the updates of a word that occurs often in a step add up too.

    Args:
        corpus: Sentences of words; words that `counts` lacks are left out. A generator that has
            been read by `vocabulary` is used up.
        counts: The `vocabulary`.
        setup: How.
        seed: Of all randomness.
        changes: Fields of the setup that shall be otherwise, such as `d_model=50`.

    Returns:
        Vectors in the order of `counts`.

    Raises:
        TypeError: If a sentence is a str.
        ValueError: If no pair of words is left, or the vectors diverge.

    Examples:
        >>> text = [["a", "b", "a", "b"], ["c", "d", "c", "d"]] * 50
        >>> vectors = train(text, vocabulary(text), Setup(d_model=8, epochs=2, threshold=1))
        >>> vectors.shape
        (4, 8)

    Source:
        [Mikolov et al. 2013][mikolov2013distributed], sections 2.2 and 2.3; the two models:
        [Mikolov et al. 2013][mikolov2013efficient], section 3.
    """
    setup = replace(setup, **changes)
    generator = torch.Generator().manual_seed(seed)
    token_ids, sentence_ids = _encode(corpus, counts)
    frequency = np.array(list(counts.values()))
    keep = torch.from_numpy(keep_probability(frequency, setup.threshold))
    cumulative = torch.from_numpy(noise(frequency).cumsum())
    inside = (torch.rand(len(counts), setup.d_model, generator=generator) - 0.5) / setup.d_model
    outside = torch.zeros(len(counts), setup.d_model)
    size = CHUNK * max(1, min(CHUNKS, len(counts) // CHUNK))
    for epoch in range(setup.epochs):
        random = torch.rand(token_ids.shape, generator=generator, dtype=keep.dtype)
        kept = random < keep[token_ids]
        examples = _examples(token_ids[kept], sentence_ids[kept], setup, generator)
        for done, batch in _batches(examples, size):
            lr = setup.highest_lr * (1 - (epoch + done) / setup.epochs)
            chunks = _num_chunks(len(batch.targets), setup)
            shape = (chunks, setup.shared or setup.negatives)
            negatives = draw(cumulative, shape, generator)
            _step(inside, outside, batch, negatives, setup.negatives / shape[1], lr)
    if not inside.isfinite().all():
        raise ValueError(f"the vectors diverge at lr={setup.highest_lr}: try a smaller one")
    return inside.numpy()


class _Examples(NamedTuple):
    """Each target is predicted from the mean of its sources, which stand one after the other."""

    sources: Int[Tensor, " sources"]
    sizes: Int[Tensor, " targets"]
    targets: Int[Tensor, " targets"]


def _encode(
    corpus: Iterable[Sequence[str]], counts: dict[str, int]
) -> tuple[Int[Tensor, " words"], Int[Tensor, " words"]]:
    """The corpus as one row of word indices, and the number of each one's sentence."""
    index = {word: number for number, word in enumerate(counts)}
    known = [[index[word] for word in sentence if word in index] for sentence in _checked(corpus)]
    if not any(known):
        raise ValueError(
            "corpus has no two words of the vocabulary beside each other, nor any, in "
            f"{len(known)} sentences: a generator that was read before is used up, use a list"
        )
    lengths = torch.tensor([len(sentence) for sentence in known], dtype=torch.int64)
    numbers = [number for sentence in known for number in sentence]
    token_ids = torch.tensor(numbers, dtype=torch.int64)
    return token_ids, torch.repeat_interleave(torch.arange(len(known)), lengths)


def _examples(
    token_ids: Int[Tensor, " words"],
    sentence_ids: Int[Tensor, " words"],
    setup: Setup,
    generator: torch.Generator,
) -> _Examples:
    """Shuffle what an epoch predicts: neighbours from centres, or centres from their neighbours."""
    centres, neighbours = context_pairs(token_ids, sentence_ids, setup.window, generator)
    if not len(centres):
        raise ValueError("corpus has no two words of the vocabulary beside each other")
    rank = torch.randperm(len(token_ids), generator=generator)  # skip-gram draws it all the same
    if setup.cbow:
        order = rank[centres].argsort()  # the pairs of a centre stay together
        targets, sizes = centres[order].unique_consecutive(return_counts=True)
        return _Examples(token_ids[neighbours[order]], sizes, token_ids[targets])
    order = torch.randperm(len(centres), generator=generator)
    targets = token_ids[neighbours[order]]
    return _Examples(token_ids[centres[order]], torch.ones_like(targets), targets)


def _batches(examples: _Examples, size: int) -> Iterator[tuple[float, _Examples]]:
    """Cut examples after each `size` targets, and say which share of them comes before a batch."""
    sizes = examples.sizes.split(size)
    sources = examples.sources.split([int(each.sum()) for each in sizes])
    batches = zip(sources, sizes, examples.targets.split(size), strict=True)
    for number, batch in enumerate(batches):
        yield number * size / len(examples.targets), _Examples(*batch)


def _num_chunks(targets: int, setup: Setup) -> int:
    """In how many parts of a batch, all of the same length, negatives are drawn anew."""
    chunks = targets // CHUNK or 1 if setup.shared else targets
    return chunks if targets % chunks == 0 else 1


def _step(
    inside: Float[Tensor, "vocab d_model"],
    outside: Float[Tensor, "vocab d_model"],
    batch: _Examples,
    negatives: Int[Tensor, "chunks noise"],
    weight: float,
    lr: float,
) -> None:
    """Change the vectors of the words in a batch, by gradient descent."""
    sources, sizes, targets = batch
    means = torch.repeat_interleave(sizes)  # the number of the mean to which each source belongs
    hidden = torch.zeros(len(targets), inside.shape[1]).index_add_(0, means, inside[sources])
    hidden /= sizes[:, None]
    by_chunk = (len(negatives), -1, inside.shape[1])
    to_hidden, to_targets, to_negatives = negative_sampling(
        hidden.view(by_chunk), outside[targets].view(by_chunk), outside[negatives], weight
    )
    to_sources = (to_hidden.view_as(hidden) / sizes[:, None])[means]
    inside.index_add_(0, sources, to_sources, alpha=-lr)
    outside.index_add_(0, targets, to_targets.view_as(hidden), alpha=-lr)
    outside.index_add_(0, negatives.view(-1), to_negatives.flatten(0, 1), alpha=-lr)


def nearest(
    words: Sequence[str],
    vectors: Float[np.ndarray, "words d_model"],
    to: str | Float[np.ndarray, " d_model"],
    count: int = 5,
    exclude: Collection[str] = (),
) -> list[tuple[str, float]]:
    """The words whose vectors point most nearly the same way, with their cosines.

    Args:
        words: In the order of `vectors`.
        vectors: One for each word.
        to: A word, which is then left out itself, or any vector.
        count: How many to give.
        exclude: Words to leave out.

    Raises:
        ValueError: If a word is unknown, or `count` less than 1.

    Examples:
        >>> nearest(["a", "b", "c"], np.array([[1.0, 0], [1, 1], [0, 1]]), "a", count=1)
        [('b', 0.7071)]
    """
    count = whole("count", count)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if isinstance(to, str):
        exclude, to = {*exclude, to}, vectors[_index(words, to)]
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ to / np.maximum(lengths * np.linalg.norm(to), 1e-12)
    best = (int(index) for index in np.argsort(-cosines))
    found = ((words[index], round(float(cosines[index]), 4)) for index in best)
    return [
        pair
        for pair, _ in zip((p for p in found if p[0] not in exclude), range(count), strict=False)
    ]


def analogy(
    words: Sequence[str],
    vectors: Float[np.ndarray, "words d_model"],
    a: str,
    b: str,
    c: str,
    count: int = 1,
    *,
    exclude_inputs: bool = True,
) -> list[tuple[str, float]]:
    r"""*a* is to *b* as *c* is to what? The words nearest to $\vec b - \vec a + \vec c$.

    All vectors are first brought to length 1. With the three words of the question left out, as is
    usual, the answer can be none of them; without, it often is $b$ or $c$.

    Args:
        words: In the order of `vectors`.
        vectors: One for each word.
        a: Such as "man".
        b: Such as "king".
        c: Such as "woman".
        count: How many answers to give.
        exclude_inputs: Leave `a`, `b` and `c` out.

    Raises:
        ValueError: If a word is unknown, or `count` less than 1.

    Examples:
        >>> from llmbook.datasets import glove
        >>> analogy(*glove(), "man", "king", "woman")
        [('queen', 0.7699)]

    Source:
        [Mikolov et al. 2013][mikolov2013linguistic], section 4; what leaving out does:
        [Linzen 2016][linzen2016issues].
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    first, second, third = (unit[_index(words, word)] for word in (a, b, c))
    target = second - first + third
    return nearest(words, unit, target, count, (a, b, c) if exclude_inputs else ())


def _index(words: Sequence[str], word: str) -> int:
    try:
        return words.index(word)
    except ValueError:
        raise ValueError(f"{word!r} is not among the {len(words):,} words") from None
