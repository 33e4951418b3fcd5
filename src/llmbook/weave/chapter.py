"""Read a chapter: which parts are cells, which are listings, blocks, inline values or prose."""

import difflib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt

OPTIONS = {
    "caption": str,  # a figure's caption: what to see
    "alt": str,  # a figure's description for who cannot see it
    "label": str,  # the figure's id, "fig-…"
    "hide": {"input", "output", "all"},
    "raises-exception": bool,  # the cell must raise
    "volatile": bool,  # the output may differ between builds
    "listing": str,  # show the source of this object; nothing is run
}
INLINE = re.compile(r"(?P<skip>(`{2,})[^`].*?\2)|`\{python\}\s+(?P<code>[^`]+)`", re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


class WeaveError(Exception):
    """Something in a chapter that must be mended: says where, what, and how."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")
        self.path, self.line, self.message = path, line, message


@dataclass
class Part:
    """A stretch of a chapter: `kind` is prose, cell, inline, listing or block.

    Attributes:
        kind: What to do with it.
        text: Prose as it stands, or the code of a cell, or the body of a block.
        line: Where it starts, counted from 1.
        options: The fence's options; `{"name": …}` for a block.
    """

    kind: str
    text: str
    line: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether the kernel must execute it."""
        return self.kind in {"cell", "inline"}


@dataclass
class Chapter:
    """A chapter's front matter and its parts in order."""

    path: Path
    meta: dict[str, Any]
    parts: list[Part]

    @property
    def cells(self) -> list[Part]:
        """The parts that a kernel executes, in order."""
        return [part for part in self.parts if part.runs]


def parse_options(path: Path, line: int, info: str) -> dict[str, Any]:
    """Read `caption="…" hide=input raises-exception`; an unknown option is an error."""
    options: dict[str, Any] = {}
    try:
        words = shlex.split(info)
    except ValueError as error:
        raise WeaveError(path, line, f"cannot read the options {info!r}: {error}") from None
    for word in words:
        name, equals, value = word.partition("=")
        kind = OPTIONS.get(name)
        if kind is None:
            near = difflib.get_close_matches(name, OPTIONS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(OPTIONS)}"
            raise WeaveError(path, line, f"unknown cell option {name!r}: {hint}")
        if (kind is bool) is bool(equals) or (equals and not value):
            form = name if kind is bool else f'{name}="…"'
            raise WeaveError(path, line, f"option {name!r} is written {form}")
        if isinstance(kind, set) and value not in kind:
            raise WeaveError(path, line, f"{name} must be one of {sorted(kind)}, got {value!r}")
        options[name] = value or True
    return options


def read_chapter(path: Path, blocks: frozenset[str] = frozenset()) -> Chapter:
    """Parse a chapter.

    Args:
        path: The Markdown file.
        blocks: Names of fences that are rendered by a function of the book, such as
            `correction`.

    Returns:
        The chapter; joining its parts' sources gives the file back.

    Raises:
        WeaveError: For a mistyped option, or a `python` fence that would silently not run
            because it is indented (in a list, a tab or an admonition).
    """
    text = path.read_text(encoding="utf-8")
    matter = re.match(r"---\n(.*?\n)---\n", text, re.DOTALL)
    start = text[: matter.end()].count("\n") if matter else 0
    meta = (yaml.safe_load(matter[1]) if matter else None) or {}
    lines = text.splitlines(keepends=True)
    body = "".join(lines[start:])

    fences = [
        token
        for token in MarkdownIt("commonmark").parse(body)
        if token.type == "fence" and token.level == 0 and token.map
    ]
    covered = {n for token in fences for n in range(token.map[0], token.map[1])}  # type: ignore[index]
    for found in COMMENT.finditer(body):
        first = body[: found.start()].count("\n")
        covered |= set(range(first, first + found[0].count("\n") + 1))
    for number, content in enumerate(lines[start:]):
        if number not in covered and re.match(
            r"\s*(>\s*|[-*+]\s+|\d+\.\s+)*(```|~~~)\s*python\b", content
        ):
            raise WeaveError(
                path,
                start + number + 1,
                "an indented python fence never runs: move it to the margin, or write ```py "
                "if it should only be shown",
            )

    parts: list[Part] = []
    at = 0
    for token in fences:
        first, last = token.map  # type: ignore[misc]
        language, _, info = token.info.strip().partition(" ")
        line = start + first + 1
        if language == "python":
            options = parse_options(path, line, info)
            kind = "listing" if "listing" in options else "cell"
        elif language in blocks:
            kind, options = "block", {"name": language}
        else:
            continue
        parts += _prose("".join(lines[start + at : start + first]), start + at + 1)
        parts.append(Part(kind, token.content, line, options))
        at = last
    parts += _prose("".join(lines[start + at :]), start + at + 1)
    return Chapter(path, meta, parts)


def _prose(text: str, line: int) -> Iterator[Part]:
    """Split prose at its inline values; those in code fences and code spans stay text."""
    at = 0
    fenced = [(m.start(), m.end()) for m in re.finditer(r"(?ms)^(```|~~~).*?^\1\s*?$", text)]
    for found in INLINE.finditer(text):
        if found["skip"] or any(first <= found.start() < last for first, last in fenced):
            continue
        if found.start() > at:
            yield Part("prose", text[at : found.start()], line + text[:at].count("\n"))
        where = line + text[: found.start()].count("\n")
        yield Part("inline", " ".join(found["code"].split()), where)
        at = found.end()
    if at < len(text):
        yield Part("prose", text[at:], line + text[:at].count("\n"))
