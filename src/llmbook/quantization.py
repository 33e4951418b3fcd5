"""Weights in few bits: whole numbers that share a scale, and layers that compute with them."""

import copy
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int8, Num, UInt8
from torch import Tensor, nn

from llmbook.layers import copied_linear, widened
from llmbook.llama import Llama
from llmbook.sizes import whole

_BLOCK = 32  # numbers that share a scale in Q8_0
_BYTES = 2 + _BLOCK  # of a block: the scale in 16 bits, and 8 bits a number


class Quantized(NamedTuple):
    """A matrix as whole numbers and scales.

    Attributes:
        codes: The whole numbers, one for each weight.
        scales: One for each group of neighbours in a row.
    """

    codes: Int8[Tensor, "*rows columns"]
    scales: Float[Tensor, "*rows groups"]

    def dequantize(self) -> Float[Tensor, "*rows columns"]:
        """The matrix again, but for rounding: each code times the scale of its group."""
        groups = self.codes.unflatten(-1, (self.scales.shape[-1], -1))
        weight: Tensor = (groups * self.scales[..., None]).flatten(-2)
        return weight


def quantize(
    weight: Float[Tensor, "*rows columns"], bits: int = 8, group: int | None = None
) -> Quantized:
    r"""Round a matrix to whole numbers, by the largest of each group: absmax quantisation.

    $$q = \mathrm{round}\left(\frac{w}{s}\right), \qquad
      s = \frac{\max_{j \in \mathrm{group}} |w_j|}{2^{b-1} - 1}$$

    so that no weight is off by more than $s/2$. One large weight makes the scale of its whole
    group coarse, which is why groups are small where there are few bits.

    Args:
        weight: Any matrix, or stack of them.
        bits: $b$, from 2 to 8.
        group: Neighbours in a row that share a scale; the whole row if left out.

    Returns:
        Codes from $-(2^{b-1} - 1)$ to $2^{b-1} - 1$, and scales. A group of zeros has the scale 0.

    Raises:
        TypeError: If `bits` or `group` is no whole number.
        ValueError: If `bits` is not from 2 to 8, the group does not divide the row, there is
            nothing in a row, or a weight is not finite.

    Examples:
        >>> quantize(torch.tensor([[0.5, -0.7, 0.11, 0.0]]), bits=4).codes  # the scale is 0.1
        tensor([[ 5, -7,  1,  0]], dtype=torch.int8)

    Source:
        [Dettmers et al. 2022][dettmers2022llmint8], section 2.1.
    """
    bits, group = _checked_bits(bits), _checked_group(weight, group)
    groups = weight.detach().unflatten(-1, (-1, group))
    scales = _largest(groups) / (2 ** (bits - 1) - 1)
    divisors = scales.masked_fill(scales == 0, 1)[..., None]
    return Quantized((groups / divisors).round().flatten(-2).to(torch.int8), scales)


def _checked_bits(bits: int) -> int:
    bits = whole("bits", bits)
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be from 2 to 8, got {bits}")
    return bits


def _checked_group(weight: Tensor, group: int | None) -> int:
    if weight.ndim < 1 or not weight.shape[-1]:
        raise ValueError(f"weight must have numbers in its rows, got shape {tuple(weight.shape)}")
    group = weight.shape[-1] if group is None else whole("group", group)
    if group < 1 or weight.shape[-1] % group:
        raise ValueError(f"group must divide the row of {weight.shape[-1]}, got {group}")
    return group


def _largest(groups: Tensor) -> Tensor:
    """The largest of each group, which is finite if all are."""
    largest = groups.abs().amax(-1)
    if not largest.isfinite().all():
        raise ValueError("weight must be finite, got an infinite or undefined number")
    return largest


def stored_bits(bits: int, group: int, scale_bits: int = 16) -> float:
    """Bits that a weight takes, its share of the scale included.

    Args:
        bits: Of a code.
        group: Weights that share a scale.
        scale_bits: Of a scale.

    Examples:
        >>> stored_bits(8, group=32)
        8.5
    """
    return bits + scale_bits / whole("group", group)


class Coded(NamedTuple):
    """A matrix as places in a short list of values, and scales.

    Attributes:
        codes: Which of the values stands for each weight.
        scales: One for each group of neighbours in a row.
        values: The list.
    """

    codes: UInt8[Tensor, "*rows columns"]
    scales: Float[Tensor, "*rows groups"]
    values: Float[Tensor, " values"]

    def dequantize(self) -> Float[Tensor, "*rows columns"]:
        """The matrix again, but for rounding: each value times the scale of its group."""
        numbers = self.values.index_select(0, self.codes.flatten().int()).view(self.codes.shape)
        groups = numbers.unflatten(-1, (self.scales.shape[-1], -1))
        weight: Tensor = (groups * self.scales[..., None]).flatten(-2)
        return weight


def normal_float(bits: int = 4) -> Float[Tensor, " values"]:
    r"""The values of NormalFloat: dense where weights are frequent, if these are normal.

    Quantiles of the normal distribution, evenly spaced in probability on each side of zero,
    $2^{b-1} - 1$ of them below and $2^{b-1}$ above,

    $$v_i \propto \Phi^{-1}\Bigl(\tfrac12 + \bigl(q - \tfrac12\bigr)\tfrac{i}{m}\Bigr), \qquad
      q = 1 - \tfrac12\Bigl(\tfrac{1}{2 (2^b - 1)} + \tfrac{1}{2 \cdot 2^b}\Bigr)$$

    for $i = 1$ to $m$ on a side of $m$ values, divided by the largest, with zero between them. The
    last quantile $q$ stops short of 1, where it would be infinite.

    Args:
        bits: $b$, from 2 to 8.

    Returns:
        $2^b$ values from -1 to 1 in order, one of which is 0.

    Raises:
        TypeError: If `bits` is no whole number.
        ValueError: If `bits` is not from 2 to 8.

    Examples:
        >>> normal_float(2)
        tensor([-1.0000,  0.0000,  0.4358,  1.0000])

    Source:
        [Dettmers et al. 2023][dettmers2023qlora], section 3 and appendix E; $q$ as in their code.
    """
    bits = _checked_bits(bits)
    last = 1 - (1 / (2**bits - 1) + 1 / 2**bits) / 4
    below, above = (
        [NormalDist().inv_cdf(0.5 + (last - 0.5) * i / many) for i in range(1, many + 1)]
        for many in (2 ** (bits - 1) - 1, 2 ** (bits - 1))
    )
    values = [-v / below[-1] for v in reversed(below)] + [0] + [v / above[-1] for v in above]
    return torch.tensor(values)


def quantize_to(
    weight: Float[Tensor, "*rows columns"],
    values: Float[Tensor, " values"],
    group: int = 64,
) -> Coded:
    r"""Round a matrix to the nearest of a list of values, by the largest weight of each group.

    $$q = \arg\min_k \left|\frac{w}{s} - v_k\right|, \qquad s = \max_{j \in \mathrm{group}} |w_j|$$

    With `normal_float(4)` this is NF4; with evenly spaced values, absmax quantisation.

    Args:
        weight: Any matrix, or stack of them.
        values: $v$, at most 256 numbers from -1 to 1, in order.
        group: Neighbours in a row that share a scale.

    Raises:
        TypeError: If `group` is no whole number.
        ValueError: If values are not in order, or not from -1 to 1, the group does not divide the
            row, there is nothing in a row, or a weight is not finite.

    Examples:
        >>> coded = quantize_to(torch.tensor([[1.0, -2.0, 0.9, 0.1]]), normal_float(2), group=4)
        >>> coded.codes, coded.dequantize()
        (tensor([[2, 0, 2, 1]], dtype=torch.uint8), tensor([[ 0.8716, -2.0000,  0.8716,  0.0000]]))

    Source:
        [Dettmers et al. 2023][dettmers2023qlora], section 2.
    """
    in_order = values.ndim == 1 and 2 <= len(values) <= 256 and bool((values.diff() > 0).all())
    if not in_order or not -1 <= values[0] < values[-1] <= 1:
        raise ValueError(
            f"values must be 2 to 256 numbers from -1 to 1 in order, got {values.tolist()}"
        )
    group = _checked_group(weight, group)
    groups = widened(weight.detach()).unflatten(-1, (-1, group))
    scales = _largest(groups)
    inverse = 1 / scales.clamp(min=1e-38)
    bounds = ((values[:-1] + values[1:]) / 2).to(groups)
    codes = _places((groups * inverse[..., None]).contiguous(), bounds)
    return Coded(codes.flatten(-2), scales, values.to(groups))


def _places(numbers: Tensor, bounds: Tensor) -> Tensor:
    """Above how many bounds each number is, as `torch.bucketize`; with few of them quicker."""
    if len(bounds) > _COUNTED:
        return torch.bucketize(numbers, bounds).to(torch.uint8)
    places = torch.zeros_like(numbers, dtype=torch.uint8)
    pieces = (tensor.view(-1).split(1 << 18) for tensor in (numbers, places))  # a cache holds one
    for some, place in zip(*pieces, strict=True):
        for bound in bounds.tolist():
            place += (some > bound).view(torch.uint8)
    return places


_COUNTED = 31  # bounds; beyond, halving the list each time wins


def q8_0(array: Num[np.ndarray, "*shape"]) -> bytes:
    """Write numbers as llama.cpp's Q8_0: blocks of 32, each a float16 scale and 32 signed bytes.

    Args:
        array: Numbers, row after row; rows must be whole blocks.

    Returns:
        34 bytes for 32 numbers, bit for bit what `gguf.quants.quantize` writes.

    Raises:
        ValueError: If the rows do not divide into blocks, or a number is not finite or so large
            that its scale does not fit into 16 bits.

    Examples:
        >>> data = q8_0(np.linspace(-1, 1, 64, dtype=np.float32))
        >>> len(data), float(abs(from_q8_0(data) - np.linspace(-1, 1, 64)).max()) < 0.004
        (68, True)

    Source:
        [llama.cpp][ggml2023llamacpp], `ggml-quants.c`.
    """
    array = np.asarray(array, np.float32)
    if not array.size or array.shape[-1] % _BLOCK:
        raise ValueError(
            f"array must have rows that {_BLOCK} divides, and at least one, got shape {array.shape}"
        )
    blocks = array.reshape(-1, _BLOCK)
    largest = np.abs(blocks).max(1, keepdims=True)
    if not np.isfinite(largest).all() or largest.max() / np.float32(127) >= 65_520:
        raise ValueError(f"array must be finite and within ±127 · 65504, got {largest.max()}")
    scale = largest / np.float32(127)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = 1 / scale
    inverse[np.isinf(inverse)] = 0  # of zeros, and of what is lost in 16 bits anyway
    scaled = blocks * inverse
    size = np.floor(np.abs(scaled))
    size += np.abs(scaled) - size >= 0.5  # halves away from zero, as in C
    codes = np.copysign(size, scaled).astype(np.int8).view(np.uint8)
    return np.concatenate((scale.astype("<f2").view(np.uint8), codes), 1).tobytes()


def from_q8_0(data: bytes, shape: tuple[int, ...] | None = None) -> Float32[np.ndarray, "*shape"]:
    """Read what `q8_0` has written.

    Args:
        data: Blocks of 34 bytes.
        shape: Of the array; one row if left out.

    Raises:
        ValueError: If the bytes are no whole blocks, or as many numbers do not have that shape.

    Examples:
        >>> from_q8_0(q8_0(np.full((1, 32), 2.0)), shape=(4, 8)).max()
        np.float32(1.9998779)
    """
    if len(data) % _BYTES:
        raise ValueError(f"data must be whole blocks of {_BYTES} bytes, got {len(data)}")
    blocks = np.frombuffer(data, np.uint8).reshape(-1, _BYTES)
    scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
    numbers = (blocks[:, 2:].view(np.int8).astype(np.float32) * scales).ravel()
    if shape is None:
        return numbers
    if np.prod(shape) != numbers.size:
        raise ValueError(f"shape must hold {numbers.size} numbers, got {shape}")
    return numbers.reshape(shape)


class Int8Linear(nn.Module):
    r"""A linear layer whose weights are bytes, one scale for each row.

    $$y = s \odot (Q x) + b$$

    It reads a quarter of what float32 would. Where one token is written at a time, and memory is
    what one waits for, that is the gain. PyTorch's kernel for it takes activations in bfloat16;
    for many rows at once, or where there is no such kernel, weights are turned back first.

    Args:
        linear: The layer to be rounded, which is not changed.

    Examples:
        >>> linear = nn.Linear(64, 32)
        >>> x = torch.randn(1, 64)
        >>> (Int8Linear(linear)(x) - linear(x)).abs().max().item() < 0.05
        True
    """

    codes: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        codes, scales = quantize(linear.weight)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales[:, 0])
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().clone())

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_out"]:
        """What the rounded layer gives."""
        y = int8_product(x, self.codes, self.scales)
        return y if self.bias is None else y + self.bias


def int8_product(
    x: Float[Tensor, "*batch d_in"],
    codes: Int8[Tensor, "d_out d_in"],
    scales: Float[Tensor, " d_out"],
) -> Float[Tensor, "*batch d_out"]:
    """Multiply vectors with a matrix of bytes.

    Args:
        x: The vectors.
        codes: The matrix, row by row what `x` is multiplied with.
        scales: One for each row.
    """
    rows = x.reshape(-1, x.shape[-1])
    quick = x.device.type == "cpu" and len(rows) <= _FEW and not torch.is_grad_enabled()
    if quick and hasattr(torch, "_weight_int8pack_mm"):
        narrow = torch._weight_int8pack_mm(rows.bfloat16(), codes, scales.bfloat16())
        return narrow.to(x.dtype).reshape(*x.shape[:-1], -1)
    return F.linear(x, (codes * scales[:, None]).to(x.dtype))


_FEW = 8  # rows for which the matrix is what one waits for


def to_int8(model: Llama) -> Llama:
    """Round all matrices of a copy of a Llama to bytes: those of its blocks and the output layer.

    The embedding that turns tokens into vectors stays as it is, since a row is looked up and not
    multiplied; where the output layer is that same matrix, it gets one of its own.

    Args:
        model: Is not changed.

    Returns:
        A model in evaluation mode, which can't be trained.

    Examples:
        >>> from llmbook.llama import LlamaConfig
        >>> config = LlamaConfig(
        ...     vocab_size=50, d_model=16, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=40,
        ...     max_len=32,
        ... )
        >>> to_int8(Llama(config))(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 50])
    """
    rounded = copy.deepcopy(model).requires_grad_(False).eval()
    if rounded.head is None:
        rounded.head = copied_linear(rounded.embedding.weight, None)
    for path, module in list(rounded.named_modules()):
        if isinstance(module, nn.Linear):
            rounded.set_submodule(path, Int8Linear(module))
    return rounded
