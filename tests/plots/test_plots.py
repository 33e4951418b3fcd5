"""`llmbook.plots`: what a figure shows is what it was given, and no name hides another."""

import base64
import io
import itertools
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Arc, Rectangle
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox
from PIL import Image

from llmbook.architectures.history import ARCHITECTURES
from llmbook.plots.arcs import arcs
from llmbook.plots.attention import heatmap, pattern
from llmbook.plots.charts import bars, dots, line_chart, signed_image
from llmbook.plots.palette import COLOURS, LIGHT
from llmbook.plots.points import Names, _overlap, plane, timeline
from llmbook.plots.style import BookFigure, M, S
from llmbook.weave import figures
from llmbook.weave.figures import NARROW
from llmbook.weave.palette import colours_of


def themed_svgs(figure: Figure) -> list[dict[str, str | int]]:
    """The figure in the book's colours."""
    return figures.themed_svgs(figure, colours_of("llmbook.plots.palette"))


SIZES = {
    model.name: (model.decimal_year, model.parameters, model.active_parameters)
    for model in ARCHITECTURES.values()
}
UP_TO_2023 = {name: size for name, size in SIZES.items() if size[0] < 2024}
SINCE_2024 = {name: size for name, size in SIZES.items() if size[0] >= 2024}
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
@pytest.mark.parametrize("sizes", [UP_TO_2023, SINCE_2024], ids=["up to 2023", "since 2024"])
def test_names_on_the_timeline_do_not_overlap(width: int, sizes: dict[str, Any]) -> None:
    """All models of the book, as they are shown in two figures, at text and at phone width."""
    figure = timeline(sizes, title="Parameters", narrow_height=700)
    height = 460 if width == M else figure.narrow_height
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
    assert figure.table
    head, *rows = figure.table
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


def page_of(figure: Figure) -> ElementTree.Element:
    """The widest drawing of a figure, as a page has it."""
    return ElementTree.fromstring(str(themed_svgs(figure)[0]["svg"]))


@pytest.mark.parametrize(
    ("size", "shown"), [(8, "all"), (9, "largest"), (16, "largest"), (17, "none")]
)
def test_a_heatmap_writes_what_its_cells_have_room_for(size: int, shown: str) -> None:
    """All numbers up to 8 x 8, up to 16 x 16 the largest of each row, then none."""
    weights = np.random.default_rng(0).dirichlet(np.ones(size), size=size)
    words = [f"w{index}" for index in range(size)]
    texts = [text.get_text() for text in heatmap(weights, words).axes[0].texts]
    numbers = [text for text in texts if re.fullmatch(r"\.\d\d|[01]", text)]
    expected = {"all": weights.ravel(), "largest": weights.max(axis=1), "none": []}[shown]
    np.testing.assert_allclose([float(number) for number in numbers], expected, atol=0.0051)
    assert sorted(text for text in texts if text.startswith("w")) == sorted(2 * words)


def test_a_heatmap_tints_by_weight_and_marks_what_is_forbidden() -> None:
    """The darkest for 1, the palest for 0, a number that can be read on its cell, no cell for a dot."""
    figure = heatmap(
        np.array([[1.0, 0.0], [0.996, 0.004]]),
        ["a", "b"],
        mask=np.array([[True, False], [True, True]]),
    )
    axes = figure.axes[0]
    cells = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    tints = [to_hex(cell.get_facecolor()).upper() for cell in cells]
    assert tints == [LIGHT["seq-10"], LIGHT["seq-10"], LIGHT["seq-0"]]
    written = {text.get_position(): (text.get_text(), text.get_color()) for text in axes.texts}
    side = cells[2].get_x() - cells[1].get_x()
    assert written[0.5 * side, 0.5 * side + 0.5] == ("1", LIGHT["on-seq-10"])
    assert written[1.5 * side, 0.5 * side][0] == "·"
    assert written[1.5 * side, 1.5 * side + 0.5] == ("0", LIGHT["on-seq-0"])


def test_a_heatmap_names_axes_rows_and_columns() -> None:
    """The rows beside, the columns above; slanted where columns are narrow; a title only if given."""
    few = heatmap(np.full((1, 2), 0.5), ["row"], ["left", "right"], axes=("down", "across"))
    texts = {text.get_text(): text for text in few.axes[0].texts}
    assert texts["row"].get_position()[0] < 0
    assert texts["left"].get_position()[1] < 0
    assert texts["left"].get_position()[0] < texts["right"].get_position()[0]
    assert {"down", "across"} <= set(texts)
    assert [text.get_rotation() for text in (texts["left"], texts["down"])] == [0, 90]
    assert few.table
    assert few.table[0] == ["", "left", "right"]
    many = heatmap(np.full((1, 9), 0.1), ["row"], [f"c{index}" for index in range(9)], title="what")
    texts = {text.get_text(): text for text in many.axes[0].texts}
    assert texts["c0"].get_rotation() == 60
    assert "what" in texts


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\), words name 2 rows and 2 columns"),
        (np.array([[1.0, 0.0], [1.1, 0.0]]), "between 0 and 1"),
        (np.array([[1.0, 0.0], [-0.1, 0.0]]), "between 0 and 1"),
        (np.array([[1.0, 0.0], [np.nan, 0.0]]), "between 0 and 1"),
    ],
)
def test_a_heatmap_refuses_what_are_no_weights_of_its_words(
    weights: np.ndarray, message: str
) -> None:
    """Of another shape, or not from 0 to 1."""
    with pytest.raises(ValueError, match=message):
        heatmap(weights, ["a", "b"])


SENTENCE = ["The", "cat", "slept"]
LOOKS = np.array([[1.0, 0.0, 0.0], [0.6, 0.4, 0.0], [0.1, 0.89, 0.01]])


def test_arcs_join_the_words_that_look_at_each_other() -> None:
    """As thick as the weight, full for one word, faint for the others; too small ones are left out."""
    axes = arcs(LOOKS, SENTENCE, focus=2).axes[0]
    centres = [text.get_position()[0] for text in axes.texts]
    assert [text.get_text() for text in axes.texts] == SENTENCE
    assert centres == sorted(centres)
    drawn = [patch for patch in axes.patches if isinstance(patch, Arc)]
    ends = [(arc.center[0] - arc.width / 2, arc.center[0] + arc.width / 2) for arc in drawn]
    pairs = [(0, 1), (0, 2), (1, 2)]
    np.testing.assert_allclose(ends, [[centres[left], centres[right]] for left, right in pairs])
    assert [arc.get_alpha() for arc in drawn] == [0.16, 1, 1]
    widths = [arc.get_linewidth() for arc in drawn]
    np.testing.assert_allclose(np.diff(widths), 8 * np.diff([0.6, 0.1, 0.89]))
    weights = {text.get_text(): text.get_fontweight() for text in axes.texts}
    assert weights == {
        "The": "normal",
        "cat": "semibold",
        "slept": "semibold",
    }  # who looks, and at whom most


def test_a_page_can_point_at_the_arcs_of_a_word() -> None:
    """Each arc has the class of the word that looks, each word its own; at both widths."""
    figure = arcs(LOOKS, SENTENCE, focus=1)
    wide, narrow = (ElementTree.fromstring(str(each["svg"])) for each in themed_svgs(figure))
    for svg in (wide, narrow):
        classes = [e.get("class") for e in svg.iter() if e.get("class")]
        assert classes == [
            "arc arc-1",
            "arc arc-2",
            "arc arc-2",
            "word word-0",
            "word word-1",
            "word word-2",
        ]
        assert not [e for e in svg.iter("g") if e.get("id")]
    assert (narrow.get("width"), narrow.get("height")) == ("340", "190")


@pytest.mark.parametrize(("size", "focus"), [(2, 0), (3, 3), (3, -1)])
def test_arcs_refuse_what_does_not_fit_the_words(size: int, focus: int) -> None:
    """Another number of weights than words, or a word that is not there."""
    with pytest.raises(ValueError, match=rf"shape \({size}, {size}\) and focus {focus} .* 3 words"):
        arcs(np.eye(size), SENTENCE, focus=focus)


def test_signed_numbers_are_an_image_in_both_schemes() -> None:
    """Blue below zero, amber above, the middle at zero, the first row on top."""
    values = np.array([[-2.0, 0.0], [1.0, 2.0]])
    figure = signed_image(values, title="sine", x_label="column", y_label="row")
    assert figure.axes[0].get_title(loc="left") == "sine; rows: row"
    images = {e.get("class"): e for e in page_of(figure).iter("image")}
    assert set(images) == {"only-light", "only-dark"}
    for scheme, name in enumerate(("only-light", "only-dark")):
        data = base64.b64decode(images[name].attrib["href"].partition(",")[2])
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        if "scale(1 -1)" in images[name].get("transform", ""):
            pixels = pixels[::-1]
        height, width = (size // 4 for size in pixels.shape[:2])
        found = [pixels[y, x] for y in (height, 3 * height) for x in (width, 3 * width)]
        expected = [COLOURS[f"div-{step}"][scheme] for step in (0, 5, 8, 10)]
        assert [f"#{red:02X}{green:02X}{blue:02X}" for red, green, blue in found] == expected


def test_a_drawing_holds_nothing_that_a_page_has_no_need_of() -> None:
    """No metadata, no fonts, no ids but those it refers to, numbers of two decimals, one line."""
    (first, _) = themed_svgs(line_chart({"a <b>": ([1, 2], [2, 4])}, title="#123456", x_label="x"))
    text = str(first["svg"])
    svg = ElementTree.fromstring(text)
    assert {element.tag for element in svg.iter()} <= {"svg", "g", "path", "defs", "use", "text", "clipPath", "rect"}  # fmt: skip
    referred = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))
    assert {element.get("id") for element in svg.iter() if element.get("id")} == referred != set()
    assert not re.search(r"font-family|xmlns|\n|\d\.\d{3}", text)
    assert {"a <b>", "#123456"} <= {
        element.text for element in svg.iter("text")
    }  # text is no colour
    assert "stroke: var(--blue)" in text


def test_a_plain_matplotlib_figure_keeps_its_height_on_a_phone() -> None:
    """Any figure in the palette's colours is drawn; only the book's know more of themselves."""
    figure = Figure(figsize=(400 / 72, 100 / 72), facecolor="none")
    figure.text(0.5, 0.5, "it", color=LIGHT["ink"])
    found = [ElementTree.fromstring(str(each["svg"])).attrib for each in themed_svgs(figure)]
    assert [(each["width"], each["height"]) for each in found] == [("400", "100"), ("340", "100")]
    figure.text(0, 0, "red", color="#ff0000")
    with pytest.raises(ValueError, match="colour #ff0000 is not in"):
        themed_svgs(figure)


def test_a_class_is_given_to_the_part_that_has_it() -> None:
    """And each part has a name of its own in the plain drawing."""
    figure = BookFigure(200, 100)
    one = figure.text(0, 0, "one", color=LIGHT["ink"])
    two = figure.text(0, 0.5, "two", color=LIGHT["ink"])
    figure.add_classes(one, "word", "first")
    figure.add_classes(two, "word")
    assert one.get_gid() != two.get_gid()
    groups = {e.get("class"): e for e in page_of(figure).iter("g") if e.get("class")}
    assert {name: group[0].text for name, group in groups.items()} == {"word first": "one", "word": "two"}  # fmt: skip
