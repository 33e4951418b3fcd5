"""`mkdocs serve` under rapid edits: the last one is what a reader sees in the end."""

import logging
import os
import random
import re
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from llmbook.weave.chapter import read_chapter
from llmbook.weave.engine import Engine, Result
from llmbook.weave.serving import Background
from tests.test_browser import FLAGS, found_chromium
from tests.weave.conftest import MakeBook
from tests.weave.test_killed import LONG, wait_until

PAGE = "# Home\n\nEdit {0}.\n\n```python\nfrom {package}.m import f\nf({1})\n```\n"
MODULE = "def f(x):\n    return f'cell {{x}} module {0}'\n"


class Served:
    """A book under `mkdocs serve`, and a reader."""

    def __init__(self, book: Any) -> None:
        self.book = book
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.url = f"127.0.0.1:{free.getsockname()[1]}"
        self.process = book.start("serve", "--dev-addr", self.url)
        self.memory = psutil.Process(self.process.pid)

    def page(self) -> str:
        """What a reader sees; a page that is being built is waited for."""
        try:
            with urllib.request.urlopen(f"http://{self.url}/", timeout=60) as answer:
                return re.sub(r"\s+", " ", answer.read().decode())
        except OSError:
            return ""

    def shows(self, *texts: str, but: str = "no such text") -> bool:
        """Whether the page comes to show some texts, and another no more."""
        seen = lambda: all(t in (page := self.page()) and but not in page for t in texts)  # noqa: E731
        return wait_until(seen, 60)


@pytest.fixture
def served(make_book: MakeBook) -> Iterator[Served]:
    """A page with a cell that uses a module of the book's package."""
    book = make_book()
    book.module("m", MODULE.format(0))
    book.write("index.md", PAGE.format(0, 0, package=book.package))
    served = Served(book)
    assert served.shows("Edit 0.", "cell 0 module 0")
    yield served
    if served.process.poll() is None:
        os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait(10)


def test_an_error_shows_in_the_page_until_it_is_mended(served: Served) -> None:
    """In a cell, in a module, in the front matter, and of a chapter that is gone."""
    book = served.book
    good = PAGE.format(1, 1, package=book.package)
    book.write("index.md", good.replace("f(1)", "f(1)\n1 / 0"))
    assert served.shows("index.md:8", "ZeroDivisionError", "Edit 1.")
    book.write("index.md", good)
    assert served.shows("cell 1 module 0", but="output error")
    book.module("m", "def f(:\n")
    assert served.shows("m.py:1", "until this module is mended", "Edit 1.", but="cell 1 module 0")
    book.module("m", MODULE.format(2))
    assert served.shows("cell 1 module 2", but="output error")
    book.write("index.md", "---\na: [\n---\n" + good)
    assert served.shows("index.md:2", "the front matter is no YAML")
    (book.docs / "index.md").write_bytes(b"caf\xe9")
    assert served.shows("index.md:1", "byte 0xe9 is not text in UTF-8")
    book.write("index.md", good)
    assert served.shows("cell 1 module 2", but="output error")


def test_no_edit_is_lost(served: Served) -> None:
    """Of prose, cells and modules, in any order and faster than the book is built.

    Twelve edits; with the environment variable `LLMBOOK_LONG=1` two hundred, through which memory
    must stay bounded. In the end no kernel is left.
    """
    book, chance = served.book, random.Random(0)
    prose = cell = module = 0
    memory = {}
    for number in range(1, (200 if LONG else 12) + 1):
        kind = chance.choice("pcm")
        if kind == "m":
            module = number
            book.module("m", MODULE.format(module))
        else:
            prose, cell = (number, cell) if kind == "p" else (prose, chance.choice([number, 0, 1]))
            book.write("index.md", PAGE.format(prose, cell, package=book.package))
        if number % 6 == 0:
            texts = f"Edit {prose}.", f"cell {cell} module {module}"
            assert served.shows(*texts), (number, texts, served.page())
        time.sleep(chance.choice([0, 0.05, 0.3, 1]))
        if number in {20, 200}:
            memory[number] = served.memory.memory_info().rss
    assert not LONG or memory[200] < 1.5 * memory[20], memory
    print({n: f"{m / 1e6:.0f} MB" for n, m in memory.items()}, served.memory.num_fds(), "files")
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait(20) == 0
    assert wait_until(lambda: not book.kernels(), 10)
    assert "Traceback" not in (book.root / "log").read_text()


def test_a_page_can_be_read_while_it_runs(make_book: MakeBook) -> None:
    """Prose and code at once, a box for what is to come, then the output; a build never has a box."""
    book = make_book()
    slow = "import time\ntime.sleep(6)\nprint('ready', 6 * 7)"
    text = "# Home\n\nProse.\n\n```python\n{}\n```\n\nIt is `{{python}} 40 + 2`.\n"
    book.write("index.md", text.format(slow))
    served = Served(book)
    try:
        started = time.monotonic()
        assert served.shows("Prose.", "running …")
        assert served.shows("ready 42", "It is <span", ">42<", but="running …")
        assert time.monotonic() - started > 2
        book.write("index.md", text.format(slow.replace("7", "8")))
        assert served.shows("running …", "6 * 8")
        assert served.shows("ready 48", but="running …")
        book.write("index.md", text.format(slow.replace("7", "9")))
        assert served.shows("running …", "6 * 9")
    finally:
        os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait(10)
    status, said = book.build()
    assert status == 0, said
    assert b"ready 54" in book.files()["index.html"]
    assert b"running" not in book.files()["index.html"]
    assert not [name for name, file in book.files().items() if b"weave-page" in file]


THEME = "theme: {name: material, font: false}"


@pytest.mark.browser
def test_a_reader_stays_where_they_are(make_book: MakeBook) -> None:
    """A page is loaded again if it has changed, and shows the same place; not for another page."""
    path = found_chromium()
    from playwright.sync_api import sync_playwright

    parts = [f"## Part {n}\n\n{'words and words ' * 80}\n" for n in range(30)]
    text = "\n".join(["# Home\n", *parts])
    book = make_book(index=text, other="# Other\n")
    config = book.root / "mkdocs.yml"
    config.write_text(config.read_text("utf-8").replace("theme: {name: mkdocs}", THEME), "utf-8")
    served = Served(book)
    try:
        assert served.shows("Part 29")
        with sync_playwright() as playwright:
            page = playwright.chromium.launch(executable_path=path, args=FLAGS).new_page()
            page.goto(f"http://{served.url}/")
            heading = page.locator("#part-15")
            heading.scroll_into_view_if_needed()
            page.evaluate("scrollBy(0, 37)")
            before = heading.bounding_box()
            loads: list[object] = []
            page.on("load", lambda loaded: loads.append(loaded))
            book.write("other.md", "# Other\n\nEdited.\n")
            page.wait_for_timeout(5000)
            assert loads == []
            book.write("index.md", text.replace("# Home\n", f"# Home\n\nNew. {'more ' * 500}\n", 1))
            page.wait_for_function("document.body.innerText.includes('New.')", timeout=30_000)
            page.wait_for_timeout(500)
            after = heading.bounding_box()
            assert before
            assert after
            assert abs(after["y"] - before["y"]) <= 2
            assert len(loads) == 1
    finally:
        os.killpg(served.process.pid, signal.SIGKILL)
        served.process.wait(10)


def test_chapters_with_the_same_cells_run_once(make_book: MakeBook) -> None:
    """Only those that begin together are executed; the others take what has been shown."""
    cores = os.cpu_count() or 1
    names = [f"same{number}" for number in range(cores + 4)]
    book = make_book(**{name: f"{name}\n\n```python\n6 * 7\n```\n" for name in names})
    engine = Engine(book.docs, book.root / "cache", package=book.package)
    assert engine.read() is None
    executed: list[str] = []
    log = logging.LoggerAdapter(logging.getLogger("weave.test"))
    log.info = lambda message, *_, **__: executed.append(message)  # type: ignore[method-assign]
    background = Background(book.root / "cache", log)
    chapters = [read_chapter(book.docs / f"{name}.md", frozenset()) for name in names]
    background.run(engine, chapters, lambda *_: None)
    background.begin()
    outcomes = [future.result(60)[0] for future in background.running.values()]
    background.close()
    assert len(outcomes) == len(names)
    assert all(isinstance(outcome, Result) for outcome in outcomes)
    assert 1 <= len(executed) <= cores
