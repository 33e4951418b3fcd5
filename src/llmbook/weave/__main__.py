"""`python -m llmbook.weave docs/ -o DIR`: a book as plain Markdown, with outputs and notebooks."""

import argparse
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from llmbook.weave.book import Woven, weave_book
from llmbook.weave.store import NO_ROOM


def main(arguments: list[str] | None = None) -> int:
    """Weave a folder into another; exit status 1 if a chapter has an error."""
    parser = argparse.ArgumentParser(prog="python -m llmbook.weave", description=__doc__)
    parser.add_argument("docs", type=Path, help="the folder of chapters")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the folder to write")
    parser.add_argument(
        "--cache", type=Path, default=Path(".cache/weave"), help="the store of results"
    )
    parser.add_argument("--package", default="llmbook", help="the package that chapters import")
    options = parser.parse_args(arguments)
    if not options.docs.is_dir():
        parser.error(f"{options.docs} is not a folder")
    files = sorted(
        f.relative_to(options.docs).as_posix() for f in options.docs.rglob("*") if f.is_file()
    )
    pages = [f for f in files if f.endswith(".md") or (f.startswith("labs/") and f.endswith(".py"))]
    try:
        woven, errors = weave_book(options.docs, pages, options.cache, package=options.package)
        _write(options.docs, options.out, set(files) - set(pages), woven)
    except OSError as full:
        print(f"error: {full}: {NO_ROOM}", file=sys.stderr)
        return 1
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return bool(errors)


def _write(docs: Path, out: Path, files: Iterable[str], woven: dict[str, Woven]) -> None:
    """Write pages, notebooks and copies of other files, and remove what an earlier run wrote."""
    copies = {file: docs / file for file in files}
    for uri, page in woven.items():
        for notebook in filter(None, (page.notebook, page.empty)):
            copies[Path(uri).with_name(notebook.name).as_posix()] = notebook
    pages = {uri: page.markdown for uri, page in woven.items() if uri.endswith(".md")}
    written = out / ".woven"
    for name in written.read_text(encoding="utf-8").splitlines() if written.exists() else []:
        (out / name).unlink(missing_ok=True)
    for name in (*copies, *pages):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
    written.write_text("\n".join([*copies, *pages]), encoding="utf-8")
    for name, source in copies.items():
        shutil.copyfile(source, out / name)
    for name, text in pages.items():
        (out / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
