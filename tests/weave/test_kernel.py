"""What executes cells gives what Jupyter's own kernel gives, and no chapter sees another."""

import asyncio
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from llmbook.book.blocks import Blocks
from llmbook.weave import engine
from llmbook.weave.book import weave_book
from llmbook.weave.chapter import Chapter, read_chapter
from llmbook.weave.configuration import read_site
from llmbook.weave.kernel import FIGURE
from llmbook.weave.processes import environment
from tests.book import DOCS, ROOT, nav
from tests.weave.conftest import TinyBook
from tests.weave.test_killed import LONG

MakeBook = Callable[..., TinyBook]
SETUP = """
from functools import partial
from IPython import get_ipython
from llmbook.weave.kernel import _show
formatter = get_ipython().display_formatter.mimebundle_formatter
show = partial(_show, palette="llmbook.plots.palette")
formatter.for_type_by_name("matplotlib.figure", "Figure", show)
"""


def chapters() -> list[Chapter]:
    """The chapters that execute: those of the book that are quick, or with `LLMBOOK_LONG=1` all."""
    blocks = frozenset(Blocks(DOCS).functions)
    pages = [read_chapter(DOCS / page, blocks) for page in nav() if page.endswith(".md")]
    quick = {"index.md", "self-attention.md", "privacy.md", "interpretability.md"}
    return [c for c in pages if c.cells and (LONG or c.path.name in quick)]


async def in_jupyter(chapter: Chapter) -> list[list[dict[str, Any]]]:
    """The outputs of a chapter in a kernel of its own, by nbclient."""
    import nbformat
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    codes = [SETUP, *(f"print({p.text})" if p.kind == "inline" else p.text for p in chapter.cells)]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in codes])
    with tempfile.TemporaryDirectory(prefix="w", ignore_cleanup_errors=True) as sockets:
        manager = AsyncKernelManager(connection_file=str(Path(sockets) / "k.json"))
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        manager._kernel_spec = KernelSpec(argv=command, language="python", display_name="Python 3")
        manager.transport, manager.ip = "ipc", str(Path(sockets) / "k")
        client = NotebookClient(notebook, km=manager, timeout=600, allow_errors=True)
        variables = environment((ROOT / ".cache/weave").resolve())
        await manager.start_kernel(
            cwd=str(chapter.path.parent),
            env={**os.environ, **variables, "PYDEVD_DISABLE_FILE_VALIDATION": "1"},
        )
        try:
            await client.async_start_new_kernel_client()
            for index, cell in enumerate(notebook.cells):
                await client.async_execute_cell(cell, index)
        finally:
            if client.kc:
                client.kc.stop_channels()
            await manager.shutdown_kernel()
            await manager.cleanup_resources()
    outputs: list[list[dict[str, Any]]] = json.loads(
        json.dumps([c.outputs for c in notebook.cells[1:]])
    )
    return outputs


def shown(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs as a page shows them: without counters, control codes and frames of other files."""
    tidy: list[dict[str, Any]] = []
    for output in outputs:
        output = {name: value for name, value in output.items() if name != "execution_count"}
        if output["output_type"] == "stream" and tidy and tidy[-1].get("name") == output["name"]:
            tidy[-1]["text"] += output["text"]
            continue
        if output["output_type"] == "error":
            output["traceback"] = []
        tidy.append(output)
    return engine._tidy(json.loads(json.dumps(tidy)))


@pytest.mark.parametrize("chapter", chapters(), ids=lambda chapter: chapter.path.stem)
def test_a_chapter_shows_what_it_shows_in_jupyter(site: Path, chapter: Chapter) -> None:
    """Text, values and drawings, to the byte; of volatile cells the kinds of output."""
    site_of = read_site(ROOT / "mkdocs.yml")
    store = ROOT / ".cache/weave"
    kept = engine.Engine(DOCS, store, package=site_of.package, palette=site_of.palette)
    assert kept.read() is None
    found = kept.find(chapter)
    assert found
    theirs = asyncio.run(in_jupyter(chapter))
    for part, ours, other in zip(chapter.cells, found[0].outputs, theirs, strict=True):
        if "volatile" in part.options:
            assert [o["output_type"] for o in ours] == [o["output_type"] for o in shown(other)]
        else:
            assert shown(ours) == shown(other), f"{chapter.path}:{part.line}"


GLOBAL = """```python
import os, random
import matplotlib as mpl, numpy as np
mpl.rcParams["font.size"] = 99
np.set_printoptions(precision=1)
np.random.seed(0); random.seed(0)
os.environ["MINE"] = "yes"
import {package}.m
{package}.m.x = 7
```
"""
LOOK = """```python
import os
import matplotlib as mpl, numpy as np
from {package}.m import x
print(mpl.rcParams["font.size"], np.array([1 / 3]), os.environ.get("MINE"), x)
```
"""


def test_no_chapter_changes_another(make_book: MakeBook) -> None:
    """Settings, seeds, the environment, modules: each chapter begins as if it were alone."""
    book = make_book()
    book.module("m", "x = 1\n")
    for number in range(3):
        text = (GLOBAL if number != 1 else LOOK).format(package=book.package)
        book.write(f"{number}.md", text)
    for fork in (True, False):
        woven, errors = weave_book(
            book.docs,
            ["0.md", "1.md", "2.md"],
            book.root / f"cache-{fork}",
            package=book.package,
            fork=fork,
        )
        assert not errors
        assert ">10.0 [0.33333333] None 1</pre>" in unescape(woven["1.md"].markdown)


KINDS = {
    "text": "print('a', flush=True)\nprint('b')\n1 + 1",
    "order": "from IPython.display import display, HTML\nprint(1)\ndisplay({'text/plain': 'x'}, raw=True)\nprint(2)",
    "updates": "from IPython.display import display\nh = display({'text/plain': 'a'}, raw=True, display_id=True)\nh.update({'text/plain': 'b'}, raw=True)\nNone",
    "cleared": "from IPython.display import clear_output\nprint('gone')\nclear_output()\nprint('here')",
    "cleared later": "from IPython.display import clear_output\nprint('gone')\nclear_output(wait=True)\nprint('here')",
    "a shell's line": "!echo hello",
    "a magic": "%%capture said\nprint('hidden')",
    "a path": "from pathlib import Path\nPath('.').resolve().name, __name__, open",
    "await": "import asyncio\nawait asyncio.sleep(0)\n'woken'",
    "an input": "try:\n    input()\nexcept Exception as error:\n    print('nobody answers')",
    "an image": "from PIL import Image\nImage.new('RGB', (2, 2))",
    "a semicolon": "1 + 1;",
    "the last value": "1\n2\n_ = 3\n4",
}


@pytest.mark.parametrize("name", KINDS)
def test_a_cell_shows_what_it_shows_in_jupyter(make_book: MakeBook, name: str) -> None:
    """In a forked process and in a new one."""
    book = make_book(a=f"```python\n{KINDS[name]}\n```\n\n```python\n'next'\n```\n")
    chapter = read_chapter(book.docs / "a.md")
    theirs = [shown(outputs) for outputs in asyncio.run(in_jupyter(chapter))]
    for fork in (True, False):
        ours = run(book, chapter, fork=fork)
        assert [shown(outputs) for outputs in ours] == theirs


def run(book: TinyBook, chapter: Chapter, *, fork: bool) -> list[list[dict[str, Any]]]:
    """The outputs of a chapter in a process of ours."""
    ours: list[Any] = []
    execute = engine.Engine(book.docs, book.root / f"cache-{fork}", package=book.package, fork=fork)
    assert execute.read() is None
    try:
        execute.run([chapter], lambda _, result, __: ours.append(result))
    finally:
        execute.close()
    assert isinstance(ours[0], engine.Result), ours[0]
    return ours[0].outputs


@pytest.mark.parametrize("fork", [True, False])
def test_no_text_is_lost(make_book: MakeBook, fork: bool) -> None:
    """However much comes at once, and of other processes too: Jupyter loses both."""
    many = "for i in range(10_000):\n    print('line', i, flush=True)"
    other = "import subprocess\n_ = subprocess.run(['echo', 'hello'])"
    book = make_book(a=f"```python\n{many}\n```\n\n```python\n{other}\n```\n\n```python\n7\n```\n")
    lines, said, value = run(book, read_chapter(book.docs / "a.md"), fork=fork)
    assert lines[0]["text"].splitlines() == [f"line {i}" for i in range(10_000)]
    assert said[0]["text"] == "hello\n"
    assert value[0]["data"] == {"text/plain": "7"}


@pytest.mark.parametrize("fork", [True, False])
def test_waiting_costs_a_page_nothing(
    make_book: MakeBook, monkeypatch: pytest.MonkeyPatch, fork: bool
) -> None:
    """Its seconds are those of a processor, so a busy machine does not make it dear."""
    book = make_book()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(book.root), str(ROOT / "src")]))
    idle = "import time\n\ntime.sleep(2)"
    busy = (
        "import time\n\nend = time.process_time() + 2\nwhile time.process_time() < end:\n    pass"
    )
    for name, code in (("idle.md", idle), ("busy.md", busy)):
        book.write(name, f"# A page\n\n```python\n{code}\n```\n")
    woven, errors = weave_book(
        book.docs, ["idle.md", "busy.md"], book.root / ".cache", package=book.package, fork=fork
    )
    assert not errors
    assert woven["idle.md"].meta["seconds"] < 1 < woven["busy.md"].meta["seconds"]


def test_a_traceback_tells_no_path_of_this_machine(make_book: MakeBook) -> None:
    """What the notebook keeps of it are the chapter's own lines."""
    book = make_book()
    book.module("m", "def f():\n    raise ValueError('no')\n")
    book.write("a.md", f"```python raises-exception\nfrom {book.package}.m import f\nf()\n```\n")
    woven, errors = book.weave()
    assert not errors
    notebook = woven["a.md"].notebook
    assert notebook
    text = notebook.read_text(encoding="utf-8")
    assert "Cell In[1], line 2" in text
    assert "ValueError: no" in text
    assert str(book.root) not in text
    assert FIGURE not in re.sub(r"\s", "", text)
