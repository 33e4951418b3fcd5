"""Which chapters of the book an edit executes again: exactly those that it can change.

Nothing is executed here: the book was built before, and each edit is made in a copy of its sources.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from llmbook.weave import engine
from llmbook.weave.blocks import Blocks
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


@pytest.fixture
def executed(copied: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], set[str]]:
    """Says which pages would be executed now."""
    monkeypatch.setattr(engine, "package_root", lambda name: copied / "src" / name)

    def stale() -> set[str]:
        docs = copied / "docs"
        now = engine.Engine(docs, CACHE)
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


EDITS = {
    # what is edited: the file, what stands there, what stands there then
    "a docstring": ("src/llmbook/attention.py", '    """', '    """New words. '),
    "a comment": ("src/llmbook/layers.py", "import torch\n", "import torch  # why\n"),
    "prose": ("docs/models/gpt.md", "\n## ", "\nA new sentence.\n\n## "),
    "a caption": ("docs/models/gpt.md", 'caption="', 'caption="New: '),
    "arcs": ("src/llmbook/plots/attention.py", "0.46 * width", "0.47 * width"),
    "a chart": ("src/llmbook/plots/charts.py", "62 + 34 *", "62 + 35 *"),
    "a figure's style": ("src/llmbook/plots/style.py", '"font.size": 12.5', '"font.size": 12'),
    "a note of a data sheet": ("src/llmbook/architectures/history.py", 'note="', 'note="New: '),
    "a measure of a data sheet": ("src/llmbook/architectures/configs.py", "max_len=1024", "max_len=1025"),
    "WordPiece": ("src/llmbook/wordpiece.py", "max_chars: int = 100", "max_chars: int = 99"),
    "a record of an experiment": ("src/llmbook/data/results/sweep.json", '"loss": ', '"loss": 1'),
    "attention": ("src/llmbook/attention.py", "        return ", "        return 1 * "),
    "emissions": ("src/llmbook/emissions.py", "    return ", "    return 1 * "),
    "a cell": ("docs/models/gpt.md", "```python\n", "```python\n0\n"),
}  # fmt: skip
