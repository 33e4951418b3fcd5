"""Names that a package finds in its modules when they are asked for, and not before."""

from collections.abc import Callable
from importlib import import_module


def lookup(package: str, *modules: str) -> Callable[[str], object]:
    """A package's `__getattr__`: looks for a name in its modules, in this order.

    `from llmbook.plots import heatmap` then works, and `import llmbook.plots` imports nothing.

    Args:
        package: The package's name.
        modules: Its modules.

    Returns:
        A function that gives the value of a name.

    Raises:
        AttributeError: From that function, if no module has the name.

    Examples:
        >>> lookup("llmbook.plots", "palette", "charts")("SERIES")[0]
        'blue'
    """

    def __getattr__(name: str) -> object:  # noqa: N807 (it becomes the module's)
        for module in () if name.startswith("_") else modules:
            found = vars(import_module(f"{package}.{module}"))
            if name in found:
                return found[name]
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
