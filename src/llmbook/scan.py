"""A linear recurrence for all places at once: what lets such a network train in parallel."""

import torch
from jaxtyping import Float
from torch import Tensor


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
    $n \log_2 n$ products in place of $n$.

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
