"""What the page *Word map* shows: the 20,000 vectors, their places on a plane, and one file of both."""

import base64
from typing import Any, Final

STEPS: Final = 3000


def made(steps: int = STEPS, seed: int = 0) -> dict[str, Any]:
    """Make both maps of the vectors, and measure what they keep.

    Args:
        steps: Of the contrastive map.
        seed: Of it, and of words by lot.

    Returns:
        "file": in base64, see `packed`; "places" of both, to three digits; of the plane of most
        variance its "share"; the "kept" shares of ten neighbours, on that plane, on the map, with
        the map's places dealt by lot, and after rounding to eight bits in all dimensions; and the
        rank correlations of 20,000 "distances" between words by lot with those on the plane and on
        the map.
    """
    import numpy as np  # here, so that to find what is made already takes none

    from llmbook.datasets import glove
    from llmbook.projection import (
        contrastive_map,
        kept_neighbours,
        neighbours,
        packed,
        principal_components,
        rounded,
    )

    words, vectors = glove()
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float64)
    near = neighbours(unit)
    plane, share = principal_components(unit)
    map_ = contrastive_map(near, plane, steps=steps, seed=seed)
    numbers, step = rounded(unit)
    dice = np.random.default_rng(seed)
    pairs = dice.integers(len(words), size=(20_000, 2))
    across = [np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1) for x in (unit, plane, map_)]
    ranks = [distance.argsort().argsort() for distance in across]
    return {
        "file": base64.b64encode(packed(words, map_, numbers)).decode(),
        "places": {"plane": plane.round(3).tolist(), "map": map_.round(3).tolist()},
        "share": share,
        "kept": {
            "plane": kept_neighbours(near, plane),
            "map": kept_neighbours(near, map_),
            "lot": kept_neighbours(near, map_[dice.permutation(len(map_))]),
            "rounded": kept_neighbours(near, numbers * step),
        },
        "distances": {
            "plane": float(np.corrcoef(ranks[0], ranks[1])[0, 1]),
            "map": float(np.corrcoef(ranks[0], ranks[2])[0, 1]),
        },
    }


def content(made: dict[str, Any]) -> bytes:
    """The bytes of the file in what `made` returns."""
    return base64.b64decode(made["file"])
