"""GPT: a stack of Transformer blocks that see the past alone, and say what comes next."""

import math
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.generation import KVCache
from llmbook.layers import check_tokens
from llmbook.positions import LearnedPositions
from llmbook.sizes import make_whole
from llmbook.transformer import TransformerBlock
from llmbook.weights import build_model, copied, renamed, unembedded

Hidden = Float[Tensor, "batch seq d_model"]
Padding = Bool[Tensor, "batch key"] | Int[Tensor, "batch key"]

_HF_NAMES = {  # transformers' names for our parts
    "embedding": "transformer.wte",
    "positions": "transformer.wpe",
    "norm1": "ln_1",
    "attention.query": "attn.c_attn",  # which holds all three, side by side
    "attention.key": "attn.c_attn",
    "attention.value": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "norm2": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
    "norm": "transformer.ln_f",
    "head": "lm_head",
}
_GPT1_NAMES = {"embedding": "transformer.tokens_embed", "positions": "transformer.positions_embed"}
_QKV = ("attention.query", "attention.key", "attention.value")


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """The sizes of a `GPT`; in brackets those of the smallest GPT-2, 124 million parameters.

    Attributes:
        vocab_size: Tokens that the model knows (50,257).
        d_model: Width of the residual stream, to which every block adds (768).
        num_layers: Blocks on top of each other (12).
        num_heads: Attention heads in a block (12), each `d_model / num_heads` wide.
        max_len: Positions that the model knows (1,024). Each has a trained vector, so a longer
            text is refused: there is nothing to tell its last tokens apart.
        d_ff: Width of the feed-forward network; 0 stands for 4 × `d_model` (3,072).
        activation: Of the feed-forward network ("gelu_tanh").
        norm_first: GPT-2 normalises what goes into a sub-layer, and once more at the end, which
            keeps a deep stack trainable (true). GPT-1 normalises each sum (false).
        norm_eps: Added under the root of a LayerNorm's variance (1e-5).
        bias: Biases in all matrices and norms (true). Newer models leave them out.
        tied: The output layer is the embedding matrix, 31 % of this model (true).
        dropout: Probability of zeroing an element of the embeddings and of a sub-layer's output
            while training (0.1). Against learning by heart what is seen many times; 0 where
            every token is seen once.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a size is not positive, heads do not divide, or `dropout` is no probability.
    """

    vocab_size: int
    d_model: int
    num_layers: int
    num_heads: int
    max_len: int
    d_ff: int = 0
    activation: str = "gelu_tanh"
    norm_first: bool = True
    norm_eps: float | int = 1e-5
    bias: bool = True
    tied: bool = True
    dropout: float | int = 0.0

    def __post_init__(self) -> None:
        make_whole(self)
        if self.d_ff == 0:
            object.__setattr__(self, "d_ff", 4 * self.d_model)
        for name, value in asdict(self).items():
            if name != "dropout" and not isinstance(value, bool | str) and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.d_model % self.num_heads:
            raise ValueError(
                "num_heads must divide d_model, "
                f"got num_heads={self.num_heads} and d_model={self.d_model}"
            )
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout must be from 0 to 1, got {self.dropout}")


class GPT(nn.Module):
    r"""Tokens and their positions, through the blocks, to logits for the token after each.

    $$x = E_{t} + P, \qquad x \leftarrow \mathrm{Block}(x) \;\text{ for each block}, \qquad
      z = \mathrm{LN}(x)\,E^\top$$

    A fresh model has normal weights of standard deviation 0.02, those that write into the residual
    stream less by $\sqrt{2 \cdot \mathrm{layers}}$, so that the sum does not grow with the depth.

    Args:
        config: Sizes of the model.

    Examples:
        >>> config = GPTConfig(vocab_size=100, d_model=32, num_layers=2, num_heads=4, max_len=64)
        >>> GPT(config)(torch.tensor([[1, 2, 3]])).shape
        torch.Size([1, 3, 100])

    Source:
        [Radford et al. 2018][radford2018improving], section 3.1; pre-norm and initial weights:
        [Radford et al. 2019][radford2019language], section 2.3.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embedding: nn.Embedding = nn.Embedding.from_pretrained(  # its weights are drawn below
            torch.empty(c.vocab_size, c.d_model), freeze=False
        )
        self.positions = LearnedPositions(c.max_len, c.d_model)
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                c.d_model,
                c.num_heads,
                c.d_ff,
                c.dropout,
                norm_first=c.norm_first,
                activation=c.activation,
                bias=c.bias,
                norm_eps=c.norm_eps,
                norm=nn.LayerNorm,
            )
            for _ in range(c.num_layers)
        )
        self.norm = nn.LayerNorm(c.d_model, c.norm_eps, bias=c.bias) if c.norm_first else None
        self.head = None if c.tied else nn.Linear(c.d_model, c.vocab_size, bias=False)
        std = 0.02
        residual_std = std / math.sqrt(2 * c.num_layers)  # of what writes into the stream
        for name, parameter in self.named_parameters():
            if parameter.is_meta:
                continue
            if parameter.ndim == 2:
                writes = name.endswith(("attention.out.weight", "feed_forward.down.weight"))
                nn.init.normal_(parameter, std=residual_std if writes else std)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

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
        token_ids: Int[Tensor, "batch seq"],
        attention_mask: Padding | None = None,
        cache: KVCache | None = None,
    ) -> Float[Tensor, "batch seq vocab"]:
        """Give each position's logits for the token after it.

        Args:
            token_ids: Texts side by side; with a cache, what comes after the cached positions.
            attention_mask: False or 0 where a position is padding; with a cache it covers the
                cached positions too. Positions count from the first column, padding or not, so
                pad on the right, or a text starts at a later position. After padding on the right
                no text goes on. What comes out at padding is finite and means nothing.
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
        token_ids: Int[Tensor, "batch seq"],
        attention_mask: Padding | None = None,
        cache: KVCache | None = None,
    ) -> Hidden:
        """What `forward` computes, up to and with the last norm; the arguments are its own."""
        start = 0 if cache is None else cache.length
        end = check_tokens(token_ids, attention_mask, self.config.vocab_size, self.max_len, start)
        if cache is not None:
            cache.check(len(token_ids), end, attention_mask)
        mask = None if attention_mask is None else attention_mask.bool()[:, None]
        x: Tensor = self.dropout(self.embedding(token_ids) + self.positions.weight[start:end])
        for layer, block in enumerate(self.blocks):
            past = None if cache is None else partial(cache.append, layer)
            x = block(x, mask, past, causal=True)
        if cache is not None:
            cache.length = end
        return x if self.norm is None else self.norm(x)

    def unembed(self, hidden: Hidden) -> Float[Tensor, "batch seq vocab"]:
        """Turn the last hidden states into logits, one for each token of the vocabulary."""
        return unembedded(hidden, (self.embedding if self.head is None else self.head).weight)

    def new_cache(self, max_len: int, batch: int = 1) -> KVCache:
        """An empty cache with room for `max_len` positions of each of `batch` texts."""
        c = self.config
        shape = (2, c.num_layers, batch, c.num_heads, max_len, c.d_model // c.num_heads)
        return KVCache(self.embedding.weight.detach().new_zeros(shape))

    @classmethod
    def from_hf(cls, model: nn.Module) -> "GPT":
        """Copy transformers' GPT-2, or its GPT (of 2018); the two then give the same logits.

        Device, dtype and training mode come along, and nothing is shared afterwards. Dropout,
        which acts in training alone, does not come along.

        Args:
            model: A `transformers.GPT2LMHeadModel` or `transformers.OpenAIGPTLMHeadModel`.

        Returns:
            A model that owns a copy of each weight.

        Raises:
            TypeError: If `model` is neither.
            ValueError: If it scales its attention in another way, has cross-attention, another
                activation than ReLU and the two GELUs, or other weights than ours.
        """
        from transformers import GPT2LMHeadModel, OpenAIGPTLMHeadModel

        if not isinstance(model, GPT2LMHeadModel | OpenAIGPTLMHeadModel):
            raise TypeError(
                "need a transformers.GPT2LMHeadModel or OpenAIGPTLMHeadModel, "
                f"got {type(model).__name__}"
            )
        theirs: Any = model.config
        second = isinstance(model, GPT2LMHeadModel)
        if second:
            for name, needed in (
                ("scale_attn_weights", True),
                ("scale_attn_by_inverse_layer_idx", False),
                ("add_cross_attention", False),
            ):
                if getattr(theirs, name) is not needed:
                    raise ValueError(f"{name} must be {needed}, got {getattr(theirs, name)}")
        activation = theirs.activation_function if second else theirs.afn
        tanh = activation == "gelu_new" or (activation == "gelu" and not second)  # as they mean it
        if not tanh and activation not in ("relu", "gelu"):
            raise ValueError(f"activation must be relu, gelu or gelu_new, got {activation!r}")
        config = GPTConfig(
            vocab_size=theirs.vocab_size,
            d_model=theirs.n_embd,
            num_layers=theirs.n_layer,
            num_heads=theirs.n_head,
            max_len=theirs.n_positions,
            d_ff=(second and theirs.n_inner) or 0,
            activation="gelu_tanh" if tanh else activation,
            norm_first=second,
            norm_eps=theirs.layer_norm_epsilon,
            tied=model.lm_head.weight is model.get_input_embeddings().weight,
        )
        names = _HF_NAMES | ({} if second else _GPT1_NAMES)

        def convert(name: str, weight: Tensor) -> Tensor:
            part = name.removesuffix(".weight").removesuffix(".bias").split(".", 2)[-1]
            if part in _QKV:
                weight = weight.chunk(3, dim=-1)[_QKV.index(part)]
            # Theirs are (in, out) inside of the blocks.
            return copied(weight.t() if name.startswith("blocks.") else weight)

        return build_model(
            partial(cls, config),
            dict(model.named_parameters()),
            lambda name: renamed(name, "transformer.h", names),
            convert,
        ).train(model.training)
