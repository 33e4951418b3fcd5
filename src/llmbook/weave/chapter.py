"""Read a chapter: which parts are cells, which are listings, blocks, inline values or prose."""

import difflib
import functools
import re
import shlex
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from markdown_it.token import Token

OPTIONS = {
    "caption": str,  # a figure's caption: what to see
    "alt": str,  # a figure's description for who cannot see it
    "label": str,  # the figure's id, "fig-…"
    "hide": {"input", "output", "all"},
    "raises-exception": bool,  # the cell must raise
    "at-build": bool,  # no reader's browser runs the cell
    "volatile": bool,  # the output may differ between builds
    "listing": str,  # show the source of this object; nothing is run
    "depends": str,  # files that the cell reads where weave cannot see it; patterns, by blanks
}
INLINE = re.compile(
    r"(?P<skip>(`{2,})[^`].*?\2)|`\{python\}\s+(?P<code>[^`]+)`"
    r"|(?P<never>`\{\.?i?python3?\}[^`\n]*`)|`(?:[^`\n]|\n(?!\s*\n))+`|(?P<comment><!--)",
    re.DOTALL | re.IGNORECASE,
)
NEARLY = re.compile(r"[{.\s]*(?:i?python[23]?|py3|code-cell)(?![\w-])", re.IGNORECASE)
SUFFIXES = (".md", ".markdown", ".mdown", ".mkdn", ".mkd")  # of pages, as MkDocs has them


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
    """A chapter's front matter and its parts in order, and the text that was read."""

    path: Path
    meta: dict[str, Any]
    parts: list[Part]
    text: str = ""

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
        if name == "label" and not re.fullmatch(r"[\w-]+", value):
            raise WeaveError(path, line, f"label must be letters, digits and -, got {value!r}")
        options[name] = value or True
    return options


def read_text(path: Path) -> str:
    """A page's text, its lines ended by a newline alone.

    Raises:
        WeaveError: If there is no such file, or it is not UTF-8.
    """
    try:
        content = path.read_bytes()
        wrong = content.find(0)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise WeaveError(path, 1, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        wrong = error.start
    if wrong >= 0:
        why = f"byte 0x{content[wrong]:02x} is not text in UTF-8: save the file in that encoding"
        raise WeaveError(path, content[:wrong].count(b"\n") + 1, why)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _front_matter(path: Path, text: str) -> tuple[dict[str, Any], int]:
    """The front matter of a page as MkDocs takes it, and how many lines that is.

    It stands between `---` and `---` or `...`, or is lines `name: value` up to an empty one.

    Raises:
        WeaveError: If it is not YAML of the form `name: value`.
    """
    matter = re.match(r"-{3}[ \t]*\n(.*?\n)(?:-{3}|\.{3})[ \t]*(?:\n|\Z)", text, re.DOTALL)
    if not matter:
        if not re.match(r" {0,3}[\w-]+:", text):
            return {}, 0
        from mkdocs.utils.meta import get_data

        body, found = get_data(text)
        return found, text[: len(text) - len(body)].count("\n")
    try:
        meta = yaml.safe_load(matter[1]) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = 2 + min(mark.line, matter[1].count("\n") - 1) if mark else 2
        why = getattr(error, "problem", None) or error
        raise WeaveError(path, line, f"the front matter is no YAML: {why}") from None
    if not isinstance(meta, dict) or not all(isinstance(name, str) for name in meta):
        raise WeaveError(path, 2, "the front matter must be lines of the form `name: value`")
    if not isinstance(meta.get("part", 0), int):
        raise WeaveError(path, 2, f"part must be a number, got {meta['part']!r}")
    return meta, matter[0].count("\n")


@functools.lru_cache(maxsize=512)  # a page is read for itself, and for what others tell of it
def fences(markdown: str) -> tuple["Token", ...]:
    r"""The code fences at the margin of some Markdown, as CommonMark has them.

    Examples:
        >>> [(fence.info, fence.map) for fence in fences("a\n```py\nx\n```\n- ~~~\n  y\n  ~~~\n")]
        [('py', [1, 4])]
    """
    from markdown_it import MarkdownIt  # a page that is kept is not read

    tokens = MarkdownIt("commonmark").disable("inline").parse(markdown)
    return tuple(t for t in tokens if t.type == "fence" and t.level == 0 and t.map)


def read_chapter(
    path: Path, blocks: frozenset[str] = frozenset(), text: str | None = None
) -> Chapter:
    """Parse a chapter.

    Args:
        path: The Markdown file.
        blocks: Names of fences that are rendered by a function of the book, such as
            `correction`.
        text: What it holds, where that is in no file.

    Returns:
        The chapter; joining its parts' sources gives the file back.

    Raises:
        WeaveError: For a file that cannot be read, a mistyped option, a fence without an end, or
            what would silently not run: a `python` fence that is indented (in a list, a tab or an
            admonition), or another spelling, such as `python3`.
    """
    text = read_text(path) if text is None else text
    meta, start = _front_matter(path, text)
    lines = [f"{line}\n" for line in text.split("\n")]  # as markdown-it counts them
    lines[-1] = lines[-1][:-1]
    body = "".join(lines[start:])

    found = fences(body)
    fenced = {n for token in found for n in range(*token.map)}  # type: ignore[misc]
    covered = set(fenced)
    start_of, end_of = body.find("<!--"), 0  # a comment; as a pattern it could take hours
    while start_of >= 0 and (end_of := body.find("-->", start_of)) >= 0:
        covered |= set(range(body.count("\n", 0, start_of), body.count("\n", 0, end_of) + 1))
        start_of = body.find("<!--", end_of)
    for number, content in enumerate(lines[start:]):
        if number not in covered and re.match(
            rf"\s*(>\s*|[-*+]\s+|\d+\.\s+)*(```+|~~~+)\s*(?:{NEARLY.pattern})", content, re.I
        ):
            raise WeaveError(
                path,
                start + number + 1,
                "an indented python fence never runs: move it to the margin, or write ```py "
                "if it should only be shown",
            )

    quoted = {start + n + 1 for n in fenced}
    parts: list[Part] = []
    at = 0
    for token in found:
        first, last = token.map  # type: ignore[misc]
        language, _, info = token.info.strip().partition(" ")
        line = start + first + 1
        end, mark = lines[start + last - 1].strip(), token.markup
        other = re.search(rf"(?m)^ {{,3}}{mark}", token.content)  # with a language, or it would end
        if other or last == first + 1 or set(end) != {mark[0]} or len(end) < len(mark):
            raise WeaveError(path, line, f"this fence never ends: put {mark} on a line after it")
        if language == "python":
            options = parse_options(path, line, info)
            kind = "listing" if "listing" in options else "cell"
        elif language in blocks:
            kind, options = "block", {"name": language}
        elif NEARLY.match(token.info):
            why = f"a fence named {token.info.strip()!r} never runs: write ```python, or ```py "
            raise WeaveError(path, line, f"{why}if it should only be shown")
        else:
            continue
        parts += _prose(path, "".join(lines[start + at : start + first]), start + at + 1, quoted)
        parts.append(Part(kind, token.content, line, options))
        at = last
    parts += _prose(path, "".join(lines[start + at :]), start + at + 1, quoted)
    return Chapter(path, meta, parts, text)


def _prose(path: Path, text: str, line: int, quoted: Container[int]) -> Iterator[Part]:
    """Split prose at its inline values; those in code and in comments stay text."""
    at = begin = 0
    last_comment = text.rfind("-->")
    while found := INLINE.search(text, begin):
        begin = found.end()
        where = line + text.count("\n", 0, found.start())
        if found["comment"] and begin <= last_comment and where not in quoted:
            begin = text.index("-->", begin)
        if where in quoted:
            continue
        if found["never"]:
            why = f"{found['never']} never runs: write `{{python}} …`, with a blank"
            raise WeaveError(path, where, why)
        if not found["code"]:
            continue
        if found.start() > at:
            yield Part("prose", text[at : found.start()], line + text.count("\n", 0, at))
        yield Part("inline", " ".join(found["code"].split()), where)
        at = found.end()
    if at < len(text):
        yield Part("prose", text[at:], line + text.count("\n", 0, at))
