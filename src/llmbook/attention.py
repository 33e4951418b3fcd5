"""Attention in PyTorch: the function, its masks, and the layer with several heads."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.layers import check_sequence, copied_linear
from llmbook.numpy_attention import self_attention, softmax
from llmbook.positions import Rotary, rotate
from llmbook.sizes import whole

__all__ = [
    "MultiHeadAttention",
    "attention",
    "causal_mask",
    "padding_mask",
    "self_attention",
    "softmax",
]

Mask = Bool[Tensor, "#batch #query #key"] | Bool[Tensor, "#query #key"]
Past = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def causal_mask(seq: int, device: torch.device | str | None = None) -> Bool[Tensor, "{seq} {seq}"]:
    """Let each position (row) attend to itself and to those before it (columns).

    Args:
        seq: Number of positions.
        device: Where the mask shall be.

    Raises:
        ValueError: If `seq` is negative.

    Examples:
        >>> causal_mask(3).int()
        tensor([[1, 0, 0],
                [1, 1, 0],
                [1, 1, 1]], dtype=torch.int32)
    """
    if seq < 0:
        raise ValueError(f"seq must not be negative, got {seq}")
    return torch.ones(seq, seq, dtype=torch.bool, device=device).tril()


def padding_mask(lengths: Int[Tensor, " batch"], seq: int) -> Bool[Tensor, "batch 1 {seq}"]:
    """Let every position attend to the first `lengths` positions of its text, not to what pads it.

    Join it with a causal mask by `&`.

    Args:
        lengths: Positions of each text that are no padding.
        seq: Positions of all texts, padding included.

    Raises:
        ValueError: If a length is negative or beyond `seq`.

    Examples:
        >>> padding_mask(torch.tensor([3, 1]), seq=3).int()
        tensor([[[1, 1, 1]],
        <BLANKLINE>
                [[1, 0, 0]]], dtype=torch.int32)
    """
    if lengths.numel() and not 0 <= lengths.min() <= lengths.max() <= seq:
        raise ValueError(f"lengths must be from 0 to seq = {seq}, got {lengths.tolist()}")
    return (torch.arange(seq, device=lengths.device) < lengths[:, None])[:, None]


def attention(
    query: Float[Tensor, "*#batch query d_k"],
    key: Float[Tensor, "*#batch key d_k"],
    value: Float[Tensor, "*#batch key d_v"],
    mask: Bool[Tensor, "*#batch #query #key"] | None = None,
    *,
    bias: Float[Tensor, "*#batch #query #key"] | None = None,
    dropout: float | int = 0.0,
) -> tuple[Float[Tensor, "*batch query d_v"], Float[Tensor, "*batch query key"]]:
    r"""Let each position take a weighted average of the values, weighted by who matches it.

    $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{QK^\top}{\sqrt{d_k}} + B\right) V$$

    Leading axes (batch, heads) are carried along and may broadcast. `self_attention` is the same
    in NumPy, for one reader; this one carries gradients.

    Args:
        query: What each position looks for, $Q$.
        key: What each position offers to be found by, $K$.
        value: What each position hands over, $V$.
        mask: `True` where a query (row) may attend to a key (column). A query that may attend to
            nothing gets zeros, as in PyTorch.
        bias: $B$, added to the scores, such as `llmbook.positions.alibi`.
        dropout: Probability of zeroing a weight before the average is taken.

    Returns:
        The output, one row per query, and the weights, before dropout.

    Raises:
        ValueError: If shapes do not fit together, or the mask is not boolean.

    Examples:
        >>> x = torch.randn(2, 5, 8)
        >>> output, weights = attention(x, x, x, causal_mask(5))
        >>> torch.equal(output[:, 0], x[:, 0])
        True

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.2.1, equation 1.
    """
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            "query and key must have the same last axis, "
            f"got shapes {tuple(query.shape)} and {tuple(key.shape)}"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(
            "key and value must have as many positions, "
            f"got shapes {tuple(key.shape)} and {tuple(value.shape)}"
        )
    scores = query / math.sqrt(query.shape[-1]) @ key.transpose(-1, -2)  # float16 would overflow
    if bias is not None:
        scores = scores + bias
    if mask is None:
        weights = scores.softmax(dim=-1)
    else:
        _check_mask(mask, scores.shape)
        lowest = torch.finfo(scores.dtype).min  # -inf would give NaN where nothing is allowed
        weights = scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0)
    return F.dropout(weights, dropout) @ value, weights


def _check_mask(mask: Tensor, scores: torch.Size) -> None:
    """Refuse a mask that says nothing of the scores, or would say it of others."""
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be boolean (True = may attend), got dtype {mask.dtype}")
    # Not torch.broadcast_shapes, which takes longer than a step of generation can spare.
    if mask.ndim > len(scores) or any(
        ours not in (1, theirs)
        for ours, theirs in zip(reversed(mask.shape), reversed(scores), strict=False)
    ):
        raise ValueError(
            f"mask of shape {tuple(mask.shape)} does not broadcast to the scores' {tuple(scores)}; "
            "a causal mask has the shape (query, key), a padding mask (batch, 1, key)"
        )


def _for_every_head(mask: Tensor | None, causal: bool, query: Tensor, key: Tensor) -> Tensor | None:
    """Check a mask for texts, join it with the causal one, and give it an axis for heads."""
    queries, keys = query.shape[-2], key.shape[-2]
    if mask is not None:
        _check_mask(mask, torch.Size((query.shape[0], queries, keys)))
    if causal and queries > keys:
        raise ValueError(f"causal attention needs a key a query, got {queries} and {keys} keys")
    if causal and queries > 1:  # a single one is the last position, which sees all before it
        past = causal_mask(keys, query.device)[keys - queries :]
        mask = past if mask is None else mask & past
    return mask[:, None] if mask is not None and mask.ndim == 3 else mask


class MultiHeadAttention(nn.Module):
    r"""Attend in several heads at once, each with queries, keys and values of its own.

    $$\mathrm{MultiHead}(X) = [H_1; \dots; H_h]\,W^O, \qquad
      H_i = \mathrm{Attention}(XW_i^Q, XW_i^K, XW_i^V)$$

    With fewer key and value heads than query heads, neighbouring query heads share one: grouped
    queries, or with a single one, multi-query attention. Given a `context`, keys and values come
    from there: cross-attention.

    Args:
        d_model: Width of what comes in and goes out.
        num_heads: Query heads $h$.
        num_kv_heads: Key and value heads; as many as query heads if left out.
        bias: Biases in the four projections.
        dropout: Probability of zeroing a weight while training.
        d_head: Width of a head; `d_model / num_heads` if left out.
        qkv_bias: Biases in queries, keys and values; as `bias` says if left out.

    Raises:
        ValueError: If a size is not positive or heads do not divide.

    Examples:
        >>> layer = MultiHeadAttention(d_model=64, num_heads=8, num_kv_heads=2)
        >>> x, context = torch.randn(3, 5, 64), torch.randn(3, 9, 64)
        >>> layer(x, mask=causal_mask(5)).shape
        torch.Size([3, 5, 64])
        >>> output, weights = layer.with_weights(x, context)
        >>> weights.shape
        torch.Size([3, 8, 5, 9])

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.2.2; multi-query:
        [Shazeer 2019][shazeer2019fast]; grouped: [Ainslie et al. 2023][ainslie2023gqa].
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int | None = None,
        bias: bool = True,
        dropout: float | int = 0.0,
        *,
        d_head: int | None = None,
        qkv_bias: bool | None = None,
    ) -> None:
        super().__init__()
        d_model, num_heads = whole("d_model", d_model), whole("num_heads", num_heads)
        num_kv_heads = num_heads if num_kv_heads is None else whole("num_kv_heads", num_kv_heads)
        d_head = None if d_head is None else whole("d_head", d_head)
        if min(d_model, num_heads, num_kv_heads) <= 0:
            raise ValueError(
                "d_model, num_heads and num_kv_heads must be positive, "
                f"got {d_model}, {num_heads} and {num_kv_heads}"
            )
        if d_head is None and d_model % num_heads:
            raise ValueError(
                f"num_heads must divide d_model, got d_model={d_model} and num_heads={num_heads}"
            )
        if num_heads % num_kv_heads:
            raise ValueError(
                "num_kv_heads must divide num_heads, "
                f"got num_kv_heads={num_kv_heads} and num_heads={num_heads}"
            )
        self.d_model, self.num_heads, self.num_kv_heads = d_model, num_heads, num_kv_heads
        self.d_head = d_model // num_heads if d_head is None else d_head
        self.dropout = dropout
        qkv_bias = bias if qkv_bias is None else qkv_bias
        self.query = nn.Linear(d_model, num_heads * self.d_head, qkv_bias)
        self.key = nn.Linear(d_model, num_kv_heads * self.d_head, qkv_bias)
        self.value = nn.Linear(d_model, num_kv_heads * self.d_head, qkv_bias)
        self.out = nn.Linear(num_heads * self.d_head, d_model, bias)

    def forward(
        self,
        x: Float[Tensor, "batch query d_model"],
        context: Float[Tensor, "batch key d_model"] | None = None,
        mask: Mask | None = None,
        *,
        causal: bool = False,
        bias: Float[Tensor, "heads #query #key"] | None = None,
        rotary: Rotary | None = None,
        past: Past | None = None,
    ) -> Float[Tensor, "batch query d_model"]:
        """Let each position of `x` look at all positions of `x`, or of `context`.

        Args:
            x: One vector per position, batch first.
            context: Where keys and values come from, if not from `x`.
            mask: `True` where a query (row) may attend to a key (column); broadcasts to
                (batch, query, key). A query that may attend to nothing takes up zeros.
            causal: Let each position attend to itself and to those before it, where the mask lets
                it. The last query is the last key's position, as with a `past`. Said so, and not
                by a `causal_mask`, the kernel leaves out what lies ahead: half of the work.
            bias: Added to the scores of each head, such as `llmbook.positions.alibi`.
            rotary: `llmbook.positions.rotary_tables`, by which queries and keys are turned.
            past: Takes the new keys and values and gives all of them, earlier ones included, as
                `llmbook.generation.KVCache.append` does.

        Returns:
            One vector per position of `x`.

        Raises:
            ValueError: If a shape does not fit, or the mask is not boolean.
        """
        if bias is not None:  # the fused kernel takes a mask or a bias, not both
            options: Any = {"causal": causal, "bias": bias, "rotary": rotary, "past": past}
            return self.with_weights(x, context, mask, **options)[0]
        query, key, value = self.project(x, context, rotary, past)
        by_name = causal and mask is None and bool(query.shape[-2] == key.shape[-2])
        if not by_name:
            mask = _for_every_head(mask, causal, query, key)
        grouped = self.num_kv_heads < self.num_heads
        heads = F.scaled_dot_product_attention(
            query, key, value, mask, self._rate, is_causal=by_name, enable_gqa=grouped
        )
        return self._join(heads)

    def with_weights(
        self,
        x: Float[Tensor, "batch query d_model"],
        context: Float[Tensor, "batch key d_model"] | None = None,
        mask: Mask | None = None,
        *,
        causal: bool = False,
        bias: Float[Tensor, "heads #query #key"] | None = None,
        rotary: Rotary | None = None,
        past: Past | None = None,
    ) -> tuple[Float[Tensor, "batch query d_model"], Float[Tensor, "batch heads query all_keys"]]:
        """What `forward` gives, and the weights, which its fused kernel never holds.

        The arguments are its own.

        Returns:
            One vector per position of `x`, and each head's weights, before dropout.
        """
        query, key, value = self.project(x, context, rotary, past)
        mask = _for_every_head(mask, causal, query, key)
        group_size = self.num_heads // self.num_kv_heads  # query heads that share keys and values
        key, value = (x.repeat_interleave(group_size, dim=1) for x in (key, value))
        heads, weights = attention(query, key, value, mask, bias=bias, dropout=self._rate)
        return self._join(heads), weights

    def project(
        self,
        x: Float[Tensor, "batch query d_model"],
        context: Float[Tensor, "batch key d_model"] | None = None,
        rotary: Rotary | None = None,
        past: Past | None = None,
    ) -> tuple[
        Float[Tensor, "batch heads query d_head"],
        Float[Tensor, "batch kv_heads all_keys d_head"],
        Float[Tensor, "batch kv_heads all_keys d_head"],
    ]:
        """Make queries, keys and values, each vector cut into heads; arguments as in `forward`."""
        check_sequence("x", x, self.d_model)
        if context is None:
            context = x
        else:
            check_sequence("context", context, self.d_model)
            if context.shape[0] != x.shape[0]:
                raise ValueError(f"context must have x's batch of {len(x)}, got {len(context)}")
        query, key, value = (
            linear(source).unflatten(-1, (-1, self.d_head)).transpose(1, 2)
            for linear, source in ((self.query, x), (self.key, context), (self.value, context))
        )
        if rotary is not None:
            query, key = rotate(query, rotary), rotate(key, rotary)
        if past is not None:
            key, value = past(key, value)
        return query, key, value

    @property
    def _rate(self) -> float:
        """Of dropout, which acts while training alone."""
        return self.dropout if self.training else 0.0

    def _join(
        self, heads: Float[Tensor, "batch heads query d_head"]
    ) -> Float[Tensor, "batch query d_model"]:
        output: Tensor = self.out(heads.transpose(1, 2).flatten(-2))
        return output

    @classmethod
    def from_torch(cls, layer: nn.MultiheadAttention) -> "MultiHeadAttention":
        """Copy the weights of PyTorch's own layer; the two are then equal.

        Device, dtype, dropout rate and training mode come along, and nothing is shared
        afterwards. Ours stays batch-first whatever `layer.batch_first` says.

        Args:
            layer: A layer whose keys and values are as wide as its queries.

        Raises:
            TypeError: If `layer` is no `nn.MultiheadAttention`.
            ValueError: If it has `kdim`, `vdim`, `add_bias_kv` or `add_zero_attn`.

        Examples:
            >>> layer = nn.MultiheadAttention(16, 4, batch_first=True)
            >>> x = torch.randn(2, 5, 16)
            >>> ours = MultiHeadAttention.from_torch(layer)
            >>> torch.allclose(ours(x), layer(x, x, x)[0], atol=1e-6)
            True
        """
        if not isinstance(layer, nn.MultiheadAttention):
            raise TypeError(f"need an nn.MultiheadAttention, got {type(layer).__name__}")
        if (layer.kdim, layer.vdim) != (layer.embed_dim, layer.embed_dim):
            raise ValueError(
                f"kdim and vdim must be embed_dim = {layer.embed_dim}, "
                f"got {layer.kdim} and {layer.vdim}"
            )
        if layer.bias_k is not None or layer.add_zero_attn:
            raise ValueError(
                "add_bias_kv and add_zero_attn are not supported, as no model has them"
            )
        with torch.device("meta"):  # no memory, and no random numbers drawn, for what we replace
            ours = cls(layer.embed_dim, layer.num_heads, dropout=layer.dropout)
        weights = layer.in_proj_weight.chunk(3)
        no_bias = (None, None, None)
        biases = no_bias if layer.in_proj_bias is None else layer.in_proj_bias.chunk(3)
        ours.query, ours.key, ours.value = map(copied_linear, weights, biases)
        ours.out = copied_linear(layer.out_proj.weight, layer.out_proj.bias)
        return ours.train(layer.training)
