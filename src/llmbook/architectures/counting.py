"""How many parameters a model has, part by part, from its data sheet alone."""

from llmbook.architectures.configs import Config, HFConfig, find_config


def parameter_parts(
    model: str | Config | HFConfig, *, heads: bool = False, active: bool = False
) -> dict[str, int]:
    r"""Count the parameters of a model by part, each tensor once.

    With width $d$, feed-forward width $f$, and heads that are together $a$ wide for the queries
    and $k$ for the keys, one attention has $2d(a + k)$ weights and one feed-forward network
    $2df$, or $3df$ with a gate. What else there is depends on the kind:

    | kind | layers | biases | norms | positions |
    | --- | --- | --- | --- | --- |
    | `bert` | $L$ | yes | $2L + 1$, gain and bias | a row each, and segments |
    | `gpt-1` | $L$ | yes | $2L$, gain and bias | a row each |
    | `gpt-2` | $L$ | yes | $2L + 1$, gain and bias | a row each |
    | `t5`, `t5-v1.1` | $L$ and $L'$, each of $L'$ with two attentions | no | $2L + 3L' + 2$ gains | a table for each stack |
    | `palm` | $L$ | no | not counted, as its paper does | rotary: none |
    | `llama` | $L$ | as said | $2L + 1$ gains, or as said | rotary: none |

    With a latent vector of width $c$, heads' keys and values are made from it, by
    $d(c + r) + 2ca$ weights in place of $2dk$, where $r$ is the width of the key that all heads
    share; queries, of width $a + hr$ for $h$ heads, may have a latent vector too.

    Args:
        model: A name in `CONFIGS` or `RECENT`, a `Config`, or a configuration of transformers.
        heads: Count a BERT's two heads of pre-training as well. The pooler always counts, and so
            does the output layer of every model that writes: it is the embedding if tied.
        active: Count only the experts that a token passes through.

    Returns:
        Parameters of "embeddings" (of tokens, positions, segments, and the output layer),
        "attention", "feed-forward" (with the router), "norms", and "other" (a T5's tables of
        distances, a BERT's pooler and heads, a gpt-oss's sinks).

    Raises:
        ValueError: If the name is unknown, see `find_config`.

    Examples:
        >>> parameter_parts("smollm2-135m")
        {'embeddings': 28311552, 'attention': 26542080, 'feed-forward': 79626240, 'norms': 35136,
         'other': 0}

    Source:
        The papers in each `Config`; the formula of each kind is compared with transformers' model
        in the tests.
    """  # noqa: E501 (a table has no line breaks)
    c = find_config(model)
    d, f, vocab = c.d_model, c.d_ff, c.vocab_size
    stacked, crossed = c.num_layers, c.decoder_layers
    classical = c.kind in ("bert", "gpt-1", "gpt-2")  # biases, and rows for positions
    queries, keys = c.num_heads * c.head_width, c.kv_heads * c.head_width

    embeddings = vocab * d
    if not c.tied and c.kind != "bert":
        embeddings += vocab * d
    if classical:
        embeddings += c.max_len * d
    if c.kind == "bert":
        embeddings += c.num_segments * d

    attention = attention_weights(c)
    if classical or c.attention_bias:
        attention += queries + 2 * keys + d

    matrices = 3 if c.gated else 2

    def network(width: int) -> int:
        biases = (matrices - 1) * width + d if classical or c.mlp_bias else 0
        return matrices * d * width + biases

    used = c.active_experts if active else c.num_experts
    router = (d + c.mlp_bias) * c.num_experts if c.num_experts > 1 else 0
    sparse = network(c.expert_width) * (used + c.shared_experts) + router
    feed_forward = c.dense_layers * network(f) + (stacked + crossed - c.dense_layers) * sparse

    outer_norms = {"gpt-1": 0, "t5": 2, "t5-v1.1": 2}.get(c.kind, 1)
    norms = (c.layer_norms * stacked + 3 * crossed + outer_norms) * d * (2 if classical else 1)
    norms += stacked * ((c.kv_latent or 0) + (c.q_latent or 0) + 2 * c.head_width * c.qk_norm)

    other = stacked * c.num_heads * c.sinks
    if crossed:
        other = 2 * c.num_buckets * c.num_heads
    if c.kind == "bert":
        other = d * d + d
        if heads:
            other += (d * d + 3 * d + vocab) + (2 * d + 2)
            other += 0 if c.tied else vocab * d + vocab  # the output layer, with a bias of its own
    return {
        "embeddings": embeddings,
        "attention": (stacked + 2 * crossed) * attention,
        "feed-forward": feed_forward,
        "norms": 0 if c.kind == "palm" else norms,
        "other": other,
    }


def attention_weights(c: Config) -> int:
    """Weights of one attention's matrices.

    Args:
        c: A data sheet.

    Examples:
        >>> attention_weights(find_config("gpt2")) == 4 * 768**2
        True

    Source:
        With latent vectors: [DeepSeek-AI 2024][deepseek2024v2], section 2.1.
    """
    d, width = c.d_model, c.num_heads * c.head_width
    if c.kv_latent is None:
        return 2 * d * (width + c.kv_heads * c.head_width)
    asking = width + c.num_heads * c.d_rope
    queries = d * asking if c.q_latent is None else (d + asking) * c.q_latent
    return queries + d * (c.kv_latent + c.d_rope) + 2 * c.kv_latent * width + width * d


def count_parameters(
    model: str | Config | HFConfig, heads: bool = False, *, active: bool = False
) -> int:
    """Count the parameters of a model: the sum of `parameter_parts`.

    Args:
        model: A name in `CONFIGS` or `RECENT`, a `Config`, or a configuration of transformers.
        heads: Count a BERT's two heads of pre-training as well.
        active: Count only the experts that a token passes through.

    Raises:
        ValueError: If the name is unknown, see `find_config`.

    Examples:
        >>> count_parameters("bert-base"), count_parameters("bert-base", heads=True)
        (109482240, 110106428)
        >>> count_parameters("mixtral-8x7b", active=True)
        12879925248
    """
    return sum(parameter_parts(model, heads=heads, active=active).values())
