# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: a tokenizer of your own
#
# You write byte-pair encoding in five steps, let it learn from a president's speech, and measure
# what it saves, in the language that it learned from and in others. You need this book's package
# ([how to install it](../reproduce.md#install)), Python's dictionaries and loops, and about half
# an hour. The [chapter on GPT](../models/gpt.md) says where such tokens are used.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
from collections import Counter

from llmbook.datasets import declaration, sotu
from llmbook.labs import WrongAnswer
from llmbook.labs import tokenizer as lab

words = {
    tuple("low"): 5,
    tuple("lower"): 2,
    tuple("newest"): 6,
    tuple("widest"): 3,
}

# %% [markdown]
# A text is given as its words, each a tuple of symbols, with how often it occurs. At first a
# symbol is a letter. The four words are the example of
# [Sennrich et al. 2016](https://doi.org/10.18653/v1/P16-1162), who took this way of cutting words
# from compression to translation.
#
# ## 1. Count pairs
#
# On paper first: how often does *e* stand before *s*?


# %% tags=["exercise"]
def count_pairs(words):
    """How often two symbols stand side by side: a dict from pair to
    count.
    """
    ...


# %% tags=["solution"]
def count_pairs(words):
    """How often two symbols stand side by side: a dict from pair to
    count.
    """
    pairs = Counter()
    for word, count in words.items():
        for pair in zip(word, word[1:]):
            pairs[pair] += count
    return pairs


# %% tags=["check"]
lab.count_pairs.check(count_pairs)

# %% [markdown]
# ## 2. Merge a pair
#
# Go through the word from the left. Where the pair stands, put one symbol that is both together,
# and go on after it. Hand back a tuple, since words are keys of a dictionary.


# %% tags=["exercise"]
def merge(symbols, pair):
    """The word with each occurrence of the pair, from the left, as
    one symbol: a tuple.
    """
    ...


# %% tags=["solution"]
def merge(symbols, pair):
    """The word with each occurrence of the pair, from the left, as
    one symbol: a tuple.
    """
    merged, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return tuple(merged)


# %% tags=["check"]
lab.merge.check(merge)

# %% [markdown]
# What does a check say to a wrong answer? Here the second symbol is used twice:


# %% tags=["wrong"]
def mistaken(symbols, pair):
    merged, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            merged.append(symbols[i] + symbols[i + 1])
            i += 1
        else:
            merged.append(symbols[i])
            i += 1
    return tuple(merged)


try:
    lab.merge.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 3. Which pair?
#
# The most frequent one. Ties are broken by the alphabet here, so that everybody gets the same
# tokens; Python compares tuples letter by letter.


# %% tags=["exercise"]
def best_pair(pairs):
    """The pair with the largest count; of several, the first of the
    alphabet.
    """
    ...


# %% tags=["solution"]
def best_pair(pairs):
    """The pair with the largest count; of several, the first of the
    alphabet.
    """
    return min(pairs, key=lambda pair: (-pairs[pair], pair))


# %% tags=["check"]
lab.best_pair.check(best_pair)

# %% [markdown]
# ## 4. Learn
#
# Count, choose, merge in all words, again. Stop early if there is no pair left. Use your three
# functions.


# %% tags=["exercise"]
def learn(words, merges):
    """The first `merges` pairs that byte-pair encoding merges, in
    their order.
    """
    ...


# %% tags=["solution"]
def learn(words, merges):
    """The first `merges` pairs that byte-pair encoding merges, in
    their order.
    """
    learned = []
    for _ in range(merges):
        pairs = count_pairs(words)
        if not pairs:
            break
        pair = best_pair(pairs)
        learned.append(pair)
        words = {
            merge(word, pair): count for word, count in words.items()
        }
    return learned


# %% tags=["check"]
lab.learn.check(learn)

# %%
for pair in learn(words, 4):
    print(" + ".join(pair))

# %% [markdown]
# ## 5. Encode a word
#
# *lowest* was not among the words. Which tokens should it have after ten merges? Say it first.


# %% tags=["exercise"]
def encode(word, merges):
    """The tokens of a word, a tuple: its letters, with each merge
    applied in turn.
    """
    ...


# %% tags=["solution"]
def encode(word, merges):
    """The tokens of a word, a tuple: its letters, with each merge
    applied in turn.
    """
    symbols = tuple(word)
    for pair in merges:
        symbols = merge(symbols, pair)
    return symbols


# %% tags=["check"]
lab.encode.check(encode)

# %%
print(encode("lowest", learn(words, 10)))

# %% [markdown]
# ## A real text
#
# Now your functions learn 200 merges from the address of 1962, and cut one of 2010. How many
# letters does a token stand for? (A space is put before each word, so that it is counted too.)


# %%
def words_of(text):
    return Counter(tuple(" " + word) for word in text.split())


def letters_a_token(text, merges):
    counted = words_of(text)
    letters = sum(len(word) * n for word, n in counted.items())
    tokens = sum(
        len(encode("".join(word), merges)) * n
        for word, n in counted.items()
    )
    return letters / tokens


speech = {address.year: address.text for address in sotu(since=1900)}
merges = learn(words_of(speech[1962]), 200)
print("the last five:", [a + b for a, b in merges[-5:]])
for count in (0, 25, 50, 100, 200):
    print(
        f"{count:4} merges: "
        f"{letters_a_token(speech[2010], merges[:count]):.2f} letters a token"
    )

# %% [markdown]
# The first merges save most. And in a language that was not there to learn from?

# %%
for language in ("English", "Dutch", "Spanish", "Finnish", "Hausa"):
    print(
        f"{language:8} {letters_a_token(declaration()[language], merges):.2f} "
        f"letters a token"
    )

# %% [markdown]
# All these languages are written in Latin letters, and their readers still pay for more tokens
# with the same number of letters. The [chapter on bias](../challenges/bias.md) measures it for
# fifty languages with a real tokenizer.
#
# ## An open question
#
# Your tokenizer learned from one speech. Which merges would it learn from a million web pages, and
# from the same text without spaces? Change `words_of` and see. What would you do so that five
# languages pay the same, and what would English pay for it? Nobody checks this answer.
