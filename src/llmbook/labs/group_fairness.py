"""Lab: error rates by group, calibration, and why they cannot all be equal."""

import numpy as np

from llmbook.labs.grader import exercise

_Y = np.array([1, 1, 1, 0, 0, 0, 0, 1], dtype=bool)
_F = np.array([1, 1, 0, 1, 0, 0, 0, 1], dtype=bool)


def _people(rng, n=60):
    labels = rng.random(n) < 0.45
    scores = rng.integers(1, 11, n)
    return labels, scores, rng.choice(["a", "b"], n)


def _flags(rng):
    labels, scores, _ = _people(rng)
    return labels, scores > 4


@exercise(
    lambda rng: [(_Y, _F), _flags(rng), _flags(rng)],
    (
        "flagged[~labels].mean()",
        "(flagged & ~labels).mean()",
        "divided by all people: of those with label False, which share was flagged?",
    ),
    (
        "flagged[~labels].mean()",
        "(~labels)[flagged].mean()",
        "this is the share of wrong flags: take the share of those with label False",
    ),
    (
        "flagged[~labels].mean()",
        "flagged[labels].mean()",
        "these are rightly flagged: take those with label False",
    ),
    ("flagged[~labels].mean()", "(flagged & ~labels).sum()", "this is a count: take the share"),
    (
        "flagged[~labels].mean()",
        "(~flagged)[~labels].mean()",
        "this is the share that was rightly left alone",
    ),
    right="of those with label False, the share that was flagged",
)
def false_positive_rate(labels, flagged):
    """Of those whose label is False, the share that was flagged."""
    return flagged[~labels].mean()


@exercise(
    lambda rng: [(_Y, _F), _flags(rng), _flags(rng)],
    (
        '"base": labels.mean()',
        '"base": flagged.mean()',
        "the base rate is that of the labels, not of the flags",
    ),
    (
        "(~flagged)[labels].mean()",
        "flagged[labels].mean()",
        "FNR counts those who were missed, not those who were found",
    ),
    (
        "(~flagged)[labels].mean()",
        "labels[~flagged].mean()",
        "FNR divides by those with label True, not by those who were not flagged",
    ),
    (
        "labels[flagged].mean()",
        "flagged[labels].mean()",
        "PPV divides by the flagged, not by those with label True",
    ),
    (
        "labels[flagged].mean()",
        "(labels == flagged).mean()",
        "this is the accuracy: PPV asks the flagged only",
    ),
    right="four rates, each with its own people below the line",
)
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


def _grouped(rng):
    labels, scores, groups = _people(rng)
    return labels, scores > 5, groups


@exercise(
    lambda rng: [_grouped(rng), _grouped(rng), (_Y, _F, np.array(["x"] * 8))],
    (
        "rates(labels[here], flagged[here])",
        "rates(labels, flagged)",
        "every group has the rates of all people",
    ),
    (
        "rates(labels[here], flagged[here])",
        "rates(labels[here], labels[here])",
        "the flags are not used",
    ),
    ("groups == group", "groups != group", "each group has the rates of the others"),
    (
        "rates(labels[here], flagged[here])",
        'rates(labels[here], flagged[here])["FPR"]',
        "only one of the rates is handed back: keep all four for each group",
    ),
    right="the same four rates for each group",
)
def by_group(labels, flagged, groups):
    """A dict from each group to the rates of its people."""
    found = {}
    for group in np.unique(groups).tolist():
        here = groups == group
        found[group] = rates(labels[here], flagged[here])
    return found


def _scored(rng, most):
    labels, scores, _ = _people(rng)
    return labels, scores, most


@exercise(
    lambda rng: [
        _scored(rng, 0.3),
        _scored(rng, 0.05),
        _scored(rng, 1.0),
        _scored(rng, 0.0),
        (np.array([False, False, True]), np.array([2, 5, 9]), 0.5),
    ],
    ("range(1, 12)", "range(11, 0, -1)", "this is the highest score that will do: take the lowest"),
    ("scores >= least", "scores > least", "who has exactly that score is flagged too"),
    ("<= most", "< most", "a rate of exactly `most` is allowed"),
    (
        "range(1, 12)",
        "range(1, 11)",
        "with a rate of 0, nobody may be flagged: allow 11, which nobody has",
    ),
    (
        "false_positive_rate(labels, scores >= least)",
        "(scores >= least).mean()",
        "this limits how many are flagged: limit the false positive rate",
    ),
    right="the lowest score that flags few enough wrongly",
)
def threshold(labels, scores, most):
    """The lowest of 1 to 11 such that flagging from there on has a
    false positive rate <= most.
    """
    for least in range(1, 12):
        if false_positive_rate(labels, scores >= least) <= most:
            return least


@exercise(
    lambda rng: [(0.5, 0.3, 0.6), (0.4, 0.5, 0.6), (0.1, 0.0, 0.9), (0.51, 0.28, 0.63)],
    ("(1 - fnr)", "fnr", "those who are found count, not those who are missed"),
    ("base / (1 - base)", "(1 - base) / base", "the odds of the base rate are upside down"),
    ("(1 - ppv) / ppv", "ppv / (1 - ppv)", "wrong flags for each right one: this is upside down"),
    ("base / (1 - base) * ", "", "the base rate is missing, which is why groups differ"),
    (
        "base / (1 - base)",
        "base",
        "divide by 1 - base: those are the people who can be flagged wrongly",
    ),
    right="with the other three given, no choice is left",
)
def implied(base, fnr, ppv):
    """The false positive rate that follows: base/(1 - base) · (1 -
    ppv)/ppv · (1 - fnr).
    """
    return base / (1 - base) * (1 - ppv) / ppv * (1 - fnr)
