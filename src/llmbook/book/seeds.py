"""Which seeds the cells of a page name: what random numbers of the book come from."""

import ast
from collections.abc import Iterable

MAKERS = {"manual_seed", "default_rng"}  # whose first argument is a seed


def seeds(cells: Iterable[str]) -> list[int]:
    """Every seed that a cell names as a number, in order and once.

    Args:
        cells: The code of a chapter's cells.

    Returns:
        The first arguments of `manual_seed` and `default_rng`, and all arguments called `seed`.

    Examples:
        >>> seeds(["rng = np.random.default_rng(7)", "train(model, seed=0)"])
        [0, 7]
    """
    found = set()
    for code in cells:
        try:
            tree = ast.parse(code)
        except (SyntaxError, ValueError):  # the kernel says so, with the line
            continue
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            named = [keyword.value for keyword in call.keywords if keyword.arg == "seed"]
            if getattr(call.func, "attr", getattr(call.func, "id", "")) in MAKERS:
                named += call.args[:1]
            found |= {ast.unparse(value) for value in named}
    return sorted(int(value) for value in found if value.isdigit())
