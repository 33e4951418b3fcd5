"""Small generated books, each with a package of its own."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llmbook.weave.book import Woven, weave_book
from llmbook.weave.chapter import WeaveError


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

    def page(self, name: str = "a.md") -> str:
        """The woven Markdown of a page that must have no error."""
        woven, errors = self.weave()
        assert not errors, [str(error) for error in errors]
        return woven[name].markdown


@pytest.fixture
def make_book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TinyBook]:
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
        for name, text in chapters.items():
            book.write(f"{name}.md", text)
        return book

    return make
