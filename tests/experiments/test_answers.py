"""`llmbook.experiments.answers`: what is drawn, voted and preferred, in cases that can be counted."""

import torch
from torch import nn

from llmbook.experiments import answers
from llmbook.experiments.answers import Setup, draw_answers, pairs, share_right, vote
from llmbook.experiments.emergence import ANSWER, sums

SMALL = Setup(d_model=16, steps=4, batch=8, pairs=8, updates=2, tested=16)


class Same(nn.Module):
    """Writes one digit for ever, or draws each of ten alike."""

    def __init__(self, digit: int | None) -> None:
        super().__init__()
        self.digit = digit

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits = torch.full((*token_ids.shape, 12), -1e9)
        logits[..., :10] = 0
        if self.digit is not None:
            logits[..., self.digit] = 1e9
        return logits


def test_answers_are_written_digit_by_digit() -> None:
    asked = sums(6, torch.Generator().manual_seed(0))
    assert draw_answers(Same(7), asked).tolist() == [[7] * ANSWER] * 6
    drawn = draw_answers(Same(None), asked, torch.Generator().manual_seed(0))
    assert drawn.shape == (6, ANSWER)
    assert drawn.max() < 10
    assert drawn.unique().numel() > 3


def test_a_vote_takes_the_answer_that_comes_most_often() -> None:
    """Of a whole answer, not of each digit."""
    drawn = torch.tensor([[[1, 2]], [[1, 3]], [[4, 3]], [[4, 3]], [[1, 5]]])
    assert vote(drawn).tolist() == [[4, 3]]


def test_an_answer_is_right_with_every_digit() -> None:
    asked = sums(2, torch.Generator().manual_seed(0))
    given = asked[:, -ANSWER:].clone()
    assert share_right(given, asked) == 1
    given[0, 0] = (given[0, 0] + 1) % 10
    assert share_right(given, asked) == 0.5


def test_pairs_hold_a_right_and_a_wrong_sum_of_the_same_numbers() -> None:
    chosen, rejected = pairs(Same(7), 32, torch.Generator().manual_seed(0))
    assert len(chosen) == len(rejected) > 30
    assert torch.equal(chosen[:, :-ANSWER], rejected[:, :-ANSWER])
    assert rejected[:, -ANSWER:].unique().tolist() == [7]
    generator = torch.Generator().manual_seed(1)
    lot, other = pairs(Same(7), 200, generator, shuffled=True)
    share = (lot[:, -ANSWER:] == 7).all(1).double().mean().item()
    assert 0.35 < share < 0.65
    assert ((lot == other).all(1)).sum() == 0


def test_the_experiments_are_what_their_seeds_make() -> None:
    """Twice the same, and another for another seed."""
    first = answers.voting(0, 3, SMALL)
    assert first == answers.voting(0, 3, SMALL)
    assert first["votes"].keys() == first["any"].keys() == {"1", "3"}
    found = answers.preference_step(0, setup=SMALL)
    assert found == answers.preference_step(0, setup=SMALL)
    assert found != answers.preference_step(1, setup=SMALL)
    assert 0 <= found["preferred"] <= 1
    assert found["drift"] >= 0


def test_without_a_step_nothing_drifts() -> None:
    from dataclasses import replace

    found = answers.preference_step(0, setup=replace(SMALL, updates=0))
    assert found["drift"] == found["margin"] == 0
    assert found["right"][0] == found["right"][1]
