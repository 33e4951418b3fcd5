"""Lab: a step of training that is private, and the account of what it gives away."""

import numpy as np

from llmbook.labs.grader import exercise


def _records(rng, n=5, d=3):
    return rng.normal(size=d), rng.normal(size=(n, d)), rng.integers(0, 2, n)


@exercise(
    lambda rng: [
        (np.zeros(2), np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1, 0])),
        _records(rng),
        _records(rng, 1, 4),
    ],
    ("[:, None] * x", "@ x", "this is the sum over the records: keep a row for each of them"),
    (
        "(p - y)",
        "(y - p)",
        "the sign is reversed: the gradient is probability minus label, times input",
    ),
    ("(p - y)", "p", "the label is missing: what counts is how wrong the probability is"),
    (
        "1 / (1 + np.exp(-x @ w))",
        "x @ w",
        "the sigmoid is missing: these are scores, not probabilities",
    ),
    ("np.exp(-x @ w)", "np.exp(x @ w)", "the sigmoid is that of minus the score"),
    right="a gradient for each record, not added up yet",
)
def gradients(w, x, y):
    """Of logistic regression with weights w: a row (sigmoid(x·w) -
    y)·x for each record.
    """
    p = 1 / (1 + np.exp(-x @ w))
    return (p - y)[:, None] * x


@exercise(
    lambda rng: [
        (np.array([[3.0, 4.0], [0.3, 0.4]]), 1.0),
        (rng.normal(size=(6, 4)), 2.0),
        (rng.normal(size=(6, 4)), 0.5),
        (np.array([[0.0, 0.0], [6.0, 8.0]]), 5.0),
    ],
    (
        "np.minimum(1, limit / np.maximum(lengths, 1e-12))",
        "limit / np.maximum(lengths, 1e-12)",
        "short gradients grow: only what is longer than the limit is changed",
    ),
    (
        "np.linalg.norm(rows, axis=1, keepdims=True)",
        "np.linalg.norm(rows)",
        "all records together are clipped: each has its own limit",
    ),
    (
        "np.linalg.norm(rows, axis=1, keepdims=True)",
        "np.abs(rows)",
        "each number is clipped by itself: it is the length of the row that is limited",
    ),
    (
        "np.minimum(1, limit",
        "np.maximum(1, limit",
        "short ones grow and long ones stay: it is the smaller of the two",
    ),
    (
        "limit / np.maximum(lengths, 1e-12)",
        "1 / np.maximum(lengths, 1e-12)",
        "long gradients get length 1: they should get the limit",
    ),
    right="no record moves the sum by more than the limit",
)
def clip(rows, limit):
    """Each row made shorter, without turning it, if it is longer than
    the limit.
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, limit / np.maximum(lengths, 1e-12))


@exercise(
    lambda rng: [
        (rng.normal(size=(5, 3)), 1.0, 2.0, rng.normal(size=3)),
        (rng.normal(size=(4, 2)) * 9, 0.5, 1.0, rng.normal(size=2)),
        (rng.normal(size=(1, 2)), 1.0, 0.0, rng.normal(size=2)),
        (np.ones((3, 2)), 2.0, 4.0, np.array([1.0, -1.0])),
    ],
    (
        "multiplier * limit * noise",
        "multiplier * noise",
        "noise must grow with the limit: a record can move the sum by that much",
    ),
    (
        "clip(rows, limit).sum(axis=0)",
        "rows.sum(axis=0)",
        "the rows are not clipped: noise hides a limited record only",
    ),
    (
        " + multiplier * limit * noise",
        "",
        "there is no noise: a clipped sum still gives each record away",
    ),
    (
        "(total + multiplier * limit * noise) / len(rows)",
        "total / len(rows) + multiplier * limit * noise",
        "the noise is too large by the number of records: add it once, to the sum",
    ),
    (" / len(rows)", "", "this is the sum: divide by the number of records"),
    (
        "clip(rows, limit).sum(axis=0)",
        "clip(rows.sum(axis=0, keepdims=True), limit)[0]",
        "the sum is clipped: a record could still decide all of it",
    ),
    right="clip, add up, add noise of that size, divide",
)
def private_mean(rows, limit, multiplier, noise):
    """The mean of clipped rows, with multiplier · limit · noise added
    to their sum.
    """
    total = clip(rows, limit).sum(axis=0)
    return (total + multiplier * limit * noise) / len(rows)


@exercise(
    lambda rng: [
        (1.0, 1, 1e-5),
        (20.0, 60, 1e-5),
        (5.0, 100, 1e-6),
        (2.0, 10, 1e-3),
        (50.0, 1, 1e-5),
        (1000.0, 1, 1e-5),
        (0.1, 100, 1e-5),
    ],
    ("steps * orders", "orders", "each step gives something away: multiply by the number of steps"),
    (
        "(2 * multiplier**2)",
        "(2 * multiplier)",
        "the multiplier is squared: twice the noise, a quarter of the loss",
    ),
    (
        "np.log(1 / delta) / (orders - 1)",
        "np.log(1 / delta)",
        "the second term is divided by the order minus 1",
    ),
    (" + np.log(1 / delta) / (orders - 1)", "", "the price of δ is missing"),
    (".min()", ".max()", "any order gives a right bound: take the smallest"),
    (
        "np.log(1 / delta)",
        "np.log(delta)",
        "the sign of the logarithm is reversed: take that of 1/δ",
    ),
    right="many bounds hold, and you state the smallest",
)
def epsilon(multiplier, steps, delta):
    """Least of steps·α / (2·multiplier²) + log(1/δ) / (α - 1), for α
    = 1.1, 1.2, … 200.
    """
    orders = np.arange(11, 2001) / 10
    return (steps * orders / (2 * multiplier**2) + np.log(1 / delta) / (orders - 1)).min()


def _run(rng, multiplier, steps):
    _, x, y = _records(rng, 8, 3)
    return (x, y, 1.0, multiplier, 0.5, rng.normal(size=(steps, 3)))


@exercise(
    lambda rng: [_run(rng, 0.0, 4), _run(rng, 1.0, 3), _run(rng, 2.0, 1), _run(rng, 1.0, 0)],
    ("w = w - rate", "w = w + rate", "it climbs: take the gradient away"),
    (
        "gradients(w, x, y)",
        "gradients(np.zeros_like(w), x, y)",
        "each step starts from zero: use the weights so far",
    ),
    (
        "rate * private_mean(rows, limit, multiplier, draw)",
        "rate * rows.mean(axis=0)",
        "this is the plain mean: it keeps no secret",
    ),
    (
        "limit, multiplier, draw)",
        "limit, multiplier, noise[0])",
        "the same noise is added in each step: what is added twice can be taken away",
    ),
    ("rate * ", "", "the learning rate is missing"),
    right="gradients, a private mean, a step, new noise",
)
def train(x, y, limit, multiplier, rate, noise):
    """Weights from 0: for each row of noise, w - rate · private mean
    of the gradients.
    """
    w = np.zeros(x.shape[1])
    for draw in noise:
        rows = gradients(w, x, y)
        w = w - rate * private_mean(rows, limit, multiplier, draw)
    return w
