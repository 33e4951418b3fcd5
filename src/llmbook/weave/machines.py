"""The book for readers that are programs: chapters as plain Markdown, and a list of them."""

import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple


class Listed(NamedTuple):
    """A chapter in the list.

    Attributes:
        part: The part of the book, empty for none.
        title: Of the chapter.
        address: Of its Markdown.
        question: What it answers, from its front matter.
    """

    part: str
    title: str
    address: str
    question: str


def as_text(notebook: str) -> str:
    r"""A chapter as Markdown that needs nothing else: prose, code, and what it printed.

    Args:
        notebook: The chapter's executed notebook, as JSON. Its figures come as their descriptions.

    Examples:
        >>> cells = [{"cell_type": "code", "metadata": {}, "source": "print(1)", "outputs": [
        ...     {"output_type": "stream", "text": "1\n"}]}]
        >>> print(as_text(json.dumps({"cells": cells})), end="")
        ```python
        print(1)
        ```
        <BLANKLINE>
        ```text
        1
        ```
    """
    parts = []
    for cell in json.loads(notebook)["cells"]:
        if cell["cell_type"] == "markdown":
            parts.append(cell["source"].strip("\n"))
            continue
        parts.append(_fenced(cell["source"], "python"))
        parts += [_output(output, cell["metadata"].get("alt", "")) for output in cell["outputs"]]
    return "\n\n".join(filter(None, parts)) + "\n"


def listing(title: str, description: str, chapters: Iterable[Listed]) -> str:
    """The file `llms.txt`: what the book is, and where each chapter's Markdown lies.

    Args:
        title: Of the book.
        description: One sentence.
        chapters: In their order.

    Examples:
        >>> print(listing("A book", "On books.", [Listed("One", "Ink", "ink.md", "Why black?")]))
        # A book
        <BLANKLINE>
        > On books.
        <BLANKLINE>
        ## One
        <BLANKLINE>
        - [Ink](ink.md): Why black?
        <BLANKLINE>

    Source:
        [Howard 2024][howard2024llms], the proposal for such files.
    """
    lines, part = [f"# {title}", "", f"> {description}"], None
    for chapter in chapters:
        if chapter.part != part:
            part = chapter.part
            lines += ["", f"## {part or title}", ""]
        question = f": {chapter.question}" if chapter.question else ""
        lines.append(f"- [{chapter.title}]({chapter.address}){question}")
    return "\n".join(lines) + "\n"


def _output(output: dict[str, Any], alt: str) -> str:
    if output["output_type"] == "stream":
        return _fenced(output["text"], "text")
    if output["output_type"] == "error":
        return _fenced(f"{output['ename']}: {output['evalue']}", "text")
    data = output["data"]
    if "text/markdown" in data:
        return str(data["text/markdown"]).strip("\n")
    if any(kind.startswith("image/") for kind in data):
        return f"*Figure: {alt}*" if alt else ""
    return _fenced(data["text/plain"], "text") if "text/plain" in data else ""


def _fenced(text: str | list[str], language: str) -> str:
    """A block of code, behind a fence that is longer than any inside."""
    whole = text if isinstance(text, str) else "".join(text)
    longest = max(map(len, re.findall("`{3,}", whole)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{whole.strip(chr(10))}\n{fence}" if whole.strip() else ""
