"""What a cell shows arrives in the page as it was shown: text, values, rich outputs, their order."""

import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown import Markdown
from mkdocs.config import load_config

from llmbook.weave import engine
from llmbook.weave.chapter import read_chapter
from llmbook.weave.engine import Result
from llmbook.weave.render import Book, weave
from llmbook.weave.rich import cleaned
from llmbook.weave.terminal import settled
from tests.book import ROOT
from tests.weave.conftest import MakeBook

HARD = st.text(alphabet=st.sampled_from(string.punctuation + string.ascii_letters + " \n2é−"))
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def markdown() -> Markdown:
    """Python-Markdown as the book has set it up."""
    config = load_config(str(ROOT / "mkdocs.yml"))
    names = [name for name in config.markdown_extensions if name != "pymdownx.snippets"]
    return Markdown(extensions=names, extension_configs=config.mdx_configs)


def page(folder: Path, text: str, *outputs: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """A page with these outputs, as Markdown, and its notebook."""
    path = folder / "a.md"
    path.write_text(text, encoding="utf-8")
    body, notebook, _ = weave(read_chapter(path), Result(list(outputs), 0.0), Book())
    return body, json.loads(notebook)


def printed(text: str) -> list[dict[str, Any]]:
    return [{"output_type": "stream", "name": "stdout", "text": text}]


# --- text


@QUICK
@given(value=HARD.filter(str.strip))
def test_a_value_is_no_markdown(tmp_path: Path, markdown: Markdown, value: str) -> None:
    """`__init__` is not bold, `2*3*4` not italic, `$5 to $6` no formula, `1|2` no cell."""
    body, _ = page(tmp_path, "| a | b |\n| - | - |\n| `{python} x` | c |\n", printed(value))
    table = BeautifulSoup(markdown.reset().convert(body), "html.parser")
    assert [" ".join(td.get_text().split()) for td in table.select("td")] == [
        " ".join(value.split()),
        "c",
    ]


@QUICK
@given(text=HARD.filter(str.strip))
def test_printed_text_and_code_are_shown_as_they_are(
    tmp_path: Path, markdown: Markdown, text: str
) -> None:
    """A fence in a language model's answer ends nothing, and braces at its end are no attributes."""
    code = f"print({text!r})  # ``` ~~~"
    body, notebook = page(tmp_path, f"````python\n{code}\n````\n\nAfter.\n", printed(text))
    shown = BeautifulSoup(markdown.reset().convert(body), "html.parser")
    (output,) = shown.select(".output pre")
    assert output.get_text().replace("\u200b", "") == text.rstrip()
    assert [c.get_text().rstrip("\n") for c in shown.select(".highlight code")] == [code]
    assert "After." in [p.get_text() for p in shown.select("p")]
    assert notebook["cells"][0]["outputs"][0]["text"] == text


def test_a_listing_that_holds_a_fence_is_one_listing(markdown: Markdown) -> None:
    from llmbook.weave.listing import listing

    shown = markdown.reset().convert(listing("a.b", 'x = """\n```\n"""\n'))
    assert len(BeautifulSoup(shown, "html.parser").select("code")) == 2  # its name, and it


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("10%\r 50%\r100%\nready\n", "100%\nready\n"),
        ("abc\b\bX\n", "aXc\n"),
        ("a\tb\tc\n", "a       b       c\n"),
        ("\x1b[31mred\x1b[0m \x1b[1mbold\x1b[0m\n", "red bold\n"),
        ("one\ntwo\n\x1b[1Athree\n", "one\nthree\n"),
        ("half\x1b[2K\rwhole\n", "whole\n"),
        ("bell\x07 null\x00\n", "bell null\n"),
        ("\x1b]8;;https://e.org\x07link\x1b]8;;\x07\n", "link\n"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("", ""),
    ],
)
def test_text_ends_as_a_terminal_shows_it(printed: str, shown: str) -> None:
    assert settled(printed) == shown


@given(st.text(alphabet=string.printable[:95] + "\n"))
def test_text_without_codes_is_not_touched(text: str) -> None:
    assert settled(text) == text


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_no_control_character_is_left(text: str) -> None:
    """But the ends of lines."""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", settled(text))


def test_a_progress_bar_on_stderr_is_shown_and_a_warning_is_not(make_book: MakeBook) -> None:
    bar = "import sys\nfor i in (1, 2):\n    print(f'\\r{i}/2', end='', file=sys.stderr)"
    book = make_book(
        a=f"# A\n\n```python\n{bar}\n```\n",
        b=f"# B\n\n```python\n{bar}\nprint('\\nwarned', file=sys.stderr)\n```\n",
    )
    woven, errors = book.weave()
    assert ">2/2<" in woven["a.md"].markdown
    assert [error.path.name for error in errors] == ["b.md"]
    assert "warned" in errors[0].message


def test_an_output_of_megabytes_is_refused(make_book: MakeBook) -> None:
    """With its line, before a reader's browser has to hold it."""
    book = make_book(a=f"# A\n\n```python\nprint('x' * {engine.LARGE})\n```\n")
    _, errors = book.weave()
    assert [error.line for error in errors] == [3]
    assert "this cell shows 5 MB" in errors[0].message


def test_many_empty_lines_are_woven_at_once(tmp_path: Path) -> None:
    """In a time that grows with their number, not with its square, which would be minutes."""
    body, _ = page(tmp_path, "```python\n1\n```\n", printed("a" + "\n" * 200_000 + "b"))
    assert body.count("&#8203;") == 199_999


# --- rich outputs


RICH = {
    "HTML('<b>bold</b>')": ".output b",
    "Math('x^2')": ".output math",
    "Latex(r'\\begin{align} a &= b \\end{align}')": ".output math",
    "SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')": '.output img[src^="data:image/svg"]',
    "Image(data=PIXEL, format='png')": '.output img[src^="data:image/png"]',
    "Markdown('**bold**')": "strong",
    "Frame()": ".output table.dataframe td",
}
SETUP = """import base64
from IPython.display import HTML, Image, Latex, Markdown, Math, SVG
PIXEL = base64.b64decode(b"iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
class Frame:
    def _repr_html_(self):
        return '<div><style scoped>.dataframe {a: b}</style><table border="1" class="dataframe"><tr><td>1</td></tr></table></div>'
"""


def test_rich_outputs_are_shown_as_in_jupyter(make_book: MakeBook, markdown: Markdown) -> None:
    """In the page, and in the notebook."""
    cells = "".join(f"```python\n{code}\n```\n\n" for code in (SETUP, *RICH))
    book = make_book(a=f"# A\n\n{cells}")
    woven, errors = book.weave()
    assert not errors, errors[0]
    shown = BeautifulSoup(markdown.reset().convert(woven["a.md"].body), "html.parser")
    for code, selector in RICH.items():
        assert shown.select(selector), code
    assert " object&gt;" not in woven["a.md"].body
    assert "a: b" not in "".join(box.get_text() for box in shown.select(".output"))
    assert woven["a.md"].notebook
    notebook = json.loads(woven["a.md"].notebook.read_text(encoding="utf-8"))
    kinds = {k for c in notebook["cells"] for o in c.get("outputs", ()) for k in o.get("data", ())}
    assert {"text/html", "text/latex", "image/svg+xml", "image/png", "text/markdown"} <= kinds


@pytest.mark.parametrize(
    "code",
    ["HTML('<script>draw()</script>')", "Javascript('draw()')", "IFrame('https://e.org', 1, 1)"],
)
def test_what_only_a_script_shows_is_refused(make_book: MakeBook, code: str) -> None:
    """With the line of the cell, never as the name of an object."""
    book = make_book(a=f"# A\n\n```python\nfrom IPython.display import *\n{code}\n```\n")
    _, errors = book.weave()
    assert [error.line for error in errors] == [3]


@given(st.text(alphabet="<>/=\"' abonclikscrtphef:javdt,;&#x0-"))
def test_cleaned_html_runs_nothing(source: str) -> None:
    """No script, handler, frame or address of a script is left, whatever the HTML is."""
    found = BeautifulSoup(cleaned(f"<a {source}>a</a>{source}<img {source}>"), "html.parser")
    assert not found.select("script, style, iframe, object, embed, form, svg")
    for tag in found.find_all(True):
        for name, value in tag.attrs.items():
            assert not name.startswith("on")
            assert not re.match(r"\s*(javascript|vbscript|data:text)", str(value), re.I)


def test_a_picture_with_a_caption_is_a_figure(make_book: MakeBook) -> None:
    """It has a number, and the description that its author gave it."""
    cell = f"{SETUP}Image(data=PIXEL, format='png')"
    book = make_book(a=f'# A\n\n```python caption="What" alt="A pixel"\n{cell}\n```\n')
    shown = BeautifulSoup(book.page(), "html.parser")
    assert [image["alt"] for image in shown.select("figure img")] == ["A pixel"]
    assert "Figure 1" in shown.get_text()


# --- order


FIGURE = "from matplotlib.figure import Figure\nfrom IPython.display import display\n"


@pytest.mark.parametrize(
    ("cell", "order"),
    [
        ("print('ONE')\ndisplay(Figure())\nprint('TWO')", ["ONE", "figure", "TWO"]),
        ("display(Figure())\nprint('TWO')", ["figure", "TWO"]),
        ("print('ONE')\ndisplay(Figure())", ["ONE", "figure"]),
        ("print('ONE')\ndisplay(HTML('<i>HTML</i>'))\nprint('TWO')", ["ONE", "HTML", "TWO"]),
    ],
)
@pytest.mark.parametrize("hide", ["", "hide=input "])
def test_outputs_come_in_their_order(
    make_book: MakeBook, cell: str, order: list[str], hide: str
) -> None:
    """Text, a figure, text."""
    head = f'```python {hide}caption="c" alt="a"\nfrom IPython.display import HTML\n'
    book = make_book(a=f"# A\n\n{head}{FIGURE}{cell}\n```\n")
    shown = re.sub(r"(?s)<div class=\"highlight.*?</div>|```.*?```", "", book.page())
    assert re.findall(r"ONE|TWO|HTML|(?<=<)figure", shown) == order


def test_nobody_answers_and_the_cell_says_so(make_book: MakeBook) -> None:
    book = make_book(a="# A\n\n```python\ninput('who?')\n```\n")
    _, errors = book.weave()
    assert "StdinNotImplementedError: no reader can answer" in errors[0].message
