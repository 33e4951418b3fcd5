"""SmolLM2 learns a task that it did not know, by low-rank changes of its last layers.

The task is *colour* of `llmbook.experiments.fewshot`: words of four sorts, each sort with
a colour that stands for nothing. Examples in the prompt leave SmolLM2 at chance there. The layers
below the last ones are frozen, so what they make of each word is computed once.
"""

import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.experiments.fewshot import tasks
from llmbook.llama import Llama
from llmbook.lora import add_lora
from llmbook.positions import rotary_tables
from llmbook.pretrained import smollm2
from llmbook.training import Recipe, evaluating, train

MATRICES: Final = ("query", "key", "value", "out", "gate", "up", "down")
WAYS: Final = ("norms", "1", "4", "16", "all")
"""What is trained: the norms alone, a path of so many ranks in each matrix, or all matrices."""


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        start: The first layer that is trained, of 30.
        learned: Words from which is learned.
        validation: Words on which the rate is chosen.
        steps: How long.
        batch: Words in a step.
        rates: Of AdamW, from which each way takes its best.
        higher: Those that are tried too where the best of the others is the highest.
        alpha: Of the paths, as a multiple of their rank.
    """

    start: int = 24
    learned: int = 40
    validation: int = 20
    steps: int = 30
    batch: int = 16
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3)
    higher: tuple[float, ...] = (1e-2, 3e-2)
    alpha: float | int = 2


class Top(nn.Module):
    """The last layers of a Llama, which read what those below have made of a text.

    Args:
        model: Is copied, but for the output layer, which is shared and stays as it is.
        start: The first of its layers.
    """

    unembedding: Tensor

    def __init__(self, model: Llama, start: int) -> None:
        super().__init__()
        self.config = model.config
        self.blocks = nn.ModuleList(copy.deepcopy(block) for block in model.blocks[start:])
        self.norm = copy.deepcopy(model.norm)
        layer: Any = model.embedding if model.head is None else model.head
        self.register_buffer("unembedding", layer.weight.detach(), persistent=False)

    def forward(
        self,
        hidden: Float[Tensor, "batch seq d_model"],
        attention_mask: Bool[Tensor, "batch seq"] | None = None,
    ) -> Float[Tensor, "batch vocab"]:
        """Logits of what comes after the last position."""
        c = self.config
        positions = torch.arange(hidden.shape[1], device=hidden.device)
        rotary = rotary_tables(positions, c.d_head, c.rope_base, hidden.dtype)
        mask = None if attention_mask is None else attention_mask[:, None]
        for block in self.blocks:
            hidden = block(hidden, rotary, mask)
        return F.linear(self.norm(hidden[:, -1]), self.unembedding)


@torch.no_grad()
def below(
    model: Llama,
    start: int,
    token_ids: Int[Tensor, "batch seq"],
    attention_mask: Bool[Tensor, "batch seq"] | None = None,
) -> Float[Tensor, "batch seq d_model"]:
    """What the layers before `start` make of texts.

    Args:
        model: Reads.
        start: The first layer that does not.
        token_ids: Texts side by side.
        attention_mask: False where a position is padding.
    """
    c = model.config
    positions = torch.arange(token_ids.shape[1], device=token_ids.device)
    rotary = rotary_tables(positions, c.d_head, c.rope_base, model.embedding.weight.dtype)
    mask = None if attention_mask is None else attention_mask[:, None]
    x: Tensor = model.embedding(token_ids)
    for block in model.blocks[:start]:
        x = block(x, rotary, mask)
    return x


@dataclass(frozen=True)
class Words:
    """Questions as the last layers see them.

    Attributes:
        hidden: What the layers below give.
        mask: False where a question is filled up, on the left.
        answers: The first token of each right answer.
        labels: Those of all answers.
    """

    hidden: Float[Tensor, "words seq d_model"]
    mask: Bool[Tensor, "words seq"]
    answers: Int[Tensor, " words"]
    labels: Int[Tensor, " labels"]

    def part(self, chosen: Int[Tensor, " some"]) -> tuple[Tensor, Tensor, Tensor]:
        """What is read of some words, and their answers."""
        return self.hidden[chosen], self.mask[chosen], self.answers[chosen]


@cache
def read(start: int) -> Words:
    """Let SmolLM2 read the question of every word, up to a layer.

    Args:
        start: The first layer that does not read.
    """
    model, tokenizer = smollm2()
    task = tasks()["colour"]
    texts = [tokenizer.encode(task.sentence.format(word)) for word, _ in task.pairs]
    width = max(map(len, texts))
    token_ids = torch.tensor([[0] * (width - len(text)) + text for text in texts])
    mask = torch.tensor([[False] * (width - len(text)) + [True] * len(text) for text in texts])
    firsts = {label: tokenizer.encode(f" {label}")[0] for label in task.labels}
    return Words(
        below(model, start, token_ids, mask),
        mask,
        torch.tensor([firsts[answer] for _, answer in task.pairs]),
        torch.tensor(list(firsts.values())),
    )


def split(words: int, setup: Setup, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which words are learned from, chosen by, and tested on; no word is in two parts."""
    order = torch.randperm(words, generator=torch.Generator().manual_seed(seed))
    learned, rest = order[: setup.learned], order[setup.learned :]
    return learned, rest[: setup.validation], rest[setup.validation :]


def new_top(way: str, seed: int, setup: Setup = Setup()) -> Top:
    """SmolLM2's last layers, with what is trained in them.

    Args:
        way: One of `WAYS`.
        seed: Of the paths' first weights.
        setup: Where they begin.

    Raises:
        ValueError: If there is no such way.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {', '.join(WAYS)}, got {way!r}")
    torch.manual_seed(seed)
    top = Top(smollm2()[0], setup.start)
    if way.isdigit():
        add_lora(top, int(way), setup.alpha * int(way), MATRICES)
    else:
        for parameter in top.parameters():
            parameter.requires_grad_((parameter.ndim == 1) == (way == "norms"))
    return top


def tune(way: str, lr: float, seed: int, setup: Setup = Setup()) -> Top:
    """Train the last layers on some words and their colours.

    Args:
        way: One of `WAYS`.
        lr: Highest learning rate.
        seed: Of the words, of the paths' first weights, and of the order.
        setup: All other settings.
    """
    words = read(setup.start)
    learned, _, _ = split(len(words.answers), setup, seed)
    top = new_top(way, seed, setup)

    def draw(generator: torch.Generator) -> tuple[Tensor, ...]:
        chosen = torch.randint(len(learned), (setup.batch,), generator=generator)
        return words.part(learned[chosen])

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        hidden, mask, answers = batch
        return F.cross_entropy(model(hidden, mask), answers)

    recipe = Recipe(steps=setup.steps, lr=lr, warmup=3, weight_decay=0.0)
    train(top, draw, recipe, generator=torch.Generator().manual_seed(seed), loss=loss)
    return top


@torch.no_grad()
def share_right(top: Top, words: Words, chosen: Int[Tensor, " some"]) -> float:
    """The share of words whose right label is the likeliest of the four."""
    hidden, mask, answers = words.part(chosen)
    with evaluating(top):
        scores = top(hidden, mask)[:, words.labels]
    return (words.labels[scores.argmax(-1)] == answers).double().mean().item()


def run(seed: int) -> dict[str, Any]:
    """What is recorded: for each way its rate, and the shares right of learned and of new words.

    Where higher rates were tried too, "lower" is the share of new words at the best of the others.
    For the norms "longer" is that share at the highest of the others, after three times the steps.
    """
    setup = Setup()
    words = read(setup.start)
    learned, _, test = split(len(words.answers), setup, seed)
    top = new_top("all", seed, setup)
    found: dict[str, Any] = {
        "words": len(test),
        "before": {
            "learned": share_right(top, words, learned),
            "test": share_right(top, words, test),
        },
    }
    for way in WAYS:
        best = _best(way, setup.rates, seed, setup)
        if best["lr"] == max(setup.rates):
            lower, best = best, max(best, _best(way, setup.higher, seed, setup), key=_preferred)
            best = {**best, "lower": lower["test"]}
        found[way] = best
    longer = tune("norms", max(setup.rates), seed, replace(setup, steps=3 * setup.steps))
    found["norms"]["longer"] = share_right(longer, words, test)
    return found


def _best(way: str, rates: tuple[float, ...], seed: int, setup: Setup) -> dict[str, Any]:
    """The rate that is best on the validation words, and how well it does."""
    words = read(setup.start)
    parts = zip(
        ("learned", "validation", "test"), split(len(words.answers), setup, seed), strict=True
    )
    named, tried = dict(parts), []
    for lr in rates:
        top = tune(way, lr, seed, setup)
        parameters = sum(p.numel() for p in top.parameters() if p.requires_grad)
        shares = {name: share_right(top, words, part) for name, part in named.items()}
        tried.append({"lr": lr, "parameters": parameters, **shares})
    return max(tried, key=_preferred)


def _preferred(one: dict[str, Any]) -> tuple[float, float, float]:
    return one["validation"], one["learned"], -one["lr"]
