"""Checks for the lab on attention: right answers pass in any form, wrong ones hear why.

A check computes the right answer from the same inputs and, where yours differs, tries the usual
mistakes until one gives exactly what you have. Two right decimals are enough.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmbook.labs.grader import WrongAnswer
from llmbook.numpy_attention import softmax

ABSOLUTE, RELATIVE = 0.006, 0.005  # two decimals, or the precision of bfloat16
IMPOSSIBLE = 100.0  # a score this far below the others gets no weight in any float format


def no_later(words: Sequence[Any]) -> np.ndarray:
    """The mask that a lab asks for, so that its checks can be called without showing it.

    Args:
        words: One entry for each position.

    Returns:
        `True` where a query (row) may look at a key (column): at itself and at what came before.

    Examples:
        >>> no_later(["a", "b"]).astype(int).tolist()
        [[1, 0], [1, 1]]
    """
    places = np.arange(len(words))
    return np.asarray(places[:, None] >= places)


@np.errstate(all="ignore")  # a mistake may overflow while it is tried
def check_scores(answer: Any, query: Any, key: Any) -> str:
    """Check the raw scores: the dot product of each query with each key.

    Args:
        answer: Yours, one row for each query and one column for each key.
        query: One row of numbers for each query.
        key: One row of numbers for each key.

    Returns:
        A line of praise.

    Raises:
        WrongAnswer: If the scores are others, with the reason.

    Examples:
        >>> check_scores([[1.0, 2.0]], query=[[1.0, 1.0]], key=[[1.0, 0.0], [0.0, 2.0]])
        'Right: a score for each pair of query and key.'
        >>> check_scores([[1.0], [2.0]], query=[[1.0, 1.0]], key=[[1.0, 0.0], [0.0, 2.0]])
        Traceback (most recent call last):
        llmbook.labs.grader.WrongAnswer: transposed: a row belongs to a query, a column to a key
    """
    q, k = _input(query), _input(key)
    scores = q @ k.T
    root = np.sqrt(q.shape[-1])
    _compare(
        answer,
        scores,
        "scores",
        [
            (scores.T, "transposed: a row belongs to a query, a column to a key"),
            (scores / root, "already divided by √d_k: that is the next step"),
            (q @ q.T, "these are dot products of queries with queries: the keys are missing"),
            (k @ k.T, "these are dot products of keys with keys: the queries are missing"),
            (_maybe(lambda: q * k), "these are products number by number: sum them for each pair"),
            (_maybe(lambda: q.T @ k), "q.T @ k mixes the numbers and not the words: use q @ k.T"),
            (softmax(scores / root), "these are weights already: the softmax comes later"),
        ],
    )
    return "Right: a score for each pair of query and key."


@np.errstate(all="ignore")
def check_scaled(answer: Any, query: Any, key: Any) -> str:
    """Check the scores after the division by the root of the vectors' length.

    Args:
        answer: Yours, one row for each query and one column for each key.
        query: One row of numbers for each query.
        key: One row of numbers for each key.

    Returns:
        A line of praise.

    Raises:
        WrongAnswer: If the scores are others, with the reason.

    Examples:
        >>> check_scaled([[2.0]], query=[[1.0, 1.0, 1.0, 1.0]], key=[[1.0, 1.0, 1.0, 1.0]])
        'Right: divided by √d_k = 2.'
    """
    q, k = _input(query), _input(key)
    scores, d_k = q @ k.T, q.shape[-1]
    scaled = scores / np.sqrt(d_k)
    _compare(
        answer,
        scaled,
        "scaled scores",
        [
            (scaled.T, "transposed: a row belongs to a query, a column to a key"),
            (scores, "these are the scores without the division by √d_k"),
            (scores / d_k, "divided by d_k instead of by its root"),
            (scores * np.sqrt(d_k), "multiplied by √d_k instead of divided by it"),
            (scores / np.sqrt(len(k)), "divided by the root of the number of words, not of d_k"),
            (scores / scores.std(), "divided by the scores' own spread, not by √d_k"),
            (softmax(scaled), "these are weights already: the softmax comes later"),
        ],
    )
    return f"Right: divided by √d_k = {np.sqrt(d_k):g}."


@np.errstate(all="ignore")
def check_masked(answer: Any, query: Any, key: Any, mask: Any) -> str:
    """Check the scaled scores after the mask: minus infinity where looking is forbidden.

    A very negative number instead of minus infinity is right too, since its weight is zero.

    Args:
        answer: Yours, one row for each query and one column for each key.
        query: One row of numbers for each query.
        key: One row of numbers for each key.
        mask: `True` where the query may look at the key.

    Returns:
        A line of praise.

    Raises:
        WrongAnswer: If the scores are others, with the reason.

    Examples:
        >>> check_masked([[5.0, float("-inf")]], [[1.0]], [[5.0], [7.0]], [[True, False]])
        'Right: forbidden pairs can get no weight.'
    """
    q, k = _input(query), _input(key)
    allowed = _mask(mask, len(q), len(k))
    scaled = q @ k.T / np.sqrt(q.shape[-1])
    floor = scaled.min() - IMPOSSIBLE

    def closed(where: np.ndarray, scores: np.ndarray = scaled) -> np.ndarray:
        return np.where(where, scores, -np.inf)

    _compare(
        answer,
        closed(allowed),
        "masked scores",
        [
            (scaled, "nothing is masked: the forbidden pairs still have their scores"),
            (
                np.where(allowed, scaled, 0.0),
                "forbidden scores are 0, and exp(0) is 1, so they get weight: use minus infinity",
            ),
            (
                np.where(allowed, scaled, np.inf),
                "forbidden scores are plus infinity: they would get all the weight",
            ),
            (closed(~allowed), "the mask is the wrong way round: True means may look"),
            (
                _maybe(lambda: closed(allowed.T)),
                "the mask is transposed: rows are queries, so each word sees what comes after it",
            ),
            (closed(allowed, q @ k.T), "masked, but without the division by √d_k"),
            (closed(allowed).T, "transposed: a row belongs to a query, a column to a key"),
            (softmax(closed(allowed)), "these are weights already: the softmax comes next"),
        ],
        floor=floor,
        nan="0 × infinity is NaN: choose with np.where instead of multiplying the mask",
    )
    return "Right: forbidden pairs can get no weight."


@np.errstate(all="ignore")
def check_weights(answer: Any, query: Any, key: Any, mask: Any = None) -> str:
    """Check the attention weights: a softmax over the keys, in each row by itself.

    Args:
        answer: Yours, one row for each query and one column for each key.
        query: One row of numbers for each query.
        key: One row of numbers for each key.
        mask: `True` where the query may look at the key; everywhere, when left out.

    Returns:
        A line of praise.

    Raises:
        WrongAnswer: If the weights are others, with the reason.

    Examples:
        >>> check_weights([[0.5, 0.5]], query=[[0.0]], key=[[1.0], [2.0]])
        'Right: each row is positive and sums to 1.'
        >>> check_weights([[1.0, 1.0]], query=[[0.0]], key=[[1.0], [2.0]])
        Traceback (most recent call last):
        llmbook.labs.grader.WrongAnswer: softmax ran over the queries: columns sum to 1, rows should
    """
    q, k = _input(query), _input(key)
    allowed = _mask(mask, len(q), len(k))
    scaled = q @ k.T / np.sqrt(q.shape[-1])
    masked = np.where(allowed, scaled, -np.inf)
    weights, exponentials = softmax(masked), np.exp(masked)
    by_column = softmax(masked.T).T
    _compare(
        answer,
        weights,
        "weights",
        [
            (by_column, "softmax ran over the queries: columns sum to 1, rows should"),
            (softmax(scaled.T).T * allowed,
             "softmax ran over the queries: columns sum to 1, rows should"),
            (softmax(scaled) * allowed,
             "the mask is applied after the softmax: rows no longer sum to 1"),
            (softmax(scaled), "the mask is missing: forbidden pairs have weight"),
            (softmax(np.where(allowed, scaled, 0.0)),
             "forbidden scores were 0 and not minus infinity: exp(0) is 1, so they have weight"),
            (_maybe(lambda: softmax(np.where(allowed.T, scaled, -np.inf))),
             "the mask is transposed: rows are queries, so each word sees what comes after it"),
            (exponentials, "these are the exponentials: divide each row by its sum"),
            (exponentials / exponentials.sum(),
             "divided by the sum over all pairs: each row must sum to 1 by itself"),
            (softmax(np.where(allowed, q @ k.T, -np.inf)),
             "the scores were not divided by √d_k before the softmax"),
            (np.where(allowed, 1.0, 0.0) / allowed.sum(axis=-1, keepdims=True),
             "these are equal weights: the scores play no part"),
            (np.exp2(masked) / np.exp2(masked).sum(axis=-1, keepdims=True),
             "these are powers of 2: the softmax takes powers of e"),
            (_maybe(lambda: masked / masked.sum(axis=-1, keepdims=True)),
             "divided without exp: weights are not shares of the scores"),
            (masked, "these are still scores: the softmax is missing"),
            (scaled, "these are still scores: the softmax is missing"),
            (weights.T, "transposed: a row belongs to a query, a column to a key"),
        ],
        nan="exp of a large score overflows: subtract each row's maximum first",
        rows_sum=True,
    )  # fmt: skip
    return "Right: each row is positive and sums to 1."


@np.errstate(all="ignore")
def check_output(answer: Any, query: Any, key: Any, value: Any, mask: Any = None) -> str:
    """Check the output: for each query the average of the values under its weights.

    Args:
        answer: Yours, one row for each query, as wide as a value.
        query: One row of numbers for each query.
        key: One row of numbers for each key.
        value: One row of numbers for each key.
        mask: `True` where the query may look at the key; everywhere, when left out.

    Returns:
        A line of praise.

    Raises:
        WrongAnswer: If the output is another, with the reason.

    Examples:
        >>> check_output([[5.0]], query=[[0.0]], key=[[1.0], [2.0]], value=[[0.0], [10.0]])
        'Right: this is scaled dot-product attention.'
    """
    q, k, v = _input(query), _input(key), _input(value)
    allowed = _mask(mask, len(q), len(k))
    scores = q @ k.T
    scaled = scores / np.sqrt(q.shape[-1])
    weights = softmax(np.where(allowed, scaled, -np.inf))
    output = weights @ v
    _compare(
        answer,
        output,
        "output",
        [
            (output.T, "transposed: a row belongs to a query"),
            (_maybe(lambda: weights.T @ v),
             "the weights are transposed: a row of them must meet the column of values"),
            (softmax(scaled) @ v, "the mask is missing: forbidden words contribute"),
            ((softmax(scaled) * allowed) @ v,
             "the mask is applied after the softmax: the weights no longer sum to 1"),
            (softmax(np.where(allowed, scores, -np.inf)) @ v,
             "the scores were not divided by √d_k before the softmax"),
            (_maybe(lambda: weights @ k), "this averages the keys: a word hands over its value"),
            (weights[..., None] * v, "the sum over the words is missing: use a matrix product"),
            (_maybe(lambda: weights * v), "* multiplies number by number: use @ to average"),
            (weights, "these are the weights: they must still be multiplied with the values"),
            (v, "these are the values themselves, not their averages"),
            (np.broadcast_to(v.mean(axis=0), output.shape),
             "these are plain averages: the weights play no part"),
        ],
    )  # fmt: skip
    return "Right: this is scaled dot-product attention."


Mistakes = Sequence[tuple[np.ndarray | None, str]]


def _compare(
    answer: Any,
    right: np.ndarray,
    name: str,
    mistakes: Mistakes,
    *,
    floor: float = -np.inf,
    nan: str = "",
    rows_sum: bool = False,
) -> None:
    """Return if the answer is right; otherwise raise with the first mistake that explains it."""
    given = _answer(answer, name)
    if np.isnan(given).any():
        raise WrongAnswer(f"the {name} contain NaN (not a number)" + (f": {nan}" if nan else ""))
    if np.isneginf(right).any():  # any very negative number stands for minus infinity
        given = np.where(given <= floor, -np.inf, given)
    if _same(given, right):
        return
    for wrong, reason in mistakes:
        if wrong is not None and _same(given, wrong):
            raise WrongAnswer(reason)
    fitted = _fit(given, right.shape)
    if fitted is None:
        raise WrongAnswer(
            f"the {name} should have the shape {right.shape}, yours have {given.shape}"
        )
    if rows_sum and (fitted < 0).any():
        raise WrongAnswer("a weight is negative: exp of a score never is")
    if rows_sum and not np.allclose(sums := fitted.sum(axis=-1), 1, atol=0.02):
        if np.allclose(fitted.sum(axis=0), 1, atol=0.02):
            raise WrongAnswer("softmax ran over the queries: columns sum to 1, rows should")
        row = int(np.argmax(abs(sums - 1)))
        raise WrongAnswer(f"row {row} sums to {sums[row]:.2f}: each row must sum to 1")
    off = ~_close(fitted, right)
    row, column = (int(i) for i in np.argwhere(off)[0])
    raise WrongAnswer(
        f"{off.sum()} of {off.size} numbers are wrong, the first in row {row}, column {column} "
        f"(counted from 0): yours is {fitted[row, column]:.3g}"
    )


def _same(given: np.ndarray, wanted: np.ndarray) -> bool:
    fitted = _fit(given, wanted.shape)
    return fitted is not None and bool(_close(fitted, wanted).all())


def _close(given: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    close: np.ndarray = np.isclose(given, wanted, rtol=RELATIVE, atol=ABSOLUTE)
    return close


def _fit(given: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in this shape if only axes of length 1 must come or go, else `None`."""
    if [n for n in given.shape if n != 1] != [n for n in shape if n != 1]:
        return None
    if given.shape[-2:] == shape[::-1] != shape:  # a row where a column should be
        return None
    return given.reshape(shape)


def _maybe(compute: Any) -> np.ndarray | None:
    """The result of a mistake, or `None` where the shapes do not even allow it."""
    try:
        return np.asarray(compute())
    except ValueError:
        return None


def _plain(numbers: Any) -> Any:
    """Tensors, also inside lists, as arrays; torch need not be installed."""
    if isinstance(numbers, (list, tuple)):
        return [_plain(item) for item in numbers]
    if hasattr(numbers, "detach"):
        return numbers.detach().cpu().double().numpy()
    return numbers


def _answer(answer: Any, name: str) -> np.ndarray:
    """What was handed in, as float64."""
    if answer is None or answer is ...:
        raise WrongAnswer(f"there are no {name} yet: put your code in place of the dots")
    try:
        array = np.asarray(_plain(answer))
    except ValueError:
        raise WrongAnswer(f"the {name} have rows of different lengths") from None
    if array.dtype.kind not in "fiub":
        raise WrongAnswer(f"the {name} must be numbers, got {type(answer).__name__}")
    return array.astype(np.float64)


def _input(numbers: Any) -> np.ndarray:
    array = np.asarray(_plain(numbers), dtype=np.float64)
    if array.ndim != 2:
        raise ValueError(f"a lab's query, key and value have two axes, got shape {array.shape}")
    return array


def _mask(mask: Any, queries: int, keys: int) -> np.ndarray:
    if mask is None:
        return np.ones((queries, keys), dtype=bool)
    allowed = np.broadcast_to(np.asarray(_plain(mask), dtype=bool), (queries, keys))
    if not allowed.any(axis=-1).all():
        raise ValueError("mask leaves at least one query without any key to attend to")
    return allowed
