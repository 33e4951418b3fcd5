"""A sweep of tiny GPTs: many sizes for each of a few budgets, to see where the best size lies."""

import math
from functools import cache, partial
from typing import Final

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from llmbook.experiments.ladder import flops, read
from llmbook.gpt import GPT, GPTConfig
from llmbook.training import Recipe, bits_per_byte, next_token_batch, train

BATCH, CONTEXT, VOCAB = 8, 64, 1024
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

LR, MUON_LR = 0.02, 0.02  # at widths 8, 24 and 128, no rate of AdamW was clearly better

BUDGETS: Final = {
    2.5e10: ("8 x 1", "16 x 2", "24 x 2", "40 x 2", "64 x 2"),
    1e11: ("8 x 1", "16 x 2", "24 x 2", "40 x 2", "64 x 2", "96 x 2"),
    4e11: ("24 x 2", "40 x 2", "64 x 2", "96 x 2", "128 x 3"),
}
"""For each budget in operations the sizes that are trained with it."""


def config(size: str) -> GPTConfig:
    """The sizes of a model in `SIZES`."""
    width, layers, heads = SIZES[size]
    return GPTConfig(
        vocab_size=VOCAB, d_model=width, num_layers=layers, num_heads=heads, max_len=CONTEXT
    )


def steps_for(size: str, budget: float | int) -> int:
    r"""How many steps a budget buys: $C / 6N$ tokens, in batches."""
    return round(budget / flops(config(size), BATCH * CONTEXT))


@cache
def held_out() -> Int[Tensor, " tokens"]:
    """Of the addresses held out, every eighth piece of a thousand tokens: from all times."""
    ids = read(0, VOCAB).test.token_ids
    return torch.from_numpy(np.concatenate(np.array_split(ids, len(ids) // 1000)[::8]))


def cell(size: str, steps: int, seed: int) -> dict[str, float | int | str]:
    """Train one model and measure its loss on what it has not read.

    Args:
        size: A name in `SIZES`.
        steps: How many, of `BATCH` times `CONTEXT` tokens; the rates fall to 0 over them.
        seed: Of the first weights and of what is read.

    Returns:
        The "size", its "parameters", the "tokens" read, and the "loss" in nats per token.
    """
    learned = torch.from_numpy(read(0, VOCAB).learned.token_ids)
    torch.manual_seed(seed)
    model = GPT(config(size))
    recipe = Recipe(steps=steps, lr=LR, muon_lr=MUON_LR, warmup=max(1, steps * 3 // 100))
    draw = partial(next_token_batch, learned, BATCH, CONTEXT)
    train(model, draw, recipe, generator=torch.Generator().manual_seed(seed))
    as_bytes = len(held_out()) - 1  # each token counts as a byte: bits per token
    bits = bits_per_byte(model, held_out(), as_bytes, max_len=CONTEXT)
    return {
        "size": size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokens": steps * BATCH * CONTEXT,
        "loss": round(bits * math.log(2), 5),
    }


def run(seed: int) -> dict[str, list[dict[str, float | int | str]]]:
    """Train all cells.

    Args:
        seed: Of the first weights and of what is read.

    Returns:
        "cells", each as `cell` gives it, and its "budget".
    """
    return {
        "cells": [
            {"budget": budget, **cell(size, steps_for(size, budget), seed)}
            for budget, sizes in BUDGETS.items()
            for size in sizes
        ]
    }
