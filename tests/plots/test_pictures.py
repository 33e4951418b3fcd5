"""`llmbook.plots.pictures`: tables that hold pictures."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from llmbook.plots.pictures import Picture, PictureTable


def test_a_picture_in_a_table_is_the_one_that_was_given() -> None:
    """Two, with a white gap, in their colours; the words are escaped."""
    red, blue = np.zeros((2, 3, 5, 6))
    red[0], blue[2] = 1, 1
    table = PictureTable(["a", "b"], [["<x>", Picture(np.stack([red, blue]), 'red & "blue"')]])
    html = table._repr_html_()
    assert "&lt;x&gt;" in html
    assert 'alt="red &amp; &quot;blue&quot;" width="16" height="5"' in html
    data = re.search(r"base64,([^\"]+)", html)
    assert data is not None
    image = Image.open(io.BytesIO(base64.b64decode(data[1]))).convert("RGB")
    assert [image.getpixel((x, 2)) for x in (0, 8, 15)] == [
        (255, 0, 0), (255, 255, 255), (0, 0, 255),
    ]  # fmt: skip


def test_a_row_of_another_length_is_named() -> None:
    with pytest.raises(ValueError, match=r"rows must have 2 cells each, .* got 1 in row 1"):
        PictureTable(["a", "b"], [["x", "y"], ["x"]])
