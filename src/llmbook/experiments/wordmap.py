"""What the page *Word map* shows: 20,000 vectors, their places on a plane, one file of both."""

import base64
from typing import Any, Final

STEPS: Final = 600
ASKED: Final = 2000  # words whose neighbours are compared


def made(steps: int = STEPS, seed: int = 0) -> dict[str, Any]:
    """Make both maps of the vectors, and measure what they keep.

    Args:
        steps: Of the contrastive map.
        seed: Of it, and of words by lot.

    Returns:
        "file": in base64, see `packed`; "places" of both, to three digits; of the plane of most
        variance its "share"; the "kept" shares of ten neighbours, on that plane, on the map, on one
        that was begun with places by lot and not with that plane ("strewn"), with the map's places
        dealt by lot, and after rounding to eight bits in all dimensions; the rank correlations of
        20,000 "distances" between words by lot with those on the plane and on both maps; and that
        of the two maps' own ("agree").
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
    plane, share = principal_components(unit)
    near = neighbours(unit)
    map_ = contrastive_map(near, plane, steps=steps, seed=seed)
    begin = np.random.default_rng(seed + 1).standard_normal(map_.shape)
    strewn = contrastive_map(near, begin, steps=steps, seed=seed)
    numbers, step = rounded(unit)
    dice = np.random.default_rng(seed)
    asked = dice.choice(len(words), ASKED, replace=False)
    lot = map_[dice.permutation(len(map_))]
    others = {"plane": plane, "map": map_, "strewn": strewn, "lot": lot, "rounded": numbers * step}
    pairs = dice.integers(len(words), size=(20_000, 2))

    def alike(x: Any, y: Any) -> float:
        far = (np.linalg.norm(z[pairs[:, 0]] - z[pairs[:, 1]], axis=1) for z in (x, y))
        return float(np.corrcoef(*(each.argsort().argsort() for each in far))[0, 1])

    return {
        "file": base64.b64encode(packed(words, map_, numbers)).decode(),
        "places": {"plane": plane.round(3).tolist(), "map": map_.round(3).tolist()},
        "share": share,
        "kept": {name: kept_neighbours(unit, x, of=asked) for name, x in others.items()},
        "distances": {name: alike(unit, others[name]) for name in ("plane", "map", "strewn")},
        "agree": alike(map_, strewn),
    }


def content(made: dict[str, Any]) -> bytes:
    """The bytes of the file in what `made` returns."""
    return base64.b64decode(made["file"])
