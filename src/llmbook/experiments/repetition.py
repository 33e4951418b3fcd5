"""Attention alone: what stacks of it learn without a feed-forward network, and without skips.

The task is to go on with a string of symbols, no two alike, which repeats with a period that
differs from text to text. A fixed distance does not help: where the present symbol stood before has
to be found, and what came after it taken.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.attention import MultiHeadAttention, causal_mask
from llmbook.training import Recipe, evaluating, train

SYMBOLS = 16
LENGTH = 32
PERIODS = (6, 14)  # the shortest and the longest


@dataclass(frozen=True)
class Setup:
    """The settings; the defaults are those of the book.

    Attributes:
        d_model: Width of the residual stream.
        num_heads: Heads in a layer.
        batch: Fresh texts in a step.
        lr: AdamW's rate, which stays.
        tested: Other texts, on which a stack is tested.
    """

    d_model: int = 64
    num_heads: int = 4
    batch: int = 64
    lr: float | int = 3e-3
    tested: int = 512


class Stack(nn.Module):
    """Layers of causal attention between an embedding with learned positions and logits.

    Args:
        num_layers: How many.
        setup: Width and heads.
    """

    def __init__(self, num_layers: int, setup: Setup = Setup()) -> None:
        super().__init__()
        width = setup.d_model
        self.embedding = nn.Embedding(SYMBOLS, width)
        self.positions = nn.Embedding(LENGTH, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_layers))
        self.layers = nn.ModuleList(
            MultiHeadAttention(width, setup.num_heads) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, SYMBOLS)

    def forward(self, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq symbols"]:
        """Each layer adds what it finds to what it read; logits for the symbol that comes next."""
        seq = token_ids.shape[1]
        mask = causal_mask(seq)
        x: Tensor = self.embedding(token_ids) + self.positions.weight[:seq]
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(norm(x), mask=mask)
        logits: Tensor = self.head(self.norm(x))
        return logits


def repeating(
    batch: int, generator: torch.Generator
) -> tuple[Int[Tensor, "batch seq"], Bool[Tensor, "batch next"]]:
    """Strings of different symbols, each repeated with its own period until the text is full.

    Args:
        batch: How many texts.
        generator: Source of randomness.

    Returns:
        The texts, and `True` where the next symbol can be known: from the second copy's second
        symbol on.

    Examples:
        >>> text, known = repeating(2, torch.Generator().manual_seed(0))
        >>> text.shape, known.shape
        (torch.Size([2, 32]), torch.Size([2, 31]))
    """
    shortest, longest = PERIODS
    period = torch.randint(shortest, longest + 1, (batch, 1), generator=generator)
    string = torch.rand(batch, SYMBOLS, generator=generator).argsort(dim=1)
    places = torch.arange(LENGTH)
    return string.gather(1, places % period), places[1:] > period


def continued(num_layers: int, steps: int, seed: int, setup: Setup = Setup()) -> float:
    """Train a stack to go on with repeating strings, and test it on others.

    Args:
        num_layers: Layers of attention.
        steps: Of training.
        seed: For initial weights and texts; the same seed gives the same result.
        setup: All other settings.

    Returns:
        The share of symbols that are right, of those that can be known.

    Source:
        [Elhage et al. 2021][elhage2021mathematical], where two layers without feed-forward networks
        were found to do this and one was not.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Stack(num_layers, setup)
    generator = torch.Generator().manual_seed(seed)

    def draw(source: torch.Generator) -> tuple[Tensor, Tensor]:
        return repeating(setup.batch, source)

    def loss(stack: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        text, known = batch
        return F.cross_entropy(stack(text[:, :-1])[known], text[:, 1:][known])

    train(
        model, draw, Recipe(steps=steps, lr=setup.lr, decay="none"), generator=generator, loss=loss
    )
    text, known = repeating(setup.tested, generator)
    with torch.no_grad(), evaluating(model):
        right = model(text[:, :-1]).argmax(dim=-1) == text[:, 1:]
    share: float = right[known].double().mean().item()
    return share


def compare(seed: int) -> dict[str, Any]:
    """One layer, one layer trained four times as long, and two layers.

    Args:
        seed: For all of them.

    Returns:
        "two" after 300 steps; "one" after 300, "one longer" after 1,200.
    """
    return {
        "two": continued(2, 300, seed),
        "one": continued(1, 300, seed),
        "one longer": continued(1, 1200, seed),
    }
