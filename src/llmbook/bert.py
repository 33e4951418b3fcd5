"""BERT: a stack of blocks in which every token sees every other, before and after it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.layers import LayerNorm, check_tokens
from llmbook.sizes import make_whole
from llmbook.transformer import TransformerBlock
from llmbook.weights import build_model, copied, renamed

TokenIds = Int[Tensor, "batch seq"]
Padding = Bool[Tensor, "batch seq"] | Int[Tensor, "batch seq"]
Hidden = Float[Tensor, "batch seq d_model"]

_HF_NAMES = {  # transformers' names for our parts
    "embedding": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "segments": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "norm2": "output.LayerNorm",
    "pooler": "pooler.dense",
}
_HF_HEADS = {
    "mlm.dense": "predictions.transform.dense",
    "mlm.norm": "predictions.transform.LayerNorm",
    "mlm": "predictions",
    "nsp": "seq_relationship",
}
_HF_BUFFERS = ("embeddings.position_ids",)  # 0, 1, 2, …, which older files have


@dataclass(frozen=True, kw_only=True)
class BertConfig:
    """The sizes of a `Bert`; in brackets those of bert-base.

    Attributes:
        vocab_size: Tokens that the model knows (30,522).
        d_model: Width of the residual stream (768).
        num_layers: Blocks on top of each other (12).
        num_heads: Attention heads in a block (12).
        d_ff: Width of the feed-forward network (3,072).
        max_len: Positions that the model knows (512); each has a trained vector.
        num_segments: Kinds of text in one input, the first and the second of a pair (2).
        norm_eps: Added under the root of a LayerNorm's variance (1e-12).
        dropout: While training (0.1).
        heads: With the two heads that pre-training needs. An encoder that was tuned for something
            else comes without them.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a size is not positive, or heads do not divide.
    """

    vocab_size: int
    d_model: int
    num_layers: int
    num_heads: int
    d_ff: int
    max_len: int = 512
    num_segments: int = 2
    norm_eps: float | int = 1e-12
    dropout: float | int = 0.0
    heads: bool = True

    def __post_init__(self) -> None:
        make_whole(self)
        for name, value in asdict(self).items():
            if name not in ("dropout", "heads") and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.d_model % self.num_heads:
            raise ValueError(
                "num_heads must divide d_model, "
                f"got num_heads={self.num_heads} and d_model={self.d_model}"
            )


class MaskedHead(nn.Module):
    """From a hidden state to a score for each token of the vocabulary.

    Args:
        config: Sizes of the model.

    Source:
        [Devlin et al. 2019][devlin2019bert], section 3.1; the layer before the embedding is in
        their code alone.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.d_model, config.d_model)
        self.norm = LayerNorm(config.d_model, config.norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(
        self, hidden: Hidden, embedding: Float[Tensor, "vocab d_model"]
    ) -> Float[Tensor, "batch seq vocab"]:
        """Compare each hidden state with each token's embedding."""
        return F.linear(self.norm(F.gelu(self.dense(hidden))), embedding, self.bias)


class Bert(nn.Module):
    r"""Tokens, their positions and segments, through the blocks, to two guesses.

    $$x = \mathrm{LN}(E_t + P + S), \qquad x \leftarrow \mathrm{Block}(x) \;\text{ for each block}$$

    One guess is which token stood at each position (which was hidden at some of them), the other
    whether the second text follows the first.

    Args:
        config: Sizes of the model.

    Examples:
        >>> config = BertConfig(vocab_size=100, d_model=32, num_layers=2, num_heads=4, d_ff=64)
        >>> mlm_logits, nsp_logits = Bert(config)(torch.tensor([[1, 2, 3]]))
        >>> mlm_logits.shape, nsp_logits.shape
        (torch.Size([1, 3, 100]), torch.Size([1, 2]))

    Source:
        [Devlin et al. 2019][devlin2019bert], section 3.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embedding = nn.Embedding(c.vocab_size, c.d_model)
        self.positions = nn.Embedding(c.max_len, c.d_model)
        self.segments = nn.Embedding(c.num_segments, c.d_model)
        self.norm = LayerNorm(c.d_model, c.norm_eps)
        self.dropout = nn.Dropout(c.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                c.d_model,
                c.num_heads,
                c.d_ff,
                c.dropout,
                activation="gelu",
                norm_eps=c.norm_eps,
            )
            for _ in range(c.num_layers)
        )
        self.pooler = nn.Linear(c.d_model, c.d_model)
        self.mlm = MaskedHead(c) if c.heads else None
        self.nsp = nn.Linear(c.d_model, 2) if c.heads else None
        for name, parameter in self.named_parameters():
            if not parameter.is_meta and parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
            elif not parameter.is_meta and name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(
        self,
        token_ids: TokenIds,
        token_type_ids: TokenIds | None = None,
        attention_mask: Padding | None = None,
    ) -> tuple[Float[Tensor, "batch seq vocab"], Float[Tensor, "batch 2"]]:
        """Guess the token at each position, and whether the second text follows the first.

        Args:
            token_ids: Texts or pairs of texts, of which the first token is [CLS].
            token_type_ids: 0 for the first text of a pair, 1 for the second; all 0 if left out.
            attention_mask: False or 0 where a position is padding.

        Returns:
            Logits of the tokens, and of "follows" (0) and "does not" (1).

        Raises:
            ValueError: If the model has no heads, or an argument does not fit.
        """
        if self.mlm is None or self.nsp is None:
            raise ValueError("this encoder came without heads: hidden_states gives its vectors")
        hidden = self.hidden_states(token_ids, token_type_ids, attention_mask)
        return self.mlm(hidden, self.embedding.weight), self.nsp(self.pool(hidden))

    def hidden_states(
        self,
        token_ids: TokenIds,
        token_type_ids: TokenIds | None = None,
        attention_mask: Padding | None = None,
    ) -> Hidden:
        """The vector of each token after the last block; the arguments are those of `forward`."""
        return self.levels(token_ids, token_type_ids, attention_mask)[-1]

    def levels(
        self,
        token_ids: TokenIds,
        token_type_ids: TokenIds | None = None,
        attention_mask: Padding | None = None,
    ) -> Float[Tensor, "levels batch seq d_model"]:
        """The vector of each token before the first block, and after each; arguments as above."""
        seq = check_tokens(token_ids, attention_mask, self.config.vocab_size, self.config.max_len)
        if token_type_ids is None:
            token_type_ids = torch.zeros_like(token_ids)
        elif token_type_ids.shape != token_ids.shape:
            raise ValueError(
                f"token_type_ids must have the shape of token_ids, {tuple(token_ids.shape)}, "
                f"got {tuple(token_type_ids.shape)}"
            )
        mask = None if attention_mask is None else attention_mask.bool()[:, None]
        positions = self.positions.weight[:seq]
        x = self.embedding(token_ids) + positions + self.segments(token_type_ids)
        levels = [self.dropout(self.norm(x))]
        for block in self.blocks:
            levels.append(block(levels[-1], mask))
        return torch.stack(levels)

    def pool(self, hidden: Hidden) -> Float[Tensor, "batch d_model"]:
        """One vector for the whole input: that of [CLS], through a last layer."""
        return torch.tanh(self.pooler(hidden[:, 0]))

    @classmethod
    def from_hf(cls, model: nn.Module) -> "Bert":
        """Copy a BERT of transformers, with its heads or the encoder alone.

        Device, dtype and training mode come along, and nothing is shared afterwards. Dropout,
        which acts in training alone, does not come along.

        Args:
            model: A `transformers.BertForPreTraining` or a `BertModel` with its pooler.

        Raises:
            TypeError: If `model` is neither.
            ValueError: If it has another activation than GELU, no pooler, is a decoder, has other
                weights than ours, or its output layer is not its embedding.
        """
        from transformers import BertForPreTraining, BertModel

        if not isinstance(model, BertForPreTraining | BertModel):
            raise TypeError(
                f"need a transformers.BertForPreTraining or BertModel, got {type(model).__name__}"
            )
        heads = isinstance(model, BertForPreTraining)
        whole: Any = model
        encoder, theirs = whole.bert if heads else whole, whole.config
        for name, needed in (("hidden_act", "gelu"), ("is_decoder", False)):
            if getattr(theirs, name) != needed:
                raise ValueError(f"{name} must be {needed!r}, got {getattr(theirs, name)!r}")
        if encoder.pooler is None:
            raise ValueError("the model must have a pooler: make it with add_pooling_layer=True")
        if (
            heads
            and whole.cls.predictions.decoder.weight is not encoder.get_input_embeddings().weight
        ):
            raise ValueError("tie_word_embeddings must be True: the output layer is the embedding")
        config = cls.config_of(theirs.to_dict(), heads=heads)
        weights = {
            name.removeprefix("bert.").removeprefix("cls."): weight
            for name, weight in model.named_parameters()
        }
        return cls.from_weights(config, weights).train(model.training)

    @classmethod
    def from_weights(cls, config: BertConfig, weights: Mapping[str, Tensor]) -> "Bert":
        """Make a model of copies of weights that are there, under transformers' names.

        Args:
            config: Sizes of the model.
            weights: The encoder's, and if there are heads, theirs.

        Raises:
            ValueError: If a weight is missing, has another shape than the config says, or has no
                place in the model.
        """
        return build_model(
            partial(cls, config),
            weights,
            lambda name: renamed(name, "encoder.layer", _HF_NAMES | _HF_HEADS),
            lambda _, weight: copied(weight),
            ignored=_HF_BUFFERS,
        )

    @staticmethod
    def config_of(theirs: Mapping[str, Any], *, heads: bool) -> BertConfig:
        """Our sizes from the entries of transformers' `config.json`."""
        return BertConfig(
            vocab_size=theirs["vocab_size"],
            d_model=theirs["hidden_size"],
            num_layers=theirs["num_hidden_layers"],
            num_heads=theirs["num_attention_heads"],
            d_ff=theirs["intermediate_size"],
            max_len=theirs["max_position_embeddings"],
            num_segments=theirs["type_vocab_size"],
            norm_eps=theirs["layer_norm_eps"],
            heads=heads,
        )
