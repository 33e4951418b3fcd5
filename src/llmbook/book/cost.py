"""What the whole book costs: the seconds in which its pages ran, from the store that logs them."""

import sys
from pathlib import Path
from typing import Any

from llmbook.weave.book import weave_book
from llmbook.weave.chapter import SUFFIXES
from llmbook.weave.configuration import read_site
from llmbook.weave.lab_pages import is_lab

DOCS, STORE = Path("docs"), Path(".cache/weave")


def seconds(docs: Path = DOCS, store: Path = STORE) -> dict[str, float]:
    """The seconds of each page that has cells, on one core.

    A page that has not run is executed first.

    Args:
        docs: The folder of the book.
        store: Where results are kept.

    Raises:
        OSError: If there is no such folder.
        ValueError: If a page cannot be executed.
    """
    if not docs.is_dir():
        raise OSError(f"no book in {docs}/: run this where its folder is")
    labs = read_site(docs.parent / "mkdocs.yml").labs
    files = sorted(file.relative_to(docs).as_posix() for file in docs.rglob("*") if file.is_file())
    pages = [file for file in files if file.endswith(SUFFIXES) or is_lab(file, labs)]
    woven, errors = weave_book(docs, pages, store, report=_say)
    if errors:
        raise ValueError(f"not executed: {errors[0]}")
    return {uri: page.meta["seconds"] for uri, page in woven.items() if "seconds" in page.meta}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run(seed: int) -> dict[str, Any]:
    """What is recorded; the seed draws nothing."""
    return {"seconds": seconds()}
