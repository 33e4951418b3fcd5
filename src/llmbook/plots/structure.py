"""How models are built, as boxes and arrows: the block, a head, the families, CLIP's towers.

One drawing a structure; the same returns on each page with the part lit that the page explains.
Each part is a link to its page. A name such as `book:models/bert.md` is a page of the book, for
which the plugin of weave puts in the address.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from llmbook.plots.palette import LIGHT
from llmbook.plots.style import BookFigure, M, Real, cover, style

PAGES = {
    "embedding": "evolution/word-embeddings.md",
    "positions": "transformer/positions.md",
    "attention": "transformer/self-attention.md",
    "norm": "transformer/feed-forward.md",
    "feed-forward": "transformer/feed-forward.md",
    "residual": "transformer/block.md",
    **dict.fromkeys(
        ("query", "key", "value", "scores", "mask", "softmax", "average"),
        "transformer/self-attention.md",
    ),
    "output": "transformer/multi-head.md",
    "logits": "transformer/real-model.md",
    "encoder": "models/bert.md",
    "decoder": "models/gpt.md",
    "encoder-decoder": "models/t5.md",
    "contrast": "evolution/multimodal.md",
}


@dataclass(frozen=True)
class Box:
    """A part of a structure.

    Attributes:
        part: What `lit` calls it, and what its page is found by; empty for what has neither.
        text: Inside of it.
        x: Its centre, in hundredths of the figure's width.
        y: Its centre, in pixels from the top.
        width: In hundredths.
        height: In pixels.
        colour: Of its edge: a name of the palette; a box without is text alone.
    """

    part: str
    text: str
    x: Real
    y: Real
    width: Real = 34
    height: Real = 30
    colour: str = "control"


Arrow = tuple[Real, Real, Real, Real]  # from x, y to x, y
Note = tuple[Real, Real, str]  # at x, y


def structure(
    boxes: Sequence[Box],
    arrows: Sequence[Arrow],
    notes: Sequence[Note] = (),
    *,
    lit: str | None = None,
    height: int = 400,
) -> BookFigure:
    """Draw boxes, arrows and notes; the parts that are lit have a thick edge and bold words.

    Args:
        boxes: The parts.
        arrows: Each from a point to a point, in the units of boxes.
        notes: Small texts, such as shapes, to the right of a point.
        lit: The part to light.
        height: Of the figure, in pixels, at any width.

    Raises:
        ValueError: If no box is the part to light.

    Examples:
        >>> figure = structure([Box("norm", "norm", 50, 20)], [], lit="norm", height=40)
        >>> figure.axes[0].texts[0].get_url()
        'book:transformer/feed-forward.md'
    """
    if lit is not None and lit not in {box.part for box in boxes}:
        known = sorted({box.part for box in boxes if box.part})
        raise ValueError(f"no part of this structure is called {lit!r}; there are {known}")
    with style(layout=False):
        figure = BookFigure(M, height, narrow_height=height)
        axes = cover(figure)
        axes.set(xlim=(0, 100), ylim=(height, 0))
        for x0, y0, x1, y1 in arrows:
            _arrow(axes, x0, y0, x1, y1)
        for box in boxes:
            _box(axes, box, lit is not None and box.part == lit)
        for x, y, text in notes:
            axes.text(x, y, text, ha="left", va="center", size=12, color=LIGHT["ink-2"])
    return figure


def _arrow(axes: Axes, x0: Real, y0: Real, x1: Real, y1: Real) -> None:
    look = {"arrowstyle": "-|>", "color": LIGHT["ink-2"], "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x1, y1), (x0, y0), arrowprops=look)


def _box(axes: Axes, box: Box, lit: bool) -> None:
    page = PAGES.get(box.part)
    url = f"book:{page}" if page else None
    if box.colour:
        edge = LIGHT["rubric"] if lit else LIGHT[box.colour]
        corner = (box.x - box.width / 2, box.y - box.height / 2)
        shape = Rectangle(
            corner, box.width, box.height,
            facecolor=LIGHT["raised"], edgecolor=edge, linewidth=3 if lit else 1.2,
        )  # fmt: skip
        axes.add_patch(shape)
    weight = "semibold" if lit else "normal"
    words = axes.text(
        box.x, box.y, box.text, ha="center", va="center", weight=weight, color=LIGHT["ink"]
    )
    words.set_url(url)


def block_structure(lit: str | None = None) -> BookFigure:
    """A decoder of today from tokens to logits: the residual stream, and what each part adds to it.

    Args:
        lit: "embedding", "positions", "norm", "attention", "feed-forward", "residual" or "logits".

    Returns:
        A figure, to be read from the bottom; *n* tokens, vectors of *d* numbers, *V* words.

    Examples:
        >>> len(block_structure("attention").axes[0].patches) > 8
        True
    """
    stream, branch = 22.0, 66.0
    boxes = [
        Box("logits", "logits", stream, 20),
        Box("norm", "norm", stream, 68),
        Box("residual", "+", stream, 126, 8, 26),
        Box("feed-forward", "feed-forward", branch, 126),
        Box("norm", "norm", branch, 186, 20),
        Box("residual", "+", stream, 246, 8, 26),
        Box("attention", "attention", branch, 246),
        Box("norm", "norm", branch, 306, 20),
        Box("embedding", "embedding", stream, 376),
        Box("positions", "positions", branch, 376),
        Box("", "tokens", stream, 424, colour=""),
    ]
    arrows = [
        (stream, 414, stream, 392),
        (stream, 361, stream, 260),
        (stream, 334, branch, 334),
        (branch, 334, branch, 322),
        (branch, 291, branch, 262),
        (branch - 17, 246, stream + 4.5, 246),
        (branch + 13.5, 361, branch + 13.5, 262),
        (stream, 233, stream, 140),
        (stream, 214, branch, 214),
        (branch, 214, branch, 202),
        (branch, 171, branch, 142),
        (branch - 17, 126, stream + 4.5, 126),
        (stream, 113, stream, 84),
        (stream, 53, stream, 36),
    ]
    notes = [
        (stream + 2, 44, "n × d"),
        (stream + 18, 20, "n × V"),
        (stream + 2, 96, "n × d"),
        (stream + 2, 160, "n × d"),
        (stream + 2, 280, "n × d"),
        (stream + 18, 424, "n numbers"),
        (branch + 19, 126, "per token"),
        (branch + 19, 238, "between"),
        (branch + 19, 256, "tokens"),
    ]
    return structure(boxes, arrows, notes, lit=lit, height=440)


def head_structure(lit: str | None = None) -> BookFigure:
    """One head of attention: queries, keys and values from the same vectors, and their way.

    Args:
        lit: "query", "key", "value", "scores", "mask", "softmax", "average" or "output".

    Returns:
        A figure, to be read from the bottom; *n* tokens, vectors of *d* numbers, in a head of
        $d_k$.

    Examples:
        >>> [text.get_text() for text in head_structure().axes[0].texts][-1]
        'n × d'
    """
    q, k, v = 18.0, 50.0, 82.0
    boxes = [
        Box("output", "· W_O", v, 24, 30),
        Box("average", "weights · V", v, 88, 30),
        Box("softmax", "softmax", (q + k) / 2, 88, 30),
        Box("mask", "mask", (q + k) / 2, 146, 30),
        Box("scores", "Q · K, scaled", (q + k) / 2, 204, 38),
        Box("query", "x · W_Q", q, 282, 26, colour="blue"),
        Box("key", "x · W_K", k, 282, 26, colour="amber"),
        Box("value", "x · W_V", v, 282, 26, colour="teal"),
        Box("", "x, one vector a token", k, 352, 60),
    ]
    middle = (q + k) / 2
    arrows = [
        (v, 73, v, 41),
        (middle + 15, 88, v - 15.5, 88),
        (middle, 131, middle, 105),
        (middle, 189, middle, 163),
        (q, 267, middle - 8, 221),
        (k, 267, middle + 8, 221),
        (v, 267, v, 105),
        (k - 22, 337, q, 299),
        (k, 337, k, 299),
        (k + 22, 337, v, 299),
    ]
    notes = [
        (q - 8, 244, "Q"),
        (k + 2, 244, "K"),
        (v + 2, 244, "V, n × d_k"),
        (middle + 2, 118, "n × n"),
        (middle + 2, 176, "n × n"),
        (v + 2, 58, "n × d_k"),
        (k + 32, 352, "n × d"),
    ]
    return structure(boxes, arrows, notes, lit=lit, height=374)


def families_structure(lit: str | None = None) -> BookFigure:
    """Encoder, decoder, and both: what each reads, and what it gives.

    Args:
        lit: "encoder", "decoder" or "encoder-decoder".

    Returns:
        A figure of three columns, each to be read from the bottom.

    Examples:
        >>> texts = families_structure("decoder").axes[0].texts
        >>> bold = [text for text in texts if text.get_weight() == "semibold"]
        >>> bold[0].get_text()
        'decoder'
    """
    one, two, left, right = 15.0, 43.0, 70.0, 89.0
    boxes = [
        Box("encoder", "encoder", one, 30, colour=""),
        Box("", "a vector for\neach token", one, 78, 26, 40),
        Box("encoder", "blocks,\nall seen", one, 158, 26, 56),
        Box("", "all tokens", one, 240, 26),
        Box("decoder", "decoder", two, 30, colour=""),
        Box("", "the next\ntoken", two, 78, 24, 40),
        Box("decoder", "blocks,\npast seen", two, 158, 24, 56),
        Box("", "tokens so far", two, 240, 24),
        Box("encoder-decoder", "encoder-decoder", (left + right) / 2, 30, colour=""),
        Box("", "the next\ntoken", right, 78, 18, 40),
        Box("encoder-decoder", "all\nseen", left, 158, 15, 56),
        Box("encoder-decoder", "past\nseen", right, 158, 18, 56),
        Box("", "source", left, 240, 15),
        Box("", "so far", right, 240, 18),
    ]
    arrows = [
        *((x, 224, x, 188) for x in (one, two, left, right)),
        *((x, 129, x, 100) for x in (one, two, right)),
        (left + 7.5, 158, right - 9.5, 158),
    ]
    return structure(boxes, arrows, lit=lit, height=266)


def towers_structure(lit: str | None = None) -> BookFigure:
    """CLIP: a picture and a text, each through a tower of its own, into one space.

    Args:
        lit: "contrast", the comparison of all pairs in a batch.

    Returns:
        A figure, to be read from the bottom.

    Examples:
        >>> len(towers_structure().axes[0].patches)
        7
    """
    a, b = 25.0, 75.0
    boxes = [
        Box("contrast", "every picture with every text", 50, 24, 70),
        Box("", "vector of length 1", a, 90, 42),
        Box("", "vector of length 1", b, 90, 42),
        Box("", "image encoder", a, 152, 42),
        Box("", "text encoder", b, 152, 42),
        Box("", "N pictures", a, 214, 42),
        Box("", "their N captions", b, 214, 42),
    ]
    arrows = [(x, y - 15, x, y - 46) for x in (a, b) for y in (214, 152)]
    arrows += [(x, 75, 50 + side * 12, 41) for x, side in ((a, -1), (b, 1))]
    notes = [(46.5, 62, "N × N")]
    return structure(boxes, arrows, notes, lit=lit, height=236)
