"""`llmbook.experiments.repetition`: the task can be solved, and one layer cannot."""

import torch

from llmbook.experiments.repetition import (
    LENGTH,
    PERIODS,
    SYMBOLS,
    Setup,
    Stack,
    continued,
    repeating,
)
from llmbook.experiments.results import recorded


def test_texts_repeat_and_what_is_known_follows_from_them() -> None:
    """No symbol twice in a period, and the symbol after the last occurrence is always right."""
    text, known = repeating(200, torch.Generator().manual_seed(0))
    assert text.shape == (200, LENGTH)
    assert known.shape == (200, LENGTH - 1)
    periods = set()
    for row, sure in zip(text.tolist(), known, strict=True):
        period = row.index(row[0], 1)
        periods.add(period)
        assert len(set(row[:period])) == period
        assert row[period:] == row[:-period]
        assert sure.nonzero()[:, 0].tolist() == list(range(period, LENGTH - 1))
        for place in sure.nonzero()[:, 0].tolist():
            assert row[place + 1] == row[row.index(row[place]) + 1]
    assert periods == set(range(PERIODS[0], PERIODS[1] + 1))
    assert max(periods) <= SYMBOLS


def test_no_position_sees_what_comes() -> None:
    """A change of the last symbol changes no prediction before it."""
    torch.manual_seed(0)
    stack, (text, _) = Stack(2), repeating(3, torch.Generator().manual_seed(0))
    other = text.clone()
    other[:, -1] = (other[:, -1] + 1) % SYMBOLS
    before, after = stack(text), stack(other)
    assert before.shape == (3, LENGTH, SYMBOLS)
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert not torch.isclose(before[:, -1], after[:, -1]).all()


def test_a_seed_decides_the_result() -> None:
    """And torch's own random state is left alone."""
    small = Setup(batch=4, tested=8)
    state = torch.get_rng_state()
    first = continued(1, 3, 1, small)
    assert torch.equal(torch.get_rng_state(), state)
    assert continued(1, 3, 1, small) == first
    assert 0 <= first <= 1


def test_two_layers_do_in_the_record_what_one_does_not() -> None:
    """Even with four times the steps."""
    for run in recorded("repetition"):
        assert run["two"] > 0.99
        assert run["one"] < run["one longer"] < 0.55
