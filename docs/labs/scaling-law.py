# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: fit a scaling law, and predict
#
# You fit a law to small models of this book and say, before you look, what larger ones reach and
# which size is best. Then you look. You need this book's package
# ([how to install it](../reproduce.md#install)), logarithms and least squares, and about half an
# hour. The [chapter on scaling laws](../models/scaling.md) explains every step.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
import numpy as np

from llmbook.labs import WrongAnswer
from llmbook.labs import scaling_law as lab

budget, parameters, tokens, losses = lab.models()
small = budget < 4e11
print(
    "budgets:",
    *(f"{each:.1e}" for each in np.unique(budget)),
    "operations",
)
print("models to fit:", small.sum(), "and to predict:", (~small).sum())

# %% [markdown]
# The models are GPTs of ten thousand to seven hundred thousand parameters. Within a budget, a
# larger one reads fewer tokens. Each was trained twice, with two seeds.
#
# ## 1. A power law
#
# If $y = c\,x^k$, then $\log y = \log c + k\log x$: a line. On paper first: what are $c$ and $k$ if
# y is 8 at x = 1 and 4 at x = 4?


# %% tags=["exercise"]
def power_law(x, y):
    """Factor and exponent of y = factor · x^exponent, by least
    squares in logarithms.
    """
    ...


# %% tags=["solution"]
def power_law(x, y):
    """Factor and exponent of y = factor · x^exponent, by least
    squares in logarithms.
    """
    slope, height = np.polyfit(np.log(x), np.log(y), 1)
    return np.exp(height), slope


# %% tags=["check"]
lab.power_law.check(power_law)

# %% [markdown]
# The best loss of each of the two smaller budgets gives a line; follow it to the third.

# %%
budgets = np.unique(budget)
lowest = np.array([losses[budget == each].min() for each in budgets])
factor, exponent = power_law(budgets[:2], lowest[:2])
print(
    f"predicted {factor * budgets[2] ** exponent:.2f}, "
    f"measured {lowest[2]:.2f}"
)

# %% [markdown]
# Two points always lie on a line, and a pure power law ends at a loss of 0, which no text has. So
# let us do better.
#
# ## 2. A law of two sizes
#
# [Hoffmann et al. 2022](https://arxiv.org/abs/2203.15556) add what is lost because the model is
# small and what is lost because it has read little to a floor:
#
# $$L(N, D) = E + \frac{A}{N^{a}} + \frac{B}{D^{b}}$$


# %% tags=["exercise"]
def loss(law, parameters, tokens):
    """The loss floor + A / parameters^a + B / tokens^b, where law =
    (floor, A, B, a, b).
    """
    ...


# %% tags=["solution"]
def loss(law, parameters, tokens):
    """The loss floor + A / parameters^a + B / tokens^b, where law =
    (floor, A, B, a, b).
    """
    floor, A, B, a, b = law
    return floor + A / parameters**a + B / tokens**b


# %% tags=["check"]
lab.loss.check(loss)

# %% [markdown]
# ## 3. Floor, A and B
#
# If the exponents were known, the rest would be a linear problem: three columns (ones,
# $N^{-a}$, $D^{-b}$), and `np.linalg.lstsq`.


# %% tags=["exercise"]
def coefficients(parameters, tokens, losses, a, b):
    """Floor, A and B by least squares, for given exponents a and b."""
    ...


# %% tags=["solution"]
def coefficients(parameters, tokens, losses, a, b):
    """Floor, A and B by least squares, for given exponents a and b."""
    columns = np.stack(
        [np.ones_like(parameters), parameters**-a, tokens**-b], axis=1
    )
    return np.linalg.lstsq(columns, losses, rcond=None)[0]


# %% tags=["check"]
lab.coefficients.check(coefficients)

# %% [markdown]
# ## 4. The exponents
#
# Try every pair from a grid, and keep the one with the smallest sum of squared errors.


# %% tags=["exercise"]
def fit(parameters, tokens, losses, grid):
    """The law (floor, A, B, a, b), a and b of the grid, with the
    least sum of squared errors.
    """
    ...


# %% tags=["solution"]
def fit(parameters, tokens, losses, grid):
    """The law (floor, A, B, a, b), a and b of the grid, with the
    least sum of squared errors.
    """
    best, found = np.inf, None
    for a in grid:
        for b in grid:
            law = (
                *coefficients(parameters, tokens, losses, a, b),
                a,
                b,
            )
            error = (
                (loss(law, parameters, tokens) - losses) ** 2
            ).sum()
            if error < best:
                best, found = error, law
    return found


# %% tags=["check"]
lab.fit.check(fit)

# %% [markdown]
# What if both exponents are taken to be the same?


# %% tags=["wrong"]
def mistaken(parameters, tokens, losses, grid):
    best, found = np.inf, None
    for a in grid:
        for b in [a]:
            law = (
                *coefficients(parameters, tokens, losses, a, b),
                a,
                b,
            )
            error = (
                (loss(law, parameters, tokens) - losses) ** 2
            ).sum()
            if error < best:
                best, found = error, law
    return found


try:
    lab.fit.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %% [markdown]
# ## 5. The best size
#
# A budget of $C$ operations pays for $D = C / 6N$ tokens. Which size has the smallest loss?


# %% tags=["exercise"]
def best_size(law, compute, sizes):
    """Of some sizes the one with the smallest loss, if each reads
    compute / (6 · size) tokens.
    """
    ...


# %% tags=["solution"]
def best_size(law, compute, sizes):
    """Of some sizes the one with the smallest loss, if each reads
    compute / (6 · size) tokens.
    """
    tokens = compute / (6 * sizes)
    losses = loss(law, sizes, tokens)
    return sizes[np.argmin(losses)]


# %% tags=["check"]
lab.best_size.check(best_size)

# %% [markdown]
# ## Predict
#
# Fit on the two smaller budgets only. The third is four times as large as any that the law has
# seen.

# %%
law = fit(
    parameters[small],
    tokens[small],
    losses[small],
    np.arange(0.05, 1.2, 0.05),
)
floor, A, B, a, b = law
print(f"L = {floor:.2f} + {A:.0f} / N^{a:.2f} + {B:.0f} / D^{b:.2f}")

for size in np.unique(parameters[~small]):
    here = ~small & (parameters == size)
    told = loss(law, parameters[here], tokens[here]).mean()
    print(
        f"{size:8,.0f} parameters: predicted "
        f"{told:.2f}, measured {losses[here].mean():.2f}"
    )

error = np.abs(loss(law, parameters, tokens) - losses)
print(
    f"mean error: {error[small].mean():.3f} where it "
    f"was fitted, {error[~small].mean():.3f} beyond"
)

# %% [markdown]
# Each prediction is within a tenth of a nat. The three largest models, which read least, do worse
# than the law says. And the size?

# %%
sizes = np.geomspace(5e3, 1e6, 200)
for each in budgets:
    here = budget == each
    measured = parameters[here][np.argmin(losses[here])]
    print(
        f"{each:.1e}: best by the law "
        f"{best_size(law, each, sizes):8,.0f}, "
        f"best that was tried {measured:8,.0f}"
    )

# %% [markdown]
# ## An open question
#
# Leave one model out of the fit and see how far the law moves: which of its five numbers can you
# trust? What would you ask for before you spend a million on a model ten thousand times as large?
# Nobody checks this answer.
