r"""A Python-Markdown extension that sets formulas with KaTeX when the page is built.

It finishes what `pymdownx.arithmatex` (generic) starts, so it works the same in chapters and in
docstrings, and no reader's browser runs a script for it. `\query{Q}`, `\key{K}`, `\val{V}` and
`\head{…}` give the four roles of attention their colours.
"""

import atexit
import functools
import html
import re
from importlib.resources import files
from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor

# `\\htmlClass` is what the macros need; other commands of KaTeX could write links and attributes.
SET = """
function set(tex, displayMode, macros) {
  const trust = ({command}) => command === "\\\\htmlClass";
  return katex.renderToString(tex, {displayMode, macros, trust, strict: false});
}
"""
MACROS = {rf"\{name}": rf"\htmlClass{{{name}}}{{#1}}" for name in ("query", "key", "val", "head")}
FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


@functools.cache
def _engine() -> Any:
    from py_mini_racer import MiniRacer

    engine = MiniRacer()
    atexit.register(engine.close)  # else its thread keeps Python 3.13 from ending
    engine.eval(files("llmbook.weave").joinpath("vendor/katex.min.js").read_text(encoding="utf-8"))
    engine.eval(SET)
    return engine


@functools.cache
def render(tex: str, display: bool = False) -> str:
    r"""A formula as HTML, with MathML beside it for those who cannot see it.

    Args:
        tex: LaTeX without delimiters.
        display: On a line of its own.

    Returns:
        HTML that needs KaTeX's style sheet.

    Raises:
        ValueError: If KaTeX cannot read the formula.

    Examples:
        >>> "katex-mathml" in render(r"\sqrt{d_k}")
        True
        >>> "href=" in render(r"\href{https://example.org}{x}")  # shown as it is written
        False
    """
    try:
        found = str(_engine().call("set", tex, display, MACROS))
        return found.replace(
            "<mo>\u2061</mo>", ""
        )  # KaTeX gives an index's msub three children by it
    except Exception as error:  # the engine has its own exception types, by version
        reason = str(error).splitlines()[0]
        raise ValueError(f"KaTeX cannot set {tex!r}: {reason}") from None


def broken(source: str, why: object) -> str:
    """What stands in the page for a formula or diagram that cannot be set.

    The plugin finds it there, and reports it with its line: Markdown's extensions know no page.
    """
    first = html.escape(source.strip().partition("\n")[0])
    return f'<code class="output error" data-broken="{first}">{html.escape(str(why))}</code>'


def formula(tex: str, display: bool) -> str:
    """The formula in its element: a scrollable block of its own, or a part of the line."""
    try:
        inner = render(tex, display)
    except ValueError as error:
        return broken(tex, error)
    if not display:
        return f'<span class="formula" data-search-exclude>{inner}</span>'
    return (
        '<div class="formula" tabindex="0" role="group" aria-label="formula" data-search-exclude>'
        f"{inner}</div>"
    )


def set_formulas(text: str) -> str:
    """HTML with each formula that `pymdownx.arithmatex` (generic) has marked, set."""

    def replace(found: re.Match[str]) -> str:
        return formula(html.unescape(found["tex"]).strip(), found["tag"] == "div")

    return FORMULA.sub(replace, text)


class _SetFormulas(Postprocessor):
    def run(self, text: str) -> str:
        return set_formulas(text)


class KatexExtension(Extension):
    """Registers the step that sets formulas, after all others."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 (Python-Markdown's name)
        """Add the postprocessor."""
        md.postprocessors.register(_SetFormulas(md), "llmbook-katex", 0)


def makeExtension(**options: Any) -> KatexExtension:  # noqa: N802 (Python-Markdown's name)
    """What Python-Markdown calls to load the extension."""
    return KatexExtension(**options)
