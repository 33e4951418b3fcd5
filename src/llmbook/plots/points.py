"""Named points, in a plane or over the years; no name hides another."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from llmbook.plots.palette import LIGHT, SERIES
from llmbook.plots.style import BookFigure, M, Real, S, new_figure, plain_number, style

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


class Names(Artist):
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
            Text(0, 0, name, color=colour, weight="semibold", bbox=ground)
            for name, *_, colour in labels
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


def plane(
    points: Mapping[str, Point],
    arrows: Mapping[str, tuple[Point, Point]] | None = None,
    *,
    title: str,
    x_label: str,
    others: Sequence[Point] = (),
    same_scale: bool = True,
    height: int = S,
    width: int = S,
) -> BookFigure:
    """Named points in two dimensions, and arrows that carry their names at their middle.

    Args:
        points: The coordinates of each point.
        arrows: Start and end of each arrow; up to four have colours of their own.
        title: What the vertical axis shows.
        x_label: What the horizontal axis shows.
        others: Points without a name, in slate.
        same_scale: Whether a step to the right is as long as the same step upwards.
        height: Pixels.
        width: Pixels.

    Returns:
        A figure; names move aside where they would collide.

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
        for x, y in others:
            ax.plot(x, y, marker="o", markersize=MARK - 2, markeredgewidth=0, color=LIGHT["slate"])
        for name, (x, y) in points.items():
            ax.plot(x, y, marker="o", markersize=MARK, markeredgewidth=0, color=LIGHT["ink"])
            labels.append((name, x, y, LIGHT["ink"]))
        ax.margins(0.16)
        if same_scale:
            ax.set_aspect("equal", adjustable="datalim")
        ax.grid(visible=True, axis="both")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(5))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.add_artist(Names(ax, labels))
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
) -> BookFigure:
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
        ax.add_artist(Names(ax, labels))
        ax.set_title(title)
        ax.set_xlabel(x_label)
    return figure
