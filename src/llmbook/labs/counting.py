"""Lab: the parameters of a model from its sizes, and what training and use of them take."""

from llmbook.labs.grader import exercise


@exercise(
    lambda rng: [(3, 2, True), (3, 2, False), (768, 3072, True), (1, 1, True)],
    ("outputs * bias", "inputs * bias", "there is one offset for each output, not for each input"),
    (" + outputs * bias", "", "the offsets are missing: one for each output, where there are any"),
    ("inputs * outputs", "(inputs + outputs)", "each input meets each output: multiply them"),
    ("outputs * bias", "outputs", "offsets are counted also where the layer has none"),
    ("outputs * bias", "bias", "there is one offset for each output, not one for the layer"),
    right="a weight for each pair, an offset for each output",
)
def linear(inputs, outputs, bias):
    """Weights of a linear layer, and its offsets if `bias`."""
    return inputs * outputs + outputs * bias


@exercise(
    lambda rng: [
        (768, 12, 12, 64, True),
        (4096, 32, 8, 128, False),
        (8, 2, 1, 4, True),
        (10, 3, 3, 2, False),
        (6, 4, 2, 5, True),
    ],
    (
        "2 * linear(d_model, kv_heads * d_head, bias)",
        "linear(d_model, kv_heads * d_head, bias)",
        "keys and values are two layers: one of them is missing",
    ),
    (
        "linear(d_model, kv_heads * d_head",
        "linear(d_model, heads * d_head",
        "keys and values have kv_heads heads, which may be fewer than the queries",
    ),
    (
        " + linear(heads * d_head, d_model, bias)",
        "",
        "the layer after the heads is missing, which leads back to d_model",
    ),
    (
        "linear(heads * d_head, d_model, bias)",
        "linear(d_model, d_model, bias)",
        "the heads together may be wider or narrower than d_model",
    ),
    (
        "linear(d_model, heads * d_head, bias)",
        "heads * linear(d_model, heads * d_head, bias)",
        "the heads share the queries' layer: it is counted once for each of them",
    ),
    right="queries, keys, values, and the way back",
)
def attention(d_model, heads, kv_heads, d_head, bias):
    """Weights of attention: layers for queries, for keys, for values,
    and one back to d_model.
    """
    query = linear(d_model, heads * d_head, bias)
    both = 2 * linear(d_model, kv_heads * d_head, bias)
    return query + both + linear(heads * d_head, d_model, bias)


@exercise(
    lambda rng: [
        (768, 3072, False, True),
        (4096, 11008, True, False),
        (2, 5, True, True),
        (3, 4, False, False),
    ],
    ("(1 + gated)", "1", "a gated network has a third matrix, as large as the first"),
    ("(1 + gated)", "2", "only a gated network has a third matrix"),
    (
        "linear(d_ff, d_model, bias)",
        "linear(d_model, d_ff, bias)",
        "the way back has d_model outputs, so d_model offsets",
    ),
    (" + linear(d_ff, d_model, bias)", "", "the way back to d_model is missing"),
    right="up, perhaps a gate, and down",
)
def feed_forward(d_model, d_ff, gated, bias):
    """Weights of the feed-forward network: up to d_ff, a gate as
    large if `gated`, and down.
    """
    return (1 + gated) * linear(d_model, d_ff, bias) + linear(d_ff, d_model, bias)


@exercise(
    lambda rng: [
        (12, 768, 12, 50257, 1024),
        (48, 1600, 25, 50257, 1024),
        (1, 4, 2, 10, 8),
        (2, 6, 1, 3, 5),
    ],
    (" + positions * d_model", "", "the vectors of the positions are missing"),
    (
        "+ 2 * 2 * d_model)",
        ")",
        "the two norms of a block are missing: each has a gain and an offset",
    ),
    (
        "+ 2 * 2 * d_model)",
        "+ 2 * d_model)",
        "a norm has a gain and an offset: count both for both norms",
    ),
    (" + 2 * d_model\n", "\n", "the norm after the last block is missing"),
    (
        "vocab * d_model",
        "2 * vocab * d_model",
        "the output uses the word vectors again: they are counted once",
    ),
    ("4 * d_model, False, True", "4 * d_model, False, False", "GPT-2's layers all have offsets"),
    right="each part where it stands, and the word vectors once",
)
def gpt2(layers, d_model, heads, vocab, positions):
    """GPT-2: vectors of words and positions, blocks with two norms
    and d_ff = 4·d_model, a norm.
    """
    d_head = d_model // heads
    parts = attention(d_model, heads, heads, d_head, True)
    parts += feed_forward(d_model, 4 * d_model, False, True)
    blocks = layers * (parts + 2 * 2 * d_model)
    return vocab * d_model + positions * d_model + blocks + 2 * d_model


@exercise(
    lambda rng: [
        (32, 4096, 32, 32, 128, 11008, 32000, False),
        (32, 4096, 32, 8, 128, 14336, 128256, False),
        (30, 576, 9, 3, 64, 1536, 49152, True),
        (1, 4, 2, 1, 3, 5, 7, False),
    ],
    ("(1 if tied else 2)", "1", "an output that is not tied has a matrix of its own"),
    ("(1 if tied else 2)", "2", "a tied output uses the word vectors: it has no matrix of its own"),
    ("+ 2 * d_model)", "+ 4 * d_model)", "these norms have a gain and no offset"),
    (
        "d_ff, True, False",
        "d_ff, False, False",
        "the feed-forward network is gated: three matrices",
    ),
    (" + d_model\n", "\n", "the norm after the last block is missing"),
    (
        "kv_heads, d_head, False",
        "heads, d_head, False",
        "keys and values have kv_heads heads, fewer than the queries",
    ),
    right="no offsets, a gate, shared keys, tied or not",
)
def llama(layers, d_model, heads, kv_heads, d_head, d_ff, vocab, tied):
    """Llama: word vectors, and as many for the output unless tied;
    blocks; a norm.

    No offsets anywhere, a gated feed-forward network, and two norms
    in each block.
    """
    parts = attention(d_model, heads, kv_heads, d_head, False)
    parts += feed_forward(d_model, d_ff, True, False)
    blocks = layers * (parts + 2 * d_model)
    return (1 if tied else 2) * vocab * d_model + blocks + d_model


@exercise(
    lambda rng: [(175e9, 300e9, 1e15, 0.4), (1e6, 1e9, 1e12, 1.0), (7e9, 2e12, 312e12, 0.5)],
    (
        "6 * parameters",
        "2 * parameters",
        "2 is reading forward: learning takes three times as much",
    ),
    ("(peak * share)", "peak", "no device reaches its peak: it does a share of it"),
    ("(peak * share)", "(peak / share)", "a share of the peak is less than the peak"),
    ("/ 3600", "", "these are seconds"),
    ("/ 3600", "/ 60", "these are minutes"),
    right="six operations for each parameter and token",
)
def hours(parameters, tokens, peak, share):
    """Hours of one device of `peak` operations a second, used to a
    `share`, to train on tokens.
    """
    return 6 * parameters * tokens / (peak * share) / 3600
