"""A storyteller learns to answer: pairs of a request and a story that fulfils it.

A request names five words, `red hats hungry dogs smiled .`, and its answer is a story that has
them: things of that colour, animals in that state, and that end. Before, the model has read stories
one after the other, and no request.
"""

import copy
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.experiments.skills import Stories
from llmbook.experiments.stories import (
    BEGIN,
    COLOURS,
    LENGTH,
    THINGS,
    VOCABULARY,
    consistent,
    draw_stories,
    read_slots,
    token_ids,
    words,
)
from llmbook.gpt import GPT, GPTConfig
from llmbook.training import Recipe, evaluating, next_token_loss, train

ASKED = ("COLOUR", "THING", "STATE", "SUBJECT", "FACE")
WITHHELD = frozenset(zip(COLOURS, THINGS, strict=True))  # each colour and each thing once
PROMPT = 1 + len(ASKED) + 1 + 1  # <bos>, the words, a full stop, and the <bos> of the answer
CONTEXT = PROMPT + LENGTH
WAYS = ("tuned", "longer", "shuffled", "mixed", "scratch", "scratch longer")


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        told: Stories that the base reads.
        batch: Texts in a step.
        base: How the base learns to tell.
        pairs: How many pairs of request and answer there are to learn from.
        recipe: How it learns from pairs. Of the rates 0.01 and 0.02, this one was the better for
            seed 0 and 1,024 pairs.
        longer: Steps of those that learn longer: as many as the base and its tuning together.
        judged: Requests by which a model is judged, of each kind.
    """

    told: int = 20_000
    batch: int = 32
    base: Recipe = Recipe(steps=1000, muon_lr=0.02, warmup=20)
    pairs: tuple[int, ...] = (16, 64, 256, 1024)
    recipe: Recipe = Recipe(steps=200, muon_lr=0.02, warmup=20)
    longer: int = 1200
    judged: int = 400


def request(story: Int[Tensor, " seq"]) -> Int[Tensor, " prompt"]:
    """What a story is the answer to, with what begins the answer.

    Examples:
        >>> story = draw_stories(1, seed=0)[0]
        >>> " ".join(words(request(story)))
        '<bos> blue cards small duck frowned . <bos>'
    """
    slots = read_slots(story)
    assert slots is not None
    return token_ids(" ".join([BEGIN, *(slots[slot] for slot in ASKED), ".", BEGIN]))


def pairs(stories: Stories) -> Int[Tensor, "count context"]:
    """Each story behind the request that it fulfils."""
    return torch.stack([torch.cat((request(story), story[1:])) for story in stories])


def is_withheld(stories: Stories) -> Bool[Tensor, " count"]:
    """Whether a story has a colour and a thing that no pair to learn from has together."""
    found = [read_slots(story) for story in stories]
    return torch.tensor([(s["COLOUR"], s["THING"]) in WITHHELD for s in found if s is not None])


def to_learn(count: int, seed: int) -> Int[Tensor, "count context"]:
    """Pairs to learn from."""
    stories = draw_stories(2 * count, seed=seed + 10)
    return pairs(stories[~is_withheld(stories)][:count])


def to_judge(seed: int, setup: Setup = Setup()) -> dict[str, Int[Tensor, "count prompt"]]:
    """Requests that nothing learns from: "new" ones, and those with a pair that was "withheld"."""
    learned = {tuple(row) for row in to_learn(max(setup.pairs), seed)[:, :PROMPT].tolist()}
    stories = draw_stories(12 * setup.judged, seed=seed + 50)
    withheld = is_withheld(stories)
    kinds = {"new": stories[~withheld], "withheld": stories[withheld]}
    asked = {kind: map(request, some) for kind, some in kinds.items()}
    return {
        kind: torch.stack([p for p in some if tuple(p.tolist()) not in learned][: setup.judged])
        for kind, some in asked.items()
    }


def new_model(seed: int) -> GPT:
    """A GPT of about a hundred thousand parameters with room for a request and a story."""
    torch.manual_seed(seed)
    config = GPTConfig(
        vocab_size=len(VOCABULARY), d_model=64, num_layers=2, num_heads=4, max_len=CONTEXT
    )
    return GPT(config)


@cache
def _told(setup: Setup) -> Int[Tensor, " all"]:
    return draw_stories(setup.told, seed=1).flatten()


def windows(count: int, setup: Setup, generator: torch.Generator) -> Int[Tensor, "count context"]:
    """Pieces of running text: stories one after the other, cut anywhere."""
    text = _told(setup)
    starts = torch.randint(len(text) - CONTEXT + 1, (count,), generator=generator)
    return text[starts[:, None] + torch.arange(CONTEXT)]


def read(seed: int, setup: Setup = Setup(), until: int | None = None) -> tuple[GPT, list[float]]:
    """Train a model on stories one after the other; it and the loss of each step."""
    model = new_model(seed)
    draw = partial(windows, setup.batch, setup)
    generator = torch.Generator().manual_seed(seed)
    return model, train(model, draw, setup.base, generator=generator, until=until)


@cache
def base(seed: int, setup: Setup = Setup()) -> GPT:
    """A model that has read stories, and no request."""
    return read(seed, setup)[0]


def answer_loss(model: nn.Module, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
    """The next-token loss of the answers alone: what the request says is not to be learned."""
    logits = model(ids[:, :-1])[:, PROMPT - 1 :]
    return F.cross_entropy(logits.flatten(0, 1), ids[:, PROMPT:].flatten())


def mixed_loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Float[Tensor, ""]:
    """The loss of answers and that of running text, by halves."""
    answers, text = batch
    return (answer_loss(model, answers) + next_token_loss(model, text)) / 2


def tune(seed: int, count: int, way: str = "tuned", setup: Setup = Setup()) -> GPT:
    """Teach a model to answer.

    Args:
        seed: Of the base, and of the order of the pairs.
        count: How many pairs it learns from.
        way: "tuned": the base learns the answers, "longer" the same; "shuffled": each request
            stands before another's answer; "mixed": half of each batch is running text;
            "scratch", "scratch longer": a model that has read nothing learns the answers.
        setup: All other settings.

    Raises:
        ValueError: If the way is unknown.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}, got {way!r}")
    knows = not way.startswith("scratch")
    model = copy.deepcopy(base(seed, setup)) if knows else new_model(seed)
    ids = to_learn(count, seed)
    if way == "shuffled":
        ids = torch.cat((ids[:, :PROMPT], ids.roll(1, 0)[:, PROMPT:]), 1)

    def draw(generator: torch.Generator) -> Any:
        half = setup.batch // 2 if way == "mixed" else 0
        rows = torch.randint(len(ids), (setup.batch - half,), generator=generator)
        return (ids[rows], windows(half, setup, generator)) if half else ids[rows]

    steps = setup.longer if way.endswith("longer") else setup.recipe.steps
    train(
        model,
        draw,
        replace(setup.recipe, steps=steps),
        generator=torch.Generator().manual_seed(seed),
        loss=mixed_loss if way == "mixed" else answer_loss,
    )
    return model


@torch.no_grad()
def answer(model: GPT, prompts: Int[Tensor, "count prompt"], seed: int) -> Stories:
    """What a model writes after some prompts, each word drawn from its own probabilities.

    Returns:
        The answers, from their `<bos>` on.
    """
    generator = torch.Generator().manual_seed(seed)
    with evaluating(model):
        cache = model.new_cache(CONTEXT, len(prompts))
        ids, new = prompts, prompts
        for _ in range(LENGTH):
            weights = model(new, cache=cache)[:, -1].softmax(-1)
            new = torch.multinomial(weights, 1, generator=generator)
            ids = torch.cat((ids, new), 1)
    return ids[:, PROMPT - 1 :]


def fulfilled(prompts: Int[Tensor, "count prompt"], answers: Stories) -> dict[str, float]:
    """The share of answers that have what was asked: each part, "all" of them, and "consistent".

    An answer that keeps to no plan has nothing.
    """
    had: dict[str, list[bool]] = {slot: [] for slot in (*ASKED, "all")}
    for prompt, story in zip(prompts, answers, strict=True):
        slots = read_slots(story) or {}
        wanted = zip(ASKED, words(prompt)[1:], strict=False)
        parts = [slots.get(slot) == word for slot, word in wanted]
        for slot, part in zip(had, [*parts, all(parts)], strict=True):
            had[slot].append(part)
    shares = {slot: float(np.mean(some)) for slot, some in had.items()}
    return {**shares, "consistent": float(np.mean([consistent(story) for story in answers]))}


@torch.no_grad()
def story_loss(model: GPT, setup: Setup = Setup()) -> float:
    """The loss on stories without a request, in nats a word."""
    ids = draw_stories(setup.judged, seed=2)
    with evaluating(model):
        return float(next_token_loss(model, ids))


def judge(model: GPT, seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """A model's answers to requests of each kind, and its loss on ordinary stories."""
    kinds = to_judge(seed, setup)
    found: dict[str, Any] = {
        kind: fulfilled(prompts, answer(model, prompts, seed)) for kind, prompts in kinds.items()
    }
    return {**found, "loss": story_loss(model, setup)}


def run(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """What is recorded: the base, and what becomes of it by each way and number of pairs."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"first": read(seed, setup, until=10)[1]}
    before = base(seed, setup)
    found["base"] = judge(before, seed, setup)
    most = max(setup.pairs)
    prompt = to_judge(seed, setup)["new"][:1]
    found["said"] = {
        "request": " ".join(words(prompt[0])),
        "base": " ".join(words(answer(before, prompt, seed)[0])),
        "tuned": " ".join(words(answer(tune(seed, most, "tuned", setup), prompt, seed)[0])),
    }
    for way in WAYS:
        found[way] = {
            str(count): judge(tune(seed, count, way, setup), seed, setup) for count in setup.pairs
        }
    return found
