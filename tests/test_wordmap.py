"""The word map in a browser: what it finds is what the package finds, and a reader gets around by keyboard."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from llmbook.book.wordmap import WORDS, wordmap
from llmbook.datasets import glove
from llmbook.projection import packed, rounded
from llmbook.word2vec import analogy, nearest
from tests.test_browser import bare

pytestmark = pytest.mark.browser
NAMES, VECTORS = glove()
NUMBERS, STEP = rounded(VECTORS.astype(float))
UNIT = NUMBERS / np.linalg.norm(NUMBERS, axis=1, keepdims=True)
PLACES = np.random.default_rng(0).standard_normal((len(NAMES), 2))
COMPUTE = """async ([neighbours, analogies, directions]) => {
  const { Words } = await import("./wordmap.js");
  const words = new Words(await (await fetch("words.bin")).arrayBuffer());
  const named = (found) => found.map(([row, cosine]) => [words.words[row], cosine]);
  return {
    neighbours: neighbours.map((word) => named(words.neighbours(word))),
    ranks: neighbours.map((word) => words.neighbours(word).map(([other]) => words.rank(words.row(word), other))),
    analogies: analogies.map((asked) => { const { with: own, without } = words.analogy(...asked); return [named(own), named(without)]; }),
    ends: directions.map((asked) => { const { from, to } = words.ends(...asked); return [named(from), named(to)]; }),
  };
}"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The frame on a bare page with the book's own script and style; no other host is reached."""
    folder: Path = tmp_path_factory.mktemp("wordmap")
    (folder / Path(WORDS).name).write_bytes(packed(NAMES, PLACES, NUMBERS))
    size = '<p>A file of <span id="wordmap-size">2.3 MB</span>.</p>'
    with bare(folder, "wordmap", ["wordmap.js", "wordmap.css"], size + wordmap("queen")) as tab:
        yield tab


def same(found: list[list[Any]], expected: list[tuple[str, float]]) -> bool:
    """The same words with the same cosines, of which the package gives four digits."""
    return [word for word, _ in found] == [word for word, _ in expected] and np.allclose(
        [cosine for _, cosine in found], [cosine for _, cosine in expected], atol=1e-4
    )


def test_the_browser_finds_what_the_package_finds(page: Any) -> None:
    """Neighbours with their places on the map, analogies in both ways, both ends of a direction."""
    asked = ["queen", "bank", "seven", "pansy", ","]
    puzzles = [("man", "king", "woman"), ("paris", "france", "rome"), ("walk", "walking", "swim")]
    axes = [("he", "she"), ("cat", "dog")]
    found = page.evaluate(COMPUTE, [asked, puzzles, axes])
    for word, near, ranks in zip(asked, found["neighbours"], found["ranks"], strict=True):
        assert same(near, nearest(NAMES, UNIT, word, 10)), word
        row = NAMES.index(word)
        grid = np.round((PLACES - PLACES.min(0)) / ((PLACES - PLACES.min(0)).max() / 65535))
        far = ((grid - grid[row]) ** 2).sum(1)
        far[row] = np.inf
        assert ranks == [int((far < far[NAMES.index(other)]).sum()) + 1 for other, _ in near]
    for puzzle, (own, without) in zip(puzzles, found["analogies"], strict=True):
        assert same(own, analogy(NAMES, UNIT, *puzzle, count=5, exclude_inputs=False))
        assert same(without, analogy(NAMES, UNIT, *puzzle, count=5))
    for (one, other), (start, end) in zip(axes, found["ends"], strict=True):
        along = UNIT[NAMES.index(other)] - UNIT[NAMES.index(one)]
        assert same(end, nearest(NAMES[:5000], UNIT[:5000], along, 10))
        assert same(
            [[word, -cosine] for word, cosine in start],
            nearest(NAMES[:5000], UNIT[:5000], -along, 10),
        )


def test_all_of_it_works_by_keyboard_and_is_said(page: Any) -> None:
    """From loading, whose size is named, to an unknown word, which is named too."""
    load = page.get_by_role("button", name="Load the words (2.3 MB)")
    load.focus()
    page.keyboard.press("Enter")
    said = page.locator(".w-said")
    page.locator(".w-neighbours table").wait_for()
    assert said.inner_text().startswith("Nearest to queen: ")
    assert page.evaluate("document.activeElement.id") == "w-word"
    page.keyboard.press("Control+A")
    page.keyboard.type("Bank")
    page.keyboard.press("Enter")
    assert said.inner_text() == "Nearest to bank: banks, banking, credit, investment, financial."
    page.locator("#w-word").fill("qwertz")
    page.keyboard.press("Enter")
    assert said.inner_text() == "“qwertz” is not among the 20,083 words."
    for field, text in (("#w-b", "doctor"), ("#w-c", "woman")):
        page.locator(field).fill(text)
    page.keyboard.press("Enter")
    assert said.inner_text() == (
        "Left out, the answer is nurse; with the question’s own words it is doctor."
    )
    page.locator("#w-to").fill("he")
    page.keyboard.press("Enter")
    assert said.inner_text() == "The two words of a direction must differ."
    assert page.locator(".w-table table").count() == 3
    assert page.locator(".w-neighbours tbody tr").count() == 10


def test_the_map_moves_and_names_what_one_points_at(page: Any) -> None:
    """Its picture changes with each key and button; a click finds the neighbours of what is there."""
    if page.locator(".w-load").is_visible():
        page.locator(".w-load").click()
    canvas = page.locator("canvas")
    seen = [canvas.evaluate("element => element.toDataURL()")]
    canvas.focus()
    for key in ("ArrowLeft", "ArrowUp", "+", "-"):
        page.keyboard.press(key)
        seen.append(canvas.evaluate("element => element.toDataURL()"))
    for name in ("Nearer", "All of it"):
        page.get_by_role("button", name=name).click()
        seen.append(canvas.evaluate("element => element.toDataURL()"))
    assert all(before != after for before, after in pairwise(seen))
    before = page.locator("#w-word").input_value()
    canvas.hover(position={"x": 300, "y": 200})
    canvas.click(position={"x": 300, "y": 200})
    assert page.locator("#w-word").input_value() != before
    assert page.locator(".w-said").inner_text().startswith("Nearest to ")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["default", "slate"])
def test_nothing_is_cut_and_axe_finds_nothing(page: Any, width: int, scheme: str) -> None:
    """With all tables open."""
    if page.locator(".w-load").is_visible():
        page.locator(".w-load").click()
    page.set_viewport_size({"width": width, "height": 900})
    page.evaluate(f"document.body.dataset.mdColorScheme = {json.dumps(scheme)}")
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
