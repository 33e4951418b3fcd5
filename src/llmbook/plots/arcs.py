"""Attention as arcs over a sentence."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.patches import Arc

from llmbook.plots.palette import LIGHT
from llmbook.plots.style import BookFigure, cover, style


def arcs(
    weights: Float[np.ndarray, "query key"], words: Sequence[str], focus: int, *, width: int = 560
) -> BookFigure:
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
    with style(layout=False):
        figure = BookFigure(width, 0.46 * width, narrow_height=190)
        axes = cover(figure)
        axes.set(xlim=(0, 1), ylim=(-0.16, 1.04))
        for query, key in np.ndindex(weights.shape):
            if query == key or weights[query, key] < 0.02:
                continue
            span = abs(centres[query] - centres[key])
            arc = Arc(
                ((centres[query] + centres[key]) / 2, 0), span, 2 * span**0.8, theta1=0, theta2=180,
                color=LIGHT["plum"], linewidth=0.6 + 8 * weights[query, key],
                alpha=1 if query == focus else 0.16,
            )  # fmt: skip
            figure.add_classes(axes.add_patch(arc), "arc", f"arc-{query}")
        for index, (x, word) in enumerate(zip(centres, words, strict=True)):
            marked = index in {focus, target}
            written = axes.text(
                x, -0.1, word, ha="center", va="center", weight="semibold" if marked else "normal",
                color=LIGHT["plum" if marked else "ink"],
            )  # fmt: skip
            figure.add_classes(written, "word", f"word-{index}")
    return figure
