"""`llmbook.plots`: what a figure shows is what it was given, and no name hides another."""

import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from llmbook.architectures.history import ARCHITECTURES
from llmbook.plots.attention import heatmap, pattern
from llmbook.plots.charts import bars, dots, line_chart, plane, timeline
from llmbook.plots.names import Names, _overlap
from llmbook.plots.style import M, S  # fmt: skip
from llmbook.weave.figures import NARROW, themed_svgs

SIZES = {
    model.name: (model.decimal_year, model.parameters, model.active_parameters)
    for model in ARCHITECTURES.values()
}
WORDS = {"man": (0.2, 1.0), "woman": (0.2, -1.0), "king": (1.0, 1.0), "queen": (1.0, -1.0)}


def boxes(figure: Figure) -> list[Bbox]:
    """Where the names of a figure stand once it is drawn, in pixels."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    labels = next(a for a in figure.axes[0].get_children() if isinstance(a, Names))
    return labels.place(canvas.get_renderer())


def start(line: Line2D) -> tuple[float, float]:
    """Where a line begins."""
    x, y = np.asarray(line.get_xydata())[0]
    return float(x), float(y)


def rectangles(axes: Axes) -> list[Rectangle]:
    """The patches of axes that have no others."""
    assert all(isinstance(patch, Rectangle) for patch in axes.patches)
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def shared(figure: Figure) -> float:
    """The largest area that two names of a figure share, in square pixels."""
    return max(_overlap(*pair) for pair in itertools.combinations(boxes(figure), 2))


@pytest.mark.parametrize("width", [M, NARROW])
def test_names_on_the_timeline_do_not_overlap(width: int) -> None:
    """All models of the book at once, at the width of the text and of a phone."""
    figure = timeline(SIZES, title="Parameters")
    height = 460 if width == M else figure.narrow_height  # type: ignore[attr-defined]
    figure.set_size_inches(width / 72, height / 72)
    assert shared(figure) < 1
    assert all(box.x0 >= 0 and box.x1 <= width and 0 <= box.y0 <= box.y1 for box in boxes(figure))


def test_timeline_tells_whole_from_part_and_puts_the_unknown_aside() -> None:
    """A filled and an open mark for a mixture of experts; the undisclosed above the largest."""
    sizes = {
        "experts": (2023.9, 47e9, 13e9),
        "dense": (2020.0, 1e9, 1e9),
        "?": (2023.2, None, None),
    }
    axes = timeline(sizes, title="Parameters").axes[0]
    marks = {start(line)[1]: line for line in axes.lines if line.get_marker() == "o"}
    assert sorted(marks) == [1e9, 13e9, 47e9]
    assert marks[13e9].get_markerfacecolor() == "none"
    assert marks[47e9].get_markerfacecolor() != "none"
    (rail,) = [line for line in axes.lines if line.get_marker() == "D"]
    assert start(rail)[0] == 2023.2
    assert start(rail)[1] > 47e9
    assert axes.get_yscale() == "log"


def test_timeline_without_unknown_sizes_has_no_rail() -> None:
    """No dashed line and no word where nothing is undisclosed."""
    axes = timeline({"a": (2020.0, 1e9, None)}, title="Parameters").axes[0]
    assert not axes.texts
    assert len(axes.lines) == 1


@pytest.mark.parametrize("sizes", [{}, {"a": (2020.0, None, None)}, {"a": (2020.0, 0.0, None)}])
def test_timeline_refuses_what_has_no_logarithm(sizes: dict[str, Any]) -> None:
    """An axis needs a size, and a logarithm a positive one."""
    with pytest.raises(ValueError, match="at least one size"):
        timeline(sizes, title="Parameters")


def test_bars_start_at_zero_and_keep_their_order() -> None:
    """The first bar is on top, lengths are the values, each carries its number."""
    axes = bars({"a": 1.0, "b": 4.0}, title="size", y_format=lambda v: f"{v:.1f}").axes[0]
    assert [bar.get_width() for bar in rectangles(axes)] == [1.0, 4.0]
    assert {bar.get_x() for bar in rectangles(axes)} == {0}
    assert [text.get_text() for text in axes.texts] == ["1.0", "4.0"]
    assert axes.yaxis_inverted()


def test_highlighted_bar_differs() -> None:
    """Only the named bar is in full colour."""
    first, second = bars({"a": 1.0, "b": 4.0}, title="size", highlight=["b"]).axes[0].patches
    assert first.get_facecolor() != second.get_facecolor()


@pytest.mark.parametrize(
    ("values", "highlight", "message"),
    [({"a": -1.0}, [], "negative value for a"), ({"a": 1.0}, ["c"], "no bar is named c")],
)
def test_bars_refuse(values: dict[str, float], highlight: list[str], message: str) -> None:
    """A bar below zero, or one that is not there."""
    with pytest.raises(ValueError, match=message):
        bars(values, title="size", highlight=highlight)


def test_plane_names_every_point_and_arrow_apart() -> None:
    """Each word at its coordinates, each arrow from its start to its end, no name on another."""
    step = (WORDS["man"], WORDS["king"])
    figure = plane(WORDS, {"royal": step}, title="female to male", x_label="royal")
    axes = figure.axes[0]
    assert [*map(start, axes.lines)] == [*WORDS.values()]
    (arrow,) = axes.texts
    assert isinstance(arrow, Annotation)
    assert (arrow.xyann, arrow.xy) == step
    assert shared(figure) < 1


def test_plane_needs_a_point() -> None:
    """Nothing to show is an error and not an empty frame."""
    with pytest.raises(ValueError, match="at least one point"):
        plane({}, title="", x_label="")


def test_figures_use_the_palette_and_are_drawn_for_phones() -> None:
    """Each can be recoloured, the wide ones twice; drawn again they are the same."""
    steps = {"to": (WORDS["man"], WORDS["king"])}
    makers = [
        ([M, NARROW], lambda: timeline(SIZES, title="Parameters")),
        ([M, NARROW], lambda: bars({"a": 1.0, "b": 4.0}, title="size")),
        ([S], lambda: plane(WORDS, steps, title="male", x_label="royal")),
    ]
    for widths, make in makers:
        drawings = themed_svgs(make())
        assert [drawing["width"] for drawing in drawings] == widths
        assert themed_svgs(make()) == drawings


def test_a_heatmap_has_all_its_numbers_as_a_table() -> None:
    """Also those that no cell carries; what the mask forbids is no number."""
    weights = np.linspace(0, 1, 20 * 17).reshape(20, 17)
    mask = np.arange(17) <= np.arange(20)[:, None]
    queries, keys = [f"q{row}" for row in range(20)], [f"k{column}" for column in range(17)]
    figure = heatmap(weights, queries, keys, mask=mask, title="all")
    head, *rows = figure.table  # type: ignore[attr-defined]
    assert head == ["all", *keys]
    assert [row[0] for row in rows] == queries
    assert rows[0][1:] == ["0.00", *["masked"] * 16]
    numbers = np.array([row[1:] for row in rows])
    assert ((numbers == "masked") == ~mask).all()
    np.testing.assert_allclose(numbers[mask].astype(float), weights[mask], atol=0.005)


@pytest.mark.parametrize("width", [M, NARROW])
@pytest.mark.parametrize("log", ["", "y", "xy"])
def test_names_of_lines_that_end_together_do_not_overlap(width: int, log: str) -> None:
    """Four lines to one point, one of them a reference, and one that ends elsewhere."""
    ends = {"a long name": 8.0, "other": 8.0, "third": 7.9, "low": 1.0}
    series = {name: ([1, 2, 4], [1.0, 2.0, end]) for name, end in ends.items()}
    reference = {"best": ([1, 4], [8.0, 8.0])}
    figure = line_chart(series, title="t", x_label="x", log=log, reference=reference)
    figure.set_size_inches(width / 72, figure.get_size_inches()[1])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    names = {text.get_text(): text for text in figure.axes[0].texts}
    assert set(names) == {*ends, "best"}
    placed = {name: text.get_window_extent() for name, text in names.items()}
    assert max(_overlap(*pair) for pair in itertools.combinations(placed.values(), 2)) < 1
    line = figure.axes[0].transData.transform((4, 1.0))[1]
    assert placed["low"].y0 < line < placed["low"].y1


@pytest.mark.parametrize("size", [1, 16, 64])
def test_pattern_fills_a_cell_for_each_allowed_pair(size: int) -> None:
    """As many full cells as the mask has True, at their places, row 0 on top."""
    mask = np.random.default_rng(size).random((size, size)) < 0.4
    mask[0, 0] = True
    patches = rectangles(pattern(mask, title="random").axes[0])
    full = np.array([p.get_facecolor() == patches[0].get_facecolor() for p in patches])
    np.testing.assert_array_equal(full.reshape(mask.shape), mask)
    assert patches[0].get_y() < patches[-1].get_y() or size == 1


def test_pattern_keeps_cells_square_and_takes_any_shape() -> None:
    """Three queries and six keys: a figure half as high as wide, plus its head."""
    figure = pattern(np.ones((3, 6), dtype=bool), title="cross", axes=("ours", "theirs"))
    cell = rectangles(figure.axes[0])[0]
    assert cell.get_width() == pytest.approx(cell.get_height())
    assert {text.get_text() for text in figure.axes[0].texts} == {"cross", "ours", "theirs"}


def test_pattern_of_nothing_is_refused() -> None:
    """An empty mask has no pairs to show."""
    with pytest.raises(ValueError, match=r"at least one pair.*\(0, 3\)"):
        pattern(np.ones((0, 3), dtype=bool), title="empty")


def test_dots_stand_at_their_values_in_the_given_order() -> None:
    """Each name at its row, its value on the axis and beside the dot."""
    years = {"c": 2021, "a": 2013, "b": 2018}
    axes = dots(years, title="first shown", x_label="year").axes[0]
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert [*map(start, marks)] == [
        (2021, 0),
        (2013, 1),
        (2018, 2),
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a", "b"]
    assert [text.get_text() for text in axes.texts] == ["2021", "2013", "2018"]


def test_dots_mark_and_highlight() -> None:
    """A marked value is named above its line; other dots than the highlighted are paler."""
    axes = dots(
        {"old": 2015, "new": 2022}, title="t", x_label="year", mark={"now": 2020},
        highlight=["new"],
    ).axes[0]  # fmt: skip
    marks = [line.get_color() for line in axes.lines if line.get_marker() == "o"]
    assert marks[0] != marks[1]
    assert "now" in [text.get_text() for text in axes.texts]


def test_dots_refuse_what_they_cannot_show() -> None:
    """No values, or a highlight that is not among them."""
    with pytest.raises(ValueError, match="at least one value"):
        dots({}, title="t", x_label="x")
    with pytest.raises(ValueError, match="no dot is named b"):
        dots({"a": 1}, title="t", x_label="x", highlight=["b"])


def test_figures_follow_the_scheme_and_fit_a_phone() -> None:
    """Only colours of the palette, and a second layout where the figure is wide."""
    narrow = themed_svgs(pattern(np.eye(8, dtype=bool), title="diagonal"))
    assert [drawing["width"] for drawing in narrow] == [324]
    wide = themed_svgs(dots({"a": 2015, "b": 2020}, title="t", x_label="x", mark={"m": 2018}))
    assert [drawing["width"] for drawing in wide] == [620, NARROW]
