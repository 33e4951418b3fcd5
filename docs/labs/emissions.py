# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Lab: energy and emissions
#
# You compute what GPT-3's training took in two ways, when use overtakes training, and how far the
# answer moves with what nobody has told us. You need this book's package
# ([how to install it](../reproduce.md#install)), nothing but arithmetic, and about half an hour.
# The [chapter on carbon](../challenges/carbon.md) has the sources and the boundaries.
#
# Put your code in place of the dots, run the cell, then run the check below it. A check tries your
# function on several inputs and says what went wrong. Solutions are folded; the empty notebook has
# none.

# %%
from llmbook.emissions import GRIDS
from llmbook.labs import WrongAnswer
from llmbook.labs import emissions as lab

# %% [markdown]
# ## 1. Energy
#
# Watts times hours, times the building's PUE: what the whole building draws for each watt that the
# computers get. On paper first: 64 devices of 300 watts for ten hours, with a PUE of 1.1?


# %% tags=["exercise"]
def energy(devices, watts, hours, pue):
    """Kilowatt-hours of devices that each draw `watts` for `hours`,
    and of the building.
    """
    ...


# %% tags=["solution"]
def energy(devices, watts, hours, pue):
    """Kilowatt-hours of devices that each draw `watts` for `hours`,
    and of the building.
    """
    return devices * watts * hours * pue / 1000


# %% tags=["check"]
lab.energy.check(energy)

# %% [markdown]
# ## 2. Carbon


# %% tags=["exercise"]
def carbon(kwh, grams):
    """Kilograms of CO2 equivalent of so many kilowatt-hours, at so
    many grams for each.
    """
    ...


# %% tags=["solution"]
def carbon(kwh, grams):
    """Kilograms of CO2 equivalent of so many kilowatt-hours, at so
    many grams for each.
    """
    return kwh * grams / 1000


# %% tags=["check"]
lab.carbon.check(carbon)

# %% [markdown]
# [Patterson et al. 2021](https://arxiv.org/abs/2104.10350) print for GPT-3: 1,287 MWh and 552 t, on
# 10,000 V100 that drew 330 watts for 14.8 days, with a PUE of 1.10 and 429 g a kilowatt-hour.

# %%
kwh = energy(10_000, 330, 14.8 * 24, 1.10)
print(f"{kwh / 1000:,.0f} MWh, {carbon(kwh, 429) / 1000:.0f} t")
for name in ("Norway", "France", "United States", "Poland"):
    print(
        f"  in {name}: {carbon(kwh, GRIDS[name].g_per_kwh) / 1000:4.0f} t"
    )

# %% [markdown]
# ## 3. From operations
#
# Where nobody says how long it took, operations tell: six for each parameter and token. GPT-3 has
# 175 billion parameters and read 300 billion tokens. A V100 does $125 \cdot 10^{12}$ operations a
# second at its best.


# %% tags=["exercise"]
def device_hours(operations, peak, share):
    """Hours of one device that reaches a share of its peak
    (operations a second).
    """
    ...


# %% tags=["solution"]
def device_hours(operations, peak, share):
    """Hours of one device that reaches a share of its peak
    (operations a second).
    """
    return operations / (peak * share) / 3600


# %% tags=["check"]
lab.device_hours.check(device_hours)

# %%
operations = 6 * 175e9 * 300e9
for share in (0.1, 0.2, 0.4):
    hours = device_hours(operations, 125e12, share)
    print(
        f"{share:.0%} of the peak: "
        f"{hours / 10_000 / 24:5.1f} days on 10,000 devices, "
        f"{energy(1, 330, hours, 1.10) / 1000:5,.0f} MWh"
    )

# %% [markdown]
# The printed 14.8 days are those of about a fifth of the peak. Who does not know that share knows
# the energy to a factor only.
#
# ## 4. Training against use
#
# Google reports 0.24 watt-hours for the median prompt of its Gemini apps
# ([Elsworth et al. 2025](https://arxiv.org/abs/2508.15734)). If GPT-3 took as much for an answer,
# after how many would use overtake training, and after how many days, with 100 million a day?


# %% tags=["exercise"]
def break_even(training_kwh, answer_wh):
    """How many answers of `answer_wh` watt-hours take as much energy
    as the training.
    """
    ...


# %% tags=["solution"]
def break_even(training_kwh, answer_wh):
    """How many answers of `answer_wh` watt-hours take as much energy
    as the training.
    """
    return training_kwh * 1000 / answer_wh


# %% tags=["check"]
lab.break_even.check(break_even)

# %% [markdown]
# Kilowatt-hours and watt-hours:


# %% tags=["wrong"]
def mistaken(training_kwh, answer_wh):
    return training_kwh / answer_wh


try:
    lab.break_even.check(mistaken)
except WrongAnswer as reason:
    print(reason)

# %%
for wh in (0.1, 0.24, 3.0):
    answers = break_even(kwh, wh)
    print(
        f"{wh:4} Wh an answer: {answers / 1e9:4.1f} billion answers, "
        f"{answers / 100e6:3.0f} days"
    )

# %% [markdown]
# ## 5. What is not known
#
# Most sentences about energy hold one number where there is a range. Multiply ranges.


# %% tags=["exercise"]
def bounds(factors, divisors):
    """Lowest and highest of factors divided by divisors, each given
    as (lowest, highest).
    """
    ...


# %% tags=["solution"]
def bounds(factors, divisors):
    """Lowest and highest of factors divided by divisors, each given
    as (lowest, highest).
    """
    low = high = 1.0
    for least, most in factors:
        low *= least
        high *= most
    for least, most in divisors:
        low /= most
        high /= least
    return low, high


# %% tags=["check"]
lab.bounds.check(bounds)

# %% [markdown]
# How much carbon has an answer? Somewhere from 0.1 to 3 Wh, in a building with a PUE of 1.1 to 1.5,
# with electricity of 30 to 700 g a kilowatt-hour:

# %%
low, high = bounds([(0.1, 3.0), (1.1, 1.5), (30, 700)], [(1000, 1000)])
print(f"from {low:.4f} to {high:.2f} g: a factor of {high / low:,.0f}")
for name, without in [
    ("energy of an answer", [(1.1, 1.5), (30, 700)]),
    ("PUE", [(0.1, 3.0), (30, 700)]),
    ("grid", [(0.1, 3.0), (1.1, 1.5)]),
]:
    low, high = bounds(without, [])
    print(f"  if the {name} were known: a factor of {high / low:,.0f}")

# %% [markdown]
# So ask first for the energy of an answer and for the grid. To know the PUE would hardly help.
#
# ## An open question
#
# A report says: *an answer takes as much as a light bulb in ten seconds*. Which of your five
# functions would you need to check it, and which three questions would you ask its author? Find
# such a sentence and try. Nobody checks this answer.
