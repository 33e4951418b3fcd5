"""`make reproduce`: execute the book afresh, and say which numbers moved from the published ones.

Every page with cells has its executed notebook beside it, with all numbers of text and outputs.
Outputs that may differ from build to build, such as times, are left out of them.
"""

import argparse
import json
import re
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from llmbook.weave.book import weave_book
from llmbook.weave.chapter import SUFFIXES
from llmbook.weave.configuration import read_site
from llmbook.weave.lab_pages import is_lab

NUMBER = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])")


@dataclass(frozen=True)
class Moved:
    """What is not as it was published.

    Attributes:
        page: Of the chapter, from the folder of the book.
        cell: The notebook's cell, from 1; 0 stands for the whole page.
        what: What moved, from where to where, and by how much.
    """

    page: str
    cell: int
    what: str

    def __str__(self) -> str:
        return f"{self.page}, cell {self.cell}: {self.what}" if self.cell else self.what


def compare(page: str, published: dict[str, Any], fresh: dict[str, Any]) -> list[Moved]:
    """Compare two executed notebooks of a page, cell by cell and number by number.

    Args:
        page: Its name, for the report.
        published: The notebook as it was published.
        fresh: The notebook as it is now.

    Returns:
        A line for each number that differs, and one for a text that does, which is then not the
        same version of the book.

    Examples:
        >>> def notebook(text):
        ...     return {"cells": [{"cell_type": "markdown", "source": text}]}
        >>> (moved,) = compare("a.md", notebook("It is 0.50 wide."), notebook("It is 0.52 wide."))
        >>> print(moved)
        a.md, cell 1: 0.50 became 0.52 (+4.0%), in “It is 0.50 wide.”
    """
    moved = []
    pairs: Any = zip_longest(published["cells"], fresh["cells"], fillvalue={})
    for number, (before, after) in enumerate(pairs, 1):
        for old, new in zip_longest(_texts(before), _texts(after), fillvalue=""):
            moved += [Moved(page, number, what) for what in _differences(old, new)]
    return moved


def _texts(cell: dict[str, Any]) -> list[str]:
    """What a reader sees of a cell, and its code, all as text."""
    texts = ["".join(cell.get("source", ""))]
    for output in cell.get("outputs", []):
        found = output.get("data", output)
        for kind in ("text", "text/plain", "text/markdown", "text/html", "image/svg+xml"):
            texts.append("".join(found.get(kind, "")))
    return texts


def _differences(old: str, new: str) -> Iterator[str]:
    if old == new:
        return
    if "<svg" in old and "<svg" in new:
        yield "the figure is drawn otherwise"
    elif NUMBER.sub("#", old) != NUMBER.sub("#", new):
        yield f"the text is another: “{_short(old)}” became “{_short(new)}”"
    else:
        for before, after in zip(NUMBER.finditer(old), NUMBER.finditer(new), strict=True):
            if before[0] != after[0]:
                line = old[old.rfind("\n", 0, before.start()) + 1 :].partition("\n")[0]
                by = _by(before[0], after[0])
                yield f"{before[0]} became {after[0]}{by}, in “{_short(line)}”"


def _by(before: str, after: str) -> str:
    old, new = (float(text.replace(",", "").replace("−", "-")) for text in (before, after))
    return f" ({(new - old) / abs(old):+.1%})" if old else ""


def _short(text: str) -> str:
    one = " ".join(text.split())
    return one if len(one) <= 100 else f"{one[:99]}…"


def read(base: str, name: str) -> dict[str, Any] | None:
    """Read a published notebook, from a folder or a site; None if there is none.

    Raises:
        OSError: If the site does not answer.
        ValueError: If what is there is no notebook.
    """
    try:
        if base.startswith(("https://", "http://")):
            with urllib.request.urlopen(f"{base.rstrip('/')}/{name}", timeout=30) as answer:  # noqa: S310
                text = answer.read().decode()
        else:
            text = (Path(base) / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
    notebook: dict[str, Any] = json.loads(text)
    if "cells" not in notebook:
        raise ValueError(f"{base}/{name} is no notebook: it has no cells")
    return notebook


def reproduce(docs: Path, published: str, package: str | None = None) -> list[Moved]:
    """Execute every chapter with an empty store, and compare with what was published.

    Args:
        docs: The folder of the book.
        published: A built site: its address, or its folder.
        package: The package that chapters import; else the one that `mkdocs.yml` names.

    Returns:
        What moved; a page that cannot be executed or was not published is one of them.

    Raises:
        OSError: If the site does not answer.
        ValueError: If a published notebook is none.
    """
    files = (path.relative_to(docs).as_posix() for path in docs.rglob("*") if path.is_file())
    labs = read_site(docs.parent / "mkdocs.yml").labs
    pages = [file for file in files if file.endswith(SUFFIXES) or is_lab(file, labs)]
    moved = []
    with tempfile.TemporaryDirectory() as store:
        woven, errors = weave_book(docs, pages, Path(store), package=package, report=_say)
        moved += [Moved(str(error.path), 0, f"not executed: {error}") for error in errors]
        for page in sorted(uri for uri, found in woven.items() if found.notebook):
            name = Path(page).with_suffix(".ipynb").as_posix()
            if page.endswith(".py"):  # a page that is a notebook has it in its own folder
                name = f"{name.removesuffix('.ipynb')}/{Path(name).name}"
            before, notebook = read(published, name), woven[page].notebook
            if before is None:
                moved.append(Moved(page, 0, f"{page} was not published: {published} lacks {name}"))
            elif notebook is not None:
                after = json.loads(notebook.read_text(encoding="utf-8"))
                moved += compare(page, before, after)
    return moved


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Iterable[str] | None = None) -> int:
    """Report what moved; exit status 1 if anything did."""
    parser = argparse.ArgumentParser(
        prog="python -m llmbook.weave.reproduce",
        description="Execute the book afresh and compare its numbers with the published ones.",
    )
    parser.add_argument(
        "published",
        nargs="?",
        default=read_site(Path("mkdocs.yml")).address or "site",
        help="a built site, by address or folder; %(default)s if left out",
    )
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="the folder of chapters")
    parser.add_argument("--package", help="the package that chapters import")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if not options.docs.is_dir():
        parser.error(f"{options.docs} is not a folder")
    try:
        moved = reproduce(options.docs, options.published, options.package)
    except (OSError, ValueError) as error:
        parser.error(f"{options.published}: {error}; name a built site, such as site/")
    for line in moved:
        print(line)
    pages = len({line.page for line in moved})
    print(
        f"{len(moved)} differences from {options.published}, on {pages} pages"
        if moved
        else f"every number is as published at {options.published}"
    )
    return bool(moved)


if __name__ == "__main__":
    sys.exit(main())
