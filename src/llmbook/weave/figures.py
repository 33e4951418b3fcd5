"""Turn a matplotlib figure into SVG that follows the page: its colours, its font, its width.

One drawing unit is one CSS pixel. A figure wider than a phone is laid out and saved twice, so
that its text keeps its size at every width. Colours become CSS variables, so that one drawing
serves the light and the dark scheme.
"""

import base64
import io
import re

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from llmbook.plots.palette import COLOURS, LIGHT

NARROW = 340  # pixels: the width of a figure on a phone
_TOKEN = {value.lower(): name for name, value in LIGHT.items()}


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
    drawings = [_themed(figure)]
    if width * 72 > NARROW:
        narrow_height = getattr(figure, "narrow_height", height * 72)
        figure.set_size_inches(NARROW / 72, narrow_height / 72)
        drawings.append(_themed(figure))
        figure.set_size_inches(width, height)
    return drawings


def _themed(figure: Figure) -> dict[str, str | int]:
    svg = plain_svg(figure)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(
        r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.S
    )
    svg = re.sub(r"<image [^>]*?/?>(</image>)?", _recoloured_image, svg, flags=re.S)
    svg = re.sub(r"#[0-9a-fA-F]{6}\b", lambda found: f"var(--{_token(found[0])})", svg)
    svg = re.sub(r"font: (?:(\d+) )?([\d.]+)px [^;\"]+", _font, svg)
    svg = re.sub(r"font-(family|stretch|variant|style): [^;\"]+;? ?", "", svg)
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\d+\.\d{2})\d+", r"\1", tag[0]), svg)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    width, height = (round(float(number)) for number in size.groups())  # type: ignore[union-attr]
    head = f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    svg = re.sub(r"<svg[^>]*>", head, svg, count=1).replace("xlink:href", "href")
    svg = re.sub(r"\s*<defs>\s*</defs>", "", svg)
    svg = re.sub(r' id="class-([^"]+)"', r' class="\1"', svg)  # what the style sheet points at
    used = set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r">\s+<", "><", svg)  # a blank line would end the HTML block in Markdown
    return {"width": width, "svg": re.sub(r"\s+", " ", svg).strip()}


def _token(colour: str) -> str:
    name = _TOKEN.get(colour.lower())
    if name is None:
        raise ValueError(
            f"colour {colour} is not in llmbook.plots.palette, so the figure cannot follow the "
            "page's scheme: draw with llmbook.plots"
        )
    return name


def _font(found: re.Match[str]) -> str:
    weight = f"; font-weight: {found[1]}" if found[1] and found[1] != "400" else ""
    return f"font-size: {found[2]}px{weight}"


def _recoloured_image(found: re.Match[str]) -> str:
    """An embedded raster as two palette PNGs, one for each scheme."""
    tag = found[0]
    data = tag.partition("base64,")[2].partition('"')[0]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
    colours, index = np.unique(pixels.reshape(-1, 4), axis=0, return_inverse=True)
    out = []
    for scheme in (0, 1):
        flat = []
        for red, green, blue, alpha in colours:
            name = _token(f"#{red:02x}{green:02x}{blue:02x}") if alpha else "page"
            flat += [int(COLOURS[name][scheme][i : i + 2], 16) for i in (1, 3, 5)]
        image = Image.fromarray(index.reshape(pixels.shape[:2]).astype(np.uint8), mode="P")
        image.putpalette(flat)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        encoded = base64.b64encode(buffer.getvalue()).decode()
        new = re.sub(
            r'xlink:href="[^"]+"', f'href="data:image/png;base64,{encoded}"', tag, flags=re.S
        )
        out.append(new.replace("<image ", f'<image class="only-{("light", "dark")[scheme]}" ', 1))
    return "".join(out)
