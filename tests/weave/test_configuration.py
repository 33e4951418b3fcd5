"""`llmbook.weave.configuration`: what is read from `mkdocs.yml` is what MkDocs has."""

from pathlib import Path

import pytest
from mkdocs.config import load_config

from llmbook.weave.book import weave_book
from llmbook.weave.configuration import Site, read_site
from tests.book import ROOT, nav

TAGGED = """\
site_url: !ENV [BOOK_ADDRESS, "https://example.org/book"]
nav:
  - index.md
  - One: [one/a.md, {B: one/b.md}]
  - Elsewhere: https://example.org/
hooks: !!python/name:no.such.thing
paths: {base: !relative $docs_dir}
"""


def test_the_books_own_configuration_is_read_as_mkdocs_reads_it() -> None:
    """Its address, and all pages of its navigation in their order."""
    config = load_config(str(ROOT / "mkdocs.yml"))
    site = read_site(ROOT / "mkdocs.yml")
    assert site == Site.of(config.site_url, config.nav, config.plugins["llmbook-weave"].config)
    assert list(site.pages) == nav()
    assert site.address.startswith("https://")


def test_tags_are_tolerated_and_the_environment_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the packages that a tag names are not at hand."""
    file = tmp_path / "mkdocs.yml"
    file.write_text(TAGGED)
    monkeypatch.delenv("BOOK_ADDRESS", raising=False)
    pages = ("index.md", "one/a.md", "one/b.md", "https://example.org/")
    assert read_site(file) == Site("https://example.org/book/", pages)
    monkeypatch.setenv("BOOK_ADDRESS", "https://example.net/")
    assert read_site(file).address == "https://example.net/"


@pytest.mark.parametrize("text", ["", "site_name: a\n", "site_url: ''\nnav:\n", None])
def test_nothing_is_known_of_a_book_that_says_nothing(tmp_path: Path, text: str | None) -> None:
    """Or that has no configuration at all."""
    if text is not None:
        (tmp_path / "mkdocs.yml").write_text(text)
    assert read_site(tmp_path / "mkdocs.yml") == Site()


@pytest.mark.parametrize(
    ("text", "line"), [("nav: [\n", 2), ("nav:\n- a: b\n c\n", 3), ("- a\n", 1)]
)
def test_a_configuration_that_cannot_be_read_is_an_error_of_the_data(
    tmp_path: Path, text: str, line: int
) -> None:
    """With its place; the book then has no order. Asking again gives the same."""
    (tmp_path / "mkdocs.yml").write_text(text)
    (tmp_path / "docs").mkdir()
    _, errors = weave_book(tmp_path / "docs", [], tmp_path / "cache")
    assert [(e.path, e.line) for e in errors] == [(tmp_path / "mkdocs.yml", line)]


def test_who_knows_the_site_can_say_so(tmp_path: Path) -> None:
    """Then no file is read."""
    (tmp_path / "mkdocs.yml").write_text("nav: [\n")
    page = tmp_path / "docs/one/a.md"
    page.parent.mkdir(parents=True)
    page.write_text("[b](../b.md#c)\n\n```python\n1\n```\n")
    site = Site("https://example.org/", ("b.md", "a.md"))
    woven, errors = weave_book(tmp_path / "docs", ["one/a.md"], tmp_path / "cache", site=site)
    assert not errors
    notebook = woven["one/a.md"].notebook
    assert notebook
    assert "[b](https://example.org/b/#c)" in notebook.read_text(encoding="utf-8")
