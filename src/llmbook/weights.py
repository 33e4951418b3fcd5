"""Weights that come from elsewhere: under which names they lie there, and how in memory."""

import torch
from jaxtyping import Float
from torch import Tensor


def long_side_first(weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Copy a matrix so that its longer side lies in one piece in memory; it means the same.

    Generation multiplies each matrix by one vector at a time, and waits for memory. PyTorch's
    CPU kernels for that read long runs up to twice as fast as short ones.
    """
    if weight.ndim == 2 and weight.shape[0] > weight.shape[1]:
        return weight.detach().T.clone(memory_format=torch.contiguous_format).T
    return weight.detach().clone(memory_format=torch.contiguous_format)


def renamed(name: str, blocks: str, parts: dict[str, str]) -> str:
    """Say what someone else calls the weight that our `state_dict` calls `name`.

    Args:
        name: Such as "blocks.3.attention.query.weight".
        blocks: What they call the stack of blocks.
        parts: Their names for our parts.

    Examples:
        >>> renamed("blocks.3.attention.query.weight", "blk", {"attention.query": "attn_q"})
        'blk.3.attn_q.weight'
    """
    part, _, kind = name.rpartition(".")
    if not part.startswith("blocks."):
        return f"{parts[part]}.{kind}"
    _, layer, part = part.split(".", maxsplit=2)
    return f"{blocks}.{layer}.{parts[part]}.{kind}"
