"""`llmbook.scan`: the scan gives what the loop gives, forward and backward, in logarithmically many steps."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.rnn import LSTM, RNN
from llmbook.scan import affine_scan, linear_recurrence, linear_scan, newton_states


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


@settings(deadline=None, max_examples=30)
@given(seq=st.integers(1, 40), d=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_scan_with_matrices_equals_the_loop(seq: int, d: int, seed: int) -> None:
    """States and gradients of both, in float64; the first matrix meets no state."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(seq, d, d, generator=generator, dtype=torch.float64, requires_grad=True)
    b = torch.randn(seq, d, generator=generator, dtype=torch.float64, requires_grad=True)
    state, states = b.new_zeros(d), []
    for turn, came in zip(a, b, strict=True):
        states.append(state := turn @ state + came)
    loop, scan = torch.stack(states), affine_scan(a, b)
    assert torch.allclose(loop, scan, rtol=1e-8, atol=1e-8)
    direction = torch.randn_like(loop)
    slopes = [
        torch.autograd.grad(h, (a, b), direction, allow_unused=True, materialize_grads=True)
        for h in (loop, scan)
    ]
    for ours, theirs in zip(*slopes, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-7, atol=1e-7)


def test_a_scan_with_matrices_of_one_number_is_the_plain_scan() -> None:
    a, b = torch.rand(2, 50, dtype=torch.float64)
    assert torch.allclose(affine_scan(a[:, None, None], b[:, None])[:, 0], linear_scan(a, b))


@pytest.mark.parametrize("kind", [RNN, LSTM])
@pytest.mark.parametrize("seq", [1, 2, 65])
def test_newtons_states_are_pytorchs_with_all_gradients(kind: type[RNN | LSTM], seq: int) -> None:
    """Those of inputs, of the start and of every weight, in float64."""
    torch.manual_seed(seq)
    theirs = getattr(torch.nn, kind.__name__)(3, 5, batch_first=True).double()
    ours = kind.from_torch(theirs)
    x = torch.randn(seq, 3, dtype=torch.float64, requires_grad=True)
    start = torch.randn(ours.parts * 5, dtype=torch.float64, requires_grad=True)

    def step(state: torch.Tensor, came: torch.Tensor) -> torch.Tensor:
        parts = state.chunk(ours.parts)
        return torch.cat(ours.step(ours.input[0](came) + ours.recurrent[0](parts[0]), parts))

    states, rounds = newton_states(step, x, start)
    begin = tuple(part[None, None] for part in start.chunk(ours.parts))
    expected = theirs(x[None], begin if len(begin) > 1 else begin[0])[0][0]
    assert torch.allclose(states[:, :5], expected, atol=1e-12)
    assert rounds <= seq + 1
    direction = torch.randn_like(expected)
    mine = [p for name, p in sorted(ours.named_parameters())]
    gradients = torch.autograd.grad(states[:, :5], [x, start, *mine], direction)
    weights = theirs.state_dict(keep_vars=True)
    names = ["bias_ih_l0", "weight_ih_l0", "bias_hh_l0", "weight_hh_l0"]
    truth = torch.autograd.grad(expected, [x, start, *(weights[n] for n in names)], direction)
    assert [n for n, _ in sorted(ours.named_parameters())] == [
        "input.0.bias", "input.0.weight", "recurrent.0.bias", "recurrent.0.weight",
    ]  # fmt: skip
    for one, other in zip(gradients, truth, strict=True):
        assert torch.allclose(one, other, atol=1e-11)


def test_a_linear_step_is_solved_in_one_round() -> None:
    """The second finds nothing to change."""
    turn = torch.tensor([[0.5, 0.2], [-0.3, 0.9]], dtype=torch.float64)
    x = torch.randn(30, 2, dtype=torch.float64)
    states, rounds = newton_states(lambda h, came: turn @ h + came, x, torch.ones(2).double())
    assert rounds == 2
    state = torch.ones(2, dtype=torch.float64)
    for came, found in zip(x, states, strict=True):
        state = turn @ state + came
        assert torch.allclose(state, found)


def test_rounds_make_the_first_states_exact_one_by_one() -> None:
    """With a step whose slope vanishes at the guess, each round tells one place more."""
    x = torch.ones(6, 1, dtype=torch.float64)
    _, rounds = newton_states(lambda h, came: h**2 + came, x * 0.2, torch.zeros(1).double())
    assert 2 < rounds <= 7


def test_of_no_inputs_there_are_no_states() -> None:
    states, rounds = newton_states(lambda h, x: h, torch.ones(0, 2), torch.ones(3))
    assert states.shape == (0, 3)
    assert rounds == 0


def test_states_that_part_end_with_what_to_do() -> None:
    """Nearby states of a stretched sine part: no guess of its later states is good for long."""
    x = torch.zeros(200, 1, dtype=torch.float64)
    start = torch.full((1,), 0.3, dtype=torch.float64)
    with pytest.raises(ArithmeticError, match="not settled after 20 rounds"):
        newton_states(lambda h, came: 2.8 * h.sin() + came, x, start, most=20)
    with pytest.raises(ArithmeticError, match="infinite or no number"):
        newton_states(lambda h, came: h**3 + came, x + 9, start, most=20)


def test_a_tolerance_must_be_positive() -> None:
    with pytest.raises(ValueError, match="tolerance must be positive, got 0"):
        newton_states(lambda h, x: h, torch.ones(2, 1), torch.ones(1), tolerance=0)
