"""The models of the story as records: when, how large, and built to which measures.

Looked up last on 30 November 2026. Sizes of models that came out later are not here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from llmbook.architectures.configs import CONFIGS, UNDISCLOSED
from llmbook.architectures.counting import count_parameters

Kind = Literal["embedding", "recurrent", "encoder", "decoder", "encoder-decoder", "dual encoder"]

LOOKED_UP: Final = "2026-11-30"
"""When the records were last compared with what had been published."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One published model. `None`: it does not apply, was never published, or is not given here.

    Attributes:
        name: Name, with the size where a family has several.
        organisation: Who made it.
        year: Year in which it was first made public, by a paper or an announcement.
        month: Month of that year, from 1 on.
        kind: What the model is made of.
        source: Key in the bibliography.
        parameters: All parameters.
        active_parameters: Those that take part in the prediction of one token. A mixture of
            experts leaves most of its experts out; every other model uses all it has. `None` too
            for a mixture whose authors count operations instead.
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
        num_experts: Feed-forward networks per layer, those included that every token passes
            through. `None` for a mixture of which that is not given here.
        active_experts: How many of them a token passes through.
        vocab_size: Tokens in the vocabulary.
        max_len: Context length in tokens.
    """

    name: str
    organisation: str
    year: int
    month: int
    kind: Kind
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
    num_experts: int | None = 1
    active_experts: int | None = 1
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


def _open_weights(
    name: str,
    organisation: str,
    when: tuple[int, int],
    source: str,
    billions: tuple[float | int, float | int],
    max_len: int,
    experts: tuple[int, int] | tuple[None, None] = (None, None),
) -> Architecture:
    """A decoder with published weights, with the sizes that its makers state, stored and active."""
    stored, active = (round(size * 1e9) for size in billions)
    written = [f"{size / 1000:g}T" if size >= 1000 else f"{size:g}B" for size in billions]
    num_experts, active_experts = (1, 1) if stored == active else experts
    return Architecture(
        name=name,
        organisation=organisation,
        year=when[0],
        month=when[1],
        kind="decoder",
        source=source,
        parameters=stored,
        active_parameters=active,
        published=written[0] if stored == active else f"{written[0]}, {written[1]} active",
        basis="paper",
        num_experts=num_experts,
        active_experts=active_experts,
        max_len=max_len,
    )


ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {
        model.name: model
        for model in (
            # the released GoogleNews vectors, whose phrases are made as in the paper of October;
            # the method is of January, and training holds a second matrix as large
            Architecture(
                name="Word2Vec",
                organisation="Google",
                year=2013,
                month=10,
                kind="embedding",
                source="google2013word2vec",
                parameters=900_000_000,
                active_parameters=900_000_000,
                published="3M × 300",
                basis="weights",
                d_model=300,
                vocab_size=3_000_000,
            ),
            # a translator: four layers of LSTM that read, and four that write
            Architecture(
                name="LSTM translator",
                organisation="Google",
                year=2014,
                month=9,
                kind="recurrent",
                source="sutskever2014sequence",
                parameters=384_000_000,
                active_parameters=384_000_000,
                published="384M",
                basis="paper",
            ),
            # two layers of LSTM, characters in, the largest vocabulary of its time out
            Architecture(
                name="BIG LSTM",
                organisation="Google",
                year=2016,
                month=2,
                kind="recurrent",
                source="jozefowicz2016exploring",
                parameters=1_040_000_000,
                active_parameters=1_040_000_000,
                published="1.04B",
                basis="paper",
            ),
            # between two LSTMs; the paper counts the operations of a step, not its parameters
            Architecture(
                name="MoE LSTM",
                organisation="Google",
                year=2017,
                month=1,
                kind="recurrent",
                source="shazeer2017outrageously",
                parameters=137_000_000_000,
                active_parameters=None,
                published="137B",
                basis="paper",
                num_experts=131_072,
                active_experts=None,
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
            # 15 encoder and 15 decoder layers, each with 2,048 experts; norms are not counted
            Architecture(
                name="Switch-C",
                organisation="Google",
                year=2021,
                month=1,
                kind="encoder-decoder",
                source="fedus2021switch",
                parameters=1_571_181_015_040,
                active_parameters=1_728_163_840,
                published="1571B",
                basis="config",
                num_layers=15,
                d_model=2080,
                num_heads=32,
                num_kv_heads=32,
                d_head=64,
                d_ff=6144,
                num_experts=2048,
                active_experts=1,
                vocab_size=32_128,
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
                max_len=8_192,
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
            _open_weights("Gemma 3 27B", "Google", (2025, 3), "gemma2025gemma3", (27, 27), 131_072),
            _open_weights(
                "Llama 4 Maverick", "Meta", (2025, 4), "meta2025llama4", (400, 17), 1_048_576
            ),
            _open_weights(
                "Qwen3 235B", "Qwen", (2025, 4), "yang2025qwen3", (235, 22), 131_072, (128, 8)
            ),
            _open_weights(
                "Kimi K2", "Moonshot AI", (2025, 7), "kimi2025k2", (1040, 32), 131_072, (385, 9)
            ),
            _open_weights(
                "gpt-oss-120b", "OpenAI", (2025, 8), "openai2025gptoss", (117, 5.1), 131_072
            ),
            _open_weights(
                "Mistral Large 3", "Mistral AI", (2025, 12), "mistral2025large3", (675, 41), 262_144
            ),
            _open_weights(
                "DeepSeek-V4-Pro", "DeepSeek", (2026, 4), "deepseek2026v4", (1600, 49), 1_048_576
            ),
            _open_weights(
                "Kimi K3", "Moonshot AI", (2026, 7), "kimi2026k3", (2800, 104), 1_048_576, (898, 18)
            ),
            _open_weights("Qwen3.8 2.4T", "Qwen", (2026, 8), "qwen2026qwen38", (2400, 95), 262_144),
        )
    }
)
"""The models by name, oldest first."""
