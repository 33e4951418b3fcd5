"""llmbook: the executable book on how large language models work.

Each concept of the book is one module, imported by name: `from llmbook.attention import
self_attention`. Importing `llmbook` alone imports neither torch nor matplotlib.
"""

__version__ = "0.1.0"
