"""Does an ability appear all at once? Addition, learned from examples, and measured in two ways.

The sums are written with the least significant digit first, `4321+8765=21960`, so that a digit
needs nothing that comes later. (It says that 1234 + 5678 is 06912.)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.gpt import GPT, GPTConfig
from llmbook.training import Recipe, evaluating, train

DIGITS = 4
ANSWER = DIGITS + 1  # a sum may have one digit more
PLUS, EQUALS = 10, 11  # tokens, after the ten digits


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        d_model: Width of the residual stream.
        steps: Changes of the weights, over which the learning rate falls to 0.
        batch: Sums in a step.
        tested: Other sums, on which an adder is measured.
        checks: Steps after which it is.
    """

    d_model: int = 32
    steps: int = 1_000
    batch: int = 128
    tested: int = 2_000
    checks: tuple[int, ...] = (50, 100, 150, 200, 250, 300, 400, 500, 600, 800, 1_000)


def digits(numbers: Int[Tensor, " batch"], count: int) -> Int[Tensor, "batch {count}"]:
    """The digits of numbers, the least significant first.

    Examples:
        >>> digits(torch.tensor([907]), 4)
        tensor([[7, 0, 9, 0]])
    """
    return numbers[:, None] // 10 ** torch.arange(count) % 10


def sums(batch: int, generator: torch.Generator) -> Int[Tensor, "batch seq"]:
    """Draw additions of two numbers below ten thousand.

    There are a hundred million of them, so that hardly any comes twice.

    Args:
        batch: How many.
        generator: Where the randomness comes from.

    Returns:
        Token ids: both numbers, and their sum.

    Examples:
        >>> sums(1, torch.Generator().manual_seed(0)).shape
        torch.Size([1, 15])
    """
    a, b = torch.randint(10**DIGITS, (2, batch), generator=generator)
    plus, equals = (torch.full((batch, 1), sign) for sign in (PLUS, EQUALS))
    return torch.cat((digits(a, DIGITS), plus, digits(b, DIGITS), equals, digits(a + b, ANSWER)), 1)


def answer_loss(model: nn.Module, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the digits of the sum; the numbers cannot be known."""
    logits = model(token_ids[:, :-1])[:, -ANSWER:]
    return F.cross_entropy(logits.flatten(0, 1), token_ids[:, -ANSWER:].flatten().long())


@torch.no_grad()
def measure(model: nn.Module, token_ids: Int[Tensor, "batch seq"]) -> dict[str, Any]:
    r"""Measure the same answers in two ways: all or nothing, and by degrees.

    A model writes the whole sum right if it writes each digit right after right ones. Were the
    digits independent, with $p_i$ the share of right ones at place $i$,

    $$P(\text{all right}) = \prod_{i=1}^{5} p_i$$

    Args:
        model: Gives logits for token ids.
        token_ids: Additions with their sums.

    Returns:
        "exact": share of sums with all digits right, when the model writes them by itself;
        "by_place": share of right digits at each place, given the true ones before;
        "log_likelihood": mean of the true digits' log-probability, in nats.
    """
    with evaluating(model):
        logits = model(token_ids[:, :-1])[:, -ANSWER:]
    expected = token_ids[:, -ANSWER:].long()
    right = logits.argmax(-1) == expected
    loss = F.cross_entropy(logits.flatten(0, 1), expected.flatten()).item()
    return {  # greedy writing goes wrong at the same digit at which a prediction does first
        "exact": right.all(1).double().mean().item(),
        "by_place": right.double().mean(0).tolist(),
        "log_likelihood": -loss,
    }


def adder(d_model: int, seed: int) -> GPT:
    """A GPT of two blocks that reads and writes sums."""
    torch.manual_seed(seed)
    heads = max(1, d_model // 16)
    length = 2 * DIGITS + 2 + ANSWER - 1
    return GPT(
        GPTConfig(vocab_size=12, d_model=d_model, num_layers=2, num_heads=heads, max_len=length)
    )


def learn(seed: int, *, until: int | None = None, setup: Setup = Setup()) -> dict[str, Any]:
    """Train an adder, and measure it as it learns.

    Args:
        seed: Of the weights and of the sums that it reads.
        until: Stop after so many steps, if not after all; what comes before is the same.
        setup: All other settings.

    Returns:
        "curve": what `measure` says of sums of another seed, after each of the checks, with its
            "step".
    """
    model, curve = adder(setup.d_model, seed), []
    unseen = sums(setup.tested, torch.Generator().manual_seed(10_000))

    def check(step: int, _: float) -> None:
        if step in setup.checks:
            curve.append({"step": step, **measure(model, unseen)})

    train(
        model,
        partial(sums, setup.batch),
        Recipe(steps=setup.steps, muon_lr=0.02, warmup=setup.steps // 32),
        generator=torch.Generator().manual_seed(seed),
        loss=answer_loss,
        until=until,
        on_step=check,
    )
    return {"curve": curve}


def by_size(
    seed: int,
    widths: Sequence[int] = (8, 16, 24, 32, 48, 64),
    setup: Setup = Setup(steps=400, checks=(400,)),
) -> dict[str, Any]:
    """Train adders of several widths for 400 steps each, which is few.

    Args:
        seed: Of the weights and of the sums that they read.
        widths: Of the residual streams.
        setup: All other settings; what counts is the last check.

    Returns:
        "sizes": for each "d_model", the number of "parameters", and what `measure` says.
    """
    found = []
    for d_model in widths:
        last = learn(seed, setup=replace(setup, d_model=d_model))["curve"][-1]
        parameters = sum(p.numel() for p in adder(d_model, seed).parameters())
        found.append({"d_model": d_model, "parameters": parameters, **last})
    return {"sizes": found}
