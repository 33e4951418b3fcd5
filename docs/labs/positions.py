# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: positions
#
# Attention does not know in which order its words stand. You give it two ways to know: waves that
# are added to the words, as in the first Transformer, and rotations of queries and keys, as in most
# models today. You need this book's package ([how to install it](../reproduce.md#install)), sine
# and cosine, the [lab on attention](attention-by-hand.py), and about half an hour. The
# [chapter on positions](../transformer/positions.md) explains every step.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import numpy as np

from llmbook.labs import WrongAnswer
from llmbook.labs import positions as lab

# %% [markdown]
# ## 1. Frequencies
#
# Both ways use the same clock with many hands. A vector of $d$ numbers has $d/2$ hands; with each
# step, hand $i$ turns by the angle $\theta_i = b^{-2i/d}$, where $b$ is the base, often 10,000.
#
# On paper first: with $d = 4$ and $b = 100$, how fast are the two hands?


# %% tags=["exercise"]
def frequencies(d, base):
    """Of each pair of numbers its angle for one step: base to the
    power of -2i/d.
    """
    ...


# %% tags=["solution"]
def frequencies(d, base):
    """Of each pair of numbers its angle for one step: base to the
    power of -2i/d.
    """
    return base ** (-np.arange(0, d, 2) / d)


# %% tags=["check"]
lab.frequencies.check(frequencies)

# %% [markdown]
# ## 2. Waves
#
# In row $p$, columns $2i$ and $2i+1$ hold $\sin(p\,\theta_i)$ and $\cos(p\,\theta_i)$.


# %% tags=["exercise"]
def sinusoids(length, d):
    """A row for each position: sines in even columns, cosines in odd
    ones, base 10,000.
    """
    ...


# %% tags=["solution"]
def sinusoids(length, d):
    """A row for each position: sines in even columns, cosines in odd
    ones, base 10,000.
    """
    angles = np.arange(length)[:, None] * frequencies(d, 10000.0)
    waves = np.zeros((length, d))
    waves[:, 0::2] = np.sin(angles)
    waves[:, 1::2] = np.cos(angles)
    return waves


# %% tags=["check"]
lab.sinusoids.check(sinusoids)

# %% [markdown]
# How alike are two positions? Their dot product depends on how far apart they are, and not on
# where they stand:

# %%
waves = sinusoids(200, 64)
for first in (0, 50, 100):
    print(
        first,
        [
            round(float(waves[first] @ waves[first + far]), 2)
            for far in (0, 1, 5, 20)
        ],
    )

# %% [markdown]
# ## 3. Turn a point
#
# Now the other way. Two numbers are a point in a plane; turn it by an angle:
#
# $$(x, y) \mapsto (x\cos\alpha - y\sin\alpha,\; x\sin\alpha + y\cos\alpha)$$


# %% tags=["exercise"]
def turn(pair, angle):
    """Two numbers, seen as a point, turned by an angle from the first
    axis to the second.
    """
    ...


# %% tags=["solution"]
def turn(pair, angle):
    """Two numbers, seen as a point, turned by an angle from the first
    axis to the second.
    """
    x, y = pair
    return np.array(
        [
            x * np.cos(angle) - y * np.sin(angle),
            x * np.sin(angle) + y * np.cos(angle),
        ]
    )


# %% tags=["check"]
lab.turn.check(turn)

# %% [markdown]
# A sign that is easy to lose:


# %% tags=["wrong"]
def mistaken(pair, angle):
    x, y = pair
    return np.array(
        [
            x * np.cos(angle) + y * np.sin(angle),
            x * np.sin(angle) + y * np.cos(angle),
        ]
    )


try:
    lab.turn.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 4. Rotary
#
# Turn numbers $2i$ and $2i+1$ of a vector at position $p$ by $p\,\theta_i$. (Many implementations
# pair number $i$ with number $i + d/2$ instead; that is the same up to the order of the numbers.)


# %% tags=["exercise"]
def rotary(vectors, positions):
    """Numbers 2i and 2i+1 of each row, turned by its position times
    the i-th frequency.
    """
    ...


# %% tags=["solution"]
def rotary(vectors, positions):
    """Numbers 2i and 2i+1 of each row, turned by its position times
    the i-th frequency.
    """
    turned = np.array(vectors, dtype=float)
    d = turned.shape[1]
    speeds = frequencies(d, 10000.0)
    for row, position in enumerate(positions):
        for i in range(d // 2):
            pair = [2 * i, 2 * i + 1]
            turned[row, pair] = turn(
                vectors[row][pair], position * speeds[i]
            )
    return turned


# %% tags=["check"]
lab.rotary.check(rotary)

# %% [markdown]
# ## 5. Scores
#
# Queries and keys are turned before the dot product; values are not. Then the score of a pair
# depends on the two vectors and on how far apart they stand. Write the scores for a text whose
# first word stands at `start`.


# %% tags=["exercise"]
def scores(query, key, start):
    """Scaled scores of rotary attention; first query and first key
    stand at `start`.
    """
    ...


# %% tags=["solution"]
def scores(query, key, start):
    """Scaled scores of rotary attention; first query and first key
    stand at `start`.
    """
    q = rotary(query, range(start, start + len(query)))
    k = rotary(key, range(start, start + len(key)))
    return q @ k.T / np.sqrt(query.shape[1])


# %% tags=["check"]
lab.scores.check(scores)

# %% [markdown]
# ## The same text, elsewhere
#
# Move a text a thousand places to the right. What happens to the scores, with rotations and with
# added waves?

# %%
rng = np.random.default_rng(1)
query, key = rng.normal(size=(2, 6, 64))
waves = sinusoids(1006, 64)


def scores_of_sums(start):
    q, k = (
        query + waves[start : start + 6],
        key + waves[start : start + 6],
    )
    return q @ k.T / 8


for name, of in [
    ("rotary", lambda start: scores(query, key, start)),
    ("added", scores_of_sums),
]:
    change = np.abs(of(1000) - of(0)).max()
    print(f"{name:7} largest change of a score: {change:.6f}")

# %% [markdown]
# Rotated scores stay; with added waves they change, since products of words with waves are in them,
# and the waves are others there.
#
# ## An open question
#
# Your rotary scores work at position 100,000 as well as at 10. A model that was trained on texts
# of 2,000 tokens mostly does not. Which of its hands have it never seen turn that far? Compute
# `2 * np.pi / frequencies(64, 10000.0)`, the steps in a whole turn of each, and think about what
# you would change. Nobody checks this answer.
