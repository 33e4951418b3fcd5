"""The Transformer: blocks of attention and feed-forward network, an encoder and a decoder."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from llmbook.attention import MultiHeadAttention, Past
from llmbook.layers import FeedForward, LayerNorm, check_sequence

Mask = Bool[Tensor, "#batch #seq #key"] | Bool[Tensor, "#seq #key"]
CrossMask = Bool[Tensor, "#batch #seq #context"] | Bool[Tensor, "#seq #context"]


class TransformerBlock(nn.Module):
    r"""Self-attention, then a feed-forward network, each added to what came in.

    With $\mathrm{LN}$ for layer normalisation, the original block is post-norm:

    $$h = \mathrm{LN}(x + \mathrm{MultiHead}(x)), \qquad y = \mathrm{LN}(h + \mathrm{FFN}(h))$$

    GPT-2 and its successors are pre-norm, which leaves the sum itself untouched and trains
    deep stacks more easily: $h = x + \mathrm{MultiHead}(\mathrm{LN}(x))$, and so on.

    Dropout acts where the paper has it, on the output of each of the two sub-layers.

    Args:
        d_model: Width of the residual stream.
        num_heads: Attention heads, each `d_model / num_heads` wide.
        d_ff: Width of the hidden layer; 4 × `d_model` in the paper.
        dropout: Probability of zeroing an element of a sub-layer's output while training.
        norm_first: Pre-norm instead of post-norm.
        activation: Of the feed-forward network, see `llmbook.layers.FeedForward`.
        bias: Biases in all matrices and norms.
        norm_eps: What the norms add under their root.
        norm: Makes the norms. `nn.LayerNorm` is ours in one fused step, which trains faster.
        qkv_bias: Biases in queries, keys and values; as `bias` says if left out.

    Raises:
        ValueError: If a size is not positive or `num_heads` does not divide `d_model`.

    Examples:
        >>> block = TransformerBlock(d_model=512, num_heads=8, d_ff=2048)
        >>> sum(parameter.numel() for parameter in block.parameters())
        3152384
        >>> block(torch.randn(32, 50, 512)).shape
        torch.Size([32, 50, 512])

    Source:
        [Vaswani et al. 2017][vaswani2017attention], sections 3.1 to 3.3 and 5.4; pre-norm:
        [Xiong et al. 2020][xiong2020layer].
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        dropout: float | int = 0.1,
        *,
        norm_first: bool = False,
        activation: str = "relu",
        bias: bool = True,
        norm_eps: float | int = 1e-5,
        norm: Callable[..., nn.Module] = LayerNorm,
        qkv_bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.d_model, self.norm_first = d_model, norm_first
        self.attention = MultiHeadAttention(d_model, num_heads, bias=bias, qkv_bias=qkv_bias)
        self.norm1 = norm(d_model, eps=norm_eps, bias=bias)
        self.feed_forward = FeedForward(d_model, d_ff, activation, bias)
        self.norm2 = norm(d_model, eps=norm_eps, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        mask: Mask | None = None,
        past: Past | None = None,
        *,
        causal: bool = False,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Let the positions look at each other, then transform each by itself.

        Args:
            x: One vector per position, batch first.
            mask: `True` where a query (row) may attend to a key (column); broadcasts to
                (batch, query, key). A padding mask is (batch, 1, seq). A query that may attend to
                nothing takes up a zero instead of an average.
            past: Takes the new keys and values and gives all of them, earlier ones included, as
                `llmbook.generation.KVCache.append` does. The mask then has a column for each.
            causal: Let each position look at itself and at those before it, as in a decoder.

        Returns:
            One vector per position, in the shape of `x`.

        Raises:
            ValueError: If `x` has another shape, or the mask is not boolean or does not fit.
        """
        check_sequence("x", x, self.d_model)
        if self.norm_first:  # as in GPT-2
            h = x + self.dropout(self.attention(self.norm1(x), mask=mask, past=past, causal=causal))
            y: Tensor = h + self.dropout(self.feed_forward(self.norm2(h)))
        else:  # as in 2017
            h = self.norm1(x + self.dropout(self.attention(x, mask=mask, past=past, causal=causal)))
            y = self.norm2(h + self.dropout(self.feed_forward(h)))
        return y

    @classmethod
    def from_torch(cls, layer: nn.TransformerEncoderLayer) -> "TransformerBlock":
        """Copy the weights of PyTorch's own block; the two are then equal in eval mode.

        Device, dtype, dropout rate, layer-norm epsilon and training mode come along, and
        nothing is shared afterwards. Ours stays batch-first whatever `layer.batch_first` says.
        While training with dropout the two differ: PyTorch also drops attention weights and
        hidden activations.

        Args:
            layer: A layer with ReLU or GELU, pre-norm or post-norm, with biases or without.

        Returns:
            A block that owns a copy of each weight.

        Raises:
            TypeError: If `layer` is no `nn.TransformerEncoderLayer`.
            ValueError: If the layer has another activation.

        Examples:
            >>> layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
            >>> x = torch.randn(1, 5, 16)
            >>> torch.allclose(TransformerBlock.from_torch(layer)(x), layer(x), atol=1e-6)
            True
        """
        _check_type(layer, nn.TransformerEncoderLayer)
        with torch.device("meta"):  # parts that are replaced
            block = cls(1, 1, 1, layer.dropout1.p, norm_first=layer.norm_first)
        block.d_model = layer.linear1.in_features
        block.attention = _attention(layer.self_attn)
        block.norm1, block.norm2 = map(LayerNorm.from_torch, (layer.norm1, layer.norm2))
        block.feed_forward = FeedForward.from_torch(layer)
        return block.train(layer.training)


class DecoderBlock(nn.Module):
    r"""A block that also looks at what an encoder has read, between its other two parts.

    $$g = \mathrm{LN}(x + \mathrm{MultiHead}(x)), \quad
      h = \mathrm{LN}(g + \mathrm{MultiHead}(g, c)), \quad y = \mathrm{LN}(h + \mathrm{FFN}(h))$$

    A decoder without an encoder, as in GPT, is a `TransformerBlock` that is causal.

    Args:
        d_model: Width of the residual stream.
        num_heads: Attention heads, each `d_model / num_heads` wide.
        d_ff: Width of the hidden layer.
        dropout: Probability of zeroing an element of a sub-layer's output while training.
        norm_first: Pre-norm instead of post-norm.
        activation: Of the feed-forward network, see `llmbook.layers.FeedForward`.

    Raises:
        ValueError: If a size is not positive or `num_heads` does not divide `d_model`.

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.1 and figure 1.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        dropout: float | int = 0.1,
        *,
        norm_first: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.d_model, self.norm_first = d_model, norm_first
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.norm1 = LayerNorm(d_model)
        self.cross_attention = MultiHeadAttention(d_model, num_heads)
        self.norm2 = LayerNorm(d_model)
        self.feed_forward = FeedForward(d_model, d_ff, activation)
        self.norm3 = LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        context: Float[Tensor, "batch context d_model"],
        mask: Mask | None = None,
        context_mask: CrossMask | None = None,
        *,
        causal: bool = False,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Look at each other, look at the context, then transform each position by itself.

        Args:
            x: One vector per position that has been written.
            context: One vector per position that has been read.
            mask: `True` where a position of `x` (row) may attend to one of `x` (column).
            context_mask: The same, for positions of `context` as columns.
            causal: Let each position of `x` look at itself and at those before it.

        Returns:
            One vector per position, in the shape of `x`.

        Raises:
            ValueError: If a shape does not fit, or a mask is not boolean.
        """
        check_sequence("x", x, self.d_model)
        if self.norm_first:
            g = x + self.dropout(self.attention(self.norm1(x), mask=mask, causal=causal))
            h = g + self.dropout(self.cross_attention(self.norm2(g), context, context_mask))
            y: Tensor = h + self.dropout(self.feed_forward(self.norm3(h)))
        else:  # as in 2017
            g = self.norm1(x + self.dropout(self.attention(x, mask=mask, causal=causal)))
            h = self.norm2(g + self.dropout(self.cross_attention(g, context, context_mask)))
            y = self.norm3(h + self.dropout(self.feed_forward(h)))
        return y

    @classmethod
    def from_torch(cls, layer: nn.TransformerDecoderLayer) -> "DecoderBlock":
        """Copy the weights of PyTorch's own block; as `TransformerBlock.from_torch`.

        Raises:
            TypeError: If `layer` is no `nn.TransformerDecoderLayer`.
            ValueError: If the layer has another activation than ReLU or GELU.
        """
        _check_type(layer, nn.TransformerDecoderLayer)
        with torch.device("meta"):  # parts that are replaced
            block = cls(1, 1, 1, layer.dropout1.p, norm_first=layer.norm_first)
        block.d_model = layer.linear1.in_features
        block.attention = _attention(layer.self_attn)
        block.cross_attention = _attention(layer.multihead_attn)
        norms = (layer.norm1, layer.norm2, layer.norm3)
        block.norm1, block.norm2, block.norm3 = map(LayerNorm.from_torch, norms)
        block.feed_forward = FeedForward.from_torch(layer)
        return block.train(layer.training)


class Encoder(nn.Module):
    """A stack of blocks in which every position may look at every other, and a last norm.

    Args:
        blocks: The blocks, from the input on; any `TransformerBlock`s of one width.
        norm: What the last block's output goes through. A pre-norm stack needs one; the paper's
            post-norm stack ends with a norm anyway, and PyTorch adds another.

    Raises:
        ValueError: If there is no block.

    Examples:
        >>> blocks = [TransformerBlock(16, 2, 32, norm_first=True) for _ in range(3)]
        >>> Encoder(blocks, LayerNorm(16))(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.1.
    """

    def __init__(self, blocks: list[TransformerBlock], norm: LayerNorm | None = None) -> None:
        super().__init__()
        _check_blocks(blocks)
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], mask: Mask | None = None
    ) -> Float[Tensor, "batch seq d_model"]:
        """Run `x` through all blocks; the arguments are a block's."""
        for block in self.blocks:
            x = block(x, mask)
        return x if self.norm is None else self.norm(x)

    @classmethod
    def from_torch(cls, stack: nn.TransformerEncoder) -> "Encoder":
        """Copy PyTorch's own stack; as `TransformerBlock.from_torch`.

        Raises:
            TypeError: If `stack` is no `nn.TransformerEncoder`.
            ValueError: If a layer has another activation than ReLU or GELU.
        """
        _check_type(stack, nn.TransformerEncoder)
        layers: Any = stack.layers
        ours = cls([TransformerBlock.from_torch(layer) for layer in layers], _norm(stack.norm))
        return ours.train(stack.training)


class Decoder(nn.Module):
    """A stack of blocks that write: each position looks back, and at what has been read.

    Args:
        blocks: The blocks, from the input on.
        norm: What the last block's output goes through.

    Raises:
        ValueError: If there is no block.

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.1.
    """

    def __init__(self, blocks: list[DecoderBlock], norm: LayerNorm | None = None) -> None:
        super().__init__()
        _check_blocks(blocks)
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        context: Float[Tensor, "batch context d_model"],
        mask: Mask | None = None,
        context_mask: CrossMask | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Run `x` through all blocks, always causal; the arguments are a block's."""
        for block in self.blocks:
            x = block(x, context, mask, context_mask, causal=True)
        return x if self.norm is None else self.norm(x)

    @classmethod
    def from_torch(cls, stack: nn.TransformerDecoder) -> "Decoder":
        """Copy PyTorch's own stack, which is causal only when it is told so; ours always is.

        Raises:
            TypeError: If `stack` is no `nn.TransformerDecoder`.
            ValueError: If a layer has another activation than ReLU or GELU.
        """
        _check_type(stack, nn.TransformerDecoder)
        layers: Any = stack.layers
        ours = cls([DecoderBlock.from_torch(layer) for layer in layers], _norm(stack.norm))
        return ours.train(stack.training)


class EncoderDecoder(nn.Module):
    """The whole Transformer of 2017 between its embeddings and its output layer.

    Args:
        d_model: Width of the residual stream.
        num_heads: Attention heads, each `d_model / num_heads` wide.
        d_ff: Width of the hidden layers.
        num_layers: Blocks in the encoder, and as many in the decoder.
        dropout: Probability of zeroing an element of a sub-layer's output while training.
        norm_first: Pre-norm instead of post-norm.
        activation: Of the feed-forward networks, see `llmbook.layers.FeedForward`.

    Raises:
        ValueError: If a size is not positive or `num_heads` does not divide `d_model`.

    Examples:
        >>> model = EncoderDecoder(d_model=16, num_heads=2, d_ff=32, num_layers=2)
        >>> model(source=torch.randn(2, 7, 16), target=torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3 and figure 1. Both stacks end with
        one more norm, as PyTorch's do and the paper's figure does not.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        d_ff: int,
        num_layers: int = 6,
        dropout: float | int = 0.1,
        *,
        norm_first: bool = False,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        sizes = (d_model, num_heads, d_ff, dropout)
        options: dict[str, Any] = {"norm_first": norm_first, "activation": activation}
        encoder_blocks = [TransformerBlock(*sizes, **options) for _ in range(num_layers)]
        decoder_blocks = [DecoderBlock(*sizes, **options) for _ in range(num_layers)]
        self.encoder = Encoder(encoder_blocks, LayerNorm(d_model))
        self.decoder = Decoder(decoder_blocks, LayerNorm(d_model))

    def forward(
        self,
        source: Float[Tensor, "batch source d_model"],
        target: Float[Tensor, "batch target d_model"],
        source_mask: Bool[Tensor, "batch source"] | None = None,
        target_mask: Bool[Tensor, "batch target"] | None = None,
    ) -> Float[Tensor, "batch target d_model"]:
        """Read the source, then give for each position of the target what follows it.

        Args:
            source: Embedded tokens with their positions, batch first.
            target: The same, for what has been written so far.
            source_mask: `True` where the source is no padding.
            target_mask: `True` where the target is no padding. Later positions are hidden anyway.

        Returns:
            One vector per position of the target, which depends on the source and on no later
            position of the target.

        Raises:
            ValueError: If a shape does not fit, or a mask is not boolean.
        """
        source_mask = None if source_mask is None else source_mask.unsqueeze(-2)
        target_mask = None if target_mask is None else target_mask.unsqueeze(-2)
        context = self.encoder(source, source_mask)
        output: Tensor = self.decoder(target, context, target_mask, source_mask)
        return output

    @classmethod
    def from_torch(cls, model: nn.Transformer) -> "EncoderDecoder":
        """Copy PyTorch's own model, of any two depths; as `TransformerBlock.from_torch`.

        Raises:
            TypeError: If `model` is no `nn.Transformer`.
            ValueError: If a layer has another activation than ReLU or GELU.
        """
        _check_type(model, nn.Transformer)
        with torch.device("meta"):  # parts that are replaced
            ours = cls(1, 1, 1, 1)
        ours.encoder = Encoder.from_torch(model.encoder)
        ours.decoder = Decoder.from_torch(model.decoder)
        return ours.train(model.training)


def _attention(layer: nn.MultiheadAttention) -> MultiHeadAttention:
    """Copy a block's attention without its dropout, which the paper has elsewhere."""
    ours = MultiHeadAttention.from_torch(layer)
    ours.dropout = 0.0
    return ours


def _norm(layer: Any) -> LayerNorm | None:
    return None if layer is None else LayerNorm.from_torch(layer)


def _check_type(layer: object, kind: type) -> None:
    if not isinstance(layer, kind):
        raise TypeError(f"need an nn.{kind.__name__}, got {type(layer).__name__}")


def _check_blocks(blocks: list[Any]) -> None:
    if not blocks:
        raise ValueError("blocks must hold at least one block, got none")
