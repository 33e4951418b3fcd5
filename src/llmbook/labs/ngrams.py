"""Lab: n-grams of letters with smoothing, measured in bits."""

from collections import Counter, defaultdict

import numpy as np

from llmbook.labs.grader import exercise


@exercise(
    lambda rng: [
        ("abab", 2),
        ("abab", 1),
        ("abcabd", 3),
        ("a", 3),
        ("", 1),
        ("aaaa", 2),
        ("the cat that", 4),
    ],
    (
        "text[i : i + n - 1]",
        "text[i + 1 : i + n]",
        "context and next letter overlap: the context ends before the next letter",
    ),
    (
        "text[i : i + n - 1]",
        "text[i : i + n]",
        "the context has n letters: an n-gram has n - 1 and the next one",
    ),
    (
        "range(len(text) - n + 1)",
        "range(0, len(text) - n + 1, n)",
        "n-grams overlap: begin at every letter",
    ),
    ("range(len(text) - n + 1)", "range(len(text) - n)", "the last n-gram of the text is missing"),
    ("[text[i + n - 1]] += 1", "[text[i + n - 1]] = 1", "each count stays 1: add 1 each time"),
    right="for each context, how often each letter followed",
)
def follow(text, n):
    """For each context of n - 1 letters a Counter of the letters that
    follow it.
    """
    table = defaultdict(Counter)
    for i in range(len(text) - n + 1):
        table[text[i : i + n - 1]][text[i + n - 1]] += 1
    return table


_TABLE = dict(follow("abracadabra", 2))


@exercise(
    lambda rng: [
        (_TABLE, "a", "b"),
        (_TABLE, "a", "z"),
        (_TABLE, "b", "r"),
        (_TABLE, "z", "a"),
        (_TABLE, "d", "a"),
        (dict(follow("aab", 1)), "", "a"),
    ],
    (
        "following[letter] / sum(following.values())",
        "following[letter]",
        "this is a count: divide by how often the context occurs",
    ),
    (
        "sum(following.values())",
        "len(following)",
        "divided by the number of different letters: divide by the sum of their counts",
    ),
    (
        "    if context not in table:\n        return 0.0\n",
        "",
        "a context never seen stops with an error: its letters have the probability 0",
    ),
    (
        "sum(following.values())",
        "sum(sum(c.values()) for c in table.values())",
        "divided by the whole text: divide by how often this context occurs",
    ),
    right="shares of what followed, and 0 for what never did",
)
def share(table, context, letter):
    """How often the letter followed this context, as a share; 0 if
    that was never seen.
    """
    if context not in table:
        return 0.0
    following = table[context]
    return following[letter] / sum(following.values())


_TABLES = [dict(follow("abracadabra", n)) for n in (1, 2, 3)]


@exercise(
    lambda rng: [
        (_TABLES, "br", "a", 30),
        (_TABLES, "br", "z", 30),
        (_TABLES, "zz", "a", 30),
        (_TABLES, "za", "b", 30),
        (_TABLES, "", "a", 30),
        (_TABLES[:1], "", "q", 10),
        ([], "ab", "c", 10),
        (_TABLES, "abra", "c", 256),
    ],
    (
        "+ kinds * p)",
        "+ p)",
        "the lower order gets the weight 1: give it the number of different letters that followed",
    ),
    ("(total + kinds)", "total", "probabilities sum to more than 1: divide by total plus kinds"),
    ("p = 1 / size", "p = 0.0", "a letter never seen gets probability 0: start from 1 / size"),
    (
        "context[len(context) - n :]",
        "context[:n]",
        "the first letters of the context are used: the last ones stand before the letter",
    ),
    (
        "if following:",
        "if following and letter in following:",
        "a letter that never followed here keeps its p: shrink it too",
    ),
    (
        "sum(following.values()), len(following)",
        "sum(following.values()), sum(following.values())",
        "the lower order always has the weight 1/2: count different letters",
    ),
    right="each order leans on the one below",
)
def smoothed(tables, context, letter, size):
    """Witten-Bell: from 1/size up, p = (count + kinds·p) / (total +
    kinds) in each table seen.
    """
    p = 1 / size
    for n, table in enumerate(tables):
        following = table.get(context[len(context) - n :]) if n <= len(context) else None
        if following:
            total, kinds = sum(following.values()), len(following)
            p = (following[letter] + kinds * p) / (total + kinds)
    return p


@exercise(
    lambda rng: [(_TABLES, "abra", 30), (_TABLES, "xyz", 30), (_TABLES, "cab", 256), ([], "ab", 8)],
    ("np.log2", "np.log", "these are nats: a bit is a logarithm of base 2"),
    ("-np.log2", "np.log2", "the sign is missing: bits are minus the logarithm"),
    (" / len(text)", "", "this is the sum: divide by the number of letters"),
    (
        "text[max(0, i - n) : i]",
        "text[max(0, i - n) : i + 1]",
        "the letter to be guessed is in its own context",
    ),
    ("text[max(0, i - n) : i]", '""', "the context is not used"),
    right="minus the mean logarithm, to base 2",
)
def bits(tables, text, size):
    """Mean bits a letter: -log2 of its smoothed probability after all
    the letters before it.
    """
    n = len(tables)
    total = 0.0
    for i, letter in enumerate(text):
        total += -np.log2(smoothed(tables, text[max(0, i - n) : i], letter, size))
    return total / len(text)
