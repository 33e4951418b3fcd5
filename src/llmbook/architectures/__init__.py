"""Published models: their data sheets, sizes, history and costs, each in a module of its own."""

from importlib import import_module


def __getattr__(name: str) -> object:
    """Find a name in the modules of this package, of which no more are imported than it takes."""
    for module in () if name.startswith("_") else ("configs", "counting", "history", "costs"):
        found = vars(import_module(f"{__name__}.{module}"))
        if name in found:
            return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
