"""Live cells: which cells of a page a reader's browser can run, and the files that it needs.

A cell is live if nothing that it uses, directly or through definitions in modules of the book, is
missing in the browser, and if every name that it takes comes from cells that are live too.
"""

import ast
import contextlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from sys import stdlib_module_names
from typing import Any

from llmbook.weave.chapter import Chapter
from llmbook.weave.sources import ELSEWHERE, KNOWN, Package, hash_of, package_root
from llmbook.weave.store import write_atomically

FOLDER = "assets/live"  # where the site has it all
NO_PYODIDE = f"no Pyodide in {FOLDER}: `python -m llmbook.weave.vendor live` puts it there"
OWN = ("live.js", "cells.js", "live.css", "worker.js")
DRAWS = {"matplotlib", "PIL"}
THERE = {*stdlib_module_names, *DRAWS, "numpy", "jaxtyping"}
SHOWS = {
    *("IPython.display.display", "IPython.display.Markdown"),
    *("llmbook.weave.store.kept", "llmbook.weave.turning.turn"),
}
AT_BUILD = "at-build"  # the option of a cell that no browser shall run
CORE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
LEFT_OUT = re.compile(r"(?m)^ *//.*\n|^ +| // .*$")  # of what each reader loads
KINDS = ("check", "solution", "raises-exception")
KERNEL = (
    *("__init__", "weave/__init__", "weave/browser"),
    *("weave/figures", "weave/palette", "weave/turning"),
)
CHANGES = {
    "add",
    "append",
    "clear",
    "extend",
    "insert",
    "pop",
    "remove",
    "setdefault",
    "sort",
    "update",
}


@dataclass(frozen=True)
class Live:
    """What a browser has to know of a page.

    Attributes:
        cells: Its live cells, each by its number among the page's cells of code.
        values: The numbers of the last cell before each inline value that is live, by its part.
        files: Places of the data that the page opens, below the folder of packages.
    """

    cells: Mapping[int, dict[str, Any]]
    values: Mapping[int, int]
    files: Sequence[str] = ()

    def text(self, palette: str) -> str:
        """The same as the page's script reads it."""
        cells = [{"number": number, **cell} for number, cell in self.cells.items()]
        known = {"palette": palette, "files": self.files, "cells": cells}
        return json.dumps(known, ensure_ascii=False, indent=1) + "\n"


class Reach:
    """What the modules of some packages lead to, in two ways: when imported, and when used.

    A module may import a library that no browser has: there it gets a stand-in. What matters is
    whether that which a cell takes from the module uses the library.

    Args:
        packages: Their names.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self.roots = {name: package_root(name) for name in packages}
        self.modules: dict[str, _Module | None] = {}

    def module(self, name: str) -> "_Module | None":
        """What is known of a module of the packages."""
        if name not in self.modules:
            top, *rest = name.split(".")
            path = self.roots.get(top, Path("/nowhere")).joinpath(*rest)
            tries = (path / "__init__.py", path.with_suffix(".py"))
            file = next((file for file in tries if file.is_file()), None)
            self.modules[name] = _Module(name, file) if file else None
        return self.modules[name]

    def loaded(self, names: Iterable[str]) -> set[str]:
        """The libraries that are imported with some modules, or with what is in them."""
        libraries, found, todo = set(), set(), list(names)
        while todo:
            name = todo.pop()
            if name in found:
                continue
            found.add(name)
            above = name.rpartition(".")[0]
            if name.partition(".")[0] not in self.roots:
                libraries.add(name.partition(".")[0])
                continue
            if above:
                todo.append(above)
            if module := self.module(name):
                todo += module.imports
        return libraries

    def used(self, names: Iterable[str]) -> set[str]:
        """The libraries that some modules use when they run, or what is in modules does."""
        libraries, found, todo = set(), set(), list(names)
        while todo:
            name = todo.pop()
            if name in found:
                continue
            found.add(name)
            above, _, last = name.rpartition(".")
            if name.partition(".")[0] not in self.roots:
                libraries.add(name.partition(".")[0])
            elif module := self.module(name):
                todo += set().union(*module.uses.values())
            elif module := self.module(above):
                todo += module.uses.get(last, ())
        return libraries


class _Module:
    """A module's text: what it imports when it is imported, and what each of its names uses."""

    def __init__(self, name: str, file: Path) -> None:
        package = name if file.stem == "__init__" else name.rpartition(".")[0]
        body = ast.parse(file.read_bytes()).body
        statements = list(_statements(body))
        self.imports = list(_imported(body, package))
        self.uses: dict[str, set[str]] = {}
        bound = {each for node in statements for each in _binds(node)}
        for node in statements:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias, full in _aliases(node, package):
                    self.uses.setdefault(alias, set()).add(full)
                continue
            names, imports = _used(node, package)
            used = {f"{name}.{each}" for each in names & bound} | imports
            for each in _binds(node):
                self.uses.setdefault(each, set()).update(used)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, also within conditions, but not what only type checkers see."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            for inner in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, inner, ()))
        else:
            yield node


def _aliases(node: ast.Import | ast.ImportFrom, package: str = "") -> Iterator[tuple[str, str]]:
    """The names that an import binds, and what they stand for."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield alias.asname or top, alias.name if alias.asname else top
        return
    above = package.rsplit(".", node.level - 1)[0] if node.level else ""
    source = ".".join(filter(None, (above, node.module)))
    for alias in node.names:
        yield alias.asname or alias.name, f"{source}.{alias.name}"


def _binds(node: ast.stmt) -> Iterator[str]:
    """The names that a statement binds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from (name for name, _ in _aliases(node))
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    else:
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                yield each.id


def _used(node: ast.AST, package: str) -> tuple[set[str], set[str]]:
    """The names that a definition uses, but for its annotations, and what it imports itself."""
    names, imports = set(), set()
    todo = [node]
    while todo:
        each = todo.pop()
        if isinstance(each, ast.Name):
            names.add(each.id)
        elif isinstance(each, ast.Import | ast.ImportFrom):
            imports |= {full for _, full in _aliases(each, package)}
        for field, value in ast.iter_fields(each):
            if field not in {"annotation", "returns"}:
                inner = value if isinstance(value, list) else [value]
                todo += (child for child in inner if isinstance(child, ast.AST))
    return names, imports


def _imported(body: Iterable[ast.stmt], package: str = "") -> Iterator[str]:
    """What statements import when they run, by full names, but not what functions in them do."""
    for node in _statements(body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for _, full in _aliases(node, package):
                yield full


def _names(code: str) -> tuple[set[str], set[str], set[str]]:
    """What code takes from what ran before it, what it binds or changes, and what it imports.

    Raises:
        SyntaxError: If it is no Python, which a cell may be.
    """
    takes: set[str] = set()
    leaves: set[str] = set()
    imports: set[str] = set()
    for statement in ast.parse(code).body:
        uses: set[str] = set()
        binds: set[str] = set()
        inner: set[str] = set()
        targets = {
            name
            for node in ast.walk(statement)
            if isinstance(node, ast.comprehension)
            for name in ast.walk(node.target)
        }
        for node in ast.walk(statement):
            if node in targets:
                inner.add(getattr(node, "id", ""))
            elif isinstance(node, ast.Name):
                (uses if isinstance(node.ctx, ast.Load) else binds).add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                binds.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                binds |= set(_binds(node))
                imports |= {full for _, full in _aliases(node)}
            elif isinstance(node, ast.arg):
                inner.add(node.arg)
            elif isinstance(node, ast.Attribute | ast.Subscript) and isinstance(
                node.value, ast.Name
            ):
                stores = not isinstance(node.ctx, ast.Load)
                if stores or getattr(node, "attr", "") in CHANGES:
                    leaves.add(node.value.id)
        within = isinstance(
            statement, ast.For | ast.With | ast.FunctionDef | ast.ClassDef | ast.Try
        )
        takes |= uses - inner - leaves - (binds if within else set())
        leaves |= binds
    return takes, leaves, imports


def live(chapter: Chapter, reach: Reach, read: Iterable[Path]) -> Live:
    """Which cells and values of a page are live, and what they need.

    Args:
        chapter: As it was read.
        reach: Of the packages that it may import.
        read: The files that it opens.
    """
    cells: dict[int, dict[str, Any]] = {}
    values: dict[int, int] = {}
    lost: set[str] = set()  # names that are only known where the page is built
    number = -1
    for index, part in enumerate(chapter.parts):
        if not part.runs:
            continue
        number += part.kind == "cell"
        try:
            takes, leaves, imports = _names(part.text)
        except (SyntaxError, ValueError):  # a magic of IPython's
            lost.add("")
            takes, leaves, imports = {""}, set(), set()
        missing = reach.used(imports - SHOWS) - THERE
        ready = not (takes & lost or missing or AT_BUILD in part.options)
        if part.kind == "inline":
            if ready:
                values[index] = number
            continue
        lost = lost - leaves if ready else lost | leaves
        if ready:
            libraries = reach.loaded(imports)
            needs = ["numpy"] * ("numpy" in libraries) + ["matplotlib"] * bool(DRAWS & libraries)
            kinds = [tag for tag in KINDS if tag in part.options]
            cells[number] = {"code": part.text.rstrip("\n"), "kinds": kinds, "needs": needs}
    places = sorted(_place(file, reach) for file in read if file.is_file()) if cells else []
    return Live(cells, values, [place for place in places if place])


def missing(package: Package | None) -> set[str]:
    """The libraries that a package's modules import, and that no browser has."""
    modules = package.modules.values() if package else ()
    found = {full.partition(".")[0] for module in modules for full in module.imports}
    return found - THERE - {"", "IPython", "mpl_toolkits", package.name if package else ""}


def _place(file: Path, reach: Reach) -> str:
    """Where a package's file lies below the folder of the packages; nothing for other files."""
    for name, root in reach.roots.items():
        if file.is_relative_to(root):
            return f"{name}/{file.relative_to(root).as_posix()}"
    return ""


def known(file: Path | None) -> tuple[set[int], set[str]]:
    """The live cells of a page and the places of its data, from the file that its script reads."""
    if file is None:
        return set(), set()
    found = json.loads(file.read_text(encoding="utf-8"))
    return {cell["number"] for cell in found["cells"]}, set(found["files"])


# --- the files of the site -------------------------------------------------------------------


def packed(package: str | None, cache: Path) -> bytes:
    """All modules of a package, with what runs cells, as a zip: the same for the same files.

    The last one is kept in the store, and ends with the hash of what is in it.
    """
    spec = find_spec("IPython")  # which is not imported so
    assert spec
    found = {"IPython/lib/pretty.py": Path(str(spec.origin)).with_name("lib") / "pretty.py"}
    own = package_root("llmbook")
    found |= {f"llmbook/{name}.py": own / f"{name}.py" for name in KERNEL}
    root = package_root(package) if package else own / "weave/assets"
    for file in root.rglob("*.py"):
        inside = file.relative_to(root)
        if not ELSEWHERE & set(inside.parts):
            found[f"{package}/{inside.as_posix()}"] = file
    content = {name: found[name].read_bytes() for name in sorted(found)}
    key = hash_of(b"".join(b"%s\0%d\0%s" % (n.encode(), len(c), c) for n, c in content.items()))
    last = cache / KNOWN / "live.zip"
    if last.is_file() and (made := last.read_bytes()).endswith(key.encode()):
        return made
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, text in content.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            target.writestr(entry, text, zipfile.ZIP_DEFLATED, 9)
        target.comment = key.encode()
    with contextlib.suppress(OSError):  # the store may be read-only
        write_atomically(last, buffer.getvalue())
    return buffer.getvalue()


def parts(folder: Path, book: int, data: Iterable[str], missing: Iterable[str]) -> str:
    """How many bytes each of the things is that cells load, and what data is there, as JSON.

    Args:
        folder: With Pyodide and its packages, as `llmbook.weave.vendor` makes it.
        book: The bytes of what `packed` gives.
        data: Its places.
        missing: The libraries that modules import and no browser has.
    """
    lock = json.loads((folder / "pyodide-lock.json").read_text(encoding="utf-8"))["packages"]
    wheel = {name: (folder / known["file_name"]).stat().st_size for name, known in lock.items()}
    core = sum((folder / name).stat().st_size for name in CORE)
    draws = sum(size for name, size in wheel.items() if name != "numpy")
    sizes = {"python": core + book, "numpy": wheel["numpy"], "matplotlib": draws}
    return json.dumps({"sizes": sizes, "files": sorted(data), "missing": sorted(missing)})


def own_files() -> dict[str, str]:
    """The scripts and the style of live cells, by name, without comments and indentation."""
    folder = files("llmbook.weave").joinpath("assets/live")
    texts = {name: folder.joinpath(name).read_text(encoding="utf-8") for name in OWN}
    return {name: LEFT_OUT.sub("", text) for name, text in texts.items()}
