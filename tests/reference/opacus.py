"""Opacus: gradients of each record, the sum of them cut, and Rényi divergences at any order."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

LIBRARY = "opacus"
CLIPS = (0.05, 0.5, 100.0)
STEPS = [  # sampling rate, noise, steps
    (0.01, 1.1, 10_000),
    (128 / 1881, 0.6, 150),
    (0.5, 0.3, 3),
    (0.9, 2.0, 7),
    (0.001, 0.8, 100_000),
]
ORDERS = (1.1, 1.5, 2.0, 2.5, 7.3, 10.9, 32.0, 63.0)


def networks() -> dict[str, tuple[nn.Sequential, Tensor, Tensor]]:
    """Networks of layers of several kinds, with records and labels."""
    torch.manual_seed(0)
    made = {
        "dense": (
            nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3, bias=False)),
            torch.randn(6, 5, dtype=torch.float64),
        ),
        "text": (
            nn.Sequential(
                nn.Embedding(9, 4), nn.LayerNorm(4), nn.Linear(4, 4), nn.GELU(), nn.Flatten(), nn.Linear(20, 3)
            ),
            torch.randint(9, (8, 5)),
        ),
        "picture": (
            nn.Sequential(
                nn.Conv2d(2, 4, 3, padding=1, stride=2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
            ),
            torch.randn(4, 2, 6, 6, dtype=torch.float64),
        ),
    }  # fmt: skip
    return {
        name: (network.double(), records, torch.randint(3, (len(records),)))
        for name, (network, records) in made.items()
    }


def values() -> dict[str, NDArray[np.generic]]:
    import warnings

    from opacus import GradSampleModule
    from opacus.accountants.analysis import rdp
    from opacus.optimizers import DPOptimizer

    warnings.simplefilter("ignore")
    found: dict[str, Any] = {}
    for name, (network, records, labels) in networks().items():
        found |= {f"{name}.records": records, f"{name}.labels": labels}
        found |= {f"{name}.weight {k}": v.detach() for k, v in network.named_parameters()}
        watched = GradSampleModule(network, loss_reduction="mean")
        for clip in CLIPS:
            optimizer = DPOptimizer(
                torch.optim.SGD(watched.parameters(), lr=0.0),
                noise_multiplier=0.0,
                max_grad_norm=clip,
                expected_batch_size=len(records),
            )
            optimizer.zero_grad()
            F.cross_entropy(watched(records), labels).backward()
            if clip == CLIPS[0]:
                for k, p in network.named_parameters():
                    found[f"{name}.gradient {k}"] = vars(p)["grad_sample"].clone()
            optimizer.pre_step()
            for k, p in network.named_parameters():
                found[f"{name}.cut {clip} {k}"] = torch.as_tensor(p.grad) * len(records)
    found = {k: np.asarray(v) for k, v in found.items()}
    found["rdp"] = np.array(
        [
            rdp.compute_rdp(q=q, noise_multiplier=z, steps=steps, orders=list(ORDERS))
            for q, z, steps in STEPS
        ]
    )
    return found
