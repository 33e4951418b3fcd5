"""Rounds of `llmbook.scan.newton_states`, for networks that forget and that remember."""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import jacrev
from torch.nn import functional as F

from llmbook.experiments.copying import CopyLSTM, copy_batch
from llmbook.rnn import LSTM, RNN
from llmbook.scan import newton_states
from llmbook.training import Recipe, train


@dataclass(frozen=True)
class Setup:
    r"""The settings of the experiment; the defaults are those of the book.

    Attributes:
        lengths: Places that are computed at once.
        trained: Steps of training after which the LSTM is asked.
        gains: Spreads of the plain network's weights, as multiples of $1/\sqrt{d}$.
        d_hidden: Width of both networks' states.
        copied: Symbols that the LSTM learns to repeat.
        lr: AdamW's rate.
    """

    lengths: tuple[int, ...] = (64, 128, 256)
    trained: tuple[int, ...] = (0, 300, 1_000)
    gains: tuple[float | int, ...] = (0.5, 1, 1.5, 2)
    d_hidden: int = 24
    copied: int = 3
    lr: float | int = 1e-2


def one_step(layer: RNN | LSTM, state: Tensor, x: Float[Tensor, " d_input"]) -> Tensor:
    """The next state of a layer's single level, as one vector: of an LSTM, state and cell."""
    parts = state.chunk(layer.parts)
    projected = layer.input[0](x) + layer.recurrent[0](parts[0])
    return torch.cat(layer.step(projected, parts))


@torch.no_grad()
def growth(layer: RNN | LSTM, inputs: Float[Tensor, "seq d_input"], seed: int) -> float:
    """By how much two nearby states grow apart at a step, as the mean of the logarithm.

    An estimate of the largest Lyapunov exponent: below zero they come together, above zero they
    part. The first quarter of the places is not counted.
    """
    width = layer.parts * layer.d_hidden
    state = inputs.new_zeros(width)
    apart = torch.randn(width, generator=torch.Generator().manual_seed(seed), dtype=inputs.dtype)
    logs = []
    for x in inputs:
        apart = jacrev(partial(one_step, layer))(state, x) @ apart
        state = one_step(layer, state, x)
        logs.append(float(apart.norm().log()))
        apart = apart / apart.norm()
    counted = logs[len(logs) // 4 :]
    return sum(counted) / len(counted)


@torch.no_grad()
def settle(
    layer: RNN | LSTM, inputs: Float[Tensor, "seq d_input"], lengths: tuple[int, ...]
) -> dict[str, Any]:
    """How many rounds it takes by length, and how far the states are from the loop's."""
    start = inputs.new_zeros(layer.parts * layer.d_hidden)
    rounds, apart = {}, 0.0
    for length in lengths:
        states, rounds[str(length)] = newton_states(
            partial(one_step, layer), inputs[:length], start, tolerance=1e-9
        )
        loop = layer(inputs[None, :length])[0][0]
        apart = max(apart, float((states[:, : layer.d_hidden] - loop).abs().max()))
    return {"rounds": rounds, "apart": apart}


def said(
    model: CopyLSTM, text: Int[Tensor, "batch seq"], *, echo: bool
) -> tuple[Float[Tensor, "batch copied symbols"], Int[Tensor, "batch copied"]]:
    """A model's logits for the copy's symbols, and these: before it reads each, or after.

    Before, it has to remember the string. After, as an `echo`, the input holds the answer.
    """
    copied = text.shape[1] // 2 - 1
    logits = model(text)
    return logits[:, -copied:] if echo else logits[:, -copied - 1 : -1], text[:, -copied:]


def learn(model: CopyLSTM, setup: Setup, steps: int, texts: torch.Generator, *, echo: bool) -> None:
    """Train a model for some steps, or none, on fresh strings."""
    if not steps:
        return

    def loss(_: nn.Module, text: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
        logits, symbols = said(model, text, echo=echo)
        return F.cross_entropy(logits.flatten(0, 1), symbols.flatten().long())

    recipe = Recipe(steps=steps, lr=setup.lr, decay="none")
    train(model, partial(copy_batch, setup.copied, 32), recipe, generator=texts, loss=loss)


def run(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """What is recorded: rounds and growth, of LSTMs in training and of plain networks.

    Returns:
        "copies" by steps of training, "echoes" after the most of them, from the same beginning and
        with strings of its own; both with the share of symbols that is "right". "plain" by gain.
        All have "growth", "rounds" by length, and how far the states are "apart" from the loop's.
    """
    texts, others, drawing = (torch.Generator().manual_seed(seed) for _ in range(3))
    longest, string = max(setup.lengths), 2 * setup.copied + 2
    text = copy_batch(setup.copied, -(-longest // string), texts).flatten()[:longest]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CopyLSTM(d_embedding=8, d_hidden=setup.d_hidden)
        plain = RNN(8, setup.d_hidden).double()
    echoing = deepcopy(model)
    learn(echoing, setup, max(setup.trained), others, echo=True)

    @torch.no_grad()
    def judge(model: CopyLSTM, texts: torch.Generator, *, echo: bool) -> dict[str, Any]:
        logits, symbols = said(model, copy_batch(setup.copied, 512, texts), echo=echo)
        inputs = model.embedding(text).double()
        layer = LSTM.from_torch(model.lstm).double()
        return {
            "right": float((logits.argmax(-1) == symbols).double().mean()),
            "growth": growth(layer, inputs, seed),
            **settle(layer, inputs, setup.lengths),
        }

    found: dict[str, Any] = {"copies": {}, "echoes": {}, "plain": {}}
    for before, steps in pairwise((0, *setup.trained)):
        learn(model, setup, steps - before, texts, echo=False)
        found["copies"][str(steps)] = judge(model, texts, echo=False)
    found["echoes"][str(max(setup.trained))] = judge(echoing, others, echo=True)
    recurrent = plain.recurrent[0]
    assert isinstance(recurrent, nn.Linear)
    drawn = torch.randn(recurrent.weight.shape, generator=drawing, dtype=torch.float64)
    inputs = torch.randn(longest, 8, generator=drawing, dtype=torch.float64)
    for gain in setup.gains:
        with torch.no_grad():
            recurrent.weight.copy_(gain / setup.d_hidden**0.5 * drawn)
        found["plain"][f"{gain:g}"] = {
            "growth": growth(plain, inputs, seed),
            **settle(plain, inputs, setup.lengths),
        }
    return found
