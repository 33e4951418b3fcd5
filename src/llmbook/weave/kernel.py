"""What runs first in each chapter's kernel: how figures are shown. Imports nothing heavy."""

from typing import Any

FIGURE = "application/vnd.llmbook.figure+json"


def _show(figure: Any) -> dict[str, Any]:
    """One drawing for the page, in the book's two schemes, and a plain one for the notebook.

    With the first goes what the figure shows as a table, where it has one: rows of texts, the
    names of the columns first.
    """
    from llmbook.weave.figures import plain_svg, themed_svgs

    shown = {"drawings": themed_svgs(figure), "table": getattr(figure, "table", None)}
    return {FIGURE: shown, "image/svg+xml": plain_svg(figure)}


def setup() -> None:
    """Teach IPython to show a matplotlib figure, once matplotlib is imported."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    formatter = shell.display_formatter.mimebundle_formatter
    formatter.for_type_by_name("matplotlib.figure", "Figure", _show)
