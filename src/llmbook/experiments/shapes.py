"""Pictures of two coloured shapes with a caption that says all of it, and a judge who reads them.

*A red circle left of a blue square* is five words that count: two things, each of one of 16 pairs
of a colour and a shape, and how they stand. Pairs can be withheld from training, to see whether a
model draws or reads what it has only met in parts.
"""

from collections.abc import Collection
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.sizes import whole
from llmbook.training import Recipe, evaluating, train

COLOURS = ("red", "green", "blue", "yellow")
SHAPES = ("circle", "square", "triangle", "cross")
RELATIONS = ("left of", "above", "right of", "below")
WORDS = COLOURS + SHAPES + RELATIONS
"""All words that count; a token id is a place in this list."""
KINDS = ("colour", "shape", "relation", "colour", "shape")
"""What each of the five tokens of a caption says."""
LENGTH = len(KINDS)
SIZE = 24
"""Pixels of a side."""
PAIRS = len(COLOURS) * len(SHAPES)

Captions = Int[Tensor, "n 5"]
Images = Float[Tensor, "n 3 24 24"]

_FIRST = {"colour": 0, "shape": len(COLOURS), "relation": len(COLOURS) + len(SHAPES)}
_RGB = ((0.9, 0.1, 0.1), (0.1, 0.65, 0.2), (0.15, 0.25, 0.9), (0.95, 0.8, 0.1))
_RADIUS = 5
_LEFT, _MIDDLE, _RIGHT = 5, 11, 17  # of the centre, which is half a pixel further on


def caption(token_ids: Int[Tensor, "5"]) -> str:
    """A caption in words.

    Examples:
        >>> caption(torch.tensor([0, 4, 8, 2, 5]))
        'a red circle left of a blue square'
    """
    _check(token_ids[None])
    a, b, relation, c, d = (WORDS[i] for i in token_ids.tolist())
    return f"a {a} {b} {relation} a {c} {d}"


def tokens(text: str) -> Int[Tensor, "5"]:
    """A caption in token ids.

    Raises:
        ValueError: If it does not have the form of `caption`.

    Examples:
        >>> tokens("a red circle left of a blue square")
        tensor([0, 4, 8, 2, 5])
    """
    for relation in RELATIONS:
        parts = text.split(f" {relation} ")
        things = [part.removeprefix("a ").split(" ") for part in parts]
        if len(parts) == 2 and all(
            part.startswith("a ") and len(t) == 2 and t[0] in COLOURS and t[1] in SHAPES
            for part, t in zip(parts, things, strict=True)
        ):
            return torch.tensor([WORDS.index(w) for w in (*things[0], relation, *things[1])])
    raise ValueError(f"text must be like 'a red circle left of a blue square', got {text!r}")


def swap(token_ids: Captions) -> Captions:
    """Exchange the two things of each caption, which then says something else.

    Examples:
        >>> caption(swap(tokens("a red circle left of a blue square")[None])[0])
        'a blue square left of a red circle'
    """
    _check(token_ids)
    return token_ids[:, [3, 4, 2, 0, 1]]


def canonical(token_ids: Captions) -> Captions:
    """Say the same with the thing first that is on the left or above.

    Examples:
        >>> caption(canonical(tokens("a red circle below a blue square")[None])[0])
        'a blue square above a red circle'
    """
    _check(token_ids)
    relation = token_ids[:, 2:3] - _FIRST["relation"]
    turned = swap(token_ids)
    turned[:, 2:3] = relation % 2 + _FIRST["relation"]
    return torch.where(relation >= 2, turned, token_ids)


def withheld_pairs(count: int, generator: torch.Generator | None = None) -> tuple[int, ...]:
    """Choose pairs of a colour and a shape, evenly: no colour and no shape much more than another.

    Args:
        count: From 0 to 12; with 12, each colour has one shape left and each shape one colour.
        generator: Draws which; without one it is always the same.

    Returns:
        Numbers of pairs, 4 × colour + shape, in rising order.

    Raises:
        ValueError: If `count` is out of range.

    Examples:
        >>> withheld_pairs(4)
        (0, 5, 10, 15)
    """
    count = whole("count", count)
    most = PAIRS - len(SHAPES)
    if not 0 <= count <= most:
        raise ValueError(f"count must be from 0 to {most}, got {count}")
    orders = (
        torch.arange(4) if generator is None else torch.randperm(4, generator=generator)
        for _ in range(2)
    )
    colours, shapes = (order.tolist() for order in orders)
    chosen = ((colours[k % 4], shapes[(k + k // 4) % 4]) for k in range(count))
    return tuple(sorted(4 * colour + shape for colour, shape in chosen))


def has_pair(token_ids: Captions, pairs: Collection[int]) -> Bool[Tensor, " n"]:
    """Which captions name at least one of some pairs.

    Examples:
        >>> has_pair(tokens("a red circle left of a blue square")[None], {0})
        tensor([True])
    """
    _check(token_ids)
    things = token_ids[:, [[0, 1], [3, 4]]]
    numbers = 4 * things[..., 0] + things[..., 1] - _FIRST["shape"]
    return torch.isin(numbers, torch.tensor(sorted(pairs), dtype=numbers.dtype)).any(1)


def is_held_out(token_ids: Captions) -> Bool[Tensor, " n"]:
    """Which captions describe one of the scenes that are kept for tests: a fifth of all, by lot.

    Each of their two things is met elsewhere, though not the two of them so.

    Examples:
        >>> every = captions(10_000, torch.Generator().manual_seed(0))
        >>> round(is_held_out(every).double().mean().item(), 1)
        0.2
    """
    a, b, relation, c, d = canonical(token_ids).long().unbind(1)
    numbers = torch.stack((a, b - 4, relation - 8, c, d - 4)).T @ torch.tensor([128, 32, 16, 4, 1])
    order = torch.randperm(2 * PAIRS**2, generator=torch.Generator().manual_seed(0))
    return order[numbers] < 2 * PAIRS**2 // 5


@cache
def _all_captions() -> Captions:
    """Every caption, its two things being different."""
    pair = torch.arange(PAIRS)
    grid = torch.cartesian_prod(pair, torch.arange(len(RELATIONS)), pair)
    a, relation, b = grid[grid[:, 0] != grid[:, 2]].T
    first, second = _FIRST["shape"], _FIRST["relation"]
    return torch.stack((a // 4, a % 4 + first, relation + second, b // 4, b % 4 + first), 1)


def captions(
    n: int,
    generator: torch.Generator,
    *,
    withheld: Collection[int] = (),
    only: Collection[int] | None = None,
    held_out: bool | None = None,
) -> Captions:
    """Draw captions whose two things differ, each as likely as any other.

    Args:
        n: How many.
        generator: Where the randomness comes from.
        withheld: Pairs that none of them names.
        only: Pairs of which each of them names at least one; without it, any will do.
        held_out: Take those alone of which `is_held_out` says so, or, if it is false, the others.

    Returns:
        Token ids.

    Raises:
        ValueError: If `n` is negative, a pair is none of the 16, or no caption is left.

    Examples:
        >>> g = torch.Generator().manual_seed(0)
        >>> has_pair(captions(100, g, withheld=(0, 5)), (0, 5)).any()
        tensor(False)
        >>> has_pair(captions(100, g, only=(0, 5)), (0, 5)).all()
        tensor(True)
    """
    n = whole("n", n)
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    for name, pairs in (("withheld", withheld), ("only", only or ())):
        if any(not 0 <= whole(name, pair) < PAIRS for pair in pairs):
            raise ValueError(f"{name} must hold numbers from 0 to {PAIRS - 1}, got {pairs!r}")
    every = _all_captions()
    kept = ~has_pair(every, withheld)
    if only is not None:
        kept &= has_pair(every, only)
    if held_out is not None:
        kept &= is_held_out(every) == held_out
    if not kept.any():
        raise ValueError(f"no caption is left with withheld={withheld!r} and only={only!r}")
    left = every[kept]
    return left[torch.randint(len(left), (n,), generator=generator)]


@cache
def _stamps() -> Float[Tensor, "4 shifts shifts"]:
    """How much of a pixel each shape covers, by how far the pixel is from its centre."""
    offset = torch.arange(-SIZE, SIZE) + 0.5
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    r = float(_RADIUS)
    bar = 0.36 * r
    distances = (  # from the edge, negative inside
        x.hypot(y) - r,
        torch.maximum(x.abs(), y.abs()) - 0.9 * r,
        torch.maximum(y - 0.9 * r, (1.9 * x.abs() - y - r) / 4.61**0.5),
        torch.minimum(
            torch.maximum(x.abs() - r, y.abs() - bar), torch.maximum(x.abs() - bar, y.abs() - r)
        ),
    )
    return torch.stack([(0.5 - distance).clamp(0, 1) for distance in distances])


def draw(token_ids: Captions, generator: torch.Generator | None = None) -> Images:
    """Draw what captions say, on white.

    Args:
        token_ids: The captions.
        generator: Moves each thing by -1, 0 or 1 pixel in both directions; without one, all stand
            in the middle of their halves.

    Returns:
        Red, green and blue from 0 to 1, float32.

    Raises:
        ValueError: If the token ids are no captions.

    Examples:
        >>> picture = draw(tokens("a red circle left of a blue square")[None])
        >>> picture.shape, picture[0, :, 12, 5]
        (torch.Size([1, 3, 24, 24]), tensor([0.9000, 0.1000, 0.1000]))
    """
    first, second, relation = _places(token_ids)
    n = len(token_ids)
    places = torch.tensor(
        [  # (y, x) of the first and of the second thing, by relation
            [[_MIDDLE, _LEFT], [_MIDDLE, _RIGHT]],
            [[_LEFT, _MIDDLE], [_RIGHT, _MIDDLE]],
            [[_MIDDLE, _RIGHT], [_MIDDLE, _LEFT]],
            [[_RIGHT, _MIDDLE], [_LEFT, _MIDDLE]],
        ]
    )[relation]
    if generator is not None:
        places = places + torch.randint(-1, 2, (n, 2, 2), generator=generator)
    stamps, pixels = _stamps(), torch.arange(SIZE)
    images = torch.ones(n, 3, SIZE, SIZE)
    for thing, (colour, shape) in enumerate((first, second)):
        y, x = (SIZE - 1 + pixels - places[:, thing, axis, None] for axis in (0, 1))
        cover = stamps[shape[:, None, None], y[:, :, None], x[:, None, :]][:, None]
        images = torch.lerp(images, torch.tensor(_RGB)[colour][:, :, None, None], cover)
    return images


def sample(
    n: int,
    generator: torch.Generator,
    withheld: Collection[int] = (),
    *,
    held_out: bool | None = None,
) -> tuple[Captions, Images]:
    """Draw captions, and a picture of each.

    Args:
        n: How many.
        generator: Where the randomness comes from.
        withheld: Pairs of a colour and a shape that come in none of them.
        held_out: As in `captions`.

    Returns:
        Token ids and pictures.

    Examples:
        >>> token_ids, images = sample(3, torch.Generator().manual_seed(0))
        >>> token_ids.shape, images.shape
        (torch.Size([3, 5]), torch.Size([3, 3, 24, 24]))
    """
    token_ids = captions(n, generator, withheld=withheld, held_out=held_out)
    return token_ids, draw(token_ids, generator)


class Judge(nn.Module):
    """A small convolutional network that reads a picture, left or upper thing first.

    Examples:
        >>> [logits.shape[1] for logits in Judge()(torch.ones(1, 3, 24, 24))]
        [4, 4, 2, 4, 4]
    """

    CHOICES = (4, 4, 2, 4, 4)  # in canonical order, only "left of" and "above" remain

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 128)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.out = nn.Linear(widths[-1] * (SIZE // 8) ** 2, sum(self.CHOICES))

    def forward(self, images: Images) -> tuple[Float[Tensor, "n choices"], ...]:
        """Give logits for each of the five words, among those of its kind."""
        x: Tensor = images
        for layer in self.layers:
            x = F.relu(layer(x))
        words: tuple[Tensor, ...] = self.out(x.flatten(1)).split(self.CHOICES, 1)
        return words


def judge_loss(judge: nn.Module, batch: tuple[Captions, Images]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the five words of each caption, in canonical order."""
    token_ids, images = batch
    found, firsts = canonical(token_ids), torch.tensor([_FIRST[kind] for kind in KINDS])
    targets = (found - firsts).unbind(1)
    losses = [F.cross_entropy(x, y) for x, y in zip(judge(images), targets, strict=True)]
    return torch.stack(losses).mean()


def train_judge(seed: int, steps: int = 500) -> Judge:
    """Train a judge on real pictures of all pairs, and on nothing else."""
    torch.manual_seed(seed)
    judge = Judge()
    generator = torch.Generator().manual_seed(10_000 + seed)
    recipe = Recipe(steps=steps, lr=3e-3, warmup=min(20, steps), decay="cosine")
    train(judge, lambda g: sample(64, g), recipe, generator=generator, loss=judge_loss)
    return judge.eval()


@torch.no_grad()
def read(judge: nn.Module, images: Images) -> Captions:
    """The caption that a judge takes for the likeliest, word by word, in canonical order."""
    with evaluating(judge):
        words = [logits.argmax(1) for logits in judge(images)]
    return torch.stack(words, 1) + torch.tensor([_FIRST[kind] for kind in KINDS])


def parts_right(read_ids: Captions, token_ids: Captions) -> dict[str, Any]:
    """Compare what was read with what was asked for.

    Args:
        read_ids: Captions as the judge reads them.
        token_ids: The captions that were to be drawn, in any order of their things.

    Returns:
        Shares: of captions of which "all" is right, and of right words of each kind: "colour",
        "shape" and "relation".

    Raises:
        ValueError: If there are none, or not as many of one as of the other.

    Examples:
        >>> asked = tokens("a red circle right of a blue square")[None]
        >>> drawn = tokens("a blue square left of a green circle")[None]
        >>> parts_right(drawn, asked)
        {'all': 0.0, 'colour': 0.5, 'shape': 1.0, 'relation': 1.0}
    """
    if not len(token_ids) or len(read_ids) != len(token_ids):
        raise ValueError(
            "read_ids and token_ids must have the same number of rows, at least one, "
            f"got {len(read_ids)} and {len(token_ids)}"
        )
    right = canonical(read_ids) == canonical(token_ids)
    shares = {"all": right.all(1).double().mean().item()}
    for kind in ("colour", "shape", "relation"):
        columns = [i for i, name in enumerate(KINDS) if name == kind]
        shares[kind] = right[:, columns].double().mean().item()
    return shares


def _check(token_ids: Tensor) -> None:
    """Refuse what is no captions."""
    if token_ids.ndim != 2 or token_ids.shape[1] != LENGTH:
        raise ValueError(f"token_ids must be of shape (n, {LENGTH}), got {tuple(token_ids.shape)}")
    if token_ids.is_floating_point() or token_ids.is_complex() or token_ids.dtype == torch.bool:
        raise ValueError(f"token_ids must be integers, got {token_ids.dtype}")
    for column, kind in enumerate(KINDS):
        first, found = _FIRST[kind], token_ids[:, column]
        wrong = found[(found < first) | (found > first + 3)]
        if len(wrong):
            raise ValueError(
                f"token_ids must have a {kind}, from {first} to {first + 3}, in column {column}, "
                f"got {wrong[0].item()}"
            )


def _places(
    token_ids: Captions,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor], Int[Tensor, " n"]]:
    """Each thing's colour and shape, and the relation, counted from 0."""
    _check(token_ids)
    a, b, relation, c, d = (
        column.long() - _FIRST[kind]
        for column, kind in zip(token_ids.unbind(1), KINDS, strict=True)
    )
    return (a, b), (c, d), relation
