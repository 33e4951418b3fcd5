"""Lab: T5's objective, which hides spans behind sentinels and asks for them in one short text."""

import numpy as np

from llmbook.labs.grader import exercise

_WORDS = "Thank you for inviting me to your party last week".split()
_CASES = [
    (_WORDS, [(2, 4), (8, 9)]),
    (_WORDS, [(0, 1)]),
    (_WORDS, [(9, 10)]),
    (_WORDS, []),
    (list("abcdef"), [(0, 2), (3, 4), (5, 6)]),
    (list("aabb"), [(1, 3)]),
]


@exercise(
    lambda rng: _CASES,
    (
        "tokens[place:start] + [sentinel]",
        "tokens[place:start]",
        "the sentinels are missing: one stands in place of each span",
    ),
    ("place = end", "place = start", "the hidden words are still there: go on after the span"),
    (
        "return source + tokens[place:]",
        "return source",
        "the words after the last span are missing",
    ),
    (
        "[sentinel]",
        "[sentinel] * (end - start)",
        "each hidden word has a sentinel: a span has one, however long it is",
    ),
    ('f"<{number}>"', '"<0>"', "all sentinels are the same: number them from 0"),
    ('f"<{number}>"', 'f"<{number + 1}>"', "sentinels are numbered from 0"),
    right="one sentinel for each span, whatever its length",
)
def source_of(tokens, spans):
    """What is read: in place of the spans, which are (start, end),
    stand "<0>", "<1>" and so on.
    """
    source, place = [], 0
    for number, (start, end) in enumerate(spans):
        sentinel = f"<{number}>"
        source += tokens[place:start] + [sentinel]
        place = end
    return source + tokens[place:]


@exercise(
    lambda rng: _CASES,
    (
        "[sentinel] + tokens[start:end]",
        "tokens[start:end] + [sentinel]",
        "each sentinel stands before its words, not after them",
    ),
    (
        "[sentinel] + tokens[start:end]",
        "tokens[start:end]",
        "the sentinels are missing: they say where the words belong",
    ),
    (' + [f"<{len(spans)}>"]', "", "the last sentinel is missing, which says that nothing follows"),
    (
        "tokens[start:end]",
        "tokens[start : end + 1]",
        "each span has a word too many: end is outside",
    ),
    ('f"<{number}>"', 'f"<{len(spans) - 1 - number}>"', "the sentinels run backwards"),
    right="each sentinel with what it hid, and one at the end",
)
def target_of(tokens, spans):
    """What is asked for: each sentinel and what it hid, and at the
    end the next sentinel.
    """
    target = []
    for number, (start, end) in enumerate(spans):
        sentinel = f"<{number}>"
        target += [sentinel] + tokens[start:end]
    return target + [f"<{len(spans)}>"]


@exercise(
    lambda rng: [(source_of(*case), target_of(*case)) for case in _CASES],
    (
        "restored += hidden.get(token, [token])",
        "restored += [token]",
        "nothing is put back: in place of a sentinel come the words that it hid",
    ),
    (
        "            hidden[sentinel].append(token)",
        "            hidden[sentinel] = [token]",
        "only the last word of each span comes back",
    ),
    (
        "            hidden[sentinel].append(token)",
        "            hidden[sentinel].insert(0, token)",
        "the words of a span come back in reverse order",
    ),
    (
        "hidden.get(token, [token])",
        "[token] * (token not in hidden)",
        "the sentinels are gone and the words with them: put the hidden words there",
    ),
    ("hidden[sentinel] = []", "hidden[sentinel] = [sentinel]", "the sentinels stay in the text"),
    right="source and target together are the text",
)
def restore(source, target):
    """The text: each sentinel of the source replaced by the words
    behind it in the target.
    """
    hidden = {}
    for token in target:
        if token.startswith("<"):
            sentinel = token
            hidden[sentinel] = []
        else:
            hidden[sentinel].append(token)
    restored = []
    for token in source:
        restored += hidden.get(token, [token])
    return restored


@exercise(
    lambda rng: [
        (512, 0.15, 3.0),
        (100, 0.15, 3.0),
        (10, 0.15, 3.0),
        (3, 0.15, 3.0),
        (20, 0.5, 1.0),
        (512, 0.5, 10.0),
        (40, 0.15, 2.0),
    ],
    (
        "round(hidden / mean)",
        "round(length / mean)",
        "spans are counted from the whole text: divide the hidden words by the mean length",
    ),
    (
        "max(1, round(length * rate))",
        "round(length * rate)",
        "a short text has nothing hidden: hide at least one word",
    ),
    (
        "max(1, round(hidden / mean))",
        "round(hidden / mean)",
        "few hidden words make no span: there is at least one",
    ),
    ("round(hidden / mean)", "int(hidden / mean)", "the number of spans is cut off: round it"),
    ("round(length * rate)", "int(length * rate)", "the number of words is cut off: round it"),
    (
        "return hidden, max",
        "return length - hidden, max",
        "this is how many words stay: hand back how many are hidden",
    ),
    right="about 15 % hidden, in spans of about three",
)
def budget(length, rate, mean):
    """How many words to hide (rate), in how many spans (of that mean
    length); each at least 1.
    """
    hidden = max(1, round(length * rate))
    return hidden, max(1, round(hidden / mean))


@exercise(
    lambda rng: [([2, 4], [1, 3]), ([0], [2]), ([1, 1, 1], [1, 2, 3]), ([5], [1])],
    ("start = place + stay", "start = stay", "each span is counted from the text's start: add up"),
    ("place = start + hide", "place = start", "the next stretch begins after the span, not at it"),
    ("(start, start + hide)", "(start, hide)", "a span is start and end, not start and length"),
    ("(start, start + hide)", "(start, start + hide - 1)", "the end is the first word that stays"),
    (
        "zip(kept, hidden)",
        "zip(hidden, kept)",
        "hidden and kept are exchanged: kept words come first",
    ),
    right="kept and hidden stretches take turns",
)
def place_spans(kept, hidden):
    """The spans (start, end), if first kept[0] words stay, then
    hidden[0] are hidden, and so on.
    """
    spans, place = [], 0
    for stay, hide in zip(kept, hidden):
        start = place + stay
        spans.append((start, start + hide))
        place = start + hide
    return spans


def draw(rng, length, rate=0.15, mean=3.0):
    """Random spans: hidden and kept words are cut into as many pieces, each at least one word.

    Args:
        rng: A NumPy generator.
        length: Words of the text.
        rate: Share to hide.
        mean: Mean length of a span.
    """
    hidden, spans = budget(length, rate, mean)

    def pieces(total):
        cuts = np.sort(rng.choice(np.arange(1, total), spans - 1, replace=False))
        return np.diff([0, *cuts, total]).tolist()

    return place_spans(pieces(length - hidden), pieces(hidden))
