"""Scaled dot-product attention in NumPy alone: the whole idea on one page."""

import math

import numpy as np
from jaxtyping import Bool, Float


def softmax(scores: Float[np.ndarray, "*batch key"]) -> Float[np.ndarray, "*batch key"]:
    r"""Turn each row of scores into weights that are positive and sum to 1.

    $$p_j = \frac{\exp(s_j - \max_i s_i)}{\sum_k \exp(s_k - \max_i s_i)}$$

    Subtracting the row's maximum changes nothing on paper and keeps `exp` from overflowing:
    without it, one float64 score above 709.78 turns the whole row into NaN.

    Args:
        scores: Scores $s$; a score of minus infinity gets the weight 0.

    Returns:
        Weights over the last axis, in the dtype of `scores`.

    Examples:
        >>> softmax(np.array([0.0, np.log(3.0)])).round(2)
        array([0.25, 0.75])
        >>> softmax(np.array([1000.0, 1000.0]))
        array([0.5, 0.5])

    Source:
        [Goodfellow et al. 2016][goodfellow2016deep], section 4.1.
    """
    highest = scores.max(axis=-1, keepdims=True, initial=-np.inf)  # also of a row without scores
    weights: np.ndarray = np.exp(scores - highest)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def self_attention(
    query: Float[np.ndarray, "*#batch query d_k"],
    key: Float[np.ndarray, "*#batch key d_k"],
    value: Float[np.ndarray, "*#batch key d_v"],
    mask: Bool[np.ndarray, "*#batch #query #key"] | None = None,
) -> tuple[Float[np.ndarray, "*batch query d_v"], Float[np.ndarray, "*batch query key"]]:
    r"""Let each position take a weighted average of the values, weighted by who matches it.

    $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{QK^\top}{\sqrt{d_k}}\right) V$$

    Leading axes (batch, heads) are carried along and may broadcast.

    Args:
        query: What each position looks for, $Q$.
        key: What each position offers to be found by, $K$.
        value: What each position hands over, $V$.
        mask: `True` where a query (row) may attend to a key (column); broadcasts to the scores.

    Returns:
        The output, one row per query, and the weights, whose rows sum to 1.

    Raises:
        ValueError: If an array has fewer than two axes, if shapes do not fit together, or if
            the mask leaves a query nothing to attend to (its softmax would be 0/0).

    Examples:
        Two positions with equal scores take the mean of the values:

        >>> output, weights = self_attention(
        ...     query=np.zeros((2, 4)), key=np.ones((2, 4)), value=np.array([[0.0], [10.0]])
        ... )
        >>> output.ravel()
        array([5., 5.])

        Under a causal mask the first position sees itself alone:

        >>> causal = np.tril(np.ones((2, 2), dtype=bool))
        >>> self_attention(np.zeros((2, 4)), np.ones((2, 4)), np.eye(2), causal)[1]
        array([[1. , 0. ],
               [0.5, 0.5]])

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.2.1, equation 1.
    """
    mask = _check_shapes(query, key, value, mask)
    scores = query @ np.swapaxes(key, -1, -2) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    weights = softmax(scores)
    return weights @ value, weights


def _check_shapes(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: np.ndarray | None
) -> np.ndarray | None:
    """Refuse what does not fit together; give the mask in the shape of the scores."""
    for name, array in (("query", query), ("key", key), ("value", value)):
        if array.ndim < 2:
            raise ValueError(f"{name} needs the axes (..., seq, d), got shape {array.shape}")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query and key must have the same last axis, got shapes {query.shape} and {key.shape}"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(
            f"key and value must have as many positions, got shapes {key.shape} and {value.shape}"
        )
    try:
        np.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
        leading = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    except ValueError:
        raise ValueError(
            "leading axes of query, key and value must broadcast, "
            f"got shapes {query.shape}, {key.shape} and {value.shape}"
        ) from None
    if mask is None:
        return None
    if mask.dtype != bool:
        raise ValueError(f"mask must be boolean (True = may attend), got dtype {mask.dtype}")
    shape = (*leading, query.shape[-2], key.shape[-2])
    try:
        mask = np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(
            f"mask of shape {mask.shape} does not broadcast to the scores' {shape}"
        ) from None
    if not mask.any(axis=-1).all():
        raise ValueError("mask leaves at least one query without any key to attend to")
    return mask
