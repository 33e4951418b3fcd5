"""A whole book at once: parse, execute what is stale, weave what has changed."""

import contextlib
import functools
import json
import posixpath
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from llmbook.weave.blocks import Blocks, registered
from llmbook.weave.chapter import Chapter, WeaveError, read_chapter
from llmbook.weave.configuration import Site, read_site
from llmbook.weave.engine import Basis, Engine, Result
from llmbook.weave.lab_pages import read_lab
from llmbook.weave.listing import module_of
from llmbook.weave.live import Live, Reach
from llmbook.weave.live import live as find_live
from llmbook.weave.machines import as_text
from llmbook.weave.notebook import PAGE, empty_notebook, linked
from llmbook.weave.reading import reading_minutes, reading_order
from llmbook.weave.render import STILL, Book, failure, weave
from llmbook.weave.sources import Sources, content_of, hash_of
from llmbook.weave.store import check_store, load, save, write_atomically

WATTS_A_CORE = (
    8  # at the meter, by middle values: 4 W, with memory and board 6, with the building 8
)
NOTEBOOKS, PENDING = "notebooks", "pending"  # where they are kept, and those of what still runs
BESIDE = {  # a page's own files, by how their names end
    "notebook": ".ipynb",
    "empty": "-empty.ipynb",
    "live": ".live.json",
    "turns": ".turns.json",
}
LISTING = re.compile(r"""^```python .*\blisting=["']?([\w.]+)""", re.M)


@dataclass
class Woven:
    """A page as the site generator shall read it; with cells, its notebook, executed and empty.

    With cells also as Markdown that needs nothing else. With live cells, also the file by which
    the page's script knows them, and with figures that turn the one with their drawings.
    """

    body: str
    meta: dict[str, Any] = field(default_factory=dict)
    plain: str = ""
    notebook: Path | None = None
    empty: Path | None = None
    live: Path | None = None
    turns: Path | None = None

    @property
    def markdown(self) -> str:
        """The page as a file: front matter and body."""
        matter = yaml.safe_dump(self.meta, sort_keys=True, allow_unicode=True)
        return f"---\n{matter}---\n{self.body}" if self.meta else self.body


Run = Callable[
    [Engine, list[Chapter], Callable[[Chapter, Result | WeaveError, Basis | None], None]], None
]


def weave_book(
    docs: Path,
    sources: Iterable[str],
    cache: Path,
    *,
    package: str | None = None,
    site: Site | None = None,
    texts: Mapping[str, str] | None = None,
    report: Callable[[str], None] = print,
    fork: bool = True,
    run: Run = Engine.run,
) -> tuple[dict[str, Woven], list[WeaveError]]:
    """Weave the pages of a folder.

    Args:
        docs: The folder.
        sources: Paths below it: Markdown chapters, `.py` labs.
        cache: Where results and notebooks are kept.
        package: The package whose source the results depend on; else that of the site.
        site: What is known of the published book; else what the `mkdocs.yml` beside `docs` says.
        texts: What pages hold that are no files.
        report: Is told a line for each executed chapter.
        fork: Fork chapters' processes from a warm one, where the system can; else each is new.
        run: Executes chapters; one that it gives no result for is shown as running.

    Returns:
        Each page by its path, and the errors; a page with an error shows it in its place.

    Raises:
        OSError: If the cache or the chapters cannot be written or read for want of room or right.
        ValueError: If the package, or what the book registers, cannot be imported, or the cache is
            no folder of its own.
    """
    check_store(cache, docs)
    configured, errors = site or Site(), []
    if site is None:
        file = docs.parent / "mkdocs.yml"
        try:
            configured = read_site(file)
        except (ValueError, yaml.YAMLError) as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            errors.append(WeaveError(file, line, f"cannot be read: {error}"))
    engine = Engine(
        docs,
        cache,
        package=package or configured.package,
        palette=configured.palette,
        report=report,
        fork=fork,
    )
    weaver = _Weaver(engine, configured, docs, cache, texts or {})
    try:
        woven, others = weaver.weave(sources, run)
    finally:
        engine.close()
    return woven, errors + others


class _Weaver:
    """Weaves one state of a book."""

    def __init__(
        self, engine: Engine, site: Site, docs: Path, cache: Path, texts: Mapping[str, str]
    ) -> None:
        self.engine, self.site, self.docs, self.cache, self.texts = engine, site, docs, cache, texts
        self.book = Book()
        self.errors: list[WeaveError] = []
        self.woven: dict[str, Woven] = {}
        self.blocks: Blocks | None = None
        self.kind = registered(site.blocks)
        self.reach = Reach(filter(None, (engine.package, "llmbook")))

    def weave(self, sources: Iterable[str], run: Run) -> tuple[dict[str, Woven], list[WeaveError]]:
        """Weave pages in their order: figures are numbered through a part."""
        broken = self.engine.read()
        self.order = order = reading_order(sources, self.site.pages)
        kept = {uri: found for uri in order if (found := self._kept(uri))}
        if len(kept) < len(order):  # else all was woven with these data, which had no error
            self._read_data()
        read = ((uri, self._read(uri)) for uri in order if uri not in kept)
        chapters = {uri: chapter for uri, chapter in read if chapter}
        results: dict[Path, tuple[Result | WeaveError | None, Basis | None]] = {}
        todo = []
        for chapter in (chapter for chapter in chapters.values() if chapter.cells):
            if broken:
                results[chapter.path] = broken, None
            elif result := self.engine.find(chapter):
                results[chapter.path] = result
            else:
                todo.append(chapter)

        def done(chapter: Chapter, result: Result | WeaveError, basis: Basis | None) -> None:
            results[chapter.path] = result, basis

        if todo:
            run(self.engine, todo, done)
        self.engine.sources.keep()
        for uri in order:
            record = kept.get(uri)
            if record and record["figures"][0] == self.book.figures.get(record["part"], 0):
                self.book.figures[record["part"]] = record["figures"][1]
                files = self._files(uri, record["hashes"])
                body, meta, plain = record["body"], record["meta"], record["plain"]
                self.woven[uri] = Woven(body, meta, plain, **files)
                continue
            if self.blocks is None:
                self._read_data()
            page = chapters.get(uri) or (self._read(uri) if record else None)
            if page is None:
                continue
            if record and page.cells:  # the figures before it have moved
                results[page.path] = self.engine.find(page) or (None, None)
            self._weave(uri, page, *results.get(page.path, (None, None)))
        return {uri: self.woven[uri] for uri in order if uri in self.woven}, self.errors

    def _read_data(self) -> None:
        """Read what the book's own fences show."""
        self.blocks = blocks = self.kind(self.docs, self.site, self.order)

        def links(page: Path, text: str) -> str:
            uri = page.relative_to(self.docs).as_posix()
            return linked(text, uri, self.site.address, blocks.target)

        self.book.blocks, self.book.links, self.book.finish = blocks.functions, links, blocks.finish
        self.errors += blocks.errors()
        self.sound = not self.errors

    def _read(self, uri: str) -> Chapter | None:
        try:
            if uri.endswith(".py"):
                return read_lab(self.docs / uri)
            path = self.docs / uri
            chapter = read_chapter(path, frozenset(self.book.blocks), self.texts.get(uri))
            self._check_name(uri, chapter)
            return chapter
        except WeaveError as error:
            self._failed(uri, error)
            return None

    def _check_name(self, uri: str, chapter: Chapter) -> None:
        """Refuse a chapter whose notebook would take the place of a file of the author's."""
        for notebook in self._files(uri).values() if chapter.cells else ():
            if (taken := chapter.path.with_name(notebook.name)).exists():
                why = f"{taken} has the name of this chapter's notebook: rename one of the two"
                raise WeaveError(chapter.path, 1, why)

    def _failed(self, uri: str, error: WeaveError) -> None:
        if error not in self.errors:  # one may be of many chapters
            self.errors.append(error)
        self.woven.setdefault(uri, Woven(f"# {Path(uri).name}\n{failure(error)}"))

    def _weave(
        self, uri: str, chapter: Chapter, result: Result | WeaveError | None, basis: Basis | None
    ) -> None:
        """Weave one page, and keep it."""
        pending = bool(chapter.cells) and result is None
        made = not isinstance(result, WeaveError) and (basis or not chapter.cells)
        part = chapter.meta.get("part", 0)
        before = self.book.figures.get(part, 0)
        if isinstance(result, WeaveError) and result not in self.errors:
            self.errors.append(result)
        try:
            shown = running(chapter) if pending else result
            live = self._live(chapter, basis) if made else STILL
            body, notebook, turns = weave(chapter, shown, self.book, live)
        except WeaveError as error:
            self._failed(uri, error)
            return
        body = _with_pages(body, uri)
        meta = _page_facts(uri, chapter, None if pending else result)
        empty = empty_notebook(notebook, self.site.package or "", self.site.install)
        texts = {"notebook": notebook, "empty": empty} if chapter.cells else {}
        texts |= {"live": live.text(self.site.palette)} if live.cells else {}
        texts |= {"turns": turns} if turns else {}
        files = self._files(uri, texts, PENDING if pending else NOTEBOOKS)
        for name, text in texts.items():
            file = files[name]
            if not file.exists() or file.read_text(encoding="utf-8") != text:
                write_atomically(file, text)
        plain = as_text(notebook) if chapter.cells else ""
        self.woven[uri] = Woven(body, meta, plain, **files)
        key = self._key(uri)
        if key and made and self.sound:
            try:
                save(
                    self._record(uri),
                    key=key,
                    basis=basis and asdict(basis),
                    page={
                        "part": part,
                        "figures": [before, self.book.figures.get(part, 0)],
                        "body": body,
                        "meta": meta,
                        "plain": plain,
                        "hashes": {name: hash_of(text) for name, text in texts.items()},
                    },
                )
            except (TypeError, OSError):  # front matter that JSON cannot hold; a read-only store
                self._record(uri).unlink(missing_ok=True)

    def _files(
        self, uri: str, names: Iterable[str] = BESIDE, folder: str = NOTEBOOKS
    ) -> dict[str, Path]:
        """What lies beside a page: notebooks, what scripts know of live cells, and of figures."""
        path = (self.cache / folder / uri).with_suffix("")
        return {name: path.with_name(f"{path.name}{BESIDE[name]}") for name in names}

    def _live(self, chapter: Chapter, basis: Basis | None) -> Live:
        """Which cells of a page a browser can run."""
        if not self.site.live or basis is None:
            return STILL
        read = [name.removeprefix("file ") for name in basis.names if name.startswith("file ")]
        return find_live(chapter, self.reach, map(self.engine.sources.path, read))

    # --- what is kept of a page

    def _record(self, uri: str) -> Path:
        return self.cache / "woven" / f"{hash_of(uri)}.json"

    def _kept(self, uri: str) -> dict[str, Any] | None:
        """A page as it was woven before, if it would be woven so again."""
        found = load(self._record(uri), "key", "basis", "page")
        if found is None or found[0] != self._key(uri):
            return None
        _, basis, page = found
        if basis and not self.engine.still(Basis(**basis)):
            return None
        files = self._files(uri, page["hashes"])
        if page["hashes"] != {name: content_of(file) for name, file in files.items()}:
            return None
        kept: dict[str, Any] = page
        return kept

    def _key(self, uri: str) -> str | None:
        """What a page is woven from, but for its result; `None` if that cannot be told."""
        try:
            text = self.texts.get(uri) or (self.docs / uri).read_text(encoding="utf-8")
            listed = [content_of(module_of(name)[0]) for name in LISTING.findall(text)]
        except (OSError, ValueError, ImportError):
            return None
        names = "|".join(map(re.escape, sorted(self.kind.of_all_pages)))
        reads_others = names and re.search(rf"^```(?:{names}) *$", text, re.M)
        others = self._others if reads_others else None
        return hash_of(json.dumps([self._common, uri, hash_of(text), listed, others]))

    @functools.cached_property
    def _common(self) -> str:
        """What every page is woven with: weave, what the book registers and its data, the site."""
        own = sorted(Path(__file__).parent.rglob("*.py"))
        registers = sys.modules[self.kind.__module__].__file__ or ""
        own += sorted(Path(registers).parent.glob("*.py")) if self.site.blocks else []
        data = [content_of(path) for path in own]
        data += [_meaning(path, self.engine.sources) for path in self.kind.data(self.docs)]
        return hash_of(json.dumps([data, asdict(self.site)]))

    @functools.cached_property
    def _others(self) -> list[tuple[str, str | None]]:
        return [(uri, content_of(self.docs / uri)) for uri in self.order]


def _meaning(path: Path, sources: Sources) -> str | None:
    """The hash of a file, of a module without its docstrings: numbers are read from it."""
    if path.suffix == ".py":
        with contextlib.suppress(OSError, SyntaxError):
            return sources.module(path).meaning
    return content_of(path)


def running(chapter: Chapter) -> Result:
    """What a page shows of a chapter that is being executed."""
    from llmbook.weave.kernel import FIGURE

    box = '<div class="output running" data-search-exclude><pre>running …</pre></div>'
    words = '<text x="310" y="100" style="text-anchor: middle; fill: var(--ink-2)">running …</text>'
    drawing = f'<svg width="620" height="200" viewBox="0 0 620 200">{words}</svg>'
    figure = {"drawings": [{"width": 620, "svg": drawing}], "table": None}
    outputs: list[list[dict[str, Any]]] = []
    for part in chapter.cells:
        if part.kind == "inline":
            outputs.append([{"output_type": "stream", "name": "stdout", "text": "…"}])
            continue
        data = {FIGURE: figure} if "caption" in part.options else {"text/markdown": box}
        outputs.append([{"output_type": "display_data", "data": data, "metadata": {}}])
    return Result(outputs, 0.0)


def _with_pages(body: str, uri: str) -> str:
    """A page whose drawings link to other pages' files, as its Markdown does."""
    folder = posixpath.dirname(uri) or "."

    def link(found: re.Match[str]) -> str:
        return f'href="{posixpath.relpath(found[1], folder)}" data-page="{found[1]}"'

    return re.sub(rf'(?:target="_blank" )?href={PAGE}([^"]+)"', link, body)


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
