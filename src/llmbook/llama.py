"""Llama, the decoder of today: RMSNorm, rotary positions, grouped queries, SwiGLU."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.attention import MultiHeadAttention, Past
from llmbook.generation import KVCache
from llmbook.layers import FeedForward, RMSNorm, check_tokens
from llmbook.positions import Rotary, rotary_tables
from llmbook.sizes import make_whole
from llmbook.weights import build_model, copied, renamed, unembedded

Hidden = Float[Tensor, "batch query d_model"]
Mask = Bool[Tensor, "batch 1 key"]
Padding = Bool[Tensor, "batch key"] | Int[Tensor, "batch key"]

_HF_NAMES = {  # transformers' names for our parts
    "embedding": "model.embed_tokens",
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
    "norm": "model.norm",
    "head": "lm_head",
}


@dataclass(frozen=True, kw_only=True)
class LlamaConfig:
    """The sizes of a `Llama`; in brackets those of SmolLM2-135M.

    Attributes:
        vocab_size: Tokens that the model knows (49,152).
        d_model: Width of the residual stream (576).
        num_layers: Blocks on top of each other (30).
        num_heads: Query heads (9).
        num_kv_heads: Key and value heads (3), each shared by `num_heads / num_kv_heads` query
            heads: the cache of a long text is smaller by that factor.
        d_ff: Width of the feed-forward network (1,536). It has three matrices instead of two, so
            8/3 × `d_model` costs what 4 × `d_model` costs without a gate.
        max_len: Positions that the model knows (8,192); longer texts are refused.
        d_head: Width of a head (64); 0 stands for `d_model / num_heads`.
        rope_base: Base of the rotary angles (100,000); the longer the texts, the larger.
        norm_eps: Added under RMSNorm's root, which keeps a vector of zeros at zero (1e-5).
        tied: The output layer is the embedding matrix, a fifth of this model (true).
        attention_bias: Biases in attention's four projections (false).
        mlp_bias: Biases in the feed-forward network's three matrices (false).

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a size is not positive, heads do not divide, or `d_head` is odd.
    """

    vocab_size: int
    d_model: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    d_ff: int
    max_len: int
    d_head: int = 0
    rope_base: float | int = 10_000
    norm_eps: float | int = 1e-5
    tied: bool = True
    attention_bias: bool = False
    mlp_bias: bool = False

    def __post_init__(self) -> None:
        make_whole(self)
        if self.d_head == 0 and self.num_heads > 0:
            if self.d_model % self.num_heads:
                raise ValueError(
                    "num_heads must divide d_model where d_head is not given, "
                    f"got num_heads={self.num_heads} and d_model={self.d_model}"
                )
            object.__setattr__(self, "d_head", self.d_model // self.num_heads)
        for name, value in asdict(self).items():
            if not isinstance(value, bool) and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                "num_kv_heads must divide num_heads, "
                f"got num_kv_heads={self.num_kv_heads} and num_heads={self.num_heads}"
            )
        if self.d_head % 2:
            raise ValueError(f"d_head must be even, for rotary pairs, got {self.d_head}")


class LlamaBlock(nn.Module):
    """Attention, then SwiGLU, each on a normalised copy and added to the residual stream.

    Args:
        config: Sizes of the model.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        c = config
        self.attention_norm = RMSNorm(c.d_model, c.norm_eps)
        self.attention = MultiHeadAttention(
            c.d_model, c.num_heads, c.num_kv_heads, c.attention_bias, d_head=c.d_head
        )
        self.feed_forward_norm = RMSNorm(c.d_model, c.norm_eps)
        self.feed_forward = FeedForward(c.d_model, c.d_ff, "swiglu", c.mlp_bias)

    def forward(
        self,
        x: Hidden,
        rotary: Rotary,
        mask: Mask | None = None,
        past: Past | None = None,
    ) -> Hidden:
        """Mix each position with those before it, then transform each."""
        normed = self.attention_norm(x)
        h = x + self.attention(normed, mask=mask, rotary=rotary, past=past, causal=True)
        y: Tensor = h + self.feed_forward(self.feed_forward_norm(h))
        return y

    def with_weights(
        self, x: Hidden, rotary: Rotary, mask: Mask | None = None
    ) -> tuple[Hidden, Float[Tensor, "batch heads query key"]]:
        """What `forward` gives, and the weights of attention."""
        normed = self.attention_norm(x)
        output, weights = self.attention.with_weights(normed, mask=mask, rotary=rotary, causal=True)
        h = x + output
        y: Tensor = h + self.feed_forward(self.feed_forward_norm(h))
        return y, weights


class Llama(nn.Module):
    """A stack of blocks between an embedding and its own transpose: next-token logits.

    A fresh model has normal weights of standard deviation 0.02 and is not trained.

    Args:
        config: Sizes of the model.

    Examples:
        >>> config = LlamaConfig(
        ...     vocab_size=100, d_model=32, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=80,
        ...     max_len=64,
        ... )
        >>> model = Llama(config)
        >>> model(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 100])
        >>> model.attention_weights(torch.tensor([[1, 2, 3]])).shape
        torch.Size([2, 1, 4, 3, 3])

    Source:
        [Touvron et al. 2023][touvron2023llama], section 2.2; grouped queries since
        [Llama 2][touvron2023llama2].
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding: nn.Embedding = nn.Embedding.from_pretrained(  # its weights are drawn below
            torch.empty(config.vocab_size, config.d_model), freeze=False
        )
        self.blocks = nn.ModuleList(LlamaBlock(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.head = (
            None if config.tied else nn.Linear(config.d_model, config.vocab_size, bias=False)
        )
        for parameter in self.parameters():
            if parameter.ndim == 2 and not parameter.is_meta:
                nn.init.normal_(parameter, std=0.02)

    @property
    def max_len(self) -> int:
        """Positions that the model knows."""
        return self.config.max_len

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    def forward(
        self,
        token_ids: Int[Tensor, "batch query"],
        attention_mask: Padding | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "batch query vocab"]:
        """Give each position's logits for the token after it.

        Args:
            token_ids: Texts side by side; with a cache, what comes after the cached positions.
            attention_mask: False or 0 where a position is padding, on the left or on the right;
                with a cache it covers the cached positions too, and a text that goes on has its
                padding on the left. What comes out at padding is finite and means nothing.
            cache: Keys and values of earlier positions, which is filled further. It carries no
                gradients, so it needs `torch.no_grad()` or `torch.inference_mode()`.

        Returns:
            Unnormalised log-probabilities.

        Raises:
            ValueError: If token ids are no integers, none, or outside of the vocabulary, if the
                text is longer than `max_len` or the cache, or if the mask does not fit.
        """
        return self.unembed(self.hidden_states(token_ids, attention_mask, cache))

    def hidden_states(
        self,
        token_ids: Int[Tensor, "batch query"],
        attention_mask: Padding | None = None,
        cache: KVCache | None = None,
    ) -> Hidden:
        """What `forward` computes, up to and with the last norm; the arguments are its own."""
        rotary, mask = self._rotary_and_mask(token_ids, attention_mask, cache)
        x: Tensor = self.embedding(token_ids)
        for layer, block in enumerate(self.blocks):
            x = block(x, rotary, mask, None if cache is None else partial(cache.append, layer))
        if cache is not None:
            cache.length += token_ids.shape[1]
        x = self.norm(x)
        return x

    def unembed(self, hidden: Hidden) -> Float[Tensor, "batch query vocab"]:
        """Turn the last hidden states into logits, one for each token of the vocabulary."""
        layer: nn.Module = self.embedding if self.head is None else self.head
        if isinstance(layer, nn.Embedding | nn.Linear):
            return unembedded(hidden, layer.weight)
        logits: Tensor = layer(hidden)  # as `llmbook.quantization.to_int8` has it
        return logits

    def attention_weights(
        self,
        token_ids: Int[Tensor, "batch seq"],
        attention_mask: Padding | None = None,
    ) -> Float[Tensor, "layers batch heads seq seq"]:
        """How much each position (row) takes from each other (column), in every head.

        Args:
            token_ids: Texts side by side.
            attention_mask: False or 0 where a position is padding.

        Returns:
            Weights whose rows sum to 1; a row with nothing to see is zero.
        """
        rotary, mask = self._rotary_and_mask(token_ids, attention_mask)
        x: Tensor = self.embedding(token_ids)
        weights = []
        block: Any
        for block in self.blocks:
            x, of_block = block.with_weights(x, rotary, mask)
            weights.append(of_block)
        return torch.stack(weights)

    def new_cache(self, max_len: int, batch: int = 1) -> KVCache:
        """An empty cache with room for `max_len` positions of each of `batch` texts."""
        c = self.config
        shape = (2, c.num_layers, batch, c.num_kv_heads, max_len, c.d_head)
        return KVCache(self.embedding.weight.detach().new_zeros(shape))

    def _rotary_and_mask(
        self, token_ids: Tensor, attention_mask: Tensor | None, cache: KVCache | None = None
    ) -> tuple[Rotary, Mask | None]:
        """Give what all blocks share: the angles, and what is padding."""
        start = 0 if cache is None else cache.length
        c = self.config
        end = check_tokens(token_ids, attention_mask, c.vocab_size, c.max_len, start)
        if cache is not None:
            cache.check(len(token_ids), end, attention_mask)
        # Padding counts, as only distance does.
        positions = torch.arange(start, end, device=token_ids.device)
        mask = None if attention_mask is None else attention_mask.bool()[:, None]
        weight = self.embedding.weight
        return rotary_tables(positions, c.d_head, c.rope_base, weight.dtype), mask

    @classmethod
    def from_weights(cls, config: LlamaConfig, weights: Mapping[str, Tensor]) -> "Llama":
        """Make a model of weights that are there, without drawing random ones first.

        Args:
            config: Sizes of the model.
            weights: A tensor for each name of `state_dict()`; the model takes it uncopied.

        Returns:
            A model in training mode, as a fresh one is.

        Raises:
            ValueError: If a weight is missing, has another shape than the config says, or has no
                place in the model.
        """
        return build_model(
            partial(cls, config), weights, lambda name: name, lambda _, weight: weight
        )

    @classmethod
    def from_hf(cls, model: nn.Module) -> "Llama":
        """Copy a `transformers.LlamaForCausalLM`; the two then give the same logits.

        Device, dtype and training mode come along, and nothing is shared afterwards. Attention
        dropout, which acts in training alone, does not come along.

        Args:
            model: Any Llama of transformers 5 with the plain rotary embedding, at any base.

        Returns:
            A model that owns a copy of each weight.

        Raises:
            TypeError: If `model` is no `LlamaForCausalLM`.
            ValueError: If it stretches its rotary angles, has another activation than SiLU, or
                other weights than ours.
        """
        from transformers import LlamaForCausalLM

        if not isinstance(model, LlamaForCausalLM):
            raise TypeError(f"need a transformers.LlamaForCausalLM, got {type(model).__name__}")
        theirs: Any = model.config
        rope = theirs.rope_parameters
        if rope["rope_type"] != "default":
            raise ValueError(f"rope_type must be 'default', got {rope['rope_type']!r}")
        if theirs.hidden_act not in ("silu", "swish"):
            raise ValueError(f"hidden_act must be 'silu', got {theirs.hidden_act!r}")
        config = LlamaConfig(
            vocab_size=theirs.vocab_size,
            d_model=theirs.hidden_size,
            num_layers=theirs.num_hidden_layers,
            num_heads=theirs.num_attention_heads,
            num_kv_heads=theirs.num_key_value_heads,
            d_ff=theirs.intermediate_size,
            max_len=theirs.max_position_embeddings,
            d_head=theirs.head_dim,
            rope_base=rope["rope_theta"],
            norm_eps=theirs.rms_norm_eps,
            tied=model.lm_head.weight is model.model.embed_tokens.weight,
            attention_bias=theirs.attention_bias,
            mlp_bias=theirs.mlp_bias,
        )
        return build_model(
            partial(cls, config),
            dict(model.named_parameters()),
            lambda name: renamed(name, "model.layers", _HF_NAMES),
            lambda _, weight: copied(weight),
        ).train(model.training)
