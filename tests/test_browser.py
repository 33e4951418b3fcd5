"""The built site as a reader's browser sees it, in light and dark, wide and narrow."""

import contextlib
import functools
import gzip
import os
import re
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.book import DOCS, chapters, nav

pytestmark = pytest.mark.browser
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)


FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def found_chromium() -> str:
    """Where a Chromium is; without one, browser tests are skipped, or fail where they must run."""
    if CHROMIUM is None:
        message = "no Chromium found: install one (Debian: apt-get install chromium) to run the browser tests"
        if os.environ.get("LLMBOOK_REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    return CHROMIUM


@contextlib.contextmanager
def serving(folder: Path, **headers: str) -> Iterator[str]:
    """A folder behind a plain file server, under a sub-path; with some headers, if they are given."""

    class Quiet(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            pass

        def translate_path(self, path: str) -> str:
            return super().translate_path(path.removeprefix("/book"))

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/book/"
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def secluded() -> Iterator[Any]:
    """A headless Chromium that reaches no other host."""
    path = found_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = [*FLAGS, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()


@contextlib.contextmanager
def bare(folder: Path, name: str, files: list[str], body: str) -> Iterator[Any]:
    """A tab with one frame on a page that has nothing else, in the book's style and under its policy.

    Args:
        folder: Of the page; what the scripts load lies there.
        name: Of the frame: its id, and the folder of its files among the assets.
        files: Its scripts, and the styles beside the book's.
        body: What is on the page.
    """
    own = [DOCS / "assets" / name / file for file in files]
    for file in (*own, DOCS / "assets/book.css", DOCS / "assets/favicon.svg"):
        (folder / file.name).write_bytes(file.read_bytes())
    shutil.copytree(DOCS / "assets/fonts", folder / "fonts")
    styles = ["book.css", *(file for file in files if file.endswith(".css"))]
    policy = "default-src 'self'; style-src 'self' 'unsafe-inline'; form-action 'none'"
    (folder / "index.html").write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f'<meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<link rel="icon" href="favicon.svg">'
        + "".join(f'<link rel="stylesheet" href="{file}">' for file in styles)
        + '</head><body data-md-color-scheme="default" style="margin: 16px">'
        f'<main class="md-typeset" style="color: var(--ink)"><h1>{name}</h1>{body}</main>'
        + "".join(f'<script type="module" src="{f}"></script>' for f in files if f.endswith(".js"))
        + "</body></html>",
        encoding="utf-8",
    )
    with serving(folder) as where, secluded() as chromium:
        tab = chromium.new_page(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
        wrong: list[str] = []
        tab.on(
            "console", lambda m: wrong.append(m.text) if m.type in {"error", "warning"} else None
        )
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.goto(where + "index.html")
        tab.locator(f"#{name}").wait_for()
        yield tab
        assert not wrong


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The built book, as a reader's browser gets it."""
    with serving(site) as where:
        yield where


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Any]:
    """Makes views in a headless Chromium; the site is built before, because Playwright keeps an event loop."""
    path = found_chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        contexts: dict[tuple[int, str], Any] = {}

        def context(width: int, scheme: Literal["light", "dark"]) -> Any:
            """One for each view, so that style and script are loaded once."""
            if (width, scheme) not in contexts:
                contexts[width, scheme] = chromium.new_context(
                    viewport={"width": width, "height": 900},
                    color_scheme=scheme,
                    reduced_motion="reduce",
                )
            return contexts[width, scheme]

        yield context
        chromium.close()


def url(page: str) -> str:
    """Where the site has a source page."""
    return re.sub(r"(^|/)index$", r"\1", page.rpartition(".")[0]).rstrip("/") + "/" * (
        page != "index.md"
    )


def visit(browser: Any, address: str, page: str, width: int, scheme: str) -> tuple[Any, list[str]]:
    """Open a page, scroll through it, and gather what went wrong."""
    context = browser(width, scheme)
    tab, wrong = context.new_page(), []
    tab.on(
        "console",
        lambda m: wrong.append(f"console: {m.text}") if m.type in {"error", "warning"} else None,
    )
    tab.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    tab.on("requestfailed", lambda r: wrong.append(f"failed: {r.url} {r.failure}"))
    tab.on("response", lambda r: wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    tab.on(
        "request",
        lambda r: (
            wrong.append(f"elsewhere: {r.url}")
            if not r.url.startswith((address, "data:"))
            else None
        ),
    )
    tab.goto(address + page, wait_until="load")
    tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    tab.wait_for_timeout(50)
    return tab, wrong


def choose(tab: Any, scheme: str) -> None:
    """Switch as a reader does: once a page is open, the theme does not follow the system."""
    tab.evaluate(
        "n => document.querySelectorAll('[name=__palette]')[n].click()", int(scheme == "dark")
    )


LOOK = """() => {
          const root = document.documentElement, main = document.querySelector('main');
          const drawn = [...main.querySelectorAll('figure svg')].filter(e => e.getClientRects().length);
          const named = e => e.getAttribute('aria-labelledby') || e.closest('[aria-label]') || e.getAttribute('aria-roledescription');
          const texts = drawn.flatMap(e => [...e.querySelectorAll('text')]);
          const size = e => parseFloat(getComputedStyle(e).fontSize) * (e.ownerSVGElement.getBoundingClientRect().width /
            (e.ownerSVGElement.viewBox.baseVal.width || e.ownerSVGElement.getBoundingClientRect().width));
          return {
            sideways: root.scrollWidth - root.clientWidth,
            nameless: drawn.filter(e => !named(e)).length + [...main.querySelectorAll('img:not([alt])')].length,
            small: texts.filter(e => e.textContent.trim() && size(e) < 11.9).map(e => e.textContent.trim() + ' ' + size(e)).slice(0, 5),
            undrawn: [...main.querySelectorAll('.mermaid')].filter(e => !e.querySelector('svg')).length,
            figures: [...main.querySelectorAll('figure.figure')].filter(e => !e.querySelector('figcaption') || !e.id).length,
            h1: main.querySelectorAll('h1').length,
          }}"""
WHOLE = {"sideways": 0, "nameless": 0, "small": [], "undrawn": 0, "figures": 0, "h1": 1}


@pytest.mark.parametrize("page", [*nav()], ids=str)
def test_a_page_is_whole_in_every_view(browser: Any, address: str, page: str) -> None:
    """No error, no foreign request, no sideways scroll, no figure without a name, text of 12 px at least.

    Opened wide in light and narrow in dark, and looked at in the other scheme too; at 320 px, the
    narrowest screen that WCAG asks for, nothing scrolls sideways either.
    """
    for width, schemes in ((1280, ("light", "dark")), (390, ("dark", "light"))):
        tab, wrong = visit(browser, address, url(page), width, schemes[0])
        for scheme in schemes:
            choose(tab, scheme)
            assert tab.evaluate(LOOK) == WHOLE, (width, scheme)
        choose(tab, schemes[0])  # the view's other tabs remember it
        tab.set_viewport_size({"width": 320, "height": 900})
        over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert tab.evaluate(over) == 0, "at 320 px"
        title = "e => e.scrollHeight <= document.querySelector('.md-header').clientHeight"
        assert tab.locator(".md-header__title").evaluate(title), "the title leaves the header"
        tab.close()
        assert not wrong, (width, wrong)


def test_a_line_of_prose_has_66_to_75_characters(browser: Any, address: str) -> None:
    """The median full line, on a desktop; none has more than 78."""
    tab, _ = visit(browser, address, "transformer/self-attention/", 1280, "light")
    lines = tab.evaluate("""() => [...document.querySelectorAll('article > p:not([class])')].flatMap(p => {
      const range = document.createRange(), lines = {};
      for (const node of (function* walk(n) { if (n.nodeType === 3) yield n; else for (const c of n.childNodes) yield* walk(c) })(p)) {
        if (node.parentElement.closest('.katex-mathml, .headerlink')) continue;
        for (let i = 0; i < node.length; i++) {
          range.setStart(node, i); range.setEnd(node, i + 1);
          const box = range.getClientRects()[0];
          if (box) (lines[Math.round(box.bottom / 8)] ??= []).push(node.data[i]);
        }
      }
      return Object.values(lines).slice(0, -1).map(l => l.join('').trim().length);
    })""")
    tab.close()
    lines = sorted(lines)
    assert len(lines) > 20
    assert 66 <= lines[len(lines) // 2] <= 75
    assert lines[-1] <= 78


def test_the_search_finds_a_chapter_by_keyboard(browser: Any, address: str) -> None:
    """The index comes when the reader turns to the search, and not before."""
    tab, wrong = visit(browser, address, "transformer/block/", 1280, "light")
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.wait_for_timeout(300)
    assert not any("search_index" in request for request in requests)
    tab.keyboard.press("/")
    tab.keyboard.type("sinusoidal")
    tab.wait_for_selector(".md-search-result__link")
    assert "positions" in tab.get_attribute(".md-search-result__link", "href")
    tab.close()
    assert not wrong


def test_a_table_is_sorted_by_keyboard(browser: Any, address: str) -> None:
    """Each head is a button that says which way its column goes; products count as numbers."""
    tab, wrong = visit(browser, address, "models/architectures/", 1280, "light")
    table = tab.locator(".sortable table").first
    column = "t => [...t.tBodies[0].rows].map(row => row.cells[%d].textContent.replaceAll(',', ''))"
    before = table.evaluate(column % 0)
    for n, name in ((9, "parameters"), (4, "heads × width"), (1, "kind")):
        button = table.get_by_role("button", name=name)
        head = table.locator("th").nth(n)
        for direction in ("ascending", "descending"):
            button.press("Enter")
            assert head.get_attribute("aria-sort") == direction
            assert table.locator("[aria-sort]").count() == 1
            shown = table.evaluate(column % n)
            values = [eval(v.replace("×", "*")) for v in shown] if n > 1 else shown  # "128 × 128"
            assert values == sorted(values, reverse=direction == "descending")
    assert sorted(table.evaluate(column % 0)) == sorted(before)
    tab.close()
    assert not wrong


def test_a_chapter_loads_at_most_250_kb(browser: Any, address: str, site: Path) -> None:
    """On a first visit, text compressed, as a host sends it."""

    @functools.cache
    def size(url: str) -> int:
        file = site / re.sub(r"[?#].*", "", url.removeprefix(address))
        file = file / "index.html" if file.is_dir() else file
        packed = file.suffix in {".html", ".css", ".js", ".json", ".svg"}
        return len(gzip.compress(file.read_bytes()) if packed else file.read_bytes())

    heavy = {}
    for chapter in [*chapters(), DOCS / "explorer.md"]:
        with browser(1280, "light").browser.new_context() as visitor:
            tab, files = visitor.new_page(), set()
            tab.on("response", lambda response: files.add(response.url))  # noqa: B023 (this visit's)
            page = url(chapter.relative_to(DOCS).as_posix())
            tab.goto(address + page, wait_until="load")
            tab.evaluate("document.fonts.ready.then(() => null)")
            tab.wait_for_load_state("networkidle")  # alone it may come before a busy page has asked
        assert len(files) > 8
        if (total := sum(map(size, files))) > 250_000:
            heavy[page] = total
    assert not heavy


@pytest.mark.parametrize(
    ("page", "name", "value"),
    [("challenges/carbon/", "kwh", 13_824), ("models/architectures/", "parameters", 124_439_808)],
)
def test_a_calculator_computes_in_the_page_and_without_script_is_not_there(
    browser: Any, address: str, page: str, name: str, value: int
) -> None:
    """It starts with the lesson's run, or GPT-2; its formulas are tested in `test_calculators`."""
    tab, wrong = visit(browser, address, page, 390, "dark")
    output = tab.locator("form.calculator output")
    assert float(output.get_attribute(f"data-{name}")) == value
    assert f"{value:,}" in output.inner_text()
    tab.close()
    with browser(390, "dark").browser.new_context(java_script_enabled=False) as reader:
        plain = reader.new_page()
        plain.goto(address + page)
        assert not plain.locator("form.calculator").is_visible()
        assert plain.locator("article noscript").is_visible()
    assert not wrong


CORRECTED = "evolution/growth/"


def test_a_correction_stands_in_the_margin_or_folds(browser: Any, address: str) -> None:
    """Beside its paragraph, with a mark there; on a phone one line that a tap opens; without script as well."""
    for scripts in (True, False):
        context = browser(1280, "light").browser.new_context(java_script_enabled=scripts)
        tab = context.new_page()
        tab.set_viewport_size({"width": 1280, "height": 900})
        tab.goto(address + CORRECTED)
        marks, notes = tab.locator("a.corrected"), tab.locator("details.correction")
        assert marks.count() == notes.count() >= 2
        for n in range(notes.count()):
            said = notes.nth(n).locator("p", has_text="The lesson says")
            assert said.is_visible()
            mark, note = marks.nth(n).bounding_box(), notes.nth(n).bounding_box()
            assert note["x"] > mark["x"]
            assert abs(note["y"] - mark["y"]) < 60
            assert not notes.nth(n).locator("summary").is_visible()
            assert marks.nth(n).get_attribute("href") == "#" + str(
                notes.nth(n).locator(".admonition-title").get_attribute("id")
            )
        tab.set_viewport_size({"width": 390, "height": 900})
        first = notes.first
        assert first.bounding_box()["height"] < 45
        assert not first.locator("p", has_text="The lesson says").is_visible()
        first.locator("summary").press("Enter")
        assert first.locator("p", has_text="The lesson says").is_visible()
        context.close()


def test_what_is_cited_opens_beside_the_text(browser: Any, address: str) -> None:
    """By pointer and keyboard, and Escape shuts it; on a phone a tap opens it and a second follows the link."""
    tab, wrong = visit(browser, address, CORRECTED, 1280, "light")
    cited, note = tab.locator("article > p a.cite").first, tab.locator(".beside")
    cited.scroll_into_view_if_needed()
    cited.hover()
    note.wait_for()
    assert re.search(r"\b\d{4}\b", note.inner_text())
    right = cited.evaluate("e => e.closest('p').getBoundingClientRect().right")
    assert note.bounding_box()["x"] >= right
    assert cited.get_attribute("aria-describedby") == note.get_attribute("id")
    tab.keyboard.press("Escape")
    assert note.count() == 0
    tab.locator("article > p abbr").first.focus()
    note.wait_for()
    assert len(note.inner_text()) > 5
    tab.close()
    context = browser(390, "dark").browser.new_context(
        viewport={"width": 390, "height": 900}, has_touch=True, is_mobile=True
    )
    phone = context.new_page()
    phone.goto(address + CORRECTED)
    phone.locator("article > p a.cite").first.tap()
    phone.locator(".beside").wait_for()
    assert phone.url == address + CORRECTED
    phone.locator("article > p a.cite").first.tap()
    phone.wait_for_url("**/references/**")
    context.close()
    assert not wrong


CUT = """() => [...document.querySelectorAll("article .output")].filter(box => {
  const label = getComputedStyle(box, "::after");
  return label.display !== "none" && label.content !== "none" && box.clientWidth < 500;
}).length + [...document.querySelectorAll("article .cell .highlight code")].filter(e => e.scrollWidth > e.clientWidth + 1).length"""


@pytest.mark.parametrize("page", ["transformer/block/", "models/gpt/", CORRECTED])
def test_on_a_phone_no_label_covers_an_output_and_no_code_is_cut(
    browser: Any, address: str, page: str
) -> None:
    """The label stands above; code wraps."""
    tab, wrong = visit(browser, address, page, 390, "dark")
    assert tab.evaluate(CUT) == 0
    tab.close()
    assert not wrong
