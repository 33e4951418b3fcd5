"""`llmbook.preferences`: the loss by hand, its gradient, and what it rewards."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from llmbook.gpt import GPT, GPTConfig
from llmbook.preferences import dpo_loss, implicit_reward, sequence_log_probs

LOGS = st.lists(st.floats(-30, 0), min_size=1, max_size=5)


def logs_of(*values: float) -> Any:
    """Log-probabilities of single answers."""
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def test_the_loss_by_hand() -> None:
    r"""Rewards 0.1 (−1 + 2) and 0.1 (−4 + 3): a margin of 0.2, and $-\log\sigma(0.2)$."""
    assert dpo_loss(*logs_of(-1, -4, -2, -3)).item() == pytest.approx(math.log1p(math.exp(-0.2)))
    assert implicit_reward(*logs_of(-1, -2)).item() == pytest.approx(0.1)


@given(chosen=LOGS, rejected=LOGS, beta=st.floats(0.01, 2))
def test_at_the_reference_the_loss_is_log_2(
    chosen: list[float], rejected: list[float], beta: float
) -> None:
    """Whatever the answers' probabilities are."""
    n = min(len(chosen), len(rejected))
    a, b = torch.tensor(chosen[:n]), torch.tensor(rejected[:n])
    assert dpo_loss(a, b, a, b, beta).item() == pytest.approx(math.log(2), rel=1e-5)


@given(st.tuples(*[st.floats(-20, 0)] * 4), st.floats(0.05, 1))
def test_the_gradient_raises_the_chosen_and_lowers_the_rejected(
    logs: tuple[float, float, float, float], beta: float
) -> None:
    """By the same amount, beta times the probability that the pair is judged wrongly."""
    chosen, rejected, *base = logs_of(*logs)
    chosen.requires_grad_(), rejected.requires_grad_()
    dpo_loss(chosen, rejected, base[0], base[1], beta).backward()
    margin = beta * ((logs[0] - logs[2]) - (logs[1] - logs[3]))
    wrong = beta / (1 + math.exp(margin))
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert chosen.grad.item() == pytest.approx(-wrong, abs=1e-12)
    assert rejected.grad.item() == pytest.approx(wrong, abs=1e-12)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_beta_must_be_positive(beta: float) -> None:
    same = logs_of(0)[0]
    with pytest.raises(ValueError, match="beta must be positive, got"):
        dpo_loss(same, same, same, same, beta)


class Fixed(nn.Module):
    """Says the same of each next token: probabilities one half, one quarter, one quarter."""

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return torch.tensor([0.5, 0.25, 0.25]).log().expand(*token_ids.shape, 3)


def test_only_the_answer_counts() -> None:
    ids = torch.tensor([[0, 1, 2, 0], [2, 2, 0, 0]])
    answer = torch.tensor([False, False, True, True])
    found = sequence_log_probs(Fixed(), ids, answer)
    assert found.tolist() == pytest.approx([math.log(1 / 8), math.log(1 / 4)])
    with pytest.raises(ValueError, match="first token of a text cannot be of the answer"):
        sequence_log_probs(Fixed(), ids, torch.ones(4, dtype=torch.bool))


def test_the_probabilities_of_all_answers_sum_to_1() -> None:
    """Of a real model: each answer's own, over every answer of two tokens."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=4, d_model=8, num_layers=1, num_heads=2, max_len=4)).double()
    ids = torch.tensor([[1, 2, a, b] for a in range(4) for b in range(4)])
    logs = sequence_log_probs(model, ids, torch.tensor([False, False, True, True]))
    assert logs.exp().sum().item() == pytest.approx(1)
