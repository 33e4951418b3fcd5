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
        lr: Adam's rate at the beginning.
    """

    features: int = 128
    d_model: int = 32
    active: float | int = 3.0
    vectors: int = 20_000
    steps: int = 2_000
    lr: float = 2e-3


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
    """What is found of one world, by six ways.

    Returns:
        For autoencoders ("trained"; "longer", for twice the steps at five times the rate; "wide",
        trained like that and allowed twice as many directions a vector as there are features; and
        "frozen"), for "components" and for "random" directions, the share of
            variance "explained" on vectors that were not learned from and the share of true
            directions "recovered". Of the components there are as many as a vector may use
            directions; random directions explain nothing by themselves.
    """
    true, vectors = world(setup, seed)
    learned, held_out = vectors[: -len(vectors) // 5], vectors[-len(vectors) // 5 :]
    top_k = round(setup.active)
    found = {}
    for name, more, allowed in [
        ("trained", False, top_k),
        ("longer", True, top_k),
        ("wide", True, 2 * top_k),
        ("frozen", False, top_k),
    ]:
        torch.manual_seed(1_000 + seed)  # with the world's own seed it would begin at the truth
        model = SparseAutoencoder(setup.d_model, setup.features, allowed, frozen=name == "frozen")
        generator = torch.Generator().manual_seed(seed)
        steps, lr = (2 * setup.steps, 5 * setup.lr) if more else (setup.steps, setup.lr)
        fit(model, learned, steps=steps, generator=generator, lr=lr)
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
