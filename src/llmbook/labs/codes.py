"""Lab: vector quantisation, from the nearest code to pictures of a few bits."""

import numpy as np

from llmbook.labs.grader import exercise

_CODES = np.array([[0.0, 0.0], [1.0, 1.0], [4.0, 0.0]])


@exercise(
    lambda rng: [
        (np.array([[0.0, 1.0], [4.0, 4.0]]), _CODES),
        (rng.normal(size=(5, 3)), rng.normal(size=(4, 3))),
        (rng.normal(size=(1, 2)), rng.normal(size=(6, 2))),
        (_CODES, _CODES),
    ],
    (
        "(difference**2).sum(axis=2)",
        "difference.sum(axis=2)",
        "differences of both signs cancel: square them before you add",
    ),
    (
        "(difference**2).sum(axis=2)",
        "abs(difference).sum(axis=2)",
        "these are sums of absolute differences: square them",
    ),
    (
        "(difference**2).sum(axis=2)",
        "np.sqrt((difference**2).sum(axis=2))",
        "these are distances: leave out the root",
    ),
    (
        "(difference**2).sum(axis=2)",
        "(difference**2).mean(axis=2)",
        "these are means over the numbers: add them up",
    ),
    (
        "x[:, None] - codebook[None]",
        "codebook[:, None] - x[None]",
        "transposed: a row belongs to a vector, a column to a code",
    ),
    right="a squared distance for each vector and code",
)
def distances(x, codebook):
    """The squared distance of each row of x to each row of the
    codebook.
    """
    difference = x[:, None] - codebook[None]
    return (difference**2).sum(axis=2)


@exercise(
    lambda rng: [
        (np.array([[0.0, 1.0], [4.0, 4.0], [0.9, 0.9]]), _CODES),
        (rng.normal(size=(20, 3)), rng.normal(size=(6, 3))),
        (rng.normal(size=(3, 2)), rng.normal(size=(1, 2))),
    ],
    ("argmin", "argmax", "this is the farthest code"),
    (
        "axis=1",
        "axis=0",
        "this is the nearest vector for each code: find the nearest code for each vector",
    ),
    (
        "distances(x, codebook).argmin(axis=1)",
        "distances(x, codebook).min(axis=1)",
        "these are distances: hand back the number of the code",
    ),
    (
        "distances(x, codebook).argmin(axis=1)",
        "codebook[distances(x, codebook).argmin(axis=1)]",
        "these are the codes' vectors: hand back their numbers",
    ),
    (
        "distances(x, codebook)",
        "-(x @ codebook.T)",
        "the largest dot product prefers long codes: take the nearest",
    ),
    right="one whole number stands for each vector",
)
def encode(x, codebook):
    """For each row of x the number of the nearest code."""
    return distances(x, codebook).argmin(axis=1)


@exercise(
    lambda rng: [
        (np.array([[0.0, 2.0], [2.0, 0.0], [5.0, 0.0]]), _CODES),
        (rng.normal(size=(30, 2)), rng.normal(size=(5, 2))),
        (np.array([[0.0, 0.1]]), _CODES),
        (rng.normal(size=(9, 1)), np.array([[0.0], [100.0]])),
    ],
    (".mean(axis=0)", ".sum(axis=0)", "this is a sum: a code moves to the mean of its vectors"),
    (".mean(axis=0)", ".mean()", "this is one mean over all numbers: each has its own"),
    (
        "        if len(mine):\n            moved[code] = mine.mean(axis=0)",
        "        moved[code] = mine.mean(axis=0)",
        "a code that no vector chose becomes NaN: let it stay where it is",
    ),
    (
        "moved = codebook.copy()",
        "moved = np.zeros_like(codebook)",
        "a code that no vector chose moves to 0: let it stay where it is",
    ),
    (
        "moved[code] = mine.mean(axis=0)",
        "moved[code] = (codebook[code] + mine.mean(axis=0)) / 2",
        "each code goes half the way only: move it to the mean",
    ),
    (
        "x[chosen == code]",
        "x",
        "each code moves to the mean of all vectors: take those that chose it",
    ),
    right="codes in the middle of their vectors, unused stay",
)
def update(x, codebook):
    """The codebook with each code moved to the mean of the rows that
    it is nearest to, if any.
    """
    chosen = encode(x, codebook)
    moved = codebook.copy()
    for code in range(len(codebook)):
        mine = x[chosen == code]
        if len(mine):
            moved[code] = mine.mean(axis=0)
    return moved


@exercise(
    lambda rng: [
        (_CODES, _CODES),
        (np.array([[0.0, 1.0]]), _CODES),
        (rng.normal(size=(30, 3)), rng.normal(size=(8, 3))),
    ],
    (
        "codebook[encode(x, codebook)]",
        "codebook.mean(axis=0)",
        "this compares with the mean code: take the nearest",
    ),
    (").mean()", ").sum()", "this is the sum: take the mean over all numbers"),
    (
        "((x - codebook[encode(x, codebook)]) ** 2)",
        "abs(x - codebook[encode(x, codebook)])",
        "this is the mean absolute difference: square it",
    ),
    (
        "((x - codebook[encode(x, codebook)]) ** 2).mean()",
        "distances(x, codebook).mean()",
        "this is the distance to all codes: only the chosen one counts",
    ),
    (
        "((x - codebook[encode(x, codebook)]) ** 2).mean()",
        "distances(x, codebook).min(axis=1).mean()",
        "this is the mean over vectors: take the mean over all numbers",
    ),
    right="what is lost if its code stands for each vector",
)
def error(x, codebook):
    """The mean squared difference between x and the codes that stand
    for it, over all numbers.
    """
    return ((x - codebook[encode(x, codebook)]) ** 2).mean()


@exercise(
    lambda rng: [
        (np.array([0, 1, 2, 3]), 4),
        (np.array([0, 0, 0]), 4),
        (np.array([0, 0, 1, 5]), 8),
        (rng.integers(0, 6, 50), 6),
    ],
    ("np.log2", "np.log", "these are nats: a bit is a logarithm of base 2"),
    (
        "used = share[share > 0]",
        "used = share",
        "0 times the logarithm of 0 is NaN: leave out codes that are not used",
    ),
    ("-(used * np.log2(used)).sum()", "(used * np.log2(used)).sum()", "the sign is missing"),
    (
        "-(used * np.log2(used)).sum()",
        "-np.log2(used).mean()",
        "each code counts alike: weigh it with its share",
    ),
    (
        "-(used * np.log2(used)).sum()",
        "np.log2(size)",
        "this is what a fixed length takes: frequent codes can be shorter",
    ),
    right="the bits of a code, if frequent ones are short",
)
def entropy(codes, size):
    """Bits a code, on average: minus the sum of share times its log2,
    over the codes in use.
    """
    share = np.bincount(codes, minlength=size) / len(codes)
    used = share[share > 0]
    return -(used * np.log2(used)).sum()
