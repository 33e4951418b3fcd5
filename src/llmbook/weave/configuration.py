"""What a site's configuration says of the book: its place, its order, what it registers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PLUGIN = "llmbook-weave"
HIDDEN = ("exclude_docs", "draft_docs")  # pages of MkDocs' that no reader gets


@dataclass(frozen=True)
class Site:
    """A published book, and what it registers.

    Attributes:
        address: Where it is, with a slash at its end; empty if it is nowhere.
        pages: The files of its navigation, in reading order.
        package: The package that chapters import; a book may have none.
        blocks: The module of its own fences, as `llmbook.weave.blocks` wants them.
        palette: The module with the colours that its figures follow the page in.
        labs: Which files are labs, as a pattern such as `labs/*.py`.
        live: Whether readers can run cells in their browsers.
        install: What pip shall install where an empty notebook is opened without the package.
    """

    address: str = ""
    pages: tuple[str, ...] = ()
    package: str | None = None
    blocks: str = ""
    palette: str = ""
    labs: str = ""
    live: bool = False
    install: str = ""

    @classmethod
    def of(cls, site_url: str | None, nav: Any, options: Mapping[str, Any] | None = None) -> "Site":
        """The book of a configuration.

        Args:
            site_url: As MkDocs has it.
            nav: The same: pages, and sections that hold them, by title or without.
            options: Those of the plugin.

        Examples:
            >>> site = Site.of("https://example.org/book", [{"Home": "index.md"}, {"1": ["a.md"]}])
            >>> site.address, site.pages
            ('https://example.org/book/', ('index.md', 'a.md'))
        """
        given = options or {}
        names = ("blocks", "palette", "labs", "live", "install")
        known = {name: given[name] for name in names if given.get(name)}
        address = f"{site_url.rstrip('/')}/" if site_url else ""
        return cls(address, tuple(_pages(nav)), given.get("package"), **known)


def read_site(file: Path) -> Site:
    """Read `mkdocs.yml` where MkDocs does not run; without the file, nothing is known.

    Args:
        file: Its `!ENV` counts; other tags belong to extensions and stay unread.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not text in UTF-8.
        yaml.YAMLError: If it is no YAML.
    """
    found = _read(file)
    return Site.of(found.get("site_url"), found.get("nav"), _options(found.get("plugins")))


def hidden(file: Path) -> tuple[str, str]:
    """The patterns of pages that the site leaves out, and of its drafts, as `.gitignore` has them.

    Args:
        file: `mkdocs.yml`.
    """
    found = _read(file)
    excluded, drafts = (str(found.get(name) or "") for name in HIDDEN)
    return excluded, drafts


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    found: Any = yaml.load(file.read_text("utf-8"), _Loader) or {}  # noqa: S506 (a safe one)
    if not isinstance(found, dict):
        raise ValueError(f"{file} has no lines of the form `name: value`")
    return found


def _options(plugins: Any) -> Mapping[str, Any]:
    """The plugin's own, in any form that MkDocs takes."""
    entries = [plugins] if isinstance(plugins, dict) else plugins or []
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get(PLUGIN), dict):
            found: Mapping[str, Any] = entry[PLUGIN]
            return found
    return {}


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
