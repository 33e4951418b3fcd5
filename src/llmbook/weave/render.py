"""Put outputs back into the text: plain Markdown for the page, a notebook for the download."""

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmbook.weave import rich
from llmbook.weave.chapter import Chapter, Part, WeaveError
from llmbook.weave.engine import Result
from llmbook.weave.kernel import FIGURE
from llmbook.weave.listing import fenced, listing, source
from llmbook.weave.live import Live
from llmbook.weave.notebook import code_cell, markdown_cell, notebook

Block = Callable[[str], str]
Output = dict[str, Any]  # of a cell, in nbformat's form
REFERENCE = re.compile(r"(?<![\w`])@(fig-[\w-]+)")
STILL = Live({}, {})  # no browser runs anything
WIDE = 620  # pixels: what is wider, or has several panels, leaves the column of text


@dataclass
class Book:
    """What is shared by all chapters: figure numbers, and the book's own blocks.

    Attributes:
        blocks: Renders the fence of that name, such as `correction`.
        finish: Applied to each chapter's woven text, last.
        links: Given a page's file and prose, lets its links lead to the site: for its notebook.
        figures: How many figures each part of the book has had so far.
    """

    blocks: Mapping[str, Block] = field(default_factory=dict)
    finish: Callable[[str], str] = lambda text: text
    links: Callable[[Path, str], str] = lambda page, text: text
    figures: dict[Any, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Figure:
    """What a cell draws: its panels, as the kernel gave them, under one label and number."""

    label: str
    number: str
    panels: list[dict[str, Any]]

    @property
    def turns(self) -> dict[str, Any] | None:
        """What a reader can turn: the first panel, if its cell says so."""
        found: dict[str, Any] | None = self.panels[0].get("turns")
        return found


@dataclass(frozen=True)
class _Piece:
    """A part of a chapter with all that a page or a notebook shows of it.

    Attributes:
        part: As it was read.
        text: Prose, an inline value, a block's Markdown, a listing's source or a cell's code.
        outputs: What a cell gave.
        figure: What a cell draws, if it is shown.
        error: What stopped the chapter in this cell.
        mark: The attribute by which a page's script finds a live cell or value.
    """

    part: Part
    text: str
    outputs: list[Output] = field(default_factory=list)
    figure: _Figure | None = None
    error: WeaveError | None = None
    mark: str = ""


def weave(
    chapter: Chapter, result: Result | WeaveError | None, book: Book, live: Live = STILL
) -> tuple[str, str, str]:
    """The chapter as plain Markdown with outputs and figures, and as an executed notebook.

    Args:
        chapter: A parsed chapter.
        result: Its outputs; an error is shown at its place, or first if that is in no cell; `None`
            for a chapter without cells.
        book: What chapters share; its figure counts go up.
        live: Which cells and values a browser can run.

    Returns:
        Markdown, the notebook's JSON, and that of the figures that turn, empty if none does.

    Raises:
        WeaveError: For a figure without alt text or caption, one that turns after another in its
            cell, an unknown listing, a block that
            cannot be rendered, or a reference to a figure that is not there.
    """
    outputs = _outputs(chapter, result)
    figures = _numbered(chapter, outputs, book)
    error = result if isinstance(result, WeaveError) else None
    pieces = list(_pieces(chapter, outputs, figures, error, book, live))
    numbers = {figure.label: figure.number for figure in figures.values()}
    page = "".join(map(_on_page, pieces))
    if error and not any(piece.error for piece in pieces):
        page = failure(error) + page
    page = _with_references(chapter, page, numbers)
    page = book.finish(page)
    return page, notebook(list(_cells(chapter, pieces, book)), numbers), _turns(figures.values())


def _turns(figures: Iterable[_Figure]) -> str:
    """What the script of a page reads when a reader turns one of its figures."""
    kept = ("slots", "words", "turns", "said")
    tables = {f.label: {name: f.turns[name] for name in kept} for f in figures if f.turns}
    return json.dumps(tables, ensure_ascii=False, separators=(",", ":")) if tables else ""


# --- what there is to show -------------------------------------------------------------------


def _outputs(chapter: Chapter, result: Result | WeaveError | None) -> dict[int, list[Output]]:
    """What each cell and inline value gave, by the index of its part; nothing if not executed."""
    if not isinstance(result, Result):
        return {}
    running = [index for index, part in enumerate(chapter.parts) if part.runs]
    return dict(zip(running, result.outputs, strict=False))


def _numbered(
    chapter: Chapter, outputs: Mapping[int, list[Output]], book: Book
) -> dict[int, _Figure]:
    """The figure of each cell that shows one, by the index of its part."""
    figures: dict[int, _Figure] = {}
    group = chapter.meta.get("part", 0)
    for index, shown in outputs.items():
        part = chapter.parts[index]
        panels = [panel for output in shown if (panel := _panel_of(part, output))]
        if part.kind != "cell" or not panels or part.options.get("hide") in {"output", "all"}:
            continue
        for need in ("alt", "caption"):
            if need not in part.options:
                why = f'this cell shows a figure and has no {need}="…"'
                raise WeaveError(chapter.path, part.line, why)
        if any(panel.get("turns") for panel in panels[1:]):
            why = "of a cell's figures only the first can turn: draw this one in a cell of its own"
            raise WeaveError(chapter.path, part.line, why)
        book.figures[group] = count = book.figures.get(group, 0) + 1
        stem = re.sub(r"[^\w-]+", "-", chapter.path.stem)
        label = part.options.get("label", f"fig-{stem}-{count}")
        if label in {figure.label for figure in figures.values()}:
            why = f"the label {label!r} is taken by another figure"
            raise WeaveError(chapter.path, part.line, why)
        number = f"{group}.{count}" if group else str(count)  # a book may have no parts
        figures[index] = _Figure(label, number, panels)
    return figures


def _panel_of(part: Part, output: Output) -> dict[str, Any] | None:
    """What an output draws of a figure: a drawing, or a picture in a cell that has a caption."""
    data = output.get("data", {})
    if FIGURE in data:
        drawn: dict[str, Any] = data[FIGURE]
        return drawn
    if "caption" not in part.options or not (address := rich.picture(data)):
        return None
    return {"drawings": [{"width": 0, "address": address}], "table": None}


def _pieces(
    chapter: Chapter,
    outputs: Mapping[int, list[Output]],
    figures: Mapping[int, _Figure],
    error: WeaveError | None,
    book: Book,
    live: Live,
) -> Iterator[_Piece]:
    """Each part of the chapter with what it shows."""
    number = -1
    for index, part in enumerate(chapter.parts):
        if part.kind == "inline":
            given = outputs.get(index)
            shown = "?" if given is None else "".join(o.get("text", "") for o in given).strip()
            mark = f' data-cell="{live.values[index]}"' if index in live.values else ""
            yield _Piece(part, shown, mark=mark)
        elif part.kind == "block":
            try:
                yield _Piece(part, book.blocks[part.options["name"]](part.text) + "\n")
            except (KeyError, ValueError) as wrong:
                raise WeaveError(chapter.path, part.line, str(wrong.args[0])) from None
        elif part.kind == "listing":
            yield _Piece(part, source(chapter, part))
        elif part.kind == "cell":
            here = error if error and _is_in(error, chapter, part) else None
            gave, figure = outputs.get(index, []), figures.get(index)
            _check_forms(chapter, part, gave)
            number += 1
            mark = f' data-cell="{number}"' if number in live.cells else ""
            yield _Piece(part, part.text, gave, figure, here, mark)
        else:
            yield _Piece(part, part.text)


def _check_forms(chapter: Chapter, part: Part, outputs: Iterable[Output]) -> None:
    """Refuse what no page can show, with its line."""
    if part.options.get("hide") in {"output", "all"}:
        return
    for output in outputs:
        data = output.get("data", {})
        try:
            if data and FIGURE not in data:
                rich.shown(data, output.get("metadata", {}))
        except ValueError as error:
            raise WeaveError(chapter.path, part.line, str(error)) from None


def _is_in(error: WeaveError, chapter: Chapter, cell: Part) -> bool:
    last = cell.line + cell.text.count("\n")
    return error.path == chapter.path and cell.line <= error.line <= last


# --- the notebook ----------------------------------------------------------------------------


def _cells(chapter: Chapter, pieces: Iterable[_Piece], book: Book) -> Iterator[dict[str, Any]]:
    """The notebook's cells: all that stands between two code cells is one of Markdown."""
    prose = ""

    def cell_of_prose() -> Iterator[dict[str, Any]]:
        if text := prose.strip("\n"):
            yield markdown_cell(book.links(chapter.path, text))

    for piece in pieces:
        if piece.part.kind == "cell":
            yield from cell_of_prose()
            yield code_cell(piece.part, piece.outputs)
            prose = ""
            if piece.figure:
                prose = f"**Figure {piece.figure.number}** {piece.part.options['caption']}\n\n"
        elif piece.part.kind == "listing":
            prose += fenced(piece.text, "py")
        else:
            prose += piece.text
    yield from cell_of_prose()


# --- the page --------------------------------------------------------------------------------


def _on_page(piece: _Piece) -> str:
    """A part as Markdown."""
    if piece.part.kind == "inline":
        title = _value(piece.part.text)
        return f'<span class="value"{piece.mark} title="{title}">{_value(piece.text)}</span>'
    if piece.part.kind == "listing":
        return listing(piece.part.options["listing"], piece.text)
    if piece.error:
        return _code(piece.part) + failure(piece.error)
    if piece.part.kind == "cell":
        return _cell(piece)
    return piece.text


def _with_references(chapter: Chapter, page: str, numbers: Mapping[str, str]) -> str:
    """The page with each `@fig-…` as a link with the figure's number."""

    def link(found: re.Match[str]) -> str:
        name = found[1]
        if name in numbers:
            return f"[Figure {numbers[name]}](#{name})"
        line = 1 + chapter.text.partition(f"@{name}")[0].count("\n")
        why = f"no figure of this chapter has the label {name!r}"
        raise WeaveError(chapter.path, line, why)

    return REFERENCE.sub(link, page)


def _code(part: Part) -> str:
    return fenced(part.text, "python")


def failure(error: WeaveError) -> str:
    """An error as the page shows it."""
    return _box("output error", _escaped(f"{error.path}:{error.line}\n{error.message}")) + "\n"


def _box(kind: str, text: str, attributes: str = "") -> str:
    """Text in an HTML block, which a blank line would end."""
    unbroken = re.sub(r"\n(?=[^\S\n]*\n)", "\n&#8203;", text)
    return f'\n<div class="{kind}"{attributes}><pre tabindex="0">{unbroken}</pre></div>\n'


def _escaped(text: str) -> str:
    """Text in an HTML block: no HTML, no fence, no attributes of what is around it."""
    return re.sub(r"[{[`~@]", _reference, html.escape(text))


def _value(text: str) -> str:
    """Text in a line of Markdown that stays as it is: its punctuation as character references."""
    return re.sub(r"[^\w\s.,%]", _reference, " ".join(text.split())).replace("_", "&#95;")


def _reference(found: re.Match[str]) -> str:
    return f"&#{ord(found[0])};"


def _volatile(part: Part) -> str:
    return " data-volatile" if "volatile" in part.options else ""


def _cell(piece: _Piece) -> str:
    """Code and outputs of a cell, or what is not hidden of them; its figure where it is shown."""
    part = piece.part
    hide, volatile = part.options.get("hide"), _volatile(part)
    before, after = ([], []) if hide in {"output", "all"} else _around_figure(piece)
    shown = "".join(_boxes(part, before))
    out = ""
    if hide not in {"input", "all"}:
        marks = f'class="cell"{piece.mark}{volatile} markdown="1"'
        out = f"<div {marks}>\n\n{_code(part)}{shown}\n</div>\n\n"
    elif shown:
        out = _outputs_alone(part, shown)
    if piece.figure:
        out += _figure(piece)
    if later := "".join(_boxes(part, after, "\n")):
        out += _outputs_alone(part, later)
    return out


def _outputs_alone(part: Part, shown: str) -> str:
    if volatile := _volatile(part):
        return f'<div{volatile} markdown="1">\n{shown}\n</div>\n\n'
    return f"{shown}\n"


def _around_figure(piece: _Piece) -> tuple[list[Output], list[Output]]:
    """The outputs before the figure, if there is one, and those after it."""
    outputs = piece.outputs
    panels = [bool(piece.figure and _panel_of(piece.part, output)) for output in outputs]
    first = panels.index(True) if True in panels else len(outputs)
    after = [output for output, panel in zip(outputs, panels, strict=True) if not panel][first:]
    return outputs[:first], after


def _boxes(part: Part, outputs: Iterable[Output], start: str = "") -> Iterator[str]:
    """Outputs that are no figures; what is printed and what is returned share one box.

    Text begins with `start`: HTML leaves out a new line there.
    """
    excluded = " data-search-exclude" if "volatile" in part.options else ""  # nobody searches it
    plain: list[str] = []

    def box() -> Iterator[str]:
        if plain:
            yield _box("output", start + "\n".join(plain), excluded)
            plain.clear()

    for output in outputs:
        data = output.get("data", {})
        made = data and rich.shown(data, output.get("metadata", {}), part.options.get("alt", ""))
        if made:
            yield from box()
            content = rich.in_markdown(made)
            yield f'\n<div class="output rich"{excluded} tabindex="0">{content}</div>\n'
        elif "text/markdown" in data:
            yield from box()
            yield f"\n{''.join(data['text/markdown'])}\n"
        elif output["output_type"] == "error":
            yield from box()
            yield _box("output fails", _escaped(f"{output['ename']}: {output['evalue']}"))
        elif said := _escaped("".join(output.get("text") or data.get("text/plain", ""))).rstrip():
            plain.append(said)
    yield from box()


def _figure(piece: _Piece) -> str:
    """A figure with its panels, its caption, and its numbers to unfold."""
    figure, options = piece.figure, piece.part.options
    assert figure
    drawings = [panel["drawings"] for panel in figure.panels]
    wide = len(drawings) > 1 or drawings[0][0]["width"] > WIDE
    panels = "".join(
        _panel(variant, f"{figure.label}-{index}", options["alt"], _shown_where(variant, drawing))
        for index, drawing in enumerate(drawings)
        for variant in drawing
    )
    return (
        f'<figure class="figure{" wide" if wide else ""}" id="{figure.label}"'
        f'{piece.mark}{_volatile(piece.part)}{_dials(figure)} markdown="1">\n'
        f'<div class="drawings">{panels}</div>\n'
        f'<figcaption markdown="span">**[Figure {figure.number}](#{figure.label})** '
        f"{options['caption']}</figcaption>\n</figure>\n\n"
        + _numbers([p["table"] for p in figure.panels if p["table"]], _volatile(piece.part))
    )


def _dials(figure: _Figure) -> str:
    """The attribute from which a page's script makes a figure's dials."""
    if not figure.turns:
        return ""
    dials = json.dumps(figure.turns["dials"], ensure_ascii=False, separators=(",", ":"))
    return f' data-dials="{html.escape(dials)}"'


def _shown_where(variant: dict[str, Any], drawing: list[dict[str, Any]]) -> str:
    """The class of one of a panel's drawings, which are for wide and for narrow pages."""
    if len(drawing) == 1:
        return "drawing"
    return f"drawing {'wide' if variant is drawing[0] else 'narrow'}-only"


def _panel(variant: dict[str, Any], name: str, alt: str, classes: str) -> str:
    """A drawing that the page can hold beside others: its ids are its own, and it has a name."""
    if "address" in variant:
        return f'<img class="{classes}" src="{variant["address"]}" alt="{html.escape(alt)}">'
    prefix = f"{name}-{variant['width']}-"
    svg = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}", variant["svg"])
    head, _, drawn = svg.partition(">")
    role = "" if "<a " in drawn else 'role="img" '  # an image hides the links in it
    head = head.replace(
        "<svg",
        f'<svg class="{classes}" {role}aria-labelledby="{prefix}t" data-search-exclude',
    )
    return f'{head}><title id="{prefix}t">{html.escape(alt)}</title>{drawn}'


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
