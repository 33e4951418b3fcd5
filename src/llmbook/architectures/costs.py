"""What a model's data sheet says about its costs: parameters, operations, bytes.

The data sheets are in `llmbook.architectures.configs`, the count of parameters in
`llmbook.architectures.counting`, and the models of the story in `llmbook.architectures.history`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from llmbook.architectures.configs import Config, HFConfig, find_config
from llmbook.architectures.counting import attention_weights, count_parameters
from llmbook.sizes import whole

if TYPE_CHECKING:  # whose records come with all models of the story
    import llmbook.architectures.history

BITS: Final[Mapping[str, int]] = MappingProxyType(
    {"float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "int4": 4}
)
"""Bits of one number. The scales that int8 and int4 need beside it are left out."""


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
    d_model, d_ff = whole("d_model", d_model), whole("d_ff", d_ff)
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
    d_model, d_ff, seq = whole("d_model", d_model), whole("d_ff", d_ff), whole("seq", seq)
    if min(d_model, d_ff, seq) <= 0:
        raise ValueError(f"d_model, d_ff and seq must be positive, got {d_model}, {d_ff} and {seq}")
    return {
        "projections": 8 * seq * d_model**2,
        "pairs": 4 * seq**2 * d_model,
        "feed-forward": 4 * seq * d_model * d_ff,
    }


def attention_share(model: "llmbook.architectures.history.Architecture") -> float:
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

        >>> from llmbook.architectures.history import ARCHITECTURES
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


def forward_flops(model: str | Config | HFConfig, seq: int) -> dict[str, float]:
    r"""Floating-point operations with which a model reads one more token, on average over a text.

    Each weight of a matrix is used in one multiplication and one addition, so a matrix costs twice
    its size. Besides, the token's queries meet the keys of the tokens that they may see, and the
    weights their values: for $h$ heads of width $d_h$ that see $m$ tokens, $4 m h d_h$ in each
    layer. In a text of $n$ tokens, $m$ is $n$ in an encoder, and $(n + 1)/2$ in a decoder, or less
    in its layers with a window. Latent keys and values are counted unfolded, as in training.

    Args:
        model: An encoder or a decoder: a name in `CONFIGS`, a `Config`, or a configuration of
            transformers.
        seq: Length $n$ of the text.

    Returns:
        Operations of "projections" (attention's four matrices), "pairs", "feed-forward" (with the
        router; of the active experts) and "output" (the product with the vocabulary, which an
        encoder does not have). Embeddings are looked up; norms, biases, and softmax are left out.

    Raises:
        ValueError: If `seq` is not positive, or the model has two stacks: its tokens pass through
            one or the other.

    Examples:
        >>> flops = forward_flops("llama-2-7b", seq=4096)
        >>> round(flops["pairs"] / sum(flops.values()), 3)
        0.075

    Source:
        [Kaplan et al. 2020][kaplan2020scaling], table 1; the mean over a causal text is ours.
    """
    c = find_config(model)
    if c.structure == "encoder-decoder":
        raise ValueError(f"forward_flops takes an encoder or a decoder, got a {c.kind}")
    if seq < 1:
        raise ValueError(f"seq must be at least 1, got {seq}")
    reach = min(seq, c.window or seq)
    mean = reach - reach * (reach - 1) / (2 * seq)  # of the smaller of a place and the window
    seen = float(c.num_layers * seq)  # in all layers
    if c.structure == "decoder":
        seen = c.full_layers * (seq + 1) / 2 + (c.num_layers - c.full_layers) * mean
    heads, matrices = c.num_heads * c.head_width, 3 if c.gated else 2
    router = c.num_experts if c.num_experts > 1 else 0
    sparse = matrices * c.expert_width * (c.active_experts + c.shared_experts) + router
    widths = c.dense_layers * matrices * c.d_ff + (c.num_layers - c.dense_layers) * sparse
    return {
        "projections": float(2 * c.num_layers * attention_weights(c)),
        "pairs": float((4 * heads + 2 * c.num_heads * c.d_rope) * seen),
        "feed-forward": float(2 * c.d_model * widths),
        "output": float(0 if c.structure == "encoder" else 2 * c.d_model * c.vocab_size),
    }


def training_flops(model: str | Config | HFConfig, tokens: float | int) -> float:
    r"""Floating-point operations of a training run, by the rule of thumb.

    $$C = 6 N D$$

    For each of $D$ tokens, each of $N$ parameters costs a multiplication and an addition forward,
    and twice as much backward. $N$ is all that a token passes through: embeddings too, of a mixture
    the active experts only, and of an encoder and a decoder the half, so $3 N D$. What is left out,
    the pairs of attention, `forward_flops` tells.

    Args:
        model: A name in `CONFIGS` or `RECENT`, a `Config`, or a configuration of transformers.
        tokens: Tokens read in training, $D$, those read again included.

    Raises:
        ValueError: If `tokens` is not positive.

    Examples:
        >>> f"{training_flops('gpt3-175b', tokens=300e9):.3g}"
        '3.14e+23'

    Source:
        [Kaplan et al. 2020][kaplan2020scaling], section 2.1; half of $N$ for a T5 as in
        [Brown et al. 2020][brown2020language], appendix D.
    """
    if not tokens > 0:
        raise ValueError(f"tokens must be positive, got {tokens}")
    c = find_config(model)
    share = 3 if c.structure == "encoder-decoder" else 6
    return float(share * count_parameters(c, active=True) * tokens)


def weight_bytes(model: str | Config | HFConfig, dtype: str = "float16") -> int:
    """Memory of a model's weights; of a mixture all experts, since any may be needed next.

    Args:
        model: A name in `CONFIGS` or `RECENT`, a `Config`, or a configuration of transformers.
        dtype: A name in `BITS`.

    Raises:
        ValueError: If `dtype` is unknown, with the known ones.

    Examples:
        >>> weight_bytes("llama-2-7b"), weight_bytes("llama-2-7b", dtype="int4")
        (13476831232, 3369207808)
    """
    return -(-count_parameters(model) * _bits(dtype) // 8)


def kv_cache_bytes(
    model: str | Config | HFConfig, seq: int, batch: int = 1, dtype: str = "float16"
) -> int:
    r"""Memory of the keys and values that a model keeps while it writes.

    $$2 L \, h_{kv} \, d_h \cdot n \cdot b$$

    numbers for $L$ layers, $h_{kv}$ key and value heads of width $d_h$, and $b$ texts of $n$
    tokens. Layers with a window of $w$ tokens keep no more than $w$; those with a latent vector
    keep that, and the key that all heads share, instead of $2 h_{kv} d_h$. A T5's decoder keeps
    keys and values for the text it reads as well, in its cross-attention: there $n$ is the length
    of both texts together.

    Args:
        model: A name in `CONFIGS` or `RECENT`, a `Config`, or a configuration of transformers.
        seq: Tokens of each text, $n$.
        batch: Texts written side by side, $b$.
        dtype: A name in `BITS`.

    Raises:
        ValueError: If `seq` or `batch` is not positive, `dtype` is unknown, or the model is an
            encoder, which does not write.

    Examples:
        >>> kv_cache_bytes("gpt3-175b", seq=2048) / 2**30
        9.0

    Source:
        [Shazeer 2019][shazeer2019fast], whose shared heads make $h_{kv}$ small; latent vectors:
        [DeepSeek-AI 2024][deepseek2024v2].
    """
    c = find_config(model)
    if c.structure == "encoder":
        raise ValueError(f"a {c.kind} writes no text and keeps no keys and values")
    seq, batch = whole("seq", seq), whole("batch", batch)
    if min(seq, batch) < 1:
        raise ValueError(f"seq and batch must be at least 1, got {seq} and {batch}")
    width = 2 * c.kv_heads * c.head_width if c.kv_latent is None else c.kv_latent + c.d_rope
    layers = c.decoder_layers or c.num_layers
    full = c.decoder_layers or c.full_layers
    tokens = full * seq + (layers - full) * min(seq, c.window or seq)
    numbers = width * tokens * batch
    return -(-numbers * _bits(dtype) // 8)


def _bits(dtype: str) -> int:
    if dtype not in BITS:
        raise ValueError(f"dtype must be one of {', '.join(BITS)}, got {dtype!r}")
    return BITS[dtype]
