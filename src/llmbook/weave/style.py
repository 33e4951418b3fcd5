"""The style sheet for what weave writes, for a book that has none of its own, and that of dials."""

from importlib.resources import files

from llmbook.weave.live import LEFT_OUT
from llmbook.weave.palette import colours_of

STYLE_SHEET = "assets/weave.css"  # where the site has it
DIALS = ("assets/weave/dials.css", "assets/weave/dials.js")  # likewise


def style_sheet(palette: str = "") -> str:
    """The style sheet, with the colours of a palette in both schemes of Material's.

    Args:
        palette: The module with `COLOURS`; without one, figures keep their own.

    Raises:
        ValueError: If that has none.
    """
    text = files("llmbook.weave").joinpath("assets/weave.css").read_text(encoding="utf-8")
    found = colours_of(palette)
    if found is None:
        return text
    light, dark = (
        "".join(f"--{name}:{both[scheme]};" for name, both in found.colours.items())
        for scheme in (0, 1)
    )
    return f":root{{{light}}}\n[data-md-color-scheme=slate]{{{dark}}}\n{text}"


def dials() -> dict[str, str]:
    """The style and the script of figures that turn, by their places, without comments."""
    folder = files("llmbook.weave").joinpath("assets")
    texts = {place: folder.joinpath(place.rpartition("/")[2]).read_text("utf-8") for place in DIALS}
    return {place: LEFT_OUT.sub("", text) for place, text in texts.items()}
