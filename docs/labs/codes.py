# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: codes
#
# A picture becomes a row of whole numbers, as in DALL·E's first half, so that a language model can
# write it. You write vector quantisation, learn a codebook for handwritten digits, and see what a
# picture of 32 bits looks like. You need this book's package
# ([how to install it](../reproduce.md#install)), NumPy's broadcasting, and about half an hour. The
# [chapter on multimodal learning](../evolution/multimodal.md) says what such codes are for.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import numpy as np

from llmbook.datasets import digits
from llmbook.labs import WrongAnswer
from llmbook.labs import codes as lab

# %% [markdown]
# ## 1. Distances
#
# A codebook is a table with a row for each code. How far is each vector from each code? On paper
# first: what is the squared distance from (0, 1) to (4, 0)?


# %% tags=["exercise"]
def distances(x, codebook):
    """The squared distance of each row of x to each row of the
    codebook.
    """
    ...


# %% tags=["solution"]
def distances(x, codebook):
    """The squared distance of each row of x to each row of the
    codebook.
    """
    difference = x[:, None] - codebook[None]
    return (difference**2).sum(axis=2)


# %% tags=["check"]
lab.distances.check(distances)

# %% [markdown]
# ## 2. Encode


# %% tags=["exercise"]
def encode(x, codebook):
    """For each row of x the number of the nearest code."""
    ...


# %% tags=["solution"]
def encode(x, codebook):
    """For each row of x the number of the nearest code."""
    return distances(x, codebook).argmin(axis=1)


# %% tags=["check"]
lab.encode.check(encode)

# %% [markdown]
# The largest dot product is not the smallest distance:


# %% tags=["wrong"]
def mistaken(x, codebook):
    return (x @ codebook.T).argmax(axis=1)


try:
    lab.encode.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 3. Learn
#
# Each code moves to the mean of the vectors that chose it. Then they choose again. (This is
# k-means; VQ-VAE does it step by step while a network learns what the vectors are.)


# %% tags=["exercise"]
def update(x, codebook):
    """The codebook with each code moved to the mean of the rows that
    it is nearest to, if any.
    """
    ...


# %% tags=["solution"]
def update(x, codebook):
    """The codebook with each code moved to the mean of the rows that
    it is nearest to, if any.
    """
    chosen = encode(x, codebook)
    moved = codebook.copy()
    for code in range(len(codebook)):
        mine = x[chosen == code]
        if len(mine):
            moved[code] = mine.mean(axis=0)
    return moved


# %% tags=["check"]
lab.update.check(update)

# %% [markdown]
# ## 4. What is lost


# %% tags=["exercise"]
def error(x, codebook):
    """The mean squared difference between x and the codes that stand
    for it, over all numbers.
    """
    ...


# %% tags=["solution"]
def error(x, codebook):
    """The mean squared difference between x and the codes that stand
    for it, over all numbers.
    """
    return ((x - codebook[encode(x, codebook)]) ** 2).mean()


# %% tags=["check"]
lab.error.check(error)

# %% [markdown]
# ## 5. What it costs
#
# With 256 codes, a code takes eight bits. If some are frequent, a shorter one can stand for them.


# %% tags=["exercise"]
def entropy(codes, size):
    """Bits a code, on average: minus the sum of share times its log2,
    over the codes in use.
    """
    ...


# %% tags=["solution"]
def entropy(codes, size):
    """Bits a code, on average: minus the sum of share times its log2,
    over the codes in use.
    """
    share = np.bincount(codes, minlength=size) / len(codes)
    used = share[share > 0]
    return -(used * np.log2(used)).sum()


# %% tags=["check"]
lab.entropy.check(entropy)

# %% [markdown]
# ## Digits
#
# Cut each picture of 8 × 8 pixels into four squares. Learn codebooks of several sizes from 700
# pictures, and measure on 297 others what is lost and what a picture takes. For comparison: one
# bit a pixel, dark or light, each with the mean of its kind, takes 64 bits.


# %%
def squares(pictures):
    cut = pictures.reshape(-1, 2, 4, 2, 4).transpose(0, 1, 3, 2, 4)
    return cut.reshape(-1, 16).astype(float)


def learn(x, size, steps=8):
    codebook = x[
        np.random.default_rng(0).choice(len(x), size, replace=False)
    ]
    for _ in range(steps):
        codebook = update(x, codebook)
    return codebook


pictures, _ = digits()
train, test = squares(pictures[:700]), squares(pictures[1500:])
for size in (2, 16, 64, 256):
    codebook = learn(train, size)
    codes = encode(test, codebook)
    bits = 4 * np.log2(size), 4 * entropy(codes, size)
    print(
        f"{size:4} codes: error {error(test, codebook):.4f}, "
        f"{bits[0]:.0f} bits a picture, {bits[1]:.1f} by frequency"
    )

dark = np.array([train[train < 0.5].mean(), train[train >= 0.5].mean()])
print(
    f"a bit a pixel: error "
    f"{((test - dark[(test >= 0.5).astype(int)]) ** 2).mean():.4f}, 64 bits"
)

# %% [markdown]
# With 256 codes a picture takes half of what a bit for each pixel takes, and less is lost. Look at
# one:

# %%
codes = encode(test, codebook)
print("codes of the first picture:", codes[:4].tolist())


def show(rows):
    cut = rows.reshape(2, 2, 4, 4).transpose(0, 2, 1, 3).reshape(8, 8)
    return [
        "".join(" .:*#"[min(4, int(5 * value))] for value in row)
        for row in cut
    ]


for left, right in zip(show(test[:4]), show(codebook[codes[:4]])):
    print(left, "|", right)

# %% [markdown]
# ## An open question
#
# How many of your 256 codes does nobody choose? Start from random numbers instead of from squares
# of pictures and count again. What would you do with a code that nobody chooses, and what does a
# language model lose if most codes are never used? Nobody checks this answer.
