"""Figures that turn, as a reader turns them: by keyboard, on a phone, with every other host refused."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmbook.weave.kernel import FIGURE
from llmbook.weave.turning import turned
from tests import test_browser
from tests.book import DOCS, nav
from tests.test_access import AXE
from tests.test_browser import secluded, url
from tests.test_live import edit, found, run

pytestmark = pytest.mark.browser
SOURCES = {page: (DOCS / page).read_text("utf-8") for page in nav() if page.endswith(".md")}
CELL = re.compile(r"(?ms)^```python(?:(?!^```).)*from llmbook\.weave\.turning import turn$")
PAGES = [page for page, text in SOURCES.items() if CELL.search(text)]
ATTENTION = "transformer/self-attention.md"
MOST = 150_000  # bytes of a page's table, before a host compresses it

# Whether a figure shows these drawings and numbers; if not, where the first difference is.
SHOWS = """([id, svgs, numbers]) => {
  const figure = document.getElementById(id), wrong = [];
  const drawn = [...figure.querySelectorAll(".drawings svg")].slice(0, svgs.length);
  drawn.forEach((svg, n) => {
    const prefix = svg.getAttribute("aria-labelledby").slice(0, -1), box = document.createElement("div");
    box.innerHTML = svgs[n].replace(/( id="|url\\(#|href="#)/g, `$1${prefix}`);
    const expected = box.firstElementChild, here = [...svg.childNodes].slice(1);
    if (svg.firstChild.tagName !== "title" || here.length !== expected.childNodes.length) wrong.push("parts");
    for (const name of ["width", "height", "viewBox"]) if (svg.getAttribute(name) !== expected.getAttribute(name)) wrong.push(name);
    here.forEach((node, k) => node.isEqualNode(expected.childNodes[k]) || wrong.push(node.outerHTML.slice(0, 300) + " is not " + expected.childNodes[k].outerHTML.slice(0, 300)));
  });
  const table = figure.nextElementSibling.matches("details.numbers") && figure.nextElementSibling.querySelector("table");
  const shown = table ? [...table.querySelectorAll("caption, th, tbody td")].map(e => e.textContent) : [];
  if (numbers.length && JSON.stringify(shown) !== JSON.stringify(numbers)) wrong.push(shown.join() + " are not " + numbers.join());
  return wrong;
}"""


address = test_browser.address  # a fixture


@pytest.fixture(scope="module")
def reader(address: str) -> Iterator[Callable[..., Any]]:
    """Opens a page in a headless Chromium in which no other host is reached."""
    with secluded() as chromium:

        def opened(page: str, width: int = 390, **settings: Any) -> tuple[Any, list[str]]:
            settings["viewport"] = {"width": width, "height": 900}
            tab, wrong = chromium.new_context(**settings).new_page(), []
            tab.set_default_timeout(15_000)
            tab.on("console", lambda m: wrong.append(m.text) if m.type != "log" else None)
            tab.on("pageerror", lambda error: wrong.append(str(error)))
            tab.goto(address + url(page), wait_until="load")
            return tab, wrong

        yield opened


def figures(page: str) -> dict[str, dict[str, Any]]:
    """What the build has of a page's figures that turn, by their labels."""
    chapter, _, result = found(page)
    running = (part for part in chapter.parts if part.runs)
    return {
        part.options["label"]: drawn
        for part, outputs in zip(running, result.outputs, strict=True)
        for output in outputs
        if (drawn := output.get("data", {}).get(FIGURE)) and drawn.get("turns")
    }


def number_of(lengths: list[int], chosen: list[int]) -> int:
    """Of a choice, the last dial turning fastest."""
    number = 0
    for length, at in zip(lengths, chosen, strict=True):
        number = number * length + at
    return number


@pytest.mark.parametrize("part", ["transformer", "models"])
def test_every_chapter_of_parts_2_and_3_has_a_figure_to_turn(part: str) -> None:
    """An overview has no figure of its own that depends on a choice."""
    chapters = {page for page in nav() if page.startswith(f"{part}/") and "index" not in page}
    assert chapters <= set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_each_dial_shows_what_the_build_has_drawn(
    reader: Callable[..., Any], site: Path, page: str
) -> None:
    """Through all its values by keyboard: drawings, numbers, names, and what is said of them.

    Nothing is fetched before a dial is touched, nothing scrolls sideways, and axe finds nothing.
    """
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import TimeoutError as Late

    built = figures(page)
    table = site / Path(page).with_suffix(".turns.json")
    assert table.stat().st_size <= MOST
    scheme = ["light", "dark"][PAGES.index(page) % 2]
    tab, wrong = reader(page, color_scheme=scheme, reduced_motion="reduce")
    fetched: list[str] = []
    tab.on("request", lambda request: fetched.append(request.url))
    assert tab.locator("figure[data-dials]").count() == len(built) > 0
    for label, drawn in built.items():
        figure, turns = tab.locator(f"#{label}"), drawn["turns"]
        tables = [request for request in fetched if request.endswith(".turns.json")]
        assert len(tables) == (label != next(iter(built)))  # one for the page, at the first touch
        inputs = figure.locator(".dials :is(input, select)")
        chosen = [at for _, _, at, _ in turns["dials"]]
        lengths = [len(labels) for _, labels, *_ in turns["dials"]]
        assert inputs.count() == len(chosen)
        for n, (name, labels, _, named) in enumerate(turns["dials"]):
            dial = figure.get_by_label(name, exact=True)
            assert dial.bounding_box()["height"] >= 24
            dial.focus()
            steps = [*range(chosen[n] + 1, len(labels)), *reversed(range(len(labels) - 1))]
            for at in steps:
                dial.press("ArrowRight" if at > chosen[n] else "ArrowLeft")
                chosen[n] = at
                if not named:
                    assert dial.get_attribute("aria-valuetext") == labels[at]
                assert dial.input_value() == str(at)
                number = number_of(lengths, chosen)
                expected = [label, *turned(drawn, number)]
                with contextlib.suppress(Late):  # then it is said what differs
                    tab.wait_for_function(f"e => ({SHOWS})(e).length === 0", arg=expected)
                assert tab.evaluate(SHOWS, expected) == [], labels[at]
            said = turns["said"][number]
            figure.locator(".dials-said", has_text=said).wait_for(state="attached")
            titles = figure.locator("svg > title").all_text_contents()
            first = chosen == [at for _, _, at, _ in turns["dials"]]
            assert first or said in titles
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert tab.evaluate(over) == 0
    tab.evaluate(Axe().axe_script)
    assert tab.evaluate(AXE.replace("axe.run(", "axe.run('figure[data-dials]', ")) == []
    tab.context.close()
    assert not wrong


def test_a_page_without_its_table_says_so_and_keeps_its_figure(reader: Callable[..., Any]) -> None:
    tab, _ = reader(ATTENTION)
    tab.route(re.compile(r"turns\.json$"), lambda route: route.abort())
    figure = tab.locator("figure[data-dials]").first
    before = figure.locator(".drawings").inner_html()
    figure.locator(".dials input").first.press("ArrowRight")
    figure.get_by_text("could not be loaded").wait_for()
    assert figure.get_by_text("could not be loaded").bounding_box()["height"] > 10
    assert figure.locator(".drawings").inner_html() == before
    tab.unroute_all()
    figure.locator(".dials input").first.press("ArrowRight")  # it is asked for again
    figure.get_by_text("could not be loaded").wait_for(state="detached")
    assert figure.locator(".drawings").inner_html() != before
    tab.context.close()


def test_without_script_there_is_the_figure_and_no_dial(reader: Callable[..., Any]) -> None:
    tab, wrong = reader(ATTENTION, java_script_enabled=False)
    figure = tab.locator("figure[data-dials]").first
    assert figure.locator("svg").first.is_visible() or figure.locator("svg").nth(1).is_visible()
    assert tab.locator(".dials").count() == 0
    tab.context.close()
    assert not wrong


def test_a_readers_own_run_puts_the_dials_away_until_reset(reader: Callable[..., Any]) -> None:
    """It draws the first choice with the reader's numbers; the table is of the book's."""
    tab, _ = reader(ATTENTION, 1280)
    figure = tab.locator("figure[data-dials]").first
    figure.locator(".dials input").first.press("End")
    tab.wait_for_load_state("networkidle")
    before = figure.locator(".drawings").inner_html()
    edit(tab, figure)
    run(figure)
    assert figure.locator(".drawings").inner_html() != before
    assert not figure.locator(".dials").is_visible()
    figure.get_by_role("button", name="Reset").click()
    figure.locator(".dials").wait_for()
    assert figure.locator(".drawings").inner_html() == before
    tab.context.close()


def test_dials_come_with_a_page_that_instant_navigation_brings(
    reader: Callable[..., Any], address: str
) -> None:
    """From a page without dials to one with them, and on to another: each has its own table."""
    tab, wrong = reader("index.md", 1280)

    def switch(route: Any) -> None:
        answer = route.fetch()
        text = answer.text().replace('"features": [', '"features": ["navigation.instant", ')
        text = text.replace("https://llmbook.github.io/llmbook/", address)
        route.fulfill(response=answer, body=text)

    tab.route(re.compile(r"/book/([\w/-]+/)?([?#].*)?$|sitemap\.xml$"), switch)
    tab.goto(address + url("transformer/index.md"), wait_until="load")
    tab.evaluate("window.opened = 1")
    for page in (ATTENTION, "transformer/positions.md"):
        tab.locator(f".md-sidebar--primary a[href*='{Path(page).stem}']").first.click()
        (label, drawn), *_ = figures(page).items()
        figure, dials = tab.locator(f"#{label}"), drawn["turns"]["dials"]
        figure.locator(".dials input").first.press("End")
        lengths = [len(labels) for _, labels, *_ in dials]
        number = number_of(lengths, [lengths[0] - 1, *(at for _, _, at, _ in dials[1:])])
        said = drawn["turns"]["said"][number]
        figure.locator(".dials-said", has_text=said).wait_for(state="attached")
        assert figure.locator(".dials").count() == 1
        assert tab.evaluate(SHOWS, [label, *turned(drawn, number)]) == []
    assert tab.evaluate("window.opened") == 1
    tab.unroute_all()
    tab.context.close()
    assert [line for line in wrong if "preload" not in line and "ERR_ABORTED" not in line] == []
