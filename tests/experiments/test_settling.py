"""`llmbook.experiments.settling`: what forgets settles in a few rounds, and growth tells which."""

import math

import torch

from llmbook.experiments.copying import CopyLSTM, copy_batch, copy_logits
from llmbook.experiments.settling import Setup, growth, run, said
from llmbook.rnn import RNN

SMALL = Setup(lengths=(16, 32), trained=(0, 5), gains=(0.2, 0.6), d_hidden=6)


def test_a_run_is_the_same_again_and_whatever_is_left_out() -> None:
    """One length, one training and one gain less change nothing of the others."""
    whole, part = (
        run(3, SMALL),
        run(3, Setup(lengths=(32,), trained=(0,), gains=(0.2,), d_hidden=6)),
    )
    assert run(3, SMALL) == whole
    assert part["plain"]["0.2"]["rounds"]["32"] == whole["plain"]["0.2"]["rounds"]["32"]
    assert part["copies"]["0"]["rounds"]["32"] == whole["copies"]["0"]["rounds"]["32"]
    assert max(row["apart"] for kind in whole.values() for row in kind.values()) < 1e-12


def test_growth_of_a_known_step_is_the_logarithm_of_its_factor() -> None:
    """A network that is linear, and multiplies every direction by a half."""
    layer = RNN(2, 3, nonlinearity="relu").double()
    with torch.no_grad():
        layer.recurrent[0].weight.copy_(0.5 * torch.eye(3))  # type: ignore[operator]
        layer.input[0].weight.fill_(1)  # type: ignore[operator]
        layer.recurrent[0].bias.zero_()  # type: ignore[operator]
    inputs = torch.ones(40, 2, dtype=torch.float64)
    assert math.isclose(growth(layer, inputs, seed=0), math.log(0.5), rel_tol=1e-9)


def test_a_copy_is_said_before_its_symbol_is_read_and_an_echo_after() -> None:
    """Changing the last symbol changes the last echo's logits, and no logits of a copy."""
    torch.manual_seed(0)
    model, text = CopyLSTM(4, 5), copy_batch(3, 2, torch.Generator().manual_seed(0))
    other = text.clone()
    other[:, -1] = (other[:, -1] + 1) % 16
    logits, symbols = said(model, text, echo=False)
    assert torch.equal(symbols, text[:, -3:])
    assert torch.equal(logits, said(model, other, echo=False)[0])
    assert torch.allclose(logits, copy_logits(model, text))
    one, two = (said(model, t, echo=True)[0] for t in (text, other))
    assert torch.equal(one[:, :-1], two[:, :-1])
    assert not torch.allclose(one[:, -1], two[:, -1])
