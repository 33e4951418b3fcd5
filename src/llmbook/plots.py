"""Every figure of the book: functions that take values and return a matplotlib figure.

Sizes are in CSS pixels: S is 324 wide and never scaled, M fills the text column, L the page.
Nothing here touches pyplot's global state, so a figure is a value like any other.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from llmbook.palette import LIGHT, SERIES

S, M, L = 324, 620, 930
Numbers = Sequence[float | int] | np.ndarray
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


def heatmap(
    weights: Float[np.ndarray, "query key"],
    queries: Sequence[str],
    keys: Sequence[str] | None = None,
    *,
    mask: Bool[np.ndarray, "query key"] | None = None,
    title: str = "",
    axes: tuple[str, str] = ("query: looking", "key: looked at"),
) -> Figure:
    """Weights as a table of tinted cells that reads as a sentence: row looks at column.

    Up to 8 x 8 every cell carries its number, up to 16 x 16 only each row's largest, above that
    none. A pair that the mask forbids is a dot and not a cell, because forbidden is not zero.

    Args:
        weights: Numbers from 0 to 1.
        queries: A word for each row.
        keys: A word for each column; the queries again when left out.
        mask: `True` where the pair is allowed.
        title: What the figure shows.
        axes: Names of the vertical and of the horizontal axis.

    Returns:
        A figure of natural size: 324 px wide up to 8 columns.

    Raises:
        ValueError: If the words do not fit the weights, or a weight is not in [0, 1].

    Examples:
        >>> figure = heatmap(np.eye(2), ["The", "cat"], title="Each word sees itself")
        >>> [text.get_text() for text in figure.axes[0].texts][:2]
        ['1', '0']
    """
    keys = queries if keys is None else keys
    if weights.shape != (len(queries), len(keys)):
        raise ValueError(
            f"weights have shape {weights.shape}, words name {len(queries)} rows and "
            f"{len(keys)} columns"
        )
    if not ((weights >= 0) & (weights <= 1 + 1e-9)).all():
        raise ValueError("weights must lie between 0 and 1")
    allowed = np.ones(weights.shape, dtype=bool) if mask is None else mask
    rows, columns = weights.shape
    side = min(36.0, (S - 66) / columns) if columns <= 8 else 26.0
    left, top = 66.0, 70.0 if title else 44.0
    width, height = max(S, left + side * columns), top + side * rows + 6
    with mpl.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(width / 72, height / 72))
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(-left, width - left), ylim=(height - top, -top))
        ax.set_axis_off()
        for row, column in np.ndindex(rows, columns):
            x, y = column * side, row * side
            weight = float(weights[row, column])
            if not allowed[row, column]:
                ax.text(x + side / 2, y + side / 2, "·", ha="center", va="center", weight=600)
                continue
            step = min(10, int(weight * 11))
            face = LIGHT[f"seq-{step}"]
            ax.add_patch(
                Rectangle(
                    (x + side * 0.03, y + side * 0.03),
                    side * 0.94,
                    side * 0.94,
                    facecolor=face,
                    clip_on=False,
                )
            )
            largest = weights[row].argmax() == column
            if max(rows, columns) <= 8 or (max(rows, columns) <= 16 and largest):
                ax.text(
                    x + side / 2, y + side / 2 + 0.5, _two_decimals(weight), size=12,
                    ha="center", va="center", color=LIGHT[f"on-seq-{step}"],
                )  # fmt: skip
        for row, word in enumerate(queries):
            ax.text(-8, (row + 0.5) * side, word, ha="right", va="center")
        slant = 0 if columns <= 8 else 60
        for column, word in enumerate(keys):
            ax.text(
                (column + 0.5) * side,
                -7,
                word,
                ha="center" if not slant else "left",
                va="bottom",
                rotation=slant,
            )
        ax.text(
            columns * side / 2,
            -26,
            axes[1],
            ha="center",
            va="bottom",
            color=LIGHT["amber"],
            weight=600,
        )
        ax.text(
            8 - left,
            rows * side / 2,
            axes[0],
            ha="center",
            va="center",
            rotation=90,
            color=LIGHT["blue"],
            weight=600,
        )
        if title:
            ax.text(-left, -top + 4, title, size=13, weight=600, va="top")
    return figure


def _two_decimals(weight: float) -> str:
    """`.84`, with `1` from .995 and `0` below .005."""
    text = f"{weight:.2f}"
    return {"1.00": "1", "0.00": "0"}.get(text, text.removeprefix("0"))


def line_chart(
    series: Mapping[str, tuple[Numbers, Numbers]],
    *,
    title: str,
    x_label: str,
    log: str = "",
    reference: Mapping[str, tuple[Numbers, Numbers]] | None = None,
    height: int = 300,
    width: int = M,
    y_format: Callable[[float], str] | None = None,
) -> Figure:
    """Lines that carry their own names, in their own colours, at their right end.

    Args:
        series: For each name its x and y values; at most four in colour, the rest in slate.
        title: What the vertical axis shows.
        x_label: What the horizontal axis shows, with its unit.
        log: Which axes are logarithmic: `"x"`, `"y"` or `"xy"`.
        reference: Lines to compare with, dashed and grey.
        height: Pixels.
        width: Pixels.
        y_format: Writes a tick of the vertical axis.

    Returns:
        A figure as wide as the text column.

    Examples:
        >>> figure = line_chart({"double": ([1, 2], [2, 4])}, title="y", x_label="x")
        >>> figure.axes[0].get_title(loc="left")
        'y'
    """
    with style():
        figure, ax = new_figure(width, height, narrow_height=height - 20)
        for index, (name, (x, y)) in enumerate(series.items()):
            colour = LIGHT[SERIES[index]] if index < 4 else LIGHT["slate"]
            ax.plot(x, y, color=colour, marker="o", markersize=4, markeredgewidth=0)
            _label(ax, name, x[-1], y[-1], colour)
        for name, (x, y) in (reference or {}).items():
            ax.plot(x, y, color=LIGHT["ink-3"], linewidth=1, linestyle=(0, (3, 3)))
            _label(ax, name, x[-1], y[-1], LIGHT["ink-3"])
        if "x" in log:
            ax.set_xscale("log")
        if "y" in log:
            ax.set_yscale("log")
        for axis, scale in ((ax.xaxis, "x"), (ax.yaxis, "y")):
            axis.set_minor_locator(NullLocator())
            if scale in log:
                axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
        if y_format is not None:
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: y_format(value)))
        ax.tick_params(axis="y", length=0)
        ax.set_title(title)
        ax.set_xlabel(x_label)
    return figure


def _label(ax: Axes, name: str, x: float | int, y: float | int, colour: str) -> None:
    ax.annotate(
        name, (x, y), (6, 0), textcoords="offset points", va="center", color=colour, weight=600,
        annotation_clip=False,
    )  # fmt: skip


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
