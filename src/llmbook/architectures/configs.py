"""Data sheets of published models: the measures from which their size and their costs follow."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, get_args, runtime_checkable

from llmbook.sizes import make_whole

Kind = Literal["bert", "gpt-1", "gpt-2", "t5", "t5-v1.1", "palm", "llama"]

HF_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "bert": "bert",
        "openai-gpt": "gpt-1",
        "gpt2": "gpt-2",
        "t5": "t5",
        "llama": "llama",
        "mixtral": "llama",
        "qwen3": "llama",
        "qwen3_moe": "llama",
        "gemma3_text": "llama",
        "gpt_oss": "llama",
        "deepseek_v3": "llama",
    }
)
"""Our name of a kind for the `model_type` of transformers."""


@runtime_checkable
class HFConfig(Protocol):
    """A configuration of transformers."""

    @property
    def model_type(self) -> str:
        """The name of the kind of model."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """The measures of a Transformer from which its parameters can be counted.

    Attributes:
        kind: What has biases, which norms there are and how positions enter; see
            `llmbook.architectures.counting`. GPT-3 is a `gpt-2`, Mixtral a `llama` with experts,
            and so are the models since, with what the further measures say.
        source: Key in the bibliography; empty for a model of your own.
        d_model: Width of the residual stream.
        num_layers: Layers; in a T5 those of the encoder.
        num_heads: Query heads.
        d_ff: Width of the hidden layer of the feed-forward network (of one expert).
        vocab_size: Rows of the embedding.
        max_len: Tokens that the model reads at once. Only in a `bert` or `gpt` has each position
            parameters; a T5 was trained on this length and can read more.
        num_kv_heads: Key and value heads; `None` if as many as query heads.
        d_head: Width of one head; `None` if the heads together are as wide as the model.
        num_decoder_layers: A T5's second stack; `None` if as deep as the first.
        tied: The output layer is the embedding.
        num_experts: Feed-forward networks per layer, with a router if there are several.
        active_experts: How many of them a token passes through.
        attention_bias: Biases in a llama's attention; `bert` and `gpt` always have them.
        mlp_bias: The same of its feed-forward network.
        num_segments: Rows of a BERT's second embedding, one for each text of a pair.
        num_buckets: Distances that a T5's relative positions tell apart.
        d_expert: Width of one expert, where it is not `d_ff`.
        shared_experts: Further experts, through which every token passes.
        dense_layers: The first layers, which have one feed-forward network, `d_ff` wide.
        kv_latent: Width of the vector from which a layer makes all of its keys and values, and
            which it keeps in their place; `None` if it keeps those.
        q_latent: Width of the vector from which the queries are made, likewise.
        d_rope: Width of the one key that all heads share, and that alone knows its position. Each
            head's queries are wider by as much.
        qk_norm: Queries and keys are normalised, with a gain for each number of a head.
        layer_norms: Norms of a llama's layer: before each part, or before and after (4).
        sinks: Each head has a number to which it can give its attention instead of a token.
        window: Tokens that a layer looks back; `None` if all.
        full_every: Every so many layers one looks back at all.

    Raises:
        ValueError: If a size is not positive, heads do not divide, or the kind is unknown.

    Examples:
        >>> Config(kind="gpt-2", d_model=8, num_layers=1, num_heads=2, d_ff=32, vocab_size=5,
        ...        max_len=3).head_width
        4
    """

    kind: Kind
    source: str = ""
    d_model: int
    num_layers: int
    num_heads: int
    d_ff: int
    vocab_size: int
    max_len: int
    num_kv_heads: int | None = None
    d_head: int | None = None
    num_decoder_layers: int | None = None
    tied: bool = True
    num_experts: int = 1
    active_experts: int = 1
    attention_bias: bool = False
    mlp_bias: bool = False
    num_segments: int = 2
    num_buckets: int = 32
    d_expert: int | None = None
    shared_experts: int = 0
    dense_layers: int = 0
    kv_latent: int | None = None
    q_latent: int | None = None
    d_rope: int = 0
    qk_norm: bool = False
    layer_norms: int = 2
    sinks: bool = False
    window: int | None = None
    full_every: int | None = None

    def __post_init__(self) -> None:
        make_whole(self)
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.default == 0 else 1
            if isinstance(value, int) and not isinstance(value, bool) and value < least:
                raise ValueError(f"{field.name} must be at least {least}, got {value}")
        if self.d_head is None and self.d_model % self.num_heads:
            raise ValueError(f"{self.num_heads} heads do not divide d_model={self.d_model}")
        if self.num_heads % self.kv_heads:
            raise ValueError(
                f"num_kv_heads={self.kv_heads} does not divide num_heads={self.num_heads}"
            )
        if self.active_experts > self.num_experts:
            raise ValueError(
                f"active_experts={self.active_experts} is more than num_experts={self.num_experts}"
            )
        if self.dense_layers > self.num_layers:
            raise ValueError(
                f"dense_layers={self.dense_layers} are more than num_layers={self.num_layers}"
            )
        if self.kv_latent is None and (self.q_latent is not None or self.d_rope):
            raise ValueError("q_latent and d_rope need a kv_latent")
        if self.window is None and self.full_every is not None:
            raise ValueError("full_every needs a window")

    @property
    def kv_heads(self) -> int:
        """Key and value heads of a layer."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.d_model // self.num_heads if self.d_head is None else self.d_head

    @property
    def expert_width(self) -> int:
        """Width of one expert."""
        return self.d_ff if self.d_expert is None else self.d_expert

    @property
    def full_layers(self) -> int:
        """Layers that look back at all tokens."""
        if self.window is None:
            return self.num_layers
        return 0 if self.full_every is None else self.num_layers // self.full_every

    @property
    def structure(self) -> Literal["encoder", "decoder", "encoder-decoder"]:
        """Which stacks of the Transformer the model keeps."""
        if self.kind == "bert":
            return "encoder"
        return "encoder-decoder" if self.kind in ("t5", "t5-v1.1") else "decoder"

    @property
    def decoder_layers(self) -> int:
        """Layers with cross-attention: a T5's second stack, none elsewhere."""
        if self.structure != "encoder-decoder":
            return 0
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers

    @property
    def gated(self) -> bool:
        """The feed-forward network has three matrices instead of two."""
        return self.kind in ("t5-v1.1", "palm", "llama")

    @classmethod
    def from_hf(cls, config: HFConfig) -> "Config":
        """Read a configuration of transformers.

        Args:
            config: Of BERT, GPT, GPT-2, T5, Llama, Mixtral, Qwen3, Gemma 3 (its text part),
                gpt-oss or DeepSeek-V3.

        Raises:
            ValueError: If it is of another kind, adds cross-attention to a BERT or GPT-2, or has
                windows or dense layers in another order than `Config` can say.
        """
        hf: Any = config
        if hf.model_type not in HF_KINDS:
            known = ", ".join(HF_KINDS)
            raise ValueError(f"model_type must be one of {known}, got {hf.model_type!r}")
        if getattr(hf, "add_cross_attention", False):
            raise ValueError(f"a {hf.model_type} with add_cross_attention=True is not counted")
        gated = hf.model_type == "t5" and hf.is_gated_act
        names = ("intermediate_size", "d_ff", "n_inner")
        d_ff = next((width for name in names if (width := getattr(hf, name, None))), None)
        latent = getattr(hf, "kv_lora_rank", None)
        many = hf.model_type in ("mixtral", "gpt_oss", "qwen3_moe", "deepseek_v3")
        if hf.model_type == "qwen3_moe":
            if hf.decoder_sparse_step != 1 or hf.mlp_only_layers:
                raise ValueError("a qwen3_moe with dense layers is not counted")
            d_ff = hf.moe_intermediate_size
        return cls(
            kind="t5-v1.1" if gated else HF_KINDS[hf.model_type],
            d_model=hf.hidden_size,
            num_layers=hf.num_hidden_layers,
            num_heads=hf.num_attention_heads,
            d_ff=d_ff or 4 * hf.hidden_size,
            vocab_size=hf.vocab_size,
            max_len=getattr(hf, "max_position_embeddings", 512),
            num_kv_heads=None if latent else getattr(hf, "num_key_value_heads", None),
            d_head=next(
                (w for n in ("v_head_dim", "d_kv", "head_dim") if (w := getattr(hf, n, None))), None
            ),
            num_decoder_layers=getattr(hf, "num_decoder_layers", None),
            tied=hf.tie_word_embeddings,
            num_experts=hf.num_local_experts if many else 1,
            active_experts=hf.num_experts_per_tok if many else 1,
            attention_bias=getattr(hf, "attention_bias", False),
            mlp_bias=getattr(hf, "mlp_bias", hf.model_type == "gpt_oss"),
            num_segments=getattr(hf, "type_vocab_size", 2),
            num_buckets=getattr(hf, "relative_attention_num_buckets", 32),
            d_expert=hf.moe_intermediate_size if latent else None,
            shared_experts=hf.n_shared_experts if latent else 0,
            dense_layers=hf.first_k_dense_replace if latent else 0,
            kv_latent=latent,
            q_latent=getattr(hf, "q_lora_rank", None),
            d_rope=hf.qk_rope_head_dim if latent else 0,
            qk_norm=hf.model_type in ("qwen3", "qwen3_moe", "gemma3_text"),
            layer_norms=4 if hf.model_type == "gemma3_text" else 2,
            sinks=hf.model_type == "gpt_oss",
            **_windows(hf),
        )


def _windows(hf: Any) -> dict[str, Any]:
    """Which layers look back how far: every so many, one looks at all."""
    types = getattr(hf, "layer_types", None) or []
    if "sliding_attention" not in types:
        return {}
    full = [layer for layer, kind in enumerate(types, 1) if kind == "full_attention"]
    if not full:
        return {"window": hf.sliding_window}
    if full != [layer for layer in range(1, len(types) + 1) if layer % full[0] == 0]:
        raise ValueError(f"windows are counted if every so many layers one is full, got {types}")
    return {"window": hf.sliding_window, "full_every": full[0]}


_BERT = Config(
    kind="bert",
    source="devlin2019bert",
    d_model=768,
    num_layers=12,
    num_heads=12,
    d_ff=3072,
    vocab_size=30_522,
    max_len=512,
)
_GPT2 = Config(
    kind="gpt-2",
    source="radford2019language",
    d_model=768,
    num_layers=12,
    num_heads=12,
    d_ff=3072,
    vocab_size=50_257,
    max_len=1024,
)
_T5 = Config(
    kind="t5",
    source="google2019t5",
    d_model=512,
    num_layers=6,
    num_heads=8,
    d_head=64,
    d_ff=2048,
    vocab_size=32_128,
    max_len=512,
)
_LLAMA_2 = Config(
    kind="llama",
    source="touvron2023llama2",
    d_model=4096,
    num_layers=32,
    num_heads=32,
    d_ff=11_008,
    vocab_size=32_000,
    max_len=4096,
    tied=False,
)
_LLAMA_3 = replace(
    _LLAMA_2,
    source="grattafiori2024llama",
    num_kv_heads=8,
    d_ff=14_336,
    vocab_size=128_256,
    max_len=8192,
)

CONFIGS: Final[Mapping[str, Config]] = MappingProxyType(
    {
        "bert-base": _BERT,
        "bert-large": replace(_BERT, d_model=1024, num_layers=24, num_heads=16, d_ff=4096),
        "gpt-1": replace(
            _GPT2, kind="gpt-1", source="radford2018improving", vocab_size=40_478, max_len=512
        ),
        "gpt2": _GPT2,
        "gpt2-medium": replace(_GPT2, d_model=1024, num_layers=24, num_heads=16, d_ff=4096),
        "gpt2-large": replace(_GPT2, d_model=1280, num_layers=36, num_heads=20, d_ff=5120),
        "gpt2-xl": replace(_GPT2, d_model=1600, num_layers=48, num_heads=25, d_ff=6400),
        "gpt3-175b": replace(
            _GPT2,
            source="brown2020language",
            d_model=12_288,
            num_layers=96,
            num_heads=96,
            d_ff=49_152,
            max_len=2048,
        ),
        "t5-small": _T5,
        "t5-base": replace(_T5, d_model=768, num_layers=12, num_heads=12, d_ff=3072),
        "t5-large": replace(_T5, d_model=1024, num_layers=24, num_heads=16, d_ff=4096),
        "t5-3b": replace(_T5, d_model=1024, num_layers=24, num_heads=32, d_head=128, d_ff=16_384),
        "t5-11b": replace(_T5, d_model=1024, num_layers=24, num_heads=128, d_head=128, d_ff=65_536),
        "palm-540b": Config(
            kind="palm",
            source="chowdhery2022palm",
            d_model=18_432,
            num_layers=118,
            num_heads=48,
            num_kv_heads=1,
            d_head=256,
            d_ff=73_728,
            vocab_size=256_000,
            max_len=2048,
        ),
        "llama-2-7b": _LLAMA_2,
        "llama-2-13b": replace(_LLAMA_2, d_model=5120, num_layers=40, num_heads=40, d_ff=13_824),
        "llama-2-70b": replace(
            _LLAMA_2, d_model=8192, num_layers=80, num_heads=64, num_kv_heads=8, d_ff=28_672
        ),
        "llama-3-8b": _LLAMA_3,
        "llama-3-70b": replace(_LLAMA_3, d_model=8192, num_layers=80, num_heads=64, d_ff=28_672),
        "llama-3.1-405b": replace(
            _LLAMA_3, d_model=16_384, num_layers=126, num_heads=128, d_ff=53_248, max_len=131_072
        ),
        "mixtral-8x7b": replace(
            _LLAMA_2,
            source="jiang2024mixtral",
            num_kv_heads=8,
            d_ff=14_336,
            num_experts=8,
            active_experts=2,
            max_len=32_768,
        ),
        "smollm2-135m": replace(
            _LLAMA_2,
            source="allal2025smollm2",
            d_model=576,
            num_layers=30,
            num_heads=9,
            num_kv_heads=3,
            d_ff=1536,
            vocab_size=49_152,
            max_len=8192,
            tied=True,
        ),
    }
)
"""The data sheets by name, as their makers publish them."""

_QWEN_3 = Config(
    kind="llama",
    source="yang2025qwen3",
    d_model=4096,
    num_layers=36,
    num_heads=32,
    num_kv_heads=8,
    d_head=128,
    d_ff=12_288,
    vocab_size=151_936,
    max_len=131_072,
    tied=False,
    qk_norm=True,
)
_GPT_OSS = Config(
    kind="llama",
    source="openai2025gptoss",
    d_model=2880,
    num_layers=36,
    num_heads=64,
    num_kv_heads=8,
    d_head=64,
    d_ff=2880,
    vocab_size=201_088,
    max_len=131_072,
    tied=False,
    num_experts=128,
    active_experts=4,
    attention_bias=True,
    mlp_bias=True,
    sinks=True,
    window=128,
    full_every=2,
)
_DEEPSEEK_V3 = Config(
    kind="llama",
    source="deepseek2024v3",
    d_model=7168,
    num_layers=61,
    num_heads=128,
    d_head=128,
    d_ff=18_432,
    vocab_size=129_280,
    max_len=131_072,
    tied=False,
    num_experts=256,
    active_experts=8,
    d_expert=2048,
    shared_experts=1,
    dense_layers=3,
    kv_latent=512,
    q_latent=1536,
    d_rope=64,
)

RECENT: Final[Mapping[str, Config]] = MappingProxyType(
    {
        "deepseek-v3": _DEEPSEEK_V3,
        "gemma-3-27b": Config(
            kind="llama",
            source="gemma2025gemma3",
            d_model=5376,
            num_layers=62,
            num_heads=32,
            num_kv_heads=16,
            d_head=128,
            d_ff=21_504,
            vocab_size=262_208,
            max_len=131_072,
            qk_norm=True,
            layer_norms=4,
            window=1024,
            full_every=6,
        ),
        "qwen3-8b": _QWEN_3,
        "qwen3-235b-a22b": replace(
            _QWEN_3,
            num_layers=94,
            num_heads=64,
            num_kv_heads=4,
            d_ff=1536,
            num_experts=128,
            active_experts=8,
        ),
        "kimi-k2": replace(
            _DEEPSEEK_V3,
            source="kimi2025k2",
            num_heads=64,
            vocab_size=163_840,
            num_experts=384,
            dense_layers=1,
        ),
        "gpt-oss-20b": replace(_GPT_OSS, num_layers=24, num_experts=32),
        "gpt-oss-120b": _GPT_OSS,
    }
)
"""Data sheets of 2024 and 2025, oldest first, looked up on 30 November 2026.

Text models alone: without Gemma's encoder of pictures, and without the layer with which DeepSeek-V3
learns to predict one token more.
"""

UNDISCLOSED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "gpt-4": (
            "The technical report gives no details about the architecture, "
            "including the size of the model."
        )
    }
)
"""Why a model has no data sheet."""


def find_config(model: str | Config | HFConfig) -> Config:
    """The data sheet of a model.

    Args:
        model: A name in `CONFIGS` or `RECENT`, a `Config`, or a configuration of transformers.

    Raises:
        ValueError: If the name is unknown, with the near ones, or the model was never described.

    Examples:
        >>> find_config("gpt2").num_layers
        12
    """
    if isinstance(model, Config):
        return model
    if not isinstance(model, str):
        return Config.from_hf(model)
    if model in UNDISCLOSED:
        raise ValueError(f"the sizes of {model} are not public: {UNDISCLOSED[model]}")
    known = {**CONFIGS, **RECENT}
    if model not in known:
        near = get_close_matches(model.lower(), known, n=4, cutoff=0.5) or known
        raise ValueError(f"no data sheet of {model!r}; near names: {', '.join(near)}")
    return known[model]
