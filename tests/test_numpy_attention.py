"""`llmbook.numpy_attention` against PyTorch, by hand, and by properties."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from llmbook.numpy_attention import self_attention, softmax

ROWS = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=1, max_dims=3, max_side=6),
    elements=st.floats(-1e3, 1e3),
)
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 6)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Standard normal numbers, the same each time."""
    return np.random.default_rng(seed).standard_normal(shape)


def causal(seq: int) -> np.ndarray:
    """Each position may attend to itself and to those before it."""
    return np.tril(np.ones((seq, seq), dtype=bool))


@given(ROWS, st.floats(-1e3, 1e3))
def test_softmax_is_a_distribution_and_ignores_a_shift(scores: np.ndarray, shift: float) -> None:
    """Rows are non-negative and sum to one; a constant added to all scores changes nothing."""
    weights = softmax(scores)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    np.testing.assert_allclose(softmax(scores + shift), weights, atol=1e-12)


@given(ROWS)
def test_softmax_equals_torch(scores: np.ndarray) -> None:
    """Ours and torch's softmax agree to rounding."""
    theirs = torch.softmax(torch.from_numpy(scores), dim=-1).numpy()
    np.testing.assert_allclose(softmax(scores), theirs, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_softmax_keeps_the_dtype_and_its_argument(dtype: type[np.floating]) -> None:
    """Each float stays what it was, scores beyond exp's range stay finite, nothing is mutated."""
    scores = np.array([[1e4, 1e4, -1e4], [0, -np.inf, 0]], dtype)
    weights = softmax(scores)
    assert weights.dtype == dtype
    np.testing.assert_array_equal(weights, [[0.5, 0.5, 0], [0.5, 0, 0.5]])
    np.testing.assert_array_equal(scores, np.array([[1e4, 1e4, -1e4], [0, -np.inf, 0]], dtype))


@pytest.mark.parametrize("batch", [(), (3,), (2, 4)], ids=["plain", "batch", "batch-heads"])
@pytest.mark.parametrize("query_len", [1, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_self_attention_equals_torch(batch: tuple[int, ...], query_len: int, masked: bool) -> None:
    """Ours and torch's attention agree to rounding, with queries as few or as many as keys."""
    query, key, value = normal(*batch, query_len, 8), normal(*batch, 5, 8), normal(*batch, 5, 3)
    mask = normal(query_len, 5) > 0 if masked else None
    if mask is not None:
        mask[:, 0] = True
    theirs = F.scaled_dot_product_attention(
        torch.from_numpy(query),
        torch.from_numpy(key),
        torch.from_numpy(value),
        attn_mask=None if mask is None else torch.from_numpy(mask),
    )
    output, weights = self_attention(query, key, value, mask)
    assert weights.shape == (*batch, query_len, 5)
    np.testing.assert_allclose(output, theirs.numpy(), rtol=0, atol=2e-15)


def test_unprojected_noise_attends_to_itself() -> None:
    """Six random vectors of width 64 used as query, key and value: the lesson's own example."""
    x = normal(6, 64)
    _, weights = self_attention(x, x, x)
    golden = [0.995009, 0.997545, 0.998089, 0.999850, 0.999161, 0.993403]
    np.testing.assert_allclose(weights.diagonal(), golden, atol=5e-7)


def test_equal_scores_average_the_values() -> None:
    """A query of zeros scores every key alike, so the output is the values' mean."""
    value = normal(7, 3)
    output, weights = self_attention(np.zeros((2, 4)), normal(7, 4), value)
    np.testing.assert_allclose(weights, 1 / 7)
    np.testing.assert_allclose(output, np.broadcast_to(value.mean(axis=0), (2, 3)))


@given(seed=SEEDS, query_len=SIZES, key_len=SIZES, width=SIZES)
def test_rows_of_weights_sum_to_one(seed: int, query_len: int, key_len: int, width: int) -> None:
    """Every query hands out a total weight of one, and outputs stay between the values."""
    query, key = normal(query_len, width, seed=seed), normal(key_len, width, seed=seed + 1)
    value = normal(key_len, 2, seed=seed + 2)
    output, weights = self_attention(query, key, value)
    np.testing.assert_allclose(weights.sum(axis=-1), 1)
    assert (output <= value.max(axis=0) + 1e-12).all()
    assert (output >= value.min(axis=0) - 1e-12).all()


@given(seed=SEEDS, seq=SIZES)
def test_self_attention_is_permutation_equivariant(seed: int, seq: int) -> None:
    """Shuffled positions give shuffled outputs: attention alone knows no order."""
    x = normal(seq, 4, seed=seed)
    order = np.random.default_rng(seed).permutation(seq)
    output, weights = self_attention(x, x, x)
    shuffled_output, shuffled_weights = self_attention(x[order], x[order], x[order])
    np.testing.assert_allclose(shuffled_output, output[order], atol=1e-12)
    np.testing.assert_allclose(shuffled_weights, weights[np.ix_(order, order)], atol=1e-12)


@given(seed=SEEDS, seq=SIZES)
def test_causal_mask_hides_the_future(seed: int, seq: int) -> None:
    """Weights above the diagonal are zero, and the first position returns its own value."""
    x = normal(seq, 4, seed=seed)
    output, weights = self_attention(x, x, x, causal(seq))
    assert not np.triu(weights, k=1).any()
    np.testing.assert_allclose(output[0], x[0])
    np.testing.assert_allclose(weights.sum(axis=-1), 1)


def test_large_scores_stay_finite() -> None:
    """Scores ten thousand times too large saturate the softmax and do not overflow it."""
    x = 1e4 * normal(6, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output, weights = self_attention(x, x, x)
    np.testing.assert_allclose(weights, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(output, x)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_is_kept(dtype: type[np.floating]) -> None:
    """No step of the computation promotes half or single precision."""
    x = normal(3, 4).astype(dtype)
    output, weights = self_attention(x, x, x, causal(3))
    assert output.dtype == weights.dtype == dtype


def test_leading_axes_broadcast() -> None:
    """Keys and values without a head axis serve every head, and a mask may differ per item."""
    query, key, value = normal(2, 3, 5, 4), normal(2, 1, 5, 4, seed=1), normal(5, 6)
    mask = np.stack([causal(5), np.ones((5, 5), dtype=bool)])[:, None]
    output, weights = self_attention(query, key, value, mask)
    assert output.shape == (2, 3, 5, 6)
    assert weights.shape == (2, 3, 5, 5)
    for item in range(2):
        for head in range(3):
            one, _ = self_attention(query[item, head], key[item, 0], value, mask[item, 0])
            np.testing.assert_allclose(output[item, head], one)


def test_padding_mask_equals_leaving_the_padding_out() -> None:
    """A mask of one row hides the same keys from every query."""
    x = normal(5, 4)
    masked, _ = self_attention(x, x, x, np.array([[True, True, True, False, False]]))
    short, _ = self_attention(x, x[:3], x[:3])
    np.testing.assert_allclose(masked, short)


def test_a_query_without_keys_is_refused() -> None:
    """A softmax over nothing is 0/0, so it is an error and not NaN."""
    mask = causal(3)
    mask[1] = False
    with pytest.raises(ValueError, match="at least one query without any key"):
        self_attention(normal(3, 4), normal(3, 4), normal(3, 4), mask)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((4,), (3, 4), (3, 4)), r"query needs the axes \(..., seq, d\), got shape \(4,\)"),
        (((3, 4), (4,), (3, 4)), r"key needs the axes \(..., seq, d\), got shape \(4,\)"),
        (((3, 4), (3, 4), (4,)), r"value needs the axes \(..., seq, d\), got shape \(4,\)"),
        (((3, 4), (3, 5), (3, 5)), r"same last axis, got shapes \(3, 4\) and \(3, 5\)"),
        (((3, 4), (3, 4), (2, 4)), r"as many positions, got shapes \(3, 4\) and \(2, 4\)"),
        (
            ((2, 3, 4), (5, 3, 4), (5, 3, 4)),
            r"must broadcast, got shapes \(2, 3, 4\), \(5, 3, 4\) and \(5, 3, 4\)",
        ),
    ],
)
def test_wrong_shapes_are_named(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    """Each error quotes the shapes that do not fit."""
    with pytest.raises(ValueError, match=message):
        self_attention(*(normal(*shape) for shape in shapes))


@pytest.mark.plain
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((3, 3)), r"mask must be boolean \(True = may attend\), got dtype float64"),
        (np.ones((3, 2), dtype=bool), r"\(3, 2\) does not broadcast to the scores' \(3, 3\)"),
        (np.ones((2, 3, 3), dtype=bool), r"\(2, 3, 3\) does not broadcast to the scores' \(3, 3\)"),
    ],
)
def test_wrong_masks_are_named(mask: np.ndarray, message: str) -> None:
    """A mask of numbers, or of another shape, is an error that says so."""
    with pytest.raises(ValueError, match=message):
        self_attention(normal(3, 4), normal(3, 4), normal(3, 4), mask)


@pytest.mark.parametrize(("batch", "query", "key"), [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0)])
def test_nothing_is_as_in_torch(batch: int, query: int, key: int) -> None:
    """No text, no position that looks, or none that is looked at."""
    shapes = [(batch, query, 5), (batch, key, 5), (batch, key, 6)]
    output, weights = self_attention(*map(np.ones, shapes))
    query_, key_, value_ = (torch.ones(shape).double() for shape in shapes)
    expected = F.scaled_dot_product_attention(query_, key_, value_)
    np.testing.assert_array_equal(output, expected.numpy())
    assert weights.shape == (batch, query, key)
