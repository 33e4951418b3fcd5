"""A table that holds pictures beside words."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image


@dataclass(frozen=True)
class Picture:
    """A picture for a cell of a table, or several side by side.

    Attributes:
        pixels: Red, green and blue from 0 to 1, channels first, of each.
        alt: What they show, for who cannot see them.
    """

    pixels: Float[np.ndarray, "pictures 3 height width"]
    alt: str

    def html(self) -> str:
        """The picture as an element that holds all of it; a gap of white parts several."""
        gap = np.ones((3, self.pixels.shape[2], 4))
        parts = [part for one in self.pixels for part in (gap, one)][1:]
        strip = np.concatenate(parts, axis=2).transpose(1, 2, 0)
        image = Image.fromarray((strip * 255).round().astype(np.uint8))
        buffer = io.BytesIO()
        image.quantize(64, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        data = base64.b64encode(buffer.getvalue()).decode()
        size = f'width="{image.width}" height="{image.height}"'
        return f'<img src="data:image/png;base64,{data}" alt="{html.escape(self.alt)}" {size}>'


@dataclass(frozen=True)
class PictureTable:
    """Rows of words and pictures under the names of the columns.

    Attributes:
        columns: Their names.
        rows: Texts and pictures; the first of each row is its heading.

    Raises:
        ValueError: If a row has more or fewer cells than there are columns.

    Examples:
        >>> white = Picture(np.ones((2, 3, 4, 4)), "two white squares")
        >>> PictureTable(["what", "looks like"], [["snow", white]])._repr_html_()[:37]
        '<table><thead><tr><th scope="col">wha'
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Picture]]

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"rows must have {len(self.columns)} cells each, as many as columns, "
                    f"got {len(row)} in row {number}"
                )

    def _repr_html_(self) -> str:
        """What a notebook and a page show."""
        head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in self.columns)
        body = "".join(
            f'<tr><th scope="row">{_cell(row[0])}</th>'
            + "".join(f"<td>{_cell(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: str | Picture) -> str:
    return cell.html() if isinstance(cell, Picture) else html.escape(cell)
