"""`make reproduce`: what moved is named, with its place and by how much."""

import http.server
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from llmbook.weave.reproduce import compare, main
from tests.weave.conftest import TinyBook

CHAPTER = """# Numbers

```python
from {package}.sizes import HALF

half = HALF
print("half", half, "and", 10_000 * half)
```

```python volatile
import time
print(time.time())
```

It is `{python} f"{half:.2f}"`.
"""


def notebook(*cells: str) -> dict[str, object]:
    """A notebook of text alone."""
    return {"cells": [{"cell_type": "markdown", "source": cell} for cell in cells]}


@pytest.fixture
def tiny(make_book: Callable[..., TinyBook]) -> TinyBook:
    """One chapter, whose numbers come from a module."""
    book = make_book()
    book.module("sizes", "HALF = 0.5\n")
    book.write("part/numbers.md", CHAPTER.replace("{package}", book.package))
    return book


@pytest.fixture
def published(tiny: TinyBook) -> Path:
    """Its notebooks, as they were published."""
    tiny.weave()
    shutil.copytree(tiny.root / "cache" / "notebooks", tiny.root / "published")
    return tiny.root / "published"


def test_a_number_is_named_with_its_cell_and_by_how_much() -> None:
    """In text and in outputs, with thousands, signs and exponents."""
    old = notebook("so 1,000 and −2.5 and 1e-05", "same 7")
    new = notebook("so 1,100 and −2.5 and 2e-05", "same 7")
    found = [str(moved) for moved in compare("a.md", old, new)]
    assert found == [
        "a.md, cell 1: 1,000 became 1,100 (+10.0%), in “so 1,000 and −2.5 and 1e-05”",
        "a.md, cell 1: 1e-05 became 2e-05 (+100.0%), in “so 1,000 and −2.5 and 1e-05”",
    ]


def test_another_text_is_another_version() -> None:
    """Then numbers cannot be paired; a cell more is told too."""
    (moved,) = compare("a.md", notebook("it is 1 m"), notebook("it is 1 km"))
    assert "the text is another" in moved.what
    assert [m.cell for m in compare("a.md", notebook("a"), notebook("a", "b 1"))] == [2]


def test_a_figure_that_is_drawn_otherwise_is_named() -> None:
    """By its cell; its coordinates mean nothing to a reader."""

    def drawn(x: int) -> dict[str, object]:
        data = {"image/svg+xml": f"<svg><path d='M {x} 0'/></svg>"}
        return {"cells": [{"source": "draw()", "outputs": [{"data": data}]}]}

    (moved,) = compare("a.md", drawn(1), drawn(2))
    assert moved.what == "the figure is drawn otherwise"


def test_the_same_book_gives_the_same_numbers(
    tiny: TinyBook, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Times, which are volatile, do not count."""
    assert main([str(published), "--docs", str(tiny.docs), "--package", tiny.package]) == 0
    assert "every number is as published" in capsys.readouterr().out


def test_what_moved_is_reported_from_a_site_too(
    tiny: TinyBook, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over HTTP: the printed number and the ones in the text, one by one; and a page that is new."""
    tiny.module("sizes", "HALF = 0.55\n")
    tiny.write("new.md", "# New\n\n```python\nprint(1)\n```\n")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(published))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        status = main([address, "--docs", str(tiny.docs), "--package", tiny.package])
        server.shutdown()
    said = capsys.readouterr().out
    assert status == 1
    assert "part/numbers.md, cell 2: 0.5 became 0.55 (+10.0%)" in said
    assert "5000.0 became 5500.0 (+10.0%)" in said
    assert "0.50 became 0.55 (+10.0%)" in said
    assert "new.md was not published" in said
    assert "on 2 pages" in said


def test_a_chapter_that_fails_is_reported(
    tiny: TinyBook, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the engine's message, and its place."""
    tiny.write("part/numbers.md", "# Numbers\n\n```python\n1 / 0\n```\n")
    assert main([str(published), "--docs", str(tiny.docs), "--package", tiny.package]) == 1
    assert "numbers.md:4: ZeroDivisionError" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("place", "said"), [("http://127.0.0.1:9/", "127.0.0.1:9"), ("broken", "is no notebook")]
)
def test_what_cannot_be_read_is_named(
    tiny: TinyBook, published: Path, capsys: pytest.CaptureFixture[str], place: str, said: str
) -> None:
    """A site that does not answer, and a file that is no notebook; with the remedy."""
    (published.with_name("broken") / "part").mkdir(parents=True)
    (published.with_name("broken") / "part" / "numbers.ipynb").write_text("{}")
    where = place if place.startswith("http") else str(published.with_name(place))
    with pytest.raises(SystemExit) as ended:
        main([where, "--docs", str(tiny.docs), "--package", tiny.package])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "name a built site" in error
