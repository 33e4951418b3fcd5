"""Sizes and counts: whole numbers, of whatever type they come as.

NumPy's and PyTorch's integers wrap without a word: 16 in eight bits, squared, is 0. What computes
with a size makes it a Python integer first, which has no end.
"""

import operator
from dataclasses import fields
from typing import Any, SupportsFloat


def whole(name: str, value: Any) -> int:
    """Give a size as Python's integer, whatever whole number it came as.

    Args:
        name: What the size is called, for the error.
        value: An integer of Python, NumPy or PyTorch.

    Raises:
        TypeError: If it is no whole number.

    Examples:
        >>> import numpy as np
        >>> whole("d_model", np.uint8(16)) ** 2
        256
    """
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None


def positive(**sizes: Any) -> list[int]:
    """Give sizes as Python's integers, all of them above 0.

    Args:
        **sizes: By what they are called, for the error.

    Raises:
        TypeError: If one is no whole number.
        ValueError: If one is not positive.

    Examples:
        >>> positive(rows=2, columns=0)
        Traceback (most recent call last):
        ValueError: columns must be positive, got 0
    """
    found = {name: whole(name, value) for name, value in sizes.items()}
    for name, value in found.items():
        if value <= 0:
            raise ValueError(f"{name} must be positive, got {value}")
    return list(found.values())


def number(name: str, value: SupportsFloat) -> float | int:
    """Give a number as Python's, whatever type it came as; integers stay integers.

    Args:
        name: What the number is called, for the error.
        value: A number of Python, NumPy or PyTorch.

    Raises:
        TypeError: If it is no number.

    Examples:
        >>> import numpy as np
        >>> number("lr", np.float32(0.5))
        0.5
    """
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, got {value!r}")
    return float(value)


def make_whole(config: Any) -> None:
    """Make every size of a frozen dataclass Python's integer: each field that is annotated `int`.

    Args:
        config: In its `__post_init__`. A field that may be `None` stays so.

    Raises:
        TypeError: If one is no whole number.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Sizes:
        ...     d_model: int
        ...     def __post_init__(self):
        ...         make_whole(self)
        >>> Sizes(4.5)
        Traceback (most recent call last):
        TypeError: d_model must be a whole number, got 4.5
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if field.type is int or (field.type == (int | None) and value is not None):
            object.__setattr__(config, field.name, whole(field.name, value))
