"""What runs first in each chapter's kernel: how figures are shown. Imports nothing heavy."""

from typing import Any

FIGURE = "application/vnd.llmbook.figure+json"


def _show(figure: Any) -> dict[str, Any]:
    """One drawing for the page, in the book's two schemes, and a plain one for the notebook."""
    from llmbook.weave.figures import plain_svg, themed_svgs

    return {FIGURE: themed_svgs(figure), "image/svg+xml": plain_svg(figure)}


def setup() -> None:
    """Teach IPython to show a matplotlib figure, once matplotlib is imported."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    formatter = shell.display_formatter.mimebundle_formatter
    formatter.for_type_by_name("matplotlib.figure", "Figure", _show)
