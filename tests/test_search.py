"""The search as a reader uses it: terms, names and captions are found, and never the inside of a drawing."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import test_browser
from tests.book import DOCS, pages_of

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

pytestmark = pytest.mark.browser
address, browser = test_browser.address, test_browser.browser  # fixtures
RESULTS = """() => [...document.querySelectorAll('.md-search-result__list > li')].map(
  result => [...result.querySelectorAll('a')].map(a => a.href))"""
NAMES = ("aria-label", "alt")
DRAWN = "svg, .mermaid, .mermaid-source, details.numbers"
Ask = Callable[[str], list[list[str]]]


@pytest.fixture(scope="module")
def ask(browser: Any, address: str) -> Iterator[Ask]:
    """Types into the search of a page, and reads the first ten results: the links of each."""
    tab = browser(1280, "light").new_page()
    tab.goto(address + "transformer/block/")
    tab.keyboard.press("/")
    box = tab.locator(".md-search__input")

    def type_and_read(query: str) -> list[list[str]]:
        for text, said in (("", r"^Type to start"), (query, r"matching|^No ")):
            box.fill(text)
            box.press("End")  # the search listens to keys
            state = tab.locator(".md-search-result__meta", has_text=re.compile(said))
            state.wait_for(state="attached")
        results = tab.evaluate(RESULTS)
        found = [[re.sub(r"\?[^#]*", "", a.removeprefix(address)) for a in r] for r in results]
        assert len(found) <= 10
        return found

    yield type_and_read
    tab.close()


@pytest.fixture(scope="module")
def parsed(site: Path) -> "dict[str, LexborNode]":
    """The content of every page, by its address within the site."""
    from selectolax.lexbor import LexborHTMLParser

    found = {}
    for page in pages_of(site, "index.html"):
        content = LexborHTMLParser(page.read_text(encoding="utf-8")).css_first("article")
        assert content is not None
        found[page.relative_to(site).as_posix().removesuffix("index.html")] = content
    return found


def test_every_term_of_the_glossary_is_found(ask: Ask) -> None:
    """The entry itself is among the results, not only its page."""
    terms = re.findall(r"(?m)^## (.+?) \{ #([\w-]+) \}$", (DOCS / "glossary.md").read_text("utf-8"))
    assert len(terms) > 70
    missing = [
        term
        for term, name in terms
        if not any(f"glossary/#{name}" in links for links in ask(re.sub(r" \(.*\)", "", term)))
    ]
    assert not missing


def test_a_function_is_found_in_every_module(ask: Ask, parsed: "dict[str, LexborNode]") -> None:
    """By its name among the results, if no other module has one of that name, and by its whole name among the first three.

    Else the module's first class.
    """
    everywhere = Counter(
        heading.attrs.sget("id").split(".")[-1]
        for content in parsed.values()
        for heading in content.css(".doc-heading[id]")
    )

    def rarity(name: str) -> tuple[int, int]:
        short = name.split(".")[-1]
        return everywhere[short], -len(short)  # `count` is a word of a hundred pages

    modules = 0
    for page, content in parsed.items():
        for kind in ("function", "class"):
            headings = content.css(f".doc-{kind} > .doc-heading[id]")
            names = [heading.attrs.sget("id") for heading in headings]
            if names := [name for name in names if not name.split(".")[-2][0].isupper()]:
                name = min(names, key=rarity)
                place, short = f"{page}#{name}", name.split(".")[-1]
                if everywhere[short] == 1:
                    assert any(place in links for links in ask(short)), place
                assert any(place in links for links in ask(name)[:3]), place
                modules += 1
                break
    lists = [*(DOCS / "api").rglob("index.md")]  # of modules, which have none themselves
    assert modules == len([*(DOCS / "api").rglob("*.md")]) - len(lists)


def test_every_caption_is_found(ask: Ask, parsed: "dict[str, LexborNode]") -> None:
    """By its first six words, in quotes."""
    captions = 0
    for page, content in parsed.items():
        for caption in content.css("figcaption"):
            words = re.sub(r"^Figure [\d.]+ ", "", " ".join(caption.text().split())).split()
            found = ask(f'"{" ".join(words[:6])}"')
            assert any(link.partition("#")[0] == page for links in found for link in links), words
            captions += 1
    assert captions > 40


def words(*texts: str) -> set[str]:
    """The words of three letters and more."""
    return {word for text in texts for word in re.findall(r"[^\W\d_]{3,}", text)}


def only_drawn(content: "LexborNode") -> set[str]:
    """The words of a page that stand in drawings, their names and their tables, and nowhere else."""
    from selectolax.lexbor import LexborHTMLParser

    whole = LexborHTMLParser(content.html or "")
    whole.strip_tags(["style"], recursive=True)
    drawings = whole.css(DRAWN)
    named = [e for drawing in drawings for e in (drawing, *drawing.css("[aria-label], [alt]"))]
    names = [e.attrs.sget(name) for e in (*named, *whole.css("img")) for name in NAMES]
    texts = (unescape(re.sub(r"<[^>]*>", " ", drawing.html or "")) for drawing in drawings)
    drawn = words(*texts, *names)  # of a template, `text()` has nothing
    while drawing := whole.css_first(DRAWN):  # one may hold another
        drawing.decompose()
    return drawn - words(whole.text(separator=" "))


def test_the_inside_of_a_drawing_is_not_found(
    ask: Ask, site: Path, parsed: "dict[str, LexborNode]"
) -> None:
    """Neither does the index have a word that a page only draws, nor does a reader find the page by it."""
    indexed: dict[str, set[str]] = defaultdict(set)
    for entry in json.loads((site / "search/search_index.json").read_text("utf-8"))["docs"]:
        text = re.sub(r"<[^>]*>", " ", f"{entry['title']} {entry['text']}")
        indexed[entry["location"].partition("#")[0]] |= words(text)
    drawn = {page: only_drawn(content) for page, content in parsed.items()}
    assert sum(len(found) for found in drawn.values()) > 300
    assert {
        page: found & indexed[page] for page, found in drawn.items() if found & indexed[page]
    } == {}
    everywhere = {word.lower() for found in indexed.values() for word in found}
    nowhere = [
        word
        for word in sorted(set.union(*drawn.values()))
        if not any(other.startswith(word.lower()) for other in everywhere)
    ]
    assert len(nowhere) > 20
    assert {word: found for word in nowhere if (found := ask(word))} == {}
