"""The word map: a frame of controls in which `assets/wordmap/wordmap.js` draws and searches."""

from pathlib import Path

PAGE = "wordmap.md"  # whose cells make the map
WORDS = "assets/wordmap/words.bin"  # in the site
FRAME = Path(__file__).with_suffix(".html")


def wordmap(text: str) -> str:
    """The frame, for the fence of that name; its text is the word that is asked about at first.

    Examples:
        >>> wordmap("queen")[:40]
        '<section class="wordmap" id="wordmap" ar'
    """
    return FRAME.read_text(encoding="utf-8").replace("{{word}}", text.strip())
