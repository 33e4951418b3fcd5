"""What a token costs in use: seconds of SmolLM2 by how many texts it writes side by side.

Seconds of one core, on whatever machine makes the record. A watt is not measured: virtual machines
show no counter of energy, so joules are seconds times a range of watts.
"""

from functools import partial
from typing import Any, Final

import torch

from llmbook.emissions import (
    BUILDING_SHARE,
    SERVER_SHARE,
    WATTS_PER_CORE,
    Boundary,
    joules_per_token,
)
from llmbook.experiments.speeds import timed
from llmbook.generation import KVCache
from llmbook.llama import Llama
from llmbook.pretrained import smollm2
from llmbook.training import next_token_loss

BATCHES: Final = (1, 2, 4, 8, 16, 32)
BEFORE: Final = 64  # tokens that each text has
READ: Final = 256  # tokens of the text that is read at once


@torch.no_grad()
def of_writing(batches: tuple[int, ...] = BATCHES, repeats: int = 15) -> dict[str, float]:
    """Seconds of one pass in which each of so many texts gets one more token.

    Args:
        batches: How many texts are written side by side.
        repeats: Passes of which the quickest counts.

    Raises:
        ValueError: If there is a batch without a text.
    """
    if min(batches, default=1) < 1:
        raise ValueError(f"batches must be at least 1 each, got {batches}")
    model, _ = smollm2()
    found = {}
    for batch in batches:
        cache = model.new_cache(BEFORE + 1, batch)
        model.hidden_states(torch.arange(BEFORE).expand(batch, -1), cache=cache)
        found[str(batch)] = timed(partial(_write, model, cache, batch), repeats)[0]
    return found


def _write(model: Llama, cache: KVCache, batch: int) -> None:
    cache.length = BEFORE
    model.unembed(model.hidden_states(torch.full((batch, 1), 7), cache=cache))


@torch.no_grad()
def of_reading(repeats: int = 5) -> float:
    """Seconds in which one text of `READ` tokens is read, up to its next token.

    Args:
        repeats: Passes of which the quickest counts.
    """
    model, _ = smollm2()
    text = torch.arange(READ)[None]
    return timed(lambda: model.unembed(model.hidden_states(text)[:, -1]), repeats)[0]


def of_training(repeats: int = 3) -> float:
    """Seconds in which one text of `READ` tokens is read and its gradients are computed.

    Args:
        repeats: Passes of which the quickest counts; the optimiser's step is in none.
    """
    model, _ = smollm2()
    text, weights = torch.arange(READ + 1)[None], list(model.parameters())
    known = [weight.requires_grad for weight in weights]

    def learn() -> None:
        torch.autograd.grad(next_token_loss(model, text), weights)

    try:
        model.requires_grad_(True)
        return timed(learn, repeats)[0]
    finally:
        for weight, before in zip(weights, known, strict=True):
            weight.requires_grad_(before)


def joules(seconds: float | int, tokens: int = 1) -> tuple[float, float, float]:
    """Joules a token within chip, server and building: low, middle and high.

    The ends take all three assumptions at their end, so the truth is rather inside.

    Args:
        seconds: Of one core.
        tokens: How many were made in them.

    Raises:
        ValueError: If `seconds` is negative or not a finite number, or there is no token.

    Examples:
        >>> [round(value, 2) for value in joules(1.0)]
        [3.3, 7.8, 22.4]
    """
    low, middle, high = (
        joules_per_token(seconds, watts, tokens, Boundary(host=server, pue=building))
        for watts, server, building in zip(
            WATTS_PER_CORE, SERVER_SHARE, BUILDING_SHARE, strict=True
        )
    )
    return low, middle, high


def run(seed: int) -> dict[str, Any]:
    """What is recorded; nothing in it is drawn."""
    torch.set_num_threads(1)
    return {"writing": of_writing(), "reading": of_reading(), "training": of_training()}
