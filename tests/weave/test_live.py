"""Which cells are live, and what runs them in a browser, as far as it runs here."""

import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from llmbook.weave.chapter import read_chapter
from llmbook.weave.live import Reach, live, missing, packed
from llmbook.weave.sources import Package, Sources

MIXED = """
import torch
import numpy as np
from torch import Tensor, nn

EPSILON = 1e-5
ZERO = torch.zeros(1)

def scale(x: Tensor | np.ndarray) -> "Tensor":
    return x / EPSILON

def by_way(x):
    return train(x)

def train(x):
    return x + ZERO

def late():
    from torch.nn import functional
    return functional

class Net(nn.Module):
    size: int = 3
"""


def write(path: Path, text: str) -> Path:
    """A file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reach:
    """Of a package with a module that imports torch, and one that does not."""
    write(tmp_path / "mine/__init__.py", "")
    write(tmp_path / "mine/mixed.py", MIXED)
    write(tmp_path / "mine/pure.py", "from .mixed import scale, train\nfrom . import mixed\n")
    write(tmp_path / "mine/data/a.json", "{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    return Reach(["mine"])


@pytest.mark.parametrize(
    ("cell", "is_live"),
    [
        ("1 + 1", True),
        ("import numpy, json, matplotlib", True),
        ("import torch", False),
        ("import pandas", False),
        ("from IPython.display import Markdown, display", True),
        ("from IPython.display import HTML", False),
        ("from mine.mixed import scale, EPSILON", True),
        ("from mine.mixed import train", False),
        ("from mine.mixed import by_way", False),
        ("from mine.mixed import late", False),
        ("from mine.mixed import Net", False),
        ("from mine.pure import scale", True),
        ("from mine.pure import train", False),
        ("from mine import mixed", False),
        ("import mine.mixed as m", False),
        ("def f():\n    import torch", False),
        ("%timeit 1", False),
        ("from llmbook.weave.store import kept", True),
    ],
)
def test_a_cell_is_live_if_what_it_uses_is_in_browsers(
    tmp_path: Path, reach: Reach, cell: str, is_live: bool
) -> None:
    """What its modules import besides does not matter, nor do annotations."""
    chapter = read_chapter(write(tmp_path / "a.md", f"```python\n{cell}\n```\n"))
    assert bool(live(chapter, reach, ()).cells) == is_live


NAMES = """# A
```python
import torch
x, kept = torch.ones(3), []
```
```python
y = 2
```
`{python} y` and `{python} x`
```python
x + y
```
```python
for x in range(3):
    kept2 = [x for x in range(x)]
```
```python
x
```
```python
torch.save(x, y)
kept2.append(torch)
```
```python at-build
z = 1
```
```python
kept2
```
```python
z
```
"""


def test_a_cell_is_live_if_its_names_come_from_live_cells(tmp_path: Path, reach: Reach) -> None:
    """Until a live cell binds a name anew; a value in a sentence likewise."""
    chapter = read_chapter(write(tmp_path / "a.md", NAMES))
    found = live(chapter, reach, ())
    assert list(found.cells) == [1, 3, 4]
    values = [chapter.parts[index].text for index in found.values]
    assert values == ["y"]
    assert list(found.values.values()) == [1]


def test_a_cell_names_the_libraries_that_its_modules_import(tmp_path: Path, reach: Reach) -> None:
    """And the page the files that it opens."""
    text = "```python\nfrom mine.mixed import EPSILON\n```\n```python\n1\n```\n"
    chapter = read_chapter(write(tmp_path / "a.md", text))
    read = [tmp_path / "mine/data/a.json", tmp_path / "mine/data", tmp_path / "a.md"]
    found = json.loads(live(chapter, reach, read).text("mine.palette"))
    assert [cell["needs"] for cell in found["cells"]] == [["numpy"], []]
    assert found["files"] == ["mine/data/a.json"]
    assert found["palette"] == "mine.palette"


def test_a_package_is_packed_the_same_twice(reach: Reach, tmp_path: Path) -> None:
    """All its modules, and what runs cells; from the store, and in another store; not an old one."""
    one, two = tmp_path / "one", tmp_path / "two"
    first = packed("mine", one)
    names = zipfile.ZipFile(BytesIO(first)).namelist()
    assert packed("mine", one) == packed("mine", two) == first
    assert {"mine/mixed.py", "llmbook/weave/browser.py", "IPython/lib/pretty.py"} <= set(names)
    assert "llmbook/gpt.py" not in names
    mixed = reach.roots["mine"] / "mixed.py"
    mixed.write_text(f"{mixed.read_text()}\nedited = True\n")
    second = packed("mine", one)
    assert b"edited" in zipfile.ZipFile(BytesIO(second)).read("mine/mixed.py")
    assert packed("mine", one) == second != first


def test_missing_is_what_a_package_imports_and_no_browser_has(tmp_path: Path, reach: Reach) -> None:
    """Here torch alone."""
    assert missing(Package("mine", Sources(tmp_path, reach.roots))) == {"torch"}
    assert missing(None) == set()


# A browser's Python has no torch, no jaxtyping and only a little of IPython; so has this process.
STAND_INS = """
import json, sys
from pathlib import Path
for name in ("jaxtyping", "torch"):
    sys.modules.pop(name, None)
from llmbook.weave.browser import Files, Finder, Kernel
sys.meta_path.insert(0, Finder(["torch"]))
heard = []
kernel = Kernel(heard.append, "llmbook.plots.palette", ["torch"])
Files(sys.argv[1], ["a/b.txt"], lambda name: name.encode())
for n, code in enumerate(json.loads(sys.argv[2])):
    failure = json.loads(kernel.run(code, f"Cell {n}"))
    shown = [json.loads(text) for text in heard]
    print(json.dumps([shown, failure]))
    heard.clear()
    if code.startswith("keep"):
        kernel.save()
    if code.startswith("back"):
        print(json.dumps(kernel.restore()))
"""


def shown(folder: Path, *cells: str) -> list[Any]:
    """What cells show in such a process, and how each has failed."""
    command = [sys.executable, "-c", STAND_INS, str(folder), json.dumps(cells)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_browsers_kernel_shows_what_a_notebook_shows(tmp_path: Path) -> None:
    """Text, values in their order, Markdown, and errors with their lines."""
    cells = [
        "print(1)\n2",
        "3;",
        "from IPython.display import Markdown, display\ndisplay(4)\nMarkdown('**5**')",
        "def f():\n    1 / 0\n\nf()",
        "f(\n",
        f"open({str(tmp_path / 'a/b.txt')!r}).read()",
    ]
    printed, silent, rich, failed, wrong, read = shown(tmp_path, *cells)
    *printed, value = printed[0]
    assert "".join(output["text"] for output in printed) == "1\n"
    assert value["data"]["text/plain"] == "2"
    assert silent == [[], None]
    assert rich[0][0]["data"] == {"text/plain": "4"}
    assert rich[0][1]["data"]["text/markdown"] == "**5**"
    assert (failed[1]["ename"], failed[1]["line"]) == ("ZeroDivisionError", 2)
    assert (wrong[1]["ename"], wrong[1]["line"]) == ("SyntaxError", 1)
    assert read[0][0]["data"]["text/plain"] == "'a/b.txt'"


def test_a_missing_library_can_be_named_but_does_nothing(tmp_path: Path) -> None:
    """Modules that subclass, annotate and decorate with it are imported; what calls it says so."""
    cells = [
        "from llmbook.gpt import GPT\nfrom llmbook.privacy import epsilon\nepsilon(0.01, 1.1, 100, 1e-5) > 0",
        "import torch\ntorch.nn.Linear(3, 4)",
    ]
    used, refused = shown(tmp_path, *cells)
    assert used[0][0]["data"]["text/plain"] == "True", used
    assert refused[1]["evalue"].startswith("torch.nn.Linear is not in this page")


def test_names_come_back_with_what_they_stood_for(tmp_path: Path) -> None:
    """A list that was changed, a generator that was drawn from; what cannot be copied, does not."""
    cells = [
        "keep = [1]\nimport random, math\nrng = random.Random(0)",
        "more = keep.append(rng.random())\ndel math",
        "back = 0",
        "keep, rng.random() == random.Random(0).random(), math.pi",
    ]
    *_, restored, after = shown(tmp_path, *cells)
    assert restored is True
    assert after[0][0]["data"]["text/plain"] == "([1], True, 3.141592653589793)"
    *_, restored, _ = shown(tmp_path, "keep = (n for n in 'ab')", "back = 0", "1")
    assert restored is False
