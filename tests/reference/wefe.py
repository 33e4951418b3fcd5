"""WEFE's effect sizes of the word embedding association test.

WEFE asks for a NumPy older than the book's, so it is asked in an environment of its own:
`pip install wefe`, then `python -m tests.reference make wefe`. Its p-values are not taken: what it
calls permutations are drawn with replacement.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = "wefe"
APART = True
SIZES = [(2, 2, 1, 1, 3), (5, 5, 4, 4, 10), (8, 7, 3, 6, 20)]  # x, y, a, b, width


def drawn(case: int) -> list[NDArray[Any]]:
    """The four sets of vectors of one case."""
    random = np.random.default_rng(case)
    *sizes, width = SIZES[case]
    return [random.standard_normal((size, width)) + 0.3 * kind for kind, size in enumerate(sizes)]


def values() -> dict[str, NDArray[np.generic]]:
    from wefe.metrics import WEAT

    metric: Any = WEAT()
    found = {}
    for case in range(len(SIZES)):
        found[f"{case}.effect"] = np.array(metric._calc_effect_size(*drawn(case)))
    return found
