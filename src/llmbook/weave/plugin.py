"""The MkDocs plugin `llmbook-weave`: hands woven Markdown to MkDocs in place of the chapters."""

import contextlib
import re
import sys
from html import escape, unescape
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal
from urllib.parse import urlsplit

from jinja2 import Environment
from mkdocs.config import config_options
from mkdocs.config.base import Config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.livereload import LiveReloadServer
from mkdocs.plugins import BasePlugin, CombinedEvent, event_priority, get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

from llmbook.weave import lab_pages
from llmbook.weave.book import Woven, weave_book
from llmbook.weave.configuration import Site, read_site
from llmbook.weave.engine import Engine
from llmbook.weave.pages import Pages
from llmbook.weave.serving import Background, with_reload
from llmbook.weave.store import NO_ROOM, turn

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
    package = config_options.Type(str, default="llmbook")
    fork = config_options.Type(bool, default=True)


class WeavePlugin(BasePlugin[WeaveConfig]):
    """Executes chapters before MkDocs reads them, and keeps what MkDocs makes of the pages."""

    def on_startup(self, *, command: Literal["build", "gh-deploy", "serve"], dirty: bool) -> None:
        """Under `serve` an error is shown in its page and the server goes on."""
        self.serving = command == "serve"
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
        package = find_spec(self.config.package)
        if package is None or not package.submodule_search_locations:
            raise PluginError(
                f"package {self.config.package!r} cannot be imported: install it, or name another "
                "as `package` of llmbook-weave in mkdocs.yml"
            )
        self.cache = root / self.config.cache
        address = config.site_url
        if self.serving:  # MkDocs has put its own there
            address = read_site(Path(config.config_file_path)).address
        self.site = Site.of(address, config.nav)
        if self.serving:
            config.watch.extend(package.submodule_search_locations)
            self.background = self.background or Background(self.cache, log)
            config.watch.append(str(self.background.finished))
        return config

    def on_pre_build(self, *, config: MkDocsConfig) -> None:
        """Let no two builds write one site at a time."""
        if not self.serving:  # which has a folder of its own
            with contextlib.suppress(OSError):  # a store that is read-only may still have all
                self.locked.enter_context(turn(self.cache / "site.lock", log.info))
        self.pages = Pages(config, self.cache / "pages", self.config.package)

    @event_priority(-100)
    def on_post_build(self, *, config: MkDocsConfig) -> None:
        """Keep the pages, and let the next build in."""
        with contextlib.suppress(OSError):  # likewise
            self.pages.close()
        self.locked.close()

    def on_build_error(self, *, error: Exception) -> None:
        """Let the next one in, and say of a full or read-only disk what to do."""
        self.locked.close()
        if isinstance(error, OSError):
            raise PluginError(f"{error}: {NO_ROOM}") from None

    def on_shutdown(self) -> None:
        """End what runs."""
        if self.background:
            self.background.close()

    def on_serve(self, server: LiveReloadServer, **_: Any) -> LiveReloadServer:
        """Begin to execute: the book can be read."""
        if self.background:
            self.background.begin()
        return server

    def on_files(self, files: Files, *, config: MkDocsConfig) -> Files:
        """Weave every page; add the executed notebooks; hand labs over as notebooks."""
        sources = [
            file.src_uri
            for file in files
            if file.src_uri.endswith(".md") or re.fullmatch(r"labs/[\w-]+\.py", file.src_uri)
        ]
        self.woven, errors = weave_book(
            Path(config.docs_dir),
            sources,
            self.cache,
            package=self.config.package,
            site=self.site,
            report=log.info,
            fork=self.config.fork,
            run=self.background.run if self.background else Engine.run,
        )
        for error in errors:
            log.error(str(error))  # which fails a strict build; else the page shows it in its place
        for uri, woven in self.woven.items():
            if uri.endswith(".py") and woven.notebook:
                files.remove(files.src_uris[uri])
            for notebook in filter(None, (woven.notebook, woven.empty)):
                folder, *name = notebook.relative_to(self.cache).parts
                source, target = str(self.cache / folder), config.site_dir
                files.append(File("/".join(name), source, target, config.use_directory_urls))
        return files

    def on_nav(self, nav: Navigation, *, config: MkDocsConfig, files: Files) -> None:
        """Remember what pages may link to, and their order."""
        self.pages.set_files(files)
        self.nav = nav

    @event_priority(-100)  # after mkdocs-jupyter, which has a way of its own to render a page
    def on_pre_page(self, page: Page, *, config: MkDocsConfig, files: Files) -> Page:
        """Convert a page only if what it is made from has changed."""
        if page.file.src_uri.endswith(".ipynb"):
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
            return markdown
        page.meta.update(woven.meta)
        if "title" in page.meta:  # which templates take for HTML
            page.meta["title"] = escape(str(page.meta["title"]), quote=False)
        return woven.body

    def on_page_content(self, html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
        """Report what could not be set."""
        for source, why in re.findall(
            r'<code class="output error" data-broken="(.*?)">(.*?)<', html
        ):
            before, found, _ = page.file.content_string.partition(unescape(source))
            line = before.count("\n") + 1 if found else 1
            log.error(f"{page.file.abs_src_path}:{line}: {unescape(why)}")
        return html

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
