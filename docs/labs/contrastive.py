# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: the contrastive loss
#
# You write the loss of CLIP and its gradient, and train with it: the upper half of a handwritten
# digit learns to find its lower half among hundreds. You need this book's package
# ([how to install it](../reproduce.md#install)), the softmax of the
# [lab on attention](attention-by-hand.py), and about half an hour. The
# [chapter on multimodal learning](../evolution/multimodal.md) explains what pictures and texts make
# of it.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import numpy as np

from llmbook.datasets import digits
from llmbook.labs import WrongAnswer
from llmbook.labs import contrastive as lab

# %% [markdown]
# Two kinds of things come in pairs: row $i$ of `a` belongs to row $i$ of `b`.
#
# ## 1. Similarities
#
# The cosine of each with each, divided by a temperature.


# %% tags=["exercise"]
def similarities(a, b, temperature):
    """The cosine of each row of a with each row of b, divided by the
    temperature.
    """
    ...


# %% tags=["solution"]
def similarities(a, b, temperature):
    """The cosine of each row of a with each row of b, divided by the
    temperature.
    """

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    return unit(a) @ unit(b).T / temperature


# %% tags=["check"]
lab.similarities.check(similarities)

# %% [markdown]
# ## 2. Log-probabilities
#
# Row by row, and such that a thousand in a row does no harm.


# %% tags=["exercise"]
def log_softmax(logits):
    """The logarithm of the softmax of each row."""
    ...


# %% tags=["solution"]
def log_softmax(logits):
    """The logarithm of the softmax of each row."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


# %% tags=["check"]
lab.log_softmax.check(log_softmax)

# %% [markdown]
# ## 3. The loss
#
# Each row is asked which column belongs to it, and each column which row. The right answer is on
# the diagonal. On paper first: what is the loss of four pairs if all similarities are equal?


# %% tags=["exercise"]
def clip_loss(logits):
    """The mean of two cross-entropies: each row finds its column,
    each column its row.
    """
    ...


# %% tags=["solution"]
def clip_loss(logits):
    """The mean of two cross-entropies: each row finds its column,
    each column its row.
    """
    rows, columns = log_softmax(logits), log_softmax(logits.T)
    return -(np.trace(rows) + np.trace(columns)) / (2 * len(logits))


# %% tags=["check"]
lab.clip_loss.check(clip_loss)

# %% [markdown]
# Asked in one direction only:


# %% tags=["wrong"]
def mistaken(logits):
    rows, columns = log_softmax(logits), log_softmax(logits.T)
    return -np.trace(rows) / len(logits)


try:
    lab.clip_loss.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 4. The gradient
#
# As for every cross-entropy: probability minus what is right.


# %% tags=["exercise"]
def gradient(logits):
    """The derivative of the loss by each of the logits."""
    ...


# %% tags=["solution"]
def gradient(logits):
    """The derivative of the loss by each of the logits."""
    n = len(logits)
    rows = np.exp(log_softmax(logits))
    columns = np.exp(log_softmax(logits.T)).T
    return (rows + columns - 2 * np.eye(n)) / (2 * n)


# %% tags=["check"]
lab.gradient.check(gradient)

# %% [markdown]
# Trust, but measure. Move one number a little and see what the loss does:

# %%
logits = np.random.default_rng(0).normal(size=(5, 5))
moved = logits.copy()
moved[1, 3] += 1e-5
print(
    f"{(clip_loss(moved) - clip_loss(logits)) / 1e-5:.6f} "
    f"against {gradient(logits)[1, 3]:.6f}"
)

# %% [markdown]
# ## 5. How many are found?


# %% tags=["exercise"]
def found(logits):
    """The share of rows whose largest number stands on the diagonal."""
    ...


# %% tags=["solution"]
def found(logits):
    """The share of rows whose largest number stands on the diagonal."""
    return (logits.argmax(axis=1) == np.arange(len(logits))).mean()


# %% tags=["check"]
lab.found.check(found)

# %% [markdown]
# ## Two halves of a digit
#
# The upper four rows of each picture are one kind, the lower four the other. `lab.train` learns a
# matrix for each with your functions. Then 297 upper halves that it has not seen look for their
# lower halves.

# %%
pictures, labels = digits()
upper, lower = (
    pictures[:, :32] - pictures[:, :32].mean(0),
    pictures[:, 32:] - pictures[:, 32:].mean(0),
)
learn, test = slice(0, 1500), slice(1500, None)
one, other = lab.train(
    (upper[learn], lower[learn]), similarities, gradient
)

told = similarities(upper[test] @ one, lower[test] @ other, 0.1)
rng = np.random.default_rng(0)
blind = similarities(
    *(rng.normal(size=(297, 16)) for _ in range(2)), 0.1
)
print(
    f"found: {found(told):.0%}; by chance: "
    f"{1 / 297:.1%}; random vectors: {found(blind):.1%}"
)

# %% [markdown]
# No label was used. Is what they found at least of the same digit?

# %%
guess = labels[test][told.argmax(axis=1)]
print(
    f"a lower half of the same digit: "
    f"{(guess == labels[test]).mean():.0%}"
)

# %% [markdown]
# By chance it would be one in ten. To find the right half, the two matrices keep what both halves
# say, and which digit it is belongs to that.
#
# ## An open question
#
# Every other pair of the batch counts as wrong. Yet two sevens may fit each other's halves. What
# does the loss teach about them, and does a larger batch make it better or worse? Change 128 in
# `lab.train`'s source to 16 and to 512, and measure both numbers above. Nobody checks this answer.
