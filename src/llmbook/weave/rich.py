"""What a cell shows besides text: HTML, formulas and pictures, as a page can safely hold them."""

import base64
import html
import re
from collections.abc import Mapping
from typing import Any

PICTURES = {
    "image/svg+xml": "svg+xml",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/gif": "gif",
}
EMBEDDED = {"audio", "img", "source", "video"}  # whose data may stand in the page
DROPPED = {"script", "style"}


def picture(data: Mapping[str, Any]) -> str | None:
    """The address of the picture among an output's forms, which holds all of it; or `None`."""
    for kind, name in PICTURES.items():
        if kind in data:
            content = "".join(data[kind])
            if name == "svg+xml":  # as an image, no script in it runs
                content = base64.b64encode(content.encode()).decode()
            return f"data:image/{name};base64,{''.join(content.split())}"
    return None


def shown(data: Mapping[str, Any], metadata: Mapping[str, Any], alt: str = "") -> str | None:
    """The best form of an output as HTML, in Jupyter's order: HTML, SVG, a formula, a picture.

    Args:
        data: The output's forms, by media type.
        metadata: What Jupyter knows of them, such as a picture's size.
        alt: What a picture shows, for who cannot see it.

    Returns:
        HTML without scripts; `None` for text, which has another place.

    Raises:
        ValueError: For what only a script can show.
    """
    if "text/html" in data:
        source = "".join(data["text/html"])
        found = cleaned(source)
        if found.strip() or not source.strip():
            return found
        raise ValueError("this cell shows what only a script can draw: show a picture or a table")
    if "text/markdown" in data:
        return None
    if "image/svg+xml" not in data and "text/latex" in data:
        return formula("".join(data["text/latex"]))
    if address := picture(data):
        sizes: Mapping[str, Any] = next(
            (metadata[kind] for kind in PICTURES if kind in metadata), {}
        )
        size = "".join(
            f' {name}="{int(sizes[name])}"' for name in ("width", "height") if sizes.get(name)
        )
        said = html.escape(alt or "A picture that the cell above makes")
        return f'<img src="{address}" alt="{said}"{size}>'
    named = re.fullmatch(r"<[\w.]+ object>", "".join(data.get("text/plain", "")))
    if named or "text/plain" not in data:
        others = sorted(set(data) - {"text/plain"})
        if others:
            raise ValueError(f"no page can show {', '.join(others)}: show text, HTML or a picture")
    return None


def cleaned(source: str) -> str:
    """HTML without scripts, styles, frames and handlers of events.

    Examples:
        >>> cleaned('<b onclick="steal()">bold</b><script>steal()</script>')
        '<b>bold</b>'
    """
    import nh3

    attributes = {name: set(allowed) for name, allowed in nh3.ALLOWED_ATTRIBUTES.items()}
    attributes["*"] = {"class", "style", "title", "lang", "dir", "role", "aria-label"}
    attributes["img"] = attributes.get("img", set()) | {"src", "alt", "width", "height"}
    for media in ("audio", "video"):
        attributes[media] = {"controls", "src", "width", "height"}
    attributes["source"] = {"src", "type"}

    def safe(tag: str, name: str, value: str) -> str | None:
        if name == "style" and re.search(r"url\(|expression|position|@", value, re.I):
            return None
        embeds = tag in EMBEDDED and re.match(r"data:(image|audio|video)/", value)
        return None if value.lstrip().lower().startswith("data:") and not embeds else value

    return nh3.clean(
        source,
        tags=nh3.ALLOWED_TAGS | {"audio", "source", "video"},
        clean_content_tags=DROPPED,
        attributes=attributes,
        attribute_filter=safe,
        url_schemes={"http", "https", "mailto", "data"},
        link_rel="noopener noreferrer",
    )


def formula(source: str) -> str:
    r"""LaTeX as MathML, which needs no style sheet.

    Args:
        source: With its delimiters, as `$…$`, `\[…\]` or an environment.

    Raises:
        ValueError: If it cannot be read.

    Examples:
        >>> formula("$x^2$")[:6]
        '<math '
    """
    from llmbook.weave.katex import render

    tex = source.strip()
    display = tex.startswith(("$$", r"\[", r"\begin"))
    for start, end in (("$$", "$$"), ("$", "$"), (r"\[", r"\]"), (r"\(", r"\)")):
        if tex.startswith(start) and tex.endswith(end):
            tex = tex[len(start) : -len(end)]
            break
    found = re.search(r"<math.*</math>", render(tex.strip(), display), re.DOTALL)
    assert found
    return found[0]


def in_markdown(source: str) -> str:
    r"""HTML that Markdown, which reads it next, leaves as it is: in one line, without its marks.

    Examples:
        >>> in_markdown("<pre>a_b\n```</pre>")
        '<pre>a&#95;b&#10;&#96;&#96;&#96;</pre>'
    """
    return re.sub(r"[\\`*_{}\[\]()|~$^@\n]", lambda found: f"&#{ord(found[0])};", source)
