"""Lab: word vectors, from cosines and analogies to vectors counted from a text."""

import numpy as np

from llmbook.labs.grader import exercise

_PLANE = np.array([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 1.0]])


def _unit(rng, words=12, width=5):
    vectors = rng.normal(size=(words, width))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@exercise(
    lambda rng: [
        (_PLANE,),
        (rng.normal(size=(5, 7)),),
        (np.array([[2.0]]),),
        (rng.normal(size=(3, 3)),),
    ],
    ("axis=1", "axis=0", "each column has length 1 here: a word is a row"),
    (
        "np.sqrt((vectors**2).sum(axis=1, keepdims=True))",
        "vectors.sum(axis=1, keepdims=True)",
        "divided by the row's sum: divide by the root of the sum of squares",
    ),
    (
        "np.sqrt((vectors**2).sum(axis=1, keepdims=True))",
        "(vectors**2).sum(axis=1, keepdims=True)",
        "divided by the sum of squares: its root is missing",
    ),
    (
        "np.sqrt((vectors**2).sum(axis=1, keepdims=True))",
        "np.sqrt((vectors**2).sum())",
        "the whole table has length 1 here: each row should have",
    ),
    (
        "np.sqrt((vectors**2).sum(axis=1, keepdims=True))",
        "abs(vectors).sum(axis=1, keepdims=True)",
        "divided by the sum of absolute values: the length is the root of the sum of squares",
    ),
    right="each word has length 1, a dot product is a cosine",
)
def normalise(vectors):
    """Each row divided by its length."""
    return vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True))


@exercise(
    lambda rng: [
        (_unit(rng), 0, 3),
        (_unit(rng), 11, 1),
        (_unit(rng, 6, 2), 3, 5),
        (_unit(rng), 5, 4),
    ],
    ("-cosines", "cosines", "these are the words farthest away: sort from the largest cosine"),
    (
        "cosines[word] = -np.inf",
        "cosines[word] = np.inf",
        "the word itself comes first: it is always its own nearest, so leave it out",
    ),
    ("[:k]", "[:-k]", "the number of neighbours is not k"),
    (
        "np.argsort(-cosines)[:k]",
        "np.sort(-cosines)[:k]",
        "these are cosines: hand back the numbers of the words",
    ),
    (
        "np.argsort(-cosines)[:k]",
        "np.argsort(np.argsort(-cosines))[:k]",
        "these are ranks of the first words: hand back which words have the first ranks",
    ),
    (
        "np.argsort(-cosines)[:k]",
        "np.argsort(cosines)[-k:]",
        "the nearest stands last here: nearest first",
    ),
    right="the nearest words, and never the word itself",
)
def nearest(unit, word, k):
    """The numbers of the k rows with the largest cosine to row
    `word`, itself left out.
    """
    cosines = unit @ unit[word]
    cosines[word] = -np.inf
    return np.argsort(-cosines)[:k]


@exercise(
    lambda rng: [
        (_unit(rng, 30, 4), a, b, c)
        for a, b, c in [(0, 1, 2), (5, 3, 9), (28, 29, 1), (7, 4, 20), (11, 2, 6), (3, 16, 8)]
    ],
    (
        "unit[b] - unit[a] + unit[c]",
        "unit[a] - unit[b] + unit[c]",
        "a and b are the wrong way round: what leads from a to b is b - a",
    ),
    (
        "unit[b] - unit[a] + unit[c]",
        "unit[b] + unit[a] + unit[c]",
        "all three are added: a is taken away",
    ),
    (
        "unit[b] - unit[a] + unit[c]",
        "unit[b] - unit[a]",
        "c is missing: the step from a to b starts at c",
    ),
    (
        "cosines[[a, b, c]] = -np.inf",
        "cosines[[]] = -np.inf",
        "a question's own words may win here: leave all three out",
    ),
    (
        "cosines[[a, b, c]] = -np.inf",
        "cosines[[c]] = -np.inf",
        "only c is left out: leave out all three words of the question",
    ),
    ("np.argmax", "np.argmin", "this is the word farthest away"),
    right="the nearest to b - a + c that is none of the three",
)
def analogy(unit, a, b, c):
    """The number of the word that is to c as b is to a."""
    cosines = unit @ (unit[b] - unit[a] + unit[c])
    cosines[[a, b, c]] = -np.inf
    return np.argmax(cosines)


@exercise(
    lambda rng: [
        ([0, 1, 2, 1], 3, 1),
        ([0, 1, 2, 1], 3, 2),
        ([0], 2, 3),
        ([], 2, 1),
        (rng.integers(0, 5, 30).tolist(), 5, 3),
        ([1, 1, 1], 2, 1),
    ],
    ("range(1, window + 1)", "range(1, window)", "the window is one too narrow"),
    ("range(1, window + 1)", "range(window + 1)", "a word is counted as its own neighbour"),
    (
        "counts[right, left] += 1",
        "pass",
        "only words to the right are counted: the table must be symmetric",
    ),
    (
        "counts[left, right] += 1",
        "pass",
        "only words to the left are counted: the table must be symmetric",
    ),
    (
        "counts[left, right] += 1",
        "counts[left, right] = 1",
        "the count stays at 1 on one side: add, do not set",
    ),
    right="a pair in the window counts for both of its words",
)
def cooccurrences(ids, vocab_size, window):
    """How often the word of a column stands at most `window` places
    from that of a row.
    """
    counts = np.zeros((vocab_size, vocab_size))
    for distance in range(1, window + 1):
        for left, right in zip(ids, ids[distance:]):
            counts[left, right] += 1
            counts[right, left] += 1
    return counts


@exercise(
    lambda rng: [
        (np.array([[0.0, 2.0], [2.0, 4.0]]),),
        (rng.integers(1, 9, (4, 4)) * 1.0,),
        (np.array([[4.0, 0.0, 1.0], [0.0, 3.0, 1.0], [1.0, 1.0, 0.0]]),),
    ],
    (
        "np.maximum(0, np.log(counts / expected))",
        "np.log(counts / expected)",
        "negative values stay: put 0 in their place, also where the count is 0",
    ),
    ("counts / expected", "counts", "this is the log of the count: divide by what chance expects"),
    (
        "rows * columns / counts.sum()",
        "rows * columns",
        "the total is missing: chance expects row times column divided by the sum of the table",
    ),
    (
        "rows * columns / counts.sum()",
        "rows / len(counts)",
        "divided by the row's mean: chance expects a frequent neighbour more often than a rare one",
    ),
    ("np.log(", "np.log2(", "the logarithm is that of base 2: take the natural one"),
    (
        "np.maximum(0, np.log(counts / expected))",
        "np.maximum(0, np.log(counts / expected + 1))",
        "1 was added before the logarithm: as often as chance must give 0",
    ),
    right="0 where chance explains the count",
)
def ppmi(counts):
    """The positive pointwise mutual information of each row's word
    with each column's.
    """
    rows = counts.sum(axis=1, keepdims=True)
    columns = counts.sum(axis=0, keepdims=True)
    expected = rows * columns / counts.sum()
    with np.errstate(divide="ignore"):
        return np.maximum(0, np.log(counts / expected))
