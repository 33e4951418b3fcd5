"""What can be read from SmolLM2's layers: its own output matrix alone, or behind a trained map.

The maps learn from addresses to Congress. They are tested on other addresses and on a text of
another kind, beside maps that cost less and beside what can be said without any layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.datasets import declaration, sotu
from llmbook.experiments.patching import TEMPLATES, prompts
from llmbook.interpretability import TunedLens, lens_divergence, read_out, residual_stream
from llmbook.llama import Llama
from llmbook.pretrained import load_smollm2, smollm2
from llmbook.training import Recipe, train

WIDTH: Final = 128
"""Tokens of a piece of text."""


@dataclass(frozen=True)
class Setup:
    """What is read and how the maps are trained.

    Attributes:
        layers: After how many layers.
        pieces: Of `WIDTH` tokens, to learn from.
        tested: Pieces of other addresses, to test on.
        batch: Tokens of a step.
        recipe: Of the training.
    """

    layers: tuple[int, ...] = (0, 8, 16, 20, 24, 28)
    pieces: int = 64
    tested: int = 6
    batch: int = 64
    recipe: Recipe = Recipe(steps=40, lr=1e-3, warmup=2, weight_decay=0.0)


SMALL: Final = Setup(
    layers=(20,), pieces=8, tested=2, recipe=Recipe(steps=8, lr=1e-3, warmup=2, weight_decay=0.0)
)
"""One layer, soon trained."""


def speeches(count: int, seed: int, *, held_out: bool) -> Int[Tensor, "count width"]:
    """Pieces of addresses since 1950, each after the token that starts a text.

    Args:
        count: How many; no two from the same place of the same address.
        seed: Of the drawing.
        held_out: From every fifth address, or from the others.
    """
    _, tokenizer = smollm2()
    start = tokenizer.special_tokens["<|endoftext|>"]
    texts = [a.text for i, a in enumerate(sotu(since=1950)) if (i % 5 == 0) == held_out]
    random = np.random.default_rng((seed, held_out))
    letters = 8 * WIDTH  # more than the tokens of a piece have
    places = [(text, at) for text in texts for at in range(0, len(text) - letters, letters)]
    rows = []
    for i in random.permutation(len(places))[:count]:
        text, at = places[i]
        rows.append([start, *tokenizer.encode(text[at : at + letters])][: WIDTH + 1])
    return torch.tensor(rows)


def articles() -> Int[Tensor, "count width"]:
    """The Declaration of Human Rights, in pieces as `speeches`: a text of another kind."""
    _, tokenizer = smollm2()
    start = tokenizer.special_tokens["<|endoftext|>"]
    ids = tokenizer.encode(declaration()["English"])
    rows = [[start, *ids[i : i + WIDTH]] for i in range(0, len(ids) - WIDTH + 1, WIDTH)]
    return torch.tensor(rows)


def streams(
    model: Llama, ids: Int[Tensor, "pieces seq"], layers: tuple[int, ...]
) -> tuple[Float[Tensor, "layers tokens d_model"], Float[Tensor, "tokens d_model"]]:
    """What comes out of some layers, and of the last, at all tokens but the first of a piece."""
    some, last = [], []
    for part in ids.split(4):
        stream = residual_stream(model, part)[:, :, 1:].flatten(1, 2)
        some.append(stream[list(layers)])
        last.append(stream[-1])
    return torch.cat(some, 1), torch.cat(last)


def least_squares(
    x: Float[Tensor, "tokens d_model"], last: Float[Tensor, "tokens d_model"]
) -> tuple[Float[Tensor, "d_model d_model"], Float[Tensor, " d_model"]]:
    r"""The map $x + A x + b$ that comes nearest to the last layer's vectors: $A$ and $b$."""
    mean, aim = x.double().mean(0), (last - x).double().mean(0)
    centred = x.double() - mean
    squares = centred.T @ centred
    squares += 1e-4 * squares.diagonal().mean() * torch.eye(len(squares), dtype=torch.float64)
    matrix = torch.linalg.solve(squares, centred.T @ ((last - x).double() - aim)).T
    return matrix.to(x), (aim - matrix @ mean).to(x)


@torch.no_grad()
def filled(
    lens: TunedLens, maps: Sequence[tuple[Tensor | float, Float[Tensor, " d_model"]]]
) -> TunedLens:
    """Write matrices and biases into a lens."""
    for translator, (matrix, bias) in zip(lens.translators, maps, strict=True):
        layer: Any = translator
        layer.weight.copy_(torch.as_tensor(matrix).expand_as(layer.weight))
        layer.bias.copy_(bias)
    return lens


def divergences(
    model: Llama,
    lens: nn.Module,
    stream: Float[Tensor, "layers tokens d_model"],
    last: Float[Tensor, "tokens d_model"],
) -> list[float]:
    """`lens_divergence` of each layer over many tokens."""
    found, size = torch.zeros(len(stream)), WIDTH
    with torch.no_grad():
        for x, y in zip(stream.split(size, 1), last.split(size), strict=True):
            found += len(y) * lens_divergence(model, lens(x), y)
    return [float(value) for value in found / len(last)]


@torch.no_grad()
def constant(
    model: Llama, last: Float[Tensor, "tokens d_model"], tested: Float[Tensor, "tokens d_model"]
) -> float:
    """The divergence of the best that can be said of no token in particular.

    That is what the model says on average over the texts to learn from, which is all that a map
    can learn from streams dealt out to other tokens by lot.
    """
    mean = torch.zeros(model.config.vocab_size)
    for x in last.split(WIDTH):
        mean += read_out(model, x[None])[0].softmax(-1).sum(0)
    guess, total = (mean / len(last)).log(), 0.0
    for x in tested.split(WIDTH):
        said = read_out(model, x[None])[0].log_softmax(-1)
        total += float((said.exp() * (said - guess)).sum())
    return total / len(tested)


@torch.no_grad()
def names_right(model: Llama, lens: nn.Module, layers: tuple[int, ...], seed: int) -> list[float]:
    """In how many texts of `patching` each layer prefers the right name, at the last token."""
    right = []
    for index, template in enumerate(TEMPLATES):
        drawn = prompts(template, 12, seed * 100 + index)
        for ids, good, bad in [(drawn.first, drawn.a, drawn.b), (drawn.second, drawn.b, drawn.a)]:
            stream = residual_stream(model, ids)[list(layers), :, -1]
            logits = read_out(model, lens(stream))
            rows = torch.arange(len(ids))
            right.append((logits[:, rows, good] > logits[:, rows, bad]).double().mean(1))
    return [float(share) for share in torch.stack(right).mean(0)]


def lenses(
    model: Llama, setup: Setup, seed: int
) -> tuple[dict[str, TunedLens], Float[Tensor, "tokens d_model"]]:
    """Train the maps, and make those with which they are compared.

    Returns:
        "logit"; "shift", a bias alone, the mean of what is missing; "squares", `least_squares`; and
            "tuned", which begins there and is trained on the divergence. And the last layer's
            vectors of the texts that they have read.
    """
    stream, last = streams(model, speeches(setup.pieces, seed, held_out=False), setup.layers)
    new = partial(TunedLens, model.config.d_model, len(setup.layers))

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        places = torch.randint(len(last), (setup.batch,), generator=generator)
        return stream[:, places].transpose(0, 1), last[places]

    def loss(lens: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        return lens_divergence(model, lens(x.transpose(0, 1)), y).mean()

    squares = [least_squares(x, last) for x in stream]
    tuned, generator = filled(new(), squares), torch.Generator().manual_seed(seed)
    train(tuned, draw, setup.recipe, generator=generator, loss=loss)
    found = {
        "logit": new(),
        "shift": filled(new(), [(0.0, (last - x).mean(0)) for x in stream]),
        "squares": filled(new(), squares),
        "tuned": tuned,
    }
    return found, last


def run(seed: int) -> dict[str, Any]:
    """Measure all lenses.

    Args:
        seed: Of the texts, and of the order in which their tokens are read.

    Returns:
        For "speeches" and "articles" the divergence of each layer for each of the `lenses`, and
            `constant`; for "right" the `names_right` of three of them.
    """
    setup = Setup()
    model = load_smollm2()[0].requires_grad_(requires_grad=False)
    made, last = lenses(model, setup, seed)
    found: dict[str, Any] = {}
    for name, ids in [
        ("speeches", speeches(setup.tested, seed, held_out=True)),
        ("articles", articles()),
    ]:
        x, y = streams(model, ids, setup.layers)
        found[name] = {kind: divergences(model, lens, x, y) for kind, lens in made.items()}
        found[name]["constant"] = constant(model, last, y)
    found["right"] = {
        kind: names_right(model, made[kind], setup.layers, seed)
        for kind in ("logit", "squares", "tuned")
    }
    return found


def small(seed: int) -> dict[str, Any]:
    """The divergences of the lenses of `SMALL`, on other addresses."""
    model = load_smollm2()[0].requires_grad_(requires_grad=False)
    made, _ = lenses(model, SMALL, seed)
    x, y = streams(model, speeches(SMALL.tested, seed, held_out=True), SMALL.layers)
    return {kind: divergences(model, lens, x, y) for kind, lens in made.items()}
