"""Small generated books, each with a package of its own."""

import contextlib
import importlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from llmbook.weave.book import Woven, weave_book
from llmbook.weave.chapter import WeaveError

MKDOCS = """
site_name: tiny
theme: {{name: mkdocs}}
plugins: [{{llmbook-weave: {{package: {package}, blocks: llmbook.book.blocks, palette: llmbook.plots.palette}}}}]
markdown_extensions: [md_in_html, attr_list]
validation: {{links: {{not_found: warn, anchors: warn}}}}
"""


def hear_interrupts() -> None:
    """Where the tests run in the background, a shell has made them deaf to SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@dataclass
class TinyBook:
    """A folder of chapters and a package, woven on demand; remembers what was executed."""

    root: Path
    package: str
    executed: list[str] = field(default_factory=list)

    @property
    def docs(self) -> Path:
        """The folder of chapters."""
        return self.root / "docs"

    def write(self, name: str, text: str) -> Path:
        """Write a chapter."""
        path = self.docs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def module(self, name: str, text: str) -> None:
        """Write a module of the package."""
        (self.root / self.package / f"{name}.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    def weave(self) -> tuple[dict[str, Woven], list[WeaveError]]:
        """Weave all chapters; `executed` then names those that ran."""
        self.executed.clear()
        pages = sorted(p.relative_to(self.docs).as_posix() for p in self.docs.rglob("*.md"))
        return weave_book(
            self.docs,
            pages,
            self.root / "cache",
            package=self.package,
            report=lambda line: self.executed.append(line.split()[1].rstrip(":")),
        )

    def build(self, *, strict: bool = True) -> tuple[int, str]:
        """`mkdocs build`, into `site`; its exit status and what it says."""
        from click.testing import CliRunner
        from mkdocs.__main__ import cli

        command = ["build", "-f", str(self.root / "mkdocs.yml"), *["--strict"] * strict]
        done = CliRunner().invoke(cli, command)
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception  # a reader would see its traceback
        return done.exit_code, done.output

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """`mkdocs` in a process group of its own; what it says is in the file `log`."""
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "mkdocs", *command],
                cwd=self.root,
                env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=hear_interrupts,
            )

    def kernels(self) -> list[int]:
        """The processes of this book's kernels."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if (
                    "llmbook.weave.warm" in process.cmdline()
                    and process.environ().get("PYTHONPATH") == str(self.root)
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process.pid)
        return found

    def files(self) -> dict[str, bytes]:
        """The built site, without what may differ."""
        volatile = re.compile(rb"<(\w+)[^>]* data-volatile.*?</\1>", re.DOTALL)
        return {
            path.relative_to(self.root / "site").as_posix(): volatile.sub(b"", path.read_bytes())
            for path in sorted((self.root / "site").rglob("*"))
            if path.is_file()
        }

    def page(self, name: str = "a.md") -> str:
        """The woven Markdown of a page that must have no error."""
        woven, errors = self.weave()
        assert not errors, [str(error) for error in errors]
        return woven[name].markdown


MakeBook = Callable[..., TinyBook]


@pytest.fixture
def make_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeBook:
    """Makes a book whose package can be imported here and in the chapters' kernels."""
    count = iter(range(100))

    def make(**chapters: str) -> TinyBook:
        number = next(count)
        package = f"tiny_{tmp_path.name.replace('-', '_')}_{number}"
        root = tmp_path / str(number)
        book = TinyBook(root, package)
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text('"""A tiny package."""\n')
        monkeypatch.syspath_prepend(str(root))
        monkeypatch.setenv("PYTHONPATH", str(root))
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
        (root / "mkdocs.yml").write_text(MKDOCS.format(package=package), encoding="utf-8")
        for name, text in chapters.items():
            book.write(f"{name}.md", text)
        return book

    return make
