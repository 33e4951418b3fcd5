"""`llmbook.experiments.emergence`: sums that are right, measured in two ways."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from llmbook.experiments.emergence import (
    ANSWER,
    DIGITS,
    EQUALS,
    PLUS,
    Setup,
    adder,
    answer_loss,
    by_size,
    digits,
    learn,
    measure,
    sums,
)
from llmbook.experiments.results import recorded


def number(row: list[int]) -> int:
    """Read digits, the least significant first."""
    return int("".join(map(str, row[::-1])))


@given(st.integers(0, 99_999))
def test_digits_are_the_number_backwards(value: int) -> None:
    """As Python writes it, filled with zeros."""
    assert digits(torch.tensor([value]), 5)[0].tolist() == [*map(int, f"{value:05}"[::-1])]


@given(st.integers(0, 2**31))
def test_every_sum_is_right(seed: int) -> None:
    """Read back with Python's own arithmetic."""
    for row in sums(4, torch.Generator().manual_seed(seed)).tolist():
        a, b = row[:DIGITS], row[DIGITS + 1 : 2 * DIGITS + 1]
        assert (row[DIGITS], row[2 * DIGITS + 1]) == (PLUS, EQUALS)
        assert number(row[-ANSWER:]) == number(a) + number(b)


class School(nn.Module):
    """Adds as one learns it at school, or gets one place wrong in every other sum."""

    def __init__(self, wrong_place: int | None = None) -> None:
        super().__init__()
        self.wrong_place = wrong_place

    def forward(self, token_ids: Tensor) -> Tensor:
        """Logits for each next token; only those of the answer mean something."""
        a = (token_ids[:, :DIGITS] * 10 ** torch.arange(DIGITS)).sum(1)
        b = (token_ids[:, DIGITS + 1 : 2 * DIGITS + 1] * 10 ** torch.arange(DIGITS)).sum(1)
        answer = digits(a + b, ANSWER)
        if self.wrong_place is not None:
            answer[::2, self.wrong_place] = (answer[::2, self.wrong_place] + 1) % 10
        logits = torch.zeros(*token_ids.shape, 12)
        logits[:, -ANSWER:] = 30 * F.one_hot(answer, 12)
        return logits


def test_a_model_that_adds_is_exact() -> None:
    """All right, with the log-likelihood of certainty."""
    found = measure(School(), sums(100, torch.Generator().manual_seed(0)))
    assert found["exact"] == 1.0
    assert found["by_place"] == [1.0] * ANSWER
    assert found["log_likelihood"] == pytest.approx(0, abs=1e-6)


def test_one_wrong_place_spoils_the_sum_and_a_fifth_of_the_digits() -> None:
    """All or nothing falls to a half where nine of ten digits are right."""
    found = measure(School(wrong_place=2), sums(100, torch.Generator().manual_seed(0)))
    assert found["exact"] == 0.5
    assert found["by_place"] == [1.0, 1.0, 0.5, 1.0, 1.0]
    assert math.prod(found["by_place"]) == 0.5


def test_exact_match_is_that_of_greedy_writing() -> None:
    """Writing digit by digit, after one's own, is right as often as all predictions are."""
    torch.manual_seed(0)
    model, _ = adder(16, 0).eval(), None
    ids = sums(64, torch.Generator().manual_seed(1))
    ids[:32, -ANSWER:] = 0  # so that an untrained model may be right sometimes
    assert model.norm is not None
    with torch.no_grad():
        model.embedding.weight[0] += 0.05 * model.norm.weight  # and says 0 more often
    written = ids[:, :-ANSWER]
    for _ in range(ANSWER):
        written = torch.cat((written, model(written)[:, -1:].argmax(-1)), 1)
    exact = (written == ids).all(1).double().mean().item()
    assert measure(model, ids)["exact"] == exact


@pytest.mark.parametrize("training", [False, True])
def test_measuring_leaves_the_mode_as_it_was(training: bool) -> None:
    """And is done without dropout, whatever it was."""
    model = adder(16, 0).train(training)
    model.dropout.p = 0.5
    ids = sums(8, torch.Generator().manual_seed(2))
    assert measure(model, ids) == measure(model, ids)
    assert {module.training for module in model.modules()} == {training}


def test_the_loss_is_of_the_answer_alone() -> None:
    """What cannot be known does not count."""
    ids = sums(8, torch.Generator().manual_seed(2))
    model = adder(16, 0)
    logits = model(ids[:, :-1])
    by_hand = -logits.log_softmax(-1).gather(2, ids[:, 1:, None])[:, -ANSWER:].mean()
    torch.testing.assert_close(answer_loss(model, ids), by_hand)


def test_a_run_can_be_repeated_and_cut_short() -> None:
    """The first steps do not depend on where it stops."""
    setup = Setup(d_model=8, checks=(3,))
    once = learn(0, until=3, setup=setup)
    assert once == learn(0, until=5, setup=setup)


def test_sizes_are_told_apart_by_width_alone() -> None:
    """Each is measured once, at the end of the same few steps."""
    setup = Setup(steps=3, batch=4, tested=20, checks=(3,))
    rows = by_size(0, (8, 16), setup)["sizes"]
    assert [(row["d_model"], row["step"]) for row in rows] == [(8, 3), (16, 3)]
    (last,) = learn(0, setup=replace(setup, d_model=16))["curve"]
    parameters = sum(p.numel() for p in adder(16, 0).parameters())
    assert rows[1] == {"d_model": 16, "parameters": parameters, **last}


def test_the_records_are_whole() -> None:
    """Every seed learns to add in the end, at the width that the chapter shows."""
    runs = recorded("addition")
    assert all(run["curve"][-1]["step"] == 1_000 for run in runs)
    assert min(run["curve"][-1]["exact"] for run in runs) > 0.99
    for run in recorded("addition-sizes"):
        assert len(run["sizes"]) == 6
        assert all(
            one["parameters"] == sum(p.numel() for p in adder(one["d_model"], 0).parameters())
            for one in run["sizes"]
        )
