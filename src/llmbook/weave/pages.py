"""A build of the site that does only what has changed: what MkDocs made of a page is kept.

For each page there are three things, each under a key of its own: its content (what Markdown
became, and what plugins were told meanwhile), its entries in the search, and its final HTML. The
keys hold all that these are made from; a page that logged a warning is not kept, so a strict build
fails again. Serving and building share what is kept.
"""

import functools
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, FileSystemBytecodeCache
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page
from mkdocs.structure.toc import AnchorLink, TableOfContents

from llmbook.weave.sources import ELSEWHERE, Package, Sources, content_of, hash_of
from llmbook.weave.store import load, save

# Plugins of which it is known that a page depends on nothing else of theirs.
KNOWN = {"llmbook-weave", "material/search", "search", "autorefs", "mkdocs-jupyter", "mkdocstrings"}
SNIPPET = "-8<-"
# Settings that a page does not depend on, or that are in its keys in another way.
APART = {"plugins", "theme", "hooks", "markdown_extensions", "watch", "strict", "dev_addr"}
APART |= {"config_file_path", "docs_dir", "site_dir", "site_url", "nav"}
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
SHOWN_BY_OTHERS = ("icon", "status", "subtitle")  # of a page's front matter, in the navigation


class Heard(logging.Handler):
    """Hears what is logged while a page is converted."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note it."""
        self.records.append((record.name, record.levelno, record.getMessage()))


class Ready:
    """In place of a template: a page that is finished."""

    is_up_to_date = True

    def __init__(self, html: str) -> None:
        self.html = html

    def render(self, *_: Any, **__: Any) -> str:
        """The page."""
        return self.html


class Finished(BaseLoader):
    """Looks for a template among the finished pages first."""

    def __init__(self, pages: Mapping[str, Ready], other: BaseLoader) -> None:
        self.pages, self.other = pages, other

    def load(self, environment: Environment, name: str, globals: Any = None) -> Any:  # noqa: A002
        """The page, or the template."""
        return self.pages.get(name) or self.other.load(environment, name, globals)


class Record:
    """What is kept of one page."""

    def __init__(self, path: Path) -> None:
        self.path, self.changed = path, False
        found = load(path, "parts")
        self.parts: dict[str, Any] = found[0] if found else {}

    def get(self, name: str, key: str) -> Any:
        """A part, if it was made with this key."""
        made_with, part = self.parts.get(name, ("", None))
        return part if made_with == key else None

    def set(self, name: str, key: str, part: Any) -> None:
        """Keep a part in place of an older one."""
        self.parts[name], self.changed = (key, part), True

    def drop(self, name: str) -> None:
        """Keep it no more."""
        if self.parts.pop(name, None) is not None:
            self.changed = True

    def write(self) -> None:
        """Write the record if it has changed."""
        if self.changed:
            save(self.path, parts=self.parts)
            self.changed = False


class Pages:
    """What is kept of the pages of one build.

    Args:
        config: MkDocs' configuration, complete.
        folder: Where records are kept.
        package: The book's package, which API pages show; `None` if there is none.
    """

    def __init__(self, config: MkDocsConfig, folder: Path, package: str | None) -> None:
        self.config, self.folder = config, folder
        self.sources = Sources(folder.parent, {})
        self.modules: Package | None = None
        if package:
            self.modules = _readable(package, self.sources)
        self.records: dict[str, Record] = {}
        self.ready: dict[str, Ready] = {}
        self.calls: list[tuple[str, list[Any], dict[str, Any]]] | None = None
        self.heard = Heard()
        self.common = hash_of(_stable([*_environment(), *self._settings()]))
        self.entries: dict[str, list[dict[str, Any]]] = {}
        self.keys: dict[str, tuple[str, str]] = {}
        self._listen()

    def _settings(self) -> list[Any]:
        """The configuration, with the files that it names and that are in every page."""
        config = self.config
        root = Path(config.config_file_path).parent
        snippets = config.mdx_configs.get("pymdownx.snippets", {})
        appended = [
            content_of(Path(base) / name)
            for base in _bases(snippets)
            for name in snippets.get("auto_append", [])
        ]
        hooks = [content_of(root / hook) for hook in config.hooks]
        level = logging.getLogger("mkdocs").getEffectiveLevel()
        hears = [level > logging.DEBUG, level <= logging.WARNING]  # links to anchors, and warnings
        chosen = {name: value for name, value in config.items() if name not in APART}
        others = {name: p for name, p in config.plugins.items() if name != "llmbook-weave"}
        plugins = {name: dict(getattr(p, "config", {})) for name, p in others.items()}
        theme = [config.theme.name, dict(config.theme)]
        return [chosen, plugins, theme, appended, hooks, hears]

    def _listen(self) -> None:
        """Hear what is registered while a page is converted."""
        self.autorefs: Any = self.config.plugins.get("autorefs")
        docstrings: Any = self.config.plugins.get("mkdocstrings")
        self.handlers: Any = (
            docstrings.handlers if docstrings and docstrings.plugin_enabled else None
        )
        if self.autorefs:
            self.autorefs.register_anchor = self._hear("anchor", self.autorefs.register_anchor, 1)
        if self.handlers:
            inventory = self.handlers.inventory
            inventory.register = self._hear("object", inventory.register, 0)

    def _hear(self, name: str, method: Callable[..., None], skip: int) -> Callable[..., None]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> None:
            if self.calls is not None:
                self.calls.append((name, list(args[skip:]), kwargs))
            method(*args, **kwargs)

        return call

    def record(self, page: Page) -> Record:
        """What is kept of a page."""
        uri = page.file.src_uri
        if uri not in self.records:
            self.records[uri] = Record(self.folder / f"{hash_of(uri)}.json")
        return self.records[uri]

    # --- content

    def set_files(self, files: Files) -> None:
        """Remember which files there are, to which pages may link."""
        known = sorted((file.src_uri, file.url, file.inclusion.name) for file in files)
        self.files = hash_of(json.dumps(known))

    def wrap(self, page: Page) -> None:
        """Let a page be converted only if it is not kept."""
        render = functools.partial(self._render, page, page.render)
        page.render = render  # type: ignore[method-assign]

    def _render(
        self, page: Page, render: Callable[..., None], config: MkDocsConfig, files: Files
    ) -> None:
        record, key = self.record(page), self._content_key(page)
        found = record.get("content", key) if key else None
        if found is not None:
            self._restore(page, found, files)
            return
        self.heard.records, self.calls = [], []
        logging.getLogger("mkdocs").addHandler(self.heard)
        try:
            render(config, files)
        finally:
            logging.getLogger("mkdocs").removeHandler(self.heard)
            calls, self.calls = self.calls, None
        if not key or any(level >= logging.WARNING for _, level, _ in self.heard.records):
            record.drop("content")
            return
        anchors, links = page.present_anchor_ids, page.links_to_anchors
        made = {
            "content": page.content,
            "toc": [_anchor(link) for link in page.toc],
            "title": page.title,
            "anchors": None if anchors is None else sorted(anchors),
            "links": None if links is None else [[f.src_uri, to] for f, to in links.items()],
            "calls": calls,
            "said": [line for line in self.heard.records if "jupyter" not in line[0]],
        }
        try:
            json.dumps(made)
        except TypeError:  # a plugin was told what JSON cannot hold
            record.drop("content")
        else:
            record.set("content", key, made)

    def _restore(self, page: Page, found: dict[str, Any], files: Files) -> None:
        """Give a page what its conversion gave, and tell plugins what they were told then."""
        page.content = found["content"]
        page.toc = TableOfContents([_link(anchor) for anchor in found["toc"]])
        for first in page.toc.items[:1]:
            first.active = True  # type: ignore[attr-defined]
        page.title = found["title"]
        page.present_anchor_ids = None if found["anchors"] is None else set(found["anchors"])
        if found["links"] is not None:
            page.links_to_anchors = {files.src_uris[uri]: to for uri, to in found["links"]}
        for name, args, kwargs in found["calls"]:
            if name == "anchor":
                self.autorefs.register_anchor(page, *args, **kwargs)
            else:
                self.handlers.inventory.register(*args, **kwargs)
        for name, level, message in found["said"]:
            logging.getLogger(name).log(level, message)

    def _content_key(self, page: Page) -> str | None:
        """The key of a page's content; `None` if it cannot be told what that is made from."""
        assert page.markdown is not None
        made_from: list[Any] = [self.common, self.files, page.file.src_uri, page.url, page.title]
        made_from.append(hash_of(page.markdown))
        if not page.file.src_uri.endswith(".md") and page.file.abs_src_path:
            made_from.append(content_of(Path(page.file.abs_src_path)))
        if SNIPPET in page.markdown:
            made_from.append(self._snippets)
        for line in page.markdown.split("\n"):
            if line.lstrip("# ").startswith("::: "):
                shown = self._shown(line.lstrip("# ")[4:].split()[0])
                if shown is None:
                    return None
                made_from += [shown, self._outline]
        return hash_of(json.dumps(made_from))

    @functools.cached_property
    def _snippets(self) -> list[Any]:
        """The files that a page may take in."""
        bases = _bases(self.config.mdx_configs.get("pymdownx.snippets", {}))
        files = [p for base in bases for p in sorted(Path(base).rglob("*")) if p.is_file()]
        return [(str(file), content_of(file)) for file in files]

    def _shown(self, name: str) -> list[Any] | None:
        """The modules from whose text the documentation of an object is made."""
        package = name.partition(".")[0]
        if self.modules is None or package != self.modules.name:
            spec = find_spec(package)
            installed = spec and spec.origin and ELSEWHERE & set(Path(spec.origin).parts)
            return [name] if installed else None  # its version is in all keys
        while name and name not in self.modules.files:
            name = name.rpartition(".")[0]
        if not name:
            return None
        text = self.modules.files[name].read_bytes()
        shown = [name, hash_of(text)]
        if b"__all__" in text:  # which may show what others define
            others = self.modules.closure(self.modules.modules[name].imports)
            shown += [hash_of(self.modules.files[other].read_bytes()) for other in sorted(others)]
        return shown

    @functools.cached_property
    def _outline(self) -> str:
        """What the page of one module shows of others: who imports what, classes, their fields."""
        assert self.modules is not None
        outlines = {name: module.outline for name, module in self.modules.modules.items()}
        return hash_of(json.dumps(outlines))

    # --- search and HTML

    def prepare(self, env: Environment, files: Files, nav: Navigation) -> None:
        """Hand over what is finished, once the content of every page is final."""
        pages = [file.page for file in files.documentation_pages() if file.page]
        site = [(p.title, p.url, *(p.meta.get(name) for name in SHOWN_BY_OTHERS)) for p in pages]
        others = hash_of(_stable([site, [_tree(item) for item in nav.items]]))
        theme = hash_of(_stable([self.common, self._templates, self.config.site_url]))
        finishes = set(self.config.plugins) <= KNOWN
        for page in pages:
            content = [page.content, page.url, str(page.title)]
            front = {name: page.meta.get(name) for name in ("title", "search", "tags")}
            search = hash_of(_stable([self.common, content, front]))
            html = hash_of(_stable([theme, others, content, page.meta]))
            self.keys[page.file.src_uri] = search, html
            if not finishes:
                continue
            if (found := self.record(page).get("html", html)) is not None:
                name = f"finished:{page.file.src_uri}"
                page.meta["template"], self.ready[name] = name, Ready(found)
        templates = self.folder.with_name("templates")
        templates.mkdir(parents=True, exist_ok=True)
        env.bytecode_cache = FileSystemBytecodeCache(str(templates))
        if env.loader:
            env.loader = Finished(self.ready, env.loader)

    @functools.cached_property
    def _templates(self) -> list[Any]:
        """The book's own templates; those of packages have versions."""
        own = [d for d in map(Path, self.config.theme.dirs) if not ELSEWHERE & set(d.parts)]
        files = [f for d in own for f in sorted(d.rglob("*")) if f.is_file()]
        return [(f.as_posix(), content_of(f)) for f in files]

    @property
    def _index(self) -> list[dict[str, Any]] | None:
        """The entries of Material's search."""
        plugins = self.config.plugins
        search: Any = plugins.get("material/search") or plugins.get("search")
        return getattr(getattr(search, "search_index", None), "entries", None)

    def before_search(self, page: Page) -> None:
        """Let the search skip a page whose entries are kept."""
        self.count = len(self._index or [])
        found = self.record(page).get("search", self.keys[page.file.src_uri][0])
        if found is not None and self._index is not None:
            self.entries[page.file.src_uri] = found
            self.front = page.meta.get("search")
            page.meta["search"] = {"exclude": True}

    def after_search(self, page: Page) -> None:
        """Give the search the entries of such a page, and keep those of others."""
        index, uri = self._index, page.file.src_uri
        if index is None:
            return
        if (found := self.entries.pop(uri, None)) is not None:
            del page.meta["search"]
            if self.front is not None:
                page.meta["search"] = self.front
            index.extend(found)
        else:
            self.record(page).set("search", self.keys[uri][0], index[self.count :])

    def finish(self, page: Page, html: str) -> None:
        """Keep a finished page."""
        if f"finished:{page.file.src_uri}" not in self.ready:
            self.record(page).set("html", self.keys[page.file.src_uri][1], html)

    # --- the rest

    def write_api_files(self) -> None:
        """Write mkdocstrings' inventory and styles, which it writes only if it rendered a page."""
        if self.handlers is None:
            return
        docstrings: Any = self.config.plugins["mkdocstrings"]
        styles = Record(self.folder / "styles.json")
        file = Path(self.config.site_dir) / docstrings.css_filename
        if list(self.handlers.seen_handlers):
            styles.set("css", self.common, file.read_text(encoding="utf-8"))
            styles.write()
        elif (css := styles.get("css", self.common)) is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(css, encoding="utf-8")
            inventory = Path(self.config.site_dir) / "objects.inv"
            inventory.write_bytes(self.handlers.inventory.format_sphinx())

    def close(self) -> None:
        """Write what is new, and forget pages that are no more."""
        for record in self.records.values():
            record.write()
        here = {record.path.name for record in self.records.values()} | {"styles.json"}
        for file in self.folder.glob("*.json"):
            if file.name not in here:
                file.unlink(missing_ok=True)


def _readable(package: str, sources: Sources) -> Package | None:
    try:
        return Package(package, sources)
    except SyntaxError:  # the engine says so; no page that shows a module is kept
        return None


def _environment() -> list[Any]:
    """Versions of all that is installed, and weave itself."""
    installed = sorted(
        name
        for place in sys.path
        if place.endswith("-packages") and Path(place).is_dir()
        for name in os.listdir(place)  # noqa: PTH208 (names alone)
        if name.endswith("-info")
    )
    weave = [p for p in sorted(Path(__file__).parent.rglob("*")) if p.suffix not in {"", ".pyc"}]
    return [sys.version, installed, [(p.name, content_of(p)) for p in weave]]


def _bases(snippets: Mapping[str, Any]) -> Iterable[str]:
    base = snippets.get("base_path", ["."])
    return [str(base)] if isinstance(base, (str, os.PathLike)) else map(str, base)


def _stable(value: Any) -> str:
    """A value as text that is the same in every process."""

    def other(thing: Any) -> str:
        name = getattr(thing, "__qualname__", None)
        said = f"{thing.__module__}.{name}" if name else f"{type(thing).__name__} {thing!s}"
        return ADDRESS.sub("", said)

    return json.dumps(value, default=other, sort_keys=True)


def _anchor(link: AnchorLink) -> list[Any]:
    return [link.title, link.id, link.level, [_anchor(child) for child in link.children]]


def _link(anchor: list[Any]) -> AnchorLink:
    title, name, level, children = anchor
    link = AnchorLink(title, name, level)
    link.children = [_link(child) for child in children]
    return link


def _tree(item: Any) -> list[Any]:
    """An entry of the navigation, with those under it."""
    return [item.title, getattr(item, "url", None), [_tree(c) for c in item.children or []]]
