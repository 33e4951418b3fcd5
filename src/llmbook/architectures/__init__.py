"""Published models: their data sheets, sizes, history and costs, each in a module of its own."""

from llmbook._lazy import lookup

__getattr__ = lookup(__name__, "configs", "counting", "history", "costs")
