"""Lab: a hand-made network of two layers, and which of its heads carries the answer."""

import numpy as np

from llmbook.labs.grader import exercise

WORD, PLACE, BEFORE, ANSWER = (slice(8 * i, 8 * i + 8) for i in range(4))
"""Where a vector of the network holds its word, its place, the word before it, and its answer."""


def embed(words):
    """A row of 32 numbers for each word: the word and its place, the rest zero.

    Args:
        words: At most 8 numbers from 0 to 7; a text begins with 0.
    """
    x = np.zeros((len(words), 32))
    x[np.arange(len(words)), words] = 1
    x[np.arange(len(words)), 8 + np.arange(len(words))] = 1
    return x


def _head(query, key, value, to, size=1.0, shift=0):
    """A head whose queries and keys read one part each and whose values go to another."""
    q, k, v = np.zeros((32, 8)), np.zeros((32, 8)), np.zeros((32, 32))
    q[query] = 30 * np.eye(8, k=-shift)
    k[key] = np.eye(8)
    v[value, to] = size * np.eye(8)
    return q, k, v


HEADS = {
    (0, "a"): _head(PLACE, PLACE, WORD, BEFORE, shift=1),
    (0, "b"): _head(PLACE, PLACE, WORD, ANSWER, size=0.2),
    (1, "c"): _head(WORD, WORD, WORD, ANSWER, size=0.3),
    (1, "d"): _head(WORD, BEFORE, WORD, ANSWER),
}
"""The heads by layer and name, each with its matrices for queries, keys and values."""


@exercise(
    lambda rng: [
        (embed([1, 2, 3]), *HEADS[0, "a"]),
        (rng.normal(size=(4, 32)), *HEADS[1, "d"]),
        (rng.normal(size=(4, 32)) / 9, *HEADS[1, "d"]),
        (rng.normal(size=(3, 32)) * 30, *HEADS[0, "a"]),
        (rng.normal(size=(3, 5)), *rng.normal(size=(2, 5, 2)), rng.normal(size=(5, 5))),
        (embed([4]), *HEADS[1, "c"]),
    ],
    (
        "np.where(np.tri(len(x), dtype=bool), scores, -np.inf)",
        "scores",
        "later words are seen: the mask is missing",
    ),
    (
        "weights @ (x @ value)",
        "weights @ x",
        "the words themselves are handed over: their values are x @ value",
    ),
    (
        "(x @ query) @ (x @ key).T",
        "(x @ key) @ (x @ query).T",
        "queries and keys are exchanged: a row is a query",
    ),
    (
        "axis=1, keepdims=True)\n    return",
        "axis=0, keepdims=True)\n    return",
        "the columns sum to 1: each row of weights should",
    ),
    (
        "return weights @ (x @ value)",
        "return x + weights @ (x @ value)",
        "the words are added already: hand back what the head says, no more",
    ),
    (
        "scores - scores.max(axis=1, keepdims=True)",
        "scores",
        "large scores overflow: take each row's maximum away before exp",
    ),
    (
        "scores = (x @ query) @ (x @ key).T",
        "scores = (x @ query) @ (x @ key).T / np.sqrt(query.shape[1])",
        "the scores are divided by a root: these heads have none",
    ),
    right="what a head says, for each word",
)
def say(x, query, key, value):
    """What a causal head says: softmax of the masked
    (x·query)(x·key)ᵀ, times x·value.
    """
    scores = (x @ query) @ (x @ key).T
    scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = weights / weights.sum(axis=1, keepdims=True)
    return weights @ (x @ value)


_WORDS = [0, 3, 5, 1, 2, 3]
_ZERO = np.zeros((6, 32))


@exercise(
    lambda rng: [
        (_WORDS, {}),
        (_WORDS, {(0, "a"): _ZERO}),
        (_WORDS, {(1, "d"): _ZERO}),
        ([0, 1, 2, 1, 4, 2], {}),
        ([0, 6], {}),
        (_WORDS, {(0, "b"): _ZERO + 1, (1, "c"): _ZERO}),
    ],
    ("x = x + sum(now.values())", "pass", "what the heads say is not added to the words"),
    ("if head[0] == layer", "if layer == 1", "the heads of the first layer say nothing"),
    ("patch.get(head, say(x, *HEADS[head]))", "say(x, *HEADS[head])", "the patch is not used"),
    (
        "patch.get(head, say(x, *HEADS[head]))",
        "say(x, *HEADS[head]) + patch.get(head, 0)",
        "the patch is added to what the head says: it takes its place",
    ),
    (
        "x = x + sum(now.values())",
        "x = sum(now.values())",
        "the words are lost: what the heads say is added to them",
    ),
    (
        "x[-1, ANSWER]",
        "x[0, ANSWER]",
        "this is the answer at the first word: the last one is asked",
    ),
    right="two layers that add up, each head replaceable",
)
def run(words, patch):
    """The answer (8 numbers) at the last word, and a dict of what
    each head said.

    Heads of a layer read the same x, and what they say is added to
    it; what is in `patch` is said in place of what the head would
    say.
    """
    x, said = embed(words), {}
    for layer in (0, 1):
        now = {head: patch.get(head, say(x, *HEADS[head])) for head in HEADS if head[0] == layer}
        x = x + sum(now.values())
        said |= now
    return x[-1, ANSWER], said


@exercise(
    lambda rng: [
        (np.array([0.0, 3.0, 1.0, 5.0, 0.0, 0.0, 0.0, 0.0]), 1, 3),
        (rng.normal(size=8), 0, 7),
        (np.ones(8), 2, 4),
        (np.arange(8.0), 6, 2),
    ],
    (
        "answer[right] - answer[wrong]",
        "answer[wrong] - answer[right]",
        "the difference is the wrong way round",
    ),
    (
        "answer[right] - answer[wrong]",
        "answer[right]",
        "only the right word is read: compare it with the wrong one",
    ),
    (
        "answer[right] - answer[wrong]",
        "answer[right] / answer[wrong]",
        "this is a quotient: take the difference",
    ),
    (
        "answer[right] - answer[wrong]",
        "answer[right] - answer.mean()",
        "compare with the wrong word, not with the mean",
    ),
    (
        "answer[right] - answer[wrong]",
        "abs(answer[right] - answer[wrong])",
        "the sign is lost: if the wrong word is ahead, it is negative",
    ),
    right="positive if the right word is ahead",
)
def lead(answer, right, wrong):
    """How far the right word is ahead of the wrong one."""
    return answer[right] - answer[wrong]


@exercise(
    lambda rng: [(2.0, -2.0, 0.0), (1.0, 0.0, 1.0), (3.0, 1.0, 1.0), (0.5, -1.0, 2.0)],
    (
        "(patched - broken) / (clean - broken)",
        "(patched - clean) / (broken - clean)",
        "0 and 1 are exchanged: a patch that changes nothing restores 0",
    ),
    (
        "(patched - broken) / (clean - broken)",
        "patched / clean",
        "a broken run may still have some lead: take it away",
    ),
    (
        "(patched - broken) / (clean - broken)",
        "patched - broken",
        "divide by what there is to restore",
    ),
    (
        "(clean - broken)",
        "(clean + broken)",
        "what there is to restore is the clean lead minus the broken one",
    ),
    ("(clean - broken)", "clean", "divided by the clean lead: divide by what was lost"),
    right="0 if the patch does nothing, 1 if it restores all",
)
def restored(clean, broken, patched):
    """The share of the lost lead that comes back: 0 as in the broken
    run, 1 as in the clean.
    """
    return (patched - broken) / (clean - broken)


@exercise(
    lambda rng: [
        (_WORDS, [0, 6, 5, 1, 2, 3], 5, 2),
        (_WORDS, [0, 3, 4, 1, 2, 3], 5, 4),
        ([0, 1, 2, 7, 1], [0, 5, 2, 7, 1], 2, 7),
    ],
    (
        "run(broken, {head: said[head]})",
        "run(clean, {head: run(broken, {})[1][head]})",
        "what was said in the broken run is put into the clean one: it is the other way round",
    ),
    (
        "answer, said = run(clean, {})",
        "answer, said = run(clean, {})[0], run(broken, {})[1]",
        "the broken run is patched with itself: take what heads said in the clean run",
    ),
    (
        "run(broken, {head: said[head]})",
        "run(broken, said)",
        "all heads are patched at once: one at a time",
    ),
    (
        "restored(best, worst, lead(answer, right, wrong))",
        "lead(answer, right, wrong)",
        "these are leads: hand back which share of what was lost came back",
    ),
    (
        "run(broken, {head: said[head]})",
        "run(broken, {head: 0 * said[head]})",
        "the head is silenced: let it say what it said in the clean run",
    ),
    right="one head at a time, from the clean run",
)
def patch_each(clean, broken, right, wrong):
    """For each head the share restored if the broken run gets what it
    said in the clean run.
    """
    answer, said = run(clean, {})
    best = lead(answer, right, wrong)
    worst = lead(run(broken, {})[0], right, wrong)
    shares = {}
    for head in HEADS:
        answer, _ = run(broken, {head: said[head]})
        shares[head] = restored(best, worst, lead(answer, right, wrong))
    return shares
