"""Griffin and Lim's algorithm in `librosa`, from phases that are all 0."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = "librosa"
CASES = ((0, 0.0), (1, 0.99), (5, 0.0), (5, 0.99), (8, 0.5))  # steps, momentum


def magnitudes() -> NDArray[np.float64]:
    """Of no wave: drawn by lot."""
    drawn: NDArray[np.float64] = np.random.default_rng(0).gamma(1.0, size=(201, 7))
    return drawn


def values() -> dict[str, NDArray[Any]]:
    """The wave after each number of steps."""
    import librosa

    return {
        f"{steps}-{momentum}": librosa.griffinlim(
            magnitudes(), n_iter=steps, hop_length=160, momentum=momentum, init=None, dtype=float
        )
        for steps, momentum in CASES
    }
