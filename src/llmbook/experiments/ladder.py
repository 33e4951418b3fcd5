"""The ladder: what counting and a small GPT make of the same real text, in bits per byte."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from llmbook.architectures.configs import Config
from llmbook.architectures.costs import training_flops
from llmbook.datasets import sotu
from llmbook.gpt import GPT, GPTConfig
from llmbook.ngrams import KneserNey
from llmbook.tokenizers import ByteLevelBPE
from llmbook.training import Recipe, bits_per_byte, next_token_batch, train

END: Final = "<|endoftext|>"
ORDERS: Final = {"unigram": 1, "bigram": 2, "Kneser-Ney 3": 3, "Kneser-Ney 5": 5}


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        since: The first year whose address is read.
        vocab_size: Tokens of the byte-level BPE, which is trained first.
        context: Tokens that a network reads at once.
        stride: How far the window moves when a network is measured.
        num_heads: Attention heads in a block.
        batch: Pieces of text in a step.
        steps: Changes of the weights of the usual size; others have what costs as much.
        warmup: Steps in which the rates rise.
        checked: Steps whose losses are recorded one by one, to be compared with.
    """

    since: int = 1900
    vocab_size: int = 2048
    context: int = 64
    stride: int = 32
    num_heads: int = 4
    batch: int = 16
    steps: int = 1100
    warmup: int = 30
    checked: int = 100


@dataclass(frozen=True)
class Part:
    """Some addresses as one text: an end-of-text token stands before each of them."""

    token_ids: Int[np.ndarray, " tokens"]
    num_bytes: int


@dataclass(frozen=True)
class Corpus:
    """The addresses in three parts: to learn from, to choose by, and to be judged by.

    Attributes:
        learned: Eight of ten addresses; the tokens are theirs, too.
        validation: Every tenth, on which sizes and rates are chosen.
        test: Every tenth, of which nothing is chosen.
        vocab_size: Tokens that there are.
    """

    learned: Part
    validation: Part
    test: Part
    vocab_size: int


@cache
def read(since: int = 1900, vocab_size: int = 2048) -> Corpus:
    """Read the State of the Union addresses as tokens of a byte-level BPE of their own.

    Args:
        since: Leave out those before this year.
        vocab_size: Tokens of the BPE.

    Raises:
        ValueError: If there are too few addresses since then for three parts, or too few tokens.
    """
    texts = [address.text for address in sotu(since)]
    if len(texts) < 6:
        raise ValueError(f"since must leave at least 6 addresses, got {len(texts)} since {since}")
    shares = {"validation": texts[4::10], "test": texts[5::10]}
    shares["learned"] = [text for i, text in enumerate(texts) if i % 10 not in (4, 5)]
    tokenizer = ByteLevelBPE.train(shares["learned"], vocab_size, [END])

    def part(some: Iterable[str]) -> Part:
        ids = [i for text in some for i in tokenizer.encode(END + text, allow_special=True)]
        return Part(np.array(ids), sum(len(text.encode()) for text in some))

    return Corpus(**{name: part(some) for name, some in shares.items()}, vocab_size=vocab_size)


def count(setup: Setup = Setup()) -> dict[str, float]:
    """Bits per byte of the test by counting: of single tokens, of pairs, and by Kneser-Ney."""
    corpus = read(setup.since, setup.vocab_size)
    bits = {}
    for name, order in ORDERS.items():
        model = KneserNey(corpus.learned.token_ids, corpus.vocab_size, order)
        nats = -model.log_probs(corpus.test.token_ids)[1:].sum()  # as `bits_per_byte` counts
        bits[name] = float(nats / math.log(2) / corpus.test.num_bytes)
    return bits


def flops(config: GPTConfig, tokens: int) -> float:
    """Operations of training on so many tokens, by the rule of thumb."""
    c = config
    sizes = Config(
        kind="gpt-2",
        d_model=c.d_model,
        num_layers=c.num_layers,
        num_heads=c.num_heads,
        d_ff=c.d_ff,
        vocab_size=c.vocab_size,
        max_len=c.max_len,
    )
    return training_flops(sizes, tokens)


@dataclass(frozen=True)
class Variant:
    """A GPT of the ladder, and how it is trained.

    Attributes:
        d_model: Its width.
        num_layers: Its depth.
        lr: Highest rate of AdamW.
        muon_lr: Highest rate of Muon; without one, AdamW has all weights.
    """

    d_model: int = 96
    num_layers: int = 2
    lr: float = 3e-3
    muon_lr: float | None = None


def config(variant: Variant, setup: Setup = Setup()) -> GPTConfig:
    """The sizes of a variant's model."""
    return GPTConfig(
        vocab_size=setup.vocab_size,
        d_model=variant.d_model,
        num_layers=variant.num_layers,
        num_heads=setup.num_heads,
        max_len=setup.context,
    )


def steps_for(variant: Variant, setup: Setup = Setup()) -> int:
    """As many steps as cost what `setup.steps` of the usual size do."""
    usual, this = (flops(config(each, setup), 1) for each in (Variant(), variant))
    return round(setup.steps * usual / this)


RATES: Final = {
    **{f"Muon, AdamW {lr:g}": Variant(lr=lr, muon_lr=0.02) for lr in (3e-3, 1e-2)},
    **{f"AdamW {lr:g}": Variant(lr=lr) for lr in (3e-4, 1e-3, 3e-3, 1e-2)},
}
"""What is tried on the validation part."""

VARIANTS: Final = {
    "Muon": Variant(lr=1e-2, muon_lr=0.02),
    "AdamW": Variant(lr=1e-3),
    "small": Variant(d_model=64, lr=1e-2, muon_lr=0.02),
    "large": Variant(d_model=128, num_layers=3, lr=1e-2, muon_lr=0.02),
}
"""What climbs the ladder: both optimisers at their best rates, and two sizes for the same cost."""


def fit(
    variant: Variant, seed: int, until: int | None = None, setup: Setup = Setup()
) -> tuple[GPT, list[float]]:
    """Train a variant.

    Args:
        variant: What to train.
        seed: Of the first weights and of what is read.
        until: Stop after this step.
        setup: All other settings.

    Returns:
        The model, and the loss of each step.
    """
    torch.manual_seed(seed)
    model = GPT(config(variant, setup))
    recipe = Recipe(
        steps=steps_for(variant, setup),
        lr=variant.lr,
        muon_lr=variant.muon_lr,
        warmup=setup.warmup,
    )
    text = torch.from_numpy(read(setup.since, setup.vocab_size).learned.token_ids)
    draw = partial(next_token_batch, text, setup.batch, setup.context)
    generator = torch.Generator().manual_seed(seed)
    return model, train(model, draw, recipe, generator=generator, until=until)


def begin(name: str, seed: int, setup: Setup = Setup()) -> list[float]:
    """The losses of the first steps of one of `VARIANTS`, to hold a record to."""
    return fit(VARIANTS[name], seed, setup.checked, setup)[1]


def measure(model: nn.Module, part: Part, setup: Setup = Setup()) -> float:
    """Bits per byte, each token but the first with at least `context - stride` before it."""
    return bits_per_byte(
        model,
        torch.from_numpy(part.token_ids),
        part.num_bytes,
        max_len=setup.context,
        stride=setup.stride,
    )


def choose(seed: int, setup: Setup = Setup()) -> dict[str, float]:
    """Bits per byte of the validation part after training at each of `RATES`."""
    validation = read(setup.since, setup.vocab_size).validation
    return {
        name: measure(fit(variant, seed, setup=setup)[0], validation, setup)
        for name, variant in RATES.items()
    }


def climb(seed: int, setup: Setup = Setup()) -> dict[str, dict[str, int | float | list[float]]]:
    """Train all of `VARIANTS`.

    Args:
        seed: Of the first weights and of what is read.
        setup: All other settings.

    Returns:
        For each its "parameters", its "steps", bits per byte of the "test", "first" (the losses of
        its first steps) and "losses" (means of fifty steps each).
    """
    test = read(setup.since, setup.vocab_size).test
    runs: dict[str, dict[str, int | float | list[float]]] = {}
    for name, variant in VARIANTS.items():
        model, losses = fit(variant, seed, setup=setup)
        fifties = (losses[i : i + 50] for i in range(0, len(losses) - 49, 50))
        runs[name] = {
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": len(losses),
            "test": measure(model, test, setup),
            "first": [round(loss, 5) for loss in losses[: setup.checked]],
            "losses": [round(sum(fifty) / 50, 5) for fifty in fifties],
        }
    return runs
