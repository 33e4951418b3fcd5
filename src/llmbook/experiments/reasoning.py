"""Many ways to one answer: digits are added up in any order, and the answers vote.

`4 7 9 =` is followed by a way to the last digit of the sum, such as `9 9 4 3 7 0`: a digit of the
question and the sum so far, without its tens, in an order that is drawn. Another model learns to
say the last number of it at once.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.gpt import GPT, GPTConfig
from llmbook.training import Recipe, evaluating, train

EQUALS = 10  # a token, after the ten digits


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        digits: How many are added up.
        steps: Changes of the weights, after which the model still errs.
        batch: Questions in a step.
        tested: Other questions, on which it is examined.
        votes: Numbers of answers that vote.
    """

    digits: int = 6
    steps: int = 180
    batch: int = 128
    tested: int = 1_000
    votes: tuple[int, ...] = (1, 3, 9, 27, 81)


def solved(digits: Int[Tensor, "batch digits"], generator: torch.Generator) -> Tensor:
    """Questions with a way to the answer, each in an order of its own.

    Examples:
        >>> solved(torch.tensor([[4, 7, 9]]), torch.Generator().manual_seed(0))
        tensor([[ 4,  7,  9, 10,  9,  9,  4,  3,  7,  0]])
    """
    order = torch.rand(digits.shape, generator=generator).argsort(1)
    taken = digits.gather(1, order)
    way = torch.stack((taken, taken.cumsum(1) % 10), dim=2).flatten(1)
    return torch.cat((digits, torch.full((len(digits), 1), EQUALS), way), dim=1)


def questions(
    batch: int, generator: torch.Generator, *, digits: int, way: bool
) -> Int[Tensor, "batch seq"]:
    """Draw questions, with a way to the answer or the answer alone."""
    ids = solved(torch.randint(10, (batch, digits), generator=generator), generator)
    return ids if way else torch.cat((ids[:, : digits + 1], ids[:, -1:]), dim=1)


def answer_loss(digits: int, model: nn.Module, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of what comes after the question."""
    logits = model(ids[:, :-1])[:, digits:]
    return F.cross_entropy(logits.flatten(0, 1), ids[:, digits + 1 :].flatten())


def learn(seed: int, *, way: bool, setup: Setup = Setup(), times: int = 1) -> GPT:
    """Train a GPT to answer by a way or at once.

    Args:
        seed: Of the weights and of the questions.
        way: By a way.
        setup: All other settings.
        times: How often as long as they say.
    """
    torch.manual_seed(seed)
    length = 3 * setup.digits
    model = GPT(GPTConfig(vocab_size=11, d_model=64, num_layers=2, num_heads=4, max_len=length))
    train(
        model,
        partial(questions, setup.batch, digits=setup.digits, way=way),
        Recipe(steps=times * setup.steps, muon_lr=0.02, warmup=min(20, setup.steps)),
        generator=torch.Generator().manual_seed(seed),
        loss=partial(answer_loss, setup.digits),
    )
    return model


@torch.no_grad()
def answers(
    model: GPT,
    asked: Int[Tensor, "batch question"],
    tokens: int,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " batch"]:
    """The last of so many tokens that a model writes: drawn, or else the likeliest."""
    with evaluating(model):
        cache = model.new_cache(asked.shape[1] + tokens - 1, len(asked))
        new = asked
        for _ in range(tokens):
            logits = model(new, cache=cache)[:, -1]
            if generator is None:
                new = logits.argmax(-1, keepdim=True)
            else:
                new = torch.multinomial(logits.softmax(-1), 1, generator=generator)
    return new[:, 0]


def vote(drawn: Int[Tensor, "answers batch"]) -> Int[Tensor, " batch"]:
    """The most frequent answer to each question, the smallest of several.

    Examples:
        >>> vote(torch.tensor([[3, 1], [3, 2], [5, 2]]))
        tensor([3, 2])
    """
    return F.one_hot(drawn, 11).sum(0).argmax(-1)


def examine(model: GPT, tokens: int, seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """How often a model is right, greedily and by votes, on the questions of a seed of their own.

    Args:
        model: Writes as many tokens as its way is long, or one.
        tokens: How many.
        seed: Of the answers that are drawn.
        setup: All other settings.

    Returns:
        Shares of right answers: "greedy", "votes" by the number of answers, and "any", where one of
        those is right.
    """
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(
        10, (setup.tested, setup.digits), generator=torch.Generator().manual_seed(10_000)
    )
    asked = torch.cat((numbers, torch.full((len(numbers), 1), EQUALS)), dim=1)
    truth = numbers.sum(1) % 10
    most = max(setup.votes)
    drawn = torch.stack([answers(model, asked, tokens, generator) for _ in range(most)])

    def share(right: Tensor) -> float:
        return right.double().mean().item()

    return {
        "greedy": share(answers(model, asked, tokens) == truth),
        "votes": {str(n): share(vote(drawn[:n]) == truth) for n in setup.votes},
        "any": {str(n): share((drawn[:n] == truth).any(0)) for n in setup.votes},
    }


def compare(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """What is recorded: by a way, and at once, for which it may also learn ten times as long."""
    found = {}
    for name, times in (("way", 1), ("at once", 1), ("at once, longer", 10)):
        way = name == "way"
        model = learn(seed, way=way, setup=setup, times=times)
        found[name] = examine(model, 2 * setup.digits if way else 1, seed, setup)
    return found
