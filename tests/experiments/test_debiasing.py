"""Directions taken out of vectors: nothing is left along them, and probes find what was planted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbook.experiments.debiasing import directions, measure, neighbours, probe, without


@given(st.integers(0, 500), st.integers(1, 4))
def test_nothing_is_left_along_what_was_taken_out(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    axes = directions(random.standard_normal((4, 6)), count)
    np.testing.assert_allclose(axes @ axes.T, np.eye(count), atol=1e-9)
    vectors = random.standard_normal((9, 6))
    left = without(vectors, axes)
    np.testing.assert_allclose(left @ axes.T, 0, atol=1e-9)
    np.testing.assert_allclose(without(left, axes), left, atol=1e-9)


def test_the_direction_points_from_the_second_word_to_the_first() -> None:
    shift = np.array([0.0, 2.0, 0.0])
    noise = 0.1 * np.random.default_rng(0).standard_normal((8, 3))
    (axis,) = directions(shift + noise)
    assert axis @ shift > 1.99
    (turned,) = directions(-(shift + noise))
    np.testing.assert_allclose(turned, -axis)


def test_a_probe_finds_a_planted_line_and_nothing_after_it_was_taken_out() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(600) % 2 == 0
    vectors = random.standard_normal((600, 10))
    vectors[:, 0] += np.where(labels, 3, -3)
    right, axis = probe(vectors, labels)
    assert right > 0.98
    assert abs(axis[0, 0]) > 0.95
    assert abs(probe(without(vectors, np.eye(10)[:1]), labels)[0] - 0.5) < 0.1


def test_neighbours_find_two_rings_that_no_line_divides() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2 == 0
    centres = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0.0]])
    place = np.where(labels, random.integers(0, 2, 400), random.integers(2, 4, 400))
    vectors = centres[place] + 0.1 * random.standard_normal((400, 3))
    assert probe(vectors, labels)[0] < 0.7
    assert neighbours(vectors, labels) > 0.98
    assert abs(neighbours(vectors, random.permutation(labels)) - 0.5) < 0.1


def test_more_directions_leave_a_probe_less_and_random_ones_do_not() -> None:
    rows = measure(rounds=(0, 4), each=200)["rounds"]
    assert rows[0]["other"] > 0.98
    assert rows[1]["other"] < 0.8 < rows[1]["random"]
    assert 0.45 < rows[1]["by lot"] < 0.65


def test_less_is_gone_from_words_that_no_direction_was_learned_from() -> None:
    (row,) = measure(rounds=(16,))["rounds"]
    assert row["learned"] < 0.55 < row["other"]
    assert row["by lot"] < row["other"]


def test_what_cannot_be_probed_is_refused() -> None:
    with pytest.raises(ValueError, match="labels must be of at least four words"):
        probe(np.eye(4), np.ones(4, dtype=bool))
    with pytest.raises(ValueError, match="count must be from 1 to 3 pairs, got 4"):
        directions(np.eye(3), 4)
