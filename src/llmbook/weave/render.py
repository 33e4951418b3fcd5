"""Put outputs back into the text: plain Markdown for the page, a notebook for the download."""

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbook.weave.chapter import Chapter, Part, WeaveError
from llmbook.weave.engine import Result
from llmbook.weave.kernel import FIGURE
from llmbook.weave.listing import listing
from llmbook.weave.notebook import code_cell, markdown_cell, notebook

Block = Callable[[str], str]
PLAIN, END = '\n<div class="output"><pre tabindex="0">', "</pre></div>\n"


@dataclass
class Book:
    """What is shared by all chapters: figure numbers, and the book's own blocks.

    Attributes:
        blocks: Renders the fence of that name, such as `correction`.
        filters: Applied to each chapter's woven text, last.
        links: Given a page's file and prose, lets its links lead to the site: for its notebook.
        figures: How many figures each part of the book has had so far.
    """

    blocks: Mapping[str, Block] = field(default_factory=dict)
    filters: tuple[Callable[[str], str], ...] = ()
    links: Callable[[Path, str], str] = lambda page, text: text
    figures: dict[Any, int] = field(default_factory=dict)


def weave(chapter: Chapter, result: Result | WeaveError | None, book: Book) -> tuple[str, str]:
    """The chapter as plain Markdown with outputs and figures, and as an executed notebook.

    Args:
        chapter: A parsed chapter.
        result: Its outputs; an error is shown at its place, or first if that is in no cell; `None`
            for a chapter without cells.
        book: What chapters share; its figure counts go up.

    Returns:
        Markdown and the notebook's JSON.

    Raises:
        WeaveError: For a figure without alt text or caption, an unknown listing, a block that
            cannot be rendered, or a reference to a figure that is not there.
    """
    outputs = iter(result.outputs if isinstance(result, Result) else [])
    failed = result if isinstance(result, WeaveError) else None
    text: list[str] = []
    cells: list[dict[str, Any]] = []
    numbers: dict[str, str] = {}
    prose: list[str] = []

    def flush() -> None:
        if joined := "".join(prose).strip("\n"):
            linked = book.links(chapter.path, joined)
            cells.append(markdown_cell(linked))
        prose.clear()

    def is_here(part: Part) -> bool:
        last = part.line + part.text.count("\n")
        return bool(failed and failed.path == chapter.path and part.line <= failed.line <= last)

    if failed and not any(is_here(part) for part in chapter.cells if part.kind == "cell"):
        text.append(failure(failed))
    for part in chapter.parts:
        mine = next(outputs, None) if part.runs else None
        if part.kind == "prose":
            piece = part.text
            prose.append(piece)
        elif part.kind == "inline":
            shown = "?" if mine is None else "".join(o.get("text", "") for o in mine).strip()
            title = html.escape(part.text, quote=True).replace("[", "&#91;")  # no link reference
            piece = f'<span class="value" title="{title}">{_escaped(shown)}</span>'
            prose.append(shown)
        elif part.kind == "block":
            try:
                piece = book.blocks[part.options["name"]](part.text) + "\n"
            except (KeyError, ValueError) as error:
                raise WeaveError(chapter.path, part.line, str(error.args[0])) from None
            prose.append(piece)
        elif part.kind == "listing":
            piece, source = listing(chapter, part)
            prose.append(f"```py\n{source}```\n")
        else:
            before = len(numbers)
            if failed and is_here(part):
                piece = _code(part) + failure(failed)
            else:
                piece = _cell(chapter, part, mine or [], book, numbers)
            flush()
            cells.append(code_cell(part, mine or []))
            if len(numbers) > before:  # it shows a figure
                prose.append(f"**Figure {[*numbers.values()][-1]}** {part.options['caption']}\n\n")
        text.append(piece)
    flush()

    woven = "".join(text)
    for name in set(re.findall(r"(?<![\w`])@(fig-[\w-]+)", woven)):
        if name not in numbers:
            line = 1 + chapter.text.partition(f"@{name}")[0].count("\n")
            raise WeaveError(
                chapter.path, line, f"no figure of this chapter has the label {name!r}"
            )
        woven = re.sub(rf"(?<![\w`])@{name}(?![\w-])", f"[Figure {numbers[name]}](#{name})", woven)
    for apply in book.filters:
        woven = apply(woven)
    return woven, notebook(cells, numbers)


def _code(part: Part) -> str:
    return f"```python\n{part.text}```\n"


def failure(error: WeaveError) -> str:
    """An error as the page shows it."""
    message = _escaped(f"{error.path}:{error.line}\n{error.message}")
    return f'\n<div class="output error"><pre tabindex="0">{_unbroken(message)}</pre></div>\n\n'


def _escaped(text: str) -> str:
    """Text as it is: neither HTML, nor, in braces at its end, attributes of what is around it."""
    return html.escape(text).replace("{", "&#123;")


def _unbroken(text: str) -> str:
    """Text for an HTML block: a blank line would end it."""
    return re.sub(r"\n(?=\s*\n)", "\n&#8203;", text)


def _cell(
    chapter: Chapter, part: Part, outputs: list[dict[str, Any]], book: Book, numbers: dict[str, str]
) -> str:
    hide = part.options.get("hide")
    drawings: list[dict[str, Any]] = []
    shown: list[str] = []
    for output in outputs:
        data = output.get("data", {})
        if FIGURE in data:
            drawings.append(data[FIGURE])
        elif "text/markdown" in data:
            shown.append(f"\n{''.join(data['text/markdown'])}\n")
        elif output["output_type"] == "error":
            said = _escaped(f"{output['ename']}: {output['evalue']}")
            shown.append(
                f'\n<div class="output fails"><pre tabindex="0">{_unbroken(said)}</pre></div>\n'
            )
        elif said := _escaped("".join(output.get("text") or data.get("text/plain", ""))).rstrip():
            if shown and shown[-1].startswith(
                PLAIN
            ):  # what is printed and what is returned: one box
                said = shown.pop()[len(PLAIN) : -len(END)] + "\n" + said
            shown.append(f"{PLAIN}{_unbroken(said)}{END}")
    piece = ""
    volatile = " data-volatile" if "volatile" in part.options else ""
    if volatile:  # nor does anyone search for it
        plain = '<div class="output"'
        shown = [said.replace(plain, f"{plain} data-search-exclude", 1) for said in shown]
    if hide in {"output", "all"}:
        shown, drawings = [], []
    if hide not in {"input", "all"}:
        inner = _code(part) + "".join(shown)
        piece = f'<div class="cell"{volatile} markdown="1">\n\n{inner}\n</div>\n\n'
    elif shown:
        piece = "".join(shown) + "\n"
        if volatile:
            piece = f'<div{volatile} markdown="1">\n{piece}</div>\n\n'
    if drawings:
        piece += _figure(chapter, part, drawings, book, numbers)
    return piece


def _figure(
    chapter: Chapter,
    part: Part,
    shown: list[dict[str, Any]],
    book: Book,
    numbers: dict[str, str],
) -> str:
    for need in ("alt", "caption"):
        if need not in part.options:
            raise WeaveError(
                chapter.path, part.line, f'this cell shows a figure and has no {need}="…"'
            )
    group = chapter.meta.get("part", 0)
    book.figures[group] = book.figures.get(group, 0) + 1
    number = f"{group}.{book.figures[group]}"
    label = part.options.get("label", f"fig-{chapter.path.stem}-{book.figures[group]}")
    if label in numbers:
        raise WeaveError(chapter.path, part.line, f"the label {label!r} is taken by another figure")
    numbers[label] = number
    alt, caption = html.escape(part.options["alt"]), part.options["caption"]
    panels = []
    drawings = [each["drawings"] for each in shown]
    for index, drawing in enumerate(drawings):
        for variant in drawing:
            size = (
                ""
                if len(drawing) == 1
                else " wide-only"
                if variant is drawing[0]
                else " narrow-only"
            )
            prefix = f"{label}-{index}-{variant['width']}-"
            svg = re.sub(r'((?: id="|url\(#|href="#))', rf"\g<1>{prefix}", variant["svg"])
            name = f'role="img" aria-labelledby="{prefix}t" data-search-exclude'
            title = f'<title id="{prefix}t">{alt}</title>'
            svg = re.sub(r"<svg([^>]*)>", rf'<svg class="drawing{size}" {name}\1>', svg, count=1)
            panels.append(svg.replace(">", ">" + title.replace("\\", "\\\\"), 1))
    wide = (
        " wide"
        if max(drawing[0]["width"] for drawing in drawings) > 620 or len(drawings) > 1
        else ""
    )
    volatile = " data-volatile" if "volatile" in part.options else ""
    return (
        f'<figure class="figure{wide}" id="{label}"{volatile} markdown="1">\n'
        f'<div class="drawings">{"".join(panels)}</div>\n'
        f'<figcaption markdown="span">**[Figure {number}](#{label})** {caption}</figcaption>\n'
        "</figure>\n\n" + _numbers([each["table"] for each in shown if each["table"]], volatile)
    )


def _numbers(tables: list[list[list[str]]], volatile: str) -> str:
    """What figures show, as tables to unfold: for readers who cannot see them, or want to copy."""
    if not tables:
        return ""
    shown = []
    for (title, *names), *rows in tables:
        head = "".join(f'<th scope="col">{_escaped(name)}</th>' for name in names)
        body = "".join(
            f'<tr><th scope="row">{_escaped(row[0])}</th>'
            + "".join(f"<td>{_escaped(number)}</td>" for number in row[1:])
            + "</tr>"
            for row in rows
        )
        shown.append(
            f"<table><caption>{_escaped(title)}</caption><thead><tr><td></td>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )
    return (
        f'<details class="numbers"{volatile} data-search-exclude>'
        f"<summary>The numbers as a table</summary>{''.join(shown)}</details>\n\n"
    )
