"""The colours in which figures follow the page; nothing is drawn here, or imported for it."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Palette:
    """The colours of a book: for each name two, in the light and in the dark scheme.

    Attributes:
        module: Where they are defined, for messages.
        colours: `#rrggbb`, by name.
    """

    module: str
    colours: Mapping[str, Sequence[str]]

    @functools.cached_property
    def names(self) -> dict[str, str]:
        """The name of each colour of the light scheme, in which figures are drawn."""
        return {light.lower(): name for name, (light, _) in self.colours.items()}

    def name(self, colour: str) -> str:
        """The name of a colour.

        Raises:
            ValueError: If the palette has no such colour.
        """
        name = self.names.get(colour.lower())
        if name is None:
            raise ValueError(
                f"colour {colour} is not in {self.module}, so the figure cannot follow the page's "
                "scheme: draw in its colours"
            )
        return name


@functools.cache
def colours_of(module: str) -> Palette | None:
    """The palette `COLOURS` of a module; `None` for no name.

    Raises:
        ValueError: If there is no such module, or it has no `COLOURS`.
    """
    if not module:
        return None
    try:
        colours = import_module(module).COLOURS
    except (ImportError, AttributeError) as error:
        raise ValueError(f"palette: {module} has no COLOURS: {error}") from None
    return Palette(module, colours)
