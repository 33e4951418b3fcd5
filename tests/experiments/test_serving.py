"""What a token costs in use: times of passes, and joules within a range of watts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbook.book.cost import seconds
from llmbook.experiments.results import recorded
from llmbook.experiments.serving import (
    BATCHES,
    READ,
    joules,
    of_training,
    of_writing,
)
from llmbook.pretrained import smollm2 as load


@pytest.mark.model
def test_every_batch_is_timed() -> None:
    found = of_writing((1, 3), repeats=1)
    assert set(found) == {"1", "3"}
    assert all(taken > 0 for taken in found.values())


@pytest.mark.model
def test_training_takes_longer_than_reading_and_leaves_the_model_as_it_was() -> None:
    model, _ = load()
    before = [weight.requires_grad for weight in model.parameters()]
    assert of_training(repeats=1) > 0
    assert [weight.requires_grad for weight in model.parameters()] == before
    assert all(weight.grad is None for weight in model.parameters())
    (record,) = recorded("serving")
    assert record["training"] > 2 * record["reading"]


def test_a_token_in_company_costs_less_than_alone() -> None:
    """In the record, a token among 32 takes a fifth of the time at most, and one that is read too."""
    (record,) = recorded("serving")
    writing = record["writing"]
    assert list(writing) == [str(batch) for batch in BATCHES]
    assert writing["32"] / 32 < writing["1"] / 5
    assert record["reading"] / READ < writing["1"] / 5


@given(taken=st.floats(0, 1e6), tokens=st.integers(1, 1000))
def test_joules_are_a_range_in_order(taken: float, tokens: int) -> None:
    """Proportional to seconds, shared by tokens, the ends a factor of seven apart."""
    low, middle, high = joules(taken, tokens)
    assert low <= middle <= high
    assert high == pytest.approx(22.4 / 3.3 * low)
    assert middle * tokens == pytest.approx(7.8 * taken)


def test_the_record_of_the_books_cost_has_its_chapters() -> None:
    (record,) = recorded("book-cost")
    taken = record["seconds"]
    assert len(taken) > 30
    assert all(value > 0 for value in taken.values())
    assert {"challenges/carbon.md", "transformer/real-model.md"} < taken.keys()


@pytest.mark.plain
def test_bad_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"batches must be at least 1 each, got \(4, 0\)"):
        of_writing((4, 0))
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        of_writing((4,), repeats=0)
    with pytest.raises(ValueError, match="seconds must be a finite number, at least 0, got -1"):
        joules(-1)
    with pytest.raises(ValueError, match="tokens must be a finite number, at least 1, got 0"):
        joules(1, 0)
    with pytest.raises(OSError, match="no book in"):
        seconds(tmp_path / "nowhere")
