"""More features than dimensions, all of them known: what does an autoencoder find of them?"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llmbook.autoencoder import SparseAutoencoder, fit, principal, recovered, unexplained


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        features: True directions.
        d_model: Dimensions in which they are laid.
        active: How many are there at once, on average.
        vectors: From which is learned.
        steps: Changes of the weights.
    """

    features: int = 128
    d_model: int = 32
    active: float | int = 3.0
    vectors: int = 20_000
    steps: int = 2_000


def world(
    setup: Setup, seed: int
) -> tuple[Float[Tensor, "features d_model"], Float[Tensor, "vectors d_model"]]:
    """Random directions of length 1, and sums of a few of them with weights from 0.5 to 1.5."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.randn(setup.features, setup.d_model, generator=generator)
    true = torch.nn.functional.normalize(true, dim=1)
    shape = (setup.vectors, setup.features)
    there = torch.rand(shape, generator=generator) < setup.active / setup.features
    amounts = there * (0.5 + torch.rand(shape, generator=generator))
    return true, amounts @ true


def measure(setup: Setup, seed: int) -> dict[str, dict[str, float]]:
    """What is found of one world, by four ways.

    Returns:
        For "trained" and "frozen" autoencoders, "components" and "random" directions, the share of
            variance "explained" on vectors that were not learned from and the share of true
            directions "recovered". Of the components there are as many as a vector may use
            directions; random directions explain nothing by themselves.
    """
    true, vectors = world(setup, seed)
    learned, held_out = vectors[: -len(vectors) // 5], vectors[-len(vectors) // 5 :]
    top_k = round(setup.active)
    found = {}
    for name in ("trained", "frozen"):
        torch.manual_seed(1_000 + seed)  # with the world's own seed it would begin at the truth
        model = SparseAutoencoder(setup.d_model, setup.features, top_k, frozen=name == "frozen")
        generator = torch.Generator().manual_seed(seed)
        fit(model, learned, steps=setup.steps, generator=generator)
        with torch.no_grad():
            missed = unexplained(held_out, model(held_out)[0])
        found[name] = {"explained": 1 - missed, "recovered": recovered(model.decoder, true)}
    mean, axes = principal(learned, top_k)
    rebuilt = mean + (held_out - mean) @ axes.T @ axes
    _, every = principal(learned, setup.d_model)
    found["components"] = {
        "explained": 1 - unexplained(held_out, rebuilt),
        "recovered": recovered(torch.cat((every, -every)), true),
    }
    drawn = torch.randn(setup.features, setup.d_model, generator=torch.Generator().manual_seed(99))
    found["random"] = {"explained": 0.0, "recovered": recovered(drawn, true)}
    return found


def run(seed: int, active: tuple[float | int, ...] = (2, 4, 6, 8, 12)) -> dict[str, Any]:
    """What is recorded: `measure` with more and more features at once."""
    return {f"{count:g}": measure(Setup(active=count), seed) for count in active}
