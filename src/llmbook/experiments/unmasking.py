"""A masked model writes sums, beside a GPT that reads as many of them.

`7+5=12`, with the least significant digit first. All pairs of digits are equally likely, so it is
known how likely each text is, and which tokens know of each other: the two digits do not, and
their sum follows from them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.bert import Bert, BertConfig
from llmbook.experiments.emergence import EQUALS, PLUS, digits
from llmbook.gpt import GPT, GPTConfig
from llmbook.training import Recipe, evaluating, next_token_loss, train
from llmbook.unmasking import ORDERS, hide, nll_bound, unmask, unmasking_loss

DIGITS: Final = 1
LENGTH: Final = 3 * DIGITS + 3
ANSWER: Final = 2 * DIGITS + 2  # where the sum begins
EXTRA: Final = 12  # a token: what hides others from the one, and stands before all for the other
Texts = Int[Tensor, "texts seq"]


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        d_model: Width of both models.
        num_layers: Their depth.
        steps: Changes of the weights.
        batch: Texts in a step.
        rates: Of Muon, from which each model takes its best.
        early: The step after which the masked model is looked at, to be compared with.
        tested: Texts that are drawn.
        times: How often as long the masked model learns once more.
        passes: In how many steps a text is written.
        candidates: Beginnings from which a GPT chooses, for an end that is given.
    """

    d_model: int = 64
    num_layers: int = 2
    steps: int = 600
    batch: int = 128
    rates: tuple[float, ...] = (0.01, 0.02, 0.04)
    early: int = 200
    tested: int = 2_000
    times: int = 3
    passes: tuple[int, ...] = (1, 2, 3, 6)
    candidates: tuple[int, ...] = (1, 10, 100)


def written(a: Int[Tensor, " texts"], b: Int[Tensor, " texts"]) -> Texts:
    """Two numbers and their sum as tokens.

    Examples:
        >>> written(torch.tensor([7]), torch.tensor([5]))
        tensor([[ 7, 10,  5, 11,  2,  1]])
    """
    plus, equals = (torch.full((len(a), 1), sign) for sign in (PLUS, EQUALS))
    return torch.cat(
        (digits(a, DIGITS), plus, digits(b, DIGITS), equals, digits(a + b, DIGITS + 1)), 1
    )


def shown(ids: Int[Tensor, " seq"]) -> str:
    """A text as one writes it, each number with its most significant digit first.

    Examples:
        >>> shown(torch.tensor([7, 10, 5, 11, 2, EXTRA]))
        '7+5=_2'
    """
    text = "".join("0123456789+=_"[i] for i in ids.tolist())
    numbers = (text[:DIGITS], text[DIGITS + 1 : ANSWER - 1], text[ANSWER:])
    a, b, c = (number[::-1] for number in numbers)
    return f"{a}{text[DIGITS]}{b}{text[ANSWER - 1]}{c}"


def everything() -> Texts:
    """All texts that there are, a hundred."""
    numbers = torch.arange(10**DIGITS)
    return written(numbers.repeat_interleave(len(numbers)), numbers.repeat(len(numbers)))


def draw(batch: int, generator: torch.Generator) -> Int[Tensor, "{batch} seq"]:
    """Draw texts; all are equally likely."""
    a, b = torch.randint(10**DIGITS, (2, batch), generator=generator)
    return written(a, b)


def right(ids: Texts) -> Bool[Tensor, " texts"]:
    """Whether each is a text that there is.

    Examples:
        >>> right(torch.tensor([[7, 10, 5, 11, 2, 1], [7, 10, 5, 11, 2, 0]]))
        tensor([ True, False])
    """
    tens = 10 ** torch.arange(DIGITS)
    a, b = ids[:, :DIGITS] @ tens, ids[:, DIGITS + 1 : ANSWER - 1] @ tens
    fits = (ids[:, :DIGITS] < 10).all(1) & (ids[:, DIGITS + 1 : ANSWER - 1] < 10).all(1)
    return fits & (ids == written(a, b)).all(1)


def with_begin(ids: Texts) -> Int[Tensor, "texts seq+1"]:
    """Texts as a GPT reads them, after a token that says where they begin."""
    return torch.cat((torch.full((len(ids), 1), EXTRA), ids), 1)


def learn(
    kind: str,
    seed: int,
    muon_lr: float,
    setup: Setup = Setup(),
    *,
    until: int | None = None,
    on_step: Callable[[nn.Module, int], object] = lambda model, step: None,
) -> Any:
    """Train one of the two on the same texts.

    Args:
        kind: "masked" or "gpt".
        seed: Of the first weights, of the texts, and of the masks.
        muon_lr: Highest rate of Muon.
        setup: All other settings.
        until: Stop after this step.
        on_step: Called with the model and the number of each step.

    Raises:
        ValueError: If there is no such kind.
    """
    if kind not in ("masked", "gpt"):
        raise ValueError(f"kind must be 'masked' or 'gpt', got {kind!r}")
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "vocab_size": EXTRA + 1,
        "d_model": setup.d_model,
        "num_layers": setup.num_layers,
    }
    sizes |= {"num_heads": 4, "max_len": LENGTH, "d_ff": 4 * setup.d_model}
    masked = kind == "masked"
    model = Bert(BertConfig(**sizes)) if masked else GPT(GPTConfig(**sizes))
    masks = torch.Generator().manual_seed(seed)

    def batch(generator: torch.Generator) -> Any:
        texts = draw(setup.batch, generator)
        return (texts, *hide(texts, EXTRA, generator=masks)) if masked else with_begin(texts)

    train(
        model,
        batch,
        Recipe(steps=setup.steps, muon_lr=muon_lr, warmup=setup.steps // 32),
        generator=torch.Generator().manual_seed(seed),
        loss=partial(unmasking_loss, mask_id=EXTRA) if masked else next_token_loss,
        until=until,
        on_step=lambda step, _: on_step(model, step),
    )
    return model


@torch.no_grad()
def write(model: GPT, begun: Texts, generator: torch.Generator) -> Int[Tensor, "texts whole"]:
    """Let a GPT go on with texts until they are as long as texts are.

    Args:
        model: Writes one token after the other, each as likely as it holds it.
        begun: What is there already, which may be nothing.
        generator: Where the randomness comes from.
    """
    ids, new = begun, with_begin(begun)
    with evaluating(model):
        cache = model.new_cache(LENGTH, len(begun))
        while ids.shape[1] < LENGTH:
            logits = model(new, cache=cache)[:, -1, :EXTRA]
            new = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            ids = torch.cat((ids, new), 1)
    return ids


@torch.no_grad()
def nll(model: GPT, ids: Texts, start: int = 0) -> Float[Tensor, " texts"]:
    """What a GPT says of the tokens from a place on, in nats a text."""
    with evaluating(model):
        log_probs = model(with_begin(ids)[:, :-1]).log_softmax(-1)
    found: Tensor = log_probs.gather(-1, ids[..., None])[..., 0]
    return -found[:, start:].sum(1)


def masked_from(ids: Texts, places: slice) -> Texts:
    """Texts with masks at some places."""
    hidden = ids.clone()
    hidden[:, places] = EXTRA
    return hidden


def share(found: Bool[Tensor, " texts"]) -> float:
    """The share of texts of which something is true."""
    return found.double().mean().item()


def by_passes(
    model: Any, begun: Texts, passes: tuple[int, ...], seed: int
) -> dict[str, dict[str, float]]:
    """How often a masked model completes texts rightly, by order and by how many steps it takes.

    Args:
        model: Writes; a masked model, or `knows`.
        begun: Texts with masks.
        passes: Numbers of steps.
        seed: Of what is drawn.
    """
    at = torch.Generator().manual_seed(seed)
    return {
        order: {
            str(steps): share(
                right(unmask(model, begun, steps, mask_id=EXTRA, generator=at, order=order))
            )
            for steps in passes
        }
        for order in ORDERS
    }


def knows(ids: Texts) -> Float[Tensor, "texts seq vocab"]:
    """The true probabilities of every token, as logits, given those that are there.

    Where no text fits any more, each token is as likely as among all texts.
    """
    texts = F.one_hot(everything(), EXTRA + 1).flatten(1).float()
    hits = F.one_hot(ids, EXTRA + 1).flatten(1).float() @ texts.T
    fits = (hits == (ids != EXTRA).sum(1, keepdim=True)).float()
    fits[fits.sum(1) == 0] = 1
    return (fits @ texts).view(*ids.shape, -1).log()


def trace(model: Bert, passes: int, seed: int) -> list[str]:
    """A text of masks, and what it is after each pass; the order is random."""
    seen = []

    def watched(ids: Tensor) -> Any:
        seen.append(shown(ids[0]))
        return model(ids)

    nothing = torch.full((1, LENGTH), EXTRA)
    with evaluating(model):
        last = unmask(watched, nothing, passes, mask_id=EXTRA, generator=_seeded(seed))
    return [*seen, shown(last[0])]


def before_an_end(
    model: GPT, ids: Texts, candidates: tuple[int, ...], generator: torch.Generator
) -> dict[str, float]:
    """How often a GPT finds a beginning for an end, if it takes the best of so many.

    It draws beginnings that know nothing of the end, and keeps the one after which it holds the
    end likeliest.

    Args:
        model: Writes, and judges.
        ids: Texts whose ends are given.
        candidates: Numbers of beginnings.
        generator: Where the randomness comes from.
    """
    nothing = ids.new_empty((len(ids), 0))
    best, least = ids, torch.full((len(ids),), math.inf)
    found = {}
    for number in range(1, max(candidates) + 1):
        begun = torch.cat(
            (write(model, nothing, generator)[:, : ANSWER - 1], ids[:, ANSWER - 1 :]), 1
        )
        cost = nll(model, begun, ANSWER - 1)
        best = torch.where((cost < least)[:, None], begun, best)
        least = torch.minimum(cost, least)
        if number in candidates:
            found[str(number)] = share(right(best))
    return found


def of_masked(model: Bert, seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """What is recorded of a masked model.

    Args:
        model: The model.
        seed: Of what is drawn.
        setup: All other settings.

    Returns:
        "right" texts by order and steps, a "trace" of one, the "spread" of those of one token a
        step, and the shares right "forward", for sums whose numbers are given, and "backward", for
        numbers whose sum is given.
    """
    texts = draw(setup.tested, torch.Generator().manual_seed(10_000))
    nothing = masked_from(texts, slice(None))
    drawn = {
        order: unmask(model, nothing, LENGTH, mask_id=EXTRA, generator=_seeded(seed), order=order)
        for order in ORDERS
    }
    return {
        "right": by_passes(model, nothing, setup.passes, seed),
        "trace": trace(model, 3, seed),
        "spread": {order: spread(ids) for order, ids in drawn.items()},
        "forward": by_passes(model, masked_from(texts, slice(ANSWER, None)), (1, 2), seed),
        "backward": by_passes(model, masked_from(texts, slice(ANSWER - 1)), (1, 2, 3), seed),
    }


def of_gpt(model: GPT, seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """What is recorded of a GPT; the arguments and names are those of `of_masked`."""
    texts = draw(setup.tested, torch.Generator().manual_seed(10_000))
    generator = _seeded(seed)
    drawn = write(model, texts[:, :0], generator)
    return {
        "right": share(right(drawn)),
        "spread": spread(drawn),
        "forward": share(right(write(model, texts[:, :ANSWER], generator))),
        "backward": before_an_end(model, texts, setup.candidates, generator),
    }


def bits(kind: str, model: Any) -> float:
    """Bits that a text costs on average over all that there are: at most, of a masked model."""
    texts = everything()
    nats = nll_bound(model, texts, EXTRA) if kind == "masked" else nll(model, texts)
    return nats.double().mean().item() / math.log(2)


def spread(ids: Texts) -> float:
    """The exponential of the entropy of right texts: how many come, if the rare ones count less.

    Examples:
        >>> twice = everything()[[3, 3, 8, 8]]
        >>> spread(twice)
        2.0
    """
    counts = ids[right(ids)].unique(dim=0, return_counts=True)[1].double()
    shares = counts / counts.sum()
    return math.exp(-(shares * shares.log()).sum().item())


def look(model: Bert, seed: int, setup: Setup = Setup()) -> dict[str, float]:
    """Bits at most, and right texts in one token a step, of a masked model that is not yet done."""
    nothing = torch.full((setup.tested, LENGTH), EXTRA)
    ids = unmask(model, nothing, LENGTH, mask_id=EXTRA, generator=_seeded(seed))
    return {"bits": bits("masked", model), "right": share(right(ids))}


def run(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """What is recorded: of each model its best rate, its bits, and what it writes."""
    found: dict[str, Any] = {}
    for kind, describe in (("masked", of_masked), ("gpt", of_gpt)):
        models = {rate: learn(kind, seed, rate, setup) for rate in setup.rates}
        tried = {rate: bits(kind, model) for rate, model in models.items()}
        best = min(tried, key=lambda rate: tried[rate])
        found[kind] = {
            "parameters": size(models[best]),
            "muon_lr": best,
            "tried": {str(rate): value for rate, value in tried.items()},
            "bits": tried[best],
            **describe(models[best], seed, setup),
        }
    nothing = torch.full((setup.tested, LENGTH), EXTRA)
    last = unmask(knows, nothing, LENGTH, mask_id=EXTRA, generator=_seeded(seed))
    found["perfect"] = {
        "right": by_passes(knows, nothing, setup.passes, seed),
        "spread": spread(last),
    }
    longer = replace(setup, steps=setup.times * setup.steps)
    model = learn("masked", seed, found["masked"]["muon_lr"], longer)
    found["longer"] = {
        "bits": bits("masked", model),
        "right": by_passes(model, nothing, setup.passes, seed),
    }
    return {**found, "early": again(seed, found["masked"]["muon_lr"], setup)}


def again(seed: int, muon_lr: float, setup: Setup = Setup()) -> dict[str, float]:
    """What `look` finds in the masked model after few steps of its training.

    Args:
        seed: Of all that is drawn.
        muon_lr: Highest rate of Muon.
        setup: All other settings.
    """
    return look(learn("masked", seed, muon_lr, setup, until=setup.early), seed, setup)


def size(model: nn.Module) -> int:
    """Weights that are trained: of BERT those of its second objective are not."""
    unused = ("pooler", "nsp")
    return sum(p.numel() for name, p in model.named_parameters() if not name.startswith(unused))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
