# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: a private step
#
# You train a classifier so that nobody can tell from its weights whether a given record was there,
# count the ε that you may state, and see what it costs. You need this book's package
# ([how to install it](../reproduce.md#install)), gradients of logistic regression, and about half
# an hour. The [chapter on privacy](../challenges/privacy.md) explains every step.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import numpy as np

from llmbook.datasets import digits
from llmbook.labs import WrongAnswer
from llmbook.labs import private_step as lab

# %% [markdown]
# ## 1. A gradient for each record
#
# The usual step adds all gradients up. Here each record's must be seen first, so keep a row for
# each.


# %% tags=["exercise"]
def gradients(w, x, y):
    """Of logistic regression with weights w: a row (sigmoid(x·w) -
    y)·x for each record.
    """
    ...


# %% tags=["solution"]
def gradients(w, x, y):
    """Of logistic regression with weights w: a row (sigmoid(x·w) -
    y)·x for each record.
    """
    p = 1 / (1 + np.exp(-x @ w))
    return (p - y)[:, None] * x


# %% tags=["check"]
lab.gradients.check(gradients)

# %% [markdown]
# ## 2. Clip
#
# A record that is unlike all others has a long gradient. Make it as long as the limit, in the same
# direction, and leave short ones as they are. On paper first: what becomes of (3, 4) with limit 1?


# %% tags=["exercise"]
def clip(rows, limit):
    """Each row made shorter, without turning it, if it is longer than
    the limit.
    """
    ...


# %% tags=["solution"]
def clip(rows, limit):
    """Each row made shorter, without turning it, if it is longer than
    the limit.
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1, limit / np.maximum(lengths, 1e-12))


# %% tags=["check"]
lab.clip.check(clip)

# %% [markdown]
# ## 3. Noise
#
# Now no record can move the sum by more than the limit. Noise whose size is a multiple of the limit
# hides whether it was there. The random numbers are handed in, so that results can be compared.


# %% tags=["exercise"]
def private_mean(rows, limit, multiplier, noise):
    """The mean of clipped rows, with multiplier · limit · noise added
    to their sum.
    """
    ...


# %% tags=["solution"]
def private_mean(rows, limit, multiplier, noise):
    """The mean of clipped rows, with multiplier · limit · noise added
    to their sum.
    """
    total = clip(rows, limit).sum(axis=0)
    return (total + multiplier * limit * noise) / len(rows)


# %% tags=["check"]
lab.private_mean.check(private_mean)

# %% [markdown]
# Clip the sum and not the records, and one record can still decide all of it:


# %% tags=["wrong"]
def mistaken(rows, limit, multiplier, noise):
    total = clip(rows.sum(axis=0, keepdims=True), limit)[0]
    return (total + multiplier * limit * noise) / len(rows)


try:
    lab.private_mean.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 4. The account
#
# Adding or taking away a record changes the clipped sum by the limit at most. For Gaussian noise of
# `multiplier` times that, $T$ steps with all records are $(\varepsilon, \delta)$-private with
#
# $$\varepsilon = \frac{T\alpha}{2\sigma^2} + \frac{\log(1/\delta)}{\alpha - 1}$$
#
# for every order $\alpha > 1$ ([Mironov 2017](https://arxiv.org/abs/1702.07476), Propositions 1,
# 3 and 7). All of these hold, so state the smallest.


# %% tags=["exercise"]
def epsilon(multiplier, steps, delta):
    """Least of steps·α / (2·multiplier²) + log(1/δ) / (α - 1), for α
    = 1.1, 1.2, … 200.
    """
    ...


# %% tags=["solution"]
def epsilon(multiplier, steps, delta):
    """Least of steps·α / (2·multiplier²) + log(1/δ) / (α - 1), for α
    = 1.1, 1.2, … 200.
    """
    orders = np.arange(11, 2001) / 10
    return (
        steps * orders / (2 * multiplier**2)
        + np.log(1 / delta) / (orders - 1)
    ).min()


# %% tags=["check"]
lab.epsilon.check(epsilon)

# %% [markdown]
# ## 5. Train


# %% tags=["exercise"]
def train(x, y, limit, multiplier, rate, noise):
    """Weights from 0: for each row of noise, w - rate · private mean
    of the gradients.
    """
    ...


# %% tags=["solution"]
def train(x, y, limit, multiplier, rate, noise):
    """Weights from 0: for each row of noise, w - rate · private mean
    of the gradients.
    """
    w = np.zeros(x.shape[1])
    for draw in noise:
        rows = gradients(w, x, y)
        w = w - rate * private_mean(rows, limit, multiplier, draw)
    return w


# %% tags=["check"]
lab.train.check(train)

# %% [markdown]
# ## What does it cost?
#
# Is a handwritten digit even or odd? 1,500 pictures to learn from, 297 to test; sixty steps, each
# with all pictures; δ is $10^{-5}$. Five runs with other noise for each multiplier.

# %%
pictures, labels = digits()
x = np.hstack(
    [
        pictures - pictures[:1500].mean(axis=0),
        np.ones((len(pictures), 1)),
    ]
).astype(float)
y = labels % 2
accuracies = {}
for multiplier in (0, 5, 20, 80, 320):
    accuracies[multiplier] = [
        np.mean((x[1500:] @ w > 0) == y[1500:])
        for seed in range(5)
        for draws in [np.random.default_rng(seed).normal(size=(60, 65))]
        for w in [
            train(x[:1500], y[:1500], 1.0, multiplier, 4.0, draws)
        ]
    ]
    promise = (
        f"ε = {epsilon(multiplier, 60, 1e-5):5.2f}"
        if multiplier
        else "no promise"
    )
    got = accuracies[multiplier]
    print(
        f"multiplier {multiplier:3}: {promise}, "
        f"right {np.mean(got):.0%} ({min(got):.0%} to {max(got):.0%})"
    )

# %% [markdown]
# More noise, a smaller ε, and fewer right answers; always saying *odd* would be right in about half
# the cases. With a thousand times as many records, the same noise would hardly show, since it is
# divided by their number.
#
# The number of records counts as known to everybody. And two things are not counted. The mean that
# was taken away from the pictures came from the same records, without noise. And we looked at
# several multipliers before choosing: that gives something away too.
#
# ## An open question
#
# Somebody is in the data with ten pictures instead of one. What does your ε promise *them*? And if
# each step read a random tenth of the records, would they be safer or less safe? Nobody checks this
# answer.
