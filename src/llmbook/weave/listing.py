"""Source of the package as a page shows it: a function or a class, without its docstring."""

import ast
import textwrap
from importlib.util import find_spec
from pathlib import Path

from llmbook.weave.chapter import Chapter, Part, WeaveError


def listing(chapter: Chapter, part: Part) -> tuple[str, str]:
    """The object that a cell names: as a piece of the page, and its source alone.

    Args:
        chapter: For the place of an error.
        part: The cell; its option `listing` is the full name of the object.

    Returns:
        Markdown, and Python.

    Raises:
        WeaveError: If the package has no such object.
    """
    import griffe

    name = part.options["listing"]
    try:
        file, rest = module_of(name)
        text = file.read_text(encoding="utf-8")
        found = griffe.visit(file.stem, file, text)[rest]
        lines = text.split("\n")[found.lineno - 1 : found.endlineno]
        source = _without_docstring(textwrap.dedent("".join(f"{line}\n" for line in lines)))
    except (KeyError, ValueError, ImportError, OSError, SyntaxError, griffe.GriffeError):
        raise WeaveError(
            chapter.path, part.line, f"listing: {name!r} is not in the package"
        ) from None
    bar = f'<div class="listing-bar" markdown="span">[`{name}`][{name}]<span>source</span></div>'
    return (
        f'<div class="listing" markdown="1">\n{bar}\n\n```python\n{source}```\n\n</div>\n\n',
        source,
    )


def module_of(name: str) -> tuple[Path, list[str]]:
    """The file of the module that an object is in, and the object's name there.

    Nothing is imported and no other module is read: griffe would load the whole package.
    """
    package, *rest = name.split(".")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(package)
    place = Path(spec.submodule_search_locations[0])
    while rest and ((place / rest[0]).is_dir() or (place / f"{rest[0]}.py").is_file()):
        place /= rest.pop(0)
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py"), rest


def _without_docstring(source: str) -> str:
    """The code alone: on a page the text around it says what the docstring says."""
    lines = source.splitlines(keepends=True)
    drop: set[int] = set()
    for node in ast.walk(ast.parse(source)):
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
