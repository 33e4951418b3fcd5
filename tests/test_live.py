"""Live cells: what a reader runs in the browser is what the build has run, to the letter."""

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llmbook.book.blocks import Blocks
from llmbook.weave.chapter import Chapter, read_chapter
from llmbook.weave.engine import Basis, Engine, Result
from llmbook.weave.kernel import FIGURE
from llmbook.weave.lab_pages import read_lab
from llmbook.weave.live import FOLDER, Live, Reach, live
from tests import test_browser
from tests.book import DOCS, ROOT, nav
from tests.test_access import AXE, FIRST
from tests.test_browser import secluded, serving, url

pytestmark = pytest.mark.browser
PAGES = [page for page in nav() if not page.startswith("api/")]
PALETTE = "llmbook.plots.palette"
MOST = 400 * 2**20  # bytes that a page's Python may take

# Runs jobs in the site's own worker, and gives what each has shown, and the bytes that it took.
DRIVE = """async ([home, jobs]) => {
  const { files, missing } = await (await fetch(home + "parts.json")).json();
  const worker = new Worker(home + "worker.js", { type: "module" });
  const ask = (message, hear = () => {}) => new Promise((resolve, reject) => {
    worker.onerror = () => reject(new Error("no worker"));
    worker.onmessage = ({ data }) => {
      if (data.kind === "done") resolve(data);
      else if (data.kind === "broken") reject(new Error(data.text));
      else hear(data);
    };
    worker.postMessage(message);
  });
  await ask({ job: "start", palette: "PALETTE", files, missing });
  const shown = [];
  for (const job of jobs) {
    const outputs = [];
    const { failure } = await ask({ job: "run", ...job }, ({ kind, output }) => kind === "output" && outputs.push(output));
    shown.push(failure ? [...outputs, failure] : outputs);
  }
  const { bytes } = await ask({ job: "size" });
  worker.terminate();
  return { shown, bytes };
}""".replace("PALETTE", PALETTE)


address = test_browser.address  # a fixture


@pytest.fixture(scope="module")
def reader(address: str) -> Iterator[Callable[..., Any]]:
    """Opens a page in a headless Chromium in which no other host is reached."""
    with secluded() as chromium:

        def opened(page: str, width: int = 1280, home: str = address, **settings: Any) -> Any:
            settings["viewport"] = {"width": width, "height": 900}
            tab = chromium.new_context(**settings).new_page()
            tab.set_default_timeout(30_000)
            tab.goto(home + page, wait_until="load")
            tab.locator(".live-edit").first.wait_for()
            return tab

        yield opened


@pytest.fixture(scope="module")
def tab(reader: Callable[..., Any]) -> Any:
    """In which workers are started: what one has loaded, the next finds in the browser's cache."""
    return reader("challenges/conclusion/")


@functools.cache
def engine() -> Engine:
    """Of the book, as it was built."""
    made = Engine(DOCS, ROOT / ".cache/weave", package="llmbook", palette=PALETTE)
    assert made.read() is None
    return made


def found(page: str) -> tuple[Chapter, Live, Result]:
    """A page, what of it is live, and what the build has of it."""
    path = DOCS / page
    blocks = frozenset(Blocks(DOCS).functions)
    lab = path.with_suffix(".py")
    chapter = read_lab(lab) if page.endswith(".ipynb") else read_chapter(path, blocks)
    kept: tuple[Result, Basis] | None = engine().find(chapter) if chapter.cells else None
    result = kept[0] if kept else Result([], 0.0)
    return chapter, live(chapter, Reach(["llmbook"]), ()), result


def plain(outputs: list[dict[str, Any]]) -> list[Any]:
    """What can be compared of outputs: all text, and of a figure its numbers and its words."""
    shown: list[Any] = []
    for output in outputs:
        data = output.get("data", {})
        if output["output_type"] == "stream":
            if shown and shown[-1][0] == output["name"]:
                shown[-1][1] += output["text"]
            else:
                shown.append([output["name"], output["text"]])
        elif output["output_type"] == "error":
            shown.append(["error", output["ename"], output["evalue"]])
        elif FIGURE in data:
            drawn = data[FIGURE]
            words = [
                sorted(re.findall(r"<text[^>]*>([^<]+)", each["svg"])) for each in drawn["drawings"]
            ]
            shown.append(
                ["figure", drawn["table"], [each["width"] for each in drawn["drawings"]], words]
            )
        else:
            shown.append([data.get("text/markdown", data.get("text/plain"))])
    return shown


@pytest.mark.parametrize("page", PAGES)
def test_every_live_cell_shows_in_the_browser_what_it_shows_in_the_build(
    tab: Any, address: str, site: Path, page: str
) -> None:
    """Visible and hidden cells, and values in sentences; the page's Python stays below 400 MiB.

    A page offers to edit exactly if it has such cells.
    """
    chapter, alive, result = found(page)
    offered = (site / page).with_suffix(".live.json").exists()
    assert offered == bool(alive.cells)
    if not offered:  # a page without a cell that can run in a browser has nothing to edit
        return
    jobs, built, number = [], [], -1
    shown: set[int] = set()  # whose code or figure the page shows
    running = (index for index, part in enumerate(chapter.parts) if part.runs)
    for index, outputs in zip(running, result.outputs, strict=True):
        part = chapter.parts[index]
        number += part.kind == "cell"
        if part.kind == "inline" and index in alive.values:
            jobs.append({"code": f"print({part.text})", "name": "prose", "needs": []})
        elif part.kind == "cell" and number in alive.cells:
            cell, hide = alive.cells[number], part.options.get("hide")
            draws = any(FIGURE in output.get("data", {}) for output in outputs)
            if hide not in {"input", "all"} or (hide == "input" and draws):
                shown.add(number)
            jobs.append({"code": cell["code"], "name": f"Cell {number}", "needs": cell["needs"]})
        else:
            continue
        built.append((part, plain(outputs)))
    done = tab.evaluate(DRIVE, [f"{address}{FOLDER}/", jobs])
    differ = [
        (part.line, here, there)
        for (part, there), outputs in zip(built, done["shown"], strict=True)
        if (here := plain(outputs)) != there and "volatile" not in part.options
    ]
    html = (site / url(page) / "index.html").read_text(encoding="utf-8")
    marked = re.findall(r'<(?:div|figure) class="[^"]*" (?:id="[^"]*" )?data-cell="(\d+)"', html)
    assert {int(mark) for mark in marked} == shown
    assert not differ
    assert done["bytes"] < MOST


ATTENTION = "transformer/self-attention/"
NOTE = ".live-note"


def edit(tab: Any, cell: Any, code: str | None = None) -> None:
    """Open a cell, and write other code into it."""
    cell.locator(".live-edit").click()
    editor = cell.locator(".cm-content")
    editor.wait_for()
    if code is not None:
        tab.keyboard.press("Control+a")
        tab.keyboard.insert_text(code)


def run(cell: Any, said: str = "Run.") -> None:
    """Run a cell, and wait for what its note says in the end."""
    cell.get_by_role("button", name="Run").click()
    ended(cell, said)


def ended(cell: Any, said: str) -> None:
    """Wait until a cell's note says something."""
    cell.locator(NOTE, has_text=said).wait_for()


def test_a_changed_cell_runs_and_what_follows_it_says_so(reader: Callable[..., Any]) -> None:
    """Its output, the values in sentences, the cells after it; Reset takes everything back."""
    tab = reader(ATTENTION)
    before = tab.locator("article").inner_text().strip()
    cell = tab.locator(".cell[data-cell]").nth(0)
    edit(tab, cell)
    assert re.search(r"at most \d\d\.\d MB, once", cell.locator(NOTE).inner_text())
    was = cell.locator(".output").inner_text()
    run(cell)
    assert cell.locator(".output").inner_text() == was
    code = cell.locator(".cm-line").all_inner_texts()
    assert "query = np.array([0.0, 4.0, 0.0, 0.0])" in "\n".join(code)
    tab.locator(".cm-content").click()
    tab.keyboard.press("Control+a")
    tab.keyboard.insert_text(
        "\n".join(code).replace("[0.0, 4.0, 0.0, 0.0]", "[4.0, 0.0, 0.0, 0.0]")
    )
    run(cell, "A check of the book’s text no longer holds.")
    assert cell.locator(".output").inner_text() != was
    assert tab.locator(".cell[data-before]").count() > 5
    assert tab.locator(".value[data-live]").count() > 0
    cell.get_by_role("button", name="Reset").click()
    tab.locator(".live-box").wait_for(state="detached")
    assert (
        tab.locator("article").inner_text().replace("As in the book again.", "").strip() == before
    )
    assert tab.locator("[data-live], [data-before], .live-bar, .live-out").count() == 0
    assert tab.locator(":focus").get_attribute("aria-label") == "Edit cell 2"
    tab.context.close()


def test_what_has_run_is_not_run_again(reader: Callable[..., Any]) -> None:
    """A second run goes on from before its cell, with all names as they were; offline, too."""
    tab = reader("challenges/conclusion/")
    cell = tab.locator(".cell[data-cell]").last
    edit(
        tab,
        cell,
        "import random\ndraws = [*globals().get('draws', []), random.random()]\nprint(len(draws), sorted(globals())[:0])",
    )
    run(cell)
    first = cell.locator(".output").inner_text()
    tab.context.set_offline(True)
    run(cell)
    assert cell.locator(".output").inner_text() == first == "1 []"
    tab.context.close()


def test_stop_ends_a_cell_that_does_not_end(reader: Callable[..., Any]) -> None:
    """And the next run begins anew."""
    tab = reader("challenges/conclusion/")
    cell = tab.locator(".cell[data-cell]").first
    edit(tab, cell, "print(7)\nwhile True:\n    pass")
    cell.get_by_role("button", name="Run").click()
    cell.locator(".output", has_text="7").wait_for()
    cell.get_by_role("button", name="Stop").click()
    ended(cell, "Stopped.")
    tab.locator(".cm-content").click()
    tab.keyboard.press("Control+a")
    tab.keyboard.insert_text("print(6 * 7)")
    run(cell)
    assert cell.locator(".output").inner_text() == "42"
    tab.context.close()


@pytest.mark.parametrize(
    ("code", "line", "said"),
    [
        ("x = 1\nx / 0", "x / 0", "Line 2: ZeroDivisionError: division by zero"),
        ("x = 1\nif x\n    y", "if x", "Line 2: SyntaxError: expected ':'"),
        ("import torch\ntorch.ones(3)", "torch.ones(3)", "Line 2: ImportError: torch.ones is not in this page"),
        ("for n in range(99999):\n    print('long' * 9)", "print('long' * 9)", "Line 2: RuntimeError: a cell may print 200,000"),
    ],
)  # fmt: skip
def test_an_error_marks_its_line(
    reader: Callable[..., Any], code: str, line: str, said: str
) -> None:
    """What Python says of it is there, and its line is marked until the code changes."""
    tab = reader("challenges/conclusion/")
    cell = tab.locator(".cell[data-cell]").first
    edit(tab, cell, code)
    run(cell, "Cell 1 fails.")
    assert cell.locator(".output.error").inner_text().startswith(said)
    assert cell.locator(".live-wrong").inner_text().strip() == line
    cell.locator(".cm-content").click()
    tab.keyboard.type(" ")
    assert cell.locator(".live-wrong").count() == 0
    tab.context.close()


def test_a_cell_is_edited_and_run_by_keyboard_alone(reader: Callable[..., Any]) -> None:
    """Tab stays in the editor; after Escape it leaves it, to Run, and on to Reset."""
    tab = reader("challenges/conclusion/", 390, color_scheme="dark")
    cell = tab.locator(".cell[data-cell]").first
    cell.locator(".live-edit").focus()
    tab.keyboard.press("Enter")
    cell.locator(".cm-content").wait_for()
    tab.keyboard.press("Control+a")
    tab.keyboard.type("if True:\nprint(40 + 2)")
    assert cell.locator(".cm-line").all_inner_texts() == ["if True:", "    print(40 + 2)"]
    tab.keyboard.press("Tab")
    assert cell.locator(".cm-content:focus").count() == 1
    tab.keyboard.press("Control+Enter")
    ended(cell, "Run.")
    assert cell.locator(".output").inner_text() == "42"
    assert tab.locator("[role=status].live-help").inner_text().startswith("Run.")
    for press, name in (("Escape", None), ("Tab", "Run cell 1"), ("Tab", "Reset cell 1")):
        tab.keyboard.press(press)
        if name:
            assert tab.locator(":focus").get_attribute("aria-label") == name
    tab.keyboard.press("Enter")
    assert tab.locator(":focus").get_attribute("aria-label") == "Edit cell 1"
    tab.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_an_open_editor_is_accessible_and_fits(
    reader: Callable[..., Any], width: int, scheme: str
) -> None:
    """Nothing for axe, with an error shown; at 390 px the page does not scroll sideways."""
    from axe_playwright_python.sync_playwright import Axe

    tab = reader(ATTENTION, width, color_scheme=scheme)
    cell = tab.locator(".cell[data-cell]").first
    edit(
        tab,
        cell,
        "x = 'a line that is longer than a phone is wide, by far, so that it scrolls'\n1 / 0",
    )
    run(cell, "fails.")
    figure = tab.locator("figure[data-cell]").first
    edit(tab, figure)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert tab.evaluate(wide) == 0
    tab.evaluate("window.scrollTo(0, 0)")
    tab.wait_for_timeout(500)  # until the header's links have come back
    tab.evaluate(FIRST)
    tab.evaluate(Axe().axe_script)
    assert tab.evaluate(AXE) == []
    tab.context.close()


def test_a_lab_is_solved_in_its_page(reader: Callable[..., Any]) -> None:
    """An exercise runs with its check, which tells what is wrong; solutions stay folded and do not run."""
    tab = reader("labs/attention-by-hand/")
    cells = tab.locator(".cell[data-cell]")
    exercise, check = cells.nth(1), cells.nth(3)
    edit(tab, exercise, "scores = key @ query.T")
    run(exercise, "fails.")
    assert "WrongAnswer" in check.locator(".output.error").inner_text()
    exercise.locator(".cm-content").click()
    tab.keyboard.press("Control+a")
    tab.keyboard.insert_text("scores = query @ key.T")
    run(exercise)
    assert check.locator(".output").inner_text().strip("'").startswith("Right: ")
    assert not cells.nth(2).locator("code").is_visible()
    tab.context.close()


def test_live_cells_work_with_instant_navigation(reader: Callable[..., Any]) -> None:
    """A page that comes as a new article has its cells, and names of another page are gone."""
    tab = reader("challenges/conclusion/")
    address = tab.url.removesuffix("challenges/conclusion/")

    def switch(route: Any) -> None:
        answer = route.fetch()
        text = answer.text().replace('"features": [', '"features": ["navigation.instant", ')
        text = re.sub(r"https://llmbook\.github\.io/llmbook/", address, text)
        route.fulfill(response=answer, body=text)

    tab.context.route(re.compile(r"/book/([\w/-]+/)?([?#].*)?$|sitemap\.xml$"), switch)
    tab.goto(address + "challenges/ethics/")
    tab.evaluate("window.opened = true")
    cell = tab.locator(".cell[data-cell]").first
    edit(tab, cell, "mine = 6\nmine * 7")
    run(cell)
    assert cell.locator(".output").inner_text() == "42"
    tab.locator(".md-sidebar .md-nav__link", has_text="Conclusion").first.click()
    tab.locator("main h1", has_text="Conclusion").wait_for()
    assert tab.evaluate("window.opened")
    cell = tab.locator(".cell[data-cell]").first
    edit(tab, cell, "'mine' in globals()")
    run(cell)
    assert cell.locator(".output").inner_text() == "False"
    tab.context.close()


def test_where_webassembly_is_forbidden_one_sentence_says_so(
    reader: Callable[..., Any], site: Path
) -> None:
    """A policy that a server sends with every file holds in workers, too; the page stays whole."""
    with serving(site, Content_Security_Policy="script-src 'self'") as strict:
        tab = reader("challenges/conclusion/", home=strict)
        cell = tab.locator(".cell[data-cell]").first
        was = cell.locator(".output").inner_text()
        edit(tab, cell)
        run(
            cell,
            "Python cannot run here: this browser, or the policy of this site’s server, does not allow WebAssembly.",
        )
        assert cell.locator(".output").inner_text() == was
        tab.context.close()


def test_before_the_first_edit_a_page_loads_one_small_script(
    reader: Callable[..., Any],
) -> None:
    """A page without live cells loads not even that."""
    tab = reader("challenges/conclusion/")
    loaded = "performance.getEntriesByType('resource').map(entry => entry.name)"
    names = [name.partition(FOLDER)[2] for name in tab.evaluate(loaded) if FOLDER in name]
    assert names == ["/live.js"]
    tab.goto(tab.url.replace("conclusion", "inside"))
    tab.wait_for_load_state("networkidle")
    assert not any(FOLDER in name for name in tab.evaluate(loaded))
    tab.context.close()
