"""What a block does to each position by itself: normalise it, and transform it."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from llmbook.sizes import whole

_Norm = TypeVar("_Norm", bound=nn.Module)


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


# A name, its function, and whether that gates a second projection.
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "relu": (F.relu, False),
    "gelu": (F.gelu, False),
    "gelu_tanh": (partial(F.gelu, approximate="tanh"), False),
    "quick_gelu": (_quick_gelu, False),
    "swiglu": (F.silu, True),
    "geglu": (partial(F.gelu, approximate="tanh"), True),
}


class LayerNorm(nn.Module):
    r"""Bring each vector to mean 0 and variance 1, then give each coordinate a scale and a shift.

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} \odot w + b, \qquad
      \mu = \tfrac1d \sum_i x_i, \quad \sigma^2 = \tfrac1d \sum_i (x_i - \mu)^2$$

    Args:
        d_model: Width $d$.
        eps: $\varepsilon$, which keeps a constant vector from a division by zero.
        bias: With the shift $b$.

    Raises:
        ValueError: If `d_model` is not positive.

    Examples:
        >>> LayerNorm(3)(torch.tensor([1.0, 2.0, 3.0])).detach()
        tensor([-1.2247,  0.0000,  1.2247])

    Source:
        [Ba et al. 2016][ba2016layer], section 3.
    """

    def __init__(self, d_model: int, eps: float | int = 1e-5, bias: bool = True) -> None:
        super().__init__()
        _check_positive(d_model=d_model)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Normalise each position by itself; squares of float16 are taken in float32."""
        wide = widened(x)
        centred = wide - wide.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        y = centred * torch.rsqrt(variance + self.eps) * self.weight
        return (y if self.bias is None else y + self.bias).to(x.dtype)

    @classmethod
    def from_torch(cls, layer: nn.LayerNorm) -> "LayerNorm":
        """Copy the weights of PyTorch's own layer; the two are then equal.

        Raises:
            TypeError: If `layer` is no `nn.LayerNorm`.
            ValueError: If it normalises over several axes, or has no weight.
        """
        if not isinstance(layer, nn.LayerNorm):
            raise TypeError(f"need an nn.LayerNorm, got {type(layer).__name__}")
        return _copied_norm(cls(_width(layer), layer.eps, layer.bias is not None), layer)


class RMSNorm(nn.Module):
    r"""Bring each vector to the same length, then weight its numbers: a LayerNorm without mean.

    $$y = \frac{x}{\sqrt{\frac{1}{d}\sum_i x_i^2 + \varepsilon}} \odot w$$

    Args:
        d_model: Width $d$.
        eps: $\varepsilon$, which keeps a vector of zeros at zero.

    Raises:
        ValueError: If `d_model` is not positive.

    Examples:
        >>> RMSNorm(2)(torch.tensor([3.0, 4.0])).detach()  # divided by the root of 25/2
        tensor([0.8485, 1.1314])

    Source:
        [Zhang and Sennrich 2019][zhang2019root], equation 4.
    """

    def __init__(self, d_model: int, eps: float | int = 1e-5) -> None:
        super().__init__()
        _check_positive(d_model=d_model)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Normalise each position by itself; squares of float16 are taken in float32."""
        wide = widened(x)
        mean_square = wide.square().mean(dim=-1, keepdim=True)
        return (wide * torch.rsqrt(mean_square + self.eps) * self.weight).to(x.dtype)

    @classmethod
    def from_torch(cls, layer: nn.RMSNorm) -> "RMSNorm":
        """Copy the weights of PyTorch's own layer; the two are then equal.

        Raises:
            TypeError: If `layer` is no `nn.RMSNorm`.
            ValueError: If it normalises over several axes, or has no weight.
        """
        if not isinstance(layer, nn.RMSNorm):
            raise TypeError(f"need an nn.RMSNorm, got {type(layer).__name__}")
        width = _width(layer)
        least = torch.finfo(torch.promote_types(layer.weight.dtype, torch.float32)).eps
        return _copied_norm(cls(width, least if layer.eps is None else layer.eps), layer)


class FeedForward(nn.Module):
    r"""Two layers with a non-linearity between them, applied to each position by itself.

    $$\mathrm{FFN}(x) = W_2\,\phi(W_1 x + b_1) + b_2, \qquad
      \mathrm{SwiGLU}(x) = W_2\,(\mathrm{SiLU}(W_g x) \odot W_1 x)$$

    Args:
        d_model: Width of what comes in and goes out.
        d_ff: Width of the hidden layer; 4 × `d_model` in the paper. A gate is a third matrix, so
            with SwiGLU 8/3 × `d_model` costs as much.
        activation: $\phi$: "relu", as in the paper; "gelu", as in BERT; "gelu_tanh", its
            approximation of the time when that was faster, as in GPT; "quick_gelu", a coarser one,
            $x\,\sigma(1.702\,x)$, as in CLIP; or one with a gate, "swiglu" as in Llama and
            "geglu", with GPT's approximation, as in T5's second version, whose biases are usually
            left out.
        bias: Biases in all matrices.

    Raises:
        ValueError: If a size is not positive, or `activation` is none of these.

    Examples:
        >>> layer = FeedForward(d_model=512, d_ff=2048)
        >>> sum(p.numel() for p in layer.parameters())
        2099712
        >>> layer(torch.randn(2, 5, 512)).shape
        torch.Size([2, 5, 512])

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.3; GELU, and its approximation:
        [Hendrycks and Gimpel 2016][hendrycks2016gaussian], section 2; SwiGLU
        and GEGLU: [Shazeer 2020][shazeer2020glu], equation 6.
    """

    def __init__(
        self, d_model: int, d_ff: int, activation: str = "relu", bias: bool = True
    ) -> None:
        super().__init__()
        d_model, d_ff = whole("d_model", d_model), whole("d_ff", d_ff)
        _check_positive(d_model=d_model, d_ff=d_ff)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {list(ACTIVATIONS)}, got {activation!r}")
        self.activation, gated = ACTIVATIONS[activation]
        self.up = nn.Linear(d_model, d_ff, bias)
        self.gate = nn.Linear(d_model, d_ff, bias) if gated else None
        self.down = nn.Linear(d_ff, d_model, bias)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Transform each position by itself."""
        hidden = self.up(x)
        if self.gate is None:
            hidden = self.activation(hidden)
        else:
            hidden = self.activation(self.gate(x)) * hidden
        output: Tensor = self.down(hidden)
        return output

    @classmethod
    def from_torch(
        cls, layer: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer
    ) -> "FeedForward":
        """Copy the two linear layers of PyTorch's block; dropout between them is left out.

        Raises:
            TypeError: If `layer` is no block of `nn.Transformer`.
            ValueError: If its activation is neither ReLU nor the exact GELU.
        """
        if not isinstance(layer, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
            raise TypeError(f"need a layer of nn.Transformer, got {type(layer).__name__}")
        with torch.device("meta"):  # its weights are replaced
            ours = cls(1, 1, _activation_name(layer.activation))
        ours.up = copied_linear(layer.linear1.weight, layer.linear1.bias)
        ours.down = copied_linear(layer.linear2.weight, layer.linear2.bias)
        return ours.train(layer.training)


def widened(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Take numbers of 16 bits to float32; others stay as they are.

    In float16, squares above 65,504 are infinite and what is below 6e-8 is zero.

    Examples:
        >>> (widened(torch.tensor(300.0).half()) ** 2).item()
        90000.0
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_sequence(name: str, x: Tensor, d_model: int) -> None:
    """Refuse what is not one vector of `d_model` numbers per position, batch first.

    Raises:
        ValueError: If `x` has another shape.
    """
    if x.ndim != 3 or x.shape[-1] != d_model:
        raise ValueError(
            f"{name} must have the shape (batch, seq, d_model = {d_model}), got {tuple(x.shape)}"
        )


def check_tokens(
    token_ids: Tensor,
    attention_mask: Tensor | None,
    vocab_size: int,
    max_len: int | None,
    start: int = 0,
    *,
    name: str = "token_ids",
) -> int:
    """Refuse what a model cannot read.

    Args:
        token_ids: Texts side by side.
        attention_mask: False or 0 where a position is padding, earlier positions included.
        vocab_size: Tokens that the model knows.
        max_len: Positions that it knows, if there is an end to them.
        start: Positions that have been read before.
        name: What the token ids are called.

    Returns:
        The number of positions, earlier ones included.

    Raises:
        ValueError: If token ids are no integers, none, or outside of the vocabulary, if they end
            beyond `max_len`, or if the mask does not fit.
    """
    if token_ids.ndim != 2 or token_ids.numel() == 0:
        raise ValueError(
            f"{name} must have the shape (batch, seq) and hold at least one token, "
            f"got shape {tuple(token_ids.shape)}"
        )
    if token_ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{name} must be int64 or int32, got dtype {token_ids.dtype}")
    end = start + token_ids.shape[1]
    if max_len is not None and end > max_len:
        raise ValueError(f"{name} must end within max_len={max_len} positions, got {end}")
    if attention_mask is not None and attention_mask.shape != (token_ids.shape[0], end):
        raise ValueError(
            f"attention_mask must have the shape (batch, key) = {(len(token_ids), end)}, "
            f"got {tuple(attention_mask.shape)}"
        )
    inside_vmap = torch._C._functorch.is_functorch_wrapped_tensor(token_ids)
    if not torch.compiler.is_compiling() and not inside_vmap:  # there are shapes alone, no values
        _check_values(token_ids, attention_mask, vocab_size, name)
    return end


def _check_values(
    token_ids: Tensor, attention_mask: Tensor | None, vocab_size: int, name: str
) -> None:
    low, high = (int(extreme) for extreme in token_ids.aminmax())
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"{name} must be from 0 to vocab_size - 1 = {vocab_size - 1}, "
            f"got {low if low < 0 else high}"
        )
    if attention_mask is not None and not ((attention_mask == 0) | (attention_mask == 1)).all():
        raise ValueError("attention_mask must be boolean, or hold 0 and 1 alone")


def copied_linear(weight: Float[Tensor, "out in"], bias: Float[Tensor, " out"] | None) -> nn.Linear:
    """Make a linear layer that owns a copy of a weight, and of a bias if there is one."""
    with torch.device("meta"):  # no memory, and no random numbers drawn, for what we replace
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    parts = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    linear.load_state_dict({k: _copied(v) for k, v in parts.items()}, assign=True)
    return linear


def _copied(weight: Tensor) -> Tensor:
    return weight.detach().clone(memory_format=torch.contiguous_format)


def _activation_name(activation: object) -> str:
    """The name in `ACTIVATIONS` of what PyTorch's layers take as a function or a module."""
    if activation in (F.relu, torch.relu) or isinstance(activation, nn.ReLU):
        return "relu"
    exact = isinstance(activation, nn.GELU) and activation.approximate == "none"
    if activation is F.gelu or exact:
        return "gelu"
    name = getattr(activation, "__name__", repr(activation))
    raise ValueError(f"activation must be relu or the exact gelu, got {name}")


def _check_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size <= 0:
            raise ValueError(f"{name} must be positive, got {size}")


def _width(layer: nn.LayerNorm | nn.RMSNorm) -> int:
    if len(layer.normalized_shape) != 1 or not layer.elementwise_affine:
        raise ValueError(f"need a weight for each number of one axis, got {layer}")
    return int(layer.normalized_shape[0])


def _copied_norm(ours: _Norm, layer: nn.Module) -> _Norm:
    weights = {name: _copied(p) for name, p in layer.state_dict().items()}
    ours.load_state_dict(weights, assign=True)
    return ours.train(layer.training)
