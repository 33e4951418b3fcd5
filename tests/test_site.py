"""The built site as files: strict, small, complete; and what the plugin does with a tiny one."""

import gzip
import json
import logging
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from llmbook.weave.book import weave_book
from tests.book import DOCS, PARTS, ROOT, chapters, nav
from tests.conftest import build_book
from tests.weave.test_killed import LONG


def test_pages_have_at_most_30_kb_of_compressed_html_on_average(site: Path) -> None:
    """What a reader on a slow line waits for: of all pages, and of the chapters alone."""
    for folders in ([site], [site / part for part in PARTS]):
        pages = [page for folder in folders for page in folder.rglob("*.html")]
        assert len(pages) > 30
        sizes = [len(gzip.compress(page.read_bytes())) for page in pages]
        assert sum(sizes) / len(sizes) <= 30_000


def test_the_site_offers_its_notebooks_and_its_inventory(site: Path) -> None:
    """Each chapter that has cells links an executed notebook that is there."""
    assert (site / "objects.inv").stat().st_size > 200
    with_cells = [
        path
        for path in chapters()
        if re.search(r"(?m)^```python(?! listing)", path.read_text("utf-8"))
    ]
    assert len(with_cells) > 20
    for path in with_cells:
        page = site / path.relative_to(DOCS).with_suffix("") / "index.html"
        page = page if page.exists() else site / path.parent.relative_to(DOCS) / "index.html"
        link = re.search(r'<a href="([^"]+\.ipynb)" download', page.read_text("utf-8"))
        assert link, path
        assert (page.parent / link[1]).resolve().is_file(), (path, link[1])


def test_a_notebook_opens_elsewhere_and_installs_the_book_there(site: Path) -> None:
    """Each from the branch that the publishing job fills with the empty ones, whose first cell does nothing here."""
    addresses = re.findall(r"(?m)^    (?:Colab|Binder): *(\S+)", (ROOT / "mkdocs.yml").read_text())
    assert len(addresses) == 2
    links = {
        str(link["href"])
        for page in site.rglob("*.html")
        for link in BeautifulSoup(page.read_text("utf-8"), "html.parser").select("a[href]")
    }
    install = load_config(str(ROOT / "mkdocs.yml")).plugins["llmbook-weave"].config["install"]
    for address in addresses:
        opened = [link.removeprefix(address) for link in links if link.startswith(address)]
        assert len(opened) > 50
        for name in opened:
            first = json.loads((site / name).read_text("utf-8"))["cells"][0]["source"]
            assert all(repr(argument) in first for argument in shlex.split(install))
            exec(compile(first, name, "exec"), {})  # the book is here
    job = (ROOT / ".github/workflows/pages.yml").read_text(encoding="utf-8")
    assert all(argument in job for argument in shlex.split(install))


HEAVY = """
import sys
from pathlib import Path
from tests.conftest import build_book

build_book(Path(sys.argv[1]), cache=sys.argv[2])
heavy = "torch matplotlib numpy IPython nbclient nbconvert grimp jupytext bs4 pybtex py_mini_racer"
print([n for n in heavy.split() if type(sys.modules.get(n)).__name__ == "module"])
"""


def test_a_build_with_nothing_to_do_imports_nothing_heavy(site: Path, tmp_path: Path) -> None:
    """Neither what chapters need, nor what makes labs, formulas and references.

    griffe alone is there: mkdocstrings imports it whenever it starts.
    """
    shutil.copytree(ROOT / ".cache/weave", tmp_path / "cache")  # which no other test changes
    command = [sys.executable, "-c", HEAVY, str(tmp_path / "site"), str(tmp_path / "cache")]
    for _ in range(2):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_moved_api_pages_lead_to_where_they_are(site: Path) -> None:
    """With a script to the same name there, without to the page."""
    moved = sorted(DOCS.glob("api/*/index.html"))
    assert len(moved) == 16
    for path in moved:
        page = BeautifulSoup((site / path.relative_to(DOCS)).read_bytes(), "html.parser")
        html, link = page.select_one("html"), page.select_one("link[rel=canonical]")
        assert html
        assert link
        target = (site / path.parent.relative_to(DOCS) / str(link["href"])).resolve()
        text = (target / "index.html").read_text(encoding="utf-8")
        assert f'id="{html["data-new"]}' in text
        assert page.select("noscript meta[http-equiv=refresh]")
        assert str(html["data-old"]).rpartition(".")[2] == path.parent.name


def test_nothing_of_the_books_machinery_is_published(site: Path) -> None:
    """Templates, data and sources stay at home."""
    names = {path.relative_to(site).parts[0] for path in site.iterdir()}
    assert not names & {"overrides", "data", "references.bib", "abbreviations"}


def test_a_second_build_executes_nothing(site: Path) -> None:
    """Everything comes from the store."""
    executed: list[str] = []
    sources = [page.replace(".ipynb", ".py") for page in nav()]
    _, errors = weave_book(DOCS, sources, ROOT / ".cache/weave", report=executed.append)
    assert not errors
    assert executed == []


@pytest.mark.skipif(not LONG, reason="executes the whole book: LLMBOOK_LONG=1 runs it")
def test_two_cold_builds_of_one_state_are_the_same(site: Path, tmp_path: Path) -> None:
    """Byte for byte, but for what is marked as volatile: pages, notebooks, search, inventory."""
    fresh = build_book(tmp_path / "site", cache=str(tmp_path / "cache"))
    names = {path.relative_to(site) for path in site.rglob("*") if path.is_file()}
    assert names == {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
    assert [name for name in names if lasting(site / name) != lasting(fresh / name)] == []


def lasting(path: Path) -> bytes:
    """A file of the site without its volatile elements."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if b" data-volatile" not in content:
        return content
    page = BeautifulSoup(content, "html.parser")
    for element in page.select("[data-volatile]"):
        element.decompose()
    return page.encode()


TINY = """
site_name: tiny
theme: {name: mkdocs}
plugins: [llmbook-weave]
markdown_extensions: [md_in_html, attr_list]
"""


def build_tiny(root: Path, text: str, *, config: str = TINY) -> Path:
    """A site of one page."""
    (root / "docs").mkdir(exist_ok=True)
    (root / "docs/index.md").write_text(text, encoding="utf-8")
    (root / "mkdocs.yml").write_text(config, encoding="utf-8")
    loaded = load_config(str(root / "mkdocs.yml"), strict=True)
    loaded.plugins.run_event("startup", command="build", dirty=False)
    build(loaded)
    return root / "site/index.html"


def test_the_plugin_weaves_a_page(tmp_path: Path) -> None:
    """The output is in the built HTML, the notebook beside it."""
    page = build_tiny(tmp_path, "# A\n\n```python\n6 * 7\n```\n")
    assert ">42<" in page.read_text(encoding="utf-8")
    assert (tmp_path / "site/index.ipynb").is_file()


LAB = """# %% [markdown]
# # A lab
#
# Divide by $\\sqrt{d}$, as [the page](../index.md) says.

# %% tags=["exercise"]
x = ...

# %% tags=["solution"]
x = 6 * 7
print("<", x)

# %% tags=["raises-exception"]
1 / 0
"""


@pytest.mark.parametrize(
    "site", ["", "site_url: https://example.org/tiny/\n"], ids=["", "site_url"]
)
def test_a_lab_page_has_the_markup_of_a_chapter(tmp_path: Path, site: str) -> None:
    """Cells, folded solutions and formulas; nothing inlined, nothing fetched from elsewhere."""
    (tmp_path / "docs/labs").mkdir(parents=True)
    (tmp_path / "docs/labs/one-lab.py").write_text(LAB, encoding="utf-8")
    jupyter = "[{llmbook-weave: {labs: labs/*.py}}, {mkdocs-jupyter: {include: ['labs/*'], execute: false, ignore: ['*-empty.ipynb']}}]"
    build_tiny(tmp_path, "# Home\n", config=site + TINY.replace("[llmbook-weave]", jupyter))
    page = (tmp_path / "site/labs/one-lab/index.html").read_text(encoding="utf-8")
    lab = page[page.index("<h1") : page.index("ZeroDivisionError") + 60]
    assert '<details class="solution"><summary>Solution</summary><div class="cell">' in lab
    assert '<div class="output"><pre tabindex="0">&lt; 42</pre></div>' in lab
    assert '<div class="output fails"><pre tabindex="0">ZeroDivisionError: division by zero' in lab
    assert "katex-mathml" in lab
    assert 'href="../../index' in lab or 'href="../../"' in lab
    assert not re.search(r"jp-|<style|<script|In \[|clipboard", lab)
    assert not re.search(r"https?://(?!www\.w3\.org)", lab)
    empty = (tmp_path / "site/labs/one-lab-empty.ipynb").read_text(encoding="utf-8")
    assert "6 * 7" not in empty
    assert "x = ..." in empty


def test_a_failing_cell_fails_the_strict_build_with_file_and_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the place, and the build is aborted."""
    with caplog.at_level(logging.ERROR), pytest.raises(Abort):
        build_tiny(tmp_path, "# A\n\n```python\nx = 1\n1 / 0\n```\n")
    assert re.search(r"index\.md:5: ZeroDivisionError", caplog.text)
