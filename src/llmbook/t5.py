"""T5: an encoder reads a text, and a decoder writes another while it looks at what was read."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.attention import MultiHeadAttention, causal_mask
from llmbook.layers import FeedForward, RMSNorm, check_tokens
from llmbook.positions import RelativeBias
from llmbook.sizes import make_whole, whole
from llmbook.training import evaluating
from llmbook.weights import build_model

TokenIds = Int[Tensor, "batch seq"]
Written = Int[Tensor, "batch target"]
Padding = Bool[Tensor, "batch source"] | Int[Tensor, "batch source"]
Hidden = Float[Tensor, "batch seq d_model"]
Context = Float[Tensor, "batch source d_model"]
Logits = Float[Tensor, "batch target vocab"]

_ACTIVATIONS = {"relu": "relu", "gated-gelu": "geglu"}  # transformers' name, and ours
_SAME = ("vocab_size", "d_model", "num_heads", "d_ff", "num_layers", "num_decoder_layers")
_HF_NAMES = {  # they count the parts of a block: * is the last, 1 or in a decoder 2
    "embedding": "shared",
    "head": "lm_head",
    "blocks": "block",
    "bias": "block.0.layer.0.SelfAttention.relative_attention_bias",
    "norm1": "layer.0.layer_norm",
    "attention": "layer.0.SelfAttention",
    "cross_norm": "layer.1.layer_norm",
    "cross_attention": "layer.1.EncDecAttention",
    "norm2": "layer.*.layer_norm",
    "feed_forward": "layer.*.DenseReluDense",
    "norm": "final_layer_norm",
    **{"query": "q", "key": "k", "value": "v", "out": "o"},
    **{"gate": "wi_0", "up": "wi_1", "down": "wo"},
}


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """The sizes of a `T5`; in brackets those of T5-Small, 61 million parameters.

    Attributes:
        vocab_size: Tokens that the model knows (32,128), sentinels included.
        d_model: Width of the residual stream (512).
        d_head: Width of a head (64). All together need not be as wide as the stream.
        num_heads: Attention heads (8).
        d_ff: Width of the feed-forward networks (2,048).
        num_layers: Blocks of the encoder (6).
        num_decoder_layers: Blocks of the decoder; 0 stands for as many.
        activation: Of the feed-forward networks: "relu", or since version 1.1 "geglu".
        num_buckets: Distances that attention tells apart (32).
        max_distance: From which on it tells none apart (128).
        norm_eps: Added under the root of a norm (1e-6).
        tied: The output layer is the embedding (true); since 1.1 it has weights of its own.
        scaled: What goes into the output layer is divided by the root of `d_model`, since the
            embedding's numbers are about 1 and would make large logits (true; not since 1.1).
        start_id: What the decoder reads first, and padding (0).
        end_id: What it writes last (1); several if any of them ends a text, none () if none does.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a size is not positive, or a special token is not in the vocabulary.
    """

    vocab_size: int
    d_model: int
    d_head: int
    num_heads: int
    d_ff: int
    num_layers: int
    num_decoder_layers: int = 0
    activation: str = "relu"
    num_buckets: int = 32
    max_distance: int = 128
    norm_eps: float | int = 1e-6
    tied: bool = True
    scaled: bool = True
    start_id: int = 0
    end_id: int | tuple[int, ...] = 1

    def __post_init__(self) -> None:
        make_whole(self)
        if isinstance(self.end_id, tuple):
            ends: Any = tuple(whole("end_id", end) for end in self.end_id)
        else:
            ends = whole("end_id", self.end_id)
        object.__setattr__(self, "end_id", ends)
        if self.num_decoder_layers == 0:
            object.__setattr__(self, "num_decoder_layers", self.num_layers)
        for name, value in asdict(self).items():
            if name.endswith("_id"):
                tokens = value if isinstance(value, tuple) else (value,)
                if not all(0 <= token < self.vocab_size for token in tokens):
                    raise ValueError(f"{name} must be from 0 to {self.vocab_size - 1}, got {value}")
            elif not isinstance(value, bool | str) and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")


class T5Block(nn.Module):
    r"""Self-attention, in a decoder a look at what was read, and a feed-forward network.

    $$x \leftarrow x + \mathrm{MultiHead}(\mathrm{RMS}(x); B), \quad
      x \leftarrow x + \mathrm{MultiHead}(\mathrm{RMS}(x), c), \quad
      x \leftarrow x + \mathrm{FFN}(\mathrm{RMS}(x))$$

    with the biases of distance $B$ in self-attention alone, and no other bias anywhere.

    Args:
        config: Sizes of the model.
        decoder: With the second of the three.
    """

    def __init__(self, config: T5Config, *, decoder: bool) -> None:
        super().__init__()
        c, sizes = config, (config.d_model, config.num_heads)
        self.norm1 = RMSNorm(c.d_model, c.norm_eps)
        self.attention = MultiHeadAttention(*sizes, bias=False, d_head=c.d_head)
        if decoder:
            self.cross_norm = RMSNorm(c.d_model, c.norm_eps)
            self.cross_attention = MultiHeadAttention(*sizes, bias=False, d_head=c.d_head)
        self.norm2 = RMSNorm(c.d_model, c.norm_eps)
        self.feed_forward = FeedForward(c.d_model, c.d_ff, c.activation, bias=False)

    def forward(
        self,
        x: Hidden,
        bias: Float[Tensor, "heads seq seq"],
        mask: Bool[Tensor, "batch 1 seq"] | Bool[Tensor, "seq seq"] | None = None,
        context: Context | None = None,
        context_mask: Bool[Tensor, "batch 1 source"] | None = None,
    ) -> Hidden:
        """Take up from the other positions, from the context, and from the position itself."""
        x = x + self.attention(self.norm1(x), mask=mask, bias=bias)
        if context is not None:
            x = x + self.cross_attention(self.cross_norm(x), context, context_mask)
        y: Tensor = x + self.feed_forward(self.norm2(x))
        return y


class T5Stack(nn.Module):
    """Blocks on top of each other that share their biases of distance, and a last norm.

    Args:
        config: Sizes of the model.
        decoder: Look back alone, and at a context.
    """

    def __init__(self, config: T5Config, *, decoder: bool) -> None:
        super().__init__()
        c, layers = config, config.num_decoder_layers if decoder else config.num_layers
        distances = (c.num_heads, c.num_buckets, c.max_distance)
        self.bias = RelativeBias(*distances, bidirectional=not decoder)
        self.blocks = nn.ModuleList(T5Block(c, decoder=decoder) for _ in range(layers))
        self.norm = RMSNorm(c.d_model, c.norm_eps)

    def forward(
        self, x: Hidden, attention_mask: Padding | None = None, context: Context | None = None
    ) -> Hidden:
        """Run `x` through all blocks; the mask tells padding in what is read."""
        padding = None if attention_mask is None else attention_mask.bool()[:, None]
        mask = padding if context is None else causal_mask(x.shape[1], x.device)
        bias = self.bias(x.shape[1], x.shape[1])
        for block in self.blocks:
            x = block(x, bias, mask, context, padding)
        output: Tensor = self.norm(x)
        return output


class T5(nn.Module):
    r"""Read with an encoder, write with a decoder, score each token of the vocabulary.

    $$c = \mathrm{Encoder}(E_s), \qquad z = \mathrm{Decoder}(E_t, c)\,E^\top / \sqrt{d}$$

    T5 does not divide the products of queries and keys by $\sqrt{d_k}$: its queries begin smaller
    by as much. Our attention divides, so ours begin as large as the keys, and `from_hf` multiplies
    T5's weights of queries by $\sqrt{d_k}$. The functions are the same.

    Args:
        config: Sizes of the model.

    Examples:
        >>> config = T5Config(
        ...     vocab_size=100, d_model=32, d_head=16, num_heads=4, d_ff=64, num_layers=2
        ... )
        >>> model = T5(config)
        >>> token_ids, labels = torch.tensor([[7, 8, 9, 1]]), torch.tensor([[9, 8, 1]])
        >>> model(token_ids, model.shift_right(labels)).shape
        torch.Size([1, 3, 100])

    Source:
        [Raffel et al. 2020][raffel2020exploring], section 2.1.
    """

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        c = self.config = config
        self.embedding = nn.Embedding(c.vocab_size, c.d_model)  # standard deviation 1
        self.encoder = T5Stack(c, decoder=False)
        self.decoder = T5Stack(c, decoder=True)
        self.head = None if c.tied else nn.Linear(c.d_model, c.vocab_size, bias=False)
        for layer in self.modules():
            if isinstance(layer, nn.Linear) and not layer.weight.is_meta:
                nn.init.normal_(layer.weight, std=layer.in_features**-0.5)

    def forward(
        self, token_ids: TokenIds, decoder_ids: Written, attention_mask: Padding | None = None
    ) -> Logits:
        """Give each position of the decoder its logits for the token after it.

        Args:
            token_ids: Texts to be read.
            decoder_ids: What has been written so far, after the start token: `shift_right` of the
                labels. Pad it on the right, where no other position looks.
            attention_mask: False or 0 where a text to be read is padding, on either side.

        Raises:
            ValueError: If an argument has another shape or type, or a token is unknown.
        """
        return self.decode(decoder_ids, self.encode(token_ids, attention_mask), attention_mask)

    def encode(self, token_ids: TokenIds, attention_mask: Padding | None = None) -> Hidden:
        """Read: one vector for each token."""
        check_tokens(token_ids, attention_mask, self.config.vocab_size, None)
        context: Tensor = self.encoder(self.embedding(token_ids), attention_mask)
        return context

    def decode(
        self, decoder_ids: Written, context: Context, attention_mask: Padding | None = None
    ) -> Logits:
        """Score what comes next, given what `encode` has read with the same mask."""
        check_tokens(decoder_ids, None, self.config.vocab_size, None, name="decoder_ids")
        if decoder_ids.shape[0] != context.shape[0]:
            raise ValueError(
                f"decoder_ids must be as many as token_ids, {len(context)}, got {len(decoder_ids)}"
            )
        x = self.decoder(self.embedding(decoder_ids), attention_mask, context)
        x = x * self.config.d_model**-0.5 if self.config.scaled else x
        return F.linear(x, self.embedding.weight if self.head is None else self.head.weight)

    def shift_right(self, labels: TokenIds) -> TokenIds:
        """What the decoder reads to write the labels: the start, and all of them but the last.

        Negative labels, which losses leave out, become padding.
        """
        start = self.config.start_id
        return F.pad(labels[:, :-1].masked_fill(labels[:, :-1] < 0, start), (1, 0), value=start)

    @torch.no_grad()
    def generate(
        self, token_ids: TokenIds, max_new_tokens: int, attention_mask: Padding | None = None
    ) -> Int[Tensor, "batch new"]:
        """Write the likeliest token, time after time, for all texts at once.

        The texts are read once; what has been written is read again for each new token.

        Args:
            token_ids: Texts to be read.
            max_new_tokens: When to stop at the latest.
            attention_mask: False or 0 where a text is padding.

        Returns:
            What was written, up to the end token of the longest; after its own, padding.

        Raises:
            ValueError: If `max_new_tokens` is less than 1, or an argument does not fit.
        """
        max_new_tokens = whole("max_new_tokens", max_new_tokens)
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
        with evaluating(self):
            return self._generate(token_ids, max_new_tokens, attention_mask)

    def _generate(
        self, token_ids: TokenIds, max_new_tokens: int, attention_mask: Padding | None
    ) -> Int[Tensor, "batch new"]:
        context = self.encode(token_ids, attention_mask)
        written = token_ids.new_full((len(token_ids), 1), self.config.start_id)
        ended = torch.zeros_like(written, dtype=torch.bool)
        ends = torch.tensor(self.config.end_id, dtype=torch.long, device=token_ids.device)
        while written.shape[1] <= max_new_tokens and not ended.all():
            logits = self.decode(written, context, attention_mask)[:, -1:]
            new = logits.argmax(dim=-1).to(written.dtype).masked_fill(ended, self.config.start_id)
            written, ended = torch.cat((written, new), dim=1), ended | torch.isin(new, ends)
        return written[:, 1:]

    @classmethod
    def from_hf(cls, model: nn.Module) -> "T5":
        """Copy a T5 of transformers, of version 1.0 or 1.1.

        Device, dtype and training mode come along, and nothing is shared afterwards. Dropout,
        which acts in training alone, does not come along.

        Args:
            model: A `transformers.T5ForConditionalGeneration`.

        Raises:
            TypeError: If `model` is another.
            ValueError: If it has another activation than these versions, several tokens to start
                with, or other weights.
        """
        from transformers import T5ForConditionalGeneration as Theirs

        if not isinstance(model, Theirs):
            raise TypeError(f"need a transformers.{Theirs.__name__}, got {type(model).__name__}")
        theirs: Any = model.config
        if (kind := theirs.feed_forward_proj) not in _ACTIVATIONS:
            raise ValueError(f"feed_forward_proj must be one of {list(_ACTIVATIONS)}, got {kind!r}")
        starts = (getattr(theirs, "decoder_start_token_id", None), theirs.pad_token_id, 0)
        start = next(start for start in starts if start is not None)
        if not isinstance(start, int):
            raise ValueError(f"decoder_start_token_id must be one token, got {start!r}")
        end = theirs.eos_token_id  # one, several in a list, or None
        config = T5Config(
            **{name: getattr(theirs, name) for name in _SAME},
            d_head=theirs.d_kv,
            activation=_ACTIVATIONS[kind],
            num_buckets=theirs.relative_attention_num_buckets,
            max_distance=theirs.relative_attention_max_distance,
            norm_eps=theirs.layer_norm_epsilon,
            tied=model.lm_head.weight is model.shared.weight,
            scaled=getattr(theirs, "scale_decoder_outputs", theirs.tie_word_embeddings),
            start_id=start,
            end_id=end if isinstance(end, int) else tuple(end or ()),
        )

        def convert(name: str, weight: Tensor) -> Tensor:
            factor = config.d_head**0.5 if "attention.query" in name else 1
            return (weight.detach() * factor).contiguous()  # the product is a copy

        return build_model(
            partial(cls, config),
            dict(model.named_parameters()),
            lambda name: _hf_name(name, kind),
            convert,
        ).train(model.training)


def _hf_name(name: str, kind: str) -> str:
    """Transformers' name for a weight of ours."""
    theirs = ".".join(_HF_NAMES.get(part, part) for part in name.split("."))
    theirs = theirs.replace("*", "2" if name.startswith("decoder") else "1")
    return theirs.replace("wi_1", "wi") if kind == "relu" else theirs
