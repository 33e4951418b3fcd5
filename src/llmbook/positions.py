"""Positional encoding: what tells attention, which sees a set, where each vector stands."""

import numpy as np
from jaxtyping import Float


def _frequencies(d_model: int) -> Float[np.ndarray, " half"]:
    if d_model < 2 or d_model % 2:
        raise ValueError(f"d_model must be even and positive, got {d_model}")
    return 10_000.0 ** (-np.arange(0, d_model, 2) / d_model)


def sinusoidal(seq: int, d_model: int) -> Float[np.ndarray, "seq d_model"]:
    r"""The fixed encoding of the original Transformer: a clock with `d_model / 2` hands.

    $$\mathrm{PE}(p, 2i) = \sin(p\,\omega_i), \qquad \mathrm{PE}(p, 2i+1) = \cos(p\,\omega_i),
      \qquad \omega_i = 10000^{-2i/d_{\mathrm{model}}}$$

    Args:
        seq: Number of positions $p = 0, 1, \dots$
        d_model: Width of the vectors to which the encoding is added; even.

    Returns:
        One row per position, each of length $\sqrt{d_{\mathrm{model}} / 2}$.

    Raises:
        ValueError: If `d_model` is not even and positive, or `seq` is negative.

    Examples:
        >>> sinusoidal(2, 4).round(3)
        array([[0.   , 1.   , 0.   , 1.   ],
               [0.841, 0.54 , 0.01 , 1.   ]])

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.5.
    """
    if seq < 0:
        raise ValueError(f"seq must not be negative, got {seq}")
    angles = np.arange(seq)[:, None] * _frequencies(d_model)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(seq, d_model)


def shift_matrix(steps: int, d_model: int) -> Float[np.ndarray, "d_model d_model"]:
    r"""The one matrix that moves every sinusoidal encoding by the same number of positions.

    It turns each pair $(\sin p\omega_i, \cos p\omega_i)$ by the angle $k\omega_i$, whatever $p$
    is, so that $\mathrm{PE}(p + k) = M_k\,\mathrm{PE}(p)$.

    Args:
        steps: The number of positions $k$; may be negative.
        d_model: Width of the encoding; even.

    Returns:
        The matrix $M_k$, block-diagonal and orthogonal.

    Raises:
        ValueError: If `d_model` is not even and positive.

    Examples:
        >>> rows = sinusoidal(10, 8)
        >>> bool(np.allclose(shift_matrix(3, 8) @ rows[4], rows[7]))
        True

    Source:
        [Vaswani et al. 2017][vaswani2017attention], section 3.5.
    """
    angles = steps * _frequencies(d_model)
    matrix = np.zeros((d_model, d_model))
    even = np.arange(0, d_model, 2)
    matrix[even, even] = matrix[even + 1, even + 1] = np.cos(angles)
    matrix[even, even + 1], matrix[even + 1, even] = np.sin(angles), -np.sin(angles)
    return matrix
