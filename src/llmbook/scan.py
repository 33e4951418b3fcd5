"""Linear recurrences: step by step, or all at once."""

import torch
from jaxtyping import Float
from torch import Tensor

Sequence = Float[Tensor, "*batch seq channels"]


def linear_loop(a: Sequence, b: Sequence) -> Sequence:
    r"""The recurrence $h_t = a_t h_{t-1} + b_t$ as it is written: one step after the other.

    Args:
        a: How much of the state is kept, for each step and channel.
        b: What is added.

    Returns:
        The states $h_1, \dots, h_n$, with $h_0 = 0$.

    Raises:
        ValueError: If `a` and `b` differ in shape, or have no step.

    Examples:
        >>> linear_loop(torch.full((3, 1), 0.5), torch.ones(3, 1)).flatten()
        tensor([1.0000, 1.5000, 1.7500])
    """
    _check(a, b)
    state, states = torch.zeros_like(b[..., 0, :]), []
    for step in range(b.shape[-2]):
        state = a[..., step, :] * state + b[..., step, :]
        states.append(state)
    return torch.stack(states, dim=-2)


def linear_scan(a: Sequence, b: Sequence) -> Sequence:
    r"""The same states in $\lceil \log_2 n \rceil$ rounds, each of which takes all steps at once.

    Two steps, one after the other, are one step of the same kind:

    $$(a_2, b_2) \circ (a_1, b_1) = (a_2 a_1,\; a_2 b_1 + b_2)$$

    and it does not matter which neighbours are put together first. So let each position take in
    its neighbour on the left, then the one two to the left, four, eight: after each round it
    stands for twice as many steps, and in the end for all before it.

    Args:
        a: How much of the state is kept, for each step and channel.
        b: What is added.

    Returns:
        The states $h_1, \dots, h_n$, with $h_0 = 0$.

    Raises:
        ValueError: If `a` and `b` differ in shape, or have no step.

    Examples:
        >>> linear_scan(torch.full((3, 1), 0.5), torch.ones(3, 1)).flatten()
        tensor([1.0000, 1.5000, 1.7500])

    Source:
        [Hillis and Steele 1986][hillis1986data]. It multiplies $n \log_2 n$ times;
        [Blelloch 1990][blelloch1990prefix] needs about twice as many rounds, and only some $2n$
        multiplications.
    """
    _check(a, b)
    reach, seq = 1, b.shape[-2]
    while reach < seq:
        here, there = slice(reach, None), slice(None, seq - reach)
        b = torch.cat((b[..., :reach, :], a[..., here, :] * b[..., there, :] + b[..., here, :]), -2)
        a = torch.cat((a[..., :reach, :], a[..., here, :] * a[..., there, :]), -2)
        reach *= 2
    return b


def scan_rounds(seq: int) -> int:
    """How many rounds `linear_scan` takes one after the other, for so many steps.

    Raises:
        ValueError: If there is no step.

    Examples:
        >>> [scan_rounds(seq) for seq in (1, 2, 5, 1024)]
        [0, 1, 3, 10]
    """
    if seq < 1:
        raise ValueError(f"seq must be at least 1, got {seq}")
    return (seq - 1).bit_length()


def _check(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim < 2 or not a.shape[-2]:
        raise ValueError(
            "a and b must have the same shape, with a step at least, "
            f"got {tuple(a.shape)} and {tuple(b.shape)}"
        )
