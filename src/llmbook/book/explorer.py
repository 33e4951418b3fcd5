"""The explorer: a frame of controls in which `assets/explorer/explorer.js` runs a model.

It is hidden until its script has found it, and holds nothing of a model until a reader loads one.
"""

import html
from pathlib import Path

PAGE = "explorer.md"  # whose cells train the model
MODEL = "assets/explorer/model.safetensors"  # in the site
FRAME = Path(__file__).with_suffix(".html")


def explorer(text: str) -> str:
    """The frame, for the fence of that name; its text is what stands in the field at first.

    Examples:
        >>> explorer("We the people")[:42]
        '<section class="explorer" id="explorer" ar'
    """
    frame = FRAME.read_text(encoding="utf-8")
    return frame.replace("{{text}}", html.escape(text.strip(), quote=False))
