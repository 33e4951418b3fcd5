"""`llmbook.positions` by its formula, its geometry, and the map that shifts it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbook.positions import shift_matrix, sinusoidal


def test_each_number_is_the_papers_formula() -> None:
    """Written out once more, number by number, as the paper has it."""
    rows = sinusoidal(50, 16)
    for position in (0, 1, 7, 49):
        for i in range(8):
            angle = position / 10_000 ** (2 * i / 16)
            assert rows[position, 2 * i] == pytest.approx(math.sin(angle), abs=1e-12)
            assert rows[position, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-12)


@given(st.integers(0, 200), st.integers(-100, 100), st.sampled_from([2, 8, 64]))
def test_one_matrix_shifts_every_position(position: int, steps: int, d_model: int) -> None:
    """Relative position is a linear map of the encoding, the same wherever it is applied."""
    if position + steps < 0:
        steps = -steps
    rows = sinusoidal(position + abs(steps) + 1, d_model)
    shifted = shift_matrix(steps, d_model) @ rows[position]
    np.testing.assert_allclose(shifted, rows[position + steps], atol=1e-12)


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_shifts_add_up_and_keep_lengths(first: int, second: int) -> None:
    """Shifting twice is shifting by the sum, and every shift is a rotation."""
    both = shift_matrix(first, 8) @ shift_matrix(second, 8)
    np.testing.assert_allclose(both, shift_matrix(first + second, 8), atol=1e-12)
    np.testing.assert_allclose(both @ both.T, np.eye(8), atol=1e-12)


def test_the_dot_product_of_two_positions_depends_on_their_distance_alone() -> None:
    """Every diagonal of the matrix of dot products is constant."""
    rows = sinusoidal(40, 32)
    products = rows @ rows.T
    for distance in range(40):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-12)
    np.testing.assert_allclose(np.diagonal(products), 16)


@pytest.mark.parametrize("d_model", [0, -2, 5])
def test_an_odd_or_empty_width_is_refused(d_model: int) -> None:
    """The hands come in pairs of sine and cosine."""
    with pytest.raises(ValueError, match=f"d_model must be even and positive, got {d_model}"):
        sinusoidal(3, d_model)
    with pytest.raises(ValueError, match=f"got {d_model}"):
        shift_matrix(3, d_model)


def test_a_negative_length_is_refused() -> None:
    """No positions is an empty array; fewer is a mistake."""
    assert sinusoidal(0, 4).shape == (0, 4)
    with pytest.raises(ValueError, match="seq must not be negative, got -1"):
        sinusoidal(-1, 4)
