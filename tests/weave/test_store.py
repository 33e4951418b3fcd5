"""`llmbook.weave.store.kept`: what is computed once, what is computed again, what is refused."""

import functools
import importlib
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import platformdirs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.weave import store
from llmbook.weave.store import kept
from tests.weave.conftest import MakeBook

WORK = "from .low import add\n\ncalls = []\n\ndef work(*args, **kwargs):\n    calls.append(args)\n    return add(len(calls))\n"


@pytest.fixture
def book(make_book: MakeBook, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package with a function that counts its calls, and a store; its source counts as old."""
    book = make_book()
    book.module("low", "def add(x):\n    return x\n")
    book.module("other", "x = 1\n")
    book.module("high", WORK)
    monkeypatch.setenv(store.RESULTS, str(book.root / "cache"))
    monkeypatch.setattr(store, "STARTED", math.inf)
    return book


@pytest.fixture
def high(book: Any) -> ModuleType:
    """The module with that function."""
    return importlib.import_module(f"{book.package}.high")


def stored(book: Any) -> list[Path]:
    """The files of kept results."""
    return sorted((book.root / "cache/kept").glob("*.json"))


def test_a_function_is_called_once(book: Any, high: ModuleType) -> None:
    """Then its first answer stands, also in another process."""
    assert [kept(high.work, 1, seed=2) for _ in range(3)] == [1, 1, 1]
    assert high.calls == [(1,)]
    (file,) = stored(book)
    assert store.load(file, "function", "value") == [f"{book.package}.high.work", 1]
    code = f"from {book.package} import high\nfrom llmbook.weave.store import kept\nprint(kept(high.work, 1, seed=2), high.calls)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1 []\n"


def test_two_processes_at_once_make_it_once(book: Any) -> None:
    """One works until the other must be waiting for it."""
    book.module(
        "slow",
        "import os, time\nfrom pathlib import Path\n\ndef work(folder):\n"
        "    Path(folder, f'called-{os.getpid()}').touch()\n"
        "    while len(list(Path(folder).glob('ready-*'))) < 2:\n        time.sleep(0.01)\n"
        "    time.sleep(0.5)\n    return os.getpid()\n",
    )
    folder = book.root / "log"
    folder.mkdir()
    code = (
        f"import os\nfrom {book.package}.slow import Path, work\nfrom llmbook.weave.store import kept\n"
        f"import filelock\nPath({str(folder)!r}, f'ready-{{os.getpid()}}').touch()\n"
        f"print(kept(work, {str(folder)!r}))"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    first, second = (process.communicate(timeout=60)[0] for process in both)
    assert first == second
    assert int(first) in {process.pid for process in both}
    assert [file.name for file in folder.glob("called-*")] == [f"called-{int(first)}"]


def test_different_arguments_are_different_results(book: Any, high: ModuleType) -> None:
    """By content and by type; arrays and files too."""
    file = book.root / "data.txt"
    file.write_text("a")
    different: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        ((1,), {}),
        ((1.0,), {}),
        ((True,), {}),
        (("1",), {}),
        ((None,), {}),
        ((), {"seed": 1}),
        ((), {"seed": 2}),
        (([1],), {}),
        (((1,),), {}),
        (([1, [2]],), {}),
        (({"1": 2},), {}),
        (({1: 2},), {}),
        ((["dict"],), {}),
        ((file,), {}),
        ((str(file),), {}),
        ((b"a",), {}),
        ((np.zeros(2),), {}),
        ((np.zeros((1, 2)),), {}),
        ((np.zeros(2, dtype=np.int64),), {}),
        ((np.array([0.0, 1.0]),), {}),
        ((np.float64(1),), {}),
        ((math.inf,), {}),
    ]
    results = [kept(high.work, *args, **kwargs) for args, kwargs in different]
    assert results == list(range(1, len(different) + 1))
    assert [kept(high.work, *args, **kwargs) for args, kwargs in different] == results
    file.write_text("b")
    assert kept(high.work, file) == len(different) + 1


def test_source_decides(book: Any, high: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The function's module, what it imports, data that they name and versions; nothing else."""
    assert kept(high.work) == 1
    book.module("other", "x = 2\n")
    assert kept(high.work) == 1
    book.module("low", "def add(x):\n    return x + 0\n")
    assert kept(high.work) == 2
    book.module("high", WORK + "\nDATA = 'table.csv'\n")
    assert kept(high.work) == 3
    for number, text in ((4, "1"), (5, "2")):
        (book.root / book.package / "table.csv").write_text(text)
        assert kept(high.work) == number
    monkeypatch.setattr(store, "version_of", lambda name: "99" if name == "torch" else None)
    assert kept(high.work) == 6


def test_a_damaged_result_is_made_anew(book: Any, high: ModuleType) -> None:
    """Cut off, or something else altogether."""
    kept(high.work)
    (file,) = stored(book)
    whole = file.read_text()
    halves = ('{"value": 1', "", "[]", "null", "{}", "\0", whole[:-1], whole.replace(": 1", ": 7"))
    for calls, text in enumerate(halves, start=2):
        assert text != whole
        file.write_text(text)
        assert kept(high.work) == kept(high.work) == calls


def test_an_exception_is_not_kept(book: Any) -> None:
    """The next call tries again, and no lock stands in its way."""
    book.module(
        "fails",
        "calls = []\n\ndef work():\n    calls.append(1)\n    return 1 // (len(calls) - 1)\n",
    )
    work = importlib.import_module(f"{book.package}.fails").work
    with pytest.raises(ZeroDivisionError):
        kept(work)
    assert kept(work) == 1


def test_edited_source_is_not_trusted(
    book: Any, high: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this process has imported may be older than the file, so nothing is kept for the file.

    Whatever time is written on it.
    """
    monkeypatch.setattr(store, "STARTED", time.time() - 60)
    for file in (book.root / book.package).glob("*.py"):
        os.utime(file, (0, 0))
    assert [kept(high.work), kept(high.work)] == [1, 2]
    assert stored(book) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A function that returns its argument, and a store."""
    root = tmp_path_factory.mktemp("same")
    (root / "tiny_same").mkdir()
    (root / "tiny_same/__init__.py").touch()
    (root / "tiny_same/m.py").write_text("def same(x):\n    return x\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        patch.setenv(store.RESULTS, str(root / "cache"))
        patch.setattr(store, "STARTED", math.inf)
        yield importlib.import_module("tiny_same.m").same


@settings(max_examples=50, deadline=None)
@given(value=JSON)
def test_values_come_back_exactly(same: Any, value: Any) -> None:
    """The first time and later: equal, of the same types, and no part of the argument."""
    for _ in range(2):
        found = kept(same, value)
        assert repr(found) == repr(value)
        assert found is not value or not isinstance(value, (list, dict))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ((1, 2), "tuple"),
        ([{"a": (1, 2)}], "tuple"),
        (b"a", "bytes"),
        (np.float64(1), "float64"),
        (np.zeros(2), "ndarray"),
        ({1: "a"}, "dict with keys that are no str"),
    ],
)
def test_other_values_are_refused(same: Any, value: Any, name: str) -> None:
    """No value is kept that would come back as another."""
    with pytest.raises(TypeError, match=rf"tiny_same.m.same must return what JSON .* got {name}$"):
        kept(same, value)


@pytest.mark.parametrize("argument", [{1}, object(), np.array([object()]), [len]])
def test_arguments_without_content_are_refused(same: Any, argument: Any) -> None:
    """An address is no key."""
    with pytest.raises(TypeError, match=r"arguments must be what JSON can hold, .* got"):
        kept(same, argument)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda: 1, "<lambda> of"),
        (functools.partial(math.sqrt, 4), "partial of"),
        (len, "len of builtins"),
        (test_source_decides.__get__(1), "test_source_decides of"),
    ],
    ids=["lambda", "partial", "builtin", "bound"],
)
def test_functions_without_a_place_are_refused(function: Any, name: str) -> None:
    """The error says what it is and where to put it."""
    with pytest.raises(ValueError, match=rf"top level of a module .* got .*{name}.*src/llmbook/"):
        kept(function)


def test_a_function_of_a_cell_is_refused(make_book: MakeBook) -> None:
    """Also one within another function; the page says so at the cell's line."""
    text = "# A\n\n```python\nfrom llmbook.weave.store import kept\n{}\n```\n"
    book = make_book(
        a=text.format("def f():\n    return 1\nkept(f)"),
        b=text.format("def f():\n    def g():\n        return 1\n    return g\nkept(f())"),
    )
    _, errors = book.weave()
    assert [(e.path.name, e.line) for e in errors] == [("a.md", 7), ("b.md", 9)]
    assert "got f of __main__: move it to src/llmbook/" in str(errors[0])
    assert "got f.<locals>.g of __main__" in str(errors[1])


def test_chapters_keep_values_in_the_books_store(make_book: MakeBook) -> None:
    """A chapter that runs again finds what it, or another, has made."""
    book = make_book()
    book.module("m", "import os\n\ndef f():\n    return os.getpid()\n")
    cell = f"```python\nfrom {book.package}.m import f\nfrom llmbook.weave.store import kept\nkept(f)\n```\n"
    book.write("a.md", cell)
    (shown,) = re.findall(r"<pre.*?</pre>", book.page())
    book.write("a.md", cell.replace("kept(f)", "kept(f) + 0"))
    assert shown in book.page()
    assert book.executed == ["a.md"]
    assert len(stored(book)) == 1


def test_without_an_engine_the_users_cache_is_the_store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where pre-trained models are kept too."""
    monkeypatch.delenv(store.RESULTS, raising=False)
    monkeypatch.setenv("LLMBOOK_CACHE", str(tmp_path))
    assert store._folder() == tmp_path / "results"
    monkeypatch.delenv("LLMBOOK_CACHE")
    assert store._folder() == platformdirs.user_cache_path("llmbook", False) / "results"


def test_the_last_used_results_stay(
    book: Any, high: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask for a result is to use it."""
    monkeypatch.setattr(store, "KEPT", 2)
    for number in (1, 2):
        kept(high.work, number)
        for file in stored(book):
            os.utime(file, (0, file.stat().st_mtime - 1000))
    assert kept(high.work, 1) == 1
    assert kept(high.work, 3) == 3
    assert sorted(store.load(file, "value") or [] for file in stored(book)) == [[1], [3]]
    assert len(list((book.root / "cache/kept").iterdir())) <= 2 * 2 + 1  # and their locks
