"""`bitsandbytes`: its table of NF4, and what its processor path makes of some matrices."""

from typing import Any

import torch
from numpy.typing import NDArray

LIBRARY = "bitsandbytes"
SHAPES = [(1, 64), (5, 128), (3, 2, 192)]


def weights(number: int) -> torch.Tensor:
    """Normal weights; the last matrix has a group of zeros and one of a single large weight."""
    generator = torch.Generator().manual_seed(number)
    x = torch.randn(SHAPES[number], generator=generator) * 0.02
    if number == 2:
        x[0, 0, :64], x[1, 1, 70] = 0, 3.0
    return x


def values() -> dict[str, NDArray[Any]]:
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    found: dict[str, NDArray[Any]] = {}
    for number in range(len(SHAPES)):
        packed, state = quantize_4bit(weights(number), blocksize=64, quant_type="nf4")
        codes = torch.stack((packed >> 4, packed & 15), -1)  # two in a byte, the first above
        found["table"] = state.code.numpy()
        found[f"{number}/codes"] = codes.view(SHAPES[number]).numpy()
        found[f"{number}/scales"] = state.absmax.view(*SHAPES[number][:-1], -1).numpy()
        found[f"{number}/weights"] = dequantize_4bit(packed, state).numpy()
    return found
