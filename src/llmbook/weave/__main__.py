"""`python -m llmbook.weave docs/ -o DIR`: a book as plain Markdown, with outputs and notebooks."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

try:
    from pathspec import GitIgnoreSpec

    from llmbook.weave.blocks import registered
    from llmbook.weave.book import Woven, weave_book
    from llmbook.weave.chapter import SUFFIXES
    from llmbook.weave.configuration import hidden, read_site
    from llmbook.weave.lab_pages import is_lab
    from llmbook.weave.sources import content_of
    from llmbook.weave.store import NO_ROOM
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing.name} is not installed: pip install 'llmbook[docs]'")

WRITTEN = ".woven"  # what an earlier run has written: the hash of each file, by its name


def main(arguments: list[str] | None = None) -> int:
    """Weave a folder into another; exit status 1 if a chapter has an error.

    What `mkdocs.yml` beside the folder says of the book counts: its package and what it registers.
    Its drafts are left out; pages that it excludes are copied as they are, since others include
    them.
    """
    parser = argparse.ArgumentParser(prog="python -m llmbook.weave", description=__doc__)
    parser.add_argument("docs", type=Path, help="the folder of chapters")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to write")
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache/weave"), help="the store of results"
    )
    parser.add_argument("--package", help="the package that chapters import")
    options = parser.parse_args(arguments)
    docs, out = options.docs, options.out
    if not docs.is_dir():
        parser.error(f"{docs} is not a folder")
    if docs.resolve().is_relative_to(out.resolve()):
        parser.error(f"{out} holds the chapters: name another folder to write, as -o woven")
    try:
        settings = docs.parent / "mkdocs.yml"
        site, (excluded, drafts) = read_site(settings), hidden(settings)
        files = sorted(_files(docs, [out, options.cache], drafts))
        skipped = GitIgnoreSpec.from_lines(excluded.splitlines())
        pages = [
            f
            for f in files
            if (f.endswith(SUFFIXES) or is_lab(f, site.labs)) and not skipped.match_file(f)
        ]
        woven, errors = weave_book(docs, pages, options.cache, package=options.package, site=site)
        executed = {uri for uri, page in woven.items() if page.notebook}
        made = registered(site.blocks).files(executed, options.cache)
        _write(docs, out, [f for f in files if f not in set(pages)], woven, made)
    except FileExistsError as taken:
        parser.error(str(taken))
    except ValueError as wrong:  # of mkdocs.yml, what it names, or an argument
        parser.error(str(wrong))
    except OSError as full:
        print(f"error: {full}: {NO_ROOM}", file=sys.stderr)
        return 1
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return bool(errors)


def _files(docs: Path, without: list[Path], drafts: str) -> Iterator[str]:
    """The files of the book, by their paths in it: not what is written there, and no drafts."""
    left_out = GitIgnoreSpec.from_lines(drafts.splitlines())
    folders = [folder.resolve() for folder in without]
    for file in docs.rglob("*"):
        name = file.relative_to(docs).as_posix()
        place = file.parent.resolve() / file.name
        inside = any(place.is_relative_to(folder) for folder in folders)
        if file.is_file() and not inside and not left_out.match_file(name):
            yield name


def _write(
    docs: Path, out: Path, files: list[str], woven: dict[str, Woven], made: Mapping[str, bytes]
) -> None:
    """Write pages, notebooks, what the book makes and copies; remove what an earlier run wrote.

    Raises:
        FileExistsError: If there is a file in the way that no earlier run has written.
    """
    copies = {file: docs / file for file in files}
    for uri, page in woven.items():
        for notebook in filter(None, (page.notebook, page.empty)):
            copies[Path(uri).with_name(notebook.name).as_posix()] = notebook
    pages = {uri: page.markdown for uri, page in woven.items() if uri.endswith(SUFFIXES)}
    before = _written(out)
    for name in (*copies, *pages, *made):
        if (out / name).exists() and content_of(out / name) != before.get(name):
            raise FileExistsError(
                f"{out / name} is not as weave has written it: move it, or name another folder"
            )
    for name, content in before.items():
        if content_of(out / name) == content:
            (out / name).unlink()
    for name in (*copies, *pages, *made):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
    written: dict[str, str | None] = {}
    try:
        for name, source in copies.items():
            shutil.copyfile(source, out / name)
            written[name] = content_of(out / name)
        for name, text in pages.items():
            (out / name).write_text(text, encoding="utf-8")
            written[name] = content_of(out / name)
        for name, data in made.items():
            (out / name).write_bytes(data)
            written[name] = content_of(out / name)
    finally:
        out.mkdir(parents=True, exist_ok=True)
        (out / WRITTEN).write_text(json.dumps(written, indent=0), encoding="utf-8")


def _written(out: Path) -> dict[str, str]:
    try:
        found = json.loads((out / WRITTEN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


if __name__ == "__main__":
    sys.exit(main())
