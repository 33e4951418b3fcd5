"""A style sheet for what weave writes, for a book that has none of its own."""

from importlib.resources import files

STYLE_SHEET = "assets/weave.css"  # where the site has it


def style_sheet(palette: str = "") -> str:
    """The style sheet, with the colours of a palette in both schemes of Material's.

    Args:
        palette: The module with `COLOURS`; without one, figures keep their own.

    Raises:
        ValueError: If that has none.
    """
    from llmbook.weave.figures import colours_of

    text = files("llmbook.weave").joinpath("assets/weave.css").read_text(encoding="utf-8")
    found = colours_of(palette)
    if found is None:
        return text
    light, dark = (
        "".join(f"--{name}:{both[scheme]};" for name, both in found.colours.items())
        for scheme in (0, 1)
    )
    return f":root{{{light}}}\n[data-md-color-scheme=slate]{{{dark}}}\n{text}"
