"""`python -m llmbook.weave.epub SITE BOOK.epub`: a built site as one book for an e-reader.

What a page has for a browser alone goes: buttons, forms, players, drawings for a phone's width.
Formulas are MathML, figures SVG in the colours of the light scheme, and what was folded is open.
[Pandoc](https://pandoc.org) writes the file.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urljoin
from xml.etree import ElementTree

try:
    import html5lib
    import pypandoc
    from bs4 import BeautifulSoup, Tag
    from mkdocs.config import load_config
    from mkdocs.exceptions import ConfigurationError
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing.name} is not installed: pip install 'llmbook[docs,epub]'")

from llmbook.weave.katex import MACROS
from llmbook.weave.palette import Palette, colours_of

LEFT_OUT: Final = (
    ".headerlink, .kicker, .facts, .cost, .katex-html, .narrow-only, .numbers, .listing-bar, "
    "audio, button, form, nav, noscript, script, style, template, "
    "[hidden]"
)
INK: Final = "#222222"  # of a drawing whose book has no palette
SVG: Final = "{http://www.w3.org/2000/svg}"
DRAWING: Final = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
COLOUR: Final = re.compile(r"var\(--([\w-]+)(?:,\s*([^()]+))?\)")
MACRO: Final = re.compile(rf"(?:{'|'.join(map(re.escape, MACROS))})(?![a-zA-Z])")
STYLE: Final = """\
body { line-height: 1.5 }
pre, code { font-size: .85em; white-space: pre-wrap; overflow-wrap: anywhere }
pre { border-left: 3px solid #999999; margin: .6em 0; padding-left: .6em }
table { border-collapse: collapse; font-size: .85em }
th, td { border-bottom: 1px solid #999999; padding: .2em .5em .2em 0 }
th, td { text-align: left; vertical-align: top }
figure { margin: 1em 0 }
figcaption { font-size: .85em }
img { max-width: 100% }
.output pre { border-left-style: dotted }
.aside { border-left: 3px solid #999999; margin: 1em 0; padding-left: 1em }
"""


def pages(nav: Any) -> Iterator[str]:
    """The folders of a navigation's pages on the site, in its order, without the API's.

    Examples:
        >>> nav = [{"Home": "index.md"}, {"One": ["a/index.md", "a/b.ipynb"]}, "api/x.md"]
        >>> list(pages(nav))
        ['', 'a', 'a/b']
    """
    if not isinstance(nav, str):
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from pages(part)
    elif not nav.startswith(("api/", "http")):
        yield re.sub(r"(^|/)index$", "", re.sub(r"\.\w+$", "", nav))


@dataclass(frozen=True)
class Book:
    """What is known of all pages.

    Attributes:
        site: The folder of the built site.
        folders: Of its pages that are in the book: links to them stay inside.
        address: Where the site is published: other links lead there.
        palette: The colours of drawings.
        drawings: Those that were met, as files of their own, by name.
    """

    site: Path
    folders: frozenset[str]
    address: str
    palette: Palette | None = None
    drawings: dict[str, str] = field(default_factory=dict)

    def article(self, folder: str) -> str:
        """The text of a page as HTML that a book can hold.

        Raises:
            FileNotFoundError: If the site has no such page.
        """
        file = self.site / folder / "index.html"
        if not file.is_file():
            raise FileNotFoundError(f"{file} is not there: build the site first")
        drawn: list[str] = []

        def lift(found: re.Match[str]) -> str:
            drawn.append(found[0])
            kind = re.search(r'class="([^"]*)"', found[0])
            return f'<img class="{kind[1] if kind else ""}" data-drawing="{len(drawn) - 1}">'

        text = DRAWING.sub(lift, file.read_text(encoding="utf-8"))
        content = BeautifulSoup(text, "html.parser").select_one("article")
        assert content, file
        for gone in content.select(LEFT_OUT):
            gone.decompose()
        for again in content.select("details > summary ~ .admonition-title"):
            assert again.parent
            again.parent["id"] = str(again.get("id", ""))
            again.decompose()
        for formula in content.select("annotation"):  # which Pandoc reads
            formula.string = MACRO.sub("", formula.get_text())
        for picture in content.select("img"):
            self._picture(picture, folder, drawn)
        for box in content.select("details, .admonition"):
            title = box.select_one(":scope > summary, :scope > .admonition-title")
            if title and "predict" in box.get_attribute_list("class"):
                title.insert(0, "Predict first: ")
            box.name, box.attrs = "div", {"class": "aside", **_only(box, "id")}
            if title:
                _bold(title)
        for link in content.select("a[href]"):
            link.attrs = {"href": self._target(str(link["href"]), folder), **_only(link, "id")}
        for tag in content.select("[id]"):
            _mark(tag, _anchor(folder, str(tag.attrs.pop("id"))))
        for value in content.select("span:not([id])"):
            value.unwrap()
        for division in content.select("div:has(h1), div:has(h2)"):  # chapters begin at a heading
            division.unwrap()
        heading = content.select_one("h1")
        assert heading, file
        heading["id"] = _anchor(folder)
        return content.decode_contents()

    def _picture(self, picture: Tag, folder: str, drawn: list[str]) -> None:
        """Give a picture its file: a drawing one of its own, another the site's."""
        source = str(picture.get("src", ""))
        if number := picture.attrs.pop("data-drawing", None):
            name = f"{_anchor(folder)}-{len(self.drawings)}.svg"
            self.drawings[name], words = standalone(drawn[int(str(number))], self.palette)
            picture.attrs = {"src": name, "alt": words}
        elif not source.startswith("data:"):
            picture["src"] = str((self.site / normpath(f"{folder}/{source}")).resolve())

    def _target(self, link: str, folder: str) -> str:
        """Where a link leads: to a place in the book, or to the published site."""
        if re.match(r"[a-z]+:", link):
            return link
        path, _, name = link.partition("#")
        to = normpath(f"/{folder}/{path}").strip("/")
        if to in self.folders:
            return f"#{_anchor(to, name)}"
        slash = "/" if path.endswith("/") else ""
        return urljoin(self.address, f"{to}{slash}" + (f"#{name}" if name else ""))


def _anchor(folder: str, name: str = "") -> str:
    """The one id in the book of a place on a page."""
    page = folder.replace("/", "-") or "home"
    return f"{page}--{name}" if name else page


def _only(tag: Tag, name: str) -> dict[str, Any]:
    return {name: tag[name]} if name in tag.attrs else {}


def _mark(tag: Tag, name: str) -> None:
    """Give a place its id, where Pandoc keeps it: in a span but for what has a name of its own."""
    if re.fullmatch(r"h[1-6]|div|figure|span", tag.name):
        tag["id"] = name
        return
    within = (
        tag.select_one("td, th, li, dt, dd")
        if tag.name in {"table", "tr", "ol", "ul", "dl"}
        else tag
    )
    (within or tag).insert(0, BeautifulSoup("", "html.parser").new_tag("span", id=name))


def _bold(title: Tag) -> None:
    """Make a paragraph in bold of what names a box."""
    title.name, title.attrs = "p", {}
    inner = BeautifulSoup("", "html.parser").new_tag("strong")
    inner.extend(list(title.contents))
    title.append(inner)


def standalone(drawing: str, palette: Palette | None) -> tuple[str, str]:
    """A drawing as a file of its own, in the light scheme, and the words that tell what it shows.

    Examples:
        >>> standalone('<svg viewbox="0 0 1 1"><title>A dot</title><a><circle></a></svg>', None)
        ('<svg xmlns="http://www.w3.org/2000/svg" ...<circle />...</svg>', 'A dot')
    """
    colours = {name: pair[0] for name, pair in palette.colours.items()} if palette else {}
    text = COLOUR.sub(lambda found: colours.get(found[1], found[2] or INK), drawing)
    text = re.sub(r"</?a\b[^>]*>", "", text)
    ElementTree.register_namespace("", SVG[1:-1])
    (svg,) = html5lib.parseFragment(text)  # which knows names of SVG that have capitals
    words = svg.get("aria-label") or svg.findtext(f"{SVG}title") or ""
    for above in list(svg.iter()):
        for child in list(above):
            if child.get("class") == "only-dark":
                above.remove(child)
        above.attrib = {name: value for name, value in above.items() if "xmlns" not in name}
    svg.set("font-family", "sans-serif")
    return ElementTree.tostring(svg, encoding="unicode"), words


def main(arguments: list[str] | None = None) -> int:
    """Write the book; exit status 2 if the site is not one of this folder's `mkdocs.yml`."""
    parser = argparse.ArgumentParser(prog="python -m llmbook.weave.epub", description=__doc__)
    parser.add_argument("site", type=Path, help="a built site")
    parser.add_argument("book", type=Path, help="the file to write, as book.epub")
    parser.add_argument("--config", default="mkdocs.yml", help="of the site")
    options = parser.parse_args(arguments)
    if options.book.suffix != ".epub":
        parser.error(f"{options.book} must end in .epub")
    try:
        config = load_config(options.config)
        palette = colours_of(config.plugins["llmbook-weave"].config.get("palette", ""))
        folders = list(pages(config.nav or []))
        book = Book(options.site, frozenset(folders), config.site_url or "", palette)
        text = "\n".join(map(book.article, folders))
    except (ConfigurationError, FileNotFoundError) as wrong:
        parser.error(str(wrong))
    with TemporaryDirectory() as scratch:
        for name, drawing in {**book.drawings, "style.css": STYLE}.items():
            Path(scratch, name).write_text(drawing, encoding="utf-8")
        meta = {"title": config.site_name, "lang": config.theme["language"] or "en"}
        meta |= {"author": config.site_author, "rights": config.copyright}
        meta |= {"identifier": config.site_url, "description": config.site_description}
        pypandoc.convert_text(
            f"<html><body>{text}</body></html>",
            "epub3",
            format="html",
            outputfile=str(options.book.resolve()),
            extra_args=[
                *(f"--metadata={name}:{value}" for name, value in meta.items() if value),
                *("--mathml", "--toc", "--toc-depth=2", "--split-level=1", "--css=style.css"),
                "--fail-if-warnings",
                f"--resource-path={scratch}",
            ],
            cworkdir=scratch,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
