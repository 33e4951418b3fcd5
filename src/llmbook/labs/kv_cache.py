"""Lab: the cache of keys and values, its savings and its size."""

import numpy as np

from llmbook.labs.grader import exercise


@exercise(
    lambda rng: [
        (np.array([1.0, 0.0]), np.array([[0.0, 1.0], [2.0, 0.0]]), np.eye(2)),
        (rng.normal(size=4), rng.normal(size=(6, 4)), rng.normal(size=(6, 3))),
        (rng.normal(size=3), rng.normal(size=(1, 3)), rng.normal(size=(1, 3))),
        (np.array([1000.0, 0.0]), np.array([[3.0, 0.0], [0.0, 1.0]]), np.eye(2)),
    ],
    (" / np.sqrt(len(query))", "", "the division by the root of the query's length is missing"),
    (
        "np.sqrt(len(query))",
        "np.sqrt(len(keys))",
        "divided by the root of the number of keys: take the length of the query",
    ),
    (
        "weights @ values / weights.sum()",
        "weights @ values",
        "the weights do not sum to 1: divide by their sum",
    ),
    (
        "np.exp(scores - scores.max())",
        "np.exp(scores)",
        "large scores overflow: take the largest away before exp",
    ),
    ("weights @ values", "weights @ keys", "this averages the keys: a word hands over its value"),
    (
        "keys @ query",
        "query @ keys",
        "this adds up over the words: a score is a key times the query",
    ),
    right="one query, any number of keys",
)
def attend(query, keys, values):
    """Attention of a single query: the average of the values under
    its softmax weights.
    """
    scores = keys @ query / np.sqrt(len(query))
    weights = np.exp(scores - scores.max())
    return weights @ values / weights.sum()


def _step(rng, past, d):
    matrices = [rng.normal(size=(d, d)) / np.sqrt(d) for _ in range(3)]
    return (rng.normal(size=d), rng.normal(size=(past, d)), rng.normal(size=(past, d)), *matrices)


@exercise(
    lambda rng: [_step(rng, 3, 4), _step(rng, 0, 4), _step(rng, 1, 2), _step(rng, 5, 3)],
    (
        "keys = np.vstack([keys, x @ wk])\n",
        "new = np.vstack([keys, x @ wk])\n",
        "the new key is not among those attended to: a word sees itself",
    ),
    (
        "np.vstack([keys, x @ wk])",
        "np.vstack([x @ wk, keys])",
        "the new key stands first and its value last: append both at the end",
    ),
    (
        "np.vstack([keys, x @ wk])",
        "np.vstack([keys, x])",
        "the word itself is kept: what is kept is its key, x @ wk",
    ),
    (
        "np.vstack([values, x @ wv])",
        "np.vstack([values, x @ wk])",
        "the key is kept in place of the value",
    ),
    (
        "attend(x @ wq, keys, values)",
        "attend(x, keys, values)",
        "the query is missing: it is x @ wq",
    ),
    (
        "return attend(x @ wq, keys, values), keys, values",
        "return attend(x @ wq, keys, values), keys[:-1], values[:-1]",
        "the new key and value are used but not handed back: the next word needs them",
    ),
    right="one new row in the cache, and all are attended to",
)
def step(x, keys, values, wq, wk, wv):
    """A new word: append its key and value, attend with its query;
    output, keys, values.
    """
    keys = np.vstack([keys, x @ wk])
    values = np.vstack([values, x @ wv])
    return attend(x @ wq, keys, values), keys, values


def _run_case(rng, seq, d):
    return (rng.normal(size=(seq, d)), *(rng.normal(size=(d, d)) / np.sqrt(d) for _ in range(3)))


@exercise(
    lambda rng: [_run_case(rng, 4, 3), _run_case(rng, 1, 2), _run_case(rng, 6, 4)],
    (
        "keys = values = np.zeros((0, text.shape[1]))\n    for x in text:\n",
        "for x in text:\n        keys = values = np.zeros((0, text.shape[1]))\n",
        "each word starts with an empty cache: keep it from word to word",
    ),
    ("np.zeros((0,", "np.zeros((1,", "the cache starts with a row of zeros, which gets weight"),
    ("for x in text:", "for x in text[::-1]:", "the words are read from the last to the first"),
    (
        "return np.array(outputs)",
        "return outputs[-1]",
        "only the last word's output is handed back: one row for each word",
    ),
    ("return np.array(outputs)", "return keys", "these are the keys: hand back the outputs"),
    right="word by word, and each sees all that came before",
)
def generate(text, wq, wk, wv):
    """The outputs of all words, computed one word at a time with a
    cache that starts empty.
    """
    outputs = []
    keys = values = np.zeros((0, text.shape[1]))
    for x in text:
        output, keys, values = step(x, keys, values, wq, wk, wv)
        outputs.append(output)
    return np.array(outputs)


@exercise(
    lambda rng: [(1, 1), (10, 4), (1000, 64), (7, 3)],
    ("length * (length + 1) // 2", "length", "without a cache, word t makes t keys, not one"),
    (
        "length * (length + 1) // 2",
        "length**2",
        "not every word sees all: word t has t keys, so add 1, 2, … up to the length",
    ),
    (
        "length * (length + 1) // 2",
        "length * (length - 1) // 2",
        "a word sees itself too: add 1, 2, … up to the length",
    ),
    ("2 * d * d", "d * d", "a key and a value are made for each word: count both"),
    ("2 * d * d", "2 * d", "a row times a matrix of d × d takes d² products"),
    ("length * each", "each", "with a cache, each of the words makes one key and value"),
    right="the square of the length, or with a cache the length",
)
def products(length, d):
    """Products to make keys and values for `length` words one by one:
    without and with a cache.
    """
    each = 2 * d * d
    return length * (length + 1) // 2 * each, length * each


@exercise(
    lambda rng: [
        (32, 32, 128, 4096, 1, 2),
        (2, 1, 8, 10, 3, 4),
        (1, 1, 1, 1, 1, 1),
        (5, 7, 11, 13, 17, 2),
    ],
    ("2 * layers", "layers", "keys and values are both kept: a factor of 2 is missing"),
    ("layers * kv_heads", "kv_heads", "each layer has a cache of its own"),
    (" * batch", "", "each text of the batch has a cache of its own"),
    (" * bytes_each", "", "these are numbers, not bytes"),
    (" * bytes_each", " * bytes_each * 8", "these are bits: a byte has eight"),
    (" * length", "", "a key and a value are kept for every position"),
    right="key and value, for each layer, head, place and text",
)
def cache_bytes(layers, kv_heads, d_head, length, batch, bytes_each):
    """How many bytes the keys and values of a batch of texts take."""
    return 2 * layers * kv_heads * d_head * length * batch * bytes_each
