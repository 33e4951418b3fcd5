"""Captum's integrated gradients of a small network, at several numbers of steps and baselines."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LIBRARY = "captum"
CASES = [(3, (4,), 5, 20), (2, (3, 6), 64, 7), (1, (5,), 1, 3)]  # batch, shape, steps, width


def network(case: int) -> tuple[nn.Module, Tensor, Tensor]:
    """A function of a batch to one number each, inputs, and baselines."""
    batch, shape, _, width = CASES[case]
    torch.manual_seed(case)
    d_in = int(np.prod(shape))
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(d_in, width), nn.GELU(), nn.Linear(width, 1), nn.Flatten(0)
    ).double()
    x, baseline = torch.randn(2, batch, *shape, dtype=torch.float64)
    return model, x, baseline


def values() -> dict[str, NDArray[np.generic]]:
    from captum.attr import IntegratedGradients

    found: dict[str, Any] = {}
    for case, (_, _, steps, _) in enumerate(CASES):
        model, x, baseline = network(case)
        theirs = IntegratedGradients(model)
        found[f"{case}.zeros"] = theirs.attribute(x, n_steps=steps).detach().numpy()
        found[f"{case}.baseline"] = (
            theirs.attribute(x, baselines=baseline, n_steps=steps).detach().numpy()
        )
    return found
