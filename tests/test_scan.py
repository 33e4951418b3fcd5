"""`llmbook.scan`: rounds over all steps give what a loop gives, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.scan import linear_loop, linear_scan, scan_rounds


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.sampled_from([(), (2,), (2, 3)]), st.integers(0, 9))
def test_the_scan_equals_the_loop(seq: int, batch: tuple[int, ...], seed: int) -> None:
    """To rounding, and so do both gradients; factors of any sign."""
    generator = torch.Generator().manual_seed(seed)
    a, b, weights = (
        torch.randn(*batch, seq, 3, generator=generator, dtype=torch.float64) for _ in range(3)
    )
    a = a.tanh().requires_grad_()
    b.requires_grad_()
    results = [function(a, b) for function in (linear_loop, linear_scan)]
    torch.testing.assert_close(*results)
    gradients = [
        torch.autograd.grad((result * weights).sum(), (a, b), materialize_grads=True)
        for result in results
    ]
    torch.testing.assert_close(*gradients)


def test_the_scan_has_the_right_gradient() -> None:
    """By finite differences."""
    a, b = torch.rand(2, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(linear_scan, (a.requires_grad_(), b.requires_grad_()))


def test_kept_whole_it_is_a_running_sum_and_forgotten_at_once_the_input() -> None:
    """The two ends: all factors 1, all factors 0."""
    b = torch.arange(6, dtype=torch.float64).reshape(6, 1)
    torch.testing.assert_close(linear_scan(torch.ones_like(b), b), b.cumsum(0))
    torch.testing.assert_close(linear_scan(torch.zeros_like(b), b), b)


@pytest.mark.parametrize("seq", [1, 2, 3, 4, 5, 8, 9, 1000])
def test_rounds_are_counted_as_they_are_made(seq: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each round joins the a and the b once."""
    joined, cat = [], torch.cat

    def counted(tensors: tuple[torch.Tensor, ...], dim: int) -> torch.Tensor:
        joined.append(len(tensors))
        return cat(tensors, dim)

    monkeypatch.setattr(torch, "cat", counted)
    linear_scan(torch.ones(seq, 1), torch.ones(seq, 1))
    assert len(joined) == 2 * scan_rounds(seq)
    assert 2 ** scan_rounds(seq) >= seq


@pytest.mark.plain
def test_what_does_not_fit_is_refused() -> None:
    """With both shapes."""
    with pytest.raises(ValueError, match=r"got \(3, 1\) and \(4, 1\)"):
        linear_scan(torch.ones(3, 1), torch.ones(4, 1))
    with pytest.raises(ValueError, match="with a step at least"):
        linear_loop(torch.ones(0, 1), torch.ones(0, 1))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        scan_rounds(0)
