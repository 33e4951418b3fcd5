"""Sparse attention: each position sees some of those before it, and only those are computed.

A mask alone saves nothing: the scores that it hides have been computed. Here positions are cut
into blocks, and a block meets the blocks that it can see.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from llmbook.sizes import whole

_LEAST = 64  # positions of a block: smaller matrices are multiplied no faster


def local_mask(seq: int, window: int) -> Bool[Tensor, "{seq} {seq}"]:
    """Let each position attend to itself and to the `window - 1` positions before it.

    Args:
        seq: Number of positions.
        window: How many positions each sees; all before it, if there are fewer.

    Raises:
        ValueError: If `seq` is negative or `window` less than 1.

    Examples:
        >>> local_mask(4, window=2).int()
        tensor([[1, 0, 0, 0],
                [1, 1, 0, 0],
                [0, 1, 1, 0],
                [0, 0, 1, 1]], dtype=torch.int32)

    Source:
        [Beltagy et al. 2020][beltagy2020longformer], section 3.1, with the past alone.
    """
    back = _distances(seq)
    return (back >= 0) & (back < _at_least_one("window", window))


def strided_mask(seq: int, stride: int) -> Bool[Tensor, "{seq} {seq}"]:
    """Let each position attend to the last `stride` positions, and to every `stride`-th before.

    Args:
        seq: Number of positions.
        stride: Length of the window, and distance of what is seen beyond.

    Raises:
        ValueError: If `seq` is negative or `stride` less than 1.

    Examples:
        >>> strided_mask(5, stride=2).int()
        tensor([[1, 0, 0, 0, 0],
                [1, 1, 0, 0, 0],
                [1, 1, 1, 0, 0],
                [0, 1, 1, 1, 0],
                [1, 0, 1, 1, 1]], dtype=torch.int32)

    Source:
        [Child et al. 2019][child2019generating], section 4.2, both heads' patterns in one.
    """
    back = _distances(seq)
    return local_mask(seq, stride) | ((back >= 0) & (back % whole("stride", stride) == 0))


def local_attention(
    query: Float[Tensor, "*batch seq d_k"],
    key: Float[Tensor, "*batch seq d_k"],
    value: Float[Tensor, "*batch seq d_v"],
    window: int,
) -> Float[Tensor, "*batch seq d_v"]:
    r"""Causal attention to the nearest `window` positions: what `local_mask` gives, for less.

    For $n$ positions and a window of $w$, $2nw$ scores are computed instead of $n^2$: blocks of
    $w$ positions meet themselves and the block before.

    Args:
        query: What each position looks for.
        key: What each offers to be found by.
        value: What each hands over.
        window: Positions that each sees, itself among them; all before it, if there are fewer.

    Returns:
        One vector for each position, as dense attention under the mask would give it.

    Raises:
        ValueError: If shapes do not fit together, or `window` is less than 1.

    Examples:
        >>> x = torch.randn(2, 4, 100, 8)  # batch, heads, positions, width of a head
        >>> dense = F.scaled_dot_product_attention(x, x, x, local_mask(100, window=16))
        >>> torch.allclose(local_attention(x, x, x, window=16), dense, atol=1e-5)
        True

    Source:
        [Beltagy et al. 2020][beltagy2020longformer], section 3.1, and appendix A.
    """
    window = _at_least_one("window", window)
    seq = _positions(query, key, value)
    if seq <= max(window, _LEAST):  # a single block
        mask = local_mask(seq, window).to(query.device)
        return F.scaled_dot_product_attention(query, key, value, mask)
    block = max(window, _LEAST)
    blocks, near, seen = _blocks(query, key, value, window, block)
    # The kernel wants one axis before the heads' place, and none that is empty.
    mixed = F.scaled_dot_product_attention(blocks, *near, seen)
    return mixed.flatten(-3, -2)[..., :seq, :]


def strided_attention(
    query: Float[Tensor, "*batch seq d_k"],
    key: Float[Tensor, "*batch seq d_k"],
    value: Float[Tensor, "*batch seq d_v"],
    stride: int,
) -> Float[Tensor, "*batch seq d_v"]:
    r"""Causal attention to the last `stride` positions and every `stride`-th before them.

    It gives what `strided_mask` gives, for $n(2s + n/s)$ scores instead of $n^2$, which is least
    for a stride $s$ of about $\sqrt{n/2}$. Positions that are a multiple of the stride apart are
    brought together, so that they are a short text of their own.

    Args:
        query: What each position looks for.
        key: What each offers to be found by.
        value: What each hands over.
        stride: Length of the window, and distance of what is seen beyond.

    Returns:
        One vector for each position, as dense attention under the mask would give it.

    Raises:
        ValueError: If shapes do not fit together, or `stride` is less than 1.

    Examples:
        >>> x = torch.randn(1, 2, 90, 8)
        >>> dense = F.scaled_dot_product_attention(x, x, x, strided_mask(90, stride=9))
        >>> torch.allclose(strided_attention(x, x, x, stride=9), dense, atol=1e-5)
        True

    Source:
        [Child et al. 2019][child2019generating], section 4.2.
    """
    stride = _at_least_one("stride", stride)
    seq = _positions(query, key, value)
    if seq == 0:
        return value
    rest = -seq % stride
    query, key, value = (F.pad(x, (0, 0, 0, rest)) for x in (query, key, value))
    scale = math.sqrt(query.shape[-1])

    blocks, (near_keys, near_values), seen = _blocks(query, key, value, stride, stride)
    near = (blocks / scale @ near_keys.mT).masked_fill(~seen, -math.inf)

    # (…, seq, d) as (…, stride, seq / stride, d): each row a text of positions far apart.
    far_query, far_key, far_value = (
        x.unflatten(-2, (-1, stride)).transpose(-3, -2) for x in (query, key, value)
    )
    earlier = _distances(far_query.shape[-2]).to(query.device) > 0  # distance 0 is in the window
    far = (far_query / scale @ far_key.mT).masked_fill(~earlier, -math.inf)

    near, far = near.flatten(-3, -2), far.transpose(-3, -2).flatten(-3, -2)
    weights = torch.cat((near, far), -1).softmax(-1)
    near, far = weights.split((near.shape[-1], far.shape[-1]), -1)
    from_near = near.unflatten(-2, (-1, stride)) @ near_values
    from_far = far.unflatten(-2, (-1, stride)).transpose(-3, -2) @ far_value
    mixed = from_near.flatten(-3, -2) + from_far.transpose(-3, -2).flatten(-3, -2)
    output: Tensor = mixed[..., :seq, :]
    return output


def _blocks(
    query: Tensor, key: Tensor, value: Tensor, window: int, block: int
) -> tuple[Tensor, tuple[Tensor, Tensor], Bool[Tensor, "blocks {block} 2*{block}"]]:
    """Cut positions into blocks; give each the keys and values of its own and the one before."""
    rest = -query.shape[-2] % block
    queries = F.pad(query, (0, 0, 0, rest)).unflatten(-2, (-1, block))
    keys, values = (
        F.pad(x, (0, 0, block, rest)).unfold(-2, 2 * block, block).mT for x in (key, value)
    )
    count = queries.shape[-3]
    back = torch.arange(block)[:, None] - torch.arange(2 * block) + block
    seen = ((back >= 0) & (back < window)).repeat(count, 1, 1)
    seen[0, :, :block] = False  # before the first block there is nothing
    return queries, (keys, values), seen.to(query.device)


def _distances(seq: int) -> Tensor:
    """How far back each column lies from each row."""
    if seq < 0:
        raise ValueError(f"seq must not be negative, got {seq}")
    return torch.arange(seq)[:, None] - torch.arange(seq)


def _at_least_one(name: str, value: int) -> int:
    if (value := whole(name, value)) < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


def _positions(query: Tensor, key: Tensor, value: Tensor) -> int:
    """How many there are; refuse what does not fit together."""
    if query.ndim < 2 or query.shape != key.shape or query.shape[:-1] != value.shape[:-1]:
        raise ValueError(
            "query and key must have one shape (..., seq, d_k), and value as many positions, "
            f"got {tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
        )
    return query.shape[-2]
