# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: masking
#
# You write BERT's first objective: hide some words of a text and ask for them. Then you measure,
# with counts alone, what it is worth to see both sides of a gap. You need this book's package
# ([how to install it](../reproduce.md#install)), boolean arrays in NumPy, and about half an hour.
# The [chapter on BERT](../models/bert.md) explains every step.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import re
from collections import Counter, defaultdict

import numpy as np

from llmbook.datasets import sotu
from llmbook.labs import WrongAnswer
from llmbook.labs import masking as lab

# %% [markdown]
# ## 1. Choose
#
# Chance is handed in: `draws` holds a number from 0 to 1 for each token, so that your result can
# be compared. A token is chosen if its draw is less than 0.15 and it is no special token, such as
# the mark at the start of a text.


# %% tags=["exercise"]
def choose(token_ids, special, draws):
    """True where the draw is below 0.15 and the token is none of the
    special ones.
    """
    ...


# %% tags=["solution"]
def choose(token_ids, special, draws):
    """True where the draw is below 0.15 and the token is none of the
    special ones.
    """
    return (draws < 0.15) & ~np.isin(token_ids, special)


# %% tags=["check"]
lab.choose.check(choose)

# %% [markdown]
# ## 2. Corrupt
#
# Of the chosen, 80 % are hidden behind the mask, 10 % are replaced by a random token, and 10 % stay
# as they are. A second draw, the fate, decides.


# %% tags=["exercise"]
def corrupt(token_ids, chosen, fate, random_ids, mask_id):
    """What is read: chosen tokens are hidden (fate below 0.8),
    replaced (below 0.9) or kept.
    """
    ...


# %% tags=["solution"]
def corrupt(token_ids, chosen, fate, random_ids, mask_id):
    """What is read: chosen tokens are hidden (fate below 0.8),
    replaced (below 0.9) or kept.
    """
    hidden = chosen & (fate < 0.8)
    replaced = chosen & (fate >= 0.8) & (fate < 0.9)
    read = np.where(hidden, mask_id, token_ids)
    return np.where(replaced, random_ids, read)


# %% tags=["check"]
lab.corrupt.check(corrupt)

# %% [markdown]
# ## 3. Labels
#
# The loss must know where it asks. The custom is to put -100 where nobody asks.


# %% tags=["exercise"]
def labels_of(token_ids, chosen):
    """The tokens to be guessed: what was there where it was chosen,
    -100 elsewhere.
    """
    ...


# %% tags=["solution"]
def labels_of(token_ids, chosen):
    """The tokens to be guessed: what was there where it was chosen,
    -100 elsewhere.
    """
    return np.where(chosen, token_ids, -100)


# %% tags=["check"]
lab.labels_of.check(labels_of)

# %% [markdown]
# ## 4. The loss
#
# `log_probs` has a row for each place and a column for each token: the logarithm of the
# probability that the model gives it. On paper first: what is the loss if the model gives each of
# two asked tokens the probability 1/2?


# %% tags=["exercise"]
def masked_loss(log_probs, labels):
    """The mean of minus the log-probability of each label that is not
    -100.
    """
    ...


# %% tags=["solution"]
def masked_loss(log_probs, labels):
    """The mean of minus the log-probability of each label that is not
    -100.
    """
    asked = labels != -100
    return -log_probs[asked, labels[asked]].mean()


# %% tags=["check"]
lab.masked_loss.check(masked_loss)

# %% [markdown]
# A loss that falls by itself when less is asked:


# %% tags=["wrong"]
def mistaken(log_probs, labels):
    asked = labels != -100
    return -log_probs[asked, labels[asked]].sum() / len(labels)


try:
    lab.masked_loss.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 5. Fill a gap
#
# Now a model that needs no network. `between` knows for a pair of neighbours how often each word
# stood between them, and `after` how often each word followed a word. Guess the most frequent.


# %% tags=["exercise"]
def fill(left, right, between, after):
    """The most frequent word between the two; else the most frequent
    after `left`; else "the".
    """
    ...


# %% tags=["solution"]
def fill(left, right, between, after):
    """The most frequent word between the two; else the most frequent
    after `left`; else "the".
    """
    pair = (left, right)
    if pair in between:
        return between[pair].most_common(1)[0][0]
    if left in after:
        return after[left].most_common(1)[0][0]
    return "the"


# %% tags=["check"]
lab.fill.check(fill)

# %% [markdown]
# ## Both sides against one
#
# Hide 15 % of the words of an address of 2019, with your own mask, and fill the gaps with counts
# from the addresses since 1960, without that one: once from both sides, once from the left alone,
# as a GPT must.

# %%
between, after = defaultdict(Counter), defaultdict(Counter)
for address in sotu(since=1960):
    if address.year != 2019:
        read = re.findall(r"[a-z']+", address.text.lower())
        for left, word, right in zip(read, read[1:], read[2:]):
            between[left, right][word] += 1
            after[left][word] += 1

(text,) = (
    address.text for address in sotu(since=2019) if address.year == 2019
)
words = np.array(re.findall(r"[a-z']+", text.lower()))
hidden = choose(words, [], np.random.default_rng(0).random(len(words)))
places = [i for i in np.flatnonzero(hidden) if 0 < i < len(words) - 1]
both = [
    fill(words[i - 1], words[i + 1], between, after) == words[i]
    for i in places
]
left = [
    fill(words[i - 1], words[i + 1], {}, after) == words[i]
    for i in places
]
most = [words[i] == "the" for i in places]
for name, right in (
    ("both sides", both),
    ("left side", left),
    ("always the", most),
):
    print(f"{name:10} {np.mean(right):.0%} of {len(places)} gaps")

# %% [markdown]
# The second neighbour helps, though more than half of these pairs of neighbours had been seen twice
# at most. That is one reason to read in both directions, as BERT does, where no text has to be
# continued.
#
# ## An open question
#
# BERT asks for 15 % of the tokens. What becomes harder for the model if it asks for 40 %, and what
# does a step of training gain? Hide 40 % of the words, and count how often a gap has a hidden
# neighbour. Nobody checks this answer.
