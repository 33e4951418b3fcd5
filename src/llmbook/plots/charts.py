"""Charts: lines, bars, dots, tables of signed numbers."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from llmbook.plots.palette import LIGHT, SERIES
from llmbook.plots.style import BookFigure, M, Real, new_figure, plain_number, style

NAME_WIDTH, NAME_HEIGHT = 60, 19  # pixels that a line’s name takes, with its margin
Numbers = Sequence[float | int] | np.ndarray


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
) -> BookFigure:
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
            weight="semibold", annotation_clip=False,
        )  # fmt: skip


def signed_image(
    values: Float[np.ndarray, "row column"],
    *,
    title: str,
    x_label: str,
    y_label: str,
    height: int = 300,
    width: int = M,
) -> BookFigure:
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


def bars(
    values: Mapping[str, Real],
    *,
    title: str,
    y_format: Callable[[float], str] = plain_number,
    highlight: Sequence[str] = (),
    width: int = M,
) -> BookFigure:
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
                weight="semibold", annotation_clip=False,
            )  # fmt: skip
        ax.set_yticks(range(len(values)), list(values))
        ax.set(ylim=(len(values) - 0.5, -0.5), xlim=(0, max(values.values(), default=1) or 1))
        ax.tick_params(axis="y", length=0)
        ax.xaxis.set_visible(False)
        ax.spines["bottom"].set_visible(False)
        ax.grid(visible=False)
        ax.set_title(title, x=0)
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
) -> BookFigure:
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
                weight="semibold", color=colour, annotation_clip=False,
                bbox={"facecolor": LIGHT["page"], "edgecolor": "none", "pad": 1},
            )  # fmt: skip
        for name, value in (mark or {}).items():
            ax.axvline(value, color=LIGHT["ink-3"], linewidth=1, linestyle=(0, (3, 3)), zorder=0)
            ax.annotate(
                name, (value, 1), (0, 3), xycoords=("data", "axes fraction"), ha="center",
                textcoords="offset points", va="bottom", color=LIGHT["ink-3"], weight="semibold",
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
