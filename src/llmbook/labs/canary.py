"""Lab: planted secrets, their rank among all candidates, and their exposure."""

from collections import Counter

import numpy as np

from llmbook.labs.grader import exercise


@exercise(
    lambda rng: [("abab", 2), ("abab", 1), ("abcabd", 3), ("a", 3), ("", 2), ("code 1234.", 5)],
    ("text[i : i + n]", "text[i : i + n + 1]", "these are pieces of n + 1 letters"),
    ("range(len(text) - n + 1)", "range(len(text) - n)", "the last piece of the text is missing"),
    (
        "range(len(text) - n + 1)",
        "range(0, len(text) - n + 1, n)",
        "pieces overlap: begin at each letter",
    ),
    (
        "range(len(text) - n + 1)",
        "range(len(text))",
        "pieces at the end are shorter: leave them out",
    ),
    right="every piece of n letters, with how often it occurs",
)
def pieces(text, n):
    """How often each piece of n letters occurs: a dict."""
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


_TEXT = "the code is 12. the code is 13. the cat is in."
_OF_4 = pieces(_TEXT, 4), pieces(_TEXT, 3)
_OF_6 = pieces(_TEXT, 6), pieces(_TEXT, 5)


@exercise(
    lambda rng: [
        (*_OF_4, 4, " is 12", 4),
        (*_OF_4, 4, "the cat", 3),
        (*_OF_4, 4, "is 99", 3),
        (*_OF_4, 4, "zzzzzz", 4),
        (*_OF_4, 4, "the", 3),
        (*_OF_6, 6, "code is 13.", 8),
    ],
    ("np.log2(", "np.log(", "these are nats: a bit is a logarithm of base 2"),
    ("bits -= np.log2", "bits += np.log2", "the sign is reversed: bits are minus the logarithm"),
    (
        "range(start, len(text))",
        "range(n - 1, len(text))",
        "letters before `start` count too: only the secret itself should",
    ),
    (
        "(long[context + text[i]] + 0.01)",
        "long[context + text[i]]",
        "a piece never seen is impossible: add 0.01 to its count",
    ),
    (
        "(short[context] + 0.01 * 100)",
        "short[context]",
        "0.01 is added to the count of each of 100 letters, so 1 to that of the context",
    ),
    (
        "text[i - n + 1 : i]",
        "text[i - n + 2 : i + 1]",
        "the letter to be guessed is in its own context",
    ),
    right="the bits of the secret, and of nothing before it",
)
def cost(long, short, n, text, start):
    """Bits of text[start:], each letter after the n - 1 before it.

    Its probability: (count of the n letters + 0.01) / (count of the n
    - 1 + 0.01 · 100).
    """
    bits = 0.0
    for i in range(start, len(text)):
        context = text[i - n + 1 : i]
        bits -= np.log2((long[context + text[i]] + 0.01) / (short[context] + 0.01 * 100))
    return bits


@exercise(
    lambda rng: [
        (np.array([3.0, 1.0, 2.0]), 1),
        (np.array([3.0, 1.0, 2.0]), 0),
        (np.array([5.0, 5.0, 5.0, 5.0]), 2),
        (np.array([1.0, 2.0, 2.0, 9.0]), 1),
        (rng.random(30), 7),
        (np.array([2.0]), 0),
    ],
    (
        "(costs < mine).sum()",
        "(costs > mine).sum()",
        "this counts from the dearest: the cheapest has rank 1",
    ),
    ("1 + (costs < mine).sum()", "(costs < mine).sum()", "ranks begin with 1"),
    (
        " + (equal - 1) / 2",
        "",
        "equals count as dearer: half of them stand before it on average",
    ),
    (
        "(equal - 1) / 2",
        "equal / 2",
        "the secret is no rival of itself: count half of the *others*",
    ),
    (
        "(equal - 1) / 2",
        "(equal - 1)",
        "all of the equals are counted: half of them",
    ),
    right="1 for the cheapest, and the middle of equals",
)
def rank(costs, secret):
    """The rank of number `secret` by cost, from 1; half of others as
    cheap stand before it.
    """
    mine = costs[secret]
    equal = (costs == mine).sum()
    return 1 + (costs < mine).sum() + (equal - 1) / 2


@exercise(
    lambda rng: [(1, 10000), (10000, 10000), (5000.5, 10000), (3, 8), (1, 1), (2.5, 100)],
    (
        "np.log2(candidates) - np.log2(place)",
        "np.log2(place)",
        "a low rank must give a high exposure",
    ),
    (
        "np.log2(candidates) - np.log2(place)",
        "np.log2(candidates) - place",
        "the rank itself is taken away: take its logarithm",
    ),
    (
        "np.log2(candidates) - np.log2(place)",
        "np.log(candidates) - np.log(place)",
        "these are nats: exposure is in bits, a logarithm of base 2",
    ),
    (
        "np.log2(candidates) - np.log2(place)",
        "np.log2(candidates - place + 1)",
        "the rank is taken away before the logarithm: divide by it",
    ),
    right="the bits that the model saves a guesser",
)
def exposure(place, candidates):
    """The logarithm, base 2, of the number of candidates divided by
    the rank.
    """
    return np.log2(candidates) - np.log2(place)


@exercise(
    lambda rng: [("The code is {}.", "1234", 2), ("{}", "ab", 3), ("x {} y", "0", 0)],
    ('" ".join', '"".join', "the sentences stand together without a space"),
    ("* times", "* (times + 1)", "the secret is planted once too often"),
    ("template.format(secret)", "secret", "the secret stands alone: put it into its sentence"),
    ("* times", "", "the secret is planted once, however often was asked"),
    right="the same sentence, as often as was asked",
)
def plant(template, secret, times):
    """The template with the secret in it, so many times, with a space
    between.
    """
    return " ".join([template.format(secret)] * times)
