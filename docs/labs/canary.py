# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: a canary and its exposure
#
# Does a model keep what it read once? You plant secrets in a text, train a model that counts, and
# measure how much it gives away. You need this book's package
# ([how to install it](../reproduce.md#install)), dictionaries and logarithms, and about half an
# hour. The [chapter on privacy](../challenges/privacy.md) does the same with small GPTs.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
from collections import Counter

import numpy as np

from llmbook.datasets import sotu
from llmbook.labs import WrongAnswer
from llmbook.labs import canary as lab

# %% [markdown]
# ## 1. Count pieces
#
# The model will know pieces of $n$ letters, and of $n - 1$.


# %% tags=["exercise"]
def pieces(text, n):
    """How often each piece of n letters occurs: a dict."""
    ...


# %% tags=["solution"]
def pieces(text, n):
    """How often each piece of n letters occurs: a dict."""
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


# %% tags=["check"]
lab.pieces.check(pieces)

# %% [markdown]
# ## 2. What a secret costs
#
# The fewer bits the model needs for a text, the more it expects it. Each letter is guessed from
# the $n - 1$ before it: `long` counts pieces of $n$ letters, `short` of $n - 1$. A piece that was
# never seen must stay possible, so 0.01 is added to each count, for each of 100 letters. `Counter`
# gives 0 for what it does not know.


# %% tags=["exercise"]
def cost(long, short, n, text, start):
    """Bits of text[start:], each letter after the n - 1 before it.

    Its probability: (count of the n letters + 0.01) / (count of the n
    - 1 + 0.01 · 100).
    """
    ...


# %% tags=["solution"]
def cost(long, short, n, text, start):
    """Bits of text[start:], each letter after the n - 1 before it.

    Its probability: (count of the n letters + 0.01) / (count of the n
    - 1 + 0.01 · 100).
    """
    bits = 0.0
    for i in range(start, len(text)):
        context = text[i - n + 1 : i]
        bits -= np.log2(
            (long[context + text[i]] + 0.01)
            / (short[context] + 0.01 * 100)
        )
    return bits


# %% tags=["check"]
lab.cost.check(cost)

# %% [markdown]
# ## 3. Rank
#
# A low cost alone says little: 1776 may be cheap because it is a year. So compare with everything
# that the secret could have been. On paper first: which rank has each of four candidates if all
# cost the same?


# %% tags=["exercise"]
def rank(costs, secret):
    """The rank of number `secret` by cost, from 1; half of others as
    cheap stand before it.
    """
    ...


# %% tags=["solution"]
def rank(costs, secret):
    """The rank of number `secret` by cost, from 1; half of others as
    cheap stand before it.
    """
    mine = costs[secret]
    equal = (costs == mine).sum()
    return 1 + (costs < mine).sum() + (equal - 1) / 2


# %% tags=["check"]
lab.rank.check(rank)

# %% [markdown]
# Without the rule for equals, a model that knows nothing would seem to know everything:


# %% tags=["wrong"]
def mistaken(costs, secret):
    mine = costs[secret]
    equal = (costs == mine).sum()
    return 1 + (costs < mine).sum()


try:
    lab.rank.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 4. Exposure
#
# [Carlini et al. 2019](https://arxiv.org/abs/1802.08232) define it as $\log_2$ of the number of
# candidates divided by the rank. Rank 1 of 10,000 is an exposure of 13.3 bits: the secret is the
# first guess.


# %% tags=["exercise"]
def exposure(place, candidates):
    """The logarithm, base 2, of the number of candidates divided by
    the rank.
    """
    ...


# %% tags=["solution"]
def exposure(place, candidates):
    """The logarithm, base 2, of the number of candidates divided by
    the rank.
    """
    return np.log2(candidates) - np.log2(place)


# %% tags=["check"]
lab.exposure.check(exposure)

# %% [markdown]
# ## 5. Plant


# %% tags=["exercise"]
def plant(template, secret, times):
    """The template with the secret in it, so many times, with a space
    between.
    """
    ...


# %% tags=["solution"]
def plant(template, secret, times):
    """The template with the secret in it, so many times, with a space
    between.
    """
    return " ".join([template.format(secret)] * times)


# %% tags=["check"]
lab.plant.check(plant)

# %% [markdown]
# ## How often is too often?
#
# Eight people have a code of four digits each. Their sentences are added to an address of 2010,
# once or eight times. For each person, all 10,000 codes are tried, by a model that sees three
# letters before each and by one that sees eight.

# %%
(speech,) = (
    address.text for address in sotu(since=2010) if address.year == 2010
)
people = "Anna Bert Cleo Dora Emil Fred Gina Hugo".split()
secrets = np.random.default_rng(7).integers(0, 10_000, len(people))


def exposures(times, n):
    sentences = [
        plant(f"The code of {name} is {{}}.", f"{secret:04}", times)
        for name, secret in zip(people, secrets)
    ]
    text = " ".join([speech, *sentences])
    long, short = pieces(text, n), pieces(text, n - 1)
    found = []
    for name, secret in zip(people, secrets):
        before = f"The code of {name} is "
        costs = [
            cost(long, short, n, f"{before}{code:04}", len(before))
            for code in range(10_000)
        ]
        found.append(exposure(rank(np.array(costs), secret), 10_000))
    return found


for n in (4, 9):
    for times in (0, 1, 8):
        bits = exposures(times, n)
        print(
            f"{n - 1} letters before, planted {times} times: "
            f"{np.mean(bits):4.1f} bits ({min(bits):.1f} to {max(bits):.1f})"
        )

# %% [markdown]
# For this model once is enough: it forgets nothing. The one that sees three letters has all eight
# codes among its first guesses and cannot say whose is whose, since the name is farther away. The
# one that sees eight letters ties code to name, and its first guess is right each time. A secret
# that was not planted has about one bit: as many as a rank drawn at random has on average.
#
# ## An open question
#
# Is a person better protected by a model that keeps the codes but mixes up the names? What would
# you do to the *text* before training, and what could a test with planted canaries then say about
# secrets that you did not plant? Nobody checks this answer.
