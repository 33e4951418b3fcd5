"""Lab: masked language modelling, from choosing tokens to filling gaps from both sides."""

from collections import Counter

import numpy as np

from llmbook.labs.grader import exercise

_LOG = np.log(np.array([[0.7, 0.2, 0.1], [0.25, 0.5, 0.25], [0.1, 0.1, 0.8]]))


@exercise(
    lambda rng: [
        (np.array([1, 7, 8, 2]), [1, 2], np.array([0.01, 0.10, 0.90, 0.05])),
        (np.array([5, 5]), [], np.array([0.15, 0.1499])),
        (rng.integers(0, 9, 40), [0, 1], rng.random(40)),
        (rng.integers(0, 9, (3, 30)), [4], rng.random((3, 30))),
    ],
    (
        " & ~np.isin(token_ids, special)",
        "",
        "special tokens may be chosen here: never ask for them",
    ),
    ("~np.isin", "np.isin", "only special tokens are chosen: it is the wrong way round"),
    (
        "draws < 0.15",
        "draws > 0.15",
        "chosen is what draws less than 0.15: here it is all the rest",
    ),
    ("draws < 0.15", "draws < 0.85", "chosen is what draws less than 0.15: here 85 % are chosen"),
    ("draws < 0.15", "draws <= 0.15", "a draw of exactly 0.15 is not less than 0.15"),
    right="15 % on average, and nothing that is special",
)
def choose(token_ids, special, draws):
    """True where the draw is below 0.15 and the token is none of the
    special ones.
    """
    return (draws < 0.15) & ~np.isin(token_ids, special)


_FATE = np.array([0.0, 0.79, 0.8, 0.89, 0.9, 0.99])


@exercise(
    lambda rng: [
        (np.arange(10, 16), np.array([True] * 6), _FATE, np.arange(20, 26), 4),
        (np.arange(10, 16), np.array([True, False] * 3), _FATE, np.arange(20, 26), 4),
        (rng.integers(5, 99, 50), rng.random(50) < 0.5, rng.random(50), rng.integers(5, 99, 50), 3),
    ],
    (
        "np.where(hidden, mask_id, token_ids)",
        "np.where(fate < 0.8, mask_id, token_ids)",
        "tokens that were not chosen are hidden too",
    ),
    (
        "np.where(replaced, random_ids, read)",
        "read",
        "no token is replaced by a random one: that is the fate from 0.8 to 0.9",
    ),
    ("(fate < 0.9)", "(fate < 1.0)", "no chosen token is left as it is: from 0.9 on it stays"),
    ("chosen & (fate < 0.8)", "chosen", "every chosen token is hidden: only 80 % of them are"),
    (
        "np.where(replaced, random_ids, read)",
        "np.where(replaced, random_ids, token_ids)",
        "the masks are gone: replace in what is already masked",
    ),
    ("chosen & (fate >= 0.8)", "(fate >= 0.8)", "tokens that were not chosen are replaced too"),
    right="80 % are hidden, 10 % replaced, and 10 % stay",
)
def corrupt(token_ids, chosen, fate, random_ids, mask_id):
    """What is read: chosen tokens are hidden (fate below 0.8),
    replaced (below 0.9) or kept.
    """
    hidden = chosen & (fate < 0.8)
    replaced = chosen & (fate >= 0.8) & (fate < 0.9)
    read = np.where(hidden, mask_id, token_ids)
    return np.where(replaced, random_ids, read)


@exercise(
    lambda rng: [
        (np.array([7, 8, 9]), np.array([True, False, True])),
        (rng.integers(5, 99, (2, 9)), rng.random((2, 9)) < 0.3),
        (np.array([1, 2]), np.array([False, False])),
    ],
    ("token_ids, -100", "-100, token_ids", "the labels are where nothing was chosen"),
    ("np.where(chosen, token_ids, -100)", "token_ids", "every token has a label: -100 elsewhere"),
    ("token_ids, -100)", "token_ids, 0)", "0 is a token's number: use -100, which no token has"),
    (
        "np.where(chosen, token_ids, -100)",
        "token_ids[chosen]",
        "only the chosen ones are handed back: keep the shape, with -100 elsewhere",
    ),
    ("token_ids, -100", "1, -100", "the label is the token that was there, not a mark"),
    right="a label where something was chosen, -100 elsewhere",
)
def labels_of(token_ids, chosen):
    """The tokens to be guessed: what was there where it was chosen,
    -100 elsewhere.
    """
    return np.where(chosen, token_ids, -100)


@exercise(
    lambda rng: [
        (_LOG, np.array([0, -100, 2])),
        (_LOG, np.array([2, 1, 0])),
        (_LOG, np.array([-100, -100, 1])),
        (np.log(rng.dirichlet(np.ones(6), 20)), np.where(rng.random(20) < 0.4, 3, -100)),
    ],
    (
        "asked = labels != -100",
        "asked = labels == labels",
        "places with the label -100 count here: leave them out",
    ),
    (
        "-log_probs[asked, labels[asked]].mean()",
        "log_probs[asked, labels[asked]].mean()",
        "the sign is missing: a loss is minus the logarithm",
    ),
    (
        "-log_probs[asked, labels[asked]].mean()",
        "-log_probs[asked, labels[asked]].sum()",
        "this is the sum: take the mean over what was asked",
    ),
    (
        "-log_probs[asked, labels[asked]].mean()",
        "-log_probs[asked, labels[asked]].sum() / len(labels)",
        "divided by all places: divide by the number that was asked",
    ),
    (
        "-log_probs[asked, labels[asked]].mean()",
        "-log_probs[asked].max(axis=1).mean()",
        "this takes the likeliest token: take the one that was there",
    ),
    (
        "-log_probs[asked, labels[asked]].mean()",
        "(1 - np.exp(log_probs[asked, labels[asked]])).mean()",
        "this is the mean of 1 - p: the loss is minus the logarithm of p",
    ),
    (
        "-log_probs[asked, labels[asked]].mean()",
        "-np.log(np.exp(log_probs[asked, labels[asked]]).mean())",
        "this is the logarithm of the mean: take the mean of the logarithms",
    ),
    right="the mean of -log p over the chosen tokens alone",
)
def masked_loss(log_probs, labels):
    """The mean of minus the log-probability of each label that is not
    -100.
    """
    asked = labels != -100
    return -log_probs[asked, labels[asked]].mean()


_BETWEEN = {("a", "c"): Counter("xxy"), ("b", "c"): Counter("zzy")}
_AFTER = {"a": Counter("yyyx"), "b": Counter("wwz"), "d": Counter("vvu")}


@exercise(
    lambda rng: [
        ("a", "c", _BETWEEN, _AFTER),
        ("b", "c", _BETWEEN, _AFTER),
        ("a", "q", _BETWEEN, _AFTER),
        ("d", "c", _BETWEEN, _AFTER),
        ("q", "c", _BETWEEN, _AFTER),
        ("c", "a", _BETWEEN, _AFTER),
    ],
    (
        "    if pair in between:\n        return between[pair].most_common(1)[0][0]\n",
        "",
        "the right side is not used: first look for the pair of neighbours",
    ),
    (
        "    if left in after:\n        return after[left].most_common(1)[0][0]\n",
        "",
        "a pair never seen gets no second chance: ask what follows the left word",
    ),
    (
        "between[pair].most_common(1)",
        "between[pair].most_common()[::-1]",
        "this takes the rarest word between the two",
    ),
    (
        'return "the"',
        "return None",
        "with neighbours never seen, guess the most frequent word: the",
    ),
    ("(left, right)", "(right, left)", "the neighbours are looked up in the wrong order"),
    right='both neighbours, then the left one, then "the"',
)
def fill(left, right, between, after):
    """The most frequent word between the two; else the most frequent
    after `left`; else "the".
    """
    pair = (left, right)
    if pair in between:
        return between[pair].most_common(1)[0][0]
    if left in after:
        return after[left].most_common(1)[0][0]
    return "the"
