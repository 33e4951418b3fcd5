# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: word vectors
#
# You look for neighbours of words, solve analogies with vectors that were trained on billions of
# words, and then make vectors of your own by counting. You need this book's package
# ([how to install it](../reproduce.md#install)), matrix products in NumPy, and about half an hour.
# The [chapter on word embeddings](../evolution/word-embeddings.md) explains every step.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import numpy as np

from llmbook.datasets import analogy_questions, glove, sotu
from llmbook.labs import WrongAnswer
from llmbook.labs import word_vectors as lab

words, vectors = glove()
number = {word: place for place, word in enumerate(words)}
print(vectors.shape)

# %% [markdown]
# ## 1. Length 1
#
# A word is a row of the table. Divide each row by its length; then the dot product of two rows is
# the cosine of the angle between them. On paper first: what becomes of the row 3, 4?


# %% tags=["exercise"]
def normalise(vectors):
    """Each row divided by its length."""
    ...


# %% tags=["solution"]
def normalise(vectors):
    """Each row divided by its length."""
    return vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True))


# %% tags=["check"]
lab.normalise.check(normalise)

# %% [markdown]
# ## 2. Neighbours
#
# The larger the cosine, the nearer. Each word is its own nearest neighbour, so leave it out.


# %% tags=["exercise"]
def nearest(unit, word, k):
    """The numbers of the k rows with the largest cosine to row
    `word`, itself left out.
    """
    ...


# %% tags=["solution"]
def nearest(unit, word, k):
    """The numbers of the k rows with the largest cosine to row
    `word`, itself left out.
    """
    cosines = unit @ unit[word]
    cosines[word] = -np.inf
    return np.argsort(-cosines)[:k]


# %% tags=["check"]
lab.nearest.check(nearest)

# %%
unit = normalise(vectors)
for word in ("king", "monday", "bank"):
    print(
        word,
        "-",
        ", ".join(words[i] for i in nearest(unit, number[word], 5)),
    )

# %% [markdown]
# ## 3. Analogies
#
# *Man is to king as woman is to …*: go the way from *man* to *king*, but start at *woman*. The
# words of the question do not count as answers.


# %% tags=["exercise"]
def analogy(unit, a, b, c):
    """The number of the word that is to c as b is to a."""
    ...


# %% tags=["solution"]
def analogy(unit, a, b, c):
    """The number of the word that is to c as b is to a."""
    cosines = unit @ (unit[b] - unit[a] + unit[c])
    cosines[[a, b, c]] = -np.inf
    return np.argmax(cosines)


# %% tags=["check"]
lab.analogy.check(analogy)

# %% [markdown]
# That last rule matters. What happens without it?


# %% tags=["wrong"]
def mistaken(unit, a, b, c):
    cosines = unit @ (unit[b] - unit[a] + unit[c])
    cosines[[]] = -np.inf
    return np.argmax(cosines)


try:
    lab.analogy.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %%
questions = analogy_questions()["capital-common-countries"]
right = right_without = 0
for a, b, c, d in questions:
    target = unit[number[b]] - unit[number[a]] + unit[number[c]]
    right += words[analogy(unit, number[a], number[b], number[c])] == d
    right_without += words[np.argmax(unit @ target)] == d
print(
    f"right: {right / len(questions):.0%}; if the three words count: "
    f"{right_without / len(questions):.0%} of {len(questions)}"
)

# %% [markdown]
# ## 4. Count neighbours yourself
#
# Where do such vectors come from? From company. Count, for each pair of words, how often they
# stand near each other.


# %% tags=["exercise"]
def cooccurrences(ids, vocab_size, window):
    """How often the word of a column stands at most `window` places
    from that of a row.
    """
    ...


# %% tags=["solution"]
def cooccurrences(ids, vocab_size, window):
    """How often the word of a column stands at most `window` places
    from that of a row.
    """
    counts = np.zeros((vocab_size, vocab_size))
    for distance in range(1, window + 1):
        for left, right in zip(ids, ids[distance:]):
            counts[left, right] += 1
            counts[right, left] += 1
    return counts


# %% tags=["check"]
lab.cooccurrences.check(cooccurrences)

# %% [markdown]
# ## 5. More than chance
#
# A frequent word stands near everything. If words were thrown in by chance, a pair would be met
# row sum times column sum, divided by the sum of the table. Take the logarithm of the count
# divided by that, and 0 where it is negative:
#
# $$\mathrm{PPMI}_{ij} = \max\left(0, \log\frac{c_{ij}\,\sum c}{c_{i\cdot}\;c_{\cdot j}}\right)$$


# %% tags=["exercise"]
def ppmi(counts):
    """The positive pointwise mutual information of each row's word
    with each column's.
    """
    ...


# %% tags=["solution"]
def ppmi(counts):
    """The positive pointwise mutual information of each row's word
    with each column's.
    """
    rows = counts.sum(axis=1, keepdims=True)
    columns = counts.sum(axis=0, keepdims=True)
    expected = rows * columns / counts.sum()
    with np.errstate(divide="ignore"):
        return np.maximum(0, np.log(counts / expected))


# %% tags=["check"]
lab.ppmi.check(ppmi)

# %% [markdown]
# ## Your own vectors
#
# Your two functions read fifty years of addresses to Congress; a singular value decomposition
# keeps the fifty directions that say most. Whose neighbours make sense, and whose do not?

# %%
import re
from collections import Counter

text = " ".join(address.text.lower() for address in sotu(since=1970))
read = re.findall(r"[a-z]+", text)
known = [word for word, _ in Counter(read).most_common(1500)]
place = {word: i for i, word in enumerate(known)}
ids = [place[word] for word in read if word in place]

left, strength, _ = np.linalg.svd(
    ppmi(cooccurrences(ids, len(known), 4))
)
mine = normalise(left[:, :50] * np.sqrt(strength[:50]))
for word in ("war", "tax", "children", "oil"):
    print(
        word,
        "-",
        ", ".join(known[i] for i in nearest(mine, place[word], 5)),
    )

# %% [markdown]
# No network and no gradient: counts, a logarithm and a decomposition.
#
# ## An open question
#
# How would you find out whether your vectors are better with a window of 2 or of 10, without
# looking at lists that please you? `llmbook.datasets.word_similarities` has pairs that people have
# judged. Which of its words does your text not know, and is the comparison then still fair? Nobody
# checks this answer.
