"""Federated averaging on handwritten digits, and what the gradients on the way give away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.datasets import digits
from llmbook.federated import federate, invert_by_search, invert_dense, train_locally

Data = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The settings of the experiment.

    Attributes:
        clients: How many.
        tested: Pictures that no client has.
        rounds: Of averaging.
        epochs: Of a client in a round.
        batch: Pictures in a client's step.
        lr: Its learning rate.
        width: Of the hidden layer.
    """

    clients: int = 10
    tested: int = 360
    rounds: int = 20
    epochs: int = 5
    batch: int = 16
    lr: float = 0.1
    width: int = 64


def network(seed: int, width: int = 64, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Two dense layers, from 64 pixels to ten digits."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, width), activation(), nn.Linear(width, 10))


def split(seed: int, setup: Setup = Setup()) -> tuple[Data, Data]:
    """The digits in another order, those to be learned and those to be tested."""
    pictures, labels = (torch.from_numpy(array) for array in digits())
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labels)))
    known, tested = order[setup.tested :], order[: setup.tested]
    return (pictures[known], labels[known]), (pictures[tested], labels[tested])


def deal(data: Data, clients: int, *, sorted_by_label: bool) -> list[Data]:
    """Give each client as much: from everything, or two shards of the digits in their order.

    Args:
        data: What there is.
        clients: How many.
        sorted_by_label: The second way: most clients then see two digits.

    Source:
        [McMahan et al. 2017][mcmahan2017communication], section 3, "pathological non-IID".
    """
    pictures, labels = data
    if not sorted_by_label:
        return list(zip(pictures.chunk(clients), labels.chunk(clients), strict=True))
    shards = labels.sort(stable=True).indices.tensor_split(2 * clients)
    lot = np.random.default_rng(len(labels)).permutation(2 * clients)
    hands = [torch.cat([shards[i] for i in pair]) for pair in lot.reshape(clients, 2)]
    return [(pictures[hand], labels[hand]) for hand in hands]


@torch.no_grad()
def accuracy(model: nn.Module, data: Data) -> float:
    """The share of pictures that are read rightly."""
    right: Tensor = model(data[0]).argmax(1) == data[1]
    return right.double().mean().item()


def averaging(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """Federated averaging against each client alone and against all data in one place.

    Returns:
        For clients that are "alike" and "unlike", accuracy after each round, by the epochs of a
        client in a round, and of a client "alone" after as many epochs, the mean; "together",
        that of one who has all data, after as many epochs; "kinds", digits that a client has.
    """
    data, tested = split(seed, setup)
    options: dict[str, Any] = {"batch": setup.batch, "lr": setup.lr}
    found: dict[str, Any] = {}
    for name, unlike in (("alike", False), ("unlike", True)):
        clients = deal(data, setup.clients, sorted_by_label=unlike)
        found[name] = {"kinds": float(np.mean([len(labels.unique()) for _, labels in clients]))}
        for epochs in (1, setup.epochs):
            generator = torch.Generator().manual_seed(seed)
            models = federate(
                network(seed, setup.width),
                clients,
                rounds=setup.rounds,
                epochs=epochs,
                generator=generator,
                **options,
            )
            found[name][str(epochs)] = [accuracy(model, tested) for model in models]
        alone = []
        for own in clients:
            model, generator = network(seed, setup.width), torch.Generator().manual_seed(seed)
            epochs = setup.rounds * setup.epochs
            train_locally(model, own, epochs=epochs, generator=generator, **options)
            alone.append(accuracy(model, tested))
        found[name]["alone"] = float(np.mean(alone))
    model, generator = network(seed, setup.width), torch.Generator().manual_seed(seed)
    train_locally(model, data, epochs=setup.rounds, generator=generator, **options)
    return {**found, "together": accuracy(model, tested)}


def beginning(seed: int, rounds: int = 2) -> dict[str, Any]:
    """The first rounds of `averaging`, as in the record."""
    return averaging(seed, Setup(rounds=rounds))


def gradients(model: nn.Module, data: Data) -> list[Tensor]:
    """Of the mean loss over some pictures, for each parameter."""
    loss = F.cross_entropy(model(data[0]), data[1])
    return list(torch.autograd.grad(loss, list(model.parameters())))


def noised(
    parts: Sequence[Tensor], noise: float, generator: torch.Generator, clip: float = 1.0
) -> list[Tensor]:
    """A gradient cut to a length and with noise of so many times that length."""
    length = torch.cat([part.flatten() for part in parts]).norm()
    factor = min(1.0, clip / length.item())
    return [
        part * factor + noise * clip * torch.randn(part.shape, generator=generator)
        for part in parts
    ]


def identified(
    found: Float[Tensor, "batch 64"], pictures: Float[Tensor, "all 64"], true: Int[Tensor, " batch"]
) -> float:
    """The share of true pictures that are the nearest of all pictures to one that was found."""
    nearest = torch.cdist(found.double(), pictures.double()).argmin(1)
    return torch.isin(true, nearest).double().mean().item()


def dense_leak(seed: int, noise: float, pictures: int = 40) -> dict[str, float]:
    """The division, for single pictures whose gradient is cut and noisy.

    Returns:
        "error", the mean square between what was found and the picture; "identified", the share
        that is nearest to its picture among all; "label", the share of labels that the sign of the
        last bias' gradient gives away.
    """
    (all_pictures, labels), _ = split(seed)
    model, generator = network(seed), torch.Generator().manual_seed(seed)
    errors, right, told = [], [], []
    for i in range(pictures):
        one = (all_pictures[i : i + 1], labels[i : i + 1])
        sent = noised(gradients(model, one), noise, generator)
        found = invert_dense(sent[0], sent[1])[None]
        errors.append((found - one[0]).square().mean().item())
        right.append(identified(found, all_pictures, torch.tensor([i])))
        told.append(float(sent[3].argmin() == labels[i]))
    return {
        "error": float(np.mean(errors)),
        "identified": float(np.mean(right)),
        "label": float(np.mean(told)),
    }


def searched(
    seed: int,
    batch: int,
    *,
    epochs: int = 0,
    noise: float | None = None,
    tries: int = 2,
    steps: int = 60,
) -> dict[str, float]:
    """The search, on a network whose first layer has no bias, so that there is nothing to divide.

    Args:
        seed: Of network, pictures and starting points.
        batch: Pictures whose mean gradient is seen, with their labels.
        epochs: For which the network was trained before on other pictures.
        noise: On each number, in units of the gradient's length; None for none.
        tries: Starting points; that with the smallest distance of gradients counts.
        steps: Of L-BFGS.

    Returns:
        "error", the mean square between each picture and the found one that is nearest to it;
        "mean", that between each picture and the mean of all, which needs no attack; "identified",
        the share of pictures that are nearest, among all, to one that was found; "loss" of the
        network on the pictures.
    """
    known, unknown = split(seed)
    (pictures, labels), tested = ((data[0].double(), data[1]) for data in (known, unknown))
    model = _without_bias(seed).double()
    generator = torch.Generator().manual_seed(seed)
    if epochs:
        options: dict[str, Any] = {"epochs": epochs, "batch": 16, "lr": 0.5}
        train_locally(model, (pictures, labels), generator=generator, **options)
    private = (tested[0][:batch], tested[1][:batch])
    sent = gradients(model, private)
    if noise is not None:  # not cut, as the search compares lengths too
        length = torch.cat([part.flatten() for part in sent]).norm().item()
        sent = noised(sent, noise, generator, clip=length)
    parameters = list(model.parameters())
    best, least = private[0], float("inf")
    for _ in range(tries):
        guess = 0.2 + 0.6 * torch.rand(batch, 64, generator=generator, dtype=torch.double)
        found = invert_by_search(model, sent, guess, private[1], steps=steps, within=(-0.01, 1.01))
        ours = torch.autograd.grad(F.cross_entropy(model(found), private[1]), parameters)
        distance = sum((a - b).square().sum().item() for a, b in zip(ours, sent, strict=True))
        if distance < least:
            best, least = found, distance
    everything = torch.cat((tested[0], pictures))
    between = torch.cdist(private[0].double(), best.double()).square() / 64
    return {
        "error": between.min(1).values.mean().item(),
        "mean": (private[0] - everything.mean(0)).square().mean().item(),
        "identified": identified(best, everything, torch.arange(batch)),
        "loss": F.cross_entropy(model(private[0]), private[1]).item(),
    }


def _without_bias(seed: int) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 64, bias=False), nn.Sigmoid(), nn.Linear(64, 10))


NOISES = (0.0, 0.001, 0.01, 0.1, 1.0)


def run(seed: int) -> dict[str, Any]:
    """All of it with one seed, as it is recorded.

    Returns:
        "averaging"; "dense", the division by noise; "search": of batches of 1, 4, 16 and 64, of a
        "trained" network for 1 and 4, and with "noise" for 1.
    """
    return {
        "averaging": averaging(seed),
        "dense": {str(noise): dense_leak(seed, noise) for noise in NOISES},
        "search": {str(batch): searched(seed, batch) for batch in (1, 4, 16, 64)},
        "trained": {str(batch): searched(seed, batch, epochs=30) for batch in (1, 4, 16)},
        "noise": {str(noise): searched(seed, 1, noise=noise) for noise in NOISES[1:]},
    }
