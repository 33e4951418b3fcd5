"""What a language model learns from stories, and when: by counting, and by training a GPT."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from llmbook.experiments.stories import LENGTH, VOCABULARY, draw_stories, places, score
from llmbook.gpt import GPT, GPTConfig
from llmbook.ngrams import KneserNey
from llmbook.training import Recipe, evaluating, train

Stories = Int[Tensor, "count seq"]


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        told: Stories from which everything learns.
        unseen: Other stories, on which everything is examined.
        batch: Stories in a step.
        checks: Steps after which the GPT is examined.
        muon: How it is trained with Muon for the matrices inside of blocks.
        adamw: How it is trained with AdamW alone. Of the rates 1e-3, 3e-3, 1e-2, 2e-2 and 3e-2,
            this one was the best for seed 0.
    """

    told: int = 20_000
    unseen: int = 1_000
    batch: int = 32
    checks: tuple[int, ...] = (25, 50, 75, 100, 150, 200, 250, 300, 350, 400)
    muon: Recipe = Recipe(steps=400, muon_lr=0.02, warmup=20)
    adamw: Recipe = Recipe(steps=400, lr=1e-2, warmup=20)


def told(setup: Setup = Setup()) -> Stories:
    """The stories from which everything here learns."""
    return draw_stories(setup.told, seed=1)


def unseen(setup: Setup = Setup()) -> Stories:
    """Other stories, on which everything is examined."""
    return draw_stories(setup.unseen, seed=2)


@torch.no_grad()
def examine(model: nn.Module, ids: Stories) -> dict[str, float]:
    """A model's skills as `stories.score` has them, and its "loss" in nats a token."""
    with evaluating(model):
        logits = torch.cat([model(part[:, :-1]) for part in ids.split(250)])
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten().long()).item()
    return {"loss": loss, **score(logits, ids)}


def examine_counts(model: KneserNey, ids: Stories) -> dict[str, float]:
    """The same for an n-gram model, which is asked only where there is something to know."""
    logits = torch.zeros(len(ids), ids.shape[1] - 1, len(VOCABULARY))
    for place in places(ids).values():
        for row, end in enumerate(place.tolist()):
            before = ids[row, max(0, end - model.order + 1) : end].numpy()
            logits[row, end - 1] = torch.from_numpy(np.log(model.distribution(before)))
    log_probs = model.log_probs(ids.flatten().numpy()).reshape(ids.shape)
    return {"loss": -float(log_probs[:, 1:].mean()), **score(logits, ids)}


def new_model(seed: int) -> GPT:
    """A GPT of about a hundred thousand parameters that knows the stories' words."""
    torch.manual_seed(seed)
    return GPT(
        GPTConfig(vocab_size=len(VOCABULARY), d_model=64, num_layers=2, num_heads=4, max_len=LENGTH)
    )


def draw_batch(ids: Stories, batch: int, generator: torch.Generator) -> Int[Tensor, "{batch} seq"]:
    """Take some of the stories."""
    return ids[torch.randint(len(ids), (batch,), generator=generator)]


def learn(
    seed: int, *, muon: bool = True, until: int | None = None, setup: Setup = Setup()
) -> tuple[GPT, list[dict[str, int | float]]]:
    """Train a GPT on stories, and examine it as it learns.

    Args:
        seed: Of the weights and the order of the stories.
        muon: Muon for the matrices inside of blocks, or AdamW for all.
        until: Stop after this step.
        setup: All other settings.

    Returns:
        The model, and for each of the checks the "step" and what `examine` says.
    """
    model, exam, curve = new_model(seed), unseen(setup), []

    def check(step: int, _: float) -> None:
        if step in setup.checks:
            curve.append({"step": step, **examine(model, exam)})

    train(
        model,
        partial(draw_batch, told(setup), setup.batch),
        setup.muon if muon else setup.adamw,
        generator=torch.Generator().manual_seed(seed),
        until=until,
        on_step=check,
    )
    return model, curve


def run(seed: int) -> dict[str, Any]:
    """What is recorded: how it goes with Muon and with AdamW alone."""
    return {"muon": learn(seed)[1], "adamw": learn(seed, muon=False)[1]}
