"""Flower: the average of clients' weights, each by how many examples it has."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = "flwr"
APART = True
CASES = [  # type, counts
    ("float64", (3, 5, 1)),
    ("float32", (10, 0, 7)),
    ("float16", (1, 2, 3)),
    ("int64", (4, 4, 1)),
]
SHAPES = ((3, 4), (5,), ())


def values() -> dict[str, NDArray[np.generic]]:
    from flwr.server.strategy.aggregate import aggregate

    rng = np.random.default_rng(0)
    found: dict[str, Any] = {}
    for case, (kind, counts) in enumerate(CASES):
        clients = [
            [np.asarray(10 * rng.normal(size=shape)).astype(kind) for shape in SHAPES]
            for _ in counts
        ]
        for k, arrays in enumerate(clients):
            found |= {f"{case}.{k}.{i}": array for i, array in enumerate(arrays)}
        pairs = list(zip(clients, counts, strict=True))
        found |= {f"{case}.average.{i}": np.asarray(a) for i, a in enumerate(aggregate(pairs))}
    return found
