"""The book's colours: one name, one value for a light page and one for a dark page.

Figures are drawn in the light values. Those are unique, so the drawing can be recoloured by
replacing each value with its CSS variable; where two names look the same, their values differ by
one unit of blue. `docs/assets/book.css` holds the same table, and a test compares the two.
"""


def _luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours, from 1 to 21.

    Args:
        first: A colour as `#RRGGBB`.
        second: Another.

    Returns:
        $(L_1 + 0.05) / (L_2 + 0.05)$, the lighter colour's relative luminance over the darker's.

    Examples:
        >>> contrast("#000000", "#FFFFFF")
        21.0

    Source:
        [W3C 2023][w3c2023wcag], success criterion 1.4.3.
    """
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


COLOURS: dict[str, tuple[str, str]] = {
    "page": ("#FCFBF8", "#15171E"),
    "code": ("#F5F3EC", "#1D2029"),
    "output": ("#FFFFFF", "#15171E"),
    "raised": ("#FFFFFE", "#1B1E27"),
    "correction": ("#FAEFEE", "#2A1B22"),
    "ink": ("#1B1E27", "#E9E6DF"),
    "ink-2": ("#4F5463", "#B4B6BE"),
    "ink-3": ("#656A78", "#979BA7"),
    "control": ("#85878F", "#767B88"),
    "hairline": ("#DEDACF", "#363A45"),
    "grid": ("#E4E0D6", "#2C303B"),
    "rubric": ("#9B0A33", "#F27C8D"),
    "blue": ("#1446A7", "#8BB9F7"),
    "amber": ("#A65700", "#ED9E3D"),
    "teal": ("#0E7671", "#74E3CD"),
    "plum": ("#690057", "#BF6BC5"),
    "ochre": ("#AF800A", "#F1DC69"),
    "slate": ("#5B6577", "#B9C1CE"),
}

_SEQUENTIAL = (
    "F6F3E5 E4E8CF CCDFBE ADD7B5 81C3AD 55ADAB 3094AA 1B799B 135E8A 154277 182762",
    "1D2232 222F45 243D58 214C6B 185C7D 1A768E 29919B 44ABA5 7BC59E B9D99A F6EAA4",
)
_DIVERGING = (
    "08348A 305AAB 6089D6 86A6DF BCCDEA F6F5F0 E7C7B5 D79B77 BF723F 985221 713400",
    "BEDAFF 85B2EC 5A8BC8 446691 334256 1F222A 4E3F2C 7F5E33 B0803F DBA763 FFD29B",
)
_NUMBERS = (("#1B1E27", "#FFFFFF"), ("#F4F1EA", "#101218"))


def _nudge(colour: str, steps: int) -> str:
    """A colour that looks the same and is not equal: a little less blue."""
    return f"{colour[:5]}{int(colour[5:], 16) - steps:02X}"


for _name, _ramps, _offset in (("seq", _SEQUENTIAL, 2), ("div", _DIVERGING, 14)):
    for _step, _pair in enumerate(zip(*(ramp.split() for ramp in _ramps), strict=True)):
        _light, _dark = (f"#{colour}" for colour in _pair)
        COLOURS[f"{_name}-{_step}"] = (_light, _dark)
        _on = [
            max(choices, key=lambda c, ground=ground: contrast(c, ground))  # type: ignore[misc]
            for choices, ground in zip(_NUMBERS, (_light, _dark), strict=True)
        ]
        COLOURS[f"on-{_name}-{_step}"] = (_nudge(_on[0], _offset + _step), _on[1])

LIGHT: dict[str, str] = {name: pair[0] for name, pair in COLOURS.items()}
SERIES = ("blue", "amber", "teal", "plum", "ochre", "rubric")
