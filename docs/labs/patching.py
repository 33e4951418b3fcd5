# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: patching
#
# Here is a small network of two layers and four heads. It continues a text by looking for what came
# before. Which of its heads carry the answer? You find out without looking at their weights. You
# need this book's package ([how to install it](../reproduce.md#install)), the
# [lab on attention](attention-by-hand.py), and about half an hour. The chapters on
# [interpretability](../challenges/interpretability.md) and [a look inside](../challenges/inside.md)
# do the same with trained models.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import numpy as np

from llmbook.labs import WrongAnswer
from llmbook.labs import patching as lab
from llmbook.labs.patching import ANSWER, embed

HEADS = dict(lab.HEADS)
for layer, name in HEADS:
    print(f"head {name} in layer {layer}")

# %% [markdown]
# A word is a number from 0 to 7, where 0 begins each text, and `embed` makes a row of 32 numbers of
# it. The last eight, `ANSWER`, are the network's guess of the next word.
#
# ## 1. What a head says
#
# The queries are `x @ query`, and so on. The scores are not divided here.


# %% tags=["exercise"]
def say(x, query, key, value):
    """What a causal head says: softmax of the masked
    (x·query)(x·key)ᵀ, times x·value.
    """
    ...


# %% tags=["solution"]
def say(x, query, key, value):
    """What a causal head says: softmax of the masked
    (x·query)(x·key)ᵀ, times x·value.
    """
    scores = (x @ query) @ (x @ key).T
    scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = weights / weights.sum(axis=1, keepdims=True)
    return weights @ (x @ value)


# %% tags=["check"]
lab.say.check(say)

# %% [markdown]
# ## 2. The network, with a place for patches
#
# The heads of a layer read the same `x`; what they say is added to it. `patch` is a dictionary:
# what is in it is said in place of what that head would say.


# %% tags=["exercise"]
def run(words, patch):
    """The answer (8 numbers) at the last word, and a dict of what
    each head said.

    Heads of a layer read the same x, and what they say is added to
    it; what is in `patch` is said in place of what the head would
    say.
    """
    ...


# %% tags=["solution"]
def run(words, patch):
    """The answer (8 numbers) at the last word, and a dict of what
    each head said.

    Heads of a layer read the same x, and what they say is added to
    it; what is in `patch` is said in place of what the head would
    say.
    """
    x, said = embed(words), {}
    for layer in (0, 1):
        now = {
            head: patch.get(head, say(x, *HEADS[head]))
            for head in HEADS
            if head[0] == layer
        }
        x = x + sum(now.values())
        said |= now
    return x[-1, ANSWER], said


# %% tags=["check"]
lab.run.check(run)

# %%
answer, said = run([0, 3, 5, 1, 2, 3], {})
print("after 3 5 1 2 3 comes", answer.argmax(), "-", answer.round(2))

# %% [markdown]
# It saw 3 before, followed by 5, and says 5. How?
#
# ## 3. A measure


# %% tags=["exercise"]
def lead(answer, right, wrong):
    """How far the right word is ahead of the wrong one."""
    ...


# %% tags=["solution"]
def lead(answer, right, wrong):
    """How far the right word is ahead of the wrong one."""
    return answer[right] - answer[wrong]


# %% tags=["check"]
lab.lead.check(lead)

# %% [markdown]
# ## 4. Clean, broken, patched
#
# A clean text leads to the right answer, and a broken one does not. Put something of the clean run
# into the broken one: which share of the lost lead comes back?


# %% tags=["exercise"]
def restored(clean, broken, patched):
    """The share of the lost lead that comes back: 0 as in the broken
    run, 1 as in the clean.
    """
    ...


# %% tags=["solution"]
def restored(clean, broken, patched):
    """The share of the lost lead that comes back: 0 as in the broken
    run, 1 as in the clean.
    """
    return (patched - broken) / (clean - broken)


# %% tags=["check"]
lab.restored.check(restored)

# %% [markdown]
# Measured by the quotient of leads alone, a patch that does nothing would seem to do something:


# %% tags=["wrong"]
def mistaken(clean, broken, patched):
    return patched / clean


try:
    lab.restored.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 5. One head after the other


# %% tags=["exercise"]
def patch_each(clean, broken, right, wrong):
    """For each head the share restored if the broken run gets what it
    said in the clean run.
    """
    ...


# %% tags=["solution"]
def patch_each(clean, broken, right, wrong):
    """For each head the share restored if the broken run gets what it
    said in the clean run.
    """
    answer, said = run(clean, {})
    best = lead(answer, right, wrong)
    worst = lead(run(broken, {})[0], right, wrong)
    shares = {}
    for head in HEADS:
        answer, _ = run(broken, {head: said[head]})
        shares[head] = restored(best, worst, lead(answer, right, wrong))
    return shares


# %% tags=["check"]
lab.patch_each.check(patch_each)

# %% [markdown]
# ## Which head?
#
# Break the text in two ways. In the first, the word that should be found again is another one; in
# the second, what came after it is another one.

# %%
clean = [0, 3, 5, 1, 2, 3]
for what, broken, wrong in [
    ("6 in place of the first 3", [0, 6, 5, 1, 2, 3], 2),
    ("4 in place of the 5", [0, 3, 4, 1, 2, 3], 4),
]:
    shares = patch_each(clean, broken, 5, wrong)
    print(
        what,
        {
            name: round(float(share), 2)
            for (_, name), share in shares.items()
        },
    )

# %% [markdown]
# Head d restores the answer in both cases: it says it. Head a does so in the first only. It tells
# each word which word came before it; where that is the same in both texts, exchanging what it said
# changes nothing, though d could not work without it. What a patch can find depends on what was
# broken.
#
# Heads b and c restore nothing here. Would the answer be the same without them? Silence each head
# in turn:

# %%
for head in HEADS:
    answer, _ = run(clean, {head: 0 * said[head]})
    print(
        f"without {head[1]}: says {answer.argmax()}, "
        f"ahead of 2 by {lead(answer, 5, 2):.2f}"
    )

# %% [markdown]
# It would: what b and c say is not about the two words that are compared.
#
# ## An open question
#
# Add a second head like d to `HEADS`, with half its size, and silence d. Does the network still
# find its answer? What would you then say about "the head that carries it", and what would
# patching and silencing each tell you? Nobody checks this answer.
