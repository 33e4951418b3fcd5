"""`llmbook.weave.pages`: a site built from what is kept is the one that is built from nothing."""

import gzip
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import markdown
import pytest

from tests.weave.conftest import TinyBook
from tests.weave.test_killed import wait_until

MakeBook = Callable[..., TinyBook]
CONFIG = """
site_name: tiny
site_url: https://example.org/tiny/
theme: {{name: material, font: false, custom_dir: docs/overrides}}
exclude_docs: "overrides/\\npart.md\\nabbreviations.md\\nreferences.bib"
plugins:
  - llmbook-weave: {{package: {package}, blocks: llmbook.book.blocks, labs: labs/*.py, style: false}}
  - search
  - autorefs
  - mkdocs-jupyter: {{include: ["labs/*"], ignore: ["*.md", "*-empty.ipynb"], execute: false, include_source: true}}
  - mkdocstrings: {{handlers: {{python: {{paths: [.], options: {{show_source: true, filters: []}}}}}}}}
hooks: [hook.py]
markdown_extensions:
  - abbr
  - attr_list
  - md_in_html
  - toc: {{permalink: true}}
  - pymdownx.superfences
  - pymdownx.snippets: {{auto_append: [abbreviations.md], base_path: !relative $docs_dir, check_paths: true}}
validation: {{links: {{not_found: warn, anchors: warn}}}}
nav: [index.md, Bees: b.md, api.md, other.md, refs.md, labs/lab.ipynb]
"""
MODULE = '''"""A module of HTML things."""

from dataclasses import dataclass


@dataclass
class Base:
    """What is below.

    Attributes:
        x: A number.
    """

    x: int = 1


def f(y: int) -> Base:
    """Make one."""
    return Base(y)
'''
OTHER = '''"""Another module."""

from dataclasses import dataclass

from {package}.m import Base


@dataclass
class Child(Base):
    """More of it."""

    z: float = 2.0
'''
PAGES = {
    "index.md": "# Home\n\nHTML. See [b](b.md#second-part), [`f`][{package}.m.f] and [Doe 2020][doe2020].\n\n```python\n6 * 7\n```\n",
    "b.md": "---\ntitle: Bees\n---\n# Bees\n\n## Second part\n\nText about `x`.\n\n## Third\n\nMore.\n",
    "api.md": "# API\n\n::: {package}.m\n",
    "other.md": "# Other\n\n::: {package}.other\n",
    "refs.md": "# Sources\n\n```references\n```\n",
    "abbreviations.md": "*[HTML]: A language\n",
    "part.md": "taken in\n",
    "loose.md": "in no navigation, without a heading\n",
    "overrides/main.html": '{% extends "base.html" %}\n',
    "references.bib": "@article{doe2020, author={Jane Doe}, title={On}, year={2020}, journal={J}}\n",
    "labs/lab.py": "# %% [markdown]\n# # A lab\n#\n# $x^2$\n\n# %%\n1 + 1\n",
}


@pytest.fixture
def book(make_book: MakeBook) -> TinyBook:
    """Chapters, API pages, a lab, citations, abbreviations and a template, built once."""
    book = make_book()
    for name, text in PAGES.items():
        book.write(name, text.replace("{package}", book.package))
    book.module("m", MODULE)
    book.module("other", OTHER.format(package=book.package))
    (book.root / "hook.py").write_text(
        "def on_page_markdown(markdown, **_):\n    return markdown\n"
    )
    (book.root / "mkdocs.yml").write_text(CONFIG.format(package=book.package), encoding="utf-8")
    status, said = book.build()
    assert status == 0, said
    return book


def replace(name: str, old: str, new: str) -> Callable[[TinyBook], None]:
    """An edit of a file of the book."""

    def edit(book: TinyBook) -> None:
        path = book.root / name.replace("{package}", book.package)
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    return edit


def rename(book: TinyBook) -> None:
    """Give a page another address, and its link and place in the navigation too."""
    (book.docs / "b.md").rename(book.docs / "c.md")
    replace("docs/index.md", "b.md", "c.md")(book)
    replace("mkdocs.yml", "b.md", "c.md")(book)


def remove(book: TinyBook) -> None:
    """Take a page out."""
    (book.docs / "b.md").unlink()
    replace("docs/index.md", "[b](b.md#second-part)", "b")(book)
    replace("mkdocs.yml", "Bees: b.md, ", "")(book)


def add(book: TinyBook) -> None:
    """A page that takes in a snippet."""
    book.write("new.md", '# New\n\n--8<-- "part.md"\n')


def snippet(book: TinyBook) -> None:
    """The text of a snippet, after a build that has taken it in."""
    add(book)
    assert book.build()[0] == 0
    replace("docs/part.md", "taken", "put")(book)


EDITS: dict[str, Callable[[TinyBook], None]] = {
    "nothing": lambda book: None,
    "a sentence": replace("docs/b.md", "More.", "Much more."),
    "a cell": replace("docs/index.md", "6 * 7", "6 * 8"),
    "front matter's title": replace("docs/b.md", "title: Bees", "title: Wasps"),
    "front matter's search": replace("docs/b.md", "title: Bees", "search: {exclude: true}"),
    "front matter's status": replace("docs/b.md", "title: Bees", "title: Bees\nstatus: new"),
    "a title in the navigation": replace("mkdocs.yml", "Bees: b.md", "Ants: b.md"),
    "a heading": replace("docs/b.md", "## Third", "## Fourth"),
    "the order of pages": replace("mkdocs.yml", "api.md, other.md", "other.md, api.md"),
    "a page renamed": rename,
    "a page removed": remove,
    "a page added": add,
    "a snippet": snippet,
    "an abbreviation": replace("docs/abbreviations.md", "A language", "Markup"),
    "the template": replace("docs/overrides/main.html", "{% extends", "<!-- new -->{% extends"),
    "a hook": replace("hook.py", "return markdown", "return markdown + 'hooked'"),
    "a setting": replace("mkdocs.yml", "show_source: true", "show_source: false"),
    "a docstring": replace("{package}/m.py", "Make one.", "Make another."),
    "a function": replace("{package}/m.py", "def f(", "def g(): ...\n\ndef f("),
    "an inherited field": replace(
        "{package}/m.py", "    x: int = 1", "    x: int = 1\n    w: int = 3"
    ),
    "an import": replace("{package}/other.py", "import Base", "import Base, f as renamed"),
    "the bibliography": replace("docs/references.bib", "title={On}", "title={Off}"),
    "a lab": replace("docs/labs/lab.py", "A lab", "Another lab"),
}


def comparable(book: TinyBook) -> dict[str, Any]:
    """The site, but for what MkDocs itself writes anew: dates, and the order of a compressed file."""
    found: dict[str, Any] = dict(book.files())
    found["search/search_index.json"] = json.loads(found["search/search_index.json"])
    found["sitemap.xml.gz"] = gzip.decompress(found["sitemap.xml.gz"])
    return found


def from_nothing(book: TinyBook) -> dict[str, Any]:
    """The site as it is built when no page is kept."""
    (book.root / ".cache").rename(book.root / "kept")
    said = book.build()
    made = comparable(book)
    for kept in (book.root / ".cache").iterdir():
        assert kept.is_dir()
    (book.root / ".cache").rename(book.root / "cold")
    (book.root / "kept").rename(book.root / ".cache")
    assert said[0] == 0, said[1]
    return made


@pytest.mark.parametrize("name", EDITS)
def test_a_warm_build_gives_what_a_cold_one_gives(book: TinyBook, name: str) -> None:
    """Byte for byte, the first time and again."""
    EDITS[name](book)
    for _ in range(2):
        status, said = book.build()
        assert status == 0, said
    warm = comparable(book)
    cold = from_nothing(book)
    assert warm.keys() == cold.keys()
    assert [path for path in warm if warm[path] != cold[path]] == []


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been converted from Markdown since it was emptied."""
    texts: list[str] = []
    convert = markdown.Markdown.convert

    def heard(self: Any, source: str) -> str:
        texts.append(source)
        return convert(self, source)

    monkeypatch.setattr(markdown.Markdown, "convert", heard)
    return texts


def test_what_has_not_changed_is_not_converted(book: TinyBook, converted: list[str]) -> None:
    """Nothing at first; then the page with the sentence, then the page that shows the docstring."""
    assert book.build()[0] == 0
    assert converted == []
    EDITS["a sentence"](book)
    assert book.build()[0] == 0
    assert [text.split("\n")[0] for text in converted] == ["# Bees"]
    converted.clear()
    EDITS["a docstring"](book)
    assert book.build()[0] == 0
    pages = [text for text in converted if text.startswith("# ")]
    assert [page.split("\n")[0] for page in pages] == ["# API"]


FAULTS: dict[str, tuple[Callable[[TinyBook], None], str]] = {
    "a link": (replace("docs/b.md", "More.", "[a](nowhere.md)"), "link 'nowhere.md'"),
    "an anchor": (replace("docs/b.md", "## Second part", "## First"), "anchor '#second-part'"),
    "a reference": (replace("docs/b.md", "More.", "[a][no.such]"), "target 'no.such'"),
    "an object": (replace("docs/api.md", ".m\n", ".m.none\n"), ".m.none could not be found"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_every_build(book: TinyBook, name: str) -> None:
    """With the same words, however often the book is built; mended, it is gone."""
    edit, words = FAULTS[name]
    before = {path: path.read_text(encoding="utf-8") for path in book.docs.glob("*.md")}
    edit(book)
    for _ in range(3):
        status, said = book.build()
        assert status != 0
        assert words in said
    for path, text in before.items():
        path.write_text(text, encoding="utf-8")
    status, said = book.build()
    assert status == 0, said


def test_a_killed_build_leaves_nothing_wrong(book: TinyBook) -> None:
    """Whenever it is killed, the next one gives what one from nothing gives."""
    for number, seconds in enumerate((0.5, 0.9, 1.3, 1.7)):
        replace("docs/b.md", "More", f"More {number}")(book)
        replace("{package}/m.py", "Make", f"Make {number}")(book)
        process = book.start("build", "--strict")
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    assert wait_until(lambda: not book.kernels(), 10)
    assert book.build()[0] == 0
    assert comparable(book) == from_nothing(book)


def test_a_build_that_only_warns_keeps_its_warnings(book: TinyBook) -> None:
    """Without `--strict` the build succeeds, and says the same again."""
    replace("docs/b.md", "More.", "[a](nowhere.md)")(book)
    for _ in range(2):
        status, said = book.build(strict=False)
        assert status == 0
        assert "WARNING" in said
        assert "link 'nowhere.md'" in said
