"""The look of the book's figures: sizes, fonts, lines, and an empty figure to draw in.

Sizes are in CSS pixels: S is 324 wide and never scaled, M fills the text column, L the page.
Nothing here touches pyplot's global state, so a figure is a value like any other.
"""

from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmbook.plots.palette import LIGHT

S, M, L = 324, 620, 930
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
    "axes.titleweight": 600,
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


def style() -> AbstractContextManager[None]:
    """The book's look, for a `with` block in which axes are made and labelled."""
    return mpl.rc_context(STYLE)


def new_figure(
    width: int = M, height: int = 300, narrow_height: int | None = None
) -> tuple[Figure, Axes]:
    """A figure of the book with one pair of axes. Call it inside `style()`.

    Args:
        width: Pixels; `S`, `M` or `L`.
        height: Pixels.
        narrow_height: Pixels at phone width, where it should differ.

    Returns:
        The figure and its axes.
    """
    figure = Figure(figsize=(width / 72, height / 72))
    figure.narrow_height = narrow_height or height  # type: ignore[attr-defined]
    return figure, figure.add_subplot()
