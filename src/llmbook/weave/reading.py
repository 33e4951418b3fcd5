"""How a book is read: in which order its pages come, and how long one takes."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from llmbook.weave.chapter import SUFFIXES, fences

WORDS_A_MINUTE = 200
SECONDS_A_CELL = 30


def reading_order(sources: Iterable[str], pages: Sequence[str]) -> list[str]:
    """Pages as the navigation has them, then the others by name.

    Args:
        sources: Paths below the folder of the book.
        pages: The files of the navigation; a lab is there as the notebook that is made of it.

    Examples:
        >>> reading_order(["b.md", "a.md", "labs/x.py", "c.md"], ["c.md", "labs/x.ipynb"])
        ['c.md', 'labs/x.py', 'a.md', 'b.md']
    """
    place = {uri.removesuffix(".ipynb"): number for number, uri in enumerate(pages)}
    return sorted(sources, key=lambda uri: (place.get(uri.removesuffix(".py"), len(pages)), uri))


def reading_minutes(markdown: str) -> int:
    """Minutes that a chapter takes: 200 words a minute, and half a minute a cell or listing.

    Args:
        markdown: The page, with or without front matter.
    """
    body = re.sub(r"(?s)\A---\n.*?\n---\n", "", markdown)
    lines, found = body.split("\n"), fences(body)
    cells = sum(fence.info.split()[:1] == ["python"] for fence in found)
    for fence in reversed(found):
        del lines[slice(*fence.map)]  # type: ignore[misc]
    words = len(" ".join(lines).split())
    return max(1, round(words / WORDS_A_MINUTE + cells * SECONDS_A_CELL / 60))


def address(source: str) -> str:
    """Where a site has the page made of a file: `a/b.md#c` at `a/b/#c`, `a/index.md` at `a/`.

    Examples:
        >>> address("a/b.md#c"), address("a/index.md"), address("a/b.png")
        ('a/b/#c', 'a/', 'a/b.png')
    """
    path, mark, anchor = source.partition("#")
    name = PurePosixPath(path)
    if name.suffix in {*SUFFIXES, ".py", ".ipynb"}:
        folder = path[: len(path) - len(name.name)]
        path = folder if name.stem in {"index", "README"} else f"{folder}{name.stem}/"
    return path + mark + anchor
