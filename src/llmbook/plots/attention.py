"""Figures of attention: weights as a table, masks as a grid."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.patches import Rectangle

from llmbook.plots.palette import LIGHT
from llmbook.plots.style import BookFigure, Real, S, cover, style


def heatmap(
    weights: Float[np.ndarray, "query key"],
    queries: Sequence[str],
    keys: Sequence[str] | None = None,
    *,
    mask: Bool[np.ndarray, "query key"] | None = None,
    title: str = "",
    axes: tuple[str, str] = ("query: looking", "key: looked at"),
) -> BookFigure:
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
    slant = 0 if len(keys) <= 8 else 60  # degrees: narrow columns have no room for lying words
    above = 14 + 5.6 * max(map(len, keys)) if slant else 26.0
    left = max(66.0, 34 + 6.4 * max(map(len, queries)))
    side = 26.0 if slant else min(36.0, (S - left) / len(keys))
    width = max(S, left + side * len(keys))
    with style(layout=False):
        grid = _Grid(weights.shape, side, width=width, left=left, top=above + (44 if title else 18))
        _fill_weights(grid, weights, allowed)
        grid.name_cells(queries, keys, slant)
        grid.name_axes(axes, beside=left - 8, above=above)
        grid.entitle(title)
    numbers = np.where(allowed, np.char.mod("%.2f", weights), "masked").tolist()
    named = [[word, *row] for word, row in zip(queries, numbers, strict=True)]
    grid.figure.table = [[title, *keys], *named]
    return grid.figure


def _fill_weights(grid: "_Grid", weights: np.ndarray, allowed: np.ndarray) -> None:
    """A tinted cell for each allowed pair, with its number where there is room, else a dot."""
    for row, column in np.ndindex(weights.shape):
        if not allowed[row, column]:
            grid.write(row, column, "·", weight="semibold")
            continue
        weight = float(weights[row, column])
        step = min(10, int(weight * 11))
        grid.fill(row, column, f"seq-{step}")
        largest = weights[row].argmax() == column
        if max(weights.shape) <= (16 if largest else 8):
            grid.write(row, column, _two_decimals(weight), below=0.5, size=12,
                       color=LIGHT[f"on-seq-{step}"])  # fmt: skip


class _Grid:
    """A figure of square cells in rows and columns, in which a unit is a pixel.

    Args:
        shape: How many rows and columns.
        side: Of a cell.
        width: Of the figure; its height is what the cells need.
        left: Room beside the cells.
        top: Room above them.
    """

    def __init__(
        self, shape: tuple[int, ...], side: float, *, width: Real, left: Real, top: Real
    ) -> None:
        self.rows, self.columns = shape
        self.side, self.left, self.top = side, left, top
        height = top + side * self.rows + 6
        self.figure = BookFigure(width, height)
        self.axes = cover(self.figure)
        self.axes.set(xlim=(-left, width - left), ylim=(height - top, -top))

    def fill(self, row: int, column: int, colour: str) -> None:
        """Tint a cell."""
        gap = 0.03 * self.side
        corner = (column * self.side + gap, row * self.side + gap)
        inner = self.side - 2 * gap
        self.axes.add_patch(Rectangle(corner, inner, inner, facecolor=LIGHT[colour], clip_on=False))

    def write(self, row: int, column: int, text: str, *, below: float = 0, **look: Any) -> None:
        """Write into a cell, some pixels below its middle."""
        x, y = (column + 0.5) * self.side, (row + 0.5) * self.side + below
        self.axes.text(x, y, text, ha="center", va="center", **look)

    def name_cells(self, rows: Sequence[str], columns: Sequence[str], slant: int) -> None:
        """Write a word beside each row, and one above each column, slanted by some degrees."""
        for row, word in enumerate(rows):
            self.axes.text(-8, (row + 0.5) * self.side, word, ha="right", va="center")
        for column, word in enumerate(columns):
            self.axes.text((column + 0.5) * self.side, -7, word, ha="left" if slant else "center",
                           va="bottom", rotation=slant)  # fmt: skip

    def name_axes(self, names: tuple[str, str], *, beside: Real, above: Real) -> None:
        """Write the names of the vertical and the horizontal axis, some pixels from the cells."""
        middle, centre = self.rows * self.side / 2, self.columns * self.side / 2
        self.axes.text(centre, -above, names[1], ha="center", va="bottom", color=LIGHT["amber"],
                       weight="semibold")  # fmt: skip
        self.axes.text(-beside, middle, names[0], ha="center", va="center", rotation=90,
                       color=LIGHT["blue"], weight="semibold")  # fmt: skip

    def entitle(self, title: str) -> None:
        """Write what the figure shows on top."""
        if title:
            self.axes.text(-self.left, 4 - self.top, title, size=13, weight="semibold", va="top")


def _two_decimals(weight: float) -> str:
    """`.84`, with `1` from .995 and `0` below .005."""
    text = f"{weight:.2f}"
    return {"1.00": "1", "0.00": "0"}.get(text, text.removeprefix("0"))


def pattern(
    mask: Bool[np.ndarray, "query key"],
    *,
    title: str,
    axes: tuple[str, str] = ("query", "key"),
    width: int = S,
) -> BookFigure:
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
    left, right = 22.0, 6.0
    side = (width - left - right) / mask.shape[1]
    with style(layout=False):
        grid = _Grid(mask.shape, side, width=width, left=left, top=52)
        for row, column in np.ndindex(mask.shape):
            grid.fill(row, column, "blue" if mask[row, column] else "seq-0")
        grid.name_axes(axes, beside=11, above=7)
        grid.entitle(title)
    return grid.figure
