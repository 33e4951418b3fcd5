"""Reading a chapter: what runs, what is shown, and which mistakes are named."""

import re
from pathlib import Path

import jupytext
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbook.weave.chapter import Chapter, WeaveError, parse_options, read_chapter
from llmbook.weave.reading import reading_minutes

DOCS = Path(__file__).parents[2] / "docs"
PARTS = ("evolution", "transformer", "models", "challenges")
CHAPTERS = sorted(page for part in PARTS for page in (DOCS / part).glob("*.md"))


def read(tmp_path: Path, text: str) -> Chapter:
    path = tmp_path / "a.md"
    path.write_text(text, encoding="utf-8")
    return read_chapter(path, frozenset({"correction"}))


def test_only_python_fences_at_the_margin_are_cells(tmp_path: Path) -> None:
    """Other languages, `py`, and fences in a comment are left as they stand."""
    chapter = read(
        tmp_path,
        "---\npart: 2\n---\n# T\n\n```python\nx = 1\n```\n\n```py\nno\n```\n\n```sh\nno\n```\n\n"
        "<!--\n```python\nno\n```\n-->\n\n~~~python\ny = 2\n~~~\n",
    )
    assert [part.text for part in chapter.cells] == ["x = 1\n", "y = 2\n"]
    assert chapter.meta == {"part": 2}
    assert [part.line for part in chapter.cells] == [6, 24]


def test_inline_values_are_found_in_prose_and_not_in_code(tmp_path: Path) -> None:
    """Double backticks and fences quote the syntax; a paragraph uses it."""
    chapter = read(
        tmp_path,
        "a `{python} 1 + 1` b `` `{python} no` ``\n\n```text\n`{python} no`\n```\n\n`{python} f(2)`\n",
    )
    assert [(part.kind, part.text, part.line) for part in chapter.cells] == [
        ("inline", "1 + 1", 1),
        ("inline", "f(2)", 7),
    ]


@pytest.mark.parametrize(
    "fence",
    ["```text\n{}\n```", "~~~\n{}\n~~~~", "````md\n```\n{}\n```\n````", "   ```text\n{}\n   ```"],
)  # fmt: skip
def test_a_value_in_a_fence_is_text_whatever_its_marks(tmp_path: Path, fence: str) -> None:
    """As CommonMark has it: longer marks, marks within, up to three blanks before."""
    text = "`{python} 1`\n\n" + fence.replace("{}", "`{python} no`") + "\n"
    chapter = read(tmp_path, text)
    assert [part.text for part in chapter.cells] == ["1"]
    assert "".join(part.text for part in chapter.parts if part.kind == "prose") == text[12:]


def test_minutes_count_words_of_prose_and_cells() -> None:
    """Not the words of code, nor of the front matter."""
    cell, prose = "```python hide=input\n" + "x = 1\n" * 500 + "```\n", "word " * 400
    assert reading_minutes(f"---\nquestion: {prose}\n---\n{prose}\n") == 2
    assert reading_minutes(f"{prose}\n\n{cell}\n{prose}\n\n{cell}\n~~~\n{prose}\n~~~\n") == 5
    assert reading_minutes("") == 1


@given(st.text(alphabet="ab `{}python\n#*-1.", max_size=80))
def test_prose_without_fences_comes_back_as_it_was(text: str) -> None:
    """Nothing of the text is lost, whatever stands in it."""
    if re.search(r"^\s*([>*-]|\d+\.)*\s*(```|~~~)|\{python\}", text, re.M):
        return
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        chapter = read(Path(folder), text)
    assert "".join(part.text for part in chapter.parts) == text.replace("\r", "\n")


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("captoin='x'", "unknown cell option 'captoin': did you mean 'caption'?"),
        ("zzz", "unknown cell option 'zzz': known are caption"),
        ("caption", "option 'caption' is written caption=\"…\""),
        ("caption=", "option 'caption' is written caption=\"…\""),
        ("volatile=yes", "option 'volatile' is written volatile"),
        ("hide=inputs", "hide must be one of ['all', 'input', 'output'], got 'inputs'"),
        ("caption='x", "cannot read the options"),
    ],
)
def test_a_mistyped_option_is_named(info: str, message: str) -> None:
    """With the chapter, the line, and what is right."""
    with pytest.raises(WeaveError, match=re.escape(message)) as caught:
        parse_options(Path("a.md"), 7, info)
    assert str(caught.value).startswith("a.md:7: ")


@pytest.mark.parametrize(
    "text",
    ["    ```python\n    x\n    ```\n", "- item\n\n  ```python\n  x\n  ```\n", "> ```python\n> x\n> ```\n",
     "!!! note\n    text\n\n    ```python\n    x\n    ```\n", "1. ```python\n   x\n   ```\n"],
)  # fmt: skip
def test_an_indented_python_fence_is_an_error(tmp_path: Path, text: str) -> None:
    """It would be shown and never run, so it is refused at its line."""
    with pytest.raises(WeaveError, match="indented python fence never runs") as caught:
        read(tmp_path, "# T\n\n" + text)
    assert caught.value.line == 3 + text[: text.index("```python")].count("\n")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_jupytext_opens_a_chapter_as_the_same_notebook(path: Path) -> None:
    """Its code cells are ours and our listings, in the same order."""
    ours = [p.text.rstrip() for p in read_chapter(path).parts if p.kind in {"cell", "listing"}]
    theirs = jupytext.read(path, fmt="md")
    code = [cell.source.rstrip() for cell in theirs.cells if cell.cell_type == "code"]
    assert [cell for cell in code if cell] == [cell for cell in ours if cell]
