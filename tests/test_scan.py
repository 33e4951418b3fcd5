"""`llmbook.scan`: the scan gives what the loop gives, forward and backward, in logarithmically many steps."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.scan import linear_recurrence, linear_scan


@settings(deadline=None)
@given(
    seq=st.integers(1, 70), batch=st.lists(st.integers(1, 3), max_size=2), seed=st.integers(0, 99)
)
def test_the_scan_equals_the_loop(seq: int, batch: list[int], seed: int) -> None:
    """States and both gradients, in float64."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, *batch, seq)
    a, b = torch.randn(shape, generator=generator, dtype=torch.float64)
    direction = torch.randn_like(b)
    found = []
    for function in (linear_recurrence, linear_scan):
        inputs = [x.clone().requires_grad_() for x in (a, b)]
        states = function(*inputs)
        (states * direction).sum().backward()
        grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in inputs]
        found.append([states, *grads])
    for loop, scan in zip(*found, strict=True):
        assert torch.allclose(loop, scan, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("seq", "steps"), [(1, 0), (2, 1), (64, 6), (65, 7), (1000, 10)])
def test_its_steps_are_the_logarithm_of_the_length(
    monkeypatch: pytest.MonkeyPatch, seq: int, steps: int
) -> None:
    """Each step joins the maps of twice as many places."""
    calls: list[int] = []
    plain = torch.cat

    def counted(*args: Any) -> torch.Tensor:
        calls.append(1)
        return plain(*args)

    monkeypatch.setattr(torch, "cat", counted)
    linear_scan(torch.ones(seq), torch.ones(seq))
    assert len(calls) == 2 * steps


def test_sums_by_hand() -> None:
    """With nothing lost, the states are the sums up to each place."""
    b = torch.arange(1.0, 6.0)
    assert linear_scan(torch.ones(5), b).tolist() == [1, 3, 6, 10, 15]
    assert linear_scan(torch.zeros(5), b).tolist() == b.tolist()


def test_of_nothing_there_are_no_states() -> None:
    for function in (linear_recurrence, linear_scan):
        assert function(torch.ones(2, 0), torch.ones(2, 0)).shape == (2, 0)
