"""A model learns from preferences: which of two stories keeps to itself, and what that costs."""

import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.experiments.skills import Stories, examine, learn, unseen
from llmbook.experiments.stories import BEGIN, LENGTH, VOCABULARY, consistent
from llmbook.gpt import GPT
from llmbook.preferences import dpo_loss, sequence_log_probs
from llmbook.training import Batch, Recipe, evaluating, next_token_loss, train

WAYS = ("preferences", "shuffled", "chosen alone")


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        base: Steps after which a storyteller's training is stopped, so that it still errs.
        written: Stories that it writes, to make pairs of.
        held_out: Pairs that nothing learns from.
        judged: Stories by which a model is judged.
        batch: Pairs in a step.
        beta: The price of moving away.
        recipe: How it learns from pairs. A tenth of the storyteller's own rate.
    """

    base: int = 200
    written: int = 2_000
    held_out: int = 200
    judged: int = 1_000
    batch: int = 32
    beta: float = 0.1
    recipe: Recipe = Recipe(steps=100, lr=3e-4, warmup=10, weight_decay=0.0)


@torch.no_grad()
def write(model: GPT, count: int, seed: int) -> Stories:
    """Let a model write stories side by side, each word drawn from its own probabilities.

    Args:
        model: A storyteller.
        count: How many stories.
        seed: Of what is drawn.

    Returns:
        Token ids, `<bos>` included.
    """
    generator = torch.Generator().manual_seed(seed)
    told = []
    with evaluating(model):
        for start in range(0, count, 250):
            batch = min(250, count - start)
            ids = torch.full((batch, 1), VOCABULARY.index(BEGIN))
            cache = model.new_cache(LENGTH, batch)
            for _ in range(LENGTH):
                weights = model(ids[:, -1:], cache=cache)[:, -1].softmax(-1)
                drawn = torch.multinomial(weights, 1, generator=generator)
                ids = torch.cat((ids, drawn), dim=1)
            told.append(ids)
    return torch.cat(told)


def share_consistent(ids: Stories) -> float:
    """The share of stories that keep to a plan and to themselves."""
    return sum(map(consistent, ids)) / len(ids)


def pairs(ids: Stories) -> Int[Tensor, "pairs 2 seq"]:
    """Put a consistent story and an inconsistent one side by side, the consistent one first."""
    good = torch.tensor([consistent(story) for story in ids])
    count = min(int(good.sum()), int((~good).sum()))
    return torch.stack((ids[good][:count], ids[~good][:count]), dim=1)


def answer_mask(ids: Int[Tensor, "batch seq"]) -> Bool[Tensor, "batch seq"]:
    """All that stands after `<bos>` is the answer."""
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[:, 0] = False
    return mask


def score_pairs(model: nn.Module, couples: Int[Tensor, "pairs 2 seq"]) -> Float[Tensor, "pairs 2"]:
    """The log-probability of each story of each pair."""
    ids = couples.flatten(0, 1)
    return sequence_log_probs(model, ids, answer_mask(ids)).reshape(-1, 2)


def pair_loss(beta: float, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Float[Tensor, ""]:
    """`dpo_loss` of pairs, beside which the reference's log-probabilities stand."""
    couples, reference = batch
    policy = score_pairs(model, couples)
    return dpo_loss(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], beta)


def teach(
    base: GPT,
    couples: Int[Tensor, "pairs 2 seq"],
    seed: int,
    way: str = "preferences",
    setup: Setup = Setup(),
    until: int | None = None,
) -> GPT:
    """Go on with a model by pairs of stories.

    Args:
        base: The storyteller, which stays as it is, and is the reference.
        couples: Pairs, the preferred story first.
        seed: Of the order of the pairs, and of what is shuffled.
        way: "preferences"; "shuffled", where a coin says which of a pair is called the better
            one; or "chosen alone", next-token training on the better ones, for as many steps.
        setup: All other settings.
        until: Stop after this step.

    Returns:
        Another model.

    Raises:
        ValueError: If the way is unknown.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}, got {way!r}")
    model, generator = copy.deepcopy(base), torch.Generator().manual_seed(seed)
    if way == "shuffled":
        swapped = torch.rand(len(couples), generator=generator) < 0.5
        couples = torch.where(swapped[:, None, None], couples.flip(1), couples)
    with torch.no_grad(), evaluating(base):
        reference = score_pairs(base, couples)

    def draw(generator: torch.Generator) -> Batch:
        rows = torch.randint(len(couples), (setup.batch,), generator=generator)
        return couples[rows, 0] if way == "chosen alone" else (couples[rows], reference[rows])

    loss: Any = next_token_loss if way == "chosen alone" else partial(pair_loss, setup.beta)
    train(model, draw, setup.recipe, generator=generator, loss=loss, until=until)
    return model


@torch.no_grad()
def judge(
    model: GPT, base: GPT, couples: Int[Tensor, "pairs 2 seq"], seed: int, setup: Setup = Setup()
) -> dict[str, float]:
    """Measure a model by pairs that it has not read, by what it writes, and how far it has moved.

    Args:
        model: The model that has learned.
        base: The model from which it set out.
        couples: Pairs, the better story first.
        seed: Of what it writes.
        setup: All other settings.

    Returns:
        "accuracy": share of the pairs whose better story has the larger implicit reward, an equal
        one counted half; "margin": mean difference of the two rewards; "chosen", "rejected": mean
        log-probability gained; "consistent": share of what it writes; "names": how many names
        begin a hundred stories; "kl": mean log-ratio to the base of what it writes, in nats a
        story; "loss": on ordinary stories, in nats a word.
    """
    with evaluating(model), evaluating(base):
        gained = score_pairs(model, couples) - score_pairs(base, couples)
        written = write(model, setup.judged, seed)
        mask = answer_mask(written)
        moved = sequence_log_probs(model, written, mask) - sequence_log_probs(base, written, mask)
    margin = gained[:, 0] - gained[:, 1]
    return {
        "accuracy": ((margin > 0).double() + (margin == 0).double() / 2).mean().item(),
        "margin": setup.beta * margin.mean().item(),
        "chosen": gained[:, 0].mean().item(),
        "rejected": gained[:, 1].mean().item(),
        "consistent": share_consistent(written),
        "different": len(set(map(tuple, written.tolist()))) / len(written),
        "kl": moved.mean().item(),
        "loss": examine(model, unseen())["loss"],
    }


def prepare(
    seed: int, setup: Setup = Setup()
) -> tuple[GPT, Int[Tensor, "pairs 2 seq"], Int[Tensor, "held_out 2 seq"]]:
    """A storyteller whose training was stopped early, and pairs of what it writes.

    Returns:
        The model, pairs to learn from, and pairs to judge by.
    """
    base, _ = learn(seed, until=setup.base)
    couples = pairs(write(base, setup.written, seed + 100))
    return base, couples[setup.held_out :], couples[: setup.held_out]


def compare(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """What is recorded: the base, and what comes of it by each of the `WAYS`."""
    base, learned, held_out = prepare(seed, setup)
    found = {"base": judge(base, base, held_out, seed + 200, setup)}
    for way in WAYS:
        model = teach(base, learned, seed, way, setup)
        found[way] = judge(model, base, held_out, seed + 200, setup)
    return {"pairs": len(learned), **found}
