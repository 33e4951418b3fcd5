"""Lab: energy and carbon of training and of use, with what is not known."""

from llmbook.labs.grader import exercise


@exercise(
    lambda rng: [
        (1, 1000, 1, 1.0),
        (10000, 330, 355.2, 1.1),
        (8, 700, 24, 1.25),
        (0, 400, 10, 1.5),
    ],
    (" * pue", "", "the building is missing: multiply by PUE"),
    ("* pue", "/ pue", "PUE is above 1: the building adds to what the devices take"),
    (" / 1000", "", "these are watt-hours: a kilowatt-hour is a thousand"),
    ("devices * watts", "watts", "this is one device"),
    ("* hours", "", "this is a power: multiply by the hours"),
    ("/ 1000", "/ 1e6", "these are megawatt-hours"),
    right="power times time, with the building, in kWh",
)
def energy(devices, watts, hours, pue):
    """Kilowatt-hours of devices that each draw `watts` for `hours`,
    and of the building.
    """
    return devices * watts * hours * pue / 1000


@exercise(
    lambda rng: [(1000, 56), (1287000, 429), (0, 471), (2.5, 700)],
    ("kwh * grams / 1000", "kwh * grams", "these are grams: hand back kilograms"),
    ("kwh * grams / 1000", "kwh / grams", "multiply: each kilowatt-hour has so many grams"),
    ("/ 1000", "/ 1e6", "these are tonnes: hand back kilograms"),
    (
        "kwh * grams / 1000",
        "kwh * 1000 * grams",
        "kilowatt-hours are what the grams are for: leave them",
    ),
    right="grams for each kilowatt-hour, in kilograms",
)
def carbon(kwh, grams):
    """Kilograms of CO2 equivalent of so many kilowatt-hours, at so
    many grams for each.
    """
    return kwh * grams / 1000


@exercise(
    lambda rng: [(3.14e23, 125e12, 0.2), (6e18, 1e15, 0.4), (1e15, 1e12, 1.0)],
    ("(peak * share)", "peak", "no device reaches its peak: it does a share of it"),
    ("(peak * share)", "peak * share", "divide by both: a share below 1 makes it longer"),
    ("/ 3600", "", "these are seconds"),
    ("/ 3600", "/ 60", "these are minutes"),
    right="operations divided by what a device does in an hour",
)
def device_hours(operations, peak, share):
    """Hours of one device that reaches a share of its peak
    (operations a second).
    """
    return operations / (peak * share) / 3600


@exercise(
    lambda rng: [(1287000, 0.3), (1000, 1), (4e5, 0.0024)],
    (
        "* 1000",
        "",
        "kilowatt-hours are divided by watt-hours: bring them together",
    ),
    ("* 1000", "/ 1000", "a kilowatt-hour is a thousand watt-hours, so multiply"),
    (
        "training_kwh * 1000 / answer_wh",
        "answer_wh / (training_kwh * 1000)",
        "upside down: how many answers, not which share",
    ),
    ("* 1000", "* 3600", "3600 joules are a watt-hour; watt-hours in a kilowatt-hour are 1000"),
    right="so many answers take as much as training did",
)
def break_even(training_kwh, answer_wh):
    """How many answers of `answer_wh` watt-hours take as much energy
    as the training.
    """
    return training_kwh * 1000 / answer_wh


@exercise(
    lambda rng: [
        ([(1, 2), (3, 5)], []),
        ([(1, 2)], [(4, 5)]),
        ([], []),
        ([(10, 20), (0.5, 2)], [(2, 4), (0.1, 0.3)]),
    ],
    ("low /= most", "low /= least", "the smallest result has the largest divisor"),
    ("high /= least", "high /= most", "the largest result has the smallest divisor"),
    ("low *= least", "low *= most", "the smallest result has the smallest factors"),
    ("high *= most", "high *= least", "the largest result has the largest factors"),
    (
        "    for least, most in divisors:\n        low /= most\n        high /= least\n",
        "",
        "the divisors are not used",
    ),
    (
        "low /= most\n        high /= least",
        "low /= least\n        high /= most",
        "divisors work the other way: the largest makes the smallest result",
    ),
    right="the smallest and the largest that all of it allows",
)
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
