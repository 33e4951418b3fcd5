"""What a sparse pattern can't see: one symbol is planted in a text, and asked for from then on.

The text is noise. Somewhere in it stands a mark, and after it the symbol to be remembered. Every
later position has to say that symbol. Nothing else in the text says it, so whoever knows it has
got it from there, directly or through positions between.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.attention import causal_mask
from llmbook.sparse import local_mask, strided_mask
from llmbook.training import Recipe, evaluating, train
from llmbook.transformer import TransformerBlock

SYMBOLS: Final = 16
MARK: Final = SYMBOLS


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        seq: Positions of a text.
        window: Of the sparse patterns, and their stride.
        layers: Blocks of the model.
        d_model: Its width.
        batch: Texts in a step.
        recipe: How it is trained.
        tested: Texts on which it is tested.
    """

    seq: int = 64
    window: int = 8
    layers: int = 2
    d_model: int = 32
    batch: int = 32
    recipe: Recipe = Recipe(steps=400, lr=5e-3, warmup=20)
    tested: int = 500

    @property
    def masks(self) -> dict[str, Bool[Tensor, "seq seq"]]:
        """Who may look at whom, by the name of the pattern."""
        return {
            "full": causal_mask(self.seq),
            "window": local_mask(self.seq, self.window),
            "stride": strided_mask(self.seq, self.window),
        }


def texts(
    batch: int, seq: int, generator: torch.Generator
) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    """Draw texts, and say how long ago the planted symbol stood at each position.

    Args:
        batch: How many.
        seq: How long; at least 3.
        generator: Source of randomness.

    Returns:
        Token ids, and for each position its distance from the planted symbol: 0 there, negative
        before.
    """
    token_ids = torch.randint(SYMBOLS, (batch, seq), generator=generator)
    mark = torch.randint(seq - 2, (batch, 1), generator=generator)
    token_ids.scatter_(1, mark, MARK)
    return token_ids, torch.arange(seq) - mark - 1


class RecallModel(nn.Module):
    """Blocks that see by a given pattern; each position reads its token and the one before.

    So the planted symbol knows of the mark without attention, and positions are not needed.

    Args:
        mask: Who may look at whom, in every block.
        setup: Its sizes.
    """

    mask: Tensor

    def __init__(self, mask: Bool[Tensor, "seq seq"], setup: Setup) -> None:
        super().__init__()
        d = setup.d_model
        self.token, self.before = nn.Embedding(SYMBOLS + 1, d), nn.Embedding(SYMBOLS + 2, d)
        self.blocks = nn.ModuleList(
            TransformerBlock(d, 2, 4 * d, dropout=0.0, norm_first=True, norm=nn.LayerNorm)
            for _ in range(setup.layers)
        )
        self.head = nn.Linear(d, SYMBOLS)
        self.register_buffer("mask", mask)

    def forward(self, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq symbols"]:
        """Logits of the planted symbol, at every position."""
        before = F.pad(token_ids, (1, -1), value=SYMBOLS + 1)
        x = self.token(token_ids) + self.before(before)
        for block in self.blocks:
            x = block(x, self.mask)
        logits: Tensor = self.head(x)
        return logits


def recall_loss(
    model: nn.Module, batch: tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]
) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats, of the planted symbol at all positions after it."""
    token_ids, distance = batch
    planted = token_ids.gather(1, (distance == 0).int().argmax(1, keepdim=True))
    asked = distance > 0
    return F.cross_entropy(model(token_ids)[asked], planted.expand_as(token_ids)[asked])


def learn(
    pattern: str, seed: int, setup: Setup = Setup(), until: int | None = None
) -> tuple[RecallModel, list[float]]:
    """Train a model that sees by a pattern.

    Args:
        pattern: "full", "window" or "stride".
        seed: Of the weights and of the texts.
        setup: All other settings.
        until: Stop after this step.

    Returns:
        The model, and the loss of each step.

    Raises:
        ValueError: If there is no such pattern.
    """
    if pattern not in setup.masks:
        raise ValueError(f"pattern must be one of {', '.join(setup.masks)}, got {pattern!r}")
    torch.manual_seed(seed)
    model = RecallModel(setup.masks[pattern], setup)
    generator = torch.Generator().manual_seed(seed)
    losses = train(
        model,
        partial(texts, setup.batch, setup.seq),
        setup.recipe,
        generator=generator,
        loss=recall_loss,
        until=until,
    )
    return model, losses


@torch.no_grad()
def by_distance(model: RecallModel, seed: int, setup: Setup = Setup()) -> list[float]:
    """The share of positions that say the symbol, by how long ago it stood, from 1.

    Args:
        model: Is tested.
        seed: Of the texts, which are none of those that were read in training.
        setup: How many texts.
    """
    token_ids, distance = texts(
        setup.tested, setup.seq, torch.Generator().manual_seed(10_000 + seed)
    )
    planted = token_ids.gather(1, (distance == 0).int().argmax(1, keepdim=True))
    with evaluating(model):
        right = (model(token_ids).argmax(-1) == planted).double()
    return [right[distance == d].mean().item() for d in range(1, setup.seq - 2)]


def run(seed: int) -> dict[str, Any]:
    """What is recorded: for each pattern, the share of right answers by distance.

    "deeper" is a window in twice as many layers.
    """
    setup = Setup()
    setups = {
        **dict.fromkeys(setup.masks, setup),
        "deeper": replace(setup, layers=2 * setup.layers),
    }
    found: dict[str, Any] = {}
    for name, chosen in setups.items():
        model, losses = learn("window" if name == "deeper" else name, seed, chosen)
        found[name] = {"right": by_distance(model, seed, chosen), "loss": losses[-1]}
    return found
