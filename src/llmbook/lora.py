"""LoRA: a change of a large matrix, learned as the product of two small ones."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmbook.layers import copied_linear
from llmbook.sizes import number, whole


class LoRA(nn.Module):
    r"""A frozen linear layer, and beside it a path through few dimensions that is trained.

    $$y = W x + b + \frac{\alpha}{r} B A x, \qquad A \in \mathbb{R}^{r \times d},\;
      B \in \mathbb{R}^{k \times r}$$

    $B$ starts as zeros, so nothing is changed at first. $W$ and $b$ are not copied, and get no
    gradient any more.

    Args:
        linear: The layer, $d$ wide where it reads and $k$ where it writes.
        rank: $r$, at most the smaller of $d$ and $k$.
        alpha: $\alpha$. Divided by the rank, so that a rate found for one rank suits others.

    Raises:
        TypeError: If `linear` is no `nn.Linear`, or a number is none.
        ValueError: If the rank is less than 1 or beyond the matrix, or `alpha` is not positive.

    Examples:
        >>> layer = LoRA(nn.Linear(64, 32), rank=4, alpha=8)
        >>> sum(p.numel() for p in layer.parameters() if p.requires_grad)  # 4 · (64 + 32)
        384
        >>> layer.merge()
        Linear(in_features=64, out_features=32, bias=True)

    Source:
        [Hu et al. 2021][hu2021lora], section 4.1.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float | int) -> None:
        super().__init__()
        if not isinstance(linear, nn.Linear):
            raise TypeError(f"need an nn.Linear, got {type(linear).__name__}")
        rank, alpha = whole("rank", rank), number("alpha", alpha)
        most = min(linear.in_features, linear.out_features)
        if not 1 <= rank <= most:
            raise ValueError(f"rank must be from 1 to {most}, the matrix's own, got {rank}")
        if not alpha > 0:
            raise ValueError(f"alpha must be positive, got {alpha}")
        self.linear, self.scale = linear.requires_grad_(False), alpha / rank
        weight = linear.weight
        self.down = nn.Parameter(weight.new_empty(rank, linear.in_features))
        self.up = nn.Parameter(weight.new_zeros(linear.out_features, rank))
        if not weight.is_meta:
            nn.init.kaiming_uniform_(self.down, a=5**0.5)  # as nn.Linear draws its weights

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """What the layer gives, and the change."""
        output: Tensor = self.linear(x)
        return output + self.scale * F.linear(F.linear(x, self.down), self.up)

    @property
    def change(self) -> Float[Tensor, "d_out d_in"]:
        r"""What the path adds to the matrix, $\frac{\alpha}{r} B A$."""
        return self.scale * self.up @ self.down

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        """A plain layer that gives the same, and costs no more than the one at the start.

        Returns:
            A layer of its own, whose weights are trained again.
        """
        merged = copied_linear(self.linear.weight + self.change, self.linear.bias)
        return merged.train(self.training)


def add_lora(model: nn.Module, rank: int, alpha: float | int, names: tuple[str, ...]) -> nn.Module:
    """Freeze a model, and give a trained path to some of its linear layers, where they are.

    Args:
        model: Is changed, and given back.
        rank: Of each path.
        alpha: Of each path.
        names: Last parts of the layers' names, such as "query" and "value".

    Raises:
        ValueError: If no linear layer has such a name, or a number does not fit; see `LoRA`.

    Examples:
        >>> from llmbook.gpt import GPT, GPTConfig
        >>> config = GPTConfig(vocab_size=9, d_model=8, num_layers=2, num_heads=2, max_len=4)
        >>> model = add_lora(GPT(config), rank=1, alpha=1, names=("query", "value"))
        >>> sum(p.numel() for p in model.parameters() if p.requires_grad)  # 2 · 2 · (8 + 8)
        64
    """
    found = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and path.rpartition(".")[2] in names
    }
    if not found:
        raise ValueError(f"model has no linear layer whose name ends in one of {names}")
    paths = {path: LoRA(linear, rank, alpha) for path, linear in found.items()}
    model.requires_grad_(False)
    for path, lora in paths.items():
        lora.down.requires_grad_(True)
        lora.up.requires_grad_(True)
        model.set_submodule(path, lora.train(found[path].training))
    return model


def merge_lora(model: nn.Module) -> nn.Module:
    """Put a plain layer in the place of each path, where they are: `add_lora`'s way back.

    Args:
        model: Is changed, and given back. What was frozen elsewhere stays so.
    """
    for path, module in list(model.named_modules()):
        if isinstance(module, LoRA):
            model.set_submodule(path, module.merge())
    return model
