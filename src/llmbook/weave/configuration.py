"""What a site's configuration says of the book: where it is published, the order of its pages."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Site:
    """A published book.

    Attributes:
        address: Where it is, with a slash at its end; empty if it is nowhere.
        pages: The files of its navigation, in reading order.
    """

    address: str = ""
    pages: tuple[str, ...] = ()

    @classmethod
    def of(cls, site_url: str | None, nav: Any) -> "Site":
        """The book of a configuration.

        Args:
            site_url: As MkDocs has it.
            nav: The same: pages, and sections that hold them, by title or without.

        Examples:
            >>> Site.of("https://example.org/book", [{"Home": "index.md"}, {"One": ["one/a.md"]}])
            Site(address='https://example.org/book/', pages=('index.md', 'one/a.md'))
        """
        return cls(f"{site_url.rstrip('/')}/" if site_url else "", tuple(_pages(nav)))


def read_site(file: Path) -> Site:
    """Read `mkdocs.yml` where MkDocs does not run; without the file, nothing is known.

    Args:
        file: Its `!ENV` counts; other tags belong to extensions and stay unread.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not text in UTF-8.
        yaml.YAMLError: If it is no YAML.
    """
    if not file.exists():
        return Site()
    found = yaml.load(file.read_text("utf-8"), _Loader) or {}  # noqa: S506 (a safe one)
    return Site.of(found.get("site_url"), found.get("nav"))


class _Loader(yaml.SafeLoader):
    """Reads a configuration without the packages whose tags it has."""


def _environment(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    from yaml_env_tag import construct_env_tag  # type: ignore[import-untyped]  # MkDocs has it

    return construct_env_tag(loader, node)


_Loader.add_constructor("!ENV", _environment)
_Loader.add_multi_constructor("", lambda loader, suffix, node: None)


def _pages(nav: Any) -> Iterator[str]:
    """The files that a navigation names, in its order."""
    if isinstance(nav, str):
        yield nav
    for entry in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _pages(entry)
