"""Questions to predict: the answer waits for what the reader says, and that stays in the reader's browser."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests import test_browser
from tests.book import DOCS
from tests.test_browser import secluded, url, visit

pytestmark = pytest.mark.browser
QUESTION = re.compile(r'(?m)^\?\?\? predict "(.*)"\n(?: +<span class="choices">(.*)</span>\n)?')
ASKING = sorted(
    page.relative_to(DOCS).as_posix()
    for page in DOCS.rglob("*.md")
    if QUESTION.search(page.read_text(encoding="utf-8"))
)


address = test_browser.address  # a fixture


@pytest.fixture(scope="module")
def chromium(address: str) -> Iterator[Any]:
    """A browser; the site is built before, because Playwright keeps an event loop."""
    with secluded() as started:
        yield started


@pytest.fixture
def reader(chromium: Any) -> Iterator[Any]:
    """A reader who comes for the first time, by view."""
    made: list[Any] = []

    def context(width: int, scheme: str, **more: Any) -> Any:
        if not made or more:
            view = {"width": width, "height": 900}
            made.append(chromium.new_context(viewport=view, color_scheme=scheme, **more))
        return made[-1]

    yield context
    for each in made:
        each.close()


def turn_to_the_boxes(tab: Any) -> None:
    """Their script comes when a reader does, as by the keyboard: a first visit pays nothing for it."""
    tab.locator("details.predict summary").first.focus()
    tab.wait_for_selector("details.predict .prediction", state="attached")


@pytest.mark.parametrize("page", ASKING)
def test_choices_are_distinct(page: str) -> None:
    """At least two for each question that offers any."""
    for found in QUESTION.finditer((DOCS / page).read_text(encoding="utf-8")):
        if found[2]:
            choices = [text.strip() for text in found[2].split("|")]
            assert len(set(choices)) == len(choices) > 1, found[1]


@pytest.mark.parametrize("page", ASKING)
def test_every_answer_waits_until_something_is_said(reader: Any, address: str, page: str) -> None:
    """Each by the keyboard; the first words of the answer are read out, and what was said stays after a reload."""
    tab, wrong = visit(reader, address, url(page), 390, "dark")
    turn_to_the_boxes(tab)
    boxes = tab.locator("details.predict")
    assert boxes.count() == len(QUESTION.findall((DOCS / page).read_text(encoding="utf-8")))
    for number in range(boxes.count()):
        box = boxes.nth(number)
        answer = box.locator(":scope > p:not(:has(.choices))").first
        box.locator("summary").focus()
        tab.keyboard.press("Enter")
        assert not answer.is_visible()
        for _ in range(1 + box.locator("summary abbr").count()):  # each has a meaning to read
            tab.keyboard.press("Tab")
        if box.locator("[type=radio]").count():
            tab.keyboard.press("Space")
        else:
            tab.keyboard.type("seven")
        tab.keyboard.press("Enter")
        assert answer.is_visible()
        told = box.locator(".prediction p")
        assert "You predicted: " in told.inner_text()
        assert told.evaluate("element => element === document.activeElement")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    said = tab.locator(".prediction p").all_inner_texts()
    tab.reload()
    turn_to_the_boxes(tab)
    assert tab.locator(".prediction p").all_text_contents() == said
    assert wrong == []


def test_the_list_has_what_was_said_and_what_surprised(reader: Any, address: str) -> None:
    """Each leads to its question; all can be taken back."""
    tab, wrong = visit(reader, address, "predictions/", 1280, "light")
    assert "Nothing yet" in tab.locator("#predictions").inner_text()
    for page in ("challenges/conclusion/", "transformer/self-attention/"):
        tab.goto(address + page)
        box = tab.locator("details.predict").first
        box.locator("summary").click()
        if box.locator("[type=radio]").count():
            box.locator("[type=radio]").last.check()
            box.get_by_role("button", name="Show the answer").click()
        else:
            box.get_by_role("button", name="No idea").click()
        box.get_by_role("button", name="It surprised me").click()
        assert box.locator("[aria-pressed=true]").inner_text() == "It surprised me"
    tab.goto(address + "predictions/")
    assert (
        "You have predicted 2 results; 2 surprised you." in tab.locator("#predictions").inner_text()
    )
    assert "no idea" in tab.locator("#predictions").inner_text()
    tab.get_by_role("link", name=re.compile("Six words")).click()
    tab.wait_for_selector("details.predict[open] .prediction p")
    box = tab.locator("details.predict[open]")
    box.get_by_role("button", name="Take it back").click()
    assert not box.locator(":scope > p:not(:has(.choices))").first.is_visible()
    tab.goto(address + "predictions/")
    tab.get_by_role("button", name="Forget all").click()
    assert "Nothing yet" in tab.locator("#predictions").inner_text()
    assert wrong == []


def test_boxes_and_list_can_be_used_by_all(reader: Any, address: str) -> None:
    """Axe, with all boxes open, before and after."""
    from axe_playwright_python.sync_playwright import Axe

    tab, _ = visit(reader, address, "transformer/self-attention/", 1280, "dark")
    turn_to_the_boxes(tab)
    for summary in tab.locator("details.predict summary").all():
        summary.click()
    for _ in range(2):
        found = Axe().run(tab)
        assert found.violations_count == 0, found.generate_report()
        tab.get_by_role("button", name="No idea").first.click()
    tab.goto(address + "predictions/")
    found = Axe().run(tab)
    assert found.violations_count == 0, found.generate_report()


def test_without_script_a_box_opens_as_it_always_did(reader: Any, address: str) -> None:
    """With its choices as a line of text."""
    tab = reader(1280, "light", java_script_enabled=False).new_page()
    tab.goto(address + "transformer/self-attention/")
    tab.locator("details.predict summary").first.click()
    assert tab.get_by_text("Nearly all of it.").is_visible()
    assert tab.get_by_text("one sixth | about half | nearly all").is_visible()


def test_on_paper_answers_are_there(reader: Any, address: str) -> None:
    """Whatever was said."""
    tab, _ = visit(reader, address, "transformer/self-attention/", 1280, "light")
    turn_to_the_boxes(tab)
    tab.emulate_media(media="print")
    assert tab.get_by_text("Nearly all of it.").is_visible()
    assert not tab.locator(".prediction").first.is_visible()
