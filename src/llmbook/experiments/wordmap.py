"""What the page *Word map* shows: the 20,000 vectors, their places on a plane, and one file of both."""

import base64
import json
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int8

STEPS: Final = 3000
LEVELS: Final = 127  # of a number in eight bits, each way


def rounded(
    vectors: Float[np.ndarray, "words d_model"],
) -> tuple[Int8[np.ndarray, "words d_model"], float]:
    r"""Vectors of length 1 in eight bits: whole numbers, and how much a step of them is.

    $$n_i = \mathrm{round}\!\left(\frac{x_i}{\lVert x_i \rVert\, s}\right), \qquad
      s = \frac{\max |x_{ik}| / \lVert x_i \rVert}{127}$$

    Args:
        vectors: None of them zero.

    Examples:
        >>> numbers, step = rounded(np.array([[3.0, 4.0], [0.0, 2.0]]))
        >>> numbers.tolist(), round(step, 6)
        ([[76, 102], [0, 127]], 0.007874)
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    step = float(np.abs(unit).max()) / LEVELS
    return (unit / step).round().astype(np.int8), step


def packed(
    words: list[str],
    places: Float[np.ndarray, "words 2"],
    vectors: Int8[np.ndarray, "words d_model"],
) -> bytes:
    """The file that the page loads: a length in four bytes, a head in JSON, places, vectors.

    Args:
        words: In the order of the rows.
        places: On the map; rounded to a 65,536th of its width.
        vectors: As `rounded` makes them; a step less or more is the same to a cosine.
    """
    low = places.min(axis=0)
    scale = (places - low).max() / 65535
    head = json.dumps({"words": words, "dims": vectors.shape[1]}, ensure_ascii=False).encode()
    head += b" " * (-len(head) % 4)
    at = ((places - low) / scale).round().astype("<u2")
    return len(head).to_bytes(4, "little") + head + at.tobytes() + vectors.tobytes()


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
    from llmbook.datasets import glove
    from llmbook.projection import (
        contrastive_map,
        kept_neighbours,
        neighbours,
        principal_components,
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
