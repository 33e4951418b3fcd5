"""The look of the book's figures: sizes, fonts, lines, and an empty figure to draw in.

Sizes are in CSS pixels: S is 324 wide and never scaled, M fills the text column, L the page.
Nothing here touches pyplot's global state, so a figure is a value like any other.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmbook.plots.palette import LIGHT

S, M, L = 324, 620, 930
Real = float | int
STYLE: Any = {
    "figure.dpi": 72,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "font.family": "Source Sans 3",
    "font.size": 12.5,
    "text.color": LIGHT["ink"],
    "axes.facecolor": "none",
    "axes.edgecolor": LIGHT["ink-2"],
    "axes.labelcolor": LIGHT["ink-2"],
    "axes.labelsize": 12.5,
    "axes.linewidth": 1,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "axes.titleweight": "semibold",
    "axes.titlepad": 12,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 1,
    "xtick.color": LIGHT["ink-2"],
    "ytick.color": LIGHT["ink-2"],
    "xtick.labelsize": 12.5,
    "ytick.labelsize": 12.5,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
    "patch.linewidth": 0,
}

for _font in files("llmbook").joinpath("fonts").iterdir():
    font_manager.fontManager.addfont(str(_font))


class BookFigure(Figure):
    """A figure of the book: a drawing, and what a page needs to know of it.

    Args:
        width: Pixels.
        height: Pixels.
        narrow_height: Pixels at phone width; the same height when left out.
        table: What the figure shows, for those who cannot see it: rows of texts, the title and the
            names of the columns first.

    Attributes:
        classes: The CSS classes of the parts of the drawing that have any, by their `gid`.
    """

    def __init__(
        self,
        width: float | int,
        height: float | int,
        *,
        narrow_height: float | int | None = None,
        table: Sequence[Sequence[str]] | None = None,
    ) -> None:
        super().__init__(figsize=(width / 72, height / 72))
        self.narrow_height = height if narrow_height is None else narrow_height
        self.table = table
        self.classes: dict[str, str] = {}

    def add_classes(self, artist: Artist, *names: str) -> None:
        """Give a part of the drawing CSS classes, by which the book's style sheet can point at it.

        Examples:
            >>> figure = BookFigure(324, 100)
            >>> figure.add_classes(figure.text(0.5, 0.5, "it"), "word", "word-1")
            >>> figure.classes
            {'part-0': 'word word-1'}
        """
        gid = f"part-{len(self.classes)}"
        artist.set_gid(gid)
        self.classes[gid] = " ".join(names)


def style(*, layout: bool = True) -> AbstractContextManager[None]:
    """The book's look, for a `with` block in which axes are made and labelled.

    Args:
        layout: Make room for the labels of axes; without, axes stay where they are put.
    """
    return mpl.rc_context({**STYLE, "figure.constrained_layout.use": layout})


def new_figure(
    width: int = M, height: int = 300, narrow_height: int | None = None
) -> tuple[BookFigure, Axes]:
    """A figure of the book with one pair of axes. Call it inside `style()`.

    Args:
        width: Pixels; `S`, `M` or `L`.
        height: Pixels.
        narrow_height: Pixels at phone width, where it should differ.

    Returns:
        The figure and its axes.
    """
    figure = BookFigure(width, height, narrow_height=narrow_height)
    return figure, figure.add_subplot()


def cover(figure: BookFigure) -> Axes:
    """Axes that fill a figure and are not seen: to draw what is no chart.

    Call it inside `style(layout=False)`.
    """
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return axes


def plain_number(value: float | int) -> str:
    """A number as one reads it aloud: `0.01`, `300`, `4k`, `7M`, `175B`, `1.8T`.

    Examples:
        >>> [plain_number(n) for n in (0.01, 300, 4096, 7e6, 1.75e11, 1.8e12)]
        ['0.01', '300', '4.1k', '7M', '175B', '1.8T']
    """
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            scaled = value / unit
            return f"{scaled:.3g}{name}" if scaled >= 100 else f"{round(scaled, 1):g}{name}"
    return f"{value:g}"
