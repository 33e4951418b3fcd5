"""Lab: several heads, layer norm, and the Transformer block."""

import numpy as np

from llmbook.labs.grader import exercise
from llmbook.numpy_attention import softmax


def weights_of(rng, d_model):
    """Random weights of a block, by their names.

    Args:
        rng: A NumPy generator.
        d_model: Width.
    """
    small = d_model**-0.5
    square = {name: rng.normal(size=(d_model, d_model)) * small for name in "qkvo"}
    return square | {
        "up": rng.normal(size=(d_model, 4 * d_model)) * small,
        "down": rng.normal(size=(4 * d_model, d_model)) * small / 2,
    }


@exercise(
    lambda rng: [
        (np.arange(12.0).reshape(3, 4), 2),
        (rng.normal(size=(5, 6)), 3),
        (rng.normal(size=(4, 4)), 1),
        (rng.normal(size=(1, 8)), 4),
    ],
    (
        "x.reshape(seq, num_heads, d // num_heads).transpose(1, 0, 2)",
        "x.reshape(num_heads, seq, d // num_heads)",
        "words are mixed up: cut each row first, then move the heads ahead",
    ),
    (".transpose(1, 0, 2)", "", "the head must be the first axis, before the words"),
    (
        "x.reshape(seq, num_heads, d // num_heads).transpose(1, 0, 2)",
        "x.reshape(seq, d // num_heads, num_heads).transpose(2, 0, 1)",
        "each head takes every n-th number: it takes a stretch of neighbours",
    ),
    (
        ".transpose(1, 0, 2)",
        ".transpose(1, 2, 0)",
        "within a head, words and numbers are exchanged: a word is a row",
    ),
    right="each head has its own stretch of every word",
)
def split(x, num_heads):
    """Words × numbers into heads × words × numbers of a head."""
    seq, d = x.shape
    return x.reshape(seq, num_heads, d // num_heads).transpose(1, 0, 2)


@exercise(
    lambda rng: [
        (rng.normal(size=(2, 3, 4)),),
        (rng.normal(size=(1, 5, 2)),),
        (rng.normal(size=(3, 1, 2)),),
        (np.arange(8.0).reshape(2, 2, 2),),
    ],
    (
        "x.transpose(1, 0, 2)",
        "x",
        "reshaped without moving the axis: numbers of several words are in one row",
    ),
    (
        "x.transpose(1, 0, 2).reshape(seq, heads * d_head)",
        "x.sum(axis=0)",
        "the heads are added: they stand side by side",
    ),
    (
        "x.transpose(1, 0, 2).reshape(seq, heads * d_head)",
        "x.mean(axis=0)",
        "the heads are averaged: they stand side by side",
    ),
    ("x.transpose(1, 0, 2)", "x[::-1].transpose(1, 0, 2)", "the heads stand in reverse order"),
    (
        "x.transpose(1, 0, 2)",
        "x.transpose(1, 2, 0)",
        "the heads are interleaved: each puts down its numbers together",
    ),
    right="what was split is side by side again",
)
def join(x):
    """Heads × words × numbers of a head back into words × numbers."""
    heads, seq, d_head = x.shape
    return x.transpose(1, 0, 2).reshape(seq, heads * d_head)


def _inputs(rng, seq, d):
    return rng.normal(size=(seq, d)), weights_of(rng, d)


@exercise(
    lambda rng: [
        (*_inputs(rng, 4, 6), 2),
        (*_inputs(rng, 3, 4), 4),
        (*_inputs(rng, 1, 4), 2),
        (*_inputs(rng, 5, 4), 1),
    ],
    ("q.shape[-1]", "x.shape[-1]", "divided by the root of the whole width: take that of a head"),
    (' @ weights["o"]', "", "the last matrix is missing, which mixes what the heads found"),
    ("np.where(past, scores, -np.inf)", "scores", "later words are seen: the mask is missing"),
    (
        "np.tri(len(x), dtype=bool)",
        "np.tri(len(x), dtype=bool).T",
        "the mask is transposed: a word sees what comes after it",
    ),
    (
        "split(x @ weights[name], num_heads)",
        "split(x @ weights[name], 1)",
        "all is one head: split queries, keys and values first",
    ),
    (" / np.sqrt(q.shape[-1])", "", "the division by the root of the head's width is missing"),
    (
        "np.sqrt(q.shape[-1])",
        "np.sqrt(len(x))",
        "divided by the root of the number of words: take the width of a head",
    ),
    right="each head by itself, then the matrix that mixes them",
)
def attention(x, weights, num_heads):
    """Causal attention of several heads with the matrices q, k, v and
    o.
    """
    q, k, v = (split(x @ weights[name], num_heads) for name in "qkv")
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    past = np.tri(len(x), dtype=bool)
    return join(softmax(np.where(past, scores, -np.inf)) @ v) @ weights["o"]


@exercise(
    lambda rng: [
        (np.array([[1.0, 3.0], [2.0, 2.0]]),),
        (rng.normal(size=(4, 6)) * 3 + 1,),
        (rng.normal(size=(5, 5)) * 0.01,),
        (np.array([[1e-3, -1e-3, 0.0]]),),
    ],
    (
        "axis=-1, keepdims=True)\n    variance",
        "axis=0, keepdims=True)\n    variance",
        "the mean is taken over the words: each word is normalised by itself",
    ),
    ("np.sqrt(variance + 1e-5)", "(variance + 1e-5)", "divided by the variance: take its root"),
    ("(x - mean) / ", "x / ", "the mean is not taken away"),
    (
        "variance + 1e-5",
        "variance",
        "1e-5 is missing under the root, which keeps it from dividing by 0",
    ),
    (
        "(x - mean) / np.sqrt(variance + 1e-5)",
        "(x - mean)",
        "only the mean is taken away: divide too",
    ),
    (
        "x.var(axis=-1, keepdims=True)",
        "x.var(axis=-1, keepdims=True, ddof=1)",
        "the variance divides by n - 1: here it divides by n",
    ),
    (
        "np.sqrt(variance + 1e-5)",
        "(np.sqrt(variance) + 1e-5)",
        "1e-5 is added to the root: add it to the variance, under the root",
    ),
    (
        "mean = x.mean(axis=-1, keepdims=True)\n    variance = x.var(axis=-1, keepdims=True)",
        "mean = x.mean(axis=-1)\n    variance = x.var(axis=-1)",
        "keepdims=True is missing: each word's mean must meet its own row",
    ),
    right="each word has mean 0 and spread 1",
)
def layer_norm(x):
    """Each row minus its mean, divided by the root of its variance
    plus 1e-5.
    """
    mean = x.mean(axis=-1, keepdims=True)
    variance = x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5)


@exercise(
    lambda rng: [(*_inputs(rng, 4, 6), 2), (*_inputs(rng, 1, 4), 2), (*_inputs(rng, 3, 8), 4)],
    (
        "x + attention(layer_norm(x), weights, num_heads)",
        "attention(layer_norm(x), weights, num_heads)",
        "the first x + is missing: attention is added to what came in",
    ),
    (
        "return x + np.maximum",
        "return np.maximum",
        "the second x + is missing: the feed-forward part is added to what came in",
    ),
    ("attention(layer_norm(x), ", "attention(x, ", "attention reads x itself: normalise it first"),
    (
        "np.maximum(0, layer_norm(x) @",
        "np.maximum(0, x @",
        "the feed-forward part reads x itself: normalise it first",
    ),
    (
        'np.maximum(0, layer_norm(x) @ weights["up"])',
        '(layer_norm(x) @ weights["up"])',
        "nothing is cut off at 0: two matrices without it are one matrix",
    ),
    (
        "x = x + attention(layer_norm(x), weights, num_heads)\n",
        "y = x\n    x = x + attention(layer_norm(x), weights, num_heads)\n    x, y = y, x\n",
        "attention is computed and then lost: the feed-forward part reads its sum",
    ),
    (
        "x = x + attention(layer_norm(x), weights, num_heads)\n"
        '    return x + np.maximum(0, layer_norm(x) @ weights["up"]) @ weights["down"]',
        "x = layer_norm(x + attention(x, weights, num_heads))\n"
        '    return layer_norm(x + np.maximum(0, x @ weights["up"]) @ weights["down"])',
        "the sums are normalised, as in 2017: here each part reads a norm",
    ),
    (
        "x = x + attention(layer_norm(x), weights, num_heads)\n"
        "    return x + np.maximum(0, layer_norm(x) @",
        "y = layer_norm(x)\n"
        "    x = x + attention(y, weights, num_heads)\n"
        "    return x + np.maximum(0, y @",
        "both parts read the same norm: the second reads what the first has added to",
    ),
    right="two parts, each reads a norm and adds to what came in",
)
def block(x, weights, num_heads):
    """Add attention to x, and to that feed-forward (up, cut at 0,
    down); each reads a norm.
    """
    x = x + attention(layer_norm(x), weights, num_heads)
    return x + np.maximum(0, layer_norm(x) @ weights["up"]) @ weights["down"]
