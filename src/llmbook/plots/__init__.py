"""Every figure of the book: functions that take values and return a matplotlib figure."""

from llmbook._lazy import lookup

__getattr__ = lookup(__name__, "palette", "style", "attention", "charts")
