"""Tomorrow: Zensical, which follows Material, builds the woven Markdown from the same `mkdocs.yml`."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest

from llmbook.weave.__main__ import main
from tests import test_browser
from tests.book import DOCS, ROOT, pages_of
from tests.test_browser import choose, serving, visit

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

address, browser = test_browser.address, test_browser.browser  # fixtures


@pytest.fixture(scope="module")
def zensical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The book as Zensical builds it: no plugin of MkDocs, and one word of the settings changed."""
    root = tmp_path_factory.mktemp("zensical")
    assert main([str(DOCS), "-o", str(root / "docs"), "--cache", str(ROOT / ".cache/weave")]) == 0
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert settings.count("!relative $docs_dir") == 1
    settings = settings.replace("!relative $docs_dir", "docs")  # a tag of MkDocs’ own
    (root / "mkdocs.yml").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    built = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", timeout=900)
    assert built.returncode == 0, built.stdout + built.stderr
    assert "Traceback" not in built.stderr
    return root / "site"


def text(element: "LexborNode") -> str:
    """What is read, however it is broken into lines."""
    return " ".join(element.text().split())


def markup(element: "LexborNode") -> str:
    """All of it, but for the mark that Zensical takes out, and addresses that each writes its way."""
    shown = re.sub(r' (?:href|data-page)="[^"#][^"]*"', "", element.html or "")
    return shown.replace(' data-search-exclude=""', "")


SAME: dict[str, tuple[str, Any]] = {
    "headings": ("h1, h2, h3, h4, h5, h6", lambda e: (e.tag, e.attrs.sget("id"), text(e))),
    "ids": ("[id]:not(#__skip)", lambda e: e.attrs.sget("id")),
    "paragraphs": ("p", text),
    "cells": (".cell", text),
    "outputs": (".output", markup),
    "listings": (".listing", text),
    "figures": ("figure", lambda e: (e.attrs.sget("id"), text(e))),
    "drawings": ("figure svg", markup),
    "captions": ("figcaption", markup),
    "formulas": (".formula", markup),
    "tables": ("table:not(.highlighttable)", text),
    "admonitions": (".admonition", text),
    "details": ("details:not(.mkdocstrings-source)", text),
    "values": (".value", markup),
    "citations": (".cite", markup),
    "abbreviations": ("abbr", markup),
    "objects": (".doc-heading, .doc-signature, .doc-contents > p", text),
    "sources": (".mkdocstrings-source", text),
    "heads and costs": (".kicker, .question, .facts, .cost", text),
}


def test_every_page_has_all_that_it_has_today(site: Path, zensical: Path) -> None:
    """Headings, cells, outputs, figures, formulas, tables and the rest: the same on every page, but for labs."""
    from selectolax.lexbor import LexborHTMLParser

    pages = {path.relative_to(site).as_posix() for path in pages_of(site)}
    there = {path.relative_to(zensical).as_posix() for path in pages_of(zensical)}
    assert {page for page in pages ^ there if not page.startswith("labs/")} == set()
    seen: Counter[str] = Counter()
    wrong = []
    for page in sorted(pages & there):
        today, tomorrow = (
            LexborHTMLParser((root / page).read_text(encoding="utf-8")).css_first("article")
            for root in (site, zensical)
        )
        assert today is not None
        assert tomorrow is not None
        place = f"https://host/{page.removesuffix('index.html')}"
        links = (
            "a[href]:not([href*='labs/'])",
            lambda e, place=place: (urljoin(place, e.attrs.sget("href")), text(e)),
        )
        kinds = {**SAME, "links": links}
        for kind, (selector, key) in kinds.items():
            old, new = ([key(e) for e in article.css(selector)] for article in (today, tomorrow))
            seen[kind] += len(old)
            if old != new:
                wrong.append(
                    (
                        page,
                        kind,
                        [*(Counter(old) - Counter(new))][:2],
                        [*(Counter(new) - Counter(old))][:2],
                    )
                )
    assert not wrong, f"{len(wrong)}: {str(wrong)[:3000]}"
    assert all(seen[kind] for kind in SAME), seen
    assert seen["cells"] > 200
    assert seen["formulas"] > 400


def test_the_search_has_the_same_sections(site: Path, zensical: Path) -> None:
    """Each heading with its title and place; again but for labs."""
    today = json.loads((site / "search/search_index.json").read_text("utf-8"))["docs"]
    tomorrow = json.loads((zensical / "search.json").read_text("utf-8"))["items"]
    places = [
        {(entry["location"], re.sub(r"<[^>]*>", "", entry["title"])) for entry in entries}
        for entries in (today, tomorrow)
    ]
    assert {entry for entry in places[0] ^ places[1] if not entry[0].startswith("labs/")} == set()


@pytest.mark.browser
def test_its_pages_work_with_the_books_own_script(zensical: Path, browser: Any) -> None:
    """No error, nothing from elsewhere; a scheme is remembered, a table sorted, a word found."""
    with serving(zensical) as where:
        for page in ("", "transformer/self-attention/", "api/attention/", "models/architectures/"):
            for width, scheme in ((1280, "light"), (390, "dark")):
                tab, wrong = visit(browser, where, page, width, scheme)
                tab.close()
                assert not wrong, (page, width)
        tab, wrong = visit(browser, where, "models/architectures/", 1280, "light")
        choose(tab, "dark")
        tab.reload()
        assert tab.evaluate("document.body.dataset.mdColorScheme") == "slate"
        tab.locator(".sortable th button").nth(1).click()
        assert tab.locator(".sortable th").nth(1).get_attribute("aria-sort") == "ascending"
        tab.keyboard.press("/")
        tab.keyboard.type("sinusoidal")
        tab.get_by_text("shift_matrix").first.wait_for()
        tab.close()
        left = "ERR_ABORTED"  # the page was loaded again before all of it had come
        assert [said for said in wrong if left not in said] == []
