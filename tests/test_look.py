"""Rules of the visual system that a test can hold."""

import re
from pathlib import Path

import pytest

from llmbook.plots.palette import COLOURS, LIGHT, contrast
from tests.book import DOCS, ROOT

CSS = (DOCS / "assets/book.css").read_text(encoding="utf-8")
GROUNDS = ("page", "code", "output", "raised", "correction")
TEXT = ("ink", "ink-2", "ink-3", "rubric", "blue", "amber", "teal", "plum", "slate")
MARKS = ("control", "ochre", *TEXT)


def tokens(selector: str) -> dict[str, str]:
    """The custom properties of the first block whose selector holds the text."""
    block = re.search(re.escape(selector) + r"[^{]*\{(.*?)\}", CSS, re.DOTALL)
    assert block is not None
    return dict(re.findall(r"--([\w-]+): (#[0-9A-F]{6})", block[1]))


SCHEMES = (tokens('[data-md-color-scheme="default"]'), tokens('[data-md-color-scheme="slate"]'))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_style_sheet_and_the_palette_are_one_table(scheme: int) -> None:
    """Figures take their colours from the palette, pages from the style sheet."""
    assert {n: c for n, c in SCHEMES[scheme].items() if n in COLOURS} == {
        name: pair[scheme] for name, pair in COLOURS.items()
    }


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_marks_have_contrast_on_every_ground(scheme: int) -> None:
    """4.5 to 1 for text, 3 to 1 for marks that carry meaning."""
    for ground in GROUNDS:
        for name in TEXT:
            assert contrast(COLOURS[name][scheme], COLOURS[ground][scheme]) >= 4.5, (name, ground)
        for name in MARKS:
            assert contrast(COLOURS[name][scheme], COLOURS[ground][scheme]) >= 3, (name, ground)
    for name, colour in SCHEMES[scheme].items():
        if name.startswith("code-"):
            assert contrast(colour, COLOURS["code"][scheme]) >= 4.5, name
    for name in COLOURS:
        if name.startswith("on-"):
            assert contrast(COLOURS[name][scheme], COLOURS[name[3:]][scheme]) >= 4.5, name
    assert contrast(COLOURS["page"][scheme], COLOURS["ink"][scheme]) >= 4.5  # the button


def test_every_light_colour_is_unique() -> None:
    """Else a drawing could not be recoloured."""
    assert len(set(LIGHT.values())) == len(LIGHT)


def test_all_style_is_in_one_short_file_with_one_block_of_colours() -> None:
    """At most 300 lines; no colour outside the tokens but white for paper."""
    assert len(CSS.splitlines()) <= 300
    rest = CSS[CSS.index(":root, [data-md-color-scheme] {") :]
    assert set(re.findall(r"#[0-9A-Fa-f]{3,8}\b", rest)) <= {"#FFFFFF"}
    assert not re.search(r"rgba?\(|hsla?\(", rest)


def test_no_page_and_no_template_has_a_style_attribute() -> None:
    """Figures alone may."""
    for file in [*DOCS.rglob("*.md"), *(DOCS / "overrides").rglob("*.html")]:
        assert not re.search(r"<[^>]+\sstyle=", file.read_text(encoding="utf-8")), file


def test_the_fonts_are_four_files_of_at_most_75_kb() -> None:
    """Counted as they are sent."""
    files = list((DOCS / "assets/fonts").glob("*.woff2"))
    assert len(files) == 4
    assert sum(file.stat().st_size for file in files) <= 75_000


def test_vendored_files_are_what_their_checksums_say() -> None:
    """A change by hand would be lost at the next refresh."""
    import hashlib

    lines = (DOCS / "assets/vendored.txt").read_text(encoding="utf-8").splitlines()
    listed = dict(line.split("  ")[::-1] for line in lines if not line.startswith("#"))
    assert len(listed) >= 14
    for name, digest in listed.items():
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == digest, name


def test_the_screenshot_of_the_readme_is_there() -> None:
    """The README shows the book."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme):
        assert Path(ROOT / picture).is_file()
