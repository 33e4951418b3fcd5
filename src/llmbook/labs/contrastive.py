"""Lab: the contrastive loss, its gradient, and two halves of a digit that find each other."""

import numpy as np

from llmbook.labs.grader import exercise


def _pair(rng, n=4, d=3):
    return rng.normal(size=(n, d)), rng.normal(size=(n, d))


_EASY = np.array([[2.0, 0.0], [0.0, 3.0]])


@exercise(
    lambda rng: [
        (_EASY, _EASY, 0.5),
        (*_pair(rng), 1.0),
        (*_pair(rng, 5, 2), 0.07),
        (*_pair(rng, 1, 4), 1.0),
    ],
    ("unit(a) @ unit(b).T", "a @ b.T", "the rows have their own lengths: make each of length 1"),
    ("unit(a) @ unit(b).T", "unit(b) @ unit(a).T", "transposed: a row belongs to the first kind"),
    ("/ temperature", "* temperature", "multiplied by the temperature: a low one must sharpen"),
    (" / temperature", "", "the temperature is missing: divide by it"),
    ("unit(a) @ unit(b).T", "a @ unit(b).T", "only one of the two has rows of length 1"),
    ("axis=1", "axis=0", "columns were made of length 1: a picture or text is a row"),
    right="a cosine for each pair, divided by the temperature",
)
def similarities(a, b, temperature):
    """The cosine of each row of a with each row of b, divided by the
    temperature.
    """

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    return unit(a) @ unit(b).T / temperature


@exercise(
    lambda rng: [
        (np.array([[0.0, 0.0], [0.0, np.log(3)]]),),
        (rng.normal(size=(3, 4)),),
        (np.array([[1000.0, 0.0], [-1000.0, -1000.0]]),),
    ],
    (
        "axis=1, keepdims=True))\n",
        "axis=0, keepdims=True))\n",
        "the sum runs down the columns: each row by itself",
    ),
    (
        "logits - logits.max(axis=1, keepdims=True)",
        "logits",
        "large numbers overflow: take each row's maximum away before exp",
    ),
    (
        "shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))",
        "np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)",
        "these are probabilities: take their logarithm",
    ),
    (
        "shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))",
        "np.log(np.exp(shifted).sum(axis=1, keepdims=True)) - shifted",
        "the sign is reversed: a log-probability is never above 0",
    ),
    (
        "shifted - np.log",
        "shifted + np.log",
        "the sum of the exponentials is taken away, not added",
    ),
    right="exponentials sum to 1, however large the numbers",
)
def log_softmax(logits):
    """The logarithm of the softmax of each row."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@exercise(
    lambda rng: [
        (np.zeros((4, 4)),),
        (rng.normal(size=(3, 3)),),
        (rng.normal(size=(5, 5)) * 4,),
        (np.array([[5.0]]),),
    ],
    (
        "-(np.trace(rows) + np.trace(columns))",
        "(np.trace(rows) + np.trace(columns))",
        "the sign is missing: a loss is minus the log-probability",
    ),
    (
        "-(np.trace(rows) + np.trace(columns)) / (2 * len(logits))",
        "-np.trace(rows) / len(logits)",
        "only rows are asked: a text must find its picture too",
    ),
    (
        "-(np.trace(rows) + np.trace(columns)) / (2 * len(logits))",
        "-np.trace(columns) / len(logits)",
        "only columns are asked: a picture must find its text too",
    ),
    ("(2 * len(logits))", "len(logits)", "the two directions are added: take their mean"),
    ("(2 * len(logits))", "2", "this is a sum over the pairs: take the mean"),
    (
        "np.trace(rows) + np.trace(columns)",
        "rows.sum() / len(rows) + columns.sum() / len(rows)",
        "all pairs count as right ones: only those on the diagonal belong together",
    ),
    (
        "log_softmax(logits), log_softmax(logits.T)",
        "logits, logits.T",
        "these are similarities: take the log-softmax of rows and columns first",
    ),
    right="each finds its other half, in both directions",
)
def clip_loss(logits):
    """The mean of two cross-entropies: each row finds its column,
    each column its row.
    """
    rows, columns = log_softmax(logits), log_softmax(logits.T)
    return -(np.trace(rows) + np.trace(columns)) / (2 * len(logits))


@exercise(
    lambda rng: [(np.zeros((2, 2)),), (rng.normal(size=(4, 4)),), (rng.normal(size=(3, 3)) * 5,)],
    ("- 2 * np.eye(n)", "", "the right answers are not taken away: 1 for each row and each column"),
    ("- 2 * np.eye(n)", "- np.eye(n)", "the diagonal is right in both directions: take 2 away"),
    ("log_softmax(logits.T)).T", "log_softmax(logits.T))", "the columns' part must be turned back"),
    (" / (2 * n)", "", "the mean is missing: divide as the loss does"),
    (
        "(rows + columns - 2 * np.eye(n))",
        "(2 * np.eye(n) - rows - columns)",
        "the sign is reversed: the gradient is probability minus what is right",
    ),
    (
        "(rows + columns - 2 * np.eye(n)) / (2 * n)",
        "(rows - np.eye(n)) / n",
        "only the rows' part is there: the columns ask too",
    ),
    right="probability minus what is right, both ways",
)
def gradient(logits):
    """The derivative of the loss by each of the logits."""
    n = len(logits)
    rows = np.exp(log_softmax(logits))
    columns = np.exp(log_softmax(logits.T)).T
    return (rows + columns - 2 * np.eye(n)) / (2 * n)


@exercise(
    lambda rng: [(np.eye(3),), (1 - np.eye(2),), (rng.normal(size=(20, 20)) + 1.5 * np.eye(20),)],
    ("axis=1", "axis=0", "this asks the columns: for each row, is the largest in its own column?"),
    ("argmax", "argmin", "this looks for the smallest"),
    (".mean()", ".sum()", "this is a count: take the share"),
    ("np.arange(len(logits))", "0", "the right column is that of the row's own number"),
    right="the share of rows whose own column is the largest",
)
def found(logits):
    """The share of rows whose largest number stands on the diagonal."""
    return (logits.argmax(axis=1) == np.arange(len(logits))).mean()


def train(pairs, similarities, gradient, steps=300, width=16, temperature=0.1, seed=0):
    """Learn two matrices, one for each kind, so that pairs find each other.

    Args:
        pairs: Two tables with a row for each pair.
        similarities: Your function.
        gradient: Your function.
        steps: Of Adam, each with 128 pairs.
        width: Numbers of the common space.
        temperature: Of the loss.
        seed: Of first weights and batches.

    Returns:
        The two matrices.
    """
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(each.shape[1], width)) / each.shape[1] ** 0.5 for each in pairs]
    mean, square = ([np.zeros_like(w) for w in weights] for _ in range(2))
    for step in range(1, steps + 1):
        rows = rng.choice(len(pairs[0]), 128, replace=False)
        seen = [each[rows] for each in pairs]
        made = [x @ w for x, w in zip(seen, weights)]
        units = [y / np.linalg.norm(y, axis=1, keepdims=True) for y in made]
        slope = gradient(similarities(*made, temperature)) / temperature
        for i, by_unit in enumerate((slope @ units[1], slope.T @ units[0])):
            along = (by_unit * units[i]).sum(axis=1, keepdims=True)  # lengths do not count
            by_made = (by_unit - along * units[i]) / np.linalg.norm(made[i], axis=1, keepdims=True)
            by_weight = seen[i].T @ by_made
            mean[i] += 0.1 * (by_weight - mean[i])
            square[i] += 0.01 * (by_weight**2 - square[i])
            ahead = mean[i] / (1 - 0.9**step)
            weights[i] = weights[i] - 0.01 * ahead / (np.sqrt(square[i] / (1 - 0.99**step)) + 1e-8)
    return weights
