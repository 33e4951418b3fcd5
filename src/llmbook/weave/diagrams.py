"""Mermaid diagrams, drawn once by a browser and kept as SVG in the book's colours.

A page needs no script to show them. The source in the chapter is the key: a diagram that was
edited and not drawn again fails the build with the command that draws it.
"""

import hashlib
import html
import re
from pathlib import Path
from typing import Any

from llmbook.weave.katex import broken

DRAWN = Path(__file__).parent / "vendor" / "diagrams"
COMMAND = "python -m llmbook.weave.vendor"
BOLD, STRONG = r"^\*\*(.*)\*\*$", r"<strong>\1</strong>"


def name(source: str) -> str:
    """The file name of a diagram's drawing, made from its source."""
    lines = [line.rstrip() for line in source.strip().splitlines()]  # as Markdown hands it on
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16] + ".svg"


def entries(source: str) -> list[str]:
    """What a Gantt chart shows, as a list: for readers who cannot see it or see only a part."""
    lines = [line.strip() for line in source.splitlines()]
    out = []
    for line in lines:
        if line.startswith("section "):
            out.append(f"**{line[8:]}**")
        elif found := re.match(r"(.+?)\s*:(.*)", line):
            year = re.search(r"\b(19|20)\d\d\b", found[2])
            now = " (this lesson)" if "active" in found[2] else ""
            out.append(found[1] + (f", {year[0]}" if year else "") + now)
    return out


def fence(source: str, language: str, css_class: str, options: Any, md: Any, **_: Any) -> str:
    """Render a mermaid fence; called by `pymdownx.superfences`."""
    file = DRAWN / name(source)
    if not file.exists():
        return broken(source, f"this mermaid diagram has no drawing: run `{COMMAND}`")
    title = re.search(r"^\s*title (.+)$", source, re.M)
    label = html.escape(title[1] if title else "Diagram")
    svg = file.read_text(encoding="utf-8").replace("<svg", f'<svg aria-label="{label}"', 1)
    listed = ""
    if source.strip().startswith("gantt"):
        shown = [re.sub(BOLD, STRONG, html.escape(item)) for item in entries(source)]
        items = "".join(f"<li>{item}</li>" for item in shown)
        listed = f"<details><summary>The chart as a list</summary><ul>{items}</ul></details>"
    return (
        '<figure class="diagram"><div class="mermaid" role="region" tabindex="0" '
        f'aria-label="{label}" data-search-exclude>{svg}</div>{listed}'
        f'<template class="mermaid-source" data-search-exclude>{html.escape(source)}</template>'
        "</figure>"
    )
