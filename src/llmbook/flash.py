"""Attention in pieces: exact, with a softmax that is put right as it goes, and few scores held."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from llmbook.sizes import whole


def online_attention(
    query: Float[Tensor, "*batch query d_k"],
    key: Float[Tensor, "*batch key d_k"],
    value: Float[Tensor, "*batch key d_v"],
    block: int,
) -> Float[Tensor, "*batch query d_v"]:
    r"""Attention that reads keys and values block by block, and holds no row of weights.

    A softmax needs the largest score of the whole row, $m$, and the sum $\ell$ of all
    exponentials. While blocks come in, both are kept for what has been seen. If a block has
    a larger score $m'$, all that was summed up before is multiplied by $e^{m - m'}$:

    $$\ell \leftarrow e^{m - m'}\,\ell + \sum_j e^{s_j - m'}, \qquad
      o \leftarrow e^{m - m'}\,o + \sum_j e^{s_j - m'}\,v_j$$

    and $o / \ell$ is the output in the end.

    Args:
        query: What each position looks for.
        key: What each position offers to be found by.
        value: What each position hands over.
        block: Keys that are read at a time: for $n$ queries and $b$ keys, $nb$ scores are held,
            whatever the length of the text.

    Returns:
        One row per query, equal to that of attention but for rounding.

    Raises:
        ValueError: If shapes do not fit together, there is no key, or `block` is less than 1.

    Examples:
        >>> x = torch.randn(2, 50, 8, dtype=torch.float64)
        >>> whole = torch.nn.functional.scaled_dot_product_attention(x, x, x)
        >>> torch.allclose(online_attention(x, x, x, block=16), whole)
        True

    Source:
        [Milakov and Gimelshein 2018][milakov2018online], algorithm 3; for attention, in a GPU's
        fast memory: [Dao et al. 2022][dao2022flashattention], algorithm 1.
    """
    if (block := whole("block", block)) < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    fits = query.shape[-1] == key.shape[-1] and key.shape[:-1] == value.shape[:-1]
    if not fits or key.shape[-2] == 0:
        raise ValueError(
            "query and key must have one width, and value as many positions as key, at least one, "
            f"got {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        )
    query = query / math.sqrt(query.shape[-1])
    largest = query.new_full((*query.shape[:-1], 1), -math.inf)
    total = torch.zeros_like(largest)
    output = query.new_zeros(*query.shape[:-1], value.shape[-1])
    for keys, values in zip(key.split(block, -2), value.split(block, -2), strict=True):
        scores = query @ keys.mT
        new = torch.maximum(largest, scores.amax(-1, keepdim=True))
        shrink, weights = (largest - new).exp(), (scores - new).exp()
        total = shrink * total + weights.sum(-1, keepdim=True)
        output = shrink * output + weights @ values
        largest = new
    return output / total
