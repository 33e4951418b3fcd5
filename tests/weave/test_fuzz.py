"""Chapters with every kind of mistake: an error with its place, never a traceback or a hang."""

import functools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown import Markdown

from llmbook.book.blocks import Blocks
from llmbook.weave.book import weave_book
from llmbook.weave.chapter import Chapter, WeaveError, read_chapter
from llmbook.weave.configuration import Site
from llmbook.weave.engine import Result, key
from llmbook.weave.kernel import FIGURE
from llmbook.weave.lab_pages import read_lab
from llmbook.weave.render import Book, failure, weave
from tests.book import DOCS, ROOT, chapters
from tests.weave.test_killed import LONG

LINES = """\
```python
```python caption="a" alt="b" label="fig-1"
```python caption='a
```python hide=input raises-exception volatile
```python listing="llmbook.attention.attention"
```python listing="llmbook"
```python listing="."
```python listing="llmbook.attention.nothing.at.all"
```python label="\\\\1"
```python caption="\\\\g<9> {{ x }}" alt="\\\\1 <b>"
```py
```text
```
````
~~~
~~~python
    ```python
> ```python
!!! note "A"
??? tip
=== "Tab"
    !!! warning
        === "B"
<!--
-->
<div markdown="1">
</div>
</details>
---
part: 9
title: [
`{python} 1 + 1`
`{python} `
`` `{python} x` ``
As @fig-1 and @fig-none show.
[a][nowhere] and [b](nowhere.md#x)
[^1]: note
*[HTML]: abbreviation
$$\\frac{1}{
$\\unknown{x}$
| a | b |
|---|---|
```mermaid
graph TD; A-->B
```correction
gpt-before-bert
```references
```outline
a | b
x = (
raise SystemExit
"a.b"
{: .x #y title="z }
<script>alert(1)</script>
&#0; &#xD800; &nbsp;
""".splitlines()  # fmt: skip
HUGE = [
    mark * 2000 for mark in ("`", "<!--", "> ", "- ", "[", "{", "*a ", "<b>", "a", "$", "~", '"')
]
ODD = "\0\r\n\t\v\f\x1b\x85\u2028\u202e\ufeff\ufffd\U0001f600é`{}[]<>&$\\\"'#|:-*_"
LINE = st.sampled_from(LINES + HUGE) | st.text(max_size=30) | st.text(ODD, max_size=30)


@functools.cache
def lines_of(path: Path) -> list[str]:
    """A chapter, line by line."""
    return path.read_text(encoding="utf-8").split("\n")


@st.composite
def mutated(draw: Callable[..., Any], paths: list[Path]) -> bytes:
    """A stretch of a real chapter in which lines were deleted, doubled, moved or put in."""
    lines = lines_of(draw(st.sampled_from(paths)))
    first = draw(st.sampled_from([0, 0, draw(st.integers(0, len(lines)))]))
    lines = lines[first : first + draw(st.integers(1, 80))]
    for _ in range(draw(st.integers(1, 8))):
        at, other = draw(st.integers(0, len(lines))), draw(st.integers(0, len(lines)))
        change = draw(st.sampled_from(["delete", "double", "move", "insert", "insert", "indent"]))
        if change == "delete":
            del lines[at : at + 1]
        elif change == "double":
            lines[other:other] = lines[at : at + 1]
        elif change == "move":
            lines[other:other] = [lines.pop(at)] if at < len(lines) else []
        elif change == "insert":
            lines.insert(at, draw(LINE))
        else:
            lines[at : at + 3] = ["    " + line for line in lines[at : at + 3]]
    content = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"])).join(lines)
    mark: bytes = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"]))
    encoded: bytes = content.encode("utf-8", "replace")
    return mark + encoded


BLOCKS = Blocks(DOCS)
DRAWING = [
    {"width": 340, "svg": '<svg width="340"><defs><path id="a"/></defs><use href="#a"/></svg>'}
]
SHOWN = {"drawings": DRAWING, "table": [["title", "<a>"], ["{b}", "1"]]}
OUTPUTS = [
    [],
    [{"output_type": "stream", "name": "stdout", "text": "<b> @fig-1 \\1 {: .x }\n\n\ud83d\ude00"}],
    [{"output_type": "execute_result", "data": {"text/plain": "1"}, "metadata": {}}],
    [{"output_type": "display_data", "data": {"text/html": "<b>\n\n</b>"}, "metadata": {}}],
    [{"output_type": "display_data", "data": {"text/markdown": "# A\n"}, "metadata": {}}],
    [{"output_type": "display_data", "data": {FIGURE: SHOWN}, "metadata": {}}],
    [{"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]}],
]


@functools.cache
def markdown() -> Markdown:
    """The book's own Markdown, without what reads other files."""
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"))
    names = [name for name in config.markdown_extensions if name != "pymdownx.snippets"]
    return Markdown(extensions=names, extension_configs=config.mdx_configs)


def with_blocks(path: Path) -> Chapter:
    """A chapter in which the book's own fences are known."""
    return read_chapter(path, frozenset(BLOCKS.functions))


def outcome(read: Callable[..., Chapter], path: Path, outputs: list[Any]) -> str:
    """What a page becomes, or the error that a reader sees; anything else is raised."""
    try:
        chapter = read(path)
        assert key(chapter, path.parent)
        result = Result([outputs[n % len(outputs)] for n, _ in enumerate(chapter.cells)], 0.0)
        return weave(chapter, result, Book(BLOCKS.functions, BLOCKS.finish))[0]
    except WeaveError as caught:
        error = caught
    lines = path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    assert error.path == path
    assert 1 <= error.line <= lines.count("\n") + 1
    assert str(error).startswith(f"{path}:{error.line}: ")
    return failure(error)


SLOW = settings(
    deadline=timedelta(seconds=10),
    max_examples=1000 if LONG else 100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@SLOW
@given(
    content=mutated(chapters()), outputs=st.lists(st.sampled_from(OUTPUTS), min_size=1, max_size=4)
)
def test_a_mutated_chapter_is_a_page_or_an_error_with_its_place(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, outputs: list[Any]
) -> None:
    """Read, keyed, woven, and rendered as the book renders."""
    path = tmp_path_factory.getbasetemp() / "fuzz.md"
    path.write_bytes(content)
    page = outcome(with_blocks, path, outputs)
    assert isinstance(markdown().reset().convert(page), str)


@SLOW
@given(
    content=st.binary(max_size=200)
    | st.lists(LINE).map(lambda lines: "\n".join(lines).encode("utf-8", "replace"))
)
def test_any_bytes_are_a_page_or_an_error_with_its_place(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Also what was never a chapter."""
    path = tmp_path_factory.getbasetemp() / "bytes.md"
    path.write_bytes(content)
    outcome(with_blocks, path, [OUTPUTS[1]])


@SLOW
@given(content=mutated(sorted(DOCS.glob("labs/*.py"))))
def test_a_mutated_lab_is_a_page_or_an_error_with_its_place(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Labs are read by Jupytext, which has its own mind."""
    path = tmp_path_factory.getbasetemp() / "fuzz.py"
    path.write_bytes(content)
    outcome(read_lab, path, [OUTPUTS[1]])


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("references.bib", "@article{a,\n  title = {x},\n  year 2020\n}\n", 3),
        ("references.bib", "@article{a, title = {x}, year = {2020}}\n", 1),
        ("data/corrections.yaml", "- id: a\n  claim: [\n", 3),
        ("data/corrections.yaml", "nothing\n", 1),
    ],
)
def test_data_that_cannot_be_read_is_named_once(
    tmp_path: Path, file: str, content: str, line: int
) -> None:
    """However many pages use it."""
    docs = tmp_path / "docs"
    (docs / "data").mkdir(parents=True)
    (docs / file).write_text(content)
    for name in "ab":
        (docs / f"{name}.md").write_text("# A\n\n[x][y]\n")
    site = Site(blocks="llmbook.book.blocks")
    woven, errors = weave_book(docs, ["a.md", "b.md"], tmp_path / "cache", site=site)
    assert [(error.path, error.line) for error in errors] == [(docs / file, line)]
    assert len(woven) == 2
