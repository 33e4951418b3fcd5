"""What files mean to a result: a module counts by its code, any other file by its content.

A docstring or a comment of a module changes nothing that it computes, so it changes no key; where
code asks for docstrings (`__doc__`, `help`), the whole text counts.
"""

import ast
import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DOCUMENTATION = {"__doc__", "getdoc", "help"}  # what reads docstrings
ASKS = re.compile(r"__doc__|\bgetdoc\b|\bhelp\(|\bpinfo\b|\w\?\s*$", re.M)  # the same in a cell
KNOWN = "known"  # the folder of the store where it is written what depends on what
INNER = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Assign, ast.Expr)  # shown at home alone
ELSEWHERE = {"site-packages", "dist-packages", "__pycache__", "node_modules"}


def hash_of(content: bytes | str) -> str:
    """The first 96 bits of the SHA-256."""
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()[:24]


def content_of(path: Path) -> str | None:
    """The hash of a file, or of the names in a folder; `None` for what cannot be read."""
    try:
        if path.is_dir():
            return hash_of(json.dumps(sorted(p.name for p in path.iterdir() if is_own(p))))
        return hash_of(path.read_bytes())
    except OSError:
        return None


def is_own(path: Path) -> bool:
    """Whether a path of the book may be an author's: neither hidden, nor made, nor installed."""
    return not any(part.startswith(".") or part in ELSEWHERE for part in path.parts)


@dataclass(frozen=True)
class Module:
    """What is known of a module from its text alone.

    Attributes:
        meaning: A hash of its code without docstrings and comments.
        imports: Full names of all that it imports when it is imported or its functions run;
            of `from a import b` both `a` and `a.b`.
        asks: Whether it reads docstrings.
        computes: Whether it imports modules by names that it computes.
        finds: Whether it has a `__getattr__`, which may import anything for a name it is asked for.
        outline: A hash of what the documentation of other modules shows of it: what it imports,
            its classes and their fields.
    """

    meaning: str
    imports: list[str]
    asks: bool
    computes: bool
    finds: bool
    outline: str


def read_module(text: bytes, package: str) -> Module:
    r"""Analyse a module's text.

    Args:
        text: Python.
        package: The package that the module is in, for its relative imports.

    Raises:
        SyntaxError: If it is no Python.

    Examples:
        >>> one = read_module(b'"Say."\nfrom . import b  # why\n', "a")
        >>> one.imports, one.meaning == read_module(b"from . import b", "a").meaning
        (['a', 'a.b'], True)
    """
    tree = ast.parse(text)
    imports = set()
    computes = asks = finds = False
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__" and node in tree.body:
            finds = True
            continue
        if isinstance(node, ast.If) and _never(node.test):
            todo += node.orelse
            continue
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, (above, node.module)))
            imports |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            computes |= called in {"import_module", "__import__"}
        asks |= getattr(node, "attr", getattr(node, "id", "")) in DOCUMENTATION
        todo += ast.iter_child_nodes(node)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    meaning = hash_of(ast.dump(tree))
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [statement for statement in body if not isinstance(statement, INNER)]
    return Module(meaning, sorted(imports), asks, computes, finds, hash_of(ast.dump(tree)))


def _never(test: ast.expr) -> bool:
    """Whether a condition is false when a module is imported and run by others."""
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING", "__name__ == '__main__'")


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@dataclass
class Sources:
    """The files that results may depend on, each read once.

    Args:
        cache: The store's folder, where analyses are kept too.
        roots: The folders that files are in, by a name of each: results are good in another copy
            of the book too. A file outside of them is none of the book's.
    """

    cache: Path
    roots: Mapping[str, Path]
    _states: dict[str, str | None] = field(default_factory=dict)
    _modules: dict[str, Module] = field(default_factory=dict)
    _new: bool = False

    def name(self, path: Path) -> str | None:
        """A file's name: its root's, and the path there; `None` for none of the book's."""
        within = [(root, where) for root, where in self.roots.items() if path.is_relative_to(where)]
        for root, where in sorted(within, key=lambda item: -len(item[1].parts)):
            inside = path.relative_to(where)
            return f"{root}:{inside.as_posix()}" if is_own(inside) else None
        return None

    def path(self, name: str) -> Path:
        """The file of that name."""
        root, _, inside = name.partition(":")
        return self.roots.get(root, Path("/nowhere")) / inside

    @cached_property
    def _known(self) -> dict[str, Any]:
        try:
            known: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        return known

    @property
    def _file(self) -> Path:
        return self.cache / KNOWN / f"modules-{_MADE_BY}.json"

    def module(self, path: Path, package: str = "") -> Module:
        """What a module's text says; analysed once for each text.

        Raises:
            SyntaxError: If it is no Python, with its file and line.
            OSError: If it cannot be read.
        """
        text = path.read_bytes()
        key = hash_of(package.encode() + b"\0" + text)
        if key not in self._known:
            try:
                self._known[key] = vars(read_module(text, package))
            except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
                line = getattr(error, "lineno", None) or 1
                place = (str(path), line, None, None)
                raise SyntaxError(getattr(error, "msg", str(error)), place) from None
            self._new = True
        return Module(**self._known[key])

    def keep(self) -> None:
        """Write down what was analysed for the first time."""
        from llmbook.weave.store import write_atomically

        if self._new:
            with contextlib.suppress(OSError):  # the store may be read-only
                write_atomically(self._file, json.dumps(self._known))
            self._new = False

    def state(self, names: Iterable[str], *, asks: bool = False) -> list[tuple[str, str | None]]:
        """What some files are now, each as `module root:path` or `file root:path`.

        Args:
            names: Of modules and files.
            asks: Whether docstrings count; they do too if one of the modules asks for them.
        """
        names = sorted(names)
        asks = asks or any(self._module(n).asks for n in names if n.startswith("module "))
        return [(name, self._state(name, asks)) for name in names]

    def _module(self, name: str) -> Module:
        if name not in self._modules:
            try:
                self._modules[name] = self.module(self.path(name.partition(" ")[2]))
            except (OSError, SyntaxError):
                self._modules[name] = Module("", [], False, False, False, "")
        return self._modules[name]

    def _state(self, name: str, asks: bool) -> str | None:
        kind, _, place = name.partition(" ")
        if kind == "module" and not asks:
            return self._module(name).meaning or None
        if place not in self._states:
            self._states[place] = content_of(self.path(place))
        return self._states[place]


_MADE_BY = hash_of(Path(__file__).read_bytes())  # an analysis is of this code's making, too


def package_root(package: str) -> Path:
    """Where a package lies; of a module that is none, its file.

    Raises:
        ValueError: If it cannot be imported.
    """
    spec = find_spec(package)
    if spec is None:
        raise ValueError(f"package {package!r} cannot be imported: install it first")
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(str(spec.origin))


class Package:
    """The modules of a package, and which of them each can lead to.

    Args:
        name: Of a package that can be imported.
        sources: Where its modules are read.

    Raises:
        ValueError: If there is no such package.
        SyntaxError: If one of its modules is no Python.
    """

    def __init__(self, name: str, sources: Sources) -> None:
        self.name, self.root, self.sources = name, package_root(name), sources
        self.files: dict[str, Path] = {}
        folder = self.root if self.root.is_dir() else self.root.parent
        found = sorted(self.root.rglob("*.py")) if self.root.is_dir() else [self.root]
        for file in (f for f in found if f.is_file() and is_own(f.relative_to(folder))):
            parts = file.relative_to(folder).with_suffix("").parts
            parts = (name, *parts) if self.root.is_dir() else (name,)
            self.files[".".join(parts).removesuffix(".__init__")] = file
        self.modules = {
            module: sources.module(file, self._package(module, file))
            for module, file in self.files.items()
        }
        sources.keep()

    @staticmethod
    def _package(module: str, file: Path) -> str:
        return module if file.stem == "__init__" else module.rpartition(".")[0]

    def closure(self, modules: Iterable[str]) -> set[str]:
        """Some modules, their packages, and all that they can import, directly or not.

        The whole package, if one imports others by names that it computes, or asks a package for a
        name that only its `__getattr__` can know.
        """
        found: set[str] = set()
        todo = set(modules)
        while todo:
            module = todo.pop()
            parts = module.split(".")
            above = self.modules.get(module.rpartition(".")[0])
            if module not in self.modules and above and above.finds:
                return set(self.modules)
            todo |= {".".join(parts[:i]) for i in range(1, len(parts))} - found
            if module in self.modules and module not in found:
                found.add(module)
                if self.modules[module].computes:
                    return set(self.modules)
                todo |= set(self.modules[module].imports) - found
        return found

    def data(self, modules: Iterable[str]) -> list[Path]:
        """The data files of the package whose names some modules hold."""
        text = b"".join(self.files[module].read_bytes() for module in modules)
        files = (p for p in self.root.rglob("*") if p.suffix not in {".py", ".pyc"} and p.is_file())
        return sorted(file for file in files if file.name.encode() in text)
