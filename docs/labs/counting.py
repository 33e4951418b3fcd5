# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: count an architecture
#
# From a handful of sizes you compute how many parameters a model has, to the last one, and compare
# with what its makers publish. You need this book's package
# ([how to install it](../reproduce.md#install)), nothing but arithmetic, and about half an hour.
# The [chapter on architectures](../models/architectures.md) has many more, and the
# [chapter on the block](../transformer/block.md) says what the parts are for.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
from llmbook.labs import WrongAnswer
from llmbook.labs import counting as lab

# %% [markdown]
# ## 1. A linear layer
#
# A matrix, and perhaps an offset (bias) for each output. In Python `True` counts as 1.


# %% tags=["exercise"]
def linear(inputs, outputs, bias):
    """Weights of a linear layer, and its offsets if `bias`."""
    ...


# %% tags=["solution"]
def linear(inputs, outputs, bias):
    """Weights of a linear layer, and its offsets if `bias`."""
    return inputs * outputs + outputs * bias


# %% tags=["check"]
lab.linear.check(linear)

# %% [markdown]
# ## 2. Attention
#
# Use `linear`. Models of today often have fewer heads for keys and values than for queries.
#
# On paper first: without offsets, with `heads = kv_heads` and heads that together are as wide as
# `d_model`, how many times $d_{\mathrm{model}}^2$ is it?


# %% tags=["exercise"]
def attention(d_model, heads, kv_heads, d_head, bias):
    """Weights of attention: layers for queries, for keys, for values,
    and one back to d_model.
    """
    ...


# %% tags=["solution"]
def attention(d_model, heads, kv_heads, d_head, bias):
    """Weights of attention: layers for queries, for keys, for values,
    and one back to d_model.
    """
    query = linear(d_model, heads * d_head, bias)
    both = 2 * linear(d_model, kv_heads * d_head, bias)
    return query + both + linear(heads * d_head, d_model, bias)


# %% tags=["check"]
lab.attention.check(attention)

# %% [markdown]
# ## 3. Feed-forward


# %% tags=["exercise"]
def feed_forward(d_model, d_ff, gated, bias):
    """Weights of the feed-forward network: up to d_ff, a gate as
    large if `gated`, and down.
    """
    ...


# %% tags=["solution"]
def feed_forward(d_model, d_ff, gated, bias):
    """Weights of the feed-forward network: up to d_ff, a gate as
    large if `gated`, and down.
    """
    return (1 + gated) * linear(d_model, d_ff, bias) + linear(
        d_ff, d_model, bias
    )


# %% tags=["check"]
lab.feed_forward.check(feed_forward)

# %% [markdown]
# ## 4. GPT-2
#
# A vector for each word of the vocabulary and for each position. Blocks of attention, feed-forward
# and two norms, each norm with a gain and an offset for each number. One more norm at the end. The
# output uses the word vectors again.


# %% tags=["exercise"]
def gpt2(layers, d_model, heads, vocab, positions):
    """GPT-2: vectors of words and positions, blocks with two norms
    and d_ff = 4·d_model, a norm.
    """
    ...


# %% tags=["solution"]
def gpt2(layers, d_model, heads, vocab, positions):
    """GPT-2: vectors of words and positions, blocks with two norms
    and d_ff = 4·d_model, a norm.
    """
    d_head = d_model // heads
    parts = attention(d_model, heads, heads, d_head, True)
    parts += feed_forward(d_model, 4 * d_model, False, True)
    blocks = layers * (parts + 2 * 2 * d_model)
    return vocab * d_model + positions * d_model + blocks + 2 * d_model


# %% tags=["check"]
lab.gpt2.check(gpt2)

# %%
sizes = {
    "small": (12, 768, 12),
    "medium": (24, 1024, 16),
    "large": (36, 1280, 20),
    "XL": (48, 1600, 25),
}
for name, (layers, d_model, heads) in sizes.items():
    print(
        f"GPT-2 {name:7} {gpt2(layers, d_model, heads, 50257, 1024):13,}"
    )

# %% [markdown]
# The paper's table says 117, 345, 762 and 1542 million; its authors have since called these counts
# wrong. The files that they published have yours. What if half of each norm is forgotten?


# %% tags=["wrong"]
def mistaken(layers, d_model, heads, vocab, positions):
    d_head = d_model // heads
    parts = attention(d_model, heads, heads, d_head, True)
    parts += feed_forward(d_model, 4 * d_model, False, True)
    blocks = layers * (parts + 2 * d_model)
    return vocab * d_model + positions * d_model + blocks + 2 * d_model


try:
    lab.gpt2.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 5. Llama
#
# No offsets anywhere, norms with a gain only, a gated feed-forward network, and no vectors for
# positions, since queries and keys are turned instead.


# %% tags=["exercise"]
def llama(layers, d_model, heads, kv_heads, d_head, d_ff, vocab, tied):
    """Llama: word vectors, and as many for the output unless tied;
    blocks; a norm.

    No offsets anywhere, a gated feed-forward network, and two norms
    in each block.
    """
    ...


# %% tags=["solution"]
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


# %% tags=["check"]
lab.llama.check(llama)

# %%
models = {
    "Llama 2 7B": (
        (32, 4096, 32, 32, 128, 11008, 32000, False),
        6_738_415_616,
    ),
    "Llama 3 8B": (
        (32, 4096, 32, 8, 128, 14336, 128256, False),
        8_030_261_248,
    ),
    "SmolLM2 135M": (
        (30, 576, 9, 3, 64, 1536, 49152, True),
        134_515_008,
    ),
}
for name, (sizes, published) in models.items():
    print(
        f"{name:13} {llama(*sizes):13,} {llama(*sizes) - published:+d}"
    )

# %% [markdown]
# ## 6. How long does it take?
#
# Each token that a model learns from takes about six operations for each parameter: two forward,
# four backward.


# %% tags=["exercise"]
def hours(parameters, tokens, peak, share):
    """Hours of one device of `peak` operations a second, used to a
    `share`, to train on tokens.
    """
    ...


# %% tags=["solution"]
def hours(parameters, tokens, peak, share):
    """Hours of one device of `peak` operations a second, used to a
    `share`, to train on tokens.
    """
    return 6 * parameters * tokens / (peak * share) / 3600


# %% tags=["check"]
lab.hours.check(hours)

# %% [markdown]
# GPT-3 has 175 billion parameters and read 300 billion tokens. How long would one device of today
# need, at 40 % of a peak of $10^{15}$ operations a second, and how many for a month?

# %%
alone = hours(175e9, 300e9, 1e15, 0.4)
print(
    f"{alone:,.0f} hours, {alone / 24 / 365:.0f} "
    f"years; {alone / 24 / 30:.0f} devices for a month"
)

# %% [markdown]
# ## Where are the parameters?

# %%
for name, (sizes, _) in models.items():
    layers, d_model, heads, kv_heads, d_head, d_ff, vocab, tied = sizes
    whole = llama(*sizes)
    attending = (
        layers
        * attention(d_model, heads, kv_heads, d_head, False)
        / whole
    )
    feeding = layers * feed_forward(d_model, d_ff, True, False) / whole
    print(
        f"{name:13} attention {attending:.0%}, "
        f"feed-forward {feeding:.0%}, "
        f"words and norms {1 - attending - feeding:.0%}"
    )

# %% [markdown]
# Most of a model is in its feed-forward networks, though attention gave the architecture its
# name. In a small model the vocabulary weighs more.
#
# ## An open question
#
# You may spend 135 million parameters. Would you take fewer layers and a larger vocabulary, or the
# other way round, for English, for fifty languages, for a phone that reads long texts? Write down
# two designs with the same count, and what you would measure to choose. Nobody checks this answer.
