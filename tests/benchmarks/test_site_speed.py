"""Builds of the book against MkDocs alone, mkdocs-jupyter alone, and Sphinx with myst-nb.

`finished` is what weave hands to MkDocs: the pages with their outputs, drawings and notebooks. So
MkDocs alone has the same work left, with the same theme, plugins and extensions.
"""

import gzip
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from llmbook.weave.__main__ import main as write_woven
from llmbook.weave.book import weave_book
from tests.benchmarks.conftest import Compare, CompareEach
from tests.book import DOCS, PARTS, ROOT, chapters, nav_text

CACHE = ROOT / ".cache/weave"
WEAVE = r"  - llmbook-weave:\n((?:      .*\n)+)"
OURS = rf"  - llmbook-weave:\n      cache: {CACHE}\n\1"
# How many times as fast we must be: by what has changed before a build, with a sentence under
# `serve`, with 200 chapters and nothing to do; as Sphinx; and a chapter of many as one of few.
BUILDS = {"nothing": 1 / 0.08, "title": 1 / 0.2, "docstring": 1 / 0.2, "cell": 1 / 0.25}
EDIT, MANY, AS_SPHINX, CHAPTER = 1 / 0.1, 1 / 0.15, 1 / 0.7, 0.9


@pytest.fixture(autouse=True)
def _only_when_timing(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("benchmark_enable"):
        pytest.skip("builds books for minutes: `make bench` does")


def configuration(folder: Path, weave: str, *, whole: bool = True, jupyter: str = "") -> Path:
    """The book's `mkdocs.yml` for another folder; without the API and the labs unless whole."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    changes = (
        [(r"\[src\]", f"[{ROOT / 'src'}]")]
        if whole
        else [
            (re.escape(nav_text()), ""),
            (r"      labs: .*\n", ""),
            (r"  - mkdocs-jupyter:.*\n", jupyter),
            (r"  - autorefs\n", ""),
            # a page that has said a warning is made again, and here many links lead to pages left out
            (
                r"validation:\n(?:  .*\n)+",
                "validation: {links: {not_found: info, anchors: info}}\n",
            ),
            (r"  - mkdocstrings:\n(?:      .*\n)+", ""),
        ]
    )
    changes.append((WEAVE, weave))
    for pattern, new in changes:
        text, count = re.subn(pattern, new, text)
        assert count == 1, f"mkdocs.yml has {count} times what {pattern!r} finds"
    path = folder / "mkdocs.yml"
    path.write_text(text, encoding="utf-8")
    return path


def run(*command: object, folder: Path) -> None:
    """A command of Python's that must succeed; what it says is shown when it does not.

    It keeps its bytecode, as Python does where nobody forbids it: what is installed is compiled,
    and a checkout should not be compiled in each run.
    """
    words = [sys.executable, "-m", *map(str, command)]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def both(root: Path, docs: Path, *, whole: bool = True) -> tuple[Path, Path]:
    """A folder with the sources and weave, and one with the finished Markdown and without."""
    ours, plain = root / "ours", root / "plain"
    shutil.copytree(docs, ours / "docs")
    configuration(ours, OURS, whole=whole)  # weave reads it too: what the book registers
    assert write_woven([str(ours / "docs"), "-o", str(plain / "docs"), "--cache", str(CACHE)]) == 0
    configuration(plain, "", whole=whole)
    return ours, plain


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The whole book, with weave and finished."""
    return both(tmp_path_factory.mktemp("book"), DOCS)


def test_builds(compare_each: CompareEach, book: tuple[Path, Path]) -> None:
    """All that `make site` does, by what has changed before, against MkDocs on the finished book.

    Nothing; a page's title, which the navigation of every page shows; a docstring of the package,
    which one page shows; and a cell of a chapter that computes next to nothing.
    """
    ours, plain = book
    numbers = count()
    page, quick = ours / "docs/challenges/privacy.md", ours / "docs/challenges/future.md"
    module = ROOT / "src/llmbook/emissions.py"
    documented = module.read_text(encoding="utf-8")

    def make_site() -> None:
        run("llmbook.pretrained", folder=ours)
        run("mkdocs", "build", "--strict", folder=ours)

    def title() -> None:
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r"(?m)^title: .*", f"title: Privacy {next(numbers)}", text), "utf-8")
        make_site()

    def docstring() -> None:
        text = documented.replace('    """', f'    """Edit {next(numbers)}. ', 1)
        module.write_text(text, encoding="utf-8")
        make_site()

    def cell() -> None:
        text = quick.read_text(encoding="utf-8")
        edited = re.sub(r"(```python.*\n)(\d+\n)?", rf"\g<1>{next(numbers)}\n", text, count=1)
        assert edited != text
        quick.write_text(edited, encoding="utf-8")
        make_site()

    builds = {"nothing": make_site, "title": title, "docstring": docstring, "cell": cell}
    try:
        ratios = compare_each(builds, lambda: run("mkdocs", "build", "--strict", folder=plain), 5)
    finally:
        module.write_text(documented, encoding="utf-8")
    slow = {name: ratio for name, ratio in ratios.items() if ratio < BUILDS[name]}
    assert not slow


def _answers(address: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(address):
        return True
    return False


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """`mkdocs serve` and its address, once it answers: what is saved before, nobody watches."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "mkdocs", "serve", "--quiet", "--dev-addr", address]
    process = subprocess.Popen(command, cwd=folder)
    try:
        while not _answers(f"http://{address}/llmbook/"):
            assert process.poll() is None
            time.sleep(0.2)
        yield f"http://{address}/llmbook/"
    finally:
        process.terminate()
        process.wait()


def test_prose_edit(compare: Compare, book: tuple[Path, Path]) -> None:
    """From saving a page under `mkdocs serve` until a reader gets it."""
    page, edits = "transformer/self-attention", iter(range(1000))

    def edit(folder: Path, address: str) -> None:
        said = f"Edit {next(edits)} of this page."
        with (folder / f"docs/{page}.md").open("a", encoding="utf-8") as file:
            file.write(f"\n{said}\n")
        give_up = time.monotonic() + 300
        while time.monotonic() < give_up:
            with suppress(OSError), urllib.request.urlopen(f"{address}{page}/") as answer:
                if said in answer.read().decode():
                    return
            time.sleep(0.05)
        raise AssertionError(f"{folder} never shows {said!r}")

    ours, plain = book
    with served(ours) as here, served(plain) as there:
        assert compare(lambda: edit(ours, here), lambda: edit(plain, there), 5) >= EDIT


def generated(root: Path, count: int) -> Path:
    """A book of some chapters, which differ in their prose and share one result in the store."""
    docs = root / f"generated-{count}"
    for folder in ("assets", "overrides"):
        shutil.copytree(DOCS / folder, docs / folder)
    shutil.copy(DOCS / "abbreviations.md", docs)
    text = (DOCS / "challenges/privacy.md").read_text(encoding="utf-8")
    text = re.sub(
        r"\[([^\]]+)\](\[[a-z]+\d{4}\w+\]|\([\w./-]+\.\w+[^)]*\))", r"\1", text
    )  # other pages
    text = re.sub(r"(?ms)^```correction\n.*?^```\n", "", text)
    for number in range(count):
        name = "index" if number == 0 else f"chapter-{number:03}"
        (docs / f"{name}.md").write_text(f"{text}\nThis is chapter {number:03}.\n", "utf-8")
    return docs


@pytest.mark.parametrize(("count", "pairs"), [(10, 15), (200, 3)])
def test_no_op_build_of_generated_chapters(
    compare: Compare, tmp_path: Path, count: int, pairs: int
) -> None:
    """A small and a large book against MkDocs on the same, finished."""
    ours, plain = both(tmp_path, generated(tmp_path, count), whole=False)
    build = ("mkdocs", "build", "--strict")
    ratio = compare(lambda: run(*build, folder=ours), lambda: run(*build, folder=plain), pairs)
    assert ratio >= (MANY if count == 200 else 1)


def test_unchanged_chapter_in_a_long_book(compare: Compare, tmp_path: Path) -> None:
    """What weave alone takes for 200 chapters, against twenty times ten."""
    long, short = generated(tmp_path, 200), generated(tmp_path, 10)

    def weave(docs: Path, times: int) -> None:
        for _ in range(times):
            pages = [page.name for page in docs.glob("[ic]*.md")]
            _, errors = weave_book(docs, pages, CACHE)
            assert not errors

    assert compare(lambda: weave(long, 1), lambda: weave(short, 20)) >= CHAPTER


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The chapters of the four parts: as sources for weave, and as executed notebooks."""
    root = tmp_path_factory.mktemp("parts")
    docs = root / "docs"
    for folder in (*PARTS, "assets", "overrides", "data"):
        shutil.copytree(DOCS / folder, docs / folder)
    for file in ("index.md", "abbreviations.md", "references.bib"):
        shutil.copy(DOCS / file, docs)
    ours, finished = both(root, docs, whole=False)
    notebooks = root / "notebooks"
    for folder in ("assets", "overrides"):
        shutil.copytree(DOCS / folder, notebooks / "docs" / folder)
    shutil.copy(DOCS / "abbreviations.md", notebooks / "docs")
    for chapter in chapters():
        name = chapter.relative_to(DOCS).with_suffix(".ipynb")
        if (finished / "docs" / name).exists():
            (notebooks / "docs" / name).parent.mkdir(exist_ok=True)
            shutil.copy(finished / "docs" / name, notebooks / "docs" / name)
        else:
            (ours / "docs" / name.with_suffix(".md")).unlink()
    return ours, notebooks


def weight(site: Path) -> float:
    """Kilobytes of compressed HTML in a page of the four parts, on average."""
    pages = [page for part in PARTS for page in (site / part).rglob("*.html")]
    return sum(len(gzip.compress(page.read_bytes())) for page in pages) / len(pages) / 1000


def against(
    compare: Compare, capsys: pytest.CaptureFixture[str], ours: Path, theirs: Path, *build: str
) -> float:
    """Compare warm builds and the weight of their pages; how many times as fast ours is."""
    ratio = compare(
        lambda: run("mkdocs", "build", folder=ours), lambda: run(*build, folder=theirs), 5
    )
    here, there = weight(ours / "site"), weight(theirs / "site")
    with capsys.disabled():
        print(f"\n{here:.1f} kB of compressed HTML in a page of ours, {there:.1f} in theirs")
    assert here <= 30
    return ratio


def test_no_op_build_against_mkdocs_jupyter(
    compare: Compare, parts: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The chapters as executed notebooks, in the same theme; its cache is warm."""
    ours, notebooks = parts
    configuration(notebooks, "", whole=False, jupyter="  - mkdocs-jupyter: {execute: false}\n")
    against(compare, capsys, ours, notebooks, "mkdocs", "build")


SPHINX = f"""
project = "llmbook"
extensions = ["myst_nb"]
nb_execution_mode = "off"
include_patterns = ["index.rst", {", ".join(f'"{part}/*.ipynb"' for part in PARTS)}]
"""
INDEX = "llmbook\n=======\n\n.. toctree::\n   :glob:\n\n" + "".join(
    f"   {part}/*\n" for part in PARTS
)


def test_no_op_build_against_sphinx(
    compare: Compare,
    parts: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The same notebooks in Sphinx and its own theme; it reads again only what has changed."""
    pytest.importorskip("myst_nb", reason="not installed: `make bench` installs the extra `bench`")
    ours, notebooks = parts
    shutil.copytree(notebooks / "docs", tmp_path / "docs")
    (tmp_path / "docs/conf.py").write_text(SPHINX, encoding="utf-8")
    (tmp_path / "docs/index.rst").write_text(INDEX, encoding="utf-8")
    assert (
        against(compare, capsys, ours, tmp_path, "sphinx", "--quiet", "docs", "site") >= AS_SPHINX
    )
