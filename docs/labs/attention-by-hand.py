# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: attention by hand
#
# You compute scaled dot-product attention yourself, for three words, in five small steps. Each
# step has a check that tells you what went wrong, not only that something did. You need this
# book's package ([how to install it](../reproduce.md#install)), which brings NumPy, and about half
# an hour; the [chapter on self-attention](../transformer/self-attention.md) explains every step.
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{QK^{\top}}{\sqrt{d_k}}\right)V$$
#
# Put your code in place of the dots, run the cell, then run the check below it. Solutions are
# folded: open one when you are stuck. The empty notebook has no solutions in it.

# %%
import numpy as np

from llmbook import labs

words = ["The", "cat", "sat"]
query = np.array([[1, 0, 1, 0], [0, 2, 0, 0], [1, 1, 0, 0]])
key = np.array([[0, 1, 1, 0], [2, 0, 0, 1], [0, 2, 1, 1]])
value = np.array([[1, 0], [0, 1], [2, 2]])

# %% [markdown]
# Each word has a query (what it looks for), a key (what it offers) and a value (what it hands
# over). The numbers are whole, so that you can do the first two steps on paper.
#
# ## 1. Scores
#
# The score of a pair is the dot product of one word's query with another word's key. Compute all
# of them as one array: a **row** for each query, a **column** for each key.
#
# On paper first: what does *cat* (the second query) score with *sat* (the third key)?

# %% tags=["exercise"]
scores = ...

# %% tags=["solution"]
# On paper: 0*0 + 2*2 + 0*1 + 0*1 = 4.
scores = query @ key.T
print(scores)

# %% tags=["check"]
labs.check_scores(scores, query, key)

# %% [markdown]
# ## 2. Scaling
#
# Dot products of longer vectors spread wider, so divide by the root of the length $d_k$ of a
# query.

# %% tags=["exercise"]
scaled = ...

# %% tags=["solution"]
scaled = scores / np.sqrt(query.shape[-1])
print(scaled)

# %% tags=["check"]
labs.check_scaled(scaled, query, key)

# %% [markdown]
# What does a check say to a wrong answer? Here is one: the scores, handed in without the
# division.

# %% tags=["wrong"]
try:
    labs.check_scaled(scores, query, key)
except labs.WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 3. The mask
#
# A word must not look at words that come after it. First make the mask: `True` where the query
# (row) may look at the key (column). Then put minus infinity wherever it is `False`.
#
# Before you run it: how many of the nine pairs stay allowed?

# %% tags=["exercise"]
mask = ...
masked = ...

# %% tags=["solution"]
# Six: one for the first word, two for the second, three for the third.
mask = np.tril(np.ones((3, 3), dtype=bool))
masked = np.where(mask, scaled, -np.inf)
print(masked)

# %% tags=["check"]
labs.check_masked(masked, query, key, labs.no_later(words))

# %% [markdown]
# ## 4. Weights
#
# The softmax turns each row of scores into weights: take $e$ to the power of each score, and
# divide by the sum of the row. Mind which axis you sum over, and that a forbidden pair gets
# exactly 0.
#
# Before you run it: what is the first row? *The* can see nothing but itself.

# %% tags=["exercise"]
weights = ...

# %% tags=["solution"]
# The first row is 1, 0, 0. The row's maximum is subtracted so that exp() cannot overflow.
exponentials = np.exp(masked - masked.max(axis=-1, keepdims=True))
weights = exponentials / exponentials.sum(axis=-1, keepdims=True)
print(weights.round(3))

# %% tags=["check"]
labs.check_weights(weights, query, key, labs.no_later(words))

# %% [markdown]
# A mask that comes *after* the softmax looks right, since forbidden pairs are 0 too. The check
# sees the difference:

# %% tags=["wrong"]
unmasked = np.exp(scaled) / np.exp(scaled).sum(axis=-1, keepdims=True)
try:
    labs.check_weights(unmasked * mask, query, key, mask)
except labs.WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 5. Output
#
# Each word's output is the average of the values, weighted with its row of weights. One matrix
# product does it for all words.

# %% tags=["exercise"]
output = ...

# %% tags=["solution"]
output = weights @ value
print(output.round(3))

# %% tags=["check"]
labs.check_output(output, query, key, value, labs.no_later(words))

# %% [markdown]
# ## All in one
#
# You have written what the book's own function does. Compare:

# %%
from llmbook.numpy_attention import self_attention

theirs, _ = self_attention(
    query.astype(float), key.astype(float), value.astype(float), mask
)
print("the same:", np.allclose(theirs, output))

# %% [markdown]
# ## On your own
#
# Write a function `attention(query, key, value)` without a mask in three lines, and hand its
# result to `labs.check_output(result, query, key, value)`. Lists, tuples, NumPy arrays and
# PyTorch tensors are all accepted. Then make a mistake on purpose, one that you find plausible,
# and see whether the check names it.

# %% tags=["exercise"]
result = ...


# %% tags=["solution"]
def attention(query, key, value):
    scores = query @ key.T / np.sqrt(query.shape[-1])
    weights = np.exp(scores) / np.exp(scores).sum(
        axis=-1, keepdims=True
    )
    return weights @ value


result = attention(query, key, value)

# %% tags=["check"]
labs.check_output(result, query, key, value)
