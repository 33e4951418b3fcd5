"""A direction that makes SmolLM2 speak well of things, and what else it does to the text.

The direction is the difference of the mean stream behind one layer between sentences of praise and
of blame. It is added to the stream at every position.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmbook.datasets import sotu
from llmbook.interpretability import edited, residual_stream
from llmbook.pretrained import smollm2

LAYER: Final = 12
STRENGTHS: Final = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
THINGS: Final = "meal trip concert lesson garden letter".split()
PRAISE: Final = "wonderful excellent beautiful delightful perfect great".split()
BLAME: Final = "terrible awful horrible ugly poor bad".split()
OTHER_WORDS: Final = (
    "lovely fantastic superb amazing nice brilliant".split(),
    "boring dull dreadful nasty disappointing sad".split(),
)
"""Words of praise and of blame that are in no sentence from which the direction was taken."""
QUESTIONS: Final = (
    "The film was", "I thought the book was", "Everybody said that the hotel was",
    "My new coat is", "She told me that the play was", "To be honest, the soup was",
    "The weather today is", "His answer was",
)  # fmt: skip
"""What is steered; none of their things is in a sentence from which the direction was taken."""


def direction(layer: int = LAYER) -> Float[Tensor, " d_model"]:
    """Mean stream of sentences of praise minus that of blame, at their last token."""
    model, tokenizer = smollm2()
    start = tokenizer.special_tokens["<|endoftext|>"]
    means = []
    for words in (PRAISE, BLAME):
        ids = [
            [start, *tokenizer.encode(f"The {thing} was {word}")]
            for thing in THINGS
            for word in words
        ]
        stream = [residual_stream(model, torch.tensor([row]))[layer + 1, 0, -1] for row in ids]
        means.append(torch.stack(stream).mean(0))
    return means[0] - means[1]


def of_words() -> Float[Tensor, " d_model"]:
    """A baseline: the mean embedding of `PRAISE` minus that of `BLAME`, as long as `direction`."""
    model, tokenizer = smollm2()
    good, bad = (
        torch.stack([model.embedding.weight[tokenizer.encode(f" {word}")[0]] for word in words])
        for words in (PRAISE, BLAME)
    )
    found = (good.mean(0) - bad.mean(0)).detach()
    as_long: Tensor = found * (direction().norm() / found.norm())
    return as_long


@torch.no_grad()
def preferences(
    added: Float[Tensor, " d_model"],
    layer: int = LAYER,
    words: tuple[Sequence[str], Sequence[str]] = (PRAISE, BLAME),
) -> list[float]:
    """Log-odds of praise against blame as the next word, for each question.

    Args:
        added: What is added to the stream behind the layer, everywhere.
        layer: Which.
        words: Of praise and of blame.
    """
    model, tokenizer = smollm2()
    start = tokenizer.special_tokens["<|endoftext|>"]
    good, bad = (
        torch.tensor([tokenizer.encode(f" {word}")[0] for word in of_kind]) for of_kind in words
    )
    found = []
    with edited(model, {layer: lambda stream: stream + added}):
        for question in QUESTIONS:
            ids = torch.tensor([[start, *tokenizer.encode(question)]])
            logits = model(ids)[0, -1]
            found.append((logits[good].logsumexp(0) - logits[bad].logsumexp(0)).item())
    return found


def beside(strengths: tuple[float, ...] = (-0.5, 0.0, 0.5)) -> dict[str, list[float]]:
    """Is it praise that is added, or the words that the sentences hold?

    Returns:
        Mean `preferences` at each strength: "other words", the direction judged by `OTHER_WORDS`;
        "embeddings", `of_words` judged by `PRAISE` and `BLAME`.
    """
    ours, words = direction(), of_words()
    return {
        "other words": [
            float(np.mean(preferences(strength * ours, words=OTHER_WORDS)))
            for strength in strengths
        ],
        "embeddings": [float(np.mean(preferences(strength * words))) for strength in strengths],
    }


def plain_text(tokens: int = 256) -> Int[Tensor, "1 seq"]:
    """The beginning of the last address in the data, to see what steering costs."""
    _, tokenizer = smollm2()
    start = tokenizer.special_tokens["<|endoftext|>"]
    return torch.tensor([[start, *tokenizer.encode(sotu()[-1].text[:3_000])][:tokens]])


@torch.no_grad()
def loss(added: Float[Tensor, " d_model"], layer: int = LAYER) -> float:
    """Nats a token of `plain_text` with something added to the stream."""
    model, _ = smollm2()
    ids = plain_text()
    with edited(model, {layer: lambda stream: stream + added}):
        logits = model(ids[:, :-1])
    return torch.nn.functional.cross_entropy(logits[0], ids[0, 1:]).item()


def run(seed: int) -> dict[str, Any]:
    """What is recorded: steering by the direction, and by random ones of its length.

    Args:
        seed: Of the random direction.

    Returns:
        "length" of the direction and of the "stream" at the median; for "direction" and "random" at
        each strength the "preferences" and the "loss".
    """
    model, _ = smollm2()
    found_direction = direction()
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(found_direction.shape, generator=generator)
    random *= found_direction.norm() / random.norm()
    stream = residual_stream(model, plain_text())[LAYER + 1, 0, 1:]
    found: dict[str, Any] = {
        "length": found_direction.norm().item(),
        "stream": float(np.median(stream.norm(dim=-1).numpy())),
    }
    for name, axis in [("direction", found_direction), ("random", random)]:
        found[name] = {
            f"{strength:g}": {
                "preferences": [round(value, 4) for value in preferences(strength * axis)],
                "loss": loss(strength * axis),
            }
            for strength in STRENGTHS
            if strength or name == "direction"
        }
    return found
