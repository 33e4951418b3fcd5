"""Let a reader turn a figure: it is drawn for every choice, and what differs becomes a small table.

A page shows the drawing of one choice. The table lies beside the page and is fetched when a reader
touches a dial: which parts of that drawing ever change, and what each of them is for each choice.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE = "application/vnd.llmbook.figure+json"
TEXT, CONTENT = "", "<"  # what a part has besides its attributes
NUMBERS = -1  # in place of a drawing: the figure's table of numbers
Dials = Mapping[str, Sequence[Any] | Mapping[str, Any]]


def turn(
    draw: Callable[..., "tuple[Figure, str]"],
    *,
    start: Mapping[str, Any] | None = None,
    **dials: Sequence[Any] | Mapping[str, Any],
) -> "Turned":
    """A figure that a reader can turn: the last expression of a cell, in place of a figure.

    Args:
        draw: Draws the figure for a choice, a value for each dial by name, and says in a sentence
            what is to be seen there.
        start: What the page shows first, for some dials; else the first of a dial's values.
        dials: Their values in order: numbers for a slider, texts for a list to choose from. A
            mapping names each value as the reader sees it. Underscores in a dial's name are blanks.

    Raises:
        ValueError: If there is no dial, one has a single value, or `start` is not among the values.

    Examples:
        >>> from matplotlib.figure import Figure
        >>> turned = turn(lambda size: (Figure(figsize=(size, 1)), f"{size} wide"), size=[1, 2, 3])
        >>> turned.figure.get_size_inches().tolist()
        [1.0, 1.0]
    """
    return Turned(draw, dials, start or {})


class Turned:
    """A figure with its dials.

    Args:
        draw: As `turn` takes it.
        dials: The values of each.
        start: What is shown first.

    Attributes:
        dials: For each its name, what its values are called, which is shown first, and whether they
            are to choose from rather than to slide along.
        choices: All combinations of the dials' values, the last dial turning fastest.
        first: Which of them is shown first.
    """

    def __init__(
        self,
        draw: Callable[..., "tuple[Figure, str]"],
        dials: Dials,
        start: Mapping[str, Any],
    ) -> None:
        if not dials:
            raise ValueError("a figure that turns needs a dial: a name with its values")
        if unknown := set(start) - set(dials):
            raise ValueError(f"start must name dials, {', '.join(dials)}, got {sorted(unknown)}")
        self.draw = draw
        self.dials: list[tuple[str, list[str], int, bool]] = []
        for name, given in dials.items():
            values = list(given.values() if isinstance(given, Mapping) else given)
            if len(values) < 2:
                raise ValueError(f"{name} must have two values or more, got {values}")
            if name in start and start[name] not in values:
                raise ValueError(f"start: {name} must be one of {values}, got {start[name]!r}")
            called = list(given) if isinstance(given, Mapping) else [*map(_called, values)]
            at = values.index(start[name]) if name in start else 0
            named = all(isinstance(value, str) for value in values)
            self.dials.append((name.replace("_", " "), called, at, named))
        every = [list(v.values() if isinstance(v, Mapping) else v) for v in dials.values()]
        self.choices = [dict(zip(dials, each, strict=True)) for each in itertools.product(*every)]
        self.first = 0
        for _, called, at, _ in self.dials:
            self.first = self.first * len(called) + at

    @property
    def figure(self) -> "Figure":
        """What is shown first."""
        return self.draw(**self.choices[self.first])[0]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """What the shell shows of the first figure; for a page, with the others' table."""
        from IPython import get_ipython

        formatter = get_ipython().display_formatter
        first = self.figure
        data: dict[str, Any] = formatter.format(first)[0]
        if FIGURE not in data:  # another shell than weave's
            return data
        from llmbook.weave.figures import themed_svgs
        from llmbook.weave.palette import colours_of

        palette = colours_of(formatter.mimebundle_formatter.lookup(first).keywords["palette"])
        drawn, said = [], []
        for choice in self.choices:
            figure, sentence = self.draw(**choice)
            svgs = [
                {**d, "svg": with_plain_ids(str(d["svg"]))} for d in themed_svgs(figure, palette)
            ]
            drawn.append({"drawings": svgs, "table": getattr(figure, "table", None)})
            said.append(sentence)
        turns = {"dials": self.dials, "said": said}
        table = table_of(drawn, self.first)
        return {**data, FIGURE: {**drawn[self.first], "turns": {**turns, **table}}}


def _called(value: Any) -> str:
    """A value as a reader sees it.

    Examples:
        >>> [_called(value) for value in (1024, 0.5, 1e-4, "GELU", True)]
        ['1,024', '0.5', '0.0001', 'GELU', 'True']
    """
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def with_plain_ids(svg: str) -> str:
    """A drawing with short ids in their order, so that two alike have the same.

    Examples:
        >>> with_plain_ids('<svg><g id="p3f"/><use href="#p3f"/></svg>')
        '<svg><g id="i0"/><use href="#i0"/></svg>'
    """
    ids = {name: f"i{n}" for n, name in enumerate(re.findall(r' id="([^"]*)"', svg))}
    refers = r'( id="|href="#|url\(#)([^")]*)'
    return re.sub(refers, lambda m: m[1] + ids.get(m[2], m[2]), svg)


def table_of(drawn: Sequence[Mapping[str, Any]], first: int) -> dict[str, Any]:
    """What changes between figures.

    Args:
        drawn: Each figure's `drawings`, as many of all, and its `table` of numbers or none.
        first: The figure that the others are told from.

    Returns:
        "slots", the parts that change: the drawing's number or `NUMBERS`, the element's number in
        document order, and the name of an attribute, or `TEXT`, or `CONTENT` for all within it;
        "words", what they become, `None` for an attribute that is not there; "turns", for each
        figure a number for each slot: zero if it stays, else that of the word, from one.

    Raises:
        ValueError: If figures have different numbers of drawings, or tables of different shapes.
    """
    shapes = {(len(each["drawings"]), _shape(each["table"])) for each in drawn}
    if len(shapes) > 1:
        why = "a figure that turns must have as many drawings and numbers for every choice"
        raise ValueError(f"{why}, got {sorted(map(str, shapes))}")
    roots = [_roots(each) for each in drawn]
    slots: dict[tuple[int, int, str], int] = {}
    words: dict[str | None, int] = {}
    found = []
    for other in roots:
        changes = {}
        for root, base in roots[first].items():
            places = {element: n for n, element in enumerate(base.iter())}
            for at, name, value in _differ(base, other[root], places):
                slot = slots.setdefault((root, at, name), len(slots))
                changes[slot] = words.setdefault(value, len(words) + 1)
        found.append(changes)
    turns = [[changes.get(slot, 0) for slot in range(len(slots))] for changes in found]
    return {"slots": [list(slot) for slot in slots], "words": list(words), "turns": turns}


def turned(drawn: Mapping[str, Any], choice: int) -> tuple[list[str], list[str]]:
    """The drawings and the numbers of a choice, as the page's script makes them from the table.

    Args:
        drawn: A figure with its `turns`.
        choice: Its number.

    Returns:
        The SVG texts, and the texts of the table in their order.
    """
    turns, roots = drawn["turns"], _roots(drawn)
    elements = {root: list(base.iter()) for root, base in roots.items()}
    for (root, at, name), word in zip(turns["slots"], turns["turns"][choice], strict=True):
        if not word:
            continue
        element, value = elements[root][at], turns["words"][word - 1]
        if name == TEXT:
            element.text = value
        elif name == CONTENT:
            made = ElementTree.fromstring(f"<g>{value}</g>")  # noqa: S314 (made here)
            element.text, element[:] = made.text, list(made)
        elif value is None:
            del element.attrib[name]
        else:
            element.set(name, value)
    numbers = [each.text or "" for each in roots.pop(NUMBERS)]
    return [_text_of(root) for root in roots.values()], numbers


def _shape(table: Sequence[Sequence[str]] | None) -> tuple[int, ...]:
    return tuple(map(len, table or ()))


def _roots(drawn: Mapping[str, Any]) -> dict[int, Element]:
    """What of a figure can change: its drawings, and its numbers as one flat element."""
    svgs = [each["svg"] for each in drawn["drawings"]]
    roots = {n: ElementTree.fromstring(svg) for n, svg in enumerate(svgs)}  # noqa: S314 (made here)
    roots[NUMBERS] = Element("table")
    for text in itertools.chain(*(drawn["table"] or ())):
        ElementTree.SubElement(roots[NUMBERS], "td").text = str(text)
    return roots


def _differ(
    base: Element, other: Element, places: Mapping[Element, int]
) -> Iterator[tuple[int, str, str | None]]:
    """Which parts of an element are others in another one, and what they are there."""
    at = places[base]
    for name in sorted({*base.keys(), *other.keys()}):
        if base.get(name) != other.get(name):
            yield at, name, other.get(name)
    same = (base.text or "") == (other.text or "")
    if not (len(base) == len(other) and all(map(_alike, base, other)) and (same or not len(base))):
        yield at, CONTENT, _inner(other)
        return
    if not same:
        yield at, TEXT, other.text or ""
    for one, another in zip(base, other, strict=True):
        yield from _differ(one, another, places)


def _alike(one: Element, other: Element) -> bool:
    """Whether one element can become the other by its attributes and what is in it."""
    fixed = [
        (each.tag, each.tail, [p for p in each.items() if p[0] in {"id", "href"} or "{" in p[0]])
        for each in (one, other)
    ]
    return fixed[0] == fixed[1]


def _inner(element: Element) -> str:
    return escape(element.text or "") + "".join(map(_text_of, element))


def _text_of(element: Element) -> str:
    return ElementTree.tostring(element, encoding="unicode")
