"""Turn a matplotlib figure into SVG that follows the page: its colours, its font, its width.

One drawing unit is one CSS pixel. A figure wider than a phone is laid out and saved twice, so
that its text keeps its size at every width. Colours become CSS variables, so that one drawing
serves the light and the dark scheme.
"""

import base64
import io
import re
from collections.abc import Iterator, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from llmbook.weave.palette import Palette

NARROW = 340  # pixels: the width of a figure on a phone
HREF = "{http://www.w3.org/1999/xlink}href"
PNG = "data:image/png;base64,"
OF_THE_PAGE = {"font-family", "font-stretch", "font-style", "font-variant"}


def plain_svg(figure: Figure) -> str:
    """The figure as matplotlib draws it, reproducible byte for byte."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "llmbook"}):
        figure.savefig(buffer, format="svg", dpi=72, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def themed_svgs(figure: Figure, palette: Palette | None = None) -> list[dict[str, str | int]]:
    """The figure in CSS variables, at its own width and, where that is wide, at 340 px.

    Args:
        figure: A matplotlib figure, its size in pixels / 72; `narrow_height`, if it has one, is its
            height on narrow pages.
        palette: Its colours; without, they stay what they are in both schemes, and so does the
            layout at all widths.

    Returns:
        One or two drawings, each `{"width": pixels, "svg": text}`, the widest first.

    Raises:
        ValueError: If the figure uses a colour that is not in the palette: it would not follow
            the page's scheme.
    """
    width, height = figure.get_size_inches()
    classes = getattr(figure, "classes", {})
    drawings = [themed(plain_svg(figure), classes, palette)]
    narrow_height = getattr(figure, "narrow_height", height * 72 if palette else None)
    if width * 72 > NARROW and narrow_height:
        figure.set_size_inches(NARROW / 72, narrow_height / 72)
        drawings.append(themed(plain_svg(figure), classes, palette))
        figure.set_size_inches(width, height)
    return drawings


def themed(
    drawn: str, classes: Mapping[str, str], palette: Palette | None = None
) -> dict[str, str | int]:
    """A drawing of matplotlib's, in the page's colours and as HTML can hold it.

    Args:
        drawn: The SVG file.
        classes: The CSS classes of some of its elements, by their ids.
        palette: Its colours, if the book has a palette.

    Returns:
        `{"width": pixels, "svg": text}`, in one line, since a blank one would end the HTML block
        in Markdown.

    Raises:
        ValueError: If a colour is not in the palette.
    """
    svg = ElementTree.fromstring(drawn)  # noqa: S314 (matplotlib has made it)
    _as_html(svg)
    for element in svg.iter():
        element[:] = [made for child in element for made in _recoloured_images(child, palette)]
        element.attrib = {name: _themed(name, value, palette) for name, value in element.items()}
    for element in svg.iter():
        if names := classes.get(element.get("id", "")):
            element.set("class", names)
    _drop_unused_ids(svg)
    *_, width, height = (round(float(number)) for number in svg.attrib["viewBox"].split())
    box = f"0 0 {width} {height}"
    svg.attrib = {"width": str(width), "height": str(height), "viewBox": box}
    return {"width": width, "svg": ElementTree.tostring(svg, encoding="unicode")}


def _as_html(svg: Element) -> None:
    """Take out what HTML has no need of: namespaces, metadata, matplotlib's style sheet, blanks."""
    for element in svg.iter():
        element.tag = element.tag.rpartition("}")[2]
        if HREF in element.attrib:
            element.set("href", element.attrib.pop(HREF))
        element.text = element.text if (element.text or "").strip() else None
        element.tail = element.tail if (element.tail or "").strip() else None
    for element in svg.iter():
        element[:] = [child for child in element if child.tag not in {"metadata", "style"}]
    for element in svg.iter():
        element[:] = [child for child in element if child.tag != "defs" or len(child)]


def _themed(name: str, value: str, palette: Palette | None) -> str:
    """The value of an attribute in the page's colours, and in numbers of two decimals."""
    if name == "style":
        return "; ".join(
            f"{key}: {_themed(key, each, palette)}"
            for key, each in _properties(value)
            if key not in OF_THE_PAGE
        )
    if palette and re.fullmatch("#[0-9a-fA-F]{6}", value):
        return f"var(--{palette.name(value)})"
    if name == "href":
        return value
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", " ".join(value.split()))


def _properties(style: str) -> Iterator[tuple[str, str]]:
    """What an attribute `style` says, property by property."""
    for declaration in filter(str.strip, style.split(";")):
        name, _, value = declaration.partition(":")
        yield name.strip(), value.strip()


def _drop_unused_ids(svg: Element) -> None:
    """Keep the ids that the drawing itself refers to: matplotlib names every group."""
    used = set()
    for element in svg.iter():
        for name, value in element.items():
            used |= set(re.findall(r"url\(#(.+?)\)", value))
            if name == "href":
                used.add(value.removeprefix("#"))
    for element in svg.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)


def _recoloured_images(element: Element, palette: Palette | None) -> list[Element]:
    """An embedded raster as two palette PNGs, one for each scheme; other elements as they are."""
    if element.tag != "image" or palette is None:
        return [element]
    data = base64.b64decode(element.attrib["href"].removeprefix(PNG))
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    colours, index = np.unique(pixels.reshape(-1, 4), axis=0, return_inverse=True)
    found = [(f"#{r:02x}{g:02x}{b:02x}", alpha) for r, g, b, alpha in colours]
    names = [palette.name(colour) if alpha else "page" for colour, alpha in found]
    image = Image.fromarray(index.reshape(pixels.shape[:2]).astype(np.uint8), mode="P")
    made = []
    for scheme, shown in enumerate(("only-light", "only-dark")):
        image.putpalette(
            [byte for name in names for byte in bytes.fromhex(palette.colours[name][scheme][1:])]
        )
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        href = PNG + base64.b64encode(buffer.getvalue()).decode()
        made.append(Element("image", {**element.attrib, "class": shown, "href": href}))
    return made
