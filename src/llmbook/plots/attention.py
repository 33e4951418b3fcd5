"""Figures of attention: weights as a table, masks as a grid, arcs over a sentence."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Rectangle

from llmbook.plots.palette import LIGHT
from llmbook.plots.style import STYLE, S


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
