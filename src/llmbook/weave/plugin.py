"""The MkDocs plugin `llmbook-weave`: hands woven Markdown to MkDocs in place of the chapters."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from mkdocs.config import config_options
from mkdocs.config.base import Config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import BasePlugin, get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from llmbook.weave import labs
from llmbook.weave.book import Woven, weave_book

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
        self.woven: dict[str, Woven] = {}

    def on_config(self, config: MkDocsConfig) -> MkDocsConfig:
        """Say at once where the book will be, and watch the package too."""
        root = Path(config.config_file_path).parent
        if self.serving:
            if not self.announced:
                path = urlsplit(config.site_url or "").path or "/"
                log.info(f"the book will be at http://{config.dev_addr}{path} when it is built")
                self.announced = True
            config.watch.append(str(root / "src"))
        self.cache = root / self.config.cache
        return config

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

    def on_page_markdown(
        self, markdown: str, *, page: Page, config: MkDocsConfig, files: Files
    ) -> str:
        """The woven Markdown of the page, and what its template shows."""
        woven = self.woven.get(page.file.src_uri)
        if woven is None:
            return markdown
        page.meta.update(woven.meta)
        return woven.body

    def on_page_content(self, html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
        """Give a lab page the markup of a chapter."""
        return labs.page(html) if page.file.src_uri.endswith(".ipynb") else html
