"""Hard conditions: cells that kill, stores that rot, disks that are full, clocks that jump.

Each gives a message with the thing, its place and the remedy, and never a wrong or stale page.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from llmbook.weave import engine, store
from llmbook.weave.__main__ import main
from tests.weave.conftest import MakeBook
from tests.weave.test_killed import wait_until

GOOD = "# Good\n\n```python\n6 * 7\n```\n"
DEADLY = {
    "sleeps": ("import time\ntime.sleep(60)", 3, "ran over 4 s: let it do less"),
    "spins": ("while True:\n    pass", 3, "ran over 4 s: let it do less"),
    "exits": ("import os\nos._exit(0)", 3, "Kernel died (killed, or out of memory?)"),
    "killed": ("import os\nos.kill(os.getpid(), 9)", 3, "Kernel died (killed, or out of memory?)"),
    "starved": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\nbytearray(2**33)",
        6,
        "MemoryError",
    ),
}


def test_a_cell_that_kills_its_kernel_costs_its_own_chapter_only(
    make_book: MakeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is in its place on the page, later chapters are whole, and no kernel is left."""
    monkeypatch.setattr(engine, "TIMEOUT", 4)
    book = make_book(
        good=GOOD,
        **{name: f"# A\n\n```python\n{cell}\n```\n" for name, (cell, *_) in DEADLY.items()},
    )
    woven, errors = book.weave()
    said = {error.path.stem: (error.line, error.message) for error in errors}
    assert said.keys() == DEADLY.keys()
    for name, (cell, line, message) in DEADLY.items():
        assert said[name][0] == line
        assert message in said[name][1]
        page = woven[f"{name}.md"].markdown
        assert page.index(cell.splitlines()[-1]) < page.index('<div class="output error">')
    assert ">42<" in woven["good.md"].markdown
    assert book.kernels() == []


def test_a_kernel_that_does_not_start_says_why(make_book: MakeBook) -> None:
    """What it wrote before it ended is in the message."""
    book = make_book(a=GOOD)
    stop = (
        "import sys\nif 'llmbook.weave.warm' in sys.orig_argv:\n    sys.exit('no kernel today')\n"
    )
    (book.root / "sitecustomize.py").write_text(stop)
    _, errors = book.weave()
    assert "a.md:1: Kernel died (killed, or" in str(errors[0])
    assert "no kernel today" in str(errors[0])


# --- the store


def results(book: Any) -> list[Path]:
    """The files of chapters' results."""
    return sorted((book.root / "cache").glob("*.json"))


def test_a_damaged_entry_is_never_shown(make_book: MakeBook) -> None:
    """Cut off, empty, overwritten, flipped, of another form, or under another's name: made anew."""
    damages: list[Callable[[Path], bytes]] = [
        lambda file: file.read_bytes()[:-9],
        lambda file: b"",
        lambda file: os.urandom(300),
        lambda file: file.read_bytes().replace(b'"4', b'"5'),
        lambda file: b'{"outputs": [[]], "seconds": 1}',
        lambda file: results(book)[0].read_bytes(),
    ]
    text = "# A\n\n```python\n40 + {0}\n```\n"
    names = "abcdef"
    book = make_book(**{name: text.format(i) for i, name in enumerate(names)})
    before, _ = book.weave()
    for file, damage in reversed(list(zip(results(book), damages, strict=True))):
        damaged = damage(file)
        assert damaged != file.read_bytes() or file == results(book)[0]
        file.write_bytes(damaged)
    known = [*(book.root / "cache/woven").iterdir(), *book.root.glob("cache/known/modules-*")]
    assert len(known) > len(names)
    for file in known:
        file.write_text('{"m": [')
    after, errors = book.weave()
    assert not errors
    assert sorted(book.executed) == [f"{name}.md" for name in names]
    for name, page in before.items():
        assert page.body == after[name].body


@given(bit=st.integers(0), value=st.text() | st.floats(allow_nan=False) | st.lists(st.integers()))
def test_a_flipped_bit_is_always_found(
    tmp_path_factory: pytest.TempPathFactory, bit: int, value: Any
) -> None:
    """Wherever it is."""
    path = tmp_path_factory.getbasetemp() / "flip" / "a.json"
    store.save(path, value=value)
    assert store.load(path, "value") == [value]
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)
    assert store.load(path, "value") is None


def fail_to_write(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """As if the store's disk were full or read-only: new files, renames and times."""

    def fail(path: Any, *args: Any, **kwargs: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_text", fail)
    monkeypatch.setattr(Path, "replace", fail)
    monkeypatch.setattr(os, "utime", fail)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_be_written_is_named(
    make_book: MakeBook,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
) -> None:
    """By the site's build and by the command, with what to do; nothing half is left there."""
    book = make_book(index=GOOD)
    fail_to_write(monkeypatch, code)
    place = re.escape(str(book.root)) + r"/\S+\.json"
    expected = rf"(?i)error: \[Errno {code}\] {os.strerror(code)}: '{place}': make room there, or"
    status, said = book.build()
    assert status == 1
    assert re.search(expected, said)
    arguments = [str(book.docs), "-o", str(book.root / "out"), "--package", book.package]
    assert main([*arguments, "--cache", str(book.root / "cache")]) == 1
    assert re.search(expected, capsys.readouterr().err)
    assert not list(book.root.rglob("*.part"))


def test_a_store_that_is_read_only_still_gives(
    make_book: MakeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all results are there, none is made anew."""
    book = make_book(a=GOOD)
    book.weave()
    fail_to_write(monkeypatch, errno.EROFS)
    assert ">42<" in book.page()
    assert book.executed == []


def test_a_site_that_cannot_be_written_is_named(
    make_book: MakeBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its path, without a traceback."""
    book = make_book(index="# A\n")

    def fail(content: bytes, path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr("mkdocs.utils.write_file", fail)
    status, said = book.build()
    assert status == 1
    assert re.search(r"Permission denied: '.*site/.*': make room there, or give the right", said)


def test_two_builds_at_once_give_what_one_gives(make_book: MakeBook) -> None:
    """Of the same book, into the same folder; the one that waits says so."""
    book = make_book(
        **{name: f"# A\n\n```python\nhash('{name}')\n```\n" for name in ("index", "b")}
    )
    assert book.build()[0] == 0
    expected = book.files()
    assert expected["b/index.html"]
    shutil.rmtree(book.root / ".cache")
    for _ in range(2):  # at first both want to execute, then both only write
        both = [book.start("build", "--strict") for _ in range(2)]
        assert [process.wait(120) for process in both] == [0, 0], (book.root / "log").read_text()
        assert book.files() == expected
    with FileLock(book.root / ".cache/weave/site.lock"):  # as while another one writes
        process = book.start("build", "--strict")
        said = "waiting for another build to end, which holds"
        assert wait_until(lambda: said in (book.root / "log").read_text(), 60)
        (book.root / "site/b/index.html").unlink()
    assert process.wait(60) == 0
    assert book.files() == expected


# --- clocks and edits


def test_times_written_on_files_decide_nothing(make_book: MakeBook) -> None:
    """A clock that jumps neither executes what is unchanged nor hides what has changed."""
    book = make_book()
    book.module("m", "x = 1\n")
    book.write("a.md", f"```python\nfrom {book.package}.m import x\nx * 10\n```\n")
    assert ">10<" in book.page()
    for time in (0, 4e9):
        for path in book.root.rglob("*"):
            os.utime(path, (time, time))
        assert ">10<" in book.page()
        assert book.executed == []
        book.module("m", f"x = {2 + (time > 0)}\n")
        os.utime(book.root / book.package / "m.py", (time, time))
        for cached in (book.root / book.package).rglob("*.pyc"):
            cached.unlink()  # Python itself believes the time
        assert f">{20 + 10 * (time > 0)}<" in book.page()
        assert book.executed == ["a.md"]
        book.module("m", "x = 1\n")


def test_what_ran_on_a_module_edited_meanwhile_is_not_kept(make_book: MakeBook) -> None:
    """Else it would be shown when the edit is taken back."""
    book = make_book()
    book.module("m", "x = 1\n")
    flag = book.root / "edit"
    flag.touch()
    edit = f"from pathlib import Path\nif Path('{flag}').exists():\n    Path('{book.root / book.package / 'm.py'}').write_text('x = 22')"
    book.write("a.md", f"```python\n{edit}\nfrom {book.package}.m import x\nx * 10\n```\n")
    assert ">220<" in book.page()
    flag.unlink()
    book.module("m", "x = 1\n")
    assert ">10<" in book.page()
    assert book.executed == ["a.md"]


def test_a_renamed_chapter_leaves_nothing_behind(make_book: MakeBook) -> None:
    """Neither page nor notebooks; a link to it fails the build."""
    book = make_book(index="# I\n\nSee [the other](old.md).\n", old=GOOD)
    assert book.build()[0] == 0
    assert {"old/index.html", "old.ipynb", "old-empty.ipynb"} <= book.files().keys()
    out = [str(book.docs), "-o", str(book.root / "out"), "--cache", str(book.root / ".cache/weave")]
    assert main([*out, "--package", book.package]) == 0
    (book.docs / "old.md").rename(book.docs / "new.md")
    status, said = book.build()
    assert status == 1
    assert re.search(r"'index.md' contains a link 'old.md', but the target is not found", said)
    assert main([*out, "--package", book.package]) == 0
    for folder in ("site", "out"):
        names = [path.name for path in (book.root / folder).rglob("*")]
        assert not [name for name in names if "old" in name]
        assert {"new.ipynb"} <= set(names)
    (book.docs / "new.md").unlink()
    book.write("index.md", "# I\n")
    assert book.build()[0] == 0
    assert not [name for name in book.files() if "new" in name]


# --- sources that cannot be read


def test_a_package_module_that_cannot_be_read_is_named(make_book: MakeBook) -> None:
    """Once, at its line; every page says so until it is mended, then none does."""
    book = make_book(a=GOOD, b=GOOD.replace("6", "5"), prose="# P\n")
    for source, line in ((b"x = 1\n\ndef f(:\n", 3), (b"x = 1\ny = '\xe9'\n", 2), (b"\0", 1)):
        (book.root / book.package / "m.py").write_bytes(source)
        woven, errors = book.weave()
        assert [(error.path.name, error.line) for error in errors] == [("m.py", line)]
        assert "no cell runs until this module is mended" in str(errors[0])
        assert '<div class="output error">' in woven["a.md"].markdown
        assert ">42<" not in woven["a.md"].markdown
        assert "error" not in woven["prose.md"].markdown
        assert book.executed == []
    book.module("m", "x = 1\n")
    assert "error" not in book.page()


def test_a_package_module_that_raises_is_traced(make_book: MakeBook) -> None:
    """From the chapter's line to the module's; the build fails."""
    book = make_book()
    book.module("m", "x = 1\nraise RuntimeError('unfinished')\n")
    book.write("index.md", f"# A\n\n```python\nfrom {book.package} import m\n```\n")
    status, said = book.build()
    assert status == 1
    assert "index.md:4: RuntimeError: unfinished" in said
    assert re.search(r"m\.py:2", said)


UNREADABLE = {
    "another encoding": (b"# A\n\ncaf\xe9\n", 3, "byte 0xe9 is not text in UTF-8: save the file in that"),
    "broken front matter": (b"---\na: 1\nb: [1\n---\n# A\n", 3, "the front matter is no YAML: expected"),
    "a list as front matter": (b"---\n- 1\n---\n# A\n", 2, "must be lines of the form `name: value`"),
    "a part that is no number": (b"---\npart: [1]\n---\n# A\n", 2, "part must be a number, got [1]"),
    "a cell without an end": (b"# A\n\n```python\nx = 1\n\nMore text\n", 3, "this fence never ends: put ``` on"),
    "a fence that swallows a cell": (b"# A\n\n```text\nx\n\n```python\n1\n```\n", 3, "this fence never ends"),
    "a fence at the end": (b"# A\n\n~~~~", 3, "this fence never ends: put ~~~~ on a line after it"),
    "a null byte": (b"# A\n\n```python\nx = '\0'\n```\n", 4, "byte 0x00 is not text in UTF-8"),
    "a bad label": (b'# A\n\n```python label="a b"\n1\n```\n', 3, "label must be letters"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_chapter_that_cannot_be_read_is_named(make_book: MakeBook, name: str) -> None:
    """With its line; its page shows the error, and the build fails."""
    content, line, message = UNREADABLE[name]
    book = make_book(index="# I\n")
    (book.docs / "a.md").write_bytes(content)
    woven, errors = book.weave()
    assert [(error.path.name, error.line) for error in errors] == [("a.md", line)]
    assert message in str(errors[0])
    assert f"a.md:{line}" in woven["a.md"].markdown
    status, said = book.build()
    assert status == 1
    assert f"a.md:{line}: " in said


def test_a_chapter_that_is_gone_is_named(make_book: MakeBook) -> None:
    """A link that leads nowhere is listed as a file; a folder with a chapter's name is a folder."""
    book = make_book(index="# I\n")
    (book.docs / "folder.md").mkdir()
    assert book.build()[0] == 0
    (book.docs / "gone.md").symlink_to("nowhere.md")
    status, said = book.build()
    assert status == 1
    assert "gone.md:1: cannot be read: No such file or directory" in said


def test_only_a_newline_ends_a_line(make_book: MakeBook) -> None:
    """Form feeds and Unicode's separators in the prose move no cell."""
    text = "# A\f\v\u2028\x85\x1c\n\n```python\n6 * 7\n```\n\nb\u2029c\n"
    book = make_book()
    for content in (text, "\ufeff" + text, text.replace("\n", "\r\n")):
        (book.docs).mkdir(exist_ok=True)
        (book.docs / "a.md").write_bytes(content.encode())
        page = book.page()
        assert "```python\n6 * 7\n```" in page
        assert ">42<" in page
        assert page.endswith("\nb\u2029c\n")
        assert "\ufeff" not in page


def test_what_cannot_be_set_is_named_with_its_line(make_book: MakeBook) -> None:
    """A formula and a diagram, however deep; the page shows why, the build fails."""
    text = "# A\n\nA $\\fra{1}{<$ b.\n\n- c\n\n    $$\n    \\bad{x}\n    $$\n\n```mermaid\ngraph TD; A-->B\n```\n"
    book = make_book(index=text)
    config = book.root / "mkdocs.yml"
    extensions = (
        "[{pymdownx.arithmatex: {generic: true}}, llmbook.weave.katex, {pymdownx.superfences: {custom_fences: "
        "[{name: mermaid, class: mermaid, format: !!python/name:llmbook.weave.diagrams.fence }]}}, "
    )
    config.write_text(config.read_text().replace("extensions: [", f"extensions: {extensions}"))
    status, said = book.build()
    assert status == 1
    assert re.findall(r"index\.md:(\d+): (\w+ \w+ \S+)", said) == [
        ("3", "KaTeX cannot set"),
        ("8", "KaTeX cannot set"),
        ("12", "this mermaid diagram"),
    ]
    page = book.files()["index.html"].decode()
    assert page.count('<code class="output error"') == 3


def test_a_package_that_is_not_installed_is_named(make_book: MakeBook) -> None:
    """With the option that names it."""
    book = make_book(index=GOOD)
    config = book.root / "mkdocs.yml"
    config.write_text(config.read_text().replace(book.package, "no_such_package"))
    status, said = book.build()
    assert status == 1
    assert "package 'no_such_package' cannot be imported: install it, or name another" in said
