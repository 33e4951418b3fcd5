# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: n-grams against a GPT
#
# You write a language model that only counts, teach it what to do with what it has never seen, and
# measure it in bits on the same addresses as a small GPT of this book. You need this book's package
# ([how to install it](../reproduce.md#install)), dictionaries and logarithms, and about half an
# hour. The [chapter on GPT](../models/gpt.md) has the comparison in full.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
from collections import Counter, defaultdict

import numpy as np

from llmbook.datasets import sotu
from llmbook.labs import WrongAnswer
from llmbook.labs import ngrams as lab

# %% [markdown]
# ## 1. What follows
#
# An n-gram is $n$ letters in a row: a context of $n - 1$ letters and the next one. On paper first:
# which letters follow *a* in *abracadabra*, and how often?


# %% tags=["exercise"]
def follow(text, n):
    """For each context of n - 1 letters a Counter of the letters that
    follow it.
    """
    ...


# %% tags=["solution"]
def follow(text, n):
    """For each context of n - 1 letters a Counter of the letters that
    follow it.
    """
    table = defaultdict(Counter)
    for i in range(len(text) - n + 1):
        table[text[i : i + n - 1]][text[i + n - 1]] += 1
    return table


# %% tags=["check"]
lab.follow.check(follow)

# %% [markdown]
# ## 2. Shares
#
# The simplest guess for the next letter: the share of each letter after this context.


# %% tags=["exercise"]
def share(table, context, letter):
    """How often the letter followed this context, as a share; 0 if
    that was never seen.
    """
    ...


# %% tags=["solution"]
def share(table, context, letter):
    """How often the letter followed this context, as a share; 0 if
    that was never seen.
    """
    if context not in table:
        return 0.0
    following = table[context]
    return following[letter] / sum(following.values())


# %% tags=["check"]
lab.share.check(share)

# %% [markdown]
# ## 3. Never seen
#
# A share of 0 is a promise that the letter will never come, and one such letter makes the whole
# text impossible. So each order leans on the one below. Start with $1/\mathrm{size}$ for each of
# the letters that exist. Then, for $n = 1, 2, …$, if the last $n - 1$ letters were seen before,
#
# $$p \leftarrow \frac{\mathrm{count} + \mathrm{kinds}\cdot p}{\mathrm{total} + \mathrm{kinds}}$$
#
# where *total* is how often the context was seen and *kinds* how many different letters followed
# it: after a context with many kinds, something new is likelier. The rule is due to Witten and
# Bell. `tables[n]` has contexts of `n` letters.


# %% tags=["exercise"]
def smoothed(tables, context, letter, size):
    """Witten-Bell: from 1/size up, p = (count + kinds·p) / (total +
    kinds) in each table seen.
    """
    ...


# %% tags=["solution"]
def smoothed(tables, context, letter, size):
    """Witten-Bell: from 1/size up, p = (count + kinds·p) / (total +
    kinds) in each table seen.
    """
    p = 1 / size
    for n, table in enumerate(tables):
        following = (
            table.get(context[len(context) - n :])
            if n <= len(context)
            else None
        )
        if following:
            total, kinds = sum(following.values()), len(following)
            p = (following[letter] + kinds * p) / (total + kinds)
    return p


# %% tags=["check"]
lab.smoothed.check(smoothed)

# %% [markdown]
# One line less, and a letter that is new costs nothing:


# %% tags=["wrong"]
def mistaken(tables, context, letter, size):
    p = 1 / size
    for n, table in enumerate(tables):
        following = (
            table.get(context[len(context) - n :])
            if n <= len(context)
            else None
        )
        if following and letter in following:
            total, kinds = sum(following.values()), len(following)
            p = (following[letter] + kinds * p) / (total + kinds)
    return p


try:
    lab.smoothed.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 4. Bits
#
# A model that gives the right letter the probability $p$ needs $-\log_2 p$ bits for it.


# %% tags=["exercise"]
def bits(tables, text, size):
    """Mean bits a letter: -log2 of its smoothed probability after all
    the letters before it.
    """
    ...


# %% tags=["solution"]
def bits(tables, text, size):
    """Mean bits a letter: -log2 of its smoothed probability after all
    the letters before it.
    """
    n = len(tables)
    total = 0.0
    for i, letter in enumerate(text):
        total += -np.log2(
            smoothed(tables, text[max(0, i - n) : i], letter, size)
        )
    return total / len(text)


# %% tags=["check"]
lab.bits.check(bits)

# %% [markdown]
# ## How far do counts go?
#
# Learn from two addresses and read a piece of a third, with contexts from none to five letters.

# %%
speech = {address.year: address.text for address in sotu(since=1900)}
learned = speech[2009] + speech[2010]
tables = [follow(learned, n) for n in range(1, 7)]
for n in range(7):
    print(
        f"{n} tables: {bits(tables[:n], speech[2011][:2000], 256):.2f} "
        f"bits a letter"
    )

# %% [markdown]
# ## Against a GPT
#
# The book's small GPT has read every address since 1900 but one in five, and was then measured on
# addresses that it had not read. Do the same with your tables, on the first thousand letters of
# each of those addresses. So that you do not wait, your tables read a fifth of what the GPT has
# read.

# %%
import json

from llmbook.datasets import DATA

texts = [address.text for address in sotu(since=1900)]
train = [text for i, text in enumerate(texts) if i % 10 not in (4, 5)]
tables = [follow("".join(train[::5]), n) for n in range(1, 7)]
scores = [bits(tables, text[:1000], 256) for text in texts[5::10]]

runs = json.loads(
    (DATA / "results/ladder.json").read_text(encoding="utf-8")
)["runs"]
print(f"counts: {np.mean(scores):.2f} bits a letter")
for name in ("AdamW", "Muon"):
    print(
        f"GPT, {name}: "
        f"{np.mean([run[name]['test'] for run in runs]):.2f} bits a byte"
    )

# %% [markdown]
# Nearly every letter of these texts is one byte, so the numbers can be compared. Two ways to train
# the same GPT differ by more than counting differs from either. And which of the two is larger?

# %%
numbers = runs[0]["Muon"]["parameters"]
counts = sum(
    len(following) for table in tables for following in table.values()
)
print(f"{counts:,} counts, {numbers:,} weights of the GPT")

# %% [markdown]
# ## An open question
#
# Take all of `train` instead of every fifth address; it takes five times as long. Then add two more
# orders. Where do they stop to help, and why was that earlier with two addresses? What can the GPT
# do with a text that your tables cannot, even if both need the same bits? Nobody checks this
# answer.
