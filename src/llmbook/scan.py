"""Recurrences for all places at once: what lets such a network train in parallel."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import jacrev, vmap


def linear_recurrence(
    a: Float[Tensor, "*batch seq"], b: Float[Tensor, "*batch seq"]
) -> Float[Tensor, "*batch seq"]:
    r"""Compute $h_t = a_t\,h_{t-1} + b_t$ from left to right, with $h_0 = 0$ before the first.

    Args:
        a: What is kept of the state, at each place.
        b: What comes in.

    Examples:
        >>> linear_recurrence(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([8.0, 0.0, 1.0]))
        tensor([8., 4., 3.])
    """
    state, states = torch.zeros_like(b[..., :1]), []
    for t in range(b.shape[-1]):
        state = a[..., t : t + 1] * state + b[..., t : t + 1]
        states.append(state)
    return torch.cat(states, -1) if states else b


def linear_scan(
    a: Float[Tensor, "*batch seq"], b: Float[Tensor, "*batch seq"]
) -> Float[Tensor, "*batch seq"]:
    r"""Compute the same in $\lceil \log_2 n \rceil$ steps, each over all places at once.

    A place stands for the map $h \mapsto a\,h + b$. Two maps one after the other are a map again,

    $$(a, b) \circ (a', b') = (a\,a',\; a\,b' + b)$$

    and it does not matter which two are joined first. So after the step of width $s$ each place
    holds the maps of the $2s$ places up to it, as one. Altogether that is more work than the loop,
    about $2 n \log_2 n$ products in place of $n$; there are scans that need only a few times $n$.

    Args:
        a: What is kept of the state, at each place.
        b: What comes in.

    Returns:
        The states, as `linear_recurrence` gives them.

    Examples:
        >>> linear_scan(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([8.0, 0.0, 1.0]))
        tensor([8., 4., 3.])

    Source:
        [Blelloch 1990][blelloch1990prefix], section 1.4; the simplest form of the scan is of
        [Hillis and Steele 1986][hillis1986data].
    """
    width, seq = 1, b.shape[-1]
    while width < seq:
        before_a = torch.cat((torch.ones_like(a[..., :width]), a[..., :-width]), -1)
        before_b = torch.cat((torch.zeros_like(b[..., :width]), b[..., :-width]), -1)
        a, b = a * before_a, a * before_b + b
        width *= 2
    return b


def affine_scan(a: Float[Tensor, "seq d d"], b: Float[Tensor, "seq d"]) -> Float[Tensor, "seq d"]:
    r"""Compute $h_t = A_t\,h_{t-1} + b_t$ with matrices, as `linear_scan` does with numbers.

    A join multiplies matrices where the loop multiplies a vector, so it costs $d$ times as much.

    Args:
        a: What becomes of the state, at each place; the first is not used, since $h_0 = 0$.
        b: What comes in.

    Examples:
        >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(3, 2, 2)
        >>> affine_scan(turn, torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]))
        tensor([[ 1.,  0.],
                [ 0.,  1.],
                [-1.,  0.]])

    Source:
        [Blelloch 1990][blelloch1990prefix], section 1.4.
    """
    width, (seq, d) = 1, b.shape
    while width < seq:
        none = torch.eye(d, dtype=a.dtype, device=a.device).expand(width, d, d)
        before_a = torch.cat((none, a[:-width]))
        before_b = torch.cat((torch.zeros_like(b[:width]), b[:-width]))
        a, b = a @ before_a, (a @ before_b[..., None])[..., 0] + b
        width *= 2
    return b


def newton_states(
    step: Callable[[Tensor, Tensor], Tensor],
    inputs: Float[Tensor, "seq d_input"],
    start: Float[Tensor, " d"],
    *,
    tolerance: float | int = 1e-6,
    most: int | None = None,
) -> tuple[Float[Tensor, "seq d"], int]:
    r"""Compute the states of any recurrence $h_t = f(h_{t-1}, x_t)$ without a loop over places.

    The states are a guess at first, all of them `start`. Each round replaces the step by the
    straight line that touches it at the guess, with the slopes $J_t = \partial f/\partial h$:

    $$h_t = f(\hat h_{t-1}, x_t) + J_t\,(h_{t-1} - \hat h_{t-1})$$

    That is a linear recurrence, which `affine_scan` solves for all places at once; its solution is
    the next guess. It is Newton's method on all the equations together. But for rounding the first
    $k$ states are exact after round $k$; whether all are much earlier depends on $f$. Where nearby
    states grow apart, rounding errors grow with them, and it may not end at all.

    Args:
        step: Gives the next state from one state and one input, and can be differentiated.
        inputs: One vector for each place.
        start: The state before the first.
        tolerance: A round that changes no number by more than this is the last.
        most: Rounds after which to give up; one more than there are places if left out.

    Returns:
        The states, and how many rounds it took. Gradients reach `inputs`, `start` and the
            parameters of `step`, and are those of the loop.

    Raises:
        ArithmeticError: If a guess is infinite or no number, or `most` rounds are not enough: then
            only the loop will do.
        ValueError: If `tolerance` is not positive.

    Examples:
        >>> turn, x = 0.2 * torch.randn(4, 4), torch.randn(1000, 4)
        >>> states, rounds = newton_states(lambda h, x: torch.tanh(turn @ h + x), x, torch.zeros(4))
        >>> states.shape, rounds < 20
        (torch.Size([1000, 4]), True)

    Source:
        [Lim et al. 2024][lim2024parallelizing], section 3; how fast it is, and when it is not,
        [Gonzalez et al. 2024][gonzalez2024towards].
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive, got {tolerance}")
    most = len(inputs) + 1 if most is None else most

    def linearised(guess: Tensor) -> tuple[Tensor, Tensor]:
        before = torch.cat((start[None], guess.detach()[:-1]))
        slopes = vmap(jacrev(step))(before.detach(), inputs.detach()).detach()
        slopes[0] = 0  # before the first place nothing is guessed
        return slopes, vmap(step)(before, inputs) - (slopes @ before[..., None])[..., 0]

    guess = start.detach().expand(len(inputs), -1)
    if not len(inputs):
        return guess, 0
    for count in range(1, most + 1):
        with torch.no_grad():
            better = affine_scan(*linearised(guess))
        if not better.isfinite().all():
            raise ArithmeticError(f"after round {count} a state is infinite or no number")
        change = float((better - guess).abs().max())
        guess = better
        if change <= tolerance:
            return affine_scan(*linearised(guess)), count
    raise ArithmeticError(
        f"not settled after {most} rounds, the last moved a state by {change:.1e}: use the loop"
    )
