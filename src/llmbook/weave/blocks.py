"""Fences of a book's own: prose made from data, by functions that the book registers.

The option `blocks` names a module that has a class `Blocks`, made of the one here. Nothing is
executed in a chapter's process: these are texts, kept once and shown in several places.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import ClassVar

from llmbook.weave.chapter import WeaveError
from llmbook.weave.configuration import Site


class Blocks:
    """The fences of one book: here of one that has none.

    Args:
        docs: The folder of the book's pages.
        site: What is known of the published book.
        pages: The pages that are in it, by their paths in the folder.

    Attributes:
        functions: For the name of each fence, what makes Markdown of its text.
        of_all_pages: The names of those that read other pages too.
    """

    of_all_pages: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, docs: Path, site: Site, pages: Iterable[str] = ()) -> None:
        self.docs, self.site, self.pages = docs, site, list(pages)
        self.functions: Mapping[str, Callable[[str], str]] = {}

    @classmethod
    def data(cls, docs: Path) -> list[Path]:
        """The files that fences are made from; of a folder, only its names count."""
        return []

    @classmethod
    def files(cls, executed: Collection[str], cache: Path) -> Mapping[str, bytes]:
        """Further files of the site, by their paths in it, of what cells have kept.

        Args:
            executed: The pages whose cells have run.
            cache: The store, for `llmbook.weave.store.storing`.
        """
        return {}

    def errors(self) -> list[WeaveError]:
        """What is wrong with the data."""
        return []

    def finish(self, text: str) -> str:
        """A page's Markdown, woven, as the site generator shall read it."""
        return text

    def target(self, name: str) -> str | None:
        """The address in the site that `[…][name]` leads to, for notebooks; `None` if unknown."""
        return None


def registered(module: str) -> type[Blocks]:
    """The class `Blocks` of a module; that of a book without fences of its own for no name.

    Raises:
        ValueError: If there is no such module, or no such class in it.
    """
    if not module:
        return Blocks
    try:
        found = getattr(import_module(module), "Blocks", None)
    except ImportError as error:
        raise ValueError(f"blocks: {module} cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, Blocks)):
        raise ValueError(f"blocks: {module} has no class `Blocks` made of {__name__}.Blocks")
    return found
