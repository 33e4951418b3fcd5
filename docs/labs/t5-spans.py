# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: T5's spans
#
# You hide stretches of a text behind sentinels, as T5's training did, put them back, and count what
# the trick saves. You need this book's package ([how to install it](../reproduce.md#install)),
# Python's lists, and about half an hour. The [chapter on T5](../models/t5.md) explains every step.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import textwrap

import numpy as np

from llmbook.labs import WrongAnswer
from llmbook.labs import t5_spans as lab

words = "Thank you for inviting me to your party last week".split()
spans = [(2, 4), (8, 9)]
print([words[start:end] for start, end in spans])

# %% [markdown]
# The sentence and the two spans are those of the figure in
# [Raffel et al. 2020](https://arxiv.org/abs/1910.10683). A span is its first word and the first
# word after it, counted from 0.
#
# ## 1. What is read


# %% tags=["exercise"]
def source_of(tokens, spans):
    """What is read: in place of the spans, which are (start, end),
    stand "<0>", "<1>" and so on.
    """
    ...


# %% tags=["solution"]
def source_of(tokens, spans):
    """What is read: in place of the spans, which are (start, end),
    stand "<0>", "<1>" and so on.
    """
    source, place = [], 0
    for number, (start, end) in enumerate(spans):
        sentinel = f"<{number}>"
        source += tokens[place:start] + [sentinel]
        place = end
    return source + tokens[place:]


# %% tags=["check"]
lab.source_of.check(source_of)

# %%
print(" ".join(source_of(words, spans)))

# %% [markdown]
# ## 2. What is asked for
#
# Only what is missing, each stretch behind its sentinel. One more sentinel says that nothing
# follows.


# %% tags=["exercise"]
def target_of(tokens, spans):
    """What is asked for: each sentinel and what it hid, and at the
    end the next sentinel.
    """
    ...


# %% tags=["solution"]
def target_of(tokens, spans):
    """What is asked for: each sentinel and what it hid, and at the
    end the next sentinel.
    """
    target = []
    for number, (start, end) in enumerate(spans):
        sentinel = f"<{number}>"
        target += [sentinel] + tokens[start:end]
    return target + [f"<{len(spans)}>"]


# %% tags=["check"]
lab.target_of.check(target_of)

# %%
print(" ".join(target_of(words, spans)))

# %% [markdown]
# Without sentinels in the target, nobody could say where a word belongs:


# %% tags=["wrong"]
def mistaken(tokens, spans):
    target = []
    for number, (start, end) in enumerate(spans):
        sentinel = f"<{number}>"
        target += tokens[start:end]
    return target + [f"<{len(spans)}>"]


try:
    lab.target_of.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 3. Put it back
#
# If source and target together are the text, nothing has been lost. A sentinel is a token that
# begins with `<`.


# %% tags=["exercise"]
def restore(source, target):
    """The text: each sentinel of the source replaced by the words
    behind it in the target.
    """
    ...


# %% tags=["solution"]
def restore(source, target):
    """The text: each sentinel of the source replaced by the words
    behind it in the target.
    """
    hidden = {}
    for token in target:
        if token.startswith("<"):
            sentinel = token
            hidden[sentinel] = []
        else:
            hidden[sentinel].append(token)
    restored = []
    for token in source:
        restored += hidden.get(token, [token])
    return restored


# %% tags=["check"]
lab.restore.check(restore)

# %% [markdown]
# ## 4. How much to hide
#
# T5 hides 15 % of a text in spans of three words on average. Round both numbers; each is at least
# one. On paper first: how many words and spans for a text of 100?


# %% tags=["exercise"]
def budget(length, rate, mean):
    """How many words to hide (rate), in how many spans (of that mean
    length); each at least 1.
    """
    ...


# %% tags=["solution"]
def budget(length, rate, mean):
    """How many words to hide (rate), in how many spans (of that mean
    length); each at least 1.
    """
    hidden = max(1, round(length * rate))
    return hidden, max(1, round(hidden / mean))


# %% tags=["check"]
lab.budget.check(budget)

# %% [markdown]
# ## 5. Where
#
# Kept and hidden stretches take turns, and a kept one comes first.


# %% tags=["exercise"]
def place_spans(kept, hidden):
    """The spans (start, end), if first kept[0] words stay, then
    hidden[0] are hidden, and so on.
    """
    ...


# %% tags=["solution"]
def place_spans(kept, hidden):
    """The spans (start, end), if first kept[0] words stay, then
    hidden[0] are hidden, and so on.
    """
    spans, place = [], 0
    for stay, hide in zip(kept, hidden):
        start = place + stay
        spans.append((start, start + hide))
        place = start + hide
    return spans


# %% tags=["check"]
lab.place_spans.check(place_spans)

# %% [markdown]
# ## A real text
#
# `lab.draw` cuts hidden and kept words into random pieces with your two functions. Here is the
# start of an address, hidden and put back.

# %%
from llmbook.datasets import sotu

text = sotu(since=2015)[0].text.split()
spans = lab.draw(np.random.default_rng(0), 40)
read, written = source_of(text[:40], spans), target_of(text[:40], spans)
print(textwrap.fill(" ".join(read), 64), "\n")
print(" ".join(written), "\n")
print("the same again:", restore(read, written) == text[:40])

# %% [markdown]
# Now 512 words, with several mean lengths. How long are source and target? (The pieces are random,
# the lengths are not.)

# %%
for mean in (1.0, 2.0, 3.0, 5.0, 10.0):
    spans = lab.draw(np.random.default_rng(0), 512, mean=mean)
    read, written = (
        source_of(text[:512], spans),
        target_of(text[:512], spans),
    )
    print(
        f"spans of {mean:4}: reads {len(read)}, writes {len(written)}, "
        f"together {len(read) + len(written)}"
    )

# %% [markdown]
# A model that has to write the whole text back would write 512. With spans of three it writes a
# fifth of that, and reads less as well, since a span is one sentinel.
#
# ## An open question
#
# Longer spans are cheaper still. What do they ask of the model that single words do not, and what
# do single words ask that long spans do not? Hide spans of ten in a text that you know, and try to
# fill them. Nobody checks this answer.
