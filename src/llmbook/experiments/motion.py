"""Which way does it move? Films of one shape, of which a single frame says nothing.

The shape goes left, up, right or down and comes back in at the other side, from anywhere, so where
it stands in one frame does not depend on where it goes. In some frames it is hidden. How often the
direction can be known at all then follows from the number of frames: see `bound`.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from math import comb
from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.experiments.shapes import PAIRS, SIZE, draw
from llmbook.positions import LearnedPositions
from llmbook.sizes import make_whole, whole
from llmbook.training import Recipe, evaluating, train
from llmbook.transformer import TransformerBlock
from llmbook.vit import patches

DIRECTIONS: Final = ("left", "up", "right", "down")
STEP: Final = 3
"""Pixels from one frame to the next."""
HIDDEN: Final = 0.3
"""Share of the frames in which the shape is not to be seen."""
MOST: Final = 4
"""Frames of the longest film: in more, going left could look like going right, on the way round."""

Films = Float[Tensor, "n frames 3 24 24"]
Directions = Int[Tensor, " n"]


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        frames: In a film.
        together: Frames that are cut at once, so that a token is a square in all of them.
        shuffled: Show the frames of each film in an order drawn by lot.
        steps: Of training.
        batch: Films in a step.
        lr: Highest learning rate of AdamW.
        muon_lr: Highest learning rate of Muon, which has the matrices in the blocks.
        d_model: Width of the model.
        patch: Height and width of a square.
        tested: Films of a test.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If there are no frames or more than four, or `together` does not divide them.
    """

    frames: int = MOST
    together: int = 2
    shuffled: bool = False
    steps: int = 500
    batch: int = 64
    lr: float | int = 3e-3
    muon_lr: float | int = 0.02
    d_model: int = 64
    patch: int = 6
    tested: int = 2_000

    def __post_init__(self) -> None:
        make_whole(self)
        if not 1 <= self.frames <= MOST:
            raise ValueError(f"frames must be from 1 to {MOST}, got {self.frames}")
        if self.together < 1 or self.frames % self.together:
            raise ValueError(f"together must divide frames = {self.frames}, got {self.together}")

    @property
    def tokens(self) -> int:
        """Squares of a film, each of `together` frames."""
        return (SIZE // self.patch) ** 2 * self.frames // self.together


@cache
def _things() -> Float[Tensor, "16 3 24 24"]:
    """Each thing alone, on white."""
    thing = torch.arange(PAIRS)
    fixed = torch.ones_like(thing)
    ids = torch.stack((thing // 4, 4 + thing % 4, 8 * fixed, 0 * fixed, 4 * fixed), 1)
    alone = draw(ids)
    alone[..., SIZE // 2 :] = 1
    return alone


def films(n: int, generator: torch.Generator, frames: int = MOST) -> tuple[Films, Directions]:
    """Draw films of things that move.

    Args:
        n: How many.
        generator: Where the randomness comes from.
        frames: In each, from 1 to 4.

    Returns:
        Films, with red, green and blue from 0 to 1, and numbers of `DIRECTIONS`.

    Raises:
        ValueError: If `n` is negative or there are too few or too many frames.

    Examples:
        >>> shown, directions = films(3, torch.Generator().manual_seed(0))
        >>> shown.shape, [DIRECTIONS[d] for d in directions]
        (torch.Size([3, 4, 3, 24, 24]), ['left', 'down', 'down'])
    """
    n, frames = whole("n", n), whole("frames", frames)
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    if not 1 <= frames <= MOST:
        raise ValueError(f"frames must be from 1 to {MOST}, got {frames}")
    thing = torch.randint(PAIRS, (n,), generator=generator)
    direction = torch.randint(4, (n,), generator=generator)
    start = torch.randint(SIZE, (n, 1, 2), generator=generator)
    hidden = torch.rand(n, frames, generator=generator) < HIDDEN
    way = torch.tensor([[0, -1], [-1, 0], [0, 1], [1, 0]])[direction]  # (down, right)
    place = start + STEP * torch.arange(frames)[:, None] * way[:, None]
    pixels = torch.arange(SIZE)
    rows, columns = ((pixels - place[..., axis, None]) % SIZE for axis in (0, 1))
    which = thing[:, None, None, None]
    shown = _things()[which, :, rows[..., :, None], columns[..., None, :]].permute(0, 1, 4, 2, 3)
    return torch.where(hidden[..., None, None, None], 1.0, shown), direction


def shuffle(shown: Films, generator: torch.Generator) -> Films:
    """The frames of each film in an order of its own, each as likely as any other."""
    order = torch.rand(shown.shape[:2], generator=generator).argsort(1)
    return shown[torch.arange(len(shown))[:, None], order]


def bound(frames: int, *, shuffled: bool = False) -> float:
    r"""How often someone who sees perfectly can be right.

    Where the thing is seen twice, its direction is known, and else nothing is. With $k$ frames and
    a share $h$ of them hidden, that is

    $$p = 1 - h^k - k (1 - h) h^{k - 1}, \qquad \text{right: } p + (1 - p) / 4$$

    If the frames come in any order, only the axis is known, and $p$ counts half.

    Args:
        frames: $k$.
        shuffled: In any order.

    Raises:
        ValueError: If `frames` is not positive.

    Examples:
        >>> [round(bound(k), 4) for k in (1, 2, 4)], round(bound(4, shuffled=True), 4)
        ([0.25, 0.6175, 0.9372], 0.4791)
    """
    frames = whole("frames", frames)
    if frames < 1:
        raise ValueError(f"frames must be positive, got {frames}")
    few = sum(comb(frames, s) * (1 - HIDDEN) ** s * HIDDEN ** (frames - s) for s in (0, 1))
    return (1 - few) * (0.5 if shuffled else 1) + few / 4


class FilmTransformer(nn.Module):
    r"""The squares of all frames side by side, each knowing where and when, that see each other.

    $$x_{t,i} = E p_{t,i} + P_i + T_t$$

    and a class token, from which the direction is read.

    Args:
        setup: Sizes.

    Examples:
        >>> shown, _ = films(5, torch.Generator().manual_seed(0), 2)
        >>> FilmTransformer(Setup(frames=2))(shown).shape
        torch.Size([5, 4])

    Source:
        Squares of several frames as one sequence, also cut together:
        [Arnab et al. 2021][arnab2021vivit], section 3.
    """

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self.setup = s = setup
        d = s.d_model
        self.cut = nn.Linear(3 * s.together * s.patch**2, d)
        self.class_token = nn.Parameter(torch.randn(d) * d**-0.5)
        self.places = LearnedPositions((SIZE // s.patch) ** 2, d)
        self.times = LearnedPositions(s.frames // s.together, d)
        self.blocks = nn.ModuleList(
            TransformerBlock(d, 4, 4 * d, 0.0, norm_first=True, norm=nn.LayerNorm) for _ in range(2)
        )
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, len(DIRECTIONS))

    def forward(self, shown: Films) -> Float[Tensor, "n directions"]:
        """Logits of the directions.

        Raises:
            ValueError: If the films have another number of frames.
        """
        s = self.setup
        if shown.shape[1] != s.frames:
            raise ValueError(f"shown must have {s.frames} frames a film, got {shown.shape[1]}")
        pieces = shown.unflatten(1, (-1, s.together)).flatten(2, 3)  # frames beside the colours
        squares = patches(pieces.flatten(0, 1), s.patch).unflatten(0, pieces.shape[:2])
        x = self.cut(squares) + self.places.weight + self.times.weight[:, None]
        x = torch.cat((self.class_token.expand(len(x), 1, -1), x.flatten(1, 2)), 1)
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x[:, 0]))
        return logits


def direction_loss(model: nn.Module, batch: tuple[Films, Directions]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the directions."""
    shown, direction = batch
    return F.cross_entropy(model(shown), direction)


def _draw(setup: Setup, generator: torch.Generator) -> tuple[Films, Directions]:
    shown, direction = films(setup.batch, generator, setup.frames)
    return (shuffle(shown, generator) if setup.shuffled else shown), direction


def fit(
    seed: int, setup: Setup = Setup(), until: int | None = None
) -> tuple[FilmTransformer, list[float]]:
    """Train a model on films, each of them new.

    Args:
        seed: Of the first weights and of what is drawn.
        setup: All other settings.
        until: Stop after this step.

    Returns:
        The model, and the loss of each step.
    """
    torch.manual_seed(seed)
    model = FilmTransformer(setup)
    recipe = Recipe(
        steps=setup.steps,
        lr=setup.lr,
        muon_lr=setup.muon_lr,
        warmup=setup.steps // 10,
        decay="cosine",
    )
    generator = torch.Generator().manual_seed(seed)
    draw_batch = partial(_draw, setup)
    losses = train(model, draw_batch, recipe, generator=generator, loss=direction_loss, until=until)
    return model, losses


@torch.no_grad()
def guesses(model: nn.Module, shown: Films) -> Directions:
    """The likeliest direction of each film."""
    with evaluating(model):
        return torch.cat([model(part).argmax(1) for part in shown.split(500)])


def run(seed: int) -> dict[str, Any]:
    """All lengths and the controls, with one seed, as it is recorded.

    Returns:
        For films of "1", "2" and "4" frames, of which two are cut together where there are two; for
        "shuffled", where four frames come in any order in training and test; for "apart" and
        "at once", where each of four frames is cut by itself, or all together: "right", the share
        of new films whose direction is found, the number of "tokens", and the losses of the
        "first" twenty steps. Of "4" also how often it is right on the films of the test played
        "backwards", how often it then says the "opposite" of where they went, and how often it is
        right on films "mixed" up after training.
    """
    variants = {
        "1": Setup(frames=1, together=1),
        "2": Setup(frames=2),
        "4": Setup(),
        "shuffled": Setup(shuffled=True),
        "apart": Setup(together=1),
        "at once": Setup(together=4),
    }
    results: dict[str, Any] = {}
    for name, setup in variants.items():
        model, losses = fit(seed, setup)
        generator = torch.Generator().manual_seed(60_000 + seed)
        test = replace(setup, batch=setup.tested)
        shown, direction = _draw(test, generator)
        results[name] = {
            "right": share(guesses(model, shown), direction),
            "tokens": setup.tokens,
            "first": losses[:20],
        }
        if name == "4":
            back, mixed = (guesses(model, s) for s in (shown.flip(1), shuffle(shown, generator)))
            results[name] |= {
                "backwards": share(back, direction),
                "opposite": share(back, (direction + 2) % 4),
                "mixed": share(mixed, direction),
            }
    return results


def share(guessed: Directions, direction: Directions) -> float:
    """How many are right."""
    return (guessed == direction).double().mean().item()
