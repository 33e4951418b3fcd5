"""Figures that turn: the table of what differs gives back each drawing, and lies beside the page."""

import json
from html import unescape
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from llmbook.weave.turning import table_of, turn, turned, with_plain_ids
from tests.weave.conftest import MakeBook

WORDS = st.sampled_from(["", "a", "b < c", "&amp;", "“d” #1"])
NAMES = st.sampled_from(["x", "style", "id", "href", "{http://www.w3.org/XML/1998/namespace}space"])


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> Element:
    """Any small drawing."""
    made = Element(
        draw(st.sampled_from(["g", "path", "text"])), draw(st.dictionaries(NAMES, WORDS))
    )
    made.text = draw(WORDS)
    if depth:
        made[:] = draw(st.lists(elements(depth - 1), max_size=3))
    for child in made:
        child.tail = draw(st.sampled_from(["", "", "tail"]))
    return made


def figure(root: Element, texts: list[str] | None = None) -> dict[str, Any]:
    """A figure of one drawing, and a table of numbers or none."""
    whole = Element("svg", {"width": "9"})
    whole.append(root)
    svg = ElementTree.tostring(whole, encoding="unicode")
    return {"drawings": [{"width": 9, "svg": svg}], "table": texts and [texts[:2], texts[2:]]}


@pytest.mark.plain
@given(st.lists(elements(), min_size=1, max_size=4), st.data())
def test_the_table_gives_back_every_drawing_exactly(
    roots: list[Element], data: st.DataObject
) -> None:
    """Whatever differs: text, attributes, the number and kind of parts, and the numbers below."""
    numbers = st.lists(WORDS, min_size=4, max_size=4)
    drawn = [figure(root, data.draw(numbers)) for root in roots]
    first = data.draw(st.integers(0, len(drawn) - 1))
    table = json.loads(json.dumps(table_of(drawn, first)))  # as it travels
    for choice, each in enumerate(drawn):
        svgs, texts = turned({**drawn[first], "turns": table}, choice)
        (expected,) = each["drawings"]
        assert ElementTree.canonicalize(svgs[0]) == ElementTree.canonicalize(expected["svg"])
        assert texts == [*each["table"][0], *each["table"][1]]
    assert not any(table["turns"][first])


@pytest.mark.plain
@given(elements())
def test_one_drawing_twice_has_nothing_to_turn(root: Element) -> None:
    assert table_of([figure(root), figure(root)], 0) == {
        "slots": [],
        "words": [],
        "turns": [[], []],
    }


@pytest.mark.plain
def test_a_changed_colour_is_one_word_and_not_a_drawing() -> None:
    """What stays is in no table, and a word that many parts take is there once."""
    drawn = [
        {
            "drawings": [{"svg": f'<svg><g a="{a}"><path d="M 0"/></g><g a="{a}"/></svg>'}],
            "table": None,
        }
        for a in "xyzx"
    ]
    assert table_of(drawn, 0) == {
        "slots": [[0, 1, "a"], [0, 3, "a"]],
        "words": ["y", "z"],
        "turns": [[0, 0], [1, 1], [2, 2], [0, 0]],
    }


@pytest.mark.plain
def test_ids_by_order_let_equal_drawings_be_equal() -> None:
    """Matplotlib names what it clips by its place."""
    one, two = (f'<svg><g id="{p}"/><g clip-path="url(#{p})"/><a href="#top"/></svg>' for p in "pq")
    assert with_plain_ids(one) == with_plain_ids(two) != one
    assert 'href="#top"' in with_plain_ids(one)


def drawing(size: int = 1, scheme: str = "a") -> tuple[Figure, str]:
    """A figure that is as wide as a dial says."""
    return Figure(figsize=(size, 1)), f"{size} {scheme}"


@pytest.mark.plain
def test_the_last_dial_turns_fastest_and_a_start_is_found() -> None:
    made = turn(drawing, size=[1, 2, 1024], scheme={"one": "a", "two": "b"}, start={"size": 1024})
    assert made.dials == [
        ("size", ["1", "2", "1,024"], 2, False),
        ("scheme", ["one", "two"], 0, True),
    ]
    assert made.choices[:2] == [{"size": 1, "scheme": "a"}, {"size": 1, "scheme": "b"}]
    assert made.choices[made.first] == {"size": 1024, "scheme": "a"}
    assert made.figure.get_size_inches()[0] == 1024


@pytest.mark.plain
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs a dial"),
        ({"size": [1]}, r"size must have two values or more, got \[1\]"),
        ({"size": [1, 2], "start": {"size": 3}}, r"size must be one of \[1, 2\], got 3"),
        ({"size": [1, 2], "start": {"sise": 1}}, r"start must name dials, size, got \['sise'\]"),
    ],
)
def test_a_wrong_dial_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        turn(drawing, **given)


@pytest.mark.plain
def test_figures_with_other_numbers_of_drawings_or_rows_cannot_turn() -> None:
    root = Element("g")
    with pytest.raises(ValueError, match="as many drawings and numbers for every choice"):
        table_of([figure(root, list("abcd")), figure(root, list("abc"))], 0)


CHAPTER = """---
title: Turning
---
# Turning

```python hide=input caption="Bars" alt="Two bars, the first of 1." label="fig-bars"
from llmbook.plots.charts import bars
from llmbook.weave.turning import turn

def draw(high, order):
    return bars({"a": high, "b": 2}, title="Bars"), f"a is {high} & {order}"

turn(draw, high=[1, 2, 3], order=["up", "down"])
```
"""


def test_the_table_lies_beside_the_page_and_the_page_has_the_dials(make_book: MakeBook) -> None:
    """The page's drawing is the first choice; weaving again finds all; the notebook has one figure."""
    book = make_book(a=CHAPTER)
    woven, errors = book.weave()
    assert not errors
    page = woven["a.md"]
    assert page.turns
    assert page.notebook
    before = page.turns.read_text("utf-8")
    tables = json.loads(before)
    assert list(tables) == ["fig-bars"]
    assert tables["fig-bars"]["said"][3] == "a is 2 & down"
    assert len(tables["fig-bars"]["turns"]) == 6
    dials = unescape(page.body.partition('data-dials="')[2].partition('"')[0])
    assert json.loads(dials) == [
        ["high", ["1", "2", "3"], 0, False],
        ["order", ["up", "down"], 0, True],
    ]
    notebook = json.loads(page.notebook.read_text("utf-8"))
    (cell,) = (cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert [sorted(o["data"]) for o in cell["outputs"]] == [["image/svg+xml", "text/plain"]]
    page.turns.unlink()
    again, _ = book.weave()
    assert book.executed == []
    assert again["a.md"].turns == page.turns
    assert page.turns.read_text("utf-8") == before
    kept, _ = book.weave()
    assert kept["a.md"] == again["a.md"]


def test_the_site_has_the_table_the_script_and_the_style(make_book: MakeBook) -> None:
    book = make_book(a=CHAPTER, index="# Home")
    status, said = book.build()
    assert status == 0, said
    files = book.files()
    page = files["a/index.html"].decode()
    assert 'src="../assets/weave/dials.js" data-turns="../a.turns.json"' in page
    assert 'href="../assets/weave/dials.css"' in page
    assert b"dials" not in files["index.html"]
    assert {"a.turns.json", "assets/weave/dials.js", "assets/weave/dials.css"} <= set(files)


def test_a_second_figure_of_a_cell_cannot_turn(make_book: MakeBook) -> None:
    twice = "from IPython.display import display\nfirst = draw(1, 'up')[0]\ndisplay(first, turn"
    book = make_book(a=CHAPTER.replace("\nturn(draw", f"\n{twice}(draw").replace('"])', '"]))'))
    _, (error,) = book.weave()
    assert "only the first can turn" in error.message


def test_what_goes_wrong_for_a_choice_is_shown_with_its_line(make_book: MakeBook) -> None:
    book = make_book(a=CHAPTER.replace("high=[1, 2, 3]", "high=[1, None]"))
    _, (error, *_) = book.weave()
    assert error.line == 11
    assert "TypeError" in error.message
