"""Muon: an optimiser for matrices, which moves them as far in every direction."""

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llmbook.layers import widened


def orthogonalise(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    r"""Bring all singular values near 1, without computing one: five steps of Newton and Schulz.

    $$X \leftarrow aX + b(XX^\top)X + c(XX^\top)^2X$$

    acts on each singular value alone, and leads what is between 0 and 1 towards 1; the factors are
    chosen to be quick rather than exact, so it ends between about 0.7 and 1.2.

    Args:
        matrix: Any matrix; very small singular values stay below.

    Examples:
        >>> orthogonalise(torch.diag(torch.tensor([1.0, 0.5]))).diag()
        tensor([0.6888, 1.1142])

    Source:
        [Jordan et al. 2024][jordan2024muon].
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16() if matrix.is_cuda else widened(matrix)
    wide = x if len(x) <= x.shape[1] else x.T  # the smaller of the two products
    wide = wide / wide.norm().clamp(min=1e-7)  # no singular value is above 1
    for _ in range(5):
        gram = wide @ wide.T
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    y: Tensor = (wide if len(x) <= x.shape[1] else wide.T).to(matrix.dtype)
    return y


class Muon(torch.optim.Optimizer):
    r"""Momentum, orthogonalised: a step moves a matrix as far in every direction.

    The gradient of a matrix is dominated by few directions; Muon gives the rare ones, which matter
    too, the same length. It is for matrices between hidden layers. (`torch.optim.Muon` rounds to
    bfloat16 even on a CPU, where that takes ten times as long.)

    Args:
        params: Matrices.
        lr: Learning rate; the length of a step does not depend on the gradient's.
        momentum: How long gradients are remembered.
        weight_decay: Share, times `lr`, by which each matrix shrinks in a step.

    Raises:
        ValueError: If a parameter is no matrix.

    Examples:
        >>> Muon([torch.nn.Parameter(torch.zeros(3))])
        Traceback (most recent call last):
        ValueError: Muon moves matrices alone, got the shape (3,): AdamW can take the others

    Source:
        [Jordan et al. 2024][jordan2024muon]; with Nesterov's momentum, and longer steps for
        matrices with more rows than columns.
    """

    def __init__(
        self,
        params: Any,
        lr: float | int = 0.02,
        momentum: float | int = 0.95,
        weight_decay: float | int = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Take more matrices, as the optimiser does with the first ones when it is made."""
        super().add_param_group(param_group)
        for weight in self.param_groups[-1]["params"]:
            if weight.ndim != 2:
                del self.param_groups[-1]
                raise ValueError(
                    f"Muon moves matrices alone, got the shape {tuple(weight.shape)}: "
                    "AdamW can take the others"
                )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move each matrix that has a gradient."""
        for group in self.param_groups:
            lr, momentum = group["lr"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - momentum)
                update = weight.grad.lerp(state["momentum"], momentum)
                update = _whole(orthogonalise, update)
                weight.mul_(1 - lr * group["weight_decay"])
                rows, columns = weight.shape
                weight.add_(update, alpha=-lr * math.sqrt(max(1, rows / columns)))


def _whole(function: Callable[[Tensor], Tensor], matrix: Tensor) -> Tensor:
    """Apply what needs the whole matrix to one that FSDP has in pieces on several devices."""
    if not hasattr(matrix, "full_tensor"):
        return function(matrix)
    from torch.distributed.tensor import distribute_tensor

    whole = function(matrix.full_tensor())
    sharded: Any = matrix
    return distribute_tensor(whole, sharded.device_mesh, sharded.placements, src_data_rank=None)
