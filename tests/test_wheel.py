"""The wheel, installed into an empty environment: it imports, weaves, and serves a foreign book."""

import os
import subprocess
import sys
import sysconfig
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

from llmbook.weave.chapter import read_chapter
from tests.book import ROOT

CHAPTER = "# A\n\n```python\nfrom mine.m import x\nx * 7\n```\n"
CONFIG = "site_name: mine\ntheme: {name: mkdocs}\nplugins: [{llmbook-weave: {package: mine}}]\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it would be published."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment that holds the wheel; what it depends on it finds where the tests do."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", vars=paths))
    with zipfile.ZipFile(wheel) as files:  # all that pip does for a wheel without scripts
        files.extractall(packages)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    scripts = Path(sysconfig.get_path("scripts", vars=paths))
    return str(scripts / ("python.exe" if os.name == "nt" else "python"))


def run(python: str, *command: str, folder: Path) -> str:
    """What a command says that must succeed."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**clean, "PYTHONPATH": str(folder), "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [python, *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A book of someone else's, with a package of its own."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/__init__.py").touch()
    (tmp_path / "mine/m.py").write_text("x = 6\n", encoding="utf-8")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text(CHAPTER, encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def test_the_wheel_holds_all_that_the_package_reads(wheel: Path) -> None:
    """Data, fonts, drawings and scripts, and nothing of the book or of the tests."""
    names = zipfile.ZipFile(wheel).namelist()
    package = ROOT / "src/llmbook"
    ours = {
        path.relative_to(ROOT / "src").as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert ours <= set(names)
    assert all(name.startswith(("llmbook/", "llmbook-")) for name in names)


def test_the_wheel_is_what_is_imported(python: str, tmp_path: Path) -> None:
    """With its version, and without what is heavy."""
    code = (
        "import sys, llmbook; print(llmbook.__version__, llmbook.__file__, 'torch' in sys.modules)"
    )
    version, file, torch = run(python, "-c", code, folder=tmp_path).split()
    assert version == "0.1.0"
    assert str(ROOT / "src") not in file
    assert torch == "False"


def test_what_needs_no_torch_does_not_wait_for_it(python: str, tmp_path: Path) -> None:
    """As *Use it in your own project* says, of attention in NumPy and of the tokenizer."""
    code = "import sys, llmbook.numpy_attention, llmbook.tokenizers; print('torch' in sys.modules)"
    assert run(python, "-c", code, folder=tmp_path).strip() == "False"


@pytest.mark.model
def test_the_page_on_the_library_runs_with_the_wheel(python: str, tmp_path: Path) -> None:
    """All of its cells, in an empty folder; one of them fails, as it should."""
    parts = read_chapter(ROOT / "docs/library.md").parts
    cells = [part for part in parts if part.kind == "cell"]
    code = [
        f"try:\n{textwrap.indent(cell.text, '    ')}\nexcept ValueError as error:\n    print(error)\nelse:\n    assert False"
        if "raises-exception" in cell.options
        else cell.text
        for cell in cells
    ]
    assert len(code) > 6
    said = run(python, "-c", "\n".join(code), folder=tmp_path)
    assert "Paris" in said
    assert "num_heads must divide d_model, got d_model=32 and num_heads=5" in said


def test_the_wheel_weaves_a_foreign_book(python: str, foreign: Path) -> None:
    """By its command."""
    run(python, "-m", "llmbook.weave", "docs", "-o", "out", "--package", "mine", folder=foreign)
    assert ">42<" in (foreign / "out/index.md").read_text(encoding="utf-8")


def test_the_wheel_is_a_plugin_of_mkdocs(python: str, foreign: Path) -> None:
    """Of a book with an ordinary theme; a second build keeps what the first has made."""
    for _ in range(2):
        run(python, "-m", "mkdocs", "build", "--strict", folder=foreign)
        assert ">42<" in (foreign / "site/index.html").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="the lines are for a POSIX shell")
def test_the_documentation_starts_a_book_of_ones_own(python: str, tmp_path: Path) -> None:
    """Its lines, in an empty folder; what is installed is the wheel, and the server is not begun."""
    page = (ROOT / "docs/api/weave.md").read_text(encoding="utf-8")
    lines = page.partition("```sh\n")[2].partition("\n```")[0].splitlines()
    assert len(lines) == 10
    done = [line for line in lines if not line.startswith("pip ") and not line.endswith(" serve")]
    assert len(done) == 8
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    command = ["sh", "-ec", "\n".join(done)]
    found = subprocess.run(
        command, cwd=tmp_path, env={**clean, "PATH": path}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert ">12<" in found.stdout
    assert (tmp_path / "mybook/site/index.ipynb").is_file()
    assert (tmp_path / "mybook/site/assets/weave.css").is_file()


def test_a_foreign_book_with_nothing_to_do_imports_nothing_heavy(
    python: str, foreign: Path
) -> None:
    """Neither what draws nor what computes, though weave adds its style sheet."""
    run(python, "-m", "mkdocs", "build", folder=foreign)
    code = (
        "import sys; from mkdocs.__main__ import cli; cli(['build', '--quiet'], standalone_mode=False);"
        "print(*{'matplotlib', 'numpy', 'torch', 'IPython'} & set(sys.modules))"
    )
    assert run(python, "-c", code, folder=foreign).strip() == ""


def test_without_its_extra_weave_says_what_to_install(tmp_path: Path) -> None:
    """Not the name of a module that a reader has never heard of."""
    (tmp_path / "docs").mkdir()
    hide = "import sys; sys.modules['yaml'] = None; sys.argv[1:] = ['docs', '-o', 'out']"
    start = f"{hide}; import runpy; runpy.run_module('llmbook.weave', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", start], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "error: yaml is not installed: pip install 'llmbook[docs]'\n"
