"""A chapter as a notebook to download: Markdown as Jupyter reads it, code, outputs."""

import json
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin

from llmbook.weave.chapter import Part
from llmbook.weave.katex import MACROS
from llmbook.weave.kernel import FIGURE
from llmbook.weave.reading import address

BOX = re.compile(r'(?m)^(\?{3}\+?|!!!) +([\w-]+)(?: +"(.*)")?\n((?: {4}.*(?:\n|\Z)|[ \t]*\n)*)')
PAGE = '"book:'  # before a page of the book, in the links of a drawing
NOTE = re.compile(
    r'<(div|details) class="[^>]*>\n(?:<summary>[^\n]*\n)?'
    r'<p class="admonition-title"[^>]*>(.*?)</p>'
    r"\n\n(.*?)\n\n</\1>",
    re.DOTALL,
)
ATTRIBUTES = re.compile(r" ?\{ [.#:][^{}\n]* \}")
FOOTNOTE = re.compile(r"\[\^([\w-]+)\]:?")
COLOURED = re.compile(rf"(?:{'|'.join(map(re.escape, MACROS))})(?=\{{)")

LINKED = re.compile(
    r"(?P<code>^(?P<fence>```+|~~~+).*?^(?P=fence)[`~]*[ \t]*$"
    r"|(?P<ticks>`+)[^`].*?(?<!`)(?P=ticks)(?!`))"
    r"|\]\[(?P<name>[\w.]+)\]"
    r"|(?P<before>\]\(\s*<?|^ {,3}\[[^\]\n]+\]:[ \t]+<?| (?:href|src)=\")(?P<to>[^\s<>()\"]+)",
    re.DOTALL | re.MULTILINE,
)


def plain(text: str, figures: Mapping[str, str]) -> str:
    r"""A page's Markdown in the dialect of Jupyter, which knows less than the book's.

    Boxes become quotations, and folded ones `<details>`; figures are called by their numbers;
    footnotes are paragraphs; attributes of headings and links go, and so do the colours of symbols
    in formulas.

    Args:
        text: Markdown of a chapter, without cells.
        figures: The number of each figure, by its label.

    Returns:
        The same for a notebook.

    Examples:
        >>> print(plain('!!! limits "A toy"\n    See @fig-a.\n', {"fig-a": "1.2"}).strip())
        > **A toy**
        >
        > See Figure 1.2.
        >>> print(plain(r"$\key{K}$", {}))
        ${K}$
    """
    text = NOTE.sub(lambda m: _quoted(m[2], m[3].split("\n")), BOX.sub(_box, text))
    text = ATTRIBUTES.sub("", text)
    text = FOOTNOTE.sub(r"<sup>\1</sup>", text)
    text = COLOURED.sub("", text)
    name = r"(?<![\w`])@(fig-[\w-]+)"
    return re.sub(name, lambda m: f"Figure {figures[m[1]]}" if m[1] in figures else m[0], text)


def linked(text: str, page: str, site: str, target: Callable[[str], str | None]) -> str:
    """A page's prose for its notebook, which lies elsewhere: links and pictures lead to the site.

    Args:
        text: Markdown; what is code in it stays as it is.
        page: The page's path in the folder of the book.
        site: The address of the site; without one, nothing is changed.
        target: Where in the site `[…][name]` leads.

    Examples:
        >>> linked("[b](../b.md#c 'B'), ![p](p.png)", "one/a.md", "https://book.org/", str)
        "[b](https://book.org/b/#c 'B'), ![p](https://book.org/one/p.png)"
    """

    def to_site(found: re.Match[str]) -> str:
        if found["code"]:
            return found[0]
        if found["name"]:
            place = target(found["name"])
            return found[0] if place is None else f"]({site}{place})"
        made = "=" in found["before"]  # HTML has the addresses of pages, Markdown their files
        base = address(page) if made else page
        goal = urljoin(f"{site}{base}", found["to"])
        return found["before"] + (address(goal) if goal.startswith(site) else goal)

    return LINKED.sub(to_site, text) if site else text


def _box(found: re.Match[str]) -> str:
    from markdown_it import MarkdownIt  # when a notebook is made, in most builds never

    kind, name, title, body = found.groups()
    title = name.capitalize() if title is None else title
    lines = [line.removeprefix("    ").rstrip() for line in body.strip("\n").split("\n")]
    if kind == "!!!":
        return f"{_quoted(title, lines)}\n\n"
    summary = MarkdownIt("commonmark", {"html": False}).renderInline(title)
    inside = "\n".join(lines)
    return f"<details><summary>{summary}</summary>\n\n{inside}\n\n</details>\n\n"


def _quoted(title: str, lines: list[str]) -> str:
    return "\n".join(f"> {line}".rstrip() for line in [f"**{title}**", "", *lines])


def markdown_cell(text: str) -> dict[str, Any]:
    """A cell of prose."""
    return {"cell_type": "markdown", "metadata": {}, "source": text}


def code_cell(part: Part, outputs: list[dict[str, Any]]) -> dict[str, Any]:
    """An executed cell, without what differs from build to build."""
    kept = []
    for output in [] if "volatile" in part.options else outputs:
        data = {k: v for k, v in output.get("data", {}).items() if k != FIGURE}
        if PAGE in data.get("image/svg+xml", ""):  # a notebook lies elsewhere
            data["image/svg+xml"] = re.sub(r"</?a\b[^>]*>", "", data["image/svg+xml"])
        kept.append({**output, **({"data": data} if data else {})})
        if output["output_type"] == "execute_result":
            kept[-1]["execution_count"] = None
    tags = [option for option, value in part.options.items() if value is True]
    alt = part.options.get("alt")
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {**({"tags": tags} if tags else {}), **({"alt": alt} if alt else {})},
        "outputs": kept,
        "source": part.text.rstrip("\n"),
    }


def notebook(cells: list[dict[str, Any]], figures: Mapping[str, str]) -> str:
    """The file that holds these cells, in `nbformat` 4.5.

    Args:
        cells: In their order; their prose is in the book's own Markdown.
        figures: The number of each figure, by its label.

    Returns:
        JSON.
    """
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"
        if cell["cell_type"] == "markdown":
            cell["source"] = plain(cell["source"], figures)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {
        "cells": cells,
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return _json(content)


INSTALL = """\
# Where the package is not at hand, as on Colab, this installs it. It may ask for a restart.
import importlib.util, subprocess, sys

if importlib.util.find_spec({package!r}) is None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *{arguments!r}], check=True)"""


def empty_notebook(notebook: str, package: str = "", install: str = "") -> str:
    """A notebook to work in: no outputs, and no cell tagged `solution`.

    Args:
        notebook: The executed one.
        package: That cells import.
        install: What pip is told where there is no such package; a first cell does so.
    """
    content = json.loads(notebook)
    if package and install:
        code = INSTALL.format(package=package, arguments=shlex.split(install))
        cell: dict[str, Any] = {"cell_type": "code", "execution_count": None, "id": "install"}
        content["cells"].insert(0, {**cell, "metadata": {}, "outputs": [], "source": code})
    content["cells"] = [
        {**cell, "outputs": []} if cell["cell_type"] == "code" else cell
        for cell in content["cells"]
        if "solution" not in cell["metadata"].get("tags", [])
    ]
    return _json(content)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
