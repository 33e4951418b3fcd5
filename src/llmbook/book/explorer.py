"""The explorer: frames of controls in which the scripts of `assets/explorer` run and train a model.

They are hidden until their scripts have found them, and hold nothing until a reader loads it.
"""

import html
from pathlib import Path

from llmbook.experiments.explored import rhyme

PAGE = "explorer.md"  # whose cells train the model
MODEL = "assets/explorer/model.safetensors"  # in the site
FRAMES = [Path(__file__).with_name(name) for name in ("explorer.html", "trainer.html")]


def explorer(text: str) -> str:
    """The frame, for the fence of that name; its text is what stands in the field at first.

    Examples:
        >>> explorer("We the people")[:42]
        '<section class="explorer" id="explorer" ar'
    """
    return _filled(FRAMES[0], text.strip())


def trainer(text: str) -> str:
    """The frame in which a reader trains a model, with the rhyme to begin with; no text of a fence.

    Raises:
        ValueError: If the fence has one.
    """
    if text.strip():
        raise ValueError(f"the fence trainer takes no text, got {text.strip()!r}")
    return _filled(FRAMES[1], rhyme())


def _filled(frame: Path, text: str) -> str:
    escaped = html.escape(text, quote=False).replace("\n", "&#10;")  # an empty line would end it
    return frame.read_text(encoding="utf-8").replace("{{text}}", escaped)
