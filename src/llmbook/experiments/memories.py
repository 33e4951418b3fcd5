"""Feed-forward layers as memories: what goes with one, what excites a neuron, what it writes.

A feed-forward layer is a sum over neurons: each multiplies how much it is excited by a vector of
its own, which it writes into the stream. If that is a memory, then some knowledge goes with a
layer, a neuron is excited by something that can be named, and what it writes has to do with it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.datasets import sotu
from llmbook.experiments.harms import CAPITALS, LITTLE_KNOWN
from llmbook.experiments.induction import repeated
from llmbook.llama import Llama
from llmbook.pretrained import smollm2

LAYERS: Final = (0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 29)
PARTS: Final = ("feed_forward", "attention")
TEMPLATES: Final = (
    "The capital of {} is the city of",
    "What is the capital of {}? The capital is",
    "He flew to {}, to the capital, which is",
)
TOP: Final = 20
"""Places at which a neuron is looked at: those that excite it most."""


def texts(count: int, length: int, seed: int) -> Int[Tensor, "count length"]:
    """Beginnings of addresses since 1950, as tokens, each after the token that starts a text.

    Raises:
        ValueError: If there are not that many.
    """
    _, tokenizer = smollm2()
    addresses = sotu(since=1950)
    if not 0 < count <= len(addresses):
        raise ValueError(f"count must be from 1 to {len(addresses)}, got {count}")
    start = tokenizer.special_tokens["<|endoftext|>"]
    chosen = np.random.default_rng(seed).permutation(len(addresses))[:count]
    rows = [[start, *tokenizer.encode(addresses[i].text[: 10 * length])][:length] for i in chosen]
    return torch.tensor(rows)


@contextmanager
def averaged(layer: nn.Module, mean: Float[Tensor, " d_model"]) -> Iterator[None]:
    """Let a part of the model give its average at every position, whatever it reads.

    Examples:
        >>> with averaged(layer := nn.Linear(2, 2), torch.tensor([1.0, 2.0])):
        ...     layer(torch.zeros(1, 2)).tolist()
        [[1.0, 2.0]]
    """

    def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        return mean.expand_as(output)

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def means(
    model: Llama, ids: Int[Tensor, "texts seq"]
) -> dict[tuple[str, int], Float[Tensor, " d_model"]]:
    """What each part of each layer gives on average over these texts, without their first token."""
    found: dict[tuple[str, int], Tensor] = {}
    with ExitStack() as stack:
        for number, block in enumerate(model.blocks):
            for part in PARTS:

                def hook(_: Any, __: Any, output: Tensor, at: Any = (part, number)) -> None:
                    found[at] = output[:, 1:].mean((0, 1))

                handle = getattr(block, part).register_forward_hook(hook)
                stack.callback(handle.remove)
        model.hidden_states(ids)
    return found


class Tasks:
    """Three things that SmolLM2 can do, and its loss on each, in nats.

    Args:
        seed: Of the texts, the template of the question, and the tokens to copy.
        small: Fewer and shorter ones.
    """

    def __init__(self, seed: int, *, small: bool = False) -> None:
        self.model, tokenizer = smollm2()
        start = tokenizer.special_tokens["<|endoftext|>"]
        self.text = texts(2 if small else 12, 64, seed)
        once = repeated(2 if small else 6, 16, self.model.config.vocab_size, seed)
        self.copies = F.pad(once, (1, 0), value=start)
        known = list({**CAPITALS, **LITTLE_KNOWN}.items())[:: 4 if small else 1]
        template = TEMPLATES[seed % len(TEMPLATES)]
        asked = [[start, *tokenizer.encode(template.format(land))] for land, _ in known]
        longest = max(map(len, asked))
        self.questions = torch.tensor([[start] * (longest - len(q)) + q for q in asked])
        self.seen = torch.tensor([[0] * (longest - len(q)) + [1] * len(q) for q in asked])
        self.answers = torch.tensor([tokenizer.encode(f" {city}")[0] for _, city in known])

    @torch.no_grad()
    def losses(self) -> dict[str, float]:
        """Of running text, of the second time that random tokens come, and of capitals."""
        model = self.model
        half = self.copies.shape[1] // 2
        last = model.unembed(model.hidden_states(self.questions, self.seen)[:, -1:])
        return {
            "text": _loss(model.unembed(model.hidden_states(self.text)[:, :-1]), self.text[:, 1:]),
            "copies": _loss(
                model.unembed(model.hidden_states(self.copies)[:, half + 1 : -1]),
                self.copies[:, half + 2 :],
            ),
            "capitals": _loss(last, self.answers[:, None]),
        }


def ablated(seed: int, layers: tuple[int, ...] = LAYERS, *, small: bool = False) -> dict[str, Any]:
    """The losses of the whole model, and of it with one part of one layer `averaged`.

    Args:
        seed: Of the `Tasks`.
        layers: Which.
        small: Smaller tasks.

    Returns:
        "whole" and, for each of `PARTS` and each layer, the losses.
    """
    tasks = Tasks(seed, small=small)
    mean = means(tasks.model, tasks.text)
    found: dict[str, Any] = {"whole": tasks.losses()}
    for part in PARTS:
        found[part] = {}
        for layer in layers:
            with averaged(getattr(tasks.model.blocks[layer], part), mean[part, layer]):
                found[part][str(layer)] = tasks.losses()
    return found


@torch.no_grad()
def excitement(
    model: Llama, ids: Int[Tensor, "texts seq"], layers: tuple[int, ...]
) -> dict[int, Float[Tensor, "tokens d_ff"]]:
    """How much each neuron of some layers is excited at each token but the first of each text."""
    found: dict[int, list[Tensor]] = {layer: [] for layer in layers}
    with ExitStack() as stack:
        for layer in layers:

            def hook(_: Any, given: tuple[Tensor], layer: int = layer) -> None:
                found[layer].append(given[0][:, 1:].flatten(0, 1).clone())

            down = _down(model, layer)
            stack.callback(down.register_forward_pre_hook(hook).remove)
        for part in ids.split(8):
            model.hidden_states(part)
    return {layer: torch.cat(parts) for layer, parts in found.items()}


@torch.no_grad()
def written(model: Llama, layer: int) -> Float[Tensor, "vocab d_ff"]:
    """What each neuron's vector says of each token, in standard scores over the vocabulary."""
    down = _down(model, layer).weight
    scores = model.unembed((model.norm.weight[:, None] * down).T[None])[0].T
    return (scores - scores.mean(0)) / scores.std(0)


def neurons(seed: int, layers: tuple[int, ...] = LAYERS, count: int = 60) -> dict[str, Any]:
    """What excites the neurons of some layers, and whether they write what comes then.

    Each neuron is taken at the places that excite it most, with its sign there. Control for the
    first is as many places drawn by lot; for the others the places of another neuron of the layer.

    Args:
        seed: Of the texts.
        layers: Which.
        count: Texts of 128 tokens.

    Returns:
        For each layer, means over its neurons: the share of places with the neuron's commonest
            token ("same", and "same by lot"), and the standard scores of the token there
            ("this") and of the one that comes "next", each with that at the places of "another".
    """
    model, _ = smollm2()
    ids = texts(count, 129, seed)
    this, after = ids[:, 1:-1].flatten(), ids[:, 2:].flatten()
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Any] = {}
    for layer, excited in excitement(model, ids[:, :-1], layers).items():
        sign = torch.where(excited.amax(0) > -excited.amin(0), 1.0, -1.0)
        places = (excited * sign).topk(TOP, 0).indices
        by_lot = torch.randint(len(this), places.shape, generator=generator)
        says = written(model, layer) * sign
        found[str(layer)] = {
            "same": _commonest(this[places]),
            "same by lot": _commonest(this[by_lot]),
            "this": float(says.gather(0, this[places]).mean()),
            "this, another": float(says.gather(0, this[places.roll(1, 1)]).mean()),
            "next": float(says.gather(0, after[places]).mean()),
            "next, another": float(says.gather(0, after[places.roll(1, 1)]).mean()),
        }
    return found


def look(layer: int, neuron: int, seed: int = 0, count: int = 60) -> dict[str, list[str]]:
    """One neuron: the tokens with what comes next that excite it most, and the tokens it writes."""
    model, tokenizer = smollm2()
    ids = texts(count, 129, seed)
    excited = excitement(model, ids[:, :-1], (layer,))[layer][:, neuron]
    sign = 1.0 if excited.max() > -excited.min() else -1.0
    places = (excited * sign).topk(6).indices.tolist()
    this, after = ids[:, 1:-1].flatten().tolist(), ids[:, 2:].flatten().tolist()
    says = (written(model, layer)[:, neuron] * sign).topk(6).indices.tolist()
    return {
        "excited by": [tokenizer.decode([this[place]]) for place in places],
        "then comes": [tokenizer.decode([after[place]]) for place in places],
        "writes": [tokenizer.decode([token]) for token in says],
    }


def run(seed: int) -> dict[str, Any]:
    """What is recorded: `ablated` and `neurons`, and for the page a `look` at a few."""
    found = {**ablated(seed), "neurons": neurons(seed)}
    if seed == 0:
        found["looks"] = [
            {"layer": layer, "neuron": neuron, **look(layer, neuron)}
            for layer in (0, 15, 27)
            for neuron in (0, 1)
        ]
    return found


def _down(model: Llama, layer: int) -> nn.Linear:
    """The matrix whose columns are what the layer's neurons write."""
    block: Any = model.blocks[layer]
    down: nn.Linear = block.feed_forward.down
    return down


def _loss(logits: Float[Tensor, "batch seq vocab"], targets: Int[Tensor, "batch seq"]) -> float:
    return float(F.cross_entropy(logits.flatten(0, 1), targets.flatten()))


def _commonest(tokens: Int[Tensor, "top neurons"]) -> float:
    """The mean over neurons of the share of its places that have its commonest token."""
    most = [int(column.unique(return_counts=True)[1].max()) for column in tokens.T]
    return float(np.mean(most)) / len(tokens)
