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

from llmbook.plots.palette import COLOURS, LIGHT
from llmbook.plots.style import BookFigure

NARROW = 340  # pixels: the width of a figure on a phone
HREF = "{http://www.w3.org/1999/xlink}href"
PNG = "data:image/png;base64,"
OF_THE_PAGE = {"font-family", "font-stretch", "font-style", "font-variant"}
_NAMES = {value.lower(): name for name, value in LIGHT.items()}


def plain_svg(figure: Figure) -> str:
    """The figure as matplotlib draws it, reproducible byte for byte."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "llmbook"}):
        figure.savefig(buffer, format="svg", dpi=72, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def themed_svgs(figure: Figure) -> list[dict[str, str | int]]:
    """The figure in CSS variables, at its own width and, where that is wide, at 340 px.

    Args:
        figure: A figure in the colours of `llmbook.plots.palette`, its size in pixels / 72.

    Returns:
        One or two drawings, each `{"width": pixels, "svg": text}`, the widest first.

    Raises:
        ValueError: If the figure uses a colour that is not in the palette: it would not follow
            the page's scheme.
    """
    width, height = figure.get_size_inches()
    classes = figure.classes if isinstance(figure, BookFigure) else {}
    drawings = [themed(plain_svg(figure), classes)]
    if width * 72 > NARROW:
        narrow_height = figure.narrow_height if isinstance(figure, BookFigure) else height * 72
        figure.set_size_inches(NARROW / 72, narrow_height / 72)
        drawings.append(themed(plain_svg(figure), classes))
        figure.set_size_inches(width, height)
    return drawings


def themed(drawn: str, classes: Mapping[str, str]) -> dict[str, str | int]:
    """A drawing of matplotlib's, in the page's colours and as HTML can hold it.

    Args:
        drawn: The SVG file.
        classes: The CSS classes of some of its elements, by their ids.

    Returns:
        `{"width": pixels, "svg": text}`, in one line, since a blank one would end the HTML block
        in Markdown.

    Raises:
        ValueError: If a colour is not in the palette.
    """
    svg = ElementTree.fromstring(drawn)  # noqa: S314 (matplotlib has made it)
    _as_html(svg)
    for element in svg.iter():
        element[:] = [made for child in element for made in _recoloured_images(child)]
        element.attrib = {name: _themed(name, value) for name, value in element.items()}
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


def _themed(name: str, value: str) -> str:
    """The value of an attribute in the page's colours, and in numbers of two decimals."""
    if name == "style":
        return "; ".join(
            f"{key}: {_themed(key, each)}"
            for key, each in _properties(value)
            if key not in OF_THE_PAGE
        )
    if re.fullmatch("#[0-9a-fA-F]{6}", value):
        return f"var(--{_name(value)})"
    if name == "href":
        return value
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", " ".join(value.split()))


def _properties(style: str) -> Iterator[tuple[str, str]]:
    """What an attribute `style` says, property by property."""
    for declaration in filter(str.strip, style.split(";")):
        name, _, value = declaration.partition(":")
        yield name.strip(), value.strip()


def _name(colour: str) -> str:
    name = _NAMES.get(colour.lower())
    if name is None:
        raise ValueError(
            f"colour {colour} is not in llmbook.plots.palette, so the figure cannot follow the "
            "page's scheme: draw with llmbook.plots"
        )
    return name


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


def _recoloured_images(element: Element) -> list[Element]:
    """An embedded raster as two palette PNGs, one for each scheme; other elements as they are."""
    if element.tag != "image":
        return [element]
    data = base64.b64decode(element.attrib["href"].removeprefix(PNG))
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    colours, index = np.unique(pixels.reshape(-1, 4), axis=0, return_inverse=True)
    names = [_name(f"#{r:02x}{g:02x}{b:02x}") if alpha else "page" for r, g, b, alpha in colours]
    image = Image.fromarray(index.reshape(pixels.shape[:2]).astype(np.uint8), mode="P")
    made = []
    for scheme, shown in enumerate(("only-light", "only-dark")):
        image.putpalette(
            [byte for name in names for byte in bytes.fromhex(COLOURS[name][scheme][1:])]
        )
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        href = PNG + base64.b64encode(buffer.getvalue()).decode()
        made.append(Element("image", {**element.attrib, "class": shown, "href": href}))
    return made
