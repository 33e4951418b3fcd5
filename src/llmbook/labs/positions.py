"""Lab: positions, as waves that are added and as angles by which vectors are turned."""

import numpy as np

from llmbook.labs.grader import exercise


@exercise(
    lambda rng: [(4, 100.0), (8, 10000.0), (2, 10000.0), (6, 500.0)],
    ("np.arange(0, d, 2)", "np.arange(d)", "there is one frequency for each pair of numbers: d/2"),
    (
        "np.arange(0, d, 2)",
        "np.arange(d // 2)",
        "the exponent is 2i/d: this takes i/d, so waves lengthen half as fast",
    ),
    ("-np.arange", "np.arange", "frequencies grow here: the exponent is negative"),
    (
        "-np.arange(0, d, 2)",
        "-np.arange(2, d + 1, 2)",
        "the first frequency is 1: start at the exponent 0",
    ),
    right="from 1 down, each pair slower than the one before",
)
def frequencies(d, base):
    """Of each pair of numbers its angle for one step: base to the
    power of -2i/d.
    """
    return base ** (-np.arange(0, d, 2) / d)


@exercise(
    lambda rng: [(3, 4), (5, 8), (1, 2), (0, 4), (7, 6)],
    (
        "waves[:, 0::2] = np.sin(angles)",
        "waves[:, 0::2] = np.cos(angles)",
        "the sine is missing: even columns have the sine, odd ones the cosine",
    ),
    ("np.arange(length)", "np.arange(1, length + 1)", "positions are counted from 0"),
    (
        "waves[:, 0::2] = np.sin(angles)\n    waves[:, 1::2] = np.cos(angles)",
        "waves[:, 0::2] = np.cos(angles)\n    waves[:, 1::2] = np.sin(angles)",
        "sine and cosine are exchanged: the sine comes first",
    ),
    (
        "waves[:, 0::2] = np.sin(angles)\n    waves[:, 1::2] = np.cos(angles)",
        "waves[:, : d // 2] = np.sin(angles)\n    waves[:, d // 2 :] = np.cos(angles)",
        "all sines stand before all cosines: in the paper they alternate",
    ),
    ("10000.0", "1000.0", "the base is 10,000"),
    right="sine and cosine take turns, ever more slowly",
)
def sinusoids(length, d):
    """A row for each position: sines in even columns, cosines in odd
    ones, base 10,000.
    """
    angles = np.arange(length)[:, None] * frequencies(d, 10000.0)
    waves = np.zeros((length, d))
    waves[:, 0::2] = np.sin(angles)
    waves[:, 1::2] = np.cos(angles)
    return waves


@exercise(
    lambda rng: [
        (np.array([1.0, 0.0]), np.pi / 2),
        (np.array([1.0, 2.0]), 0.0),
        (np.array([3.0, -1.0]), 1.0),
        (rng.normal(size=2), -2.5),
    ],
    (
        "x * np.cos(angle) - y * np.sin(angle)",
        "x * np.cos(angle) + y * np.sin(angle)",
        "the first number needs a minus: this is no rotation",
    ),
    (
        "x * np.sin(angle) + y * np.cos(angle)",
        "y * np.cos(angle) - x * np.sin(angle)",
        "the second number needs a plus: this is no rotation",
    ),
    (
        "np.array([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)])",
        "np.array([x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)])",
        "it turns clockwise: a positive angle turns from the first axis to the second",
    ),
    (
        "np.array([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)])",
        "np.array([x * np.sin(angle) + y * np.cos(angle), x * np.cos(angle) - y * np.sin(angle)])",
        "the two numbers are exchanged",
    ),
    right="turned, and as long as before",
)
def turn(pair, angle):
    """Two numbers, seen as a point, turned by an angle from the first
    axis to the second.
    """
    x, y = pair
    return np.array([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)])


@exercise(
    lambda rng: [
        (np.array([[1.0, 0.0]]), [1]),
        (rng.normal(size=(3, 4)), [0, 1, 2]),
        (rng.normal(size=(4, 6)), [7, 8, 9, 10]),
        (rng.normal(size=(2, 4)), [5, 5]),
        (rng.normal(size=(1, 8)), [0]),
    ],
    (
        "position * speeds[i]",
        "row * speeds[i]",
        "the row's number is used: take the position that is given for it",
    ),
    (
        "position * speeds[i]",
        "position * speeds[0]",
        "every pair turns at the same speed: each has its own frequency",
    ),
    (
        "position * speeds[i]",
        "position + speeds[i]",
        "position and frequency are added: their product is the angle",
    ),
    ("position * speeds[i]", "-position * speeds[i]", "it turns clockwise"),
    ("range(d // 2)", "range(1)", "only the first pair is turned"),
    (
        "pair = [2 * i, 2 * i + 1]",
        "pair = [i, i + d // 2]",
        "numbers i and i + d/2 are pairs here, as in many models: take neighbours",
    ),
    right="each pair turns by position times frequency",
)
def rotary(vectors, positions):
    """Numbers 2i and 2i+1 of each row, turned by its position times
    the i-th frequency.
    """
    turned = np.array(vectors, dtype=float)
    d = turned.shape[1]
    speeds = frequencies(d, 10000.0)
    for row, position in enumerate(positions):
        for i in range(d // 2):
            pair = [2 * i, 2 * i + 1]
            turned[row, pair] = turn(vectors[row][pair], position * speeds[i])
    return turned


@exercise(
    lambda rng: [
        (rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), 0),
        (rng.normal(size=(2, 8)), rng.normal(size=(5, 8)), 3),
        (rng.normal(size=(1, 2)), rng.normal(size=(1, 2)), 100),
    ],
    (
        "rotary(key, range(start, start + len(key)))",
        "key",
        "only queries are turned: turn the keys by their positions too",
    ),
    (
        "rotary(query, range(start, start + len(query)))",
        "query",
        "only keys are turned: turn the queries by their positions too",
    ),
    (" / np.sqrt(query.shape[1])", "", "the division by the root of d is missing"),
    ("np.sqrt(query.shape[1])", "query.shape[1]", "divided by d instead of by its root"),
    ("q @ k.T", "k @ q.T", "transposed: a row belongs to a query, a column to a key"),
    right="both are turned, and their distance is left",
)
def scores(query, key, start):
    """Scaled scores of rotary attention; first query and first key
    stand at `start`.
    """
    q = rotary(query, range(start, start + len(query)))
    k = rotary(key, range(start, start + len(key)))
    return q @ k.T / np.sqrt(query.shape[1])
