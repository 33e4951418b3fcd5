# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: several heads and the block
#
# You split attention into heads, put it together again, and build the whole Transformer block in
# two lines. Then you stack it and see what happens without the additions. You need this book's
# package ([how to install it](../reproduce.md#install)), the
# [lab on attention](attention-by-hand.py), and about half an hour. The chapters on
# [several heads](../transformer/multi-head.md) and on [the block](../transformer/block.md) explain
# every step.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import numpy as np

from llmbook.labs import WrongAnswer
from llmbook.labs import block as lab
from llmbook.numpy_attention import softmax

x = np.arange(12).reshape(3, 4)
print(x)

# %% [markdown]
# Three words of four numbers. For two heads, the first gets the first two numbers of every word
# and the second the rest.
#
# ## 1. Split
#
# On paper first: which numbers does the second head have of the third word?


# %% tags=["exercise"]
def split(x, num_heads):
    """Words × numbers into heads × words × numbers of a head."""
    ...


# %% tags=["solution"]
def split(x, num_heads):
    """Words × numbers into heads × words × numbers of a head."""
    seq, d = x.shape
    return x.reshape(seq, num_heads, d // num_heads).transpose(1, 0, 2)


# %% tags=["check"]
lab.split.check(split)

# %% [markdown]
# The shape is right here, and the words are mixed up:


# %% tags=["wrong"]
def mistaken(x, num_heads):
    seq, d = x.shape
    return x.reshape(num_heads, seq, d // num_heads)


try:
    lab.split.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 2. Join


# %% tags=["exercise"]
def join(x):
    """Heads × words × numbers of a head back into words × numbers."""
    ...


# %% tags=["solution"]
def join(x):
    """Heads × words × numbers of a head back into words × numbers."""
    heads, seq, d_head = x.shape
    return x.transpose(1, 0, 2).reshape(seq, heads * d_head)


# %% tags=["check"]
lab.join.check(join)

# %% [markdown]
# ## 3. Several heads
#
# `weights` is a dictionary of matrices: `q`, `k`, `v` make queries, keys and values of the words,
# and `o` mixes what the heads have found. No word sees a later one. `softmax` is there already.


# %% tags=["exercise"]
def attention(x, weights, num_heads):
    """Causal attention of several heads with the matrices q, k, v and
    o.
    """
    ...


# %% tags=["solution"]
def attention(x, weights, num_heads):
    """Causal attention of several heads with the matrices q, k, v and
    o.
    """
    q, k, v = (split(x @ weights[name], num_heads) for name in "qkv")
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    past = np.tri(len(x), dtype=bool)
    return (
        join(softmax(np.where(past, scores, -np.inf)) @ v)
        @ weights["o"]
    )


# %% tags=["check"]
lab.attention.check(attention)

# %% [markdown]
# ## 4. Layer norm
#
# Each word by itself: take its mean away and divide by its spread. (A real one then has a gain and
# an offset for each number, which are learned.)


# %% tags=["exercise"]
def layer_norm(x):
    """Each row minus its mean, divided by the root of its variance
    plus 1e-5.
    """
    ...


# %% tags=["solution"]
def layer_norm(x):
    """Each row minus its mean, divided by the root of its variance
    plus 1e-5.
    """
    mean = x.mean(axis=-1, keepdims=True)
    variance = x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5)


# %% tags=["check"]
lab.layer_norm.check(layer_norm)

# %% [markdown]
# ## 5. The block
#
# Two parts. Each reads a normalised copy of what came in, and its result is *added* to what came
# in. The second part is the feed-forward network: the matrix `up`, negative numbers cut off at 0,
# the matrix `down`.


# %% tags=["exercise"]
def block(x, weights, num_heads):
    """Add attention to x, and to that feed-forward (up, cut at 0,
    down); each reads a norm.
    """
    ...


# %% tags=["solution"]
def block(x, weights, num_heads):
    """Add attention to x, and to that feed-forward (up, cut at 0,
    down); each reads a norm.
    """
    x = x + attention(layer_norm(x), weights, num_heads)
    return (
        x
        + np.maximum(0, layer_norm(x) @ weights["up"]) @ weights["down"]
    )


# %% tags=["check"]
lab.block.check(block)

# %% [markdown]
# ## Does it leak?
#
# Change the last of eight words. Which words may come out differently?

# %%
rng = np.random.default_rng(0)
layers = [lab.weights_of(rng, 32) for _ in range(24)]
text = rng.normal(size=(8, 32))
changed = text.copy()
changed[-1] += 1


def stack(x):
    for weights in layers:
        x = block(x, weights, 4)
    return x


print(np.abs(stack(changed) - stack(text)).max(axis=1).round(3))

# %% [markdown]
# ## What the additions are for
#
# How alike are the words after each layer? Here is the mean cosine between two words, through 24
# random blocks, and through the same blocks without the two additions.


# %%
def likeness(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = unit @ unit.T
    return (cosines.sum() - len(x)) / (len(x) * (len(x) - 1))


def bare(x, weights):
    x = attention(layer_norm(x), weights, 4)
    return (
        np.maximum(0, layer_norm(x) @ weights["up"]) @ weights["down"]
    )


added, alone = text, text
for depth, weights in enumerate(layers, start=1):
    added, alone = block(added, weights, 4), bare(alone, weights)
    if depth in (1, 3, 6, 12, 24):
        print(
            f"layer {depth:2}: with additions "
            f"{likeness(added):.2f}, without {likeness(alone):.2f}"
        )

# %% [markdown]
# Without the additions, all words are nearly one after three layers; with them they grow alike too,
# but slowly. These weights are random, and training may hold against it, but it has to start from
# here. [Dong et al. 2021](https://arxiv.org/abs/2103.03404) prove how fast words become one where
# attention stands alone.
#
# ## An open question
#
# Normalise after the addition instead of before, as the first Transformer did. Is the likeness
# after 24 layers then nearer to the first column or to the second? And which of the two parts,
# attention or feed-forward, makes the words alike? Nobody checks this answer.
