"""The MkDocs plugin `llmbook-weave`: hands woven Markdown to MkDocs in place of the chapters."""

import contextlib
import re
import sys
from html import escape, unescape
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin, urlsplit

from jinja2 import Environment
from mkdocs.config import config_options
from mkdocs.config.base import Config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import BasePlugin, CombinedEvent, event_priority, get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel, set_exclusions
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

from llmbook.weave import lab_pages, live, style
from llmbook.weave.blocks import registered
from llmbook.weave.book import NOTEBOOKS, Woven, weave_book
from llmbook.weave.chapter import SUFFIXES
from llmbook.weave.configuration import Site, read_site
from llmbook.weave.engine import Engine
from llmbook.weave.machines import Listed, listing
from llmbook.weave.pages import SNIPPET, Pages
from llmbook.weave.palette import colours_of
from llmbook.weave.serving import Background, with_reload
from llmbook.weave.sources import package_root
from llmbook.weave.store import NO_ROOM, check_store, turn

if TYPE_CHECKING:
    from mkdocs.livereload import LiveReloadServer

NEEDED = ("attr_list", "md_in_html")  # of Markdown's extensions, by what weave writes
CODE = re.compile(r"(?m)^[ \t]*(?:`{3,}|~{3,})[ \t]*python\b|`\{python\}\s")

log = get_plugin_logger("llmbook-weave")


class _Later(ModuleType):
    """A module that is imported when something of it is used, which in most builds is not."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


for _name in ("jupytext", "mkdocs_jupyter.convert"):  # for mkdocs-jupyter, which comes after us
    sys.modules.setdefault(_name, _Later(_name))


class WeaveConfig(Config):
    """Options of the plugin."""

    cache = config_options.Type(str, default=".cache/weave")
    package = config_options.Optional(config_options.Type(str))
    blocks = config_options.Type(str, default="")
    palette = config_options.Type(str, default="")
    labs = config_options.Type(str, default="")
    live = config_options.Type(bool, default=False)
    install = config_options.Type(str, default="")
    style = config_options.Type(bool, default=True)
    fork = config_options.Type(bool, default=True)


class WeavePlugin(BasePlugin[WeaveConfig]):
    """Executes chapters before MkDocs reads them, and keeps what MkDocs makes of the pages."""

    def on_startup(self, *, command: Literal["build", "gh-deploy", "serve"], dirty: bool) -> None:
        """Under `serve` an error is shown in its page and the server goes on."""
        self.serving, self.dirty = command == "serve", dirty
        self.announced = False
        self.locked = contextlib.ExitStack()
        self.woven: dict[str, Woven] = {}
        self.background: Background | None = None

    def on_config(self, config: MkDocsConfig) -> MkDocsConfig:
        """Say at once where the book will be, and watch the package too."""
        root = Path(config.config_file_path).parent
        if self.serving and not self.announced:
            path = urlsplit(config.site_url or "").path or "/"
            log.info(f"the book will be at http://{config.dev_addr}{path} when it is built")
            self.announced = True
        watched = self._watched()
        self.cache = root / self.config.cache
        address = config.site_url
        if self.serving:  # MkDocs has put its own there
            address = read_site(Path(config.config_file_path)).address
        self.site = Site.of(address, config.nav, self.config)
        try:
            check_store(self.cache, Path(config.docs_dir))
            registered(self.site.blocks)
            colours_of(self.site.palette)
        except ValueError as error:
            raise PluginError(f"llmbook-weave in mkdocs.yml: {error}") from None
        if self.site.labs and "mkdocs-jupyter" not in config.plugins:
            raise PluginError("llmbook-weave in mkdocs.yml: labs need the plugin mkdocs-jupyter")
        pyodide = Path(config.docs_dir, live.FOLDER, "pyodide-lock.json")
        if self.config.live and not pyodide.is_file():
            raise PluginError(f"llmbook-weave in mkdocs.yml: live: {live.NO_PYODIDE}")
        if self.config.style and style.STYLE_SHEET not in config.extra_css:
            config.extra_css.insert(0, style.STYLE_SHEET)
        for extension in NEEDED:
            if extension not in config.markdown_extensions:
                config.markdown_extensions.append(extension)
        if self.serving:
            config.watch.extend(watched)
            self.background = self.background or Background(self.cache, log)
            config.watch.append(str(self.background.finished))
        return config

    def _watched(self) -> list[str]:
        """The folders or the file of the package.

        Raises:
            PluginError: If it cannot be imported.
        """
        if self.config.package is None:
            return []
        try:
            package = find_spec(self.config.package)
        except (ImportError, ValueError):
            package = None
        if package is None or not (package.submodule_search_locations or package.origin):
            raise PluginError(
                f"package {self.config.package!r} cannot be imported: install it, or name another "
                "as `package` of llmbook-weave in mkdocs.yml"
            )
        return list(package.submodule_search_locations or [str(package.origin)])

    def on_pre_build(self, *, config: MkDocsConfig) -> None:
        """Let no two builds write one site at a time."""
        if not self.serving:  # which has a folder of its own
            with contextlib.suppress(OSError):  # a store that is read-only may still have all
                self.locked.enter_context(turn(self.cache / "site.lock", log.info))
        self.pages = Pages(config, self.cache / "pages", self.config.package)

    @event_priority(-100)
    def on_post_build(self, *, config: MkDocsConfig) -> None:
        """Write the Markdown of the chapters, keep the pages, and let the next build in."""
        self._write_for_machines(config)
        with contextlib.suppress(OSError):  # likewise
            self.pages.close()
        self.locked.close()

    def _write_for_machines(self, config: MkDocsConfig) -> None:
        """Each chapter's Markdown beside its page, and `llms.txt`, which lists them."""
        chapters = []
        for page in self.nav.pages:
            woven = self.woven.get(page.file.src_uri)
            if woven is None or woven.notebook is None:
                continue
            uri = str(Path(page.file.src_uri).with_suffix(".md"))
            target = Path(config.site_dir) / uri
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(woven.plain, "utf-8")
            ancestors = list(page.ancestors)
            part = str(ancestors[-1].title) if ancestors else ""
            title = str(woven.meta.get("title", page.title))
            question = str(woven.meta.get("question", ""))
            chapters.append(Listed(part, title, urljoin(config.site_url or "", uri), question))
        if chapters:
            text = listing(config.site_name, config.site_description or "", chapters)
            (Path(config.site_dir) / "llms.txt").write_text(text, "utf-8")

    def on_build_error(self, *, error: Exception) -> None:
        """Let the next one in, and say of a full or read-only disk what to do."""
        self.locked.close()
        if isinstance(error, OSError):
            raise PluginError(f"{error}: {NO_ROOM}") from None

    def on_shutdown(self) -> None:
        """End what runs."""
        if self.background:
            self.background.close()

    def on_serve(self, server: "LiveReloadServer", **_: Any) -> "LiveReloadServer":
        """Begin to execute: the book can be read."""
        if self.background:
            self.background.begin()
        return server

    def on_files(self, files: Files, *, config: MkDocsConfig) -> Files:
        """Weave every page that readers get; add the executed notebooks; make labs notebooks."""
        set_exclusions(files, config)  # of those that other plugins have added
        sources = [file for file in files if self._is_source(file)]
        texts = {
            file.src_uri: file.content_string for file in sources if _is_elsewhere(file, config)
        }
        if self.config.style and style.STYLE_SHEET not in files.src_uris:
            sheet = style.style_sheet(self.site.palette)
            files.append(File.generated(config, style.STYLE_SHEET, content=sheet))
        self.woven, errors = weave_book(
            Path(config.docs_dir),
            [file.src_uri for file in sources],
            self.cache,
            package=self.config.package,
            site=self.site,
            texts=texts,
            report=log.info,
            fork=self.config.fork,
            run=self.background.run if self.background else Engine.run,
        )
        for error in errors:
            log.error(str(error))  # which fails a strict build; else the page shows it in its place
        for uri, woven in self.woven.items():
            page = files.src_uris[uri]
            if self.dirty:  # what a page is made from is more than its file
                page.is_modified = lambda: True  # type: ignore[method-assign]
            if uri.endswith(".py") and woven.notebook:
                files.remove(page)
            for beside in filter(None, (woven.notebook, woven.empty, woven.live, woven.turns)):
                folder, *name = beside.relative_to(self.cache).parts
                source, target = str(self.cache / folder), config.site_dir
                copy = File("/".join(name), source, target, config.use_directory_urls)
                copy.inclusion = page.inclusion
                files.append(copy)
        finished = self.cache / NOTEBOOKS  # where the notebooks of what still runs are not
        executed = {
            uri
            for uri, woven in self.woven.items()
            if woven.notebook and woven.notebook.is_relative_to(finished)
        }
        for uri, made in registered(self.site.blocks).files(executed, self.cache).items():
            files.append(File.generated(config, uri, content=made))
        if self.config.live:
            self._add_live(files, config)
        if any(woven.turns for woven in self.woven.values()):
            for uri, content in style.dials().items():
                included = InclusionLevel.INCLUDED
                files.append(File.generated(config, uri, inclusion=included, content=content))
        return files

    def _add_live(self, files: Files, config: MkDocsConfig) -> None:
        """Add what live cells load, but for Pyodide, which the book has among its own files."""

        def add(name: str, **made: Any) -> None:  # whatever `exclude_docs` says
            uri, included = f"{live.FOLDER}/{name}", InclusionLevel.INCLUDED
            files.append(File.generated(config, uri, inclusion=included, **made))

        pyodide = Path(config.docs_dir) / live.FOLDER
        book = live.packed(self.config.package, self.cache)
        data = set().union(*(live.known(woven.live)[1] for woven in self.woven.values()))
        parts = live.parts(pyodide, len(book), data, live.missing(self.pages.modules))
        made: dict[str, str | bytes] = {**live.own_files(), "book.zip": book, "parts.json": parts}
        for name, content in made.items():
            add(name, content=content)
        for place in data:
            source = package_root(place.partition("/")[0]).parent / place
            add(place, abs_src_path=str(source))

    def _is_source(self, file: File) -> bool:
        """Whether a file is a page that a reader gets, or a lab."""
        level = file.inclusion
        if not (level.is_in_serve() if self.serving else level.is_included()):
            return False
        return file.src_uri.endswith(SUFFIXES) or lab_pages.is_lab(file.src_uri, self.site.labs)

    def on_nav(self, nav: Navigation, *, config: MkDocsConfig, files: Files) -> None:
        """Remember what pages may link to, and their order."""
        self.pages.set_files(files)
        self.nav = nav

    @event_priority(-100)  # after mkdocs-jupyter, which has a way of its own to render a page
    def on_pre_page(self, page: Page, *, config: MkDocsConfig, files: Files) -> Page:
        """Convert a page only if what it is made from has changed."""
        uri = page.file.src_uri
        made = uri.removesuffix(".ipynb") + ".py" in self.woven
        if uri.endswith(".ipynb") and made:  # another notebook is the author's, and looks so
            render, site = page.render, self.site.address

            def render_lab(config: MkDocsConfig, files: Files) -> None:
                render(config, files)
                page.content = lab_pages.page(page.content or "", site)

            page.render = render_lab  # type: ignore[method-assign]
        self.pages.wrap(page)
        return page

    def on_page_read_source(self, *, page: Page, config: MkDocsConfig) -> str | None:
        """A woven page has been read: MkDocs needs not, and sees no later state of it."""
        return "" if page.file.src_uri in self.woven else None

    def on_page_markdown(
        self, markdown: str, *, page: Page, config: MkDocsConfig, files: Files
    ) -> str:
        """The woven Markdown of the page, and what its template shows."""
        woven = self.woven.get(page.file.src_uri)
        if woven is None:
            if CODE.search(markdown) and page.file.src_uri.endswith(SUFFIXES):
                log.error(
                    f"{page.file.src_uri}: its code never runs: the page was added by a plugin "
                    "that comes after llmbook-weave; put that before it in mkdocs.yml"
                )
            return markdown
        if SNIPPET in woven.body:
            self._check_snippets(woven.body, page, config)
        page.meta.update(woven.meta)
        if "title" in page.meta:  # which templates take for HTML
            page.meta["title"] = escape(str(page.meta["title"]), quote=False)
        return woven.body

    def _address(self, uri: str, page: Page, files: Files) -> str:
        """Where a drawing's link to a page of the book leads."""
        target = files.get_file_from_path(uri)
        if target is None:
            log.error(f"{page.file.abs_src_path}: a drawing links to {uri!r}, which is no page")
            return ""
        return target.url_relative_to(page.file)

    def _check_snippets(self, body: str, page: Page, config: MkDocsConfig) -> None:
        """Say of code in an included file that it never runs."""
        if "pymdownx.snippets" not in config.markdown_extensions:
            return
        from markdown import Markdown

        settings = {**config.mdx_configs.get("pymdownx.snippets", {}), "auto_append": []}
        settings["check_paths"] = False  # the page's own conversion says so
        known = {"pymdownx.snippets": settings}
        reader = Markdown(extensions=["pymdownx.snippets"], extension_configs=known)
        whole = "\n".join(reader.preprocessors["snippet"].run(body.split("\n")))
        if len(CODE.findall(whole)) > len(CODE.findall(body)):
            line = page.file.content_string.partition(SNIPPET)[0].count("\n") + 1
            log.error(
                f"{page.file.abs_src_path}:{line}: code in an included file never runs: put the "
                "cell into the page, or write ```py there if it should only be shown"
            )

    def on_page_content(self, html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
        """Report what could not be set."""
        for source, why in re.findall(
            r'<code class="output error" data-broken="(.*?)">(.*?)<', html
        ):
            before, found, _ = page.file.content_string.partition(unescape(source))
            line = before.count("\n") + 1 if found else 1
            log.error(f"{page.file.abs_src_path}:{line}: {unescape(why)}")
        linked = r'href="[^"]*" data-page="([^"]+)"'
        if "data-page=" in html:  # few pages have a drawing that links
            html = re.sub(linked, lambda m: f'href="{self._address(m[1], page, files)}"', html)
        html = self._with_live(self._with_dials(html, page, files), page, files)
        if "autorefs" not in config.plugins:  # there is nothing that a listing's name could lead to
            html = re.sub(r"</?autoref\b[^>]*>", "", html)
        return html

    def _with_dials(self, html: str, page: Page, files: Files) -> str:
        """A page that loads the script and the style of its figures' dials."""
        woven = self.woven.get(page.file.src_uri)
        if woven is None or woven.turns is None:
            return html
        uris = *style.DIALS, "/".join(woven.turns.relative_to(self.cache).parts[1:])
        sheet, script, table = (files.src_uris[uri].url_relative_to(page.file) for uri in uris)
        return (
            f'{html}\n<link rel="stylesheet" href="{sheet}">\n'
            f'<script type="module" src="{script}" data-turns="{table}"></script>'
        )

    def _with_live(self, html: str, page: Page, files: Files) -> str:
        """A page that loads the script of its live cells; of a lab, only these are marked."""
        uri = page.file.src_uri
        woven = self.woven.get(uri) or self.woven.get(uri.removesuffix(".ipynb") + ".py")
        known, _ = live.known(woven.live if woven else None)
        if uri.endswith(".ipynb"):
            mark = r' data-cell="(\d+)"'
            html = re.sub(mark, lambda m: m[0] if int(m[1]) in known else "", html)
        if not known or not woven or not woven.live:
            return html
        script = files.src_uris[f"{live.FOLDER}/live.js"].url_relative_to(page.file)
        cells = files.src_uris["/".join(woven.live.relative_to(self.cache).parts[1:])]
        address = cells.url_relative_to(page.file)
        return f'{html}\n<script type="module" src="{script}" data-cells="{address}"></script>'

    @event_priority(-30)  # after mkdocstrings
    def _write_api_files(self, env: Environment, **_: Any) -> None:
        self.pages.write_api_files()

    @event_priority(-200)  # after all that changes the content of pages
    def _hand_over(self, env: Environment, *, config: MkDocsConfig, files: Files) -> None:
        self.pages.prepare(env, files, self.nav)

    on_env = CombinedEvent(_write_api_files, _hand_over)

    @event_priority(100)
    def _before_search(self, /, context: Any, *, page: Page, **_: Any) -> None:
        self.pages.before_search(page)

    @event_priority(-100)
    def _after_search(self, /, context: Any, *, page: Page, **_: Any) -> None:
        self.pages.after_search(page)

    on_page_context = CombinedEvent(_before_search, _after_search)

    @event_priority(100)
    def _finish(self, /, output: str, *, page: Page, **_: Any) -> None:
        self.pages.finish(page, output)

    @event_priority(-100)
    def _reload(self, /, output: str, *, page: Page, **_: Any) -> str:
        return with_reload(output) if self.serving else output

    on_post_page = CombinedEvent(_finish, _reload)


def _is_elsewhere(file: File, config: MkDocsConfig) -> bool:
    """Whether a page's text is not what a file of its name in the folder of the book holds."""
    place = Path(config.docs_dir) / file.src_uri
    return not (file.abs_src_path and Path(file.abs_src_path) == place)
