"""The same emoji drawn by three vendors, with names, keywords and groups.

The pictures are other people's, under licences of their own: Noto Emoji by Google (Apache-2.0),
Twemoji by Twitter and others (CC BY 4.0), OpenMoji (CC BY-SA 4.0, which asks of whoever shares
changed pictures to share them alike). Each vendor has a folder in `data/emoji` with its licence.

`python -m llmbook.emoji` makes the files again. It needs npm, and PyPI's resvg-py 0.5.0, which
draws the vendors' SVG.
"""

import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llmbook.datasets import DATA, Source, member, npm, remake

VENDORS = ("noto", "twemoji", "openmoji")
SIZE = 32
"""Pixels of a side."""
COLUMNS = 38
"""Pictures in a line of a sheet."""


@dataclass(frozen=True)
class Emoji:
    """One emoji, whoever draws it.

    Attributes:
        text: The characters.
        name: As Unicode names it.
        group: Where Unicode sorts it, such as "Food & Drink".
        keywords: Words that people may look for.
    """

    text: str
    name: str
    group: str
    keywords: tuple[str, ...]


@cache
def emoji() -> tuple[Emoji, ...]:
    """All emoji that three vendors draw, one of each family, in Unicode's order.

    Left out are flags, keycaps, clock faces, and whoever differs from another in sex or age alone,
    or in the direction of walking: who has seen one of these has seen the other.

    Examples:
        >>> found = emoji()
        >>> found[0].name, found[0].group
        ('grinning face', 'Smileys & Emotion')
    """
    rows = json.loads((DATA / "emoji" / "names.json").read_text(encoding="utf-8"))
    return tuple(Emoji(text, name, group, tuple(keywords)) for text, name, group, keywords in rows)


@cache
def pictures(vendor: str) -> Float[Tensor, "emoji 3 32 32"]:
    """A vendor's pictures in the order of `emoji`, on white.

    Args:
        vendor: One of `VENDORS`.

    Returns:
        Red, green and blue from 0 to 1.

    Raises:
        ValueError: If there is no such vendor.

    Examples:
        >>> pictures("noto")[0, :, 0, 0]  # a corner, which the face leaves white
        tensor([1., 1., 1.])
    """
    import numpy as np
    from PIL import Image

    if vendor not in VENDORS:
        raise ValueError(f"vendor must be one of {list(VENDORS)}, got {vendor!r}")
    with Image.open(DATA / "emoji" / vendor / "sheet.png") as sheet:
        pixels = torch.from_numpy(np.array(sheet.convert("RGB"))).permute(2, 0, 1) / 255
    cells = pixels.unfold(1, SIZE, SIZE).unfold(2, SIZE, SIZE)  # channel, line, column, y, x
    return cells.permute(1, 2, 0, 3, 4).flatten(0, 1)[: len(emoji())].contiguous()


# --- making the files again ------------------------------------------------------------------

_PACKAGES = {
    "noto": "npm: @iconify-json/noto@1.2.9",
    "twemoji": "npm: @discordapp/twemoji@16.0.1",
    "openmoji": "npm: openmoji@17.0.0",
}
_LICENCES = {
    "noto": "Apache-2.0, © Google Inc.",
    "twemoji": "CC-BY-4.0, © Twitter and contributors, Discord",
    "openmoji": "CC-BY-SA-4.0, © OpenMoji",
}
_HASHES = {
    "noto": "baceed2df0f22cd0197c4e9add6d760a19a4bd41d3abdcf57e5c9ccbcfce510a",
    "twemoji": "bb1ec01ce24e03a9500d7b3f00ba3decaf1aba39d35689509746ba1cbeab6753",
    "openmoji": "db6a6d36c54ff15f8c533d2fc7c7ca0c37059ab617df3b350c13634fe998dadf",
}
SOURCES = (
    Source(
        file="emoji/names.json",
        package="npm: unicode-emoji-json@0.9.0",
        licence="MIT, and Unicode's for its data; keywords of npm: emojilib@4.0.3, MIT",
        sha256="41bd774577f487d03a21ae360700976a5f6512833d8dfeaeae90cb4f05c87e20",
        what="characters, name, group and keywords of those that three vendors draw",
    ),
    *(
        Source(
            file=f"emoji/{vendor}/sheet.png",
            package=package,
            licence=_LICENCES[vendor],
            sha256=_HASHES[vendor],
            what="each drawing cut to its content, made square, 32 pixels wide on white, all on a "
            "sheet of 256 colours",
        )
        for vendor, package in _PACKAGES.items()
    ),
)
_KEYWORDS = "emojilib@4.0.3"
_ALIKE = re.compile(
    r"\b(?:m[ae]n|wom[ae]n|person|people|boys?|girls?|prince|princess|facing right)\b|[^a-z ]"
)
_CLOCK = re.compile(r"\b(?:o’clock|[a-z]+-thirty)$")


def _code(text: str) -> str:
    """What a file is called: code points without the sign that asks for colour."""
    return "-".join(f"{ord(c):x}" for c in text if c != "\ufe0f")


@cache
def _svgs(vendor: str) -> dict[str, str]:
    """A vendor's drawings by the emoji's code."""
    archive = npm(_PACKAGES[vendor].removeprefix("npm: "))
    if vendor == "noto":
        whole: dict[str, Any] = json.loads(member(archive, "package/icons.json"))
        codes: dict[str, str] = json.loads(member(archive, "package/chars.json"))
        view = f"0 0 {whole['width']} {whole['height']}"
        frame = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{view}">'
        icons = whole["icons"]
        return {
            code.replace("-fe0f", ""): f"{frame}{icons[name]['body']}</svg>"
            for code, name in codes.items()
            if name in icons
        }
    folder = {"twemoji": "package/dist/svg/", "openmoji": "package/color/svg/"}[vendor]
    return {
        name.removeprefix(folder).removesuffix(".svg").lower().replace("-fe0f", ""): member(
            archive, name
        ).decode()
        for name in archive.getnames()
        if name.startswith(folder) and name.endswith(".svg")
    }


def _make_names(package: str) -> bytes:
    every = json.loads(member(npm(package), "package/data-by-emoji.json"))
    words = json.loads(member(npm(_KEYWORDS), "package/dist/emoji-en-US.json"))
    families, rows = set(), []
    for text, about in every.items():
        name = about["name"]
        family = " ".join(_ALIKE.sub(" ", name.lower()).split())
        drawn = all(_code(text) in _svgs(vendor) for vendor in VENDORS)
        if not drawn or about["group"] == "Flags" or _CLOCK.search(name) or family in families:
            continue
        families.add(family)
        keywords = [word.replace("_", " ") for word in words.get(text, [])[1:]]  # without its name
        rows.append([text, name, about["group"], keywords])
    return ("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n").encode()


def _make_sheet(package: str, vendor: str) -> bytes:
    import resvg_py
    from PIL import Image

    del package  # known by the vendor
    every = emoji()
    lines = -(-len(every) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * SIZE, lines * SIZE), "white")
    for number, one in enumerate(every):
        svg = _svgs(vendor)[_code(one.text)]
        png = resvg_py.svg_to_bytes(svg_string=svg, width=128, height=128)
        drawn = Image.open(io.BytesIO(png)).convert("RGBA")
        drawn = drawn.crop(drawn.getchannel("A").getbbox())
        side = max(drawn.size)
        square = Image.new("RGBA", (side, side), (255, 255, 255, 0))
        square.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
        small = square.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
        y, x = divmod(number, COLUMNS)
        sheet.paste(small, (x * SIZE, y * SIZE), small)
    buffer = io.BytesIO()
    sheet.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


MAKE: dict[str, Callable[[str], bytes]] = {
    "emoji/names.json": _make_names,
    **{f"emoji/{vendor}/sheet.png": partial(_make_sheet, vendor=vendor) for vendor in VENDORS},
}


def main() -> None:
    """Make all files again; those that come out otherwise than they should are left beside."""
    remake(SOURCES, MAKE)


if __name__ == "__main__":
    main()
