"""`llmbook.plots.structure`: every part is named, linked, lit on demand, and fits at any width."""

from collections.abc import Callable

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle

from llmbook.plots import structure
from llmbook.plots.structure import PAGES, Box
from llmbook.plots.style import BookFigure
from tests.book import DOCS, nav

DRAWINGS = {
    structure.block_structure: [
        "embedding",
        "positions",
        "norm",
        "attention",
        "residual",
        "logits",
    ],
    structure.head_structure: ["query", "key", "value", "scores", "mask", "softmax", "output"],
    structure.families_structure: ["encoder", "decoder", "encoder-decoder"],
    structure.towers_structure: ["contrast"],
}
Draw = Callable[[str | None], BookFigure]


def test_each_part_has_a_page_that_is_in_the_book() -> None:
    assert set(PAGES.values()) <= set(nav())
    assert all((DOCS / page).is_file() for page in PAGES.values())


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_part_is_lit_by_more_than_colour(draw: Draw) -> None:
    """Its words are bold and its edge is thick; of the plain drawing, no word is."""
    assert {text.get_fontweight() for text in draw(None).axes[0].texts} <= {400, "normal"}
    for part in DRAWINGS[draw]:  # type: ignore[index]
        figure = draw(part)
        bold = [text for text in figure.axes[0].texts if text.get_fontweight() == "semibold"]
        assert bold
        assert {text.get_url() for text in bold} == {f"book:{PAGES[part]}"}
        assert [p for p in figure.axes[0].patches if p.get_linewidth() == 3]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_an_unknown_part_is_refused_by_name(draw: Draw) -> None:
    with pytest.raises(
        ValueError, match="no part of this structure is called 'nothing'; there are"
    ):
        draw("nothing")


@pytest.mark.parametrize("width", [340, 620])
@pytest.mark.parametrize("draw", DRAWINGS)
def test_words_fit_in_their_boxes_and_in_the_figure(draw: Draw, width: int) -> None:
    """On a phone as well, lit or not; and no word lies on another."""
    for part in (None, *DRAWINGS[draw]):  # type: ignore[index]
        figure = draw(part)
        figure.set_size_inches(width / 72, figure.get_figheight())
        canvas = FigureCanvasAgg(figure)
        axes = figure.axes[0]
        texts = [t for t in axes.texts if t.get_text()]
        extents = {t: t.get_window_extent(canvas.get_renderer()) for t in texts}
        edges = [p.get_window_extent() for p in axes.patches if isinstance(p, Rectangle)]
        for text, extent in extents.items():
            assert 0 <= extent.x0 < extent.x1 <= width, text.get_text()
            centre = ((extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2)
            for edge in edges:
                if edge.contains(*centre):
                    assert edge.x0 <= extent.x0 < extent.x1 <= edge.x1, text.get_text()
                else:
                    assert not edge.overlaps(extent), text.get_text()
            for other, place in extents.items():
                assert other is text or not place.overlaps(extent), (text, other)


def test_a_box_without_an_edge_is_words_alone() -> None:
    figure = structure.structure([Box("", "alone", 50, 20, colour="")], [], height=40)
    assert not figure.axes[0].patches
