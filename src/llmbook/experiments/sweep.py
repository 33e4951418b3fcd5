"""A sweep of tiny GPTs: many sizes for each of a few budgets, to see where the best size lies."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from llmbook.experiments.ladder import flops, read
from llmbook.gpt import GPT, GPTConfig
from llmbook.training import Recipe, bits_per_byte, next_token_batch, train

SIZES: Final = {
    "8 x 1": (8, 1, 1),
    "16 x 2": (16, 2, 2),
    "24 x 2": (24, 2, 2),
    "40 x 2": (40, 2, 2),
    "64 x 2": (64, 2, 4),
    "96 x 2": (96, 2, 4),
    "128 x 3": (128, 3, 4),
}
"""Of each model: width, layers, and heads."""

BUDGETS: Final = {
    2.5e10: ("8 x 1", "16 x 2", "24 x 2", "40 x 2", "64 x 2"),
    1e11: ("8 x 1", "16 x 2", "24 x 2", "40 x 2", "64 x 2", "96 x 2"),
    4e11: ("24 x 2", "40 x 2", "64 x 2", "96 x 2", "128 x 3"),
}
"""For each budget in operations the sizes that are trained with it."""


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        since: The first year whose address is read.
        vocab_size: Tokens of the byte-level BPE, which is trained first.
        context: Tokens that a model reads at once.
        batch: Pieces of text in a step.
        lr: Highest rate of AdamW; at widths 8, 24 and 128, no other was clearly better.
        muon_lr: Highest rate of Muon.
    """

    since: int = 0
    vocab_size: int = 1024
    context: int = 64
    batch: int = 8
    lr: float = 0.02
    muon_lr: float = 0.02


def config(size: str, setup: Setup = Setup()) -> GPTConfig:
    """The sizes of a model in `SIZES`."""
    width, layers, heads = SIZES[size]
    return GPTConfig(
        vocab_size=setup.vocab_size,
        d_model=width,
        num_layers=layers,
        num_heads=heads,
        max_len=setup.context,
    )


def steps_for(size: str, budget: float | int, setup: Setup = Setup()) -> int:
    r"""How many steps a budget buys: $C / 6N$ tokens, in batches."""
    return round(budget / flops(config(size, setup), setup.batch * setup.context))


def spread(ids: Int[np.ndarray, " tokens"]) -> Int[np.ndarray, " some"]:
    """Every eighth piece of a thousand tokens: from all times."""
    return np.concatenate(np.array_split(ids, len(ids) // 1000)[::8])


def held_out(setup: Setup = Setup()) -> Int[Tensor, " tokens"]:
    """A part of the addresses held out, on which the models are measured."""
    return torch.from_numpy(spread(read(setup.since, setup.vocab_size).test.token_ids))


def cell(size: str, steps: int, seed: int, setup: Setup = Setup()) -> dict[str, float | int | str]:
    """Train one model and measure its loss on what it has not read.

    Args:
        size: A name in `SIZES`.
        steps: How many; the rates fall to 0 over them.
        seed: Of the first weights and of what is read.
        setup: All other settings.

    Returns:
        The "size", its "parameters", the "tokens" read, and the "loss" in nats per token.
    """
    learned = torch.from_numpy(read(setup.since, setup.vocab_size).learned.token_ids)
    torch.manual_seed(seed)
    model = GPT(config(size, setup))
    recipe = Recipe(
        steps=steps, lr=setup.lr, muon_lr=setup.muon_lr, warmup=max(1, steps * 3 // 100)
    )
    draw = partial(next_token_batch, learned, setup.batch, setup.context)
    train(model, draw, recipe, generator=torch.Generator().manual_seed(seed))
    unread = held_out(setup)
    as_bytes = len(unread) - 1  # each token counts as a byte: bits per token
    bits = bits_per_byte(model, unread, as_bytes, max_len=setup.context)
    return {
        "size": size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": steps * setup.batch * setup.context,
        "loss": round(bits * math.log(2), 5),
    }


def run(
    seed: int, budgets: Mapping[float, Sequence[str]] = BUDGETS, setup: Setup = Setup()
) -> dict[str, list[dict[str, float | int | str]]]:
    """Train all cells.

    Args:
        seed: Of the first weights and of what is read.
        budgets: The sizes that are trained with each.
        setup: All other settings.

    Returns:
        "cells", each as `cell` gives it, and its "budget".
    """
    return {
        "cells": [
            {"budget": budget, **cell(size, steps_for(size, budget, setup), seed, setup)}
            for budget, sizes in budgets.items()
            for size in sizes
        ]
    }
