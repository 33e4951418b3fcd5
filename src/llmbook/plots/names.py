"""Names beside their marks, placed so that none hides another."""

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from llmbook.plots.palette import LIGHT

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
