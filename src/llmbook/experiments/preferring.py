"""A storyteller learns from preferences: which of two stories is better, and what that costs.

Two wishes are tried. *cheerful*: a story in which somebody smiles, over one in which somebody
frowns. *consistent*: a story that keeps to itself, over one that does not.
"""

import copy
from dataclasses import dataclass, replace
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

WISHES = ("cheerful", "consistent")
WAYS = ("preferences", "dear", "slow", "shuffled", "chosen alone")


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        written: Stories that a storyteller writes, to make pairs of.
        pairs: How many of the pairs are learned from, at most.
        held_out: Pairs that nothing learns from.
        judged: Stories by which a model is judged.
        batch: Pairs in a step.
        beta: The price of moving away.
        dear: A higher one.
        slow: The share of the rate at which it learns if that is slow.
        recipe: How it learns from pairs. Thirty times slower than it learned to write.
    """

    written: int = 5_000
    pairs: int = 800
    held_out: int = 200
    judged: int = 1_000
    batch: int = 32
    beta: float = 0.1
    dear: float = 0.5
    slow: float = 0.3
    recipe: Recipe = Recipe(steps=100, lr=1e-4, warmup=10, weight_decay=0.0)


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


def share_cheerful(ids: Stories) -> float:
    """The share of stories in which somebody smiles."""
    return (ids == VOCABULARY.index("smiled")).any(1).double().mean().item()


def pairs(ids: Stories, wish: str) -> Int[Tensor, "pairs 2 seq"]:
    """Put stories side by side, the better one first.

    Args:
        ids: Stories that a model wrote.
        wish: One of `WISHES`, which says what is better.

    Raises:
        ValueError: If the wish is unknown.

    Examples:
        >>> from llmbook.experiments.stories import draw_stories, words
        >>> better, worse = pairs(draw_stories(9, seed=0), "cheerful")[0]
        >>> words(better)[-2], words(worse)[-2]
        ('smiled', 'frowned')
    """
    if wish not in WISHES:
        raise ValueError(f"wish must be one of {', '.join(WISHES)}, got {wish!r}")
    good = torch.tensor([consistent(story) for story in ids])
    bad = ~good
    if wish == "cheerful":
        smiles, frowns = ((ids == VOCABULARY.index(face)).any(1) for face in ("smiled", "frowned"))
        good, bad = smiles & ~frowns, frowns & ~smiles
    count = min(int(good.sum()), int(bad.sum()))
    return torch.stack((ids[good][:count], ids[bad][:count]), dim=1)


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
        way: "preferences"; the same where moving is "dear", or steps are "slow"; "shuffled",
            where a coin says which of a pair is called the better one; or "chosen alone",
            next-token training on the better ones, for as many steps.
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

    beta = setup.dear if way == "dear" else setup.beta
    loss: Any = next_token_loss if way == "chosen alone" else partial(pair_loss, beta)
    rate = setup.recipe.lr * (setup.slow if way == "slow" else 1)
    train(model, draw, replace(setup.recipe, lr=rate), generator=generator, loss=loss, until=until)
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
        one counted half; "chosen", "rejected": mean log-probability gained, in nats, whose
        difference times beta is the margin of the rewards; "consistent", "cheerful": shares of
        what it writes; "kl": mean log-ratio to the base of what it writes, in nats a story;
        "loss": on ordinary stories, in nats a word.
    """
    with evaluating(model), evaluating(base):
        gained = score_pairs(model, couples) - score_pairs(base, couples)
        written = write(model, setup.judged, seed)
        mask = answer_mask(written)
        moved = sequence_log_probs(model, written, mask) - sequence_log_probs(base, written, mask)
    margin = gained[:, 0] - gained[:, 1]
    return {
        "accuracy": ((margin > 0).double() + (margin == 0).double() / 2).mean().item(),
        "chosen": gained[:, 0].mean().item(),
        "rejected": gained[:, 1].mean().item(),
        "consistent": share_consistent(written),
        "cheerful": share_cheerful(written),
        "kl": moved.mean().item(),
        "loss": examine(model, unseen())["loss"],
    }


def storyteller(seed: int, setup: Setup = Setup()) -> tuple[GPT, Stories]:
    """A GPT that has read stories, and stories that it wrote."""
    model, _ = learn(seed)
    return model, write(model, setup.written, seed + 100)


def compare(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """What is recorded: the base, and what comes of it by each wish, with its controls."""
    base, written = storyteller(seed, setup)
    found: dict[str, Any] = {}
    for wish in WISHES:
        couples = pairs(written, wish)
        held_out, learned = couples[: setup.held_out], couples[setup.held_out :][: setup.pairs]
        judged = partial(judge, base=base, couples=held_out, seed=seed + 200, setup=setup)
        found.setdefault("base", judged(base))
        ways = {way: judged(teach(base, learned, seed, way, setup)) for way in WAYS}
        found[wish] = {"pairs": len(learned), **ways}
    return found


def again(seed: int, wish: str, way: str, setup: Setup = Setup()) -> dict[str, float]:
    """One line of the record, made anew."""
    base, written = storyteller(seed, setup)
    couples = pairs(written, wish)
    held_out, learned = couples[: setup.held_out], couples[setup.held_out :][: setup.pairs]
    model = teach(base, learned, seed, way, setup)
    return judge(model, base, held_out, seed + 200, setup)
