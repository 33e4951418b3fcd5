"""`llmbook.weave.notebook`: what is downloaded reads as Jupyter reads Markdown."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from markdown_it import MarkdownIt

from llmbook.weave.notebook import empty_notebook, plain
from tests.weave.conftest import TinyBook

FIGURE = """
```python label="fig-line" alt="A line." caption="A line of *two* points."
from llmbook.plots.charts import line_chart
line_chart({"a": ([0, 1], [0, 1])}, title="A", x_label="x")
```
"""


def html(text: str) -> str:
    """What Jupyter makes of it: CommonMark with HTML let through."""
    rendered: str = MarkdownIt("commonmark").render(text)
    return rendered


def test_boxes_are_quotations_and_folded_ones_can_be_unfolded() -> None:
    """With their Markdown set, and nothing in them taken for code."""
    text = 'Before.\n\n??? predict "Is *it* so?"\n    **Yes.** Two:\n\n    - `a`\n    - b\n\n'
    text += "!!! limits\n    A toy.\n\n    Of one thing.\n\nAfter.\n"
    made = html(plain(text, {}))
    assert "<details><summary>Is <em>it</em> so?</summary>" in made
    assert "<p><strong>Yes.</strong> Two:</p>" in made
    assert "<li><code>a</code></li>" in made
    quoted = made.partition("<blockquote>")[2].partition("</blockquote>")[0]
    assert "<strong>Limits</strong>" in quoted
    assert "<p>Of one thing.</p>" in quoted
    assert "<pre>" not in made
    assert made.endswith("<p>After.</p>\n")
    assert made.index("</details>") < made.index("<blockquote>")


def test_a_correction_is_a_quotation() -> None:
    """Where the page has a box of HTML."""
    text = '<div class="admonition correction" id="correction-a" markdown="1">\n'
    text += '<p class="admonition-title">Correction</p>\n\nNot *so*.\n\n</div>\n\nAfter.'
    made = html(plain(text, {}))
    assert "<p><strong>Correction</strong></p>\n<p>Not <em>so</em>.</p>\n</blockquote>" in made
    assert made.endswith("<p>After.</p>\n")


def test_a_footnote_is_a_paragraph_with_its_name() -> None:
    """Two lines of it are one paragraph, as on the page."""
    made = html(plain("So.[^why] More.\n\n[^why]: Because\n    of it.\n", {}))
    assert made == ("<p>So.<sup>why</sup> More.</p>\n<p><sup>why</sup> Because\nof it.</p>\n")


def test_a_title_is_no_html() -> None:
    """Neither in a notebook."""
    assert "<script>" not in plain('??? note "<script>alert(1)</script>"\n    No.\n', {})


def test_no_attributes_and_no_colours() -> None:
    """Headings and formulas hold only what Jupyter knows."""
    assert plain("## A { #a .b }\n\n[b](c){ .button }\n", {}) == "## A\n\n[b](c)\n"
    assert plain(r"$\query{Q}\,\key{K}^\top$, not \keyed", {}) == r"${Q}\,{K}^\top$, not \keyed"


def test_a_figure_has_its_number_and_caption(make_book: Callable[..., TinyBook]) -> None:
    """Below the cell that draws it, and where the text speaks of it, even before."""
    book = make_book(a=f"# A\n\nSee @fig-line.\n{FIGURE}\nIn @fig-line it rises.\n")
    woven, errors = book.weave()
    assert not errors
    assert woven["a.md"].notebook
    cells = json.loads(woven["a.md"].notebook.read_text("utf-8"))["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "markdown"]
    assert cells[0]["source"] == "# A\n\nSee Figure 1."
    assert cells[2]["source"] == ("**Figure 1** A line of *two* points.\n\n\nIn Figure 1 it rises.")


def test_nothing_of_the_books_own_markdown_is_in_a_notebook(site: Path) -> None:
    """In none of the whole book."""
    own = re.compile(
        r"(?m)^(?:!!!|\?\?\?) \w+|@fig-|admonition|\[\^|\{ [.#]|\\(?:query|key|val|head)\{"
    )
    notebooks = list(site.rglob("*.ipynb"))
    assert len(notebooks) > 40
    for path in notebooks:
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                assert not own.findall("".join(cell["source"])), path


def test_an_empty_notebook_installs_its_package_where_it_is_not(tmp_path: Path) -> None:
    """By one cell before all others, in plain Python; without something to install there is none."""
    executed = json.dumps({"cells": []})
    assert json.loads(empty_notebook(executed, "nowhere"))["cells"] == []
    wheel, there = tmp_path / "nowhere-1.0-py3-none-any.whl", tmp_path / "a folder"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("nowhere.py", "")
        meta = {"METADATA": "Name: nowhere\nVersion: 1.0", "WHEEL": "Tag: py3-none-any"}
        for name, text in meta.items():
            version = "Metadata-Version: 2.1\n" if name == "METADATA" else "Wheel-Version: 1.0\n"
            file.writestr(f"nowhere-1.0.dist-info/{name}", version + text)
        file.writestr("nowhere-1.0.dist-info/RECORD", "")
    made = empty_notebook(executed, "nowhere", f"--no-index --target '{there}' {wheel}")
    (cell,) = json.loads(made)["cells"]
    assert cell["outputs"] == []
    exec(compile(cell["source"].replace("'nowhere'", "'llmbook'"), "cell", "exec"), {})
    assert not there.exists()
    exec(compile(cell["source"], "cell", "exec"), {})
    assert (there / "nowhere.py").is_file()
