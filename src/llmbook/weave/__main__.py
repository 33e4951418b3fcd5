"""`python -m llmbook.weave docs/ -o DIR`: a book as plain Markdown, with outputs and notebooks."""

import argparse
import shutil
import sys
from pathlib import Path

from llmbook.weave.book import weave_book


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
    woven, errors = weave_book(options.docs, pages, options.cache, package=options.package)
    for uri in files:
        target = options.out / uri
        target.parent.mkdir(parents=True, exist_ok=True)
        if uri in woven:
            if uri.endswith(".md"):
                target.write_text(woven[uri].markdown, encoding="utf-8")
            if notebook := woven[uri].notebook:
                shutil.copyfile(notebook, target.with_suffix(".ipynb"))
        elif uri not in pages:
            shutil.copyfile(options.docs / uri, target)
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    return bool(errors)


if __name__ == "__main__":
    sys.exit(main())
