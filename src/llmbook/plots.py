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
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from llmbook.palette import LIGHT, SERIES

S, M, L = 324, 620, 930
NAME_WIDTH, NAME_HEIGHT = 60, 19  # pixels that a line’s name takes, with its margin
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
    none. A pair that the mask forbids is a dot and not a cell, because forbidden is not zero. The
    page shows all numbers in a folded table too.

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
    slant = 0 if columns <= 8 else 60  # degrees: narrow columns have no room for lying words
    above = 26.0 if not slant else 14 + 5.6 * max(map(len, keys))
    left, top = max(66.0, 34 + 6.4 * max(map(len, queries))), above + (44.0 if title else 18.0)
    side = min(36.0, (S - left) / columns) if columns <= 8 else 26.0
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
            -above,
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
    numbers = np.where(allowed, np.char.mod("%.2f", weights), "masked").tolist()
    named = [[word, *row] for word, row in zip(queries, numbers, strict=True)]
    figure.table = [[title, *keys], *named]  # type: ignore[attr-defined]
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
        ends = {}
        for index, (name, (x, y)) in enumerate(series.items()):
            colour = LIGHT[SERIES[index]] if index < 4 else LIGHT["slate"]
            ax.plot(x, y, color=colour, marker="o", markersize=4, markeredgewidth=0)
            ends[name] = x[-1], y[-1], colour
        for name, (x, y) in (reference or {}).items():
            ax.plot(x, y, color=LIGHT["ink-3"], linewidth=1, linestyle=(0, (3, 3)))
            ends[name] = x[-1], y[-1], LIGHT["ink-3"]
        if "x" in log:
            ax.set_xscale("log")
        if "y" in log:
            ax.set_yscale("log")
        _label(ax, ends)
        for axis, scale in ((ax.xaxis, "x"), (ax.yaxis, "y")):
            axis.set_minor_locator(NullLocator())
            if scale in log:
                axis.set_major_formatter(FuncFormatter(lambda value, _: plain_number(value)))
        every_x = sorted({float(number) for x, _ in series.values() for number in x})
        if "x" not in log:
            if all(number.is_integer() for number in every_x):
                ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        elif every_x[-1] < 100 * every_x[0] and len(every_x) < 9:  # one power of ten at most
            ax.set_xticks(every_x)
        if y_format is not None:
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: y_format(value)))
        ax.tick_params(axis="y", length=0)
        ax.set_title(title)
        ax.set_xlabel(x_label)
    return figure


def _label(ax: Axes, ends: Mapping[str, tuple[float | int, float | int, str]]) -> None:
    """Each line's name at its end; names of lines that end side by side stand one above another."""
    ax.autoscale_view()
    heights: list[tuple[float, float]] = []  # where names stand already, lowest first
    places = {name: ax.transData.transform(end[:2]) for name, end in ends.items()}
    for name in sorted(ends, key=lambda name: places[name][1]):
        x, y, colour = ends[name]
        right, up = places[name]
        taken = [height for end, height in heights if abs(end - right) < NAME_WIDTH]
        height = max([up, *(height + NAME_HEIGHT for height in taken)])
        heights.append((right, height))
        ax.annotate(
            name, (x, y), (6, height - up), textcoords="offset points", va="center", color=colour,
            weight=600, annotation_clip=False,
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


def signed_image(
    values: Float[np.ndarray, "row column"],
    *,
    title: str,
    x_label: str,
    y_label: str,
    height: int = 300,
    width: int = M,
) -> Figure:
    """A large table of signed numbers as an image: blue below zero, amber above, equal limits.

    Args:
        values: Numbers of either sign; the first row is on top.
        title: What a cell shows.
        x_label: What the columns are.
        y_label: What the rows are; stands with the title, not along the axis.
        height: Pixels.
        width: Pixels.

    Returns:
        A figure whose cells are one embedded image, so that its size does not grow with them.

    Examples:
        >>> signed_image(np.eye(3) - 0.5, title="t", x_label="x", y_label="y").axes[0].get_xlabel()
        'x'
    """
    with style():
        figure, ax = new_figure(width, height)
        colours = ListedColormap([LIGHT[f"div-{step}"] for step in range(11)])
        limit = float(np.abs(values).max())
        ax.imshow(
            values, cmap=colours, vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest",
            interpolation_stage="data", resample=False,
        )  # fmt: skip
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
        ax.set_title(f"{title}; rows: {y_label}")
        ax.set_xlabel(x_label)
    return figure


Real = float | int
Point = tuple[Real, Real]
MARK = 7.0  # pixels: how wide a mark is
# Where a label may stand, best first: its offset from the mark in marks, and its alignment.
PLACES = (
    (1.0, 0.0, "left", "center"),
    (-1.0, 0.0, "right", "center"),
    (0.0, 0.9, "center", "bottom"),
    (0.0, -0.9, "center", "top"),
    (0.6, 0.6, "left", "bottom"),
    (0.6, -0.6, "left", "top"),
    (-0.6, 0.6, "right", "bottom"),
    (-0.6, -0.6, "right", "top"),
)


def bars(
    values: Mapping[str, Real],
    *,
    title: str,
    y_format: Callable[[float], str] = plain_number,
    highlight: Sequence[str] = (),
    width: int = M,
) -> Figure:
    """Horizontal bars from zero, in the given order, each with its number at its end.

    Args:
        values: A value that is not negative for each name.
        title: What the bars measure, with the unit.
        y_format: Writes the numbers.
        highlight: Names of bars in full colour; the others are slate. All, when left out.
        width: Pixels.

    Returns:
        A figure whose height grows with the number of bars.

    Raises:
        ValueError: If a value is negative, or a highlighted name is not there.

    Examples:
        >>> figure = bars({"BERT-Large": 335e6, "T5-11B": 11.3e9}, title="parameters")
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['335M', '11.3B']
    """
    if negative := [name for name, value in values.items() if value < 0]:
        raise ValueError(f"bars start at zero, got a negative value for {', '.join(negative)}")
    if missing := set(highlight) - set(values):
        raise ValueError(f"no bar is named {', '.join(sorted(missing))}")
    with style():
        figure, ax = new_figure(width, 62 + 34 * len(values))
        for row, (name, value) in enumerate(values.items()):
            chosen = not highlight or name in highlight
            ax.barh(row, value, height=0.62, color=LIGHT["blue" if chosen else "slate"])
            ax.annotate(
                y_format(value), (value, row), (6, 0), textcoords="offset points", va="center",
                weight=600, annotation_clip=False,
            )  # fmt: skip
        ax.set_yticks(range(len(values)), list(values))
        ax.set(ylim=(len(values) - 0.5, -0.5), xlim=(0, max(values.values(), default=1) or 1))
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_visible(False)
        ax.spines["bottom"].set_visible(False)
        ax.grid(visible=False)
        ax.set_title(title, x=0)
    return figure


def plane(
    points: Mapping[str, Point],
    arrows: Mapping[str, tuple[Point, Point]] | None = None,
    *,
    title: str,
    x_label: str,
    height: int = S,
    width: int = S,
) -> Figure:
    """Named points in two dimensions, and arrows that carry their names at their middle.

    Args:
        points: The coordinates of each point.
        arrows: Start and end of each arrow; up to four have colours of their own.
        title: What the vertical axis shows.
        x_label: What the horizontal axis shows.
        height: Pixels.
        width: Pixels.

    Returns:
        A figure with both axes to the same scale; names move aside where they would collide.

    Raises:
        ValueError: If there is no point.

    Examples:
        >>> words = {"man": (0.2, 1.0), "king": (1.0, 1.0)}
        >>> figure = plane(words, {"step": ((0.2, 1.0), (1.0, 1.0))}, title="male", x_label="royal")
        >>> figure.axes[0].get_xlabel()
        'royal'
    """
    if not points:
        raise ValueError("a plane needs at least one point")
    with style():
        figure, ax = new_figure(width, height, narrow_height=height)
        labels = []
        for index, (name, (start, end)) in enumerate((arrows or {}).items()):
            colour = LIGHT[SERIES[index]] if index < 4 else LIGHT["slate"]
            ax.annotate(
                "", end, start,
                arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2,
                            "shrinkA": 5, "shrinkB": 5, "mutation_scale": 14},
            )  # fmt: skip
            middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
            labels.append((name, *middle, colour))
        for name, (x, y) in points.items():
            ax.plot(x, y, marker="o", markersize=MARK, markeredgewidth=0, color=LIGHT["ink"])
            labels.append((name, x, y, LIGHT["ink"]))
        ax.margins(0.16)
        ax.set_aspect("equal", adjustable="datalim")
        ax.grid(visible=True, axis="both")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.add_artist(_Labels(ax, labels))
        ax.tick_params(length=0)
        ax.set_title(title)
        ax.set_xlabel(x_label)
    return figure


def timeline(
    sizes: Mapping[str, tuple[Real, Real | None, Real | None]],
    *,
    title: str,
    x_label: str = "year",
    height: int = 460,
    narrow_height: int = 560,
    width: int = M,
    y_format: Callable[[float], str] = plain_number,
) -> Figure:
    """Sizes over the years on a logarithmic axis, each mark with its name.

    What is whole is filled. Where only a part of it is at work, an open mark hangs below and
    carries the part's size. What nobody has published stands on a rail above the axis, since it
    has no place on it.

    Args:
        sizes: For each name its year (with its fraction), its whole size or `None` if that is
            undisclosed, and the size of the part at work or `None` if that is all of it.
        title: What the vertical axis shows.
        x_label: What the horizontal axis shows.
        height: Pixels.
        narrow_height: Pixels at phone width.
        width: Pixels.
        y_format: Writes the sizes.

    Returns:
        A figure in which names move aside where they would collide.

    Raises:
        ValueError: If no size is known, or one is not positive.

    Examples:
        >>> sizes = {"dense": (2020, 1e9, None), "experts": (2021, 8e9, 2e9)}
        >>> figure = timeline({**sizes, "secret": (2022, None, None)}, title="parameters")
        >>> [round(line.get_ydata()[0]) for line in figure.axes[0].lines][:3]
        [1000000000, 8000000000, 2000000000]
    """
    known = [size for _, *both in sizes.values() for size in both if size is not None]
    if not known or min(known) <= 0:
        raise ValueError("a timeline needs at least one size, and sizes above zero")
    rail = max(known) * 10**0.7
    with style():
        figure, ax = new_figure(width, height, narrow_height)
        labels = []
        blue, grey = LIGHT["blue"], LIGHT["ink-2"]
        for name, (date, whole, active) in sizes.items():
            if whole is None:
                labels.append((name, date, rail, grey))
                continue
            ax.plot(date, whole, marker="o", markersize=MARK, markeredgewidth=0, color=blue)
            labels.append((name, date, whole, LIGHT["ink"]))
            if active is not None and active != whole:
                ax.plot(date, active, marker="o", markersize=MARK - 1.5, markeredgewidth=1.5,
                        color=blue, markerfacecolor="none")  # fmt: skip
                ax.plot([date, date], [whole, active * 1.09], color=blue, linewidth=1)
                labels.append((y_format(active), date, active, blue))
        ax.set_yscale("log")
        if dates := [date for date, whole, _ in sizes.values() if whole is None]:
            ax.plot(dates, [rail] * len(dates), linestyle="none", marker="D", markersize=MARK - 1,
                    markeredgewidth=1.5, color=grey, markerfacecolor="none")  # fmt: skip
            ax.axhline(rail, color=LIGHT["ink-3"], linewidth=1, linestyle=(0, (3, 3)), zorder=0)
            ax.annotate("undisclosed", (0, rail), (4, 4), xycoords=ax.get_yaxis_transform(),
                        textcoords="offset points", color=grey)  # fmt: skip
        ax.set_ylim(min(known) / 10**0.3, rail * (10**0.3 if dates else 10**-0.4))
        ax.margins(x=0.05)
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(
            FuncFormatter(lambda value, _: y_format(value) if value < rail else "")
        )
        ax.tick_params(axis="y", length=0)
        ax.add_artist(_Labels(ax, labels))
        ax.set_title(title)
        ax.set_xlabel(x_label)
    return figure


class _Labels(Artist):
    """Names beside their marks, placed anew at each drawing, so that none hides another.

    Each name takes the first of `PLACES` where it covers neither a mark nor a name nor leaves
    the figure; where all are taken, the one with the least overlap.
    """

    def __init__(self, ax: Axes, labels: Sequence[tuple[str, Real, Real, str]]) -> None:
        super().__init__()
        self.ax = ax
        self.points = [(x, y) for _, x, y, _ in labels]
        ground = {"facecolor": LIGHT["page"], "edgecolor": "none", "pad": 0}
        self.texts = [
            Text(0, 0, name, color=colour, weight=600, bbox=ground) for name, *_, colour in labels
        ]
        self.set_in_layout(False)
        self.set_zorder(5)

    def draw(self, renderer: Any) -> None:
        """Place the names for the present size of the axes, and draw them."""
        for text in self.texts:
            text.set_figure(self.ax.figure)
        self.place(renderer)
        for text in self.texts:
            text.draw(renderer)

    def place(self, renderer: Any) -> list[Bbox]:
        """Move each name to its place; the boxes they then fill, in pixels."""
        marks = [(float(x), float(y)) for x, y in map(self.ax.transData.transform, self.points)]
        occupied = [Bbox.from_bounds(x - MARK / 2, y - MARK / 2, MARK, MARK) for x, y in marks]
        occupied += [t.get_window_extent(renderer) for t in self.ax.texts if t.get_text()]
        for line in self.ax.lines:
            ends = line.get_transform().transform(line.get_xydata())
            if line.get_linestyle() != "None" and len(ends) == 2:
                occupied.append(Bbox.from_extents(*ends.min(axis=0) - 1, *ends.max(axis=0) + 1))
        frame = self.ax.get_window_extent(renderer)
        frame = Bbox.from_extents(frame.x0, frame.y0, self.ax.figure.bbox.x1, frame.y1)
        boxes: list[Bbox] = [Bbox.null()] * len(marks)
        for _ in range(4):  # the first names were placed without knowing of the last
            for index, (text, mark) in enumerate(zip(self.texts, marks, strict=True)):
                others = occupied + boxes[:index] + boxes[index + 1 :]
                found: list[tuple[float, int, Bbox]] = []
                for rank, place in enumerate(PLACES):
                    _move(text, mark, place)
                    box = text.get_window_extent(renderer)
                    outside = box.width * box.height - _overlap(box, frame)
                    found.append((outside + sum(_overlap(box, o) for o in others), rank, box))
                    if found[-1][0] < 1:
                        break
                _, rank, boxes[index] = min(found, key=lambda item: item[:2])
                _move(text, mark, PLACES[rank])
        return boxes


def _move(text: Text, mark: tuple[float, float], place: tuple[float, float, str, str]) -> None:
    right, up, horizontal, vertical = place
    text.set_position((mark[0] + right * MARK, mark[1] + up * MARK))
    text.set_horizontalalignment(horizontal)  # type: ignore[arg-type]
    text.set_verticalalignment(vertical)  # type: ignore[arg-type]


def _overlap(first: Bbox, second: Bbox) -> float:
    """The area that two boxes share, in square pixels."""
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return float(max(width, 0) * max(height, 0))


def pattern(
    mask: Bool[np.ndarray, "query key"],
    *,
    title: str,
    axes: tuple[str, str] = ("query", "key"),
    width: int = S,
) -> Figure:
    """A mask as a grid: a full cell where the query (row) may look at the key (column).

    Where a heatmap shows how much, this shows only whether, so it stays readable up to about
    64 rows. A forbidden pair is a pale cell.

    Args:
        mask: `True` where the pair is allowed.
        title: What the pattern is.
        axes: Names of the vertical and of the horizontal axis.
        width: Pixels.

    Returns:
        A figure of natural size, as high as the rows need.

    Raises:
        ValueError: If the mask is empty.

    Examples:
        >>> figure = pattern(np.tril(np.ones((3, 3), dtype=bool)), title="causal")
        >>> full = [patch.get_facecolor() for patch in figure.axes[0].patches]
        >>> full.count(full[0])
        6
    """
    if mask.size == 0:
        raise ValueError(f"a pattern needs at least one pair, got a mask of shape {mask.shape}")
    rows, columns = mask.shape
    left, top, right = 22.0, 52.0, 6.0
    side = (width - left - right) / columns
    height = top + side * rows + 6
    settings: Any = {**STYLE, "figure.constrained_layout.use": False}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(width / 72, height / 72))
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(-left, width - left), ylim=(height - top, -top))
        ax.set_axis_off()
        gap = 0.06 * side
        for row, column in np.ndindex(rows, columns):
            ax.add_patch(
                Rectangle(
                    (column * side + gap / 2, row * side + gap / 2), side - gap, side - gap,
                    facecolor=LIGHT["blue" if mask[row, column] else "seq-0"],
                )
            )  # fmt: skip
        ax.text(columns * side / 2, -7, axes[1], ha="center", va="bottom",
                color=LIGHT["amber"], weight=600)  # fmt: skip
        ax.text(-11, rows * side / 2, axes[0], ha="center", va="center", rotation=90,
                color=LIGHT["blue"], weight=600)  # fmt: skip
        ax.text(-left, -top + 4, title, size=13, weight=600, va="top")
    return figure


def dots(
    values: Mapping[str, float | int],
    *,
    title: str,
    x_label: str,
    mark: Mapping[str, float | int] | None = None,
    highlight: Sequence[str] = (),
    x_format: Callable[[float], str] = "{:g}".format,
    width: int = M,
) -> Figure:
    """One dot on a line for each name, in the given order, its value written beside it.

    Unlike bars, dots need no zero, so they suit years.

    Args:
        values: A value for each name.
        title: What is listed.
        x_label: What the horizontal axis shows, with its unit.
        mark: Named values to compare with, as dashed vertical lines.
        highlight: Names in full colour; the others are slate. All, when left out.
        x_format: Writes the values and the ticks.
        width: Pixels.

    Returns:
        A figure whose height grows with the number of names.

    Raises:
        ValueError: If there is no value, or a highlighted name is not there.

    Examples:
        >>> figure = dots({"CLIP": 2021, "GPT-4": 2023}, title="first shown", x_label="year")
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['2021', '2023']
    """
    if not values:
        raise ValueError("dots need at least one value")
    if missing := set(highlight) - set(values):
        raise ValueError(f"no dot is named {', '.join(sorted(missing))}")
    with style():
        height = 78 + 30 * len(values) + (18 if mark else 0)
        figure, ax = new_figure(width, height)
        low = min(*values.values(), *(mark or {}).values(), next(iter(values.values())))
        for row, (name, value) in enumerate(values.items()):
            colour = LIGHT["blue" if not highlight or name in highlight else "slate"]
            ax.plot([low, value], [row, row], color=LIGHT["grid"], linewidth=1, zorder=1)
            ax.plot(value, row, marker="o", markersize=8, markeredgewidth=0, color=colour)
            ax.annotate(
                x_format(value), (value, row), (9, 0), textcoords="offset points", va="center",
                weight=600, color=colour, annotation_clip=False,
                bbox={"facecolor": LIGHT["page"], "edgecolor": "none", "pad": 1},
            )  # fmt: skip
        for name, value in (mark or {}).items():
            ax.axvline(value, color=LIGHT["ink-3"], linewidth=1, linestyle=(0, (3, 3)), zorder=0)
            ax.annotate(
                name, (value, 1), (0, 3), xycoords=("data", "axes fraction"), ha="center",
                textcoords="offset points", va="bottom", color=LIGHT["ink-3"], weight=600,
                annotation_clip=False,
            )  # fmt: skip
        ax.set_yticks(range(len(values)), list(values))
        ax.set_ylim(len(values) - 0.5, -0.5)
        ax.margins(x=0.12)
        ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: x_format(value)))
        ax.tick_params(axis="y", length=0)
        ax.grid(visible=False)
        ax.set_title(title, x=0, pad=26 if mark else 12)
        ax.set_xlabel(x_label)
    return figure


def arcs(
    weights: Float[np.ndarray, "query key"], words: Sequence[str], focus: int, *, width: int = 560
) -> Figure:
    """Attention as arcs over a sentence: the thicker an arc, the more its right word looks left.

    The arcs of one word are full, those of the others faint; on a page, pointing at a word shows
    its arcs instead. A word's look at itself is not drawn.

    Args:
        weights: One row a word, as it looks; each row sums to 1.
        words: The sentence.
        focus: The index of the word whose arcs are full.
        width: Pixels.

    Returns:
        A figure of one line of words under their arcs.

    Raises:
        ValueError: If the words do not fit the weights, or `focus` names no word.

    Examples:
        >>> figure = arcs(np.array([[1, 0], [0.8, 0.2]]), ["cat", "it"], focus=1)
        >>> len(figure.axes[0].patches)
        1
    """
    if weights.shape != (len(words), len(words)) or not 0 <= focus < len(words):
        raise ValueError(
            f"weights of shape {weights.shape} and focus {focus} do not fit {len(words)} words"
        )
    lengths = np.array([len(word) + 2.2 for word in words])
    centres = (np.cumsum(lengths) - lengths / 2) / lengths.sum()
    target = int(np.argmax(np.where(np.arange(len(words)) == focus, 0, weights[focus])))
    with mpl.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        figure = Figure(figsize=(width / 72, 0.46 * width / 72))
        figure.narrow_height = 190  # type: ignore[attr-defined]
        ax = figure.add_axes((0, 0, 1, 1))
        ax.set(xlim=(0, 1), ylim=(-0.16, 1.04))
        ax.set_axis_off()
        for query, key in np.ndindex(weights.shape):
            if query == key or weights[query, key] < 0.02:
                continue
            span = abs(centres[query] - centres[key])
            arc = Arc(
                ((centres[query] + centres[key]) / 2, 0), span, 2 * span**0.8, theta1=0, theta2=180,
                color=LIGHT["plum"], linewidth=0.6 + 8 * weights[query, key],
                alpha=1 if query == focus else 0.16, gid=f"class-arc arc-{query}",
            )  # fmt: skip
            ax.add_patch(arc)
        for index, (x, word) in enumerate(zip(centres, words, strict=True)):
            marked = index in {focus, target}
            ax.text(
                x, -0.1, word, ha="center", va="center", weight=600 if marked else 400,
                color=LIGHT["plum" if marked else "ink"], gid=f"class-word word-{index}",
            )  # fmt: skip
    return figure
