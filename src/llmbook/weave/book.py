"""A whole book at once: parse, execute what is stale, weave all."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmbook.weave.blocks import Blocks, reading_minutes, reading_order
from llmbook.weave.chapter import Chapter, WeaveError, read_chapter
from llmbook.weave.engine import Result, run
from llmbook.weave.labs import read_lab
from llmbook.weave.notebook import empty_notebook
from llmbook.weave.render import Book, failure, weave
from llmbook.weave.store import write_atomically

WATTS_A_CORE = 15  # of a server processor at work, what the page's own cost is estimated with


@dataclass
class Woven:
    """A page as the site generator shall read it; with cells, its notebook, executed and empty."""

    body: str
    meta: dict[str, Any] = field(default_factory=dict)
    notebook: Path | None = None
    empty: Path | None = None

    @property
    def markdown(self) -> str:
        """The page as a file: front matter and body."""
        matter = yaml.safe_dump(self.meta, sort_keys=True, allow_unicode=True)
        return f"---\n{matter}---\n{self.body}" if self.meta else self.body


def weave_book(
    docs: Path,
    sources: Iterable[str],
    cache: Path,
    *,
    package: str = "llmbook",
    report: Callable[[str], None] = print,
) -> tuple[dict[str, Woven], list[WeaveError]]:
    """Weave the pages of a folder.

    Args:
        docs: The folder.
        sources: Paths below it: `.md` chapters, `.py` labs.
        cache: Where results and notebooks are kept.
        package: The package whose source the results depend on.
        report: Is told a line for each executed chapter.

    Returns:
        Each page by its path, and the errors; a page with an error shows it in its place.

    Raises:
        OSError: If the cache or the chapters cannot be written or read for want of room or right.
    """
    blocks = Blocks(docs)
    book = Book(blocks.functions, (blocks.cite,), blocks.links)
    errors = blocks.errors()
    woven: dict[str, Woven] = {}

    def failed(uri: str, error: WeaveError) -> None:
        errors.append(error)
        woven[uri] = Woven(f"# {Path(uri).name}\n{failure(error)}")

    chapters: dict[str, Chapter] = {}
    for uri in reading_order(docs, sources):
        try:
            reader = read_lab if uri.endswith(".py") else read_chapter
            chapters[uri] = reader(docs / uri, frozenset(blocks.functions))
        except WeaveError as error:
            failed(uri, error)
    results = run(list(chapters.values()), cache, docs=docs, package=package, report=report)
    for uri, chapter in chapters.items():
        result = results.get(chapter.path)
        if isinstance(result, WeaveError) and result not in errors:  # one may be of many chapters
            errors.append(result)
        try:
            markdown, notebook = weave(chapter, result, book)
        except WeaveError as error:
            failed(uri, error)
            continue
        path = empty = None
        if chapter.cells:
            path = (cache / "notebooks" / uri).with_suffix(".ipynb")
            empty = path.with_stem(f"{path.stem}-empty")
            for file, text in ((path, notebook), (empty, empty_notebook(notebook))):
                if not file.exists() or file.read_text(encoding="utf-8") != text:
                    write_atomically(file, text)
        woven[uri] = Woven(markdown, _page_facts(uri, chapter, result), path, empty)
    return woven, errors


def _page_facts(uri: str, chapter: Chapter, result: Result | WeaveError | None) -> dict[str, Any]:
    """The chapter's front matter, with what the page shows at its head and foot."""
    meta = dict(chapter.meta)
    if "part" in meta:
        meta["minutes"] = reading_minutes(chapter.text)
    if chapter.cells:
        meta["notebook"] = Path(uri).with_suffix(".ipynb").as_posix()
        meta["cells"] = sum(part.kind == "cell" for part in chapter.cells)
    if isinstance(result, Result):
        meta["seconds"] = round(result.seconds, 1)
        meta["watt_hours"] = round(result.seconds * WATTS_A_CORE / 3600, 4)
    return meta
