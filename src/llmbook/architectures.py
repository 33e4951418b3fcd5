"""The models of the story as records: when, how large, and built to which measures."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal


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
        note: What a reader of the table should know.
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
    note: str = ""

    @property
    def decimal_year(self) -> float:
        """The month's first day as a fraction of the year, for a time axis."""
        return self.year + (self.month - 1) / 12


ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType(
    {
        model.name: model
        for model in (
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
                note="the released GoogleNews vectors; training holds a second matrix as large",
            ),
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
                note="English to German; about 37,000 shared tokens",
            ),
            Architecture(
                name="GPT-1",
                organisation="OpenAI",
                year=2018,
                month=6,
                kind="decoder",
                source="radford2018improving",
                parameters=116_534_784,
                active_parameters=116_534_784,
                published="117M",
                basis="weights",
                num_layers=12,
                d_model=768,
                num_heads=12,
                num_kv_heads=12,
                d_head=64,
                d_ff=3072,
                vocab_size=40_478,
                max_len=512,
            ),
            Architecture(
                name="BERT-Large",
                organisation="Google",
                year=2018,
                month=10,
                kind="encoder",
                source="devlin2019bert",
                parameters=335_141_888,
                active_parameters=335_141_888,
                published="340M",
                basis="weights",
                num_layers=24,
                d_model=1024,
                num_heads=16,
                num_kv_heads=16,
                d_head=64,
                d_ff=4096,
                vocab_size=30_522,
                max_len=512,
                note="encoder and pooler, without the pre-training heads",
            ),
            Architecture(
                name="GPT-2 XL",
                organisation="OpenAI",
                year=2019,
                month=2,
                kind="decoder",
                source="radford2019language",
                parameters=1_557_611_200,
                active_parameters=1_557_611_200,
                published="1.5B",
                basis="weights",
                num_layers=48,
                d_model=1600,
                num_heads=25,
                num_kv_heads=25,
                d_head=64,
                d_ff=6400,
                vocab_size=50_257,
                max_len=1024,
            ),
            Architecture(
                name="T5-11B",
                organisation="Google",
                year=2019,
                month=10,
                kind="encoder-decoder",
                source="raffel2020exploring",
                parameters=11_307_321_344,
                active_parameters=11_307_321_344,
                published="11B",
                basis="weights",
                num_layers=24,
                d_model=1024,
                num_heads=128,
                num_kv_heads=128,
                d_head=128,
                d_ff=65_536,
                vocab_size=32_128,
                max_len=512,
                note="24 encoder and 24 decoder layers; the heads together are 16 × d_model wide",
            ),
            Architecture(
                name="GPT-3",
                organisation="OpenAI",
                year=2020,
                month=5,
                kind="decoder",
                source="brown2020language",
                parameters=174_604_259_328,
                active_parameters=174_604_259_328,
                published="175B",
                basis="config",
                num_layers=96,
                d_model=12_288,
                num_heads=96,
                num_kv_heads=96,
                d_head=128,
                d_ff=49_152,
                vocab_size=50_257,
                max_len=2048,
                note="every other layer attends sparsely, which changes no parameter count",
            ),
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
                note="measures of the text encoder; the image encoder has 24 layers of 1,024",
            ),
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
                note="16,384 text and 8,192 image tokens; 256 and 1,024 positions",
            ),
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
                note="relative positions cost a fifth attention matrix per layer",
            ),
            Architecture(
                name="PaLM 540B",
                organisation="Google",
                year=2022,
                month=4,
                kind="decoder",
                source="chowdhery2022palm",
                parameters=540_354_281_472,
                active_parameters=540_354_281_472,
                published="540B",
                basis="config",
                num_layers=118,
                d_model=18_432,
                num_heads=48,
                num_kv_heads=1,
                d_head=256,
                d_ff=73_728,
                gated=True,
                vocab_size=256_000,
                max_len=2048,
                note="without the gains of its norms, 2.2M",
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
                undisclosed_reason=(
                    "The technical report gives no details about the architecture, "
                    "including the size of the model."
                ),
            ),
            Architecture(
                name="Llama-2-70B",
                organisation="Meta",
                year=2023,
                month=7,
                kind="decoder",
                source="touvron2023llama2",
                parameters=68_976_648_192,
                active_parameters=68_976_648_192,
                published="70B",
                basis="weights",
                num_layers=80,
                d_model=8192,
                num_heads=64,
                num_kv_heads=8,
                d_head=128,
                d_ff=28_672,
                gated=True,
                vocab_size=32_000,
                max_len=4096,
            ),
            Architecture(
                name="Mixtral 8x7B",
                organisation="Mistral AI",
                year=2023,
                month=12,
                kind="decoder",
                source="jiang2024mixtral",
                parameters=46_702_792_704,
                active_parameters=12_879_925_248,
                published="47B, 13B active",
                basis="weights",
                num_layers=32,
                d_model=4096,
                num_heads=32,
                num_kv_heads=8,
                d_head=128,
                d_ff=14_336,
                gated=True,
                num_experts=8,
                active_experts=2,
                vocab_size=32_000,
                max_len=32_768,
                note="only the feed-forward networks are eightfold, so it is no 8 × 7B",
            ),
            Architecture(
                name="Llama-3.1-405B",
                organisation="Meta",
                year=2024,
                month=7,
                kind="decoder",
                source="grattafiori2024llama",
                parameters=405_853_388_800,
                active_parameters=405_853_388_800,
                published="405B",
                basis="weights",
                num_layers=126,
                d_model=16_384,
                num_heads=128,
                num_kv_heads=8,
                d_head=128,
                d_ff=53_248,
                gated=True,
                vocab_size=128_256,
                max_len=131_072,
            ),
            Architecture(
                name="SmolLM2-135M",
                organisation="Hugging Face",
                year=2024,
                month=11,
                kind="decoder",
                source="allal2025smollm2",
                parameters=134_515_008,
                active_parameters=134_515_008,
                published="135M",
                basis="weights",
                num_layers=30,
                d_model=576,
                num_heads=9,
                num_kv_heads=3,
                d_head=64,
                d_ff=1536,
                gated=True,
                vocab_size=49_152,
                max_len=8192,
            ),
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
                note="256 experts, one more for every token; the first three layers are dense",
            ),
        )
    }
)
"""The models by name, oldest first."""


def block_parameters(d_model: int, d_ff: int) -> int:
    r"""Parameters of one Transformer block with biases and layer norms.

    $$\underbrace{4d^2 + 4d}_\text{attention}
      + \underbrace{2 d f + f + d}_\text{feed-forward}
      + \underbrace{4d}_\text{two norms}$$

    The number of heads does not occur: more heads are narrower heads.

    Args:
        d_model: Width of the residual stream, $d$.
        d_ff: Width of the hidden layer, $f$.

    Raises:
        ValueError: If a size is not positive.

    Examples:
        >>> block_parameters(d_model=512, d_ff=2048)
        3152384

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.
    """
    if min(d_model, d_ff) <= 0:
        raise ValueError(f"d_model and d_ff must be positive, got {d_model} and {d_ff}")
    attention = 4 * d_model**2 + 4 * d_model
    feed_forward = 2 * d_model * d_ff + d_ff + d_model
    norms = 4 * d_model
    return attention + feed_forward + norms


def block_flops(d_model: int, d_ff: int, seq: int) -> dict[str, int]:
    r"""Floating-point operations of one block on one text, forward, by part.

    A product of an $a \times b$ with a $b \times c$ matrix is $2abc$ operations: as many
    multiplications as additions. For a text of $n$ positions that makes

    $$\underbrace{8 n d^2}_\text{projections} + \underbrace{4 n^2 d}_\text{pairs}
      + \underbrace{4 n d f}_\text{feed-forward}$$

    The pairs (scores, and the averages of the values) are attention's quadratic term. It overtakes
    the rest together at $n = 2d + f$, which is $6d$ at the usual $f = 4d$. Norms, biases, softmax
    and the activation are left out: they grow with $n d$ alone, or with the pairs times heads.

    Args:
        d_model: Width of the residual stream, $d$.
        d_ff: Width of the hidden layer, $f$; without a gate.
        seq: Positions $n$, all looking at all.

    Returns:
        Operations of "projections", "pairs" and "feed-forward".

    Raises:
        ValueError: If a size is not positive.

    Examples:
        >>> block_flops(d_model=512, d_ff=2048, seq=50)
        {'projections': 104857600, 'pairs': 5120000, 'feed-forward': 209715200}

    Source:
        [Kaplan et al. 2020][kaplan2020scaling], table 1, whose terms these are.
    """
    if min(d_model, d_ff, seq) <= 0:
        raise ValueError(f"d_model, d_ff and seq must be positive, got {d_model}, {d_ff} and {seq}")
    return {
        "projections": 8 * seq * d_model**2,
        "pairs": 4 * seq**2 * d_model,
        "feed-forward": 4 * seq * d_model * d_ff,
    }


def attention_share(model: Architecture) -> float:
    r"""Attention's share of the weight matrices in one layer; the feed-forward has the rest.

    Queries and the output project to and from $h$ heads of width $d_h$, keys and values to
    $h_{kv}$ of them, so attention has $2 d\,d_h (h + h_{kv})$ weights. The feed-forward network
    has $2 d f$, or $3 d f$ if gated, for each expert that is stored. Biases, norms, routers and
    cross-attention are left out.

    Args:
        model: A Transformer with published measures.

    Raises:
        ValueError: If the model lacks one of the measures, naming those.

    Examples:
        A third in the classical block, less where query heads share keys and values:

        >>> round(attention_share(ARCHITECTURES["GPT-3"]), 3)
        0.333
        >>> round(attention_share(ARCHITECTURES["Llama-2-70B"]), 3)
        0.176
    """
    names = ("d_model", "num_heads", "num_kv_heads", "d_head", "d_ff")
    if missing := [name for name in names if getattr(model, name) is None]:
        raise ValueError(f"{model.name} has no {', '.join(missing)} in the table")
    d_model, num_heads, num_kv_heads, d_head, d_ff = (getattr(model, name) for name in names)
    attention = 2 * d_model * d_head * (num_heads + num_kv_heads)
    feed_forward = (3 if model.gated else 2) * d_model * d_ff * model.num_experts
    return float(attention / (attention + feed_forward))
