"""Nothing of an author's is lost, published, stale or silently left out."""

import re
import shutil
from pathlib import Path

import pytest

from llmbook.weave.__main__ import main
from llmbook.weave.chapter import SUFFIXES, WeaveError, read_chapter
from tests.weave.conftest import MakeBook, TinyBook

CELL = "# A\n\n```python\n6 * 7\n```\n"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def write(book: TinyBook, out: Path) -> int:
    """Weave a book from a shell."""
    cache = str(book.root / "cache")
    command = [str(book.docs), "-o", str(out), "--cache", cache, "--package", book.package]
    try:
        return main(command)
    except SystemExit as ended:  # of an argument that is refused
        return int(str(ended.code))


# --- nothing is lost


@pytest.mark.parametrize("out", ["docs", ".", "docs/../docs", "link", "docs/"])
def test_an_output_that_holds_the_chapters_is_refused(
    make_book: MakeBook, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By any name of the folder; and no file is touched."""
    book = make_book(a=CELL, b="# B\n")
    (book.docs / "p.svg").write_text("<svg/>")
    (book.root / "link").symlink_to(book.docs)
    before = contents(book.docs)
    for _ in range(2):
        assert write(book, book.root / out) == 2
        assert "holds the chapters: name another folder" in capsys.readouterr().err
    assert contents(book.docs) == before


def test_an_output_in_the_folder_of_the_chapters_is_none_of_them(make_book: MakeBook) -> None:
    """It can be written again and again."""
    book = make_book(a=CELL)
    for _ in range(2):
        assert write(book, book.docs / "out") == 0
    assert {str(p.relative_to(book.docs)) for p in book.docs.rglob("*.md")} == {"a.md", "out/a.md"}


@pytest.mark.parametrize("name", ["a.md", "a.ipynb", "p.svg"])
def test_what_weave_has_not_written_is_not_overwritten(make_book: MakeBook, name: str) -> None:
    """Nor what somebody has changed since; what is in nobody's way stays too."""
    book = make_book(a=CELL)
    (book.docs / "p.svg").write_text("<svg/>")
    out = book.root / "out"
    out.mkdir()
    (out / "mine.md").write_text("mine")
    assert write(book, out) == 0
    (out / name).write_text("mine")
    assert write(book, out) == 2
    assert (out / name).read_text() == "mine"
    (out / name).unlink()
    (book.docs / "p.svg").unlink()
    assert write(book, out) == 0
    assert not (out / "p.svg").exists()
    assert (out / "mine.md").read_text() == "mine"


@pytest.mark.parametrize("name", ["index.ipynb", "index-empty.ipynb"])
def test_a_notebook_of_the_authors_is_not_replaced(make_book: MakeBook, name: str) -> None:
    """The chapter beside it says so."""
    book = make_book(index=CELL)
    (book.docs / name).write_text("{}")
    _, errors = book.weave()
    assert [(e.path.name, e.line) for e in errors] == [("index.md", 1)]
    assert f"{name} has the name of this chapter's notebook: rename one" in str(errors[0])


@pytest.mark.parametrize(
    ("cache", "why"),
    [
        (".", "holds the chapters"),
        ("docs", "holds the chapters"),
        ("docs/store", "would be published"),
        ("data", "has files and is no store"),
    ],
)
def test_a_store_is_a_folder_of_its_own(make_book: MakeBook, cache: str, why: str) -> None:
    """What is old in it is deleted, and what has its names is overwritten."""
    book = make_book(index=CELL)
    (book.root / "data").mkdir()
    (book.root / "data/mine.json").write_text("{}")
    settings = (book.root / "mkdocs.yml").read_text()
    (book.root / "mkdocs.yml").write_text(
        settings.replace("llmbook-weave: {", f"llmbook-weave: {{cache: {cache}, ")
    )
    before = contents(book.root)
    status, said = book.build()
    assert (status, why in said) == (1, True)
    assert contents(book.root) == before
    for command in ("-o", "out"):
        arguments = [
            str(book.docs),
            "-o",
            str(book.root / "out"),
            "--cache",
            str(book.root / cache),
        ]
        with pytest.raises(SystemExit):
            main([*arguments, "--package", book.package])
        assert contents(book.root) == before, command


# --- nothing is published before its time


HIDDEN = """
exclude_docs: |
  out/
  wip.md
draft_docs: |
  draft.md
"""


def test_what_readers_do_not_get_is_not_executed(make_book: MakeBook) -> None:
    """Its mistakes fail nothing, and no file of the site holds a word or a number of it."""
    book = make_book(index="# Home\n")
    for name in ("wip.md", "out/deep.md", "draft.md"):
        book.write(name, "# SECRET\n\n```python\nassert 1 == 2, 'SECRET'\n```\n")
    with (book.root / "mkdocs.yml").open("a") as file:
        file.write(HIDDEN)
    status, said = book.build()
    assert (status, "executed" in said) == (0, False)
    for name in ("wip.md", "out/deep.md", "draft.md"):
        book.write(name, "# SECRET\n\n```python\n'SECRET'\n```\n")
    status, said = book.build()
    assert (status, "executed" in said) == (0, False)
    assert not [name for name, content in book.files().items() if b"SECRET" in content]
    out = book.root / "woven"
    assert write(book, out) == 0
    assert not (out / "draft.md").exists()
    assert (out / "wip.md").read_bytes() == (book.docs / "wip.md").read_bytes()


# --- nothing is stale


def test_depends_names_files_that_weave_cannot_see(make_book: MakeBook) -> None:
    """What a program reads: an edit, a new file and one that goes are all seen."""
    cell = "import subprocess\nprint(subprocess.run(['sh', '-c', 'cat *.txt'], capture_output=True, text=True).stdout)"
    book = make_book(a=f'# A\n\n```python depends="*.txt"\n{cell}\n```\n')
    (book.docs / "one.txt").write_text("first")
    assert ">first<" in book.page()
    book.page()
    assert book.executed == []
    (book.docs / "one.txt").write_text("second")
    assert ">second<" in book.page()
    (book.docs / "two.txt").write_text(" and more")
    assert ">second and more<" in book.page()
    (book.docs / "one.txt").unlink()
    assert "> and more<" in book.page()


@pytest.mark.parametrize(
    ("pattern", "why"),
    [("no.csv", "no file is called 'no.csv'"), ("../../*", "outside of the book")],
)
def test_depends_must_name_files_of_the_book(make_book: MakeBook, pattern: str, why: str) -> None:
    """With the line of the cell."""
    book = make_book(a=f'# A\n\n```python depends="{pattern}"\n1\n```\n')
    (book.root.parent / "outside").touch()
    _, errors = book.weave()
    assert [error.line for error in errors] == [3]
    assert why in errors[0].message


def test_a_dirty_build_shows_new_data(make_book: MakeBook) -> None:
    """A page is made from more than its file."""
    book = make_book(index="# A\n\n```python\nprint(open('d.txt').read())\n```\n")
    (book.docs / "d.txt").write_text("first")
    book.build()
    (book.docs / "d.txt").write_text("second")
    from click.testing import CliRunner
    from mkdocs.__main__ import cli

    command = ["build", "--dirty", "-f", str(book.root / "mkdocs.yml")]
    assert CliRunner().invoke(cli, command).exit_code == 0
    assert b">second<" in book.files()["index.html"]


# --- nothing is left out in silence


@pytest.mark.parametrize(
    "fence",
    [
        "Python",
        "python3",
        "PYTHON",
        "{python}",
        "{.python}",
        "{code-cell} python",
        "ipython3",
        "py3",
    ],
)
@pytest.mark.parametrize("indent", ["", "- ", "    ", "> "])
def test_code_that_would_never_run_is_an_error(tmp_path: Path, fence: str, indent: str) -> None:
    """At the margin and in lists, tabs and quotations."""
    path = tmp_path / "a.md"
    path.write_text(f"# A\n\n{indent}```{fence}\n{' ' * len(indent)}1\n{' ' * len(indent)}```\n")
    with pytest.raises(WeaveError, match="never runs") as caught:
        read_chapter(path)
    assert caught.value.line == 3


@pytest.mark.parametrize("fence", ["py", "pycon", "python-traceback", "sh", "pypy", ""])
def test_code_that_is_only_shown_is_none(tmp_path: Path, fence: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(f"# A\n\n```{fence}\n1\n```\n")
    assert read_chapter(path).cells == []


@pytest.mark.parametrize("value", ["`{python}40`", "`{python3} 40`", "`{.python} 40`"])
def test_a_value_that_would_never_be_computed_is_an_error(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.md"
    path.write_text(f"# A\n\nIt is {value}.\n")
    with pytest.raises(WeaveError, match=re.escape("never runs: write `{python} …`")):
        read_chapter(path)


def test_values_in_comments_are_not_computed(tmp_path: Path) -> None:
    """A comment ends where HTML ends it; in code, what looks like one is none."""
    path = tmp_path / "a.md"
    path.write_text(
        "<!-- `{python} a` -->`{python} b`<!--\n`{python} c`\n-->\n\n`<!--` `{python} d` `-->`\n\n<!-- `{python} e`\n"
    )
    assert [part.text for part in read_chapter(path).cells] == ["b", "d", "e"]


def test_code_in_an_included_file_is_an_error(make_book: MakeBook) -> None:
    """It would be shown and never run."""
    book = make_book(index='# A\n\n--8<-- "part.md"\n')
    (book.root / "inc").mkdir()
    settings = (book.root / "mkdocs.yml").read_text()
    snippets = f"{{pymdownx.snippets: {{base_path: {book.root / 'inc'}}}}}"
    (book.root / "mkdocs.yml").write_text(
        settings.replace("[md_in_html", f"[{snippets}, md_in_html")
    )
    for code in ("```python\n1\n```\n", "It is `{python} 1`.\n"):
        (book.root / "inc/part.md").write_text(code)
        status, said = book.build()
        assert status == 1
        assert "index.md:3: code in an included file never runs" in said
    (book.root / "inc/part.md").write_text("```py\n1\n```\n")
    assert book.build()[0] == 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_pages_of_any_suffix_that_mkdocs_knows_are_executed(
    make_book: MakeBook, suffix: str
) -> None:
    book = make_book(index="# Home\n")
    book.write(f"other{suffix}", CELL)
    assert book.build()[0] == 0
    assert b">42<" in book.files()["other/index.html"]


HOOK = """
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

@event_priority({priority})
def on_files(files, config):
    files.append(File.generated(config, "made.md", content={content!r}))
    return files
"""


@pytest.mark.parametrize(("priority", "status"), [(100, 0), (-100, 1)])
def test_a_page_that_another_plugin_makes_is_woven(
    make_book: MakeBook, priority: int, status: int
) -> None:
    """Or, if it comes too late, the build says that its code never runs."""
    book = make_book(index="# Home\n")
    (book.root / "hook.py").write_text(HOOK.format(priority=priority, content=CELL))
    with (book.root / "mkdocs.yml").open("a") as file:
        file.write("hooks: [hook.py]\n")
    assert book.build()[0] == status
    if status == 0:
        assert b">42<" in book.files()["made/index.html"]
    else:
        assert "made.md: its code never runs" in book.build()[1]


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("---\t \ntitle: One\n---  \n# A\n", "One"),
        ("---\ntitle: One\n...\n# A\n", "One"),
        ("title: One\npart: 2\n\n# A\n", "One"),
        ("\ufeff---\r\ntitle: One\r\n---\r\n# A\r\n", "One"),
        ("# A\n\n---\ntitle: no\n---\n", None),
        ("---\n\n# A\n\n---\n", None),
    ],
)
def test_front_matter_is_what_mkdocs_takes_for_it(
    tmp_path: Path, text: str, title: str | None
) -> None:
    """And lines are counted from the top of the file."""
    from mkdocs.utils.meta import get_data

    path = tmp_path / "a.md"
    path.write_bytes(f"{text}\n```python\n1\n```\n".encode())
    plain = path.read_text(encoding="utf-8-sig")
    if title is None and not isinstance(get_data(plain)[1], dict):
        return
    chapter = read_chapter(path) if title else None
    if chapter is None:
        assert get_data(plain)[1] == {}
        return
    assert chapter.meta["title"] == title == get_data(plain)[1]["title"]
    (cell,) = chapter.cells
    assert plain.split("\n")[cell.line - 1] == "```python"


def test_a_name_with_a_space_gives_ids_without(make_book: MakeBook) -> None:
    """An id with one names nothing."""
    cell = "from matplotlib.figure import Figure\nFigure()"
    book = make_book(**{"my chapter": f'# A\n\n```python caption="c" alt="a"\n{cell}\n```\n'})
    ids = re.findall(r'(?:id|aria-labelledby)="([^"]*)"', book.page("my chapter.md"))
    assert ids
    assert not [name for name in ids if " " in name]


def test_a_book_needs_no_package_and_a_package_no_folder(make_book: MakeBook) -> None:
    """Modules beside the book are followed all the same."""
    book = make_book(index="# A\n\n```python\nfrom solo import x\nx\n```\n")
    module = book.root / "solo.py"
    for package in ("", ", solo"):
        settings = (
            "plugins: [llmbook-weave]"
            if not package
            else "plugins: [{llmbook-weave: {package: solo}}]"
        )
        (book.root / "mkdocs.yml").write_text(f"site_name: mine\n{settings}\n")
        for value in (f"'one{package}'", f"'two{package}'"):
            module.write_text(f"x = {value}\n")
            status, said = book.build()
            assert status == 0, said
            assert value.strip("'").encode() in book.files()["index.html"]
    shutil.rmtree(book.root / "site")
