"""Every figure of the book: functions that take values and return a matplotlib figure."""

from importlib import import_module


def __getattr__(name: str) -> object:
    """Find a name in the modules of this package, of which no more are imported than it takes."""
    for module in (
        ()
        if name.startswith("_")
        else ("palette", "style", "attention", "arcs", "charts", "points")
    ):
        found = vars(import_module(f"{__name__}.{module}"))
        if name in found:
            return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
