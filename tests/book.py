"""The book's own files, for the tests that read them."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PARTS = ("evolution", "transformer", "models", "challenges")


@cache
def nav() -> list[str]:
    """Every page in the order of the navigation, as the path of its source."""
    return re.findall(r"[\w./-]+\.(?:md|ipynb)", nav_text())


def nav_text() -> str:
    """The navigation's part of `mkdocs.yml`."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    return text[text.index("\nnav:") : text.index("\nmarkdown_extensions:")]


def chapters() -> list[Path]:
    """The chapters of the four parts, in order."""
    return [DOCS / page for page in nav() if page.split("/")[0] in PARTS]


def prose(path: Path) -> str:
    """A page without front matter, fences, and comments; lines keep their numbers."""
    text = path.read_text(encoding="utf-8")
    blank = lambda found: "\n" * found[0].count("\n")  # noqa: E731
    text = re.sub(r"\A---\n.*?\n---\n", blank, text, flags=re.DOTALL)
    return re.sub(r"(?ms)^(```|~~~).*?^\1\s*?$|<!--.*?-->", blank, text)


def headings(path: Path) -> list[str]:
    """The headings of a page, as they read."""
    found = re.findall(r"(?m)^#{1,3} (.+?)(?: \{.*\})?$", prose(path))
    return [re.sub(r"`", "", heading) for heading in found]


def pages_of(site: Path, name: str = "*.html") -> list[Path]:
    """The pages of a built site, without those that only say where one has moved."""
    moved = {page.relative_to(DOCS) for page in DOCS.rglob("*.html")}
    return [page for page in sorted(site.rglob(name)) if page.relative_to(site) not in moved]
