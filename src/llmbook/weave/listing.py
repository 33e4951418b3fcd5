"""Source of the package as a page shows it: a function or a class, without its docstring."""

import ast
import difflib
import re
import textwrap
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from llmbook.weave.chapter import Chapter, Part, WeaveError, read_text


def listing(name: str, code: str) -> str:
    """The source of an object as a piece of the page, under its name, which leads to its API."""
    shown_name = name.replace(".", ".<wbr>")  # on a phone it breaks between its parts
    link = f'<autoref identifier="{name}" optional><code>{shown_name}</code></autoref>'
    bar = f'<div class="listing-bar">{link}<span>source</span></div>'
    shown = fenced(code, "python")
    return f'<div class="listing" markdown="1">\n{bar}\n\n{shown}\n</div>\n\n'


def fenced(code: str, language: str) -> str:
    """Code in a fence that is longer than any in it."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}{fence}\n"


def source(chapter: Chapter, part: Part) -> str:
    """The source of the object that a cell names, without docstrings; nothing is imported.

    Args:
        chapter: For the place of an error.
        part: The cell; its option `listing` is the full name of the object.

    Returns:
        Python.

    Raises:
        WeaveError: If the package has no such object, or its module is no Python.
    """
    name = part.options["listing"]
    missing = f"listing: {name!r} is not in the package"
    try:
        file, inside = module_of(name)
    except (ImportError, ValueError):
        raise WeaveError(chapter.path, part.line, missing) from None
    text = read_text(file)
    try:
        objects = dict(_objects(ast.parse(text).body))
    except SyntaxError as error:
        why = f"{error.msg}: {name!r} cannot be listed until this module is mended"
        raise WeaveError(file, error.lineno or 1, why) from None
    if inside not in objects:
        hint = _hint(name.removesuffix(inside), inside, objects, file)
        raise WeaveError(chapter.path, part.line, f"{missing}{hint}")
    node = objects[inside]
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    lines = text.split("\n")[first - 1 : node.end_lineno]
    return _without_docstring(textwrap.dedent("".join(f"{line}\n" for line in lines)))


def module_of(name: str) -> tuple[Path, str]:
    """The file of the module that an object is in, and the object's name there.

    Nothing is imported and no file is read.

    Raises:
        ImportError: If there is no such package, or no such file.
        ValueError: If no package can have that name.
    """
    package, *rest = name.split(".")
    spec = find_spec(package)
    if spec is None or not str(spec.origin).endswith(".py"):
        raise ImportError(package)
    if not spec.submodule_search_locations:  # a package of one file
        return Path(str(spec.origin)), ".".join(rest)
    place = Path(spec.submodule_search_locations[0])
    while rest and ((place / rest[0]).is_dir() or (place / f"{rest[0]}.py").is_file()):
        place /= rest.pop(0)
    file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not file.is_file():
        raise ImportError(name)
    return file, ".".join(rest)


def _objects(body: Iterable[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """What a module or a class defines, by name, methods as `Class.method`."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield f"{prefix}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from _objects(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from ((f"{prefix}{t.id}", node) for t in targets if isinstance(t, ast.Name))
        elif isinstance(node, (ast.If, ast.Try)):
            yield from _objects([*node.body, *node.orelse], prefix)


def _hint(module: str, missing: str, objects: Iterable[str], file: Path) -> str:
    """The nearest name of what there is in a module, or of a module beside it."""
    near = difflib.get_close_matches(missing, objects, 1)
    if not near and file.name == "__init__.py":
        modules = [path.stem for path in file.parent.glob("*.py")]
        near = difflib.get_close_matches(missing.partition(".")[0], modules, 1)
    return f": did you mean {module + near[0]!r}?" if near else ""


def _without_docstring(code: str) -> str:
    """The code alone: on a page the text around it says what the docstring says."""
    lines = code.splitlines(keepends=True)
    drop: set[int] = set()
    for node in ast.walk(ast.parse(code)):
        if (
            isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and ast.get_docstring(node)
            and len(node.body) > 1
        ):
            first = node.body[0]
            drop |= set(range(first.lineno - 1, first.end_lineno or first.lineno))
            if isinstance(node, ast.ClassDef):  # and the blank line after it
                drop.add(first.end_lineno or first.lineno)
    return "".join(line for number, line in enumerate(lines) if number not in drop)
