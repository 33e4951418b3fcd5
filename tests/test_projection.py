"""`llmbook.projection`: neighbours equal to SciPy's, the plane to that of PyTorch's SVD, and a gradient by hand."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from llmbook.projection import (
    contrastive_gradient,
    contrastive_map,
    kept_neighbours,
    neighbours,
    packed,
    principal_components,
    rounded,
)


def cloud(words: int = 60, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((words, d))


@given(st.integers(0, 50), st.integers(1, 12), st.integers(13, 80), st.integers(1, 7))
def test_neighbours_are_those_of_a_tree(seed: int, count: int, words: int, d: int) -> None:
    """SciPy's, which finds the word itself first; for all rows and for some."""
    x = cloud(words, d, seed).astype(np.float32)
    found = neighbours(x, count)
    there = cKDTree(x).query(x, count + 1)[0][:, 1:]
    distance = np.linalg.norm(x[found] - x[:, None], axis=2)
    assert np.allclose(distance, there, atol=1e-3)
    assert not (found == np.arange(words)[:, None]).any()
    some = np.array([words - 1, 0])
    assert np.array_equal(neighbours(x, count, some), found[some])


def test_more_rows_than_are_done_at_once() -> None:
    """Each of 2,500 points on a line has the two beside it."""
    line = np.arange(2500.0)[:, None]
    assert [set(row) for row in neighbours(line, 2)[1:-1].tolist()] == [
        {n - 1, n + 1} for n in range(1, 2499)
    ]


def test_the_plane_is_that_of_an_svd() -> None:
    """PyTorch's, but for the sign of an axis; and the share of its variance."""
    x = cloud(80, 6) * np.array([5.0, 3, 1, 1, 0.5, 0.1]) + 7
    places, share = principal_components(x)
    centred = torch.from_numpy(x - x.mean(0))
    _, sizes, axes = torch.linalg.svd(centred, full_matrices=False)
    theirs = (centred @ axes[:2].T).numpy()
    assert np.allclose(np.abs(places), np.abs(theirs), atol=1e-9)
    assert share == pytest.approx(float((sizes[:2] ** 2).sum() / (sizes**2).sum()), abs=1e-12)


@given(st.integers(0, 100), st.integers(1, 6), st.integers(1, 5))
def test_the_gradient_by_hand_is_that_of_autograd(seed: int, batch: int, negatives: int) -> None:
    """Of the loss as its formula stands there, in float64, with words that are drawn twice."""
    dice = torch.Generator().manual_seed(seed)
    y = torch.randn(7, 2, generator=dice, dtype=torch.float64, requires_grad=True)
    i, j = torch.randint(7, (2, batch), generator=dice)
    k = torch.randint(7, (batch, negatives), generator=dice)
    pull = 1 / (1 + (y[i] - y[j]).square().sum(-1))
    push = 1 / (1 + (y[i][:, None] - y[k]).square().sum(-1))
    loss = -(pull / (pull + push.sum(1))).log().sum()
    (theirs,) = torch.autograd.grad(loss, y)
    assert torch.allclose(contrastive_gradient(y.detach(), i, j, k), theirs, atol=1e-12)


def test_a_map_keeps_the_neighbours_of_a_ring_that_a_plane_folds() -> None:
    """It goes three times around where it is seen widest: the plane puts three places on one, the map does not."""
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    turns = ((1, 1), (3, 2))
    ring = np.stack([w * f(n * angle) for n, w in turns for f in (np.sin, np.cos)], axis=1)
    near = neighbours(ring, 6)
    first = np.random.default_rng(0).standard_normal((400, 2))
    made = contrastive_map(near, first, steps=600, batch=512, seed=1)
    assert np.array_equal(made, contrastive_map(near, first, steps=600, batch=512, seed=1))
    plane, _ = principal_components(ring)
    assert kept_neighbours(ring, made, 6) > 0.8 > 0.6 > kept_neighbours(ring, plane, 6)
    assert kept_neighbours(ring, first, 6) < 0.1


@given(st.integers(0, 20))
def test_what_is_only_turned_or_stretched_keeps_all(seed: int) -> None:
    """And the order of rows that are asked does not matter."""
    x = cloud(30, 2, seed)
    turned = 3 * x @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 5
    assert kept_neighbours(x, turned, 4) == 1
    of = np.random.default_rng(seed).permutation(30)
    assert kept_neighbours(x, x[::-1].copy(), 4) == kept_neighbours(x, x[::-1].copy(), 4, of)


@given(st.integers(0, 30))
def test_eight_bits_are_off_by_half_a_step_at_most(seed: int) -> None:
    x = cloud(20, 8, seed)
    numbers, step = rounded(x)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert np.abs(numbers * step - unit).max() <= step / 2 + 1e-12
    assert np.abs(numbers).max() == 127


def test_the_file_gives_back_words_places_and_vectors() -> None:
    """Read as the page reads it, with a word of another alphabet."""
    places = np.array([[0.0, -1.0], [2.0, 1.0], [4.0, 3.0]])
    numbers, _ = rounded(cloud(3, 4))
    file = packed(["a", "東京", '"'], places, numbers)
    length = int.from_bytes(file[:4], "little")
    head, rest = json.loads(file[4 : 4 + length]), file[4 + length :]
    assert head == {"words": ["a", "東京", '"'], "dims": 4}
    assert length % 4 == 0
    at = np.frombuffer(rest[:12], "<u2").reshape(3, 2)
    assert at.tolist() == [[0, 0], [32768, 32768], [65535, 65535]]
    assert np.array_equal(np.frombuffer(rest[12:], np.int8).reshape(3, 4), numbers)


@pytest.mark.plain
def test_what_cannot_be_asked_is_named() -> None:
    with pytest.raises(ValueError, match="count must be from 1 to 2, got 3"):
        neighbours(cloud(3), 3)
    with pytest.raises(ValueError, match="3 vectors have 4 places"):
        kept_neighbours(cloud(3), cloud(4), 1)
