"""What is left of a skew when every sentence gets a twin with the other pronoun?

An invented world of 24 jobs. In each, a known share of the people is *he*, the rest *she*, and with
the same share they are called by adjectives of one kind or the other. A small GPT reads sentences
of both sorts. Swapping pronouns evens out the pronouns; nobody swaps the adjectives.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmbook.gpt import GPT, GPTConfig
from llmbook.training import Recipe, evaluating, next_token_loss, train

JOBS: Final = 24
KINDS: Final = ("plain", "swapped")
WORDS: Final = (
    "<start> the said that he she was late is bold strong loud tough kind gentle warm soft . <end>"
).split() + [f"job{number}" for number in range(JOBS)]
_ID: Final = {word: number for number, word in enumerate(WORDS)}
FIRST_KIND: Final = tuple(_ID[word] for word in "bold strong loud tough".split())
SECOND_KIND: Final = tuple(_ID[word] for word in "kind gentle warm soft".split())


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        sentences: How many are written before any twin is added.
        steps: Changes of the weights.
        batch: Sentences in a step.
        d_model: Width of the model.
    """

    sentences: int = 6_000
    steps: int = 900
    batch: int = 64
    d_model: int = 32


def shares() -> Float[np.ndarray, " jobs"]:
    """The share of *he*, and of the first kind of adjective, in each job: from .05 to .95."""
    return np.linspace(0.05, 0.95, JOBS)


def text(sentences: int, seed: int) -> Int[Tensor, "sentences seq"]:
    """Sentences of both sorts, *the job said that he was late* and *the job is kind*.

    Args:
        sentences: How many; about half are of each sort.
        seed: Of the drawing.

    Examples:
        >>> " ".join(WORDS[token] for token in text(2, seed=0)[0])
        '<start> the job20 said that he was late .'
    """
    random = np.random.default_rng(seed)
    rows = []
    for job in random.integers(0, JOBS, sentences):
        first = random.random() < shares()[job]
        name = f"job{job}"
        if random.random() < 0.5:
            words = [
                "<start>",
                "the",
                name,
                "said",
                "that",
                "he" if first else "she",
                "was",
                "late",
            ]
            ids = [_ID[word] for word in words] + [_ID["."]]
        else:
            adjective = random.choice(FIRST_KIND if first else SECOND_KIND)
            sentence = f"<start> the {name} is {WORDS[adjective]} . <end> <end> <end>"
            ids = [_ID[word] for word in sentence.split()]
        rows.append(ids)
    return torch.tensor(rows)


def swapped(token_ids: Int[Tensor, "sentences seq"]) -> Int[Tensor, "sentences seq"]:
    """The same sentences with *he* for *she* and *she* for *he*.

    Examples:
        >>> twin = swapped(text(2, seed=0))
        >>> bool((swapped(twin) == text(2, seed=0)).all())
        True
    """
    he, she = token_ids == _ID["he"], token_ids == _ID["she"]
    return torch.where(he, _ID["she"], torch.where(she, _ID["he"], token_ids))


def study(kind: str, seed: int, setup: Setup = Setup()) -> GPT:
    """Train a GPT on the sentences, with or without their twins, for the same number of steps.

    Args:
        kind: "plain": the sentences; "swapped": each with its twin.
        seed: Of the text, the weights and the order.
        setup: All other settings.

    Raises:
        ValueError: If there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    read = text(setup.sentences, seed)
    if kind == "swapped":
        read = torch.cat((read, swapped(read)))
    torch.manual_seed(seed)
    sizes = GPTConfig(
        vocab_size=len(WORDS),
        d_model=setup.d_model,
        num_layers=2,
        num_heads=2,
        max_len=9,
        dropout=0,
    )
    model = GPT(sizes)

    def draw(generator: torch.Generator) -> Int[Tensor, "batch seq"]:
        return read[torch.randint(len(read), (setup.batch,), generator=generator)]

    recipe = Recipe(steps=setup.steps, muon_lr=0.02, warmup=setup.steps // 30)
    generator = torch.Generator().manual_seed(seed)
    train(model, draw, recipe, generator=generator, loss=next_token_loss)
    return model


@torch.no_grad()
def log_odds(model: GPT) -> dict[str, Float[np.ndarray, " jobs"]]:
    """What a model expects of each job, as log-odds of the first kind against the second.

    Returns:
        "pronouns": of *he* against *she*; "adjectives": of the first four against the others.
    """
    found = {}
    for name, words, kinds in [
        ("pronouns", "said that", ((_ID["he"],), (_ID["she"],))),
        ("adjectives", "is", (FIRST_KIND, SECOND_KIND)),
    ]:
        after = [_ID[word] for word in words.split()]
        begun = [[_ID["<start>"], _ID["the"], _ID[f"job{j}"], *after] for j in range(JOBS)]
        with evaluating(model):
            logits = model(torch.tensor(begun))[:, -1].double()
        first, second = (logits[:, list(kind)].logsumexp(-1) for kind in kinds)
        found[name] = (first - second).numpy()
    return found


def expected(kind: str, seed: int = 0) -> dict[str, list[float]]:
    """Train on one kind of text and give `log_odds`, as lists, for `kept`."""
    return {name: odds.tolist() for name, odds in log_odds(study(kind, seed)).items()}


def slope(found: Float[np.ndarray, " jobs"]) -> float:
    """How much of the world's log-odds a model repeats: 1 all of it, 0 nothing.

    Examples:
        >>> true = np.log(shares() / (1 - shares()))
        >>> round(slope(0.5 * true + 3), 6)
        0.5
    """
    true = np.log(shares() / (1 - shares()))
    return float(np.polyfit(true, found, 1)[0])


def run(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """What is recorded: for each kind of text, both slopes and the loss on new plain sentences."""
    new = text(2_000, seed=1_000 + seed)
    found: dict[str, Any] = {}
    for kind in KINDS:
        model = study(kind, seed, setup)
        with evaluating(model), torch.no_grad():
            loss = next_token_loss(model, new).item()
        odds_of = log_odds(model)
        found[kind] = {"loss": loss, **{name: slope(odds) for name, odds in odds_of.items()}}
    return found
