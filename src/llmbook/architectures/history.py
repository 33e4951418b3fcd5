"""The models of the story as records: when, how large, and built to which measures."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from llmbook.architectures.configs import CONFIGS, UNDISCLOSED
from llmbook.architectures.counting import count_parameters


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One published model. `None` means that it does not apply or was never published.

    Attributes:
        name: Name, with the size where a family has several.
        organisation: Who made it.
        year: Year in which it was first made public, by a paper or an announcement.
        month: Month of that year, from 1 on.
        kind: What the model is made of.
        source: Key in the bibliography.
        parameters: All parameters.
        active_parameters: Those that take part in the prediction of one token. A mixture of
            experts leaves most of its experts out; every other model uses all it has.
        published: The size as its authors print it.
        basis: How `parameters` is known: counted in the `weights` themselves or in a reference
            implementation, calculated from the published `config`, or only the rounded figure
            of the `paper`.
        undisclosed_reason: Why `parameters` is `None`.
        num_layers: Layers; as many in the encoder as in the decoder where there are both.
        d_model: Width of the residual stream, or of the embedding.
        num_heads: Query heads.
        num_kv_heads: Key and value heads, fewer than `num_heads` where heads share them.
        d_head: Width of one head.
        d_ff: Width of the hidden layer of the feed-forward network (of one expert).
        gated: The feed-forward network has three matrices (GLU) instead of two.
        num_experts: Feed-forward networks per layer.
        active_experts: How many of them a token passes through.
        vocab_size: Tokens in the vocabulary.
        max_len: Context length in tokens.
    """

    name: str
    organisation: str
    year: int
    month: int
    kind: Literal["embedding", "encoder", "decoder", "encoder-decoder", "dual encoder"]
    source: str
    parameters: int | None
    active_parameters: int | None
    published: str | None
    basis: Literal["weights", "config", "paper"] | None
    undisclosed_reason: str | None = None
    num_layers: int | None = None
    d_model: int | None = None
    num_heads: int | None = None
    num_kv_heads: int | None = None
    d_head: int | None = None
    d_ff: int | None = None
    gated: bool = False
    num_experts: int = 1
    active_experts: int = 1
    vocab_size: int | None = None
    max_len: int | None = None

    @property
    def decimal_year(self) -> float:
        """The month's first day as a fraction of the year, for a time axis."""
        return self.year + (self.month - 1) / 12


def _measured(config: str, **story: Any) -> Architecture:
    """A record with the sizes of a data sheet."""
    sheet = CONFIGS[config]
    return Architecture(
        kind=sheet.structure,
        parameters=count_parameters(sheet),
        active_parameters=count_parameters(sheet, active=True),
        num_layers=sheet.num_layers,
        d_model=sheet.d_model,
        num_heads=sheet.num_heads,
        num_kv_heads=sheet.kv_heads,
        d_head=sheet.head_width,
        d_ff=sheet.d_ff,
        gated=sheet.gated,
        num_experts=sheet.num_experts,
        active_experts=sheet.active_experts,
        vocab_size=sheet.vocab_size,
        max_len=sheet.max_len,
        **story,
    )


ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {
        model.name: model
        for model in (
            # the released GoogleNews vectors; training holds a second matrix as large
            Architecture(
                name="Word2Vec",
                organisation="Google",
                year=2013,
                month=1,
                kind="embedding",
                source="mikolov2013efficient",
                parameters=900_000_000,
                active_parameters=900_000_000,
                published="3M × 300",
                basis="weights",
                d_model=300,
                vocab_size=3_000_000,
            ),
            # English to German; about 37,000 shared tokens
            Architecture(
                name="Transformer (big)",
                organisation="Google",
                year=2017,
                month=6,
                kind="encoder-decoder",
                source="vaswani2017attention",
                parameters=213_000_000,
                active_parameters=213_000_000,
                published="213M",
                basis="paper",
                num_layers=6,
                d_model=1024,
                num_heads=16,
                num_kv_heads=16,
                d_head=64,
                d_ff=4096,
                vocab_size=37_000,
            ),
            _measured(
                "gpt-1",
                name="GPT-1",
                organisation="OpenAI",
                year=2018,
                month=6,
                source="radford2018improving",
                published="117M",
                basis="weights",
            ),
            # encoder and pooler, without the pre-training heads
            _measured(
                "bert-large",
                name="BERT-Large",
                organisation="Google",
                year=2018,
                month=10,
                source="devlin2019bert",
                published="340M",
                basis="weights",
            ),
            _measured(
                "gpt2-xl",
                name="GPT-2 XL",
                organisation="OpenAI",
                year=2019,
                month=2,
                source="radford2019language",
                published="1.5B",
                basis="weights",
            ),
            # 24 encoder and 24 decoder layers; the heads together are 16 × d_model wide
            _measured(
                "t5-11b",
                name="T5-11B",
                organisation="Google",
                year=2019,
                month=10,
                source="raffel2020exploring",
                published="11B",
                basis="weights",
            ),
            # every other layer attends sparsely, which changes no parameter count
            _measured(
                "gpt3-175b",
                name="GPT-3",
                organisation="OpenAI",
                year=2020,
                month=5,
                source="brown2020language",
                published="175B",
                basis="config",
            ),
            # measures of the text encoder; the image encoder has 24 layers of 1,024
            Architecture(
                name="CLIP ViT-L/14",
                organisation="OpenAI",
                year=2021,
                month=1,
                kind="dual encoder",
                source="radford2021learning",
                parameters=427_616_513,
                active_parameters=427_616_513,
                published=None,
                basis="weights",
                num_layers=12,
                d_model=768,
                num_heads=12,
                num_kv_heads=12,
                d_head=64,
                d_ff=3072,
                vocab_size=49_408,
                max_len=77,
            ),
            # 16,384 text and 8,192 image tokens; 256 and 1,024 positions
            Architecture(
                name="DALL-E",
                organisation="OpenAI",
                year=2021,
                month=1,
                kind="decoder",
                source="ramesh2021zero",
                parameters=12_000_000_000,
                active_parameters=12_000_000_000,
                published="12B",
                basis="paper",
                num_layers=64,
                d_model=3968,
                num_heads=62,
                num_kv_heads=62,
                d_head=64,
                d_ff=15_872,
                vocab_size=24_576,
                max_len=1280,
            ),
            # relative positions cost a fifth attention matrix per layer
            Architecture(
                name="Chinchilla",
                organisation="DeepMind",
                year=2022,
                month=3,
                kind="decoder",
                source="hoffmann2022training",
                parameters=70_055_362_560,
                active_parameters=70_055_362_560,
                published="70B",
                basis="config",
                num_layers=80,
                d_model=8192,
                num_heads=64,
                num_kv_heads=64,
                d_head=128,
                d_ff=32_768,
                vocab_size=32_000,
                max_len=2048,
            ),
            # without the gains of its norms, 2.2M
            _measured(
                "palm-540b",
                name="PaLM 540B",
                organisation="Google",
                year=2022,
                month=4,
                source="chowdhery2022palm",
                published="540B",
                basis="config",
            ),
            Architecture(
                name="GPT-4",
                organisation="OpenAI",
                year=2023,
                month=3,
                kind="decoder",
                source="openai2023gpt4",
                parameters=None,
                active_parameters=None,
                published=None,
                basis=None,
                undisclosed_reason=UNDISCLOSED["gpt-4"],
            ),
            _measured(
                "llama-2-70b",
                name="Llama-2-70B",
                organisation="Meta",
                year=2023,
                month=7,
                source="touvron2023llama2",
                published="70B",
                basis="weights",
            ),
            # only the feed-forward networks are eightfold, so it is no 8 × 7B
            _measured(
                "mixtral-8x7b",
                name="Mixtral 8x7B",
                organisation="Mistral AI",
                year=2023,
                month=12,
                source="jiang2024mixtral",
                published="47B, 13B active",
                basis="weights",
            ),
            _measured(
                "llama-3.1-405b",
                name="Llama-3.1-405B",
                organisation="Meta",
                year=2024,
                month=7,
                source="grattafiori2024llama",
                published="405B",
                basis="weights",
            ),
            _measured(
                "smollm2-135m",
                name="SmolLM2-135M",
                organisation="Hugging Face",
                year=2024,
                month=11,
                source="allal2025smollm2",
                published="135M",
                basis="weights",
            ),
            # 256 experts, one more for every token; the first three layers are dense
            Architecture(
                name="DeepSeek-V3",
                organisation="DeepSeek",
                year=2024,
                month=12,
                kind="decoder",
                source="deepseek2024v3",
                parameters=671_000_000_000,
                active_parameters=37_000_000_000,
                published="671B, 37B active",
                basis="paper",
                num_layers=61,
                d_model=7168,
                num_heads=128,
                d_head=128,
                d_ff=2048,
                gated=True,
                num_experts=257,
                active_experts=9,
                vocab_size=129_280,
                max_len=131_072,
            ),
        )
    }
)
"""The models by name, oldest first."""
