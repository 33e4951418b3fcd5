"""Executing and weaving: what runs again and what does not, and what a page then shows."""

import cProfile
import json
import os
import re
import sys
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from markdown import Markdown

from llmbook.book.blocks import Blocks
from llmbook.weave import render
from llmbook.weave.__main__ import main
from llmbook.weave.chapter import Chapter, WeaveError
from tests.weave.conftest import MakeBook


def test_a_prose_edit_executes_nothing(make_book: MakeBook) -> None:
    """The text changes, the outputs come from the store."""
    book = make_book(a="# A\n\nold\n\n```python\n6 * 7\n```\n")
    book.weave()
    assert book.executed == ["a.md"]
    book.write("a.md", "# A\n\nnew words\n\n```python\n6 * 7\n```\n\nand more\n")
    page = book.page()
    assert book.executed == []
    assert "new words" in page
    assert ">42<" in page


def test_a_cell_edit_executes_that_chapter(make_book: MakeBook) -> None:
    """And no other."""
    book = make_book(a="```python\n1\n```\n", b="```python\n2\n```\n")
    book.weave()
    book.write("b.md", "```python\n3\n```\n")
    assert ">3<" in book.page("b.md")
    assert book.executed == ["b.md"]


def test_chapters_with_the_same_cells_share_what_one_has_shown(make_book: MakeBook) -> None:
    """In one build of an empty store: only those that begin together are executed."""
    cores = os.cpu_count() or 1
    names = [f"same{number}" for number in range(cores + 4)]
    book = make_book(**{name: f"{name}\n\n```python\n6 * 7\n```\n" for name in names})
    woven, errors = book.weave()
    assert not errors
    assert 1 <= len(book.executed) <= cores
    assert all("42" in woven[f"{name}.md"].body for name in names)


def test_a_docstring_of_a_module_that_fills_forms_weaves_no_page_again(
    make_book: MakeBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its numbers do: what the book's own fences read is in every page's key."""
    facts = tmp_path / "facts.py"
    monkeypatch.setattr(Blocks, "data", classmethod(lambda *_: [facts]))
    woven: list[Path] = []

    def weave(chapter: Chapter, *args: Any) -> tuple[str, str, str]:
        woven.append(chapter.path)
        return render.weave(chapter, *args)

    monkeypatch.setattr("llmbook.weave.book.weave", weave)
    book = make_book(a="# A\n\n```python\n6 * 7\n```\n", b="# B\n\nWords.\n")
    for text, pages in [('"""One."""\nX = 1', 2), ('"""Two."""\nX = 1', 0), ("X = 2", 2)]:
        facts.write_text(f"{text}\n", encoding="utf-8")
        woven.clear()
        _, errors = book.weave()
        assert not errors
        assert len(woven) == pages, text


def test_a_module_edit_executes_the_chapters_that_import_it(make_book: MakeBook) -> None:
    """Directly or through another module; their pages show the new output."""
    book = make_book()
    book.module("low", "def f():\n    return 1\n")
    book.module("high", f"from {book.package} import low\n\ndef g():\n    return low.f() * 10\n")
    book.module("other", "h = 5\n")
    book.write("a.md", f"```python\nfrom {book.package}.low import f\nf()\n```\n")
    book.write("b.md", f"```python\nimport {book.package}.high as high\nhigh.g()\n```\n")
    book.write("c.md", f"```python\nfrom {book.package} import other\nother.h\n```\n")
    book.weave()
    assert sorted(book.executed) == ["a.md", "b.md", "c.md"]
    book.module("low", "def f():\n    return 2\n")
    woven, errors = book.weave()
    assert not errors
    assert sorted(book.executed) == ["a.md", "b.md"]
    assert ">2<" in woven["a.md"].markdown
    assert ">20<" in woven["b.md"].markdown
    assert ">5<" in woven["c.md"].markdown


def test_a_data_file_that_a_cell_names_is_part_of_the_key(make_book: MakeBook) -> None:
    """Another content executes the chapter again."""
    book = make_book(a='```python\nprint(open("n.txt").read())\n```\n')
    (book.docs / "n.txt").write_text("one")
    assert ">one<" in book.page()
    (book.docs / "n.txt").write_text("two")
    assert ">two<" in book.page()


def test_a_damaged_result_is_made_anew(make_book: MakeBook) -> None:
    """A file that was cut off counts as absent."""
    book = make_book(a="```python\n6 * 7\n```\n")
    book.weave()
    for file in (book.root / "cache").rglob("*.json"):
        file.write_text('{"outputs": [')
    assert ">42<" in book.page()
    assert book.executed == ["a.md"]


def test_inline_values_are_those_at_their_place(make_book: MakeBook) -> None:
    """The kernel runs the chapter from top to bottom; the page keeps the expression."""
    page = make_book(
        a="```python\nx = 1\n```\n\n`{python} x`\n\n```python\nx = 2\n```\n\n`{python} f'{x:.1f}'`\n\n"
        "`{python} [[x]][0][-1]`\n"
    ).page()
    found = re.findall(r'<span class="value" title="([^"]*)">([^<]*)</span>', page)
    assert [(unescape(code), value) for code, value in found] == [
        ("x", "1"),
        ("f'{x:.1f}'", "2.0"),
        ("[[x]][0][-1]", "2"),  # to Markdown, no link to a reference "-1"
    ]


def test_what_is_hidden_is_not_on_the_page(make_book: MakeBook) -> None:
    """Input, output or both; all of it runs."""
    page = make_book(
        a="```python hide=all\nsecret = 7\nprint('gone')\n```\n\n```python hide=input\nprint(secret)\n```\n\n"
        "```python hide=output\nprint('unseen' * 2)\n```\n"
    ).page()
    assert "secret" not in page
    assert ">7<" in page
    assert "unseenunseen" not in page


def test_an_expected_failure_is_shown_as_one(make_book: MakeBook) -> None:
    """One line: the exception and what it says."""
    page = make_book(a="```python raises-exception\n1 / 0\n```\n").page()
    assert (
        '<div class="output fails"><pre tabindex="0">ZeroDivisionError: division by zero</pre>'
        in page
    )


def test_markup_in_outputs_stays_text(make_book: MakeBook) -> None:
    """Angle brackets are escaped, blank lines kept, and prints and results share one box."""
    page = make_book(a="```python\nprint('<b>\\n\\n&')\n1\n```\n").page()
    assert page.count('<div class="output">') == 1
    assert "&lt;b&gt;\n&#8203;\n&amp;\n1</pre>" in page
    dictionary = make_book(a="```python\nprint('a', {1: 2}, sep='\\n')\n```\n").page()
    html = Markdown(extensions=["attr_list", "md_in_html"]).convert(dictionary)
    assert ">a\n{1: 2}</pre>" in unescape(html)  # braces at the end are no attributes


FIGURE = (
    "```python {options}\nfrom matplotlib.figure import Figure\nfrom llmbook.plots.palette import LIGHT\n"
    "f = Figure(figsize=(5, 2))\nf.add_subplot().plot([1, 2], color={colour})\n"
    "for s in f.axes[0].spines.values(): s.set_color(LIGHT['ink'])\n"
    "f.axes[0].tick_params(colors=LIGHT['ink'])\nf.set_facecolor('none')\nf.axes[0].set_facecolor('none')\nf\n```\n"
)
OPTIONS = 'caption="See **it**." alt="A \\"line\\"" label="fig-x"'


def test_a_figure_follows_the_scheme_and_the_width(make_book: MakeBook) -> None:
    """No colour and no font of its own, two widths, a title, a caption, a number."""
    page = make_book(
        a="---\npart: 3\n---\nAs @fig-x shows.\n\n"
        + FIGURE.format(options=OPTIONS, colour="LIGHT['blue']")
    ).page()
    svgs = re.findall(r"<svg.*?</svg>", page)
    assert [re.findall(r'width="(\d+)"', svg)[0] for svg in svgs] == ["360", "340"]
    for svg in svgs:
        assert not re.search(
            r"#[0-9a-fA-F]{3,8}\b(?!\))", re.sub(r'(href="|url\()#[^")]*', "", svg)
        )
        assert "font-family" not in svg
        assert "var(--blue)" in svg
        assert "data-search-exclude" in svg
        assert "A &quot;line&quot;</title>" in svg
    assert "**[Figure 3.1](#fig-x)** See **it**." in page
    assert "As [Figure 3.1](#fig-x) shows." in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


HEATMAP = """```python caption="See." alt="Two panels"
from IPython.display import display
import numpy as np
from llmbook.plots.attention import heatmap
for title in ("one", "<two>"):
    display(heatmap(np.eye(2) / 3, ["a", "b{}"], title=title))
```
"""


def test_the_numbers_of_a_heatmap_can_be_unfolded(make_book: MakeBook) -> None:
    """One table a panel, with its title and the names of rows and columns; search skips them."""
    page = Markdown(extensions=["attr_list", "md_in_html"]).convert(make_book(a=HEATMAP).page())
    (folded,) = re.findall(
        r"<details class=\"numbers\" data-search-exclude.*?</details>", page, re.S
    )
    tables = re.findall(r"<table>.*?</table>", folded, re.S)
    assert [re.findall("<caption>(.*?)</caption>", table)[0] for table in tables] == [
        "one",
        "&lt;two&gt;",
    ]
    assert re.findall(r'<th scope="col">(.*?)</th>', unescape(tables[0])) == ["a", "b{}"]
    assert re.findall(r'<th scope="row">(.*?)</th>', unescape(tables[0])) == ["a", "b{}"]
    assert re.findall("<td>([^<]+)</td>", tables[0]) == ["0.33", "0.00", "0.00", "0.33"]
    assert page.index("</figure>") < page.index("<details")


def test_two_cold_builds_are_the_same_byte_for_byte(make_book: MakeBook) -> None:
    """Figures, notebook and text; only the page's cost differs."""
    text = FIGURE.format(options=OPTIONS, colour="LIGHT['blue']") + "\n```python\nhash('a')\n```\n"
    one, two = make_book(a=text), make_book(a=text)
    (first, _), (second, _) = one.weave(), two.weave()
    cost = r"(?m)^(seconds|watt_hours): .*$"
    assert re.sub(cost, "", first["a.md"].markdown) == re.sub(cost, "", second["a.md"].markdown)
    notebooks = [woven["a.md"].notebook for woven in (first, second)]
    assert len({path.read_text() for path in notebooks if path}) == 1
    assert all(notebooks)


def test_the_notebook_holds_prose_code_and_outputs(make_book: MakeBook) -> None:
    """Valid, with values in the prose, real drawings, and no trace of how the page is made."""
    import nbformat

    book = make_book(
        a="# A\n\nIt is `{python} 2 * 3`.\n\n"
        + FIGURE.format(options=OPTIONS, colour="LIGHT['blue']")
    )
    woven, errors = book.weave()
    assert not errors
    notebook = nbformat.read(woven["a.md"].notebook, as_version=4)
    nbformat.validate(notebook)
    assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "markdown"]
    assert notebook.cells[0].source == "# A\n\nIt is 6."
    data = notebook.cells[1].outputs[0].data
    assert data["image/svg+xml"].startswith("<?xml")
    assert not any("llmbook" in kind for kind in data)


def test_a_page_lists_the_seeds_of_all_in_reading_order(make_book: MakeBook) -> None:
    """Those that cells name as numbers; not those of text, of other code, or of variables."""
    book = make_book(
        b="# Second\n\n```python\nimport random\nseed = 5\nrandom.seed(seed)\ndict(seed=3, other=4)\n```\n",
        a="# First\n\n```python\nfrom numpy.random import default_rng\ndefault_rng(12), default_rng(2)\n```\n",
        c="# Third\n\n`seed=9`\n\n```py\nf(seed=8)\n```\n",
        seeds="# Seeds\n\n```seeds\n```\n",
    )
    assert "| [First](a.md) | 2, 12 |\n| [Second](b.md) | 3 |\n" in book.page("seeds.md")
    assert "Third" not in book.page("seeds.md")


def test_a_chapter_costs_the_same_in_a_long_book(make_book: MakeBook) -> None:
    """Counted in calls, which are the same on every machine: `make bench` takes the time."""
    text = "# Chapter\n\nText `{python} 6 * 7`.\n\n```python\n40 + 2\n```\n"
    book, calls = make_book(), []
    book.write("c000.md", text)
    book.weave()  # one result, which is the others' too
    for first, last in ((1, 10), (10, 105), (105, 200)):
        for number in range(first, last):
            book.write(f"c{number:03}.md", text)
        book.weave()
        with cProfile.Profile() as profile:
            _, errors = book.weave()
        assert (errors, book.executed) == ([], [])
        calls.append(sum(entry.callcount for entry in profile.getstats()))
    few, some, many = calls
    assert many - some == pytest.approx(some - few, rel=0.01)


def test_a_listing_shows_the_source_without_its_docstring(make_book: MakeBook) -> None:
    """Found statically; nothing is executed for it."""
    book = make_book()
    book.module(
        "m", 'import nothing_like_this\n\n\ndef f(x):\n    """Say."""\n    return x  # why\n'
    )
    book.write("a.md", f'```python listing="{book.package}.m.f"\n```\n')
    page = book.page()
    assert "def f(x):\n    return x  # why\n```" in page
    assert f'<autoref identifier="{book.package}.m.f" optional>' in page
    assert book.executed == []


BAD = {
    "a cell that raises": ("```python\nx = 1\n1 / 0\n```\n", 5, "ZeroDivisionError: division by zero"),
    "a syntax error": ("```python\nx = = 1\n```\n", 4, "SyntaxError"),
    "a cell that should raise": ("```python raises-exception\n1\n```\n", 3, "must raise"),
    "a warning": ("```python\nimport warnings\nwarnings.warn('old')\n```\n", 3, "UserWarning: old"),
    "a mistyped option": ("```python hid=input\n1\n```\n", 3, "did you mean 'hide'?"),
    "an unknown listing": ('```python listing="llmbook.attention.sefl"\n```\n', 3, "'llmbook.attention.sefl' is not"),
    "a listing without a package": ('```python listing="nowhere.f"\n```\n', 3, "'nowhere.f' is not"),
    "a listing from a folder": ('```python listing="llmbook.data.f"\n```\n', 3, "'llmbook.data.f' is not"),
    "a missing alt text": (FIGURE.format(options='caption="x"', colour="LIGHT['blue']"), 3, 'no alt="…"'),
    "a missing caption": (FIGURE.format(options='alt="x"', colour="LIGHT['blue']"), 3, 'no caption="…"'),
    "a colour of its own": (FIGURE.format(options=OPTIONS, colour="'#123456'"), 3, "#123456 is not in llmbook.plots.palette"),
    "an indented fence": ("- x\n\n    ```python\n    1\n    ```\n", 5, "indented python fence"),
    "an unknown figure": ("See\n@fig-none here.\n", 4, "no figure of this chapter has the label 'fig-none'"),
    "an unknown correction": ("```correction\nno-such-row\n```\n", 3, "corrections.yaml has no row 'no-such-row'"),
    "an inline value": ("a\n`{python} undefined`\n", 4, "NameError"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_reported_with_file_and_line(make_book: MakeBook, name: str) -> None:
    """And the other pages are woven all the same."""
    text, line, message = BAD[name]
    book = make_book(a="# A\n\n" + text, b="```python\n40 + 2\n```\n")
    woven, errors = book.weave()
    assert [(error.path.name, error.line) for error in errors] == [("a.md", line)]
    assert message in str(errors[0])
    assert f"a.md:{line}: " in str(errors[0])
    assert ">42<" in woven["b.md"].markdown


def test_a_failing_cell_is_shown_in_its_place(make_book: MakeBook) -> None:
    """As `mkdocs serve` needs it: the cells before and after are there, the error between."""
    woven, _ = make_book(a="before\n\n```python\n1 / 0\n```\n\nafter\n").weave()
    page = woven["a.md"].markdown
    assert page.index("before") < page.index('<div class="output error">') < page.index("after")
    assert "a.md:4" in page


def test_the_command_writes_plain_markdown_and_notebooks(
    make_book: MakeBook, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything of the folder arrives; an error gives status 1 and its place."""
    book = make_book(a="```python\n6 * 7\n```\n")
    (book.docs / "picture.svg").write_text("<svg/>")
    out = book.root / "out"
    arguments = [
        str(book.docs),
        "-o",
        str(out),
        "--cache",
        str(book.root / "c"),
        "--package",
        book.package,
    ]
    assert main(arguments) == 0
    assert ">42<" in (out / "a.md").read_text()
    assert json.loads((out / "a.ipynb").read_text())["cells"]
    assert (out / "picture.svg").exists()
    book.write("a.md", "```python\nraise ValueError('so')\n```\n")
    assert main(arguments) == 1
    assert "a.md:2: ValueError: so" in capsys.readouterr().err


def test_the_engine_imports_nothing_of_mkdocs_and_nothing_heavy() -> None:
    """What is not stale costs no kernel client, no grimp and no torch."""
    import subprocess

    code = (
        "import sys, llmbook.weave.book, llmbook.weave.__main__\n"
        "heavy = {'mkdocs', 'torch', 'matplotlib', 'numpy', 'grimp', 'griffe', 'nbclient', 'nbformat', 'jupytext'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_llmbook_imports_neither_torch_nor_matplotlib() -> None:
    """A reader who wants one module pays for that one."""
    import subprocess

    code = "import sys, llmbook; print([m for m in ('torch', 'matplotlib', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_error_says_where() -> None:
    """Path, line, message, as compilers do."""
    assert str(WeaveError(Path("docs/a.md"), 12, "so")) == str(Path("docs/a.md")) + ":12: so"
