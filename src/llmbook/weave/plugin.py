"""The MkDocs plugin `llmbook-weave`: hands woven Markdown to MkDocs in place of the chapters."""

import contextlib
import re
from html import escape, unescape
from importlib.util import find_spec
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from mkdocs.config import config_options
from mkdocs.config.base import Config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import BasePlugin, get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from llmbook.weave import lab_pages
from llmbook.weave.blocks import site_address
from llmbook.weave.book import Woven, weave_book
from llmbook.weave.store import NO_ROOM, turn

log = get_plugin_logger("llmbook-weave")


class WeaveConfig(Config):
    """Options of the plugin."""

    cache = config_options.Type(str, default=".cache/weave")
    package = config_options.Type(str, default="llmbook")


class WeavePlugin(BasePlugin[WeaveConfig]):
    """Executes chapters before MkDocs reads them."""

    def on_startup(self, *, command: Literal["build", "gh-deploy", "serve"], dirty: bool) -> None:
        """Under `serve` an error is shown in its page and the server goes on."""
        self.serving = command == "serve"
        self.announced = False
        self.locked = contextlib.ExitStack()
        self.woven: dict[str, Woven] = {}

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
        if self.serving:
            config.watch.extend(package.submodule_search_locations)
        self.cache = root / self.config.cache
        return config

    def on_pre_build(self, *, config: MkDocsConfig) -> None:
        """Let no two builds write one site at a time."""
        if not self.serving:  # which has a folder of its own
            with contextlib.suppress(OSError):  # a store that is read-only may still have all
                self.locked.enter_context(turn(self.cache / "site.lock", log.info))

    def on_post_build(self, *, config: MkDocsConfig) -> None:
        """Let the next one in."""
        self.locked.close()

    def on_build_error(self, *, error: Exception) -> None:
        """Let the next one in, and say of a full or read-only disk what to do."""
        self.locked.close()
        if isinstance(error, OSError):
            raise PluginError(f"{error}: {NO_ROOM}") from None

    def on_files(self, files: Files, *, config: MkDocsConfig) -> Files:
        """Weave every page; add the executed notebooks; hand labs over as notebooks."""
        sources = [
            file.src_uri
            for file in files
            if file.src_uri.endswith(".md") or re.fullmatch(r"labs/[\w-]+\.py", file.src_uri)
        ]
        self.woven, errors = weave_book(
            Path(config.docs_dir), sources, self.cache, package=self.config.package, report=log.info
        )
        for error in errors:
            log.error(str(error))  # which fails a strict build; else the page shows it in its place
        for uri, woven in self.woven.items():
            if woven.notebook is None or woven.empty is None:
                continue
            if uri.endswith(".py"):
                files.remove(files.src_uris[uri])
            for notebook in (woven.notebook, woven.empty):
                name = notebook.relative_to(self.cache / "notebooks").as_posix()
                folder, directory_urls = str(self.cache / "notebooks"), config.use_directory_urls
                files.append(File(name, folder, config.site_dir, directory_urls))
        return files

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
        """Give a lab page the markup of a chapter; report what could not be set."""
        if page.file.src_uri.endswith(".ipynb"):
            html = lab_pages.page(html, site_address(Path(config.docs_dir)))
        for source, why in re.findall(
            r'<code class="output error" data-broken="(.*?)">(.*?)<', html
        ):
            before, found, _ = page.file.content_string.partition(unescape(source))
            line = before.count("\n") + 1 if found else 1
            log.error(f"{page.file.abs_src_path}:{line}: {unescape(why)}")
        return html
