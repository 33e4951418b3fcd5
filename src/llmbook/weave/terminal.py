"""Printed text as a terminal shows it in the end: progress bars, cursor moves, colours, tabs."""

import re

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def settled(text: str) -> str:
    r"""What a wide terminal shows after all of the text; colours are left out.

    Args:
        text: As it was printed, with carriage returns, escape codes and tabs.

    Returns:
        Lines without control characters.

    Examples:
        >>> settled("10%\r50%\r100%\nready\n"), settled("a\tb"), settled("\x1b[31mred\x1b[0m")
        ('100%\nready\n', 'a       b', 'red')
    """
    if not CONTROL.search(text):
        return text.expandtabs()
    import pyte

    lines = text.split("\n")
    screen = pyte.Screen(max(map(len, lines)) + 8 * text.count("\t") + 1, len(lines))
    screen.set_mode(pyte.modes.LNM)  # a new line begins at its left
    pyte.Stream(screen).feed(text)
    rows = {y: row for y, row in screen.buffer.items() if row}
    last = max([screen.cursor.y, *rows])
    shown = [
        "".join(rows[y][x].data for x in range(max(rows[y]) + 1)).rstrip() if y in rows else ""
        for y in range(last + 1)
    ]
    return "\n".join(shown)


def is_progress(line: str) -> bool:
    r"""Whether a line of text draws over itself, as a progress bar does.

    Examples:
        >>> is_progress("\r 50%\r100%"), is_progress("a warning")
        (True, False)
    """
    return "\r" in line.rstrip("\r")
