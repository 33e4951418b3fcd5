"""Which chapters of the book an edit executes again: exactly those that it can change.

Nothing is executed here: the book was built before, and each edit is made in a copy of its sources.
"""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from llmbook.book.blocks import Blocks
from llmbook.weave import engine
from llmbook.weave.chapter import Chapter, read_chapter
from llmbook.weave.lab_pages import read_lab
from tests.book import DOCS, ROOT, nav

CACHE = ROOT / ".cache/weave"
PACKAGE = ROOT / "src/llmbook"


@pytest.fixture(scope="module")
def copied(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the book's sources, whose results are in the store."""
    root = tmp_path_factory.mktemp("edits")
    shutil.copytree(PACKAGE, root / "src/llmbook", ignore=shutil.ignore_patterns("*.pyc", "vendor"))
    shutil.copytree(DOCS, root / "docs")
    return root


PALETTE = "llmbook.plots.palette"


@pytest.fixture
def executed(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """Says which pages would be executed now."""
    monkeypatch.setattr(engine, "package_root", lambda name: copied / "src" / name)

    def stale() -> set[str]:
        docs = copied / "docs"
        now = engine.Engine(docs, CACHE, package="llmbook", palette=PALETTE)
        assert now.read() is None
        return {c.path.relative_to(docs).as_posix() for c in now.stale(read(docs))}

    return stale


def read(docs: Path) -> list[Chapter]:
    """All pages with cells."""
    blocks = frozenset(Blocks(DOCS).functions)
    pages = [docs / page for page in nav() if page.endswith(".md")]
    chapters = [read_chapter(page, blocks) for page in pages]
    return [*chapters, *(read_lab(lab) for lab in sorted(docs.glob("labs/*.py")))]


def importing(*modules: str) -> set[str]:
    """The pages whose own cells import one of some modules."""
    return {
        chapter.path.relative_to(DOCS).as_posix()
        for chapter in read(DOCS)
        for part in chapter.cells
        if engine.imports(part.text) & {f"llmbook.{module}" for module in modules}
    }


ALL, NONE = "all", ()
EDITS: dict[str, tuple[str, str, str, Iterable[str]]] = {
    # What is edited: its file, what stands there, what then stands there, and the pages that are
    # executed, by the modules that their cells import (a dot before its name) or by name.
    "a docstring": ("src/llmbook/attention.py", '    """', '    """New words. ', NONE),
    "a comment": ("src/llmbook/layers.py", "import torch\n", "import torch  # why\n", NONE),
    "a note of a data sheet": ("src/llmbook/architectures/history.py", "# the released", "# all", NONE),
    "a new module": ("src/llmbook/new.py", "", "x = 1\n", NONE),
    "a new record": ("src/llmbook/data/results/new.json", "", "{}", NONE),
    "prose": ("docs/models/gpt.md", "\n## ", "\nA new sentence.\n\n## ", NONE),
    "a caption": ("docs/models/gpt.md", 'caption="', 'caption="New: ', NONE),
    "a cell": ("docs/models/gpt.md", "```python\n", "```python\n0\n", ["models/gpt.md"]),
    "the training command": ("src/llmbook/experiments/pretrain.py", "1000, 1,", "999, 1,", NONE),
    "arcs": ("src/llmbook/plots/arcs.py", "0.46 * width", "0.47 * width", [".plots.arcs"]),
    "a plane": ("src/llmbook/plots/points.py", "ax.margins(0.16)", "ax.margins(0.2)", [".plots.points"]),
    "a figure's style": (
        "src/llmbook/plots/style.py", '"font.size": 12.5', '"font.size": 12',
        [".plots.arcs", ".plots.attention", ".plots.charts", ".plots.points", ".plots.structure",
         ".plots.style"],
    ),
    "a record": (
        "src/llmbook/data/results/addition.json", '"step": 50', '"step": 51',
        ["models/scaling.md"],
    ),
    "WordPiece": (
        "src/llmbook/wordpiece.py", "LONGEST = 100", "LONGEST = 99",
        [".wordpiece", ".experiments.senses", "challenges/efficient.md"],  # by `load_minilm`, there
    ),
    "emissions": (
        "src/llmbook/emissions.py", "    return ", "    return 1 * ",
        [".emissions", ".exam"],
    ),
    "weave's shell": ("src/llmbook/weave/kernel.py", "WRITES = ", "WRITES = 0 | ", ALL),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_executes_what_it_can_change(
    copied: Path, executed: Callable[[], set[str]], name: str
) -> None:
    """And nothing else; taken back, nothing at all."""
    file, before, after, pages = EDITS[name]
    path = copied / file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    assert before in text
    path.write_text(text.replace(before, after, 1) if before else after, encoding="utf-8")
    everything = {c.path.relative_to(DOCS).as_posix() for c in read(DOCS) if c.cells}
    expected = everything if pages == ALL else set()
    for page in () if pages == ALL else pages:
        expected |= importing(page[1:]) if page.startswith(".") else {page}
    try:
        assert executed() == expected
    finally:
        path.write_text(text, encoding="utf-8") if text else path.unlink()
    assert executed() == set()


def test_attention_executes_what_imports_it_at_all(
    copied: Path, executed: Callable[[], set[str]]
) -> None:
    """Directly or through a model; no page that has no model."""
    path = copied / "src/llmbook/attention.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\nNEW = 1\n", encoding="utf-8")
    found = executed()
    path.write_text(text, encoding="utf-8")
    assert importing("attention", "transformer", "llama", "gpt", "bert", "t5") <= found
    assert not found & {
        "challenges/fairness.md",
        "transformer/self-attention.md",
        "evolution/timeline.md",
    }
