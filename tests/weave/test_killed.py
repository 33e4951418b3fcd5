"""Builds that are killed: the next one is as if nothing had been, and no kernel stays."""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.weave.conftest import MakeBook

LONG = os.environ.get("LLMBOOK_LONG") == "1"


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something comes true in some time."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    return true()


@pytest.fixture
def book(make_book: MakeBook) -> Any:
    """Chapters with outputs, an output that differs each time, an inline value, and a kept one."""
    book = make_book(
        index="# Home\n\n```python\nhash('a')\n```\n\nIt is `{python} 6 * 7`, see [b](b.md).\n",
        b="# B\n\n```python volatile\nimport time\ntime.time()\n```\n\n```python\n'x' * 100_000\n```\n",
    )
    book.module("m", "import time\n\ndef slow(x):\n    time.sleep(0.5)\n    return x * 10\n")
    cell = f"from llmbook.weave.store import kept\nfrom {book.package}.m import slow\nkept(slow, 7)"
    book.write("c.md", f"# C\n\n```python\n{cell}\n```\n")
    return book


def test_a_build_killed_at_any_moment_leaves_nothing_wrong(book: Any) -> None:
    """The next one succeeds and is the same, byte for byte, but for what is volatile.

    Four moments; with the environment variable `LLMBOOK_LONG=1` twenty.
    """
    started = time.monotonic()
    assert book.build()[0] == 0
    took = time.monotonic() - started
    expected = book.files()
    assert b">70<" in expected["c/index.html"]
    for seed in range(20 if LONG else 4):
        chance = random.Random(seed)
        if chance.random() < 0.7:
            shutil.rmtree(book.root / ".cache")
        process = book.start("build", "--strict")
        time.sleep(chance.uniform(0.3, 1 + took))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        assert wait_until(lambda: not book.kernels(), 10), seed
        assert book.build()[0] == 0, seed
        assert book.files() == expected, seed
        assert not list((book.root / ".cache").rglob("*.part")), seed


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_build_that_is_told_to_stop_stops(book: Any, sign: signal.Signals) -> None:
    """At once, with a status that says so, also while cells run; and its kernels with it."""
    book.write("b.md", "# B\n\n```python\nimport time\ntime.sleep(100)\n```\n")
    process = book.start("build", "--strict")
    assert wait_until(lambda: len(book.kernels()) > 0, 20)
    time.sleep(1)
    process.send_signal(sign)
    assert process.wait(15) != 0
    assert wait_until(lambda: not book.kernels(), 10)
    assert "Traceback" not in (book.root / "log").read_text()
