"""Lab: byte-pair encoding, from counting pairs to encoding a new word."""

from collections import Counter
from typing import Any

from llmbook.labs.grader import exercise

LOW: dict[tuple[str, ...], int] = {
    tuple("low"): 5,
    tuple("lower"): 2,
    tuple("newest"): 6,
    tuple("widest"): 3,
}
"""The words of the example in Sennrich et al. 2016, and how often each occurs."""

_AA: dict[tuple[str, ...], int] = {tuple("aaa"): 2, tuple("ab"): 1, ("b",): 4}


def _words(rng: Any) -> dict[tuple[str, ...], int]:
    made = ("".join(rng.choice(list("abc"), rng.integers(1, 6))) for _ in range(8))
    return {tuple(word): int(rng.integers(1, 5)) for word in made}


@exercise(
    lambda rng: [(LOW,), (_AA,), ({},), (_words(rng),), ({("es", "t"): 2},)],
    ("+= count", "+= 1", "each word counts once here: it occurs `count` times, so do its pairs"),
    ("word[1:]", "word[2:]", "these are symbols two apart: a pair is two neighbours"),
    (
        "zip(word, word[1:])",
        "zip(sorted(word), sorted(word)[1:])",
        "the letters are sorted: a pair is two symbols as they stand in the word",
    ),
    (
        "zip(word, word[1:])",
        "set(zip(word, word[1:]))",
        "a pair that occurs twice in a word counts once here: count each place",
    ),
    (
        "zip(word, word[1:])",
        "zip(word[::2], word[1::2])",
        "pairs overlap: after the first and second symbol come the second and third",
    ),
    right="a pair counts as often as its words occur",
)
def count_pairs(words):
    """How often two symbols stand side by side: a dict from pair to
    count.
    """
    pairs = Counter()
    for word, count in words.items():
        for pair in zip(word, word[1:]):
            pairs[pair] += count
    return pairs


@exercise(
    lambda rng: [
        (tuple("newest"), ("e", "s")),
        (tuple("aaaa"), ("a", "a")),
        (tuple("aaa"), ("a", "a")),
        (("x",), ("x", "y")),
        (("l", "ow", "er"), ("l", "ow")),
        (tuple("banana"), ("a", "n")),
        ((), ("a", "b")),
        (tuple("bacab"), ("a", "b")),
    ],
    (
        "symbols[i] + symbols[i + 1]",
        "symbols[i + 1] + symbols[i]",
        "the two are glued together in the wrong order",
    ),
    ("i += 2", "i += 1", "after a merge go on two places later: its second symbol is used up"),
    ("== pair", "in (pair, pair[::-1])", "the pair counts in its own order only: ab is not ba"),
    (
        "merged.append(symbols[i] + symbols[i + 1])",
        "return (*merged, symbols[i] + symbols[i + 1], *symbols[i + 2:])",
        "only the first place is merged: go through the whole word",
    ),
    ("merged.append(symbols[i])", "pass", "symbols that are not merged are lost: keep them"),
    right="the pair is one symbol now, wherever it stood",
)
def merge(symbols, pair):
    """The word with each occurrence of the pair, from the left, as
    one symbol: a tuple.
    """
    merged, i = [], 0
    while i < len(symbols):
        if tuple(symbols[i : i + 2]) == pair:
            merged.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            merged.append(symbols[i])
            i += 1
    return tuple(merged)


@exercise(
    lambda rng: [
        (count_pairs(LOW),),
        ({("b", "a"): 2, ("a", "c"): 2, ("a", "b"): 1},),
        ({("z", "z"): 9, ("a", "a"): 1},),
        ({("b", "a"): 3, ("a", "z"): 3, ("a", "y"): 3},),
    ],
    ("-pairs[pair]", "pairs[pair]", "this is the rarest pair: take the most frequent"),
    ("(-pairs[pair], pair)", "pair", "this is the first pair of the alphabet: its count matters"),
    (
        "min(pairs, key=lambda pair: (-pairs[pair], pair))",
        "max(pairs, key=lambda pair: (pairs[pair], pair))",
        "of equally frequent pairs this takes the last of the alphabet: take the first",
    ),
    (
        "(-pairs[pair], pair)",
        "-pairs[pair]",
        "of equally frequent pairs this takes the first counted: take the first of the alphabet",
    ),
    right="the most frequent, of equals the alphabet's first",
)
def best_pair(pairs):
    """The pair with the largest count; of several, the first of the
    alphabet.
    """
    return min(pairs, key=lambda pair: (-pairs[pair], pair))


@exercise(
    lambda rng: [
        (LOW, 1),
        (LOW, 3),
        (LOW, 6),
        (_AA, 2),
        (_words(rng), 5),
        (LOW, 0),
        ({("a", "b"): 1}, 4),
        (_words(rng), 9),
    ],
    (
        "words = {merge(word, pair): count for word, count in words.items()}",
        "del pairs[pair]",
        "pairs are counted in the letters each time: count them again in the merged words",
    ),
    (
        "            break",
        "            raise ValueError('no pair left')",
        "it stops with an error when every word is one symbol: return what was learned so far",
    ),
    ("range(merges)", "range(merges - 1)", "one merge too few is learned"),
    (
        "merge(word, pair): count for",
        "merge(word, pair): 1 for",
        "after the first merge each word counts once: keep its count",
    ),
    (
        "learned.append(pair)",
        "learned.append(pair[0] + pair[1])",
        "these are the new symbols: return the pairs, which encoding needs",
    ),
    right="each merge is counted in words merged before",
)
def learn(words, merges):
    """The first `merges` pairs that byte-pair encoding merges, in
    their order.
    """
    learned = []
    for _ in range(merges):
        pairs = count_pairs(words)
        if not pairs:
            break
        pair = best_pair(pairs)
        learned.append(pair)
        words = {merge(word, pair): count for word, count in words.items()}
    return learned


_MERGES = [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w"), ("e", "w")]


@exercise(
    lambda rng: [
        ("lowest", _MERGES),
        ("newest", _MERGES),
        ("", _MERGES),
        ("xyz", _MERGES),
        ("lowlow", _MERGES),
        ("abc", [("b", "c"), ("a", "b"), ("a", "bc")]),
        ("aaaa", [("a", "a"), ("aa", "aa")]),
        ("abab", []),
    ],
    ("in merges", "in reversed(merges)", "the merges run from the last to the first: keep order"),
    ("in merges", "in sorted(merges)", "the merges are sorted: apply them as they were learned"),
    ("in merges", "in merges[:1]", "only the first merge is applied"),
    (
        "symbols = merge(symbols, pair)",
        "symbols = merge(tuple(word), pair)",
        "each merge starts from the letters again: it must see what earlier merges made",
    ),
    right="the same merges in the same order cut a new word too",
)
def encode(word, merges):
    """The tokens of a word, a tuple: its letters, with each merge
    applied in turn.
    """
    symbols = tuple(word)
    for pair in merges:
        symbols = merge(symbols, pair)
    return symbols
