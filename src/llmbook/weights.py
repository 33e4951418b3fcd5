"""Weights that come from elsewhere: under which names they lie there, and how in memory."""

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_Model = TypeVar("_Model", bound=nn.Module)
_Weight = TypeVar("_Weight")


def build_model(
    make: Callable[[], _Model],
    weights: Mapping[str, _Weight],
    their_name: Callable[[str], str],
    convert: Callable[[str, _Weight], Tensor],
    ignored: Collection[str] = (),
) -> _Model:
    """Make a model of weights that are there, and of all of them.

    No random weights are drawn first, and no memory is taken for them.

    Args:
        make: Makes the model, such as a class with its config.
        weights: Whatever stands for a weight, under the names of whoever made it.
        their_name: Gives their name for a weight that our `state_dict` calls by its argument.
        convert: Takes our name and their weight and gives the tensor, which becomes the model's.
        ignored: Names of theirs that hold nothing learned, such as a table of positions.

    Returns:
        A model in training mode, as a fresh one is.

    Raises:
        ValueError: If a weight of ours is missing, one of theirs has no place in the model, or
            one has another shape.

    Examples:
        >>> weights = {"w": torch.ones(1, 2), "b": torch.zeros(1)}
        >>> build_model(
        ...     lambda: nn.Linear(2, 1), weights, lambda name: name[0], lambda _, weight: weight
        ... ).weight.tolist()
        [[1.0, 1.0]]
    """
    with torch.device("meta"):
        model = make()
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    names = {name: their_name(name) for name in shapes}
    needed = set(names.values())
    if missing := sorted(needed - weights.keys()):
        raise ValueError(f"the model needs weights that are not there: {', '.join(missing)}")
    if unknown := sorted(weights.keys() - needed - set(ignored)):
        raise ValueError(f"the model has no place for these weights: {', '.join(unknown)}")
    found = {name: convert(name, weights[theirs]) for name, theirs in names.items()}
    for name, weight in found.items():
        if weight.shape != shapes[name]:
            raise ValueError(
                f"{names[name]} must have the shape {shapes[name]} as {name}, "
                f"got {tuple(weight.shape)}"
            )
    model.load_state_dict(found, assign=True)
    return model


def copied(weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Copy a weight row by row, as all that saves, flattens or sends it expects it in memory."""
    return weight.detach().clone(memory_format=torch.contiguous_format)


def unembedded(
    hidden: Float[Tensor, "batch seq d_model"], weight: Float[Tensor, "vocab d_model"]
) -> Float[Tensor, "batch seq vocab"]:
    """Compare hidden states with the vector of each token: the output layer, without a bias.

    Generation does it for one position at a time, and waits for memory. PyTorch's CPU kernel for
    one vector reads a matrix in pieces twice as fast as in one.

    Examples:
        >>> hidden, weight = torch.randn(1, 1, 8), torch.randn(48, 8)
        >>> torch.allclose(unembedded(hidden, weight), hidden @ weight.T, atol=1e-5)
        True
    """
    generating = not torch.is_grad_enabled() and not torch.compiler.is_compiling()
    here = weight.device.type == "cpu" and weight.is_contiguous()
    if not (generating and here and hidden.shape[:-1].numel() == 1):
        return F.linear(hidden, weight)
    column, rest = hidden.reshape(1, -1).T, len(weight) % _PIECES  # a row would be slow
    pieces = weight[: len(weight) - rest].view(_PIECES, -1, weight.shape[1])
    scores = torch.bmm(pieces, column.expand(_PIECES, -1, -1)).flatten()
    if rest:
        scores = torch.cat((scores, weight[-rest:] @ column[:, 0]))
    return scores.view(*hidden.shape[:-1], -1)


_PIECES = 16


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
