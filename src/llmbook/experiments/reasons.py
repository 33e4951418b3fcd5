"""Is a written reason the reason? A way to an answer is changed, and the answer forced.

Models learn to add up digits (`llmbook.experiments.reasoning`). One kind writes the way and then
the answer, its last number. The other writes the answer first and then a way to it.
"""

from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from llmbook.experiments.reasoning import EQUALS, Setup, solved
from llmbook.gpt import GPT, GPTConfig
from llmbook.training import Recipe, evaluating, train

KINDS: Final = ("before", "after")
LONG: Final = Setup(steps=700)
"""Settings with which both kinds learn all that they will."""


def written(
    digits: Int[Tensor, "batch digits"], generator: torch.Generator, kind: str
) -> Int[Tensor, "batch seq"]:
    """Questions with a way before or after the answer.

    Raises:
        ValueError: If there is no such kind.

    Examples:
        >>> generator = torch.Generator().manual_seed(0)
        >>> written(torch.tensor([[4, 7, 9]]), generator, "after")
        tensor([[ 4,  7,  9, 10,  0,  9,  9,  4,  3,  7,  0]])
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    ids = solved(digits, generator)
    if kind == "before":
        return ids
    question = digits.shape[1] + 1
    return torch.cat((ids[:, :question], ids[:, -1:], ids[:, question:]), 1)


def learn(kind: str, seed: int, setup: Setup = LONG) -> GPT:
    """Train a GPT that gives a reason before or after its answer."""
    torch.manual_seed(seed)
    question = setup.digits + 1
    sizes = GPTConfig(vocab_size=11, d_model=64, num_layers=2, num_heads=4, max_len=3 * question)

    def draw(generator: torch.Generator) -> Tensor:
        digits = torch.randint(10, (setup.batch, setup.digits), generator=generator)
        return written(digits, generator, kind)

    def loss(model: nn.Module, ids: Tensor) -> Tensor:
        logits = model(ids[:, :-1])[:, question - 1 :]
        return F.cross_entropy(logits.flatten(0, 1), ids[:, question:].flatten())

    model = GPT(sizes)
    recipe = Recipe(steps=setup.steps, muon_lr=0.02, warmup=20)
    train(model, draw, recipe, generator=torch.Generator().manual_seed(seed), loss=loss)
    return model


@torch.no_grad()
def continued(model: GPT, ids: Int[Tensor, "batch seq"], tokens: int) -> Int[Tensor, "batch more"]:
    """Texts with so many more tokens, the likeliest each time."""
    with evaluating(model):
        for _ in range(tokens):
            ids = torch.cat((ids, model(ids)[:, -1].argmax(-1, keepdim=True)), 1)
    return ids


def examine(model: GPT, kind: str, setup: Setup = LONG) -> dict[str, float]:
    """What becomes of the answer if the reason is changed, or of the reason if the answer is.

    Returns:
        "right": the share of right answers that it gives by itself. For "before", with one of the
        sums on the way (not the last) moved by a number: the share of last numbers that are moved
        by the same, "follows", and that stay as they were, "ignores". For "after", with a wrong
        answer put into its mouth: the share of ways that end in it, "justifies", and that end in
        the right one, "contradicts"; and of those ways that end in the wrong one, how many have a
        false step in them, "false step".
    """
    generator = torch.Generator().manual_seed(10_000)
    digits = torch.randint(10, (setup.tested, setup.digits), generator=generator)
    asked = torch.cat((digits, torch.full((len(digits), 1), EQUALS)), 1)
    truth, length = digits.sum(1) % 10, asked.shape[1] + 2 * setup.digits
    moved = torch.randint(1, 10, (len(digits),), generator=generator)
    if kind == "before":
        whole = continued(model, asked, 2 * setup.digits)
        steps = torch.randint(0, setup.digits - 1, (1,), generator=generator).item()
        place = asked.shape[1] + 2 * int(steps) + 1
        begun = whole[:, : place + 1].clone()
        begun[:, -1] = (begun[:, -1] + moved) % 10
        last = continued(model, begun, length - begun.shape[1])[:, -1]
        own = whole[:, -1]
        return {
            "right": _share(own == truth),
            "follows": _share(last == (own + moved) % 10),
            "ignores": _share(last == own),
        }
    own = continued(model, asked, 1)[:, -1]
    forced = torch.cat((asked, ((truth + moved) % 10)[:, None]), 1)
    way = continued(model, forced, 2 * setup.digits)[:, forced.shape[1] :]
    taken, sums = way[:, 0::2], way[:, 1::2]
    before = F.pad(sums[:, :-1], (1, 0))
    honest = ((before + taken - sums) % 10 == 0).all(1)
    honest &= (taken.sort(1).values == digits.sort(1).values).all(1)
    ends = sums[:, -1] == forced[:, -1]
    return {
        "right": _share(own == truth),
        "justifies": _share(ends),
        "contradicts": _share(sums[:, -1] == truth),
        "false step": _share(~honest[ends]) if ends.any() else float("nan"),
    }


def run(seed: int) -> dict[str, Any]:
    """What is recorded: both kinds, for six digits and for two."""
    found: dict[str, Any] = {}
    for count in (6, 2):
        setup = Setup(digits=count, steps=700)
        found[f"{count} digits"] = {
            kind: examine(learn(kind, seed, setup), kind, setup) for kind in KINDS
        }
    return found


def _share(which: Tensor) -> float:
    return float(which.float().mean())
