"""`llmbook.preferences`: by hand, by finite differences, and by what must hold."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llmbook.gpt import GPT, GPTConfig
from llmbook.preferences import dpo_loss, implicit_rewards, sequence_log_probs

NATS = st.floats(-60, 0)


def one(value: float) -> Tensor:
    """A single score."""
    return torch.tensor([value], dtype=torch.float64)


@given(NATS, NATS, NATS, NATS, st.floats(0.01, 2))
def test_the_loss_is_that_of_the_formula(
    w: float, loser: float, rw: float, rl: float, beta: float
) -> None:
    """By hand: the logarithm of a logistic function of four numbers."""
    margin = beta * ((w - rw) - (loser - rl))
    expected = math.log1p(math.exp(-abs(margin))) + max(-margin, 0)
    found = dpo_loss(one(w), one(loser), one(rw), one(rl), beta).item()
    assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12)


@given(NATS, NATS, st.floats(0.01, 2))
def test_before_the_first_step_the_loss_is_log_2_and_pushes_apart(
    chosen: float, rejected: float, beta: float
) -> None:
    """By beta / 2 each, the better one up and the worse one down."""
    w, worse = one(chosen).requires_grad_(), one(rejected).requires_grad_()
    loss = dpo_loss(w, worse, one(chosen), one(rejected), beta)
    assert math.isclose(loss.item(), math.log(2))
    up, down = torch.autograd.grad(loss, (w, worse))
    assert math.isclose(up.item(), -beta / 2)
    assert math.isclose(down.item(), beta / 2)


@given(NATS, NATS, NATS, NATS, st.floats(-5, 5))
def test_what_depends_on_the_prompt_alone_cancels(
    w: float,
    loser: float,
    rw: float,
    rl: float,
    shift: float,
) -> None:
    """As if both answers had become as much likelier."""
    before = dpo_loss(one(w), one(loser), one(rw), one(rl))
    torch.testing.assert_close(
        dpo_loss(one(w + shift), one(loser + shift), one(rw), one(rl)), before
    )


def test_the_gradient_is_right_and_small_where_a_pair_is_settled() -> None:
    """By finite differences; a pair with a large margin pulls little."""
    scores = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(dpo_loss, [s.requires_grad_() for s in scores])
    w = torch.tensor([0.0, 100.0], requires_grad=True)
    dpo_loss(w, torch.zeros(2), torch.zeros(2), torch.zeros(2)).backward()
    assert w.grad is not None
    assert w.grad[0].abs() > 1000 * w.grad[1].abs()


def test_log_probabilities_are_those_of_the_tokens_that_count() -> None:
    """One by one, in a small GPT; and over all texts of a length they sum to 1."""
    torch.manual_seed(0)
    config: Any = {"vocab_size": 3, "d_model": 8, "num_layers": 1, "num_heads": 2, "max_len": 4}
    model = GPT(GPTConfig(**config)).double().eval()
    grid = torch.meshgrid(*[torch.arange(3)] * 3, indexing="ij")
    rest = torch.stack(grid, dim=-1).reshape(-1, 3)
    ids = torch.cat((torch.zeros(27, 1, dtype=torch.long), rest), dim=1)
    every = sequence_log_probs(model, ids, torch.ones_like(ids, dtype=torch.bool))
    assert math.isclose(every.exp().sum().item(), 1)
    mask = torch.zeros_like(ids, dtype=torch.bool)
    mask[:, 2:] = True
    logs = model(ids[:, :-1]).log_softmax(-1)
    by_hand = [sum(logs[i, t - 1, ids[i, t]].item() for t in (2, 3)) for i in range(27)]
    torch.testing.assert_close(
        sequence_log_probs(model, ids, mask), torch.tensor(by_hand, dtype=torch.float64)
    )


@pytest.mark.plain
def test_what_does_not_fit_is_refused() -> None:
    """A mask of another shape, and a price of nothing."""
    with pytest.raises(ValueError, match=r"got \(1, 2\) and \(1, 3\)"):
        sequence_log_probs(
            torch.nn.Identity(), torch.tensor([[1, 2, 3]]), torch.ones(1, 2, dtype=torch.bool)
        )
    with pytest.raises(ValueError, match="beta must be positive, got 0"):
        implicit_rewards(torch.zeros(1), torch.zeros(1), beta=0)
