"""Lab: fit a scaling law to small models and predict larger ones."""

import json

import numpy as np

from llmbook.datasets import DATA
from llmbook.labs.grader import exercise


def models():
    """The small GPTs of the book's sweep, trained with three budgets of computation.

    Returns:
        Arrays of the same length: budget in operations, parameters, tokens read, loss in nats a
        token on what they have not read.
    """
    runs = json.loads((DATA / "results/sweep.json").read_text(encoding="utf-8"))["runs"]
    cells = [cell for run in runs for cell in run["cells"]]
    names = ("budget", "parameters", "tokens", "loss")
    return tuple(np.array([float(cell[name]) for cell in cells]) for name in names)


_X = np.array([1.0, 10.0, 100.0])


@exercise(
    lambda rng: [
        (_X, 8 * _X**-0.5),
        (np.array([1.0, 2.0, 4.0]), np.array([1.0, 4.0, 16.0])),
        (_X, np.array([5.0, 3.0, 2.5])),
        (rng.uniform(1, 50, 9), rng.uniform(1, 9, 9)),
    ],
    (
        "np.polyfit(np.log(x), np.log(y), 1)",
        "np.polyfit(x, y, 1)",
        "this is a line through the points themselves: take the logarithm of both",
    ),
    (
        "np.polyfit(np.log(x), np.log(y), 1)",
        "np.polyfit(np.log(x), y, 1)",
        "y is not in logarithms: a power law is a line where both are",
    ),
    (
        "np.exp(height), slope",
        "height, slope",
        "this is the logarithm of the factor: take e to its power",
    ),
    ("np.exp(height), slope", "slope, np.exp(height)", "factor and exponent are exchanged"),
    (
        "np.polyfit(np.log(x), np.log(y), 1)",
        "np.polyfit(np.log(y), np.log(x), 1)",
        "x and y are exchanged: y is to be predicted from x",
    ),
    (
        "np.exp(height), slope",
        "slope, height",
        "these are slope and height of the line: hand back e to the height, and the slope",
    ),
    right="a power law is a line in logarithms",
)
def power_law(x, y):
    """Factor and exponent of y = factor · x^exponent, by least
    squares in logarithms.
    """
    slope, height = np.polyfit(np.log(x), np.log(y), 1)
    return np.exp(height), slope


_LAW = (2.0, 30.0, 500.0, 0.3, 0.5)


@exercise(
    lambda rng: [
        (_LAW, 1e4, 1e5),
        (_LAW, np.array([1e3, 1e6]), np.array([1e7, 1e4])),
        ((1.69, 406.4, 410.7, 0.34, 0.28), 70e9, 1.4e12),
        ((0.0, 1.0, 1.0, 1.0, 1.0), 2.0, 4.0),
    ],
    ("floor + ", "", "the floor is missing: what no model can get below"),
    ("B / tokens**b", "B / tokens**a", "tokens have an exponent of their own, b"),
    (
        "A / parameters**a + B / tokens**b",
        "A * parameters**a + B * tokens**b",
        "it grows with size: divide by the powers",
    ),
    (
        "A / parameters**a + B / tokens**b",
        "A / parameters**a * B / tokens**b",
        "the two terms are multiplied: add what is lost for each",
    ),
    ("A / parameters**a", "A / (parameters * a)", "a is an exponent, not a factor"),
    right="a floor, what size loses, and what data lose",
)
def loss(law, parameters, tokens):
    """The loss floor + A / parameters^a + B / tokens^b, where law =
    (floor, A, B, a, b).
    """
    floor, A, B, a, b = law
    return floor + A / parameters**a + B / tokens**b


def _made(rng, a, b, noise):
    parameters, tokens = 10 ** rng.uniform(3, 6, 12), 10 ** rng.uniform(4, 7, 12)
    return (
        parameters,
        tokens,
        loss((2.0, 30.0, 500.0, a, b), parameters, tokens) + noise * rng.normal(size=12),
    )


@exercise(
    lambda rng: [
        (*_made(rng, 0.3, 0.5, 0.0), 0.3, 0.5),
        (*_made(rng, 0.3, 0.5, 0.05), 0.4, 0.6),
        (*_made(rng, 0.5, 0.3, 0.05), 0.2, 0.8),
    ],
    ("np.ones_like(parameters), ", "", "the floor is missing: a column of ones"),
    ("parameters**-a, tokens**-b", "parameters**a, tokens**b", "the exponents are negative"),
    (
        "parameters**-a, tokens**-b",
        "tokens**-b, parameters**-a",
        "A and B are exchanged: first what belongs to parameters",
    ),
    ("parameters**-a, tokens**-b", "parameters**-a, tokens**-a", "tokens have the exponent b"),
    (
        "losses, rcond",
        "np.log(losses), rcond",
        "these are fitted to the logarithm of the loss, but the terms add up to the loss itself",
    ),
    right="for given exponents, one least-squares problem",
)
def coefficients(parameters, tokens, losses, a, b):
    """Floor, A and B by least squares, for given exponents a and b."""
    columns = np.stack([np.ones_like(parameters), parameters**-a, tokens**-b], axis=1)
    return np.linalg.lstsq(columns, losses, rcond=None)[0]


_GRID = [0.2, 0.3, 0.4, 0.5, 0.6]


@exercise(
    lambda rng: [
        (*_made(rng, 0.3, 0.5, 0.0), _GRID),
        (*_made(rng, 0.4, 0.6, 0.01), _GRID),
        (*_made(rng, 0.6, 0.2, 0.05), _GRID),
        (*_made(rng, 0.3, 0.3, 0.0), [0.3]),
    ],
    (
        "if error < best:",
        "if error > best or best == np.inf:",
        "this is the worst law: take the smallest error",
    ),
    ("for b in grid", "for b in [a]", "the two exponents are kept equal: try every pair"),
    (
        "((loss(law, parameters, tokens) - losses) ** 2).sum()",
        "abs((loss(law, parameters, tokens) - losses).sum())",
        "errors of both signs cancel: square each one before you add",
    ),
    (
        "((loss(law, parameters, tokens) - losses) ** 2).sum()",
        "((loss(law, parameters, tokens) - losses) ** 2)[0]",
        "only the first model is compared: add the errors of all",
    ),
    (
        "best, found = error, law",
        "found = law",
        "the best error is not remembered: the last law wins",
    ),
    right="of all pairs of exponents the one that fits best",
)
def fit(parameters, tokens, losses, grid):
    """The law (floor, A, B, a, b), a and b of the grid, with the
    least sum of squared errors.
    """
    best, found = np.inf, None
    for a in grid:
        for b in grid:
            law = (*coefficients(parameters, tokens, losses, a, b), a, b)
            error = ((loss(law, parameters, tokens) - losses) ** 2).sum()
            if error < best:
                best, found = error, law
    return found


_SIZES = np.geomspace(1e3, 1e7, 41)


@exercise(
    lambda rng: [
        (_LAW, 1e10, _SIZES),
        (_LAW, 1e12, _SIZES),
        ((2.0, 10.0, 9000.0, 0.3, 0.5), 1e11, _SIZES),
        (_LAW, 6e9, np.array([1e3, 1e6])),
        ((2.0, 3000.0, 1.0, 0.5, 0.5), 1e12, _SIZES),
    ],
    ("compute / (6 * sizes)", "compute / sizes", "a token costs six operations for each parameter"),
    (
        "compute / (6 * sizes)",
        "compute",
        "the tokens must be paid from the budget: divide by 6·size",
    ),
    ("np.argmin", "np.argmax", "this is the size with the largest loss"),
    (
        "sizes[np.argmin(losses)]",
        "np.argmin(losses)",
        "this is a place in the list: hand back the size",
    ),
    ("sizes[np.argmin(losses)]", "losses.min()", "this is the loss: hand back the size"),
    (
        "sizes[np.argmin(losses)]",
        "tokens[np.argmin(losses)]",
        "these are the tokens: hand back the size",
    ),
    right="larger models read less, and one size is best",
)
def best_size(law, compute, sizes):
    """Of some sizes the one with the smallest loss, if each reads
    compute / (6 · size) tokens.
    """
    tokens = compute / (6 * sizes)
    losses = loss(law, sizes, tokens)
    return sizes[np.argmin(losses)]
