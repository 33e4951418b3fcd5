# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: fairness by group
#
# You measure a score that courts used, group by group, try to make it fair, and meet the reason
# why that has more than one answer. You need this book's package
# ([how to install it](../reproduce.md#install)), boolean arrays in NumPy, and about half an hour.
# The [chapter on fairness](../challenges/fairness.md) has the dispute and the intervals.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import numpy as np

from llmbook.datasets import compas
from llmbook.labs import WrongAnswer
from llmbook.labs import group_fairness as lab

people = compas()
labels, scores, groups = (
    people["again"],
    people["decile"],
    people["race"],
)
print(
    f"{len(labels):,} people, {labels.mean():.0%} "
    f"charged again, {(scores >= 5).mean():.0%} flagged"
)

# %% [markdown]
# The label is whether a new charge is on record within two years. It is not whether somebody did
# something: who is watched more is charged more. Flagged is whoever scores 5 or more of 10.
#
# ## 1. Wrongly flagged
#
# On paper first: of ten people, four were charged again. Three of the four were flagged, and three
# others. What is the false positive rate?


# %% tags=["exercise"]
def false_positive_rate(labels, flagged):
    """Of those whose label is False, the share that was flagged."""
    ...


# %% tags=["solution"]
def false_positive_rate(labels, flagged):
    """Of those whose label is False, the share that was flagged."""
    return flagged[~labels].mean()


# %% tags=["check"]
lab.false_positive_rate.check(false_positive_rate)

# %% [markdown]
# ## 2. Four rates
#
# The same people can be divided by four different numbers. Mind which people stand below the line.


# %% tags=["exercise"]
def rates(labels, flagged):
    """Four rates by name: "base", "FPR", "FNR" and "PPV".

    The base rate is the share with label True; FNR is the share of
    those that was missed; PPV is the share of the flagged whose label
    is True.
    """
    ...


# %% tags=["solution"]
def rates(labels, flagged):
    """Four rates by name: "base", "FPR", "FNR" and "PPV".

    The base rate is the share with label True; FNR is the share of
    those that was missed; PPV is the share of the flagged whose label
    is True.
    """
    return {
        "base": labels.mean(),
        "FPR": false_positive_rate(labels, flagged),
        "FNR": (~flagged)[labels].mean(),
        "PPV": labels[flagged].mean(),
    }


# %% tags=["check"]
lab.rates.check(rates)

# %% [markdown]
# Two questions that are often confused: of the flagged, how many were charged again; and of those
# charged again, how many were flagged?


# %% tags=["wrong"]
def mistaken(labels, flagged):
    return {
        "base": labels.mean(),
        "FPR": false_positive_rate(labels, flagged),
        "FNR": (~flagged)[labels].mean(),
        "PPV": flagged[labels].mean(),
    }


try:
    lab.rates.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 3. By group


# %% tags=["exercise"]
def by_group(labels, flagged, groups):
    """A dict from each group to the rates of its people."""
    ...


# %% tags=["solution"]
def by_group(labels, flagged, groups):
    """A dict from each group to the rates of its people."""
    found = {}
    for group in np.unique(groups).tolist():
        here = groups == group
        found[group] = rates(labels[here], flagged[here])
    return found


# %% tags=["check"]
lab.by_group.check(by_group)

# %%
two = np.isin(groups, ["African-American", "Caucasian"])
found = by_group(labels[two], scores[two] >= 5, groups[two])
for group, rate in found.items():
    print(
        f"{group:17}",
        ", ".join(
            f"{name} {value:.2f}" for name, value in rate.items()
        ),
    )

# %% [markdown]
# Both sides of the dispute are in this table. A flag means about the same for both groups (PPV).
# And of those who were not charged again, nearly twice as many were flagged in one group (FPR).
#
# ## 4. Another threshold
#
# Could each group have its own, so that the false positive rates are alike?


# %% tags=["exercise"]
def threshold(labels, scores, most):
    """The lowest of 1 to 11 such that flagging from there on has a
    false positive rate <= most.
    """
    ...


# %% tags=["solution"]
def threshold(labels, scores, most):
    """The lowest of 1 to 11 such that flagging from there on has a
    false positive rate <= most.
    """
    for least in range(1, 12):
        if false_positive_rate(labels, scores >= least) <= most:
            return least


# %% tags=["check"]
lab.threshold.check(threshold)

# %%
for group in found:
    here = groups == group
    least = threshold(labels[here], scores[here], 0.25)
    rate = rates(labels[here], scores[here] >= least)
    print(
        f"{group:17} from {least}:",
        ", ".join(
            f"{name} {value:.2f}" for name, value in rate.items()
        ),
    )

# %% [markdown]
# The false positive rates are now nearer to each other, and the same score of 5 is a flag for one
# person and none for another.
#
# ## 5. Why not all at once?
#
# [Chouldechova 2017](https://arxiv.org/abs/1703.00056) writes the four rates as one equation:
#
# $$\mathrm{FPR} = \frac{p}{1-p}\cdot\frac{1-\mathrm{PPV}}{\mathrm{PPV}}\cdot(1-\mathrm{FNR})$$
#
# where $p$ is the base rate.


# %% tags=["exercise"]
def implied(base, fnr, ppv):
    """The false positive rate that follows: base/(1 - base) · (1 -
    ppv)/ppv · (1 - fnr).
    """
    ...


# %% tags=["solution"]
def implied(base, fnr, ppv):
    """The false positive rate that follows: base/(1 - base) · (1 -
    ppv)/ppv · (1 - fnr).
    """
    return base / (1 - base) * (1 - ppv) / ppv * (1 - fnr)


# %% tags=["check"]
lab.implied.check(implied)

# %%
for group, rate in found.items():
    told = implied(rate["base"], rate["FNR"], rate["PPV"])
    print(f"{group:17} measured {rate['FPR']:.3f}, implied {told:.3f}")

# %% [markdown]
# What would have to happen if a flag meant the same for both (PPV of 0.6) and as many were missed
# (FNR of 0.4)?

# %%
for group, rate in found.items():
    told = implied(rate["base"], 0.4, 0.6)
    print(
        f"{group:17} base rate {rate['base']:.2f}: FPR must be {told:.2f}"
    )

# %% [markdown]
# With different base rates, equal PPV and equal FNR leave no room for equal FPR, unless nobody is
# flagged wrongly or everybody is missed. What can be chosen is which of them to give up, and for
# whom.
#
# ## An open question
#
# The base rates are of charges, not of deeds. If one group is watched twice as closely, which of
# your four numbers can you still trust, and what would you have to know to correct them? Nobody
# checks this answer.
