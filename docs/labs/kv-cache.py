# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: the cache of keys and values
#
# You let attention read a text word by word without computing anything twice, count what that
# saves, and then what it costs in memory for models that are in use. You need this book's package
# ([how to install it](../reproduce.md#install)), the [lab on attention](attention-by-hand.py), and
# about half an hour. The chapter on [a real model](../transformer/real-model.md) uses such a cache.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import numpy as np

from llmbook.labs import WrongAnswer
from llmbook.labs import kv_cache as lab

# %% [markdown]
# ## 1. One query
#
# A model that writes has one new word at a time, so one query. Let it attend to all keys.


# %% tags=["exercise"]
def attend(query, keys, values):
    """Attention of a single query: the average of the values under
    its softmax weights.
    """
    ...


# %% tags=["solution"]
def attend(query, keys, values):
    """Attention of a single query: the average of the values under
    its softmax weights.
    """
    scores = keys @ query / np.sqrt(len(query))
    weights = np.exp(scores - scores.max())
    return weights @ values / weights.sum()


# %% tags=["check"]
lab.attend.check(attend)

# %% [markdown]
# ## 2. One step
#
# A new word `x` comes. Its query is `x @ wq`, its key `x @ wk`, its value `x @ wv`. The keys and
# values of earlier words are there already: append the new ones, and attend.


# %% tags=["exercise"]
def step(x, keys, values, wq, wk, wv):
    """A new word: append its key and value, attend with its query;
    output, keys, values.
    """
    ...


# %% tags=["solution"]
def step(x, keys, values, wq, wk, wv):
    """A new word: append its key and value, attend with its query;
    output, keys, values.
    """
    keys = np.vstack([keys, x @ wk])
    values = np.vstack([values, x @ wv])
    return attend(x @ wq, keys, values), keys, values


# %% tags=["check"]
lab.step.check(step)

# %% [markdown]
# A word that cannot see itself:


# %% tags=["wrong"]
def mistaken(x, keys, values, wq, wk, wv):
    new = np.vstack([keys, x @ wk])
    values = np.vstack([values, x @ wv])
    return attend(x @ wq, keys, values), keys, values


try:
    lab.step.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 3. A whole text


# %% tags=["exercise"]
def generate(text, wq, wk, wv):
    """The outputs of all words, computed one word at a time with a
    cache that starts empty.
    """
    ...


# %% tags=["solution"]
def generate(text, wq, wk, wv):
    """The outputs of all words, computed one word at a time with a
    cache that starts empty.
    """
    outputs = []
    keys = values = np.zeros((0, text.shape[1]))
    for x in text:
        output, keys, values = step(x, keys, values, wq, wk, wv)
        outputs.append(output)
    return np.array(outputs)


# %% tags=["check"]
lab.generate.check(generate)

# %% [markdown]
# Is that the same as attention over the whole text at once, with a mask?

# %%
from llmbook.numpy_attention import self_attention

rng = np.random.default_rng(0)
text = rng.normal(size=(50, 16))
wq, wk, wv = rng.normal(size=(3, 16, 16)) / 4
at_once, _ = self_attention(
    text @ wq, text @ wk, text @ wv, np.tri(50, dtype=bool)
)
one_by_one = generate(text, wq, wk, wv)
print(
    "the same to 12 digits:",
    np.allclose(one_by_one, at_once, rtol=0, atol=1e-12),
)

# %% [markdown]
# ## 4. What it saves
#
# Without a cache, word $t$ makes the keys and values of all $t$ words again. Count the products of
# two numbers that go into keys and values; a row of $d$ numbers times a matrix of $d \times d$
# takes $d^2$.
#
# On paper first: how many rows are made for three words, without and with a cache?


# %% tags=["exercise"]
def products(length, d):
    """Products to make keys and values for `length` words one by one:
    without and with a cache.
    """
    ...


# %% tags=["solution"]
def products(length, d):
    """Products to make keys and values for `length` words one by one:
    without and with a cache.
    """
    each = 2 * d * d
    return length * (length + 1) // 2 * each, length * each


# %% tags=["check"]
lab.products.check(products)

# %%
for length in (10, 100, 1000, 10_000):
    without, cached = products(length, 4096)
    print(
        f"{length:6,} words: {without / cached:8,.1f} "
        f"times as many without a cache"
    )

# %% [markdown]
# ## 5. What it costs
#
# The cache must lie in memory. `kv_heads` is how many heads have keys and values of their own.


# %% tags=["exercise"]
def cache_bytes(layers, kv_heads, d_head, length, batch, bytes_each):
    """How many bytes the keys and values of a batch of texts take."""
    ...


# %% tags=["solution"]
def cache_bytes(layers, kv_heads, d_head, length, batch, bytes_each):
    """How many bytes the keys and values of a batch of texts take."""
    return 2 * layers * kv_heads * d_head * length * batch * bytes_each


# %% tags=["check"]
lab.cache_bytes.check(cache_bytes)

# %% [markdown]
# ## Models in use
#
# Numbers of layers, of key-value heads, and the width of a head, as their makers publish them;
# two bytes a number, a text of 8,192 tokens. What would Llama 3 need if each of its 32 query heads
# had keys and values of its own?

# %%
models = {
    "GPT-2": (12, 12, 64),
    "Llama 2 7B": (32, 32, 128),
    "Llama 3 8B": (32, 8, 128),
    "Llama 3 8B, 32 heads": (32, 32, 128),
}
for name, sizes in models.items():
    one = cache_bytes(*sizes, 8192, 1, 2)
    print(
        f"{name:21} {one / 2**30:5.2f} GiB a text, "
        f"{80 * 2**30 // one:4} texts in 80 GiB"
    )

# %% [markdown]
# Sharing keys and values among four query heads takes a quarter of the memory, and four times as
# many texts fit beside each other. (The weights of the model need room as well; they are left out
# here. GPT-2 was trained on 1,024 positions, Llama 2 on 4,096.)
#
# ## An open question
#
# Where else could you save? Keep the last thousand words only; keep one byte a number instead of
# two; keep fewer layers' keys. Which of these changes what your `generate` computes, and how would
# you measure whether the change matters? Nobody checks this answer.
