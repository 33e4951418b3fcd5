"""The Transformer block: attention mixes positions, a feed-forward network works on each one."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

_TORCH_NAMES = {  # a prefix of PyTorch's names, and the parts of ours that are stacked there
    "self_attn.in_proj_": ("attention.query", "attention.key", "attention.value"),
    "self_attn.out_proj.": ("attention.out",),
    "norm1.": ("norm1",),
    "linear1.": ("feed_forward.0",),
    "linear2.": ("feed_forward.2",),
    "norm2.": ("norm2",),
}


class _SelfAttention(nn.Module):
    """Project to queries, keys and values, attend in `num_heads` heads at once, project back."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.d_head = num_heads, d_model // num_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)

    def split(
        self, x: Float[Tensor, "batch seq d_model"]
    ) -> Float[Tensor, "batch heads seq d_head"]:
        return x.reshape(*x.shape[:2], self.num_heads, self.d_head).transpose(1, 2)

    def join(
        self, heads: Float[Tensor, "batch heads seq d_head"]
    ) -> Float[Tensor, "batch seq d_model"]:
        return heads.transpose(1, 2).flatten(-2)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        mask: Bool[Tensor, "batch seq seq"] | None,
    ) -> Float[Tensor, "batch seq d_model"]:
        heads = F.scaled_dot_product_attention(
            self.split(self.query(x)),
            self.split(self.key(x)),
            self.split(self.value(x)),
            attn_mask=None if mask is None else mask.unsqueeze(1),  # the same for every head
        )
        output: Tensor = self.out(self.join(heads))
        return output


class TransformerBlock(nn.Module):
    r"""Self-attention, then a feed-forward network, each added to what came in.

    With $\mathrm{LN}$ for layer normalisation, the original block is post-norm:

    $$h = \mathrm{LN}(x + \mathrm{Attention}(x)), \qquad
      y = \mathrm{LN}(h + W_2 \max(0, W_1 h + b_1) + b_2)$$

    GPT-2 and its successors are pre-norm, which leaves the sum itself untouched and trains
    deep stacks more easily: $h = x + \mathrm{Attention}(\mathrm{LN}(x))$, and so on.

    Dropout acts where the paper has it, on the output of each of the two sub-layers.

    Args:
        d_model: Width of the residual stream.
        num_heads: Attention heads, each `d_model / num_heads` wide.
        d_ff: Width of the hidden layer; 4 × `d_model` in the paper.
        dropout: Probability of zeroing an element of a sub-layer's output while training.
        norm_first: Pre-norm instead of post-norm.

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
        dropout: float = 0.1,
        *,
        norm_first: bool = False,
    ) -> None:
        super().__init__()
        if min(d_model, num_heads, d_ff) <= 0:
            raise ValueError(
                "d_model, num_heads and d_ff must be positive, "
                f"got {d_model}, {num_heads} and {d_ff}"
            )
        if d_model % num_heads:
            raise ValueError(
                f"num_heads must divide d_model, got d_model={d_model} and num_heads={num_heads}"
            )
        self.d_model = d_model
        self.norm_first = norm_first
        self.attention = _SelfAttention(d_model, num_heads)
        self.norm1 = nn.LayerNorm(d_model)
        self.feed_forward = nn.Sequential(
            nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model)
        )
        self.norm2 = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "batch seq d_model"],
        mask: Bool[Tensor, "#batch #seq #seq"] | Bool[Tensor, "#seq #seq"] | None = None,
    ) -> Float[Tensor, "batch seq d_model"]:
        """Let the positions look at each other, then transform each by itself.

        Args:
            x: One vector per position, batch first.
            mask: `True` where a query (row) may attend to a key (column); broadcasts to
                (batch, query, key). A causal mask is (seq, seq), a padding mask (batch, 1, seq).
                A query that may attend to nothing takes up a zero instead of an average.

        Returns:
            One vector per position, in the shape of `x`.

        Raises:
            ValueError: If `x` has another shape, or the mask is not boolean or does not fit.
        """
        if x.ndim != 3 or x.shape[-1] != self.d_model:
            raise ValueError(
                f"x must have the shape (batch, seq, {self.d_model}), got {tuple(x.shape)}"
            )
        if mask is not None:
            mask = _expand_mask(mask, batch=x.shape[0], seq=x.shape[1])
        h: Tensor
        y: Tensor
        if self.norm_first:
            h = x + self.dropout(self.attention(self.norm1(x), mask))
            y = h + self.dropout(self.feed_forward(self.norm2(h)))
        else:
            h = self.norm1(x + self.dropout(self.attention(x, mask)))
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
            layer: A layer with ReLU, pre-norm or post-norm; absent biases come in as zeros.

        Returns:
            A block that owns a copy of each weight.

        Raises:
            TypeError: If `layer` is no `nn.TransformerEncoderLayer`.
            ValueError: If the layer has another activation than ReLU.

        Examples:
            >>> layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
            >>> x = torch.randn(1, 5, 16)
            >>> torch.allclose(TransformerBlock.from_torch(layer)(x), layer(x), atol=1e-6)
            True
        """
        if not isinstance(layer, nn.TransformerEncoderLayer):
            raise TypeError(f"need an nn.TransformerEncoderLayer, got {type(layer).__name__}")
        if layer.activation not in (F.relu, torch.relu) and not isinstance(
            layer.activation, nn.ReLU
        ):
            name = getattr(layer.activation, "__name__", repr(layer.activation))
            raise ValueError(f"activation {name} is not supported: the paper's block has relu")
        with torch.device("meta"):  # no memory, and no random numbers drawn, for weights we replace
            block = cls(
                layer.linear1.in_features,
                layer.self_attn.num_heads,
                layer.linear1.out_features,
                layer.dropout1.p,
                norm_first=layer.norm_first,
            )
        theirs = layer.state_dict()
        ours: dict[str, Tensor] = {}
        for their_name, our_names in _TORCH_NAMES.items():
            weight = theirs[f"{their_name}weight"]
            bias = theirs.get(f"{their_name}bias", weight.new_zeros(len(weight)))
            for kind, stacked in (("weight", weight), ("bias", bias)):
                parts = stacked.chunk(len(our_names))  # query's rows, then key's, then value's
                ours |= {f"{n}.{kind}": p.clone() for n, p in zip(our_names, parts, strict=True)}
        block.load_state_dict(ours, assign=True)  # strict: every name and every shape
        block.norm1.eps, block.norm2.eps = layer.norm1.eps, layer.norm2.eps
        return block.train(layer.training)


def _expand_mask(
    mask: Bool[Tensor, "..."], batch: int, seq: int
) -> Bool[Tensor, "{batch} {seq} {seq}"]:
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be boolean (True = may attend), got dtype {mask.dtype}")
    try:
        return mask.expand(batch, seq, seq)
    except RuntimeError as error:
        raise ValueError(
            f"mask of shape {tuple(mask.shape)} does not broadcast to (batch, query, key) = "
            f"{(batch, seq, seq)}; a padding mask has the shape (batch, 1, key)"
        ) from error
