"""`llmbook.weave.listing`: what is listed is found in the text of its module, or said to be missing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from llmbook.weave.chapter import Part, WeaveError, read_chapter
from llmbook.weave.listing import source
from tests.weave.conftest import TinyBook

MODULE = '''"""A module."""

import functools

LIMIT: int = 3  # of all


@functools.cache
@other
def cached(x):
    """Say."""
    return x


async def waits():
    """Say nothing else."""


if LIMIT:

    def chosen():
        return 1


class Layer:
    """A layer."""

    size = 4

    @property
    def wide(self):
        """Say."""
        return self.size > LIMIT


def twice():
    return 1


def twice():
    return 2
'''
LISTED = {
    "m.LIMIT": "LIMIT: int = 3  # of all\n",
    "m.cached": "@functools.cache\n@other\ndef cached(x):\n    return x\n",
    "m.waits": 'async def waits():\n    """Say nothing else."""\n',
    "m.chosen": "def chosen():\n    return 1\n",
    "m.Layer.wide": "@property\ndef wide(self):\n    return self.size > LIMIT\n",
    "m.Layer": "class Layer:\n    size = 4\n\n    @property\n    def wide(self):\n        return self.size > LIMIT\n",
    "m.twice": "def twice():\n    return 2\n",
    "room.deep.f": "def f():\n    pass\n",
}


@pytest.fixture
def listed(make_book: Callable[..., TinyBook]) -> Callable[[str], str]:
    """What a cell that lists an object of a small package shows."""
    book = make_book(a="# A\n")
    (book.root / book.package / "room").mkdir()
    (book.root / book.package / "room" / "__init__.py").write_text("")
    book.module("m", MODULE)
    book.module("room/deep", "def f():\n    pass\n")
    book.module("broken", "x = 1\ndef f(:\n")
    chapter = read_chapter(book.docs / "a.md")

    def show(name: str) -> str:
        return source(chapter, Part("listing", "", 7, {"listing": f"{book.package}.{name}"}))

    return show


@pytest.mark.parametrize("name", LISTED)
def test_the_source_of_an_object_is_shown(listed: Callable[[str], str], name: str) -> None:
    """With its decorators and comments, at the margin, without docstrings; the last one of a name."""
    assert listed(name) == LISTED[name]


@pytest.mark.parametrize(
    ("name", "near"),
    [("m.cache", "m.cached"), ("m.Layer.wild", "m.Layer.wide"), ("mm.cached", "m"), ("room.deap.f", "room.deep"),
     ("m.nothing_like_it", ""), ("zzz", ""), ("room", "")],
)  # fmt: skip
def test_a_missing_object_is_named_with_the_nearest(
    listed: Callable[[str], str], name: str, near: str
) -> None:
    """At the place of the cell."""
    with pytest.raises(WeaveError) as raised:
        listed(name)
    assert raised.value.line == 7
    hint = raised.value.message.partition("is not in the package")[2]
    assert f".{name}'" in raised.value.message
    assert (f".{near}'?" in hint) if near else not hint


def test_a_module_that_is_no_python_is_named_with_its_line(listed: Callable[[str], str]) -> None:
    """The mistake is there, and not in the chapter."""
    with pytest.raises(WeaveError, match="invalid syntax") as raised:
        listed("broken.f")
    assert (raised.value.path.name, raised.value.line) == ("broken.py", 2)


@pytest.mark.parametrize("name", ["nowhere.f", "json.dumps.x.y", ".f", "a..b", "math.pi", "sys"])
def test_what_is_in_no_package_is_said_to_be_missing(tmp_path: Path, name: str) -> None:
    """Also where it is no name at all, or of a module without a source."""
    (tmp_path / "a.md").write_text("# A\n")
    with pytest.raises(WeaveError, match="is not in the package"):
        source(read_chapter(tmp_path / "a.md"), Part("listing", "", 1, {"listing": name}))
