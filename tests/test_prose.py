"""A number in the prose of a chapter is computed, cited, or one that the reader can see is none of these."""

import re
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from tests.book import DOCS, chapters, prose

YEAR = r"(?:19|20)\d\d"
SMALL = {str(number) for number in range(13)}  # counted by the reader, or arithmetic done by hand
EXEMPT = SMALL | {
    "175", "1.5", "340", "110", "540", "11", "0.3", "0.34", "1400",  # sizes that the lesson names
    "126",  # its homes
}  # fmt: skip


def in_code(path: Path) -> set[float]:
    """Numbers that the page's own cells hold: where text and code disagree, the number is bare."""
    code = "".join(re.findall(r"(?ms)^```python[^\n]*\n(.*?)^```", path.read_text("utf-8")))
    found = re.findall(r"(?<![\w.])\d[\d_]*(?:\.\d+)?", code)
    values = {float(number.replace("_", "")) for number in found}
    return values | {round(100 * value, 6) for value in values if value < 1}  # 0.15 is 15 %


def numbers(block: str, known: AbstractSet[float] = frozenset()) -> list[str]:
    """Numbers of a paragraph that nothing accounts for."""
    if re.search(r"\]\[\w+\]|\[\w[^\]]*\]\(https?:", block):
        return []  # the paragraph has a source
    block = re.sub(r"`\{python\}[^`]*`|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$", " ", block, flags=re.DOTALL)
    block = re.sub(r"\]\([^)]*\)|\{[^}]*\}|<[^>]+>|https?://\S+|@fig-[\w-]+", " ", block)
    block = re.sub(rf"\b{YEAR}s?(?:[-–]{YEAR})?\b", " ", block)
    block = re.sub(r"^\s*\d+\.\s|^#.*$|Part \d|Figure \d", " ", block, flags=re.MULTILINE)
    found = re.findall(r"(?<![\w.,-])\d[\d,]*(?:\.\d+)?(?![\w]*[A-Za-z])", block)
    found = [number.rstrip(",.") for number in found]
    return [n for n in found if n not in EXEMPT and float(n.replace(",", "")) not in known]


@pytest.mark.parametrize("path", chapters(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_numbers_are_computed_or_cited(path: Path) -> None:
    """Paragraph by paragraph; an answer to a prediction belongs to the cell that checks it."""
    text = re.sub(r"(?m)^\?\?\?\+? .*\n(?:(?: {4}.*)?\n)*", "\n", prose(path))
    unaccounted = {}
    known = in_code(path)
    for block in re.split(r"\n\s*\n", text):
        if found := numbers(block, known):
            unaccounted[block.strip()[:60]] = found
    assert not unaccounted


def test_the_check_finds_what_it_looks_for() -> None:
    """A bare number is found; computed, cited, in code, a year or a name is not."""
    assert numbers("It is 42 % faster, or 3,000 times.") == ["42", "3,000"]
    for fine in ("`{python} 6 * 7` %", "42 [Vaswani 2017][vaswani2017attention]", "`x = 42`", "$d = 42$",
                 "in 2017", "GPT-3 and T5-11B", "the 2010s"):  # fmt: skip
        assert numbers(fine) == []


CLAIMS = re.compile(
    r"\b(twice|half|thirds?|faster|slower|larger|smaller|more|fewer|less|beats?|loses?|grows?|falls?|rises?)\b",
    re.I,
)


@pytest.mark.parametrize("path", chapters(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_chapter_that_computes_has_guards(path: Path) -> None:
    """Where a page executes cells and concludes from them, at least one hidden cell asserts it."""
    text = path.read_text(encoding="utf-8")
    cells = re.findall(r"(?ms)^```python(?! listing)[^\n]*\n(.*?)^```", text)
    if cells and CLAIMS.search(prose(path)):
        assert any(re.search(r"(?m)^\s*assert\b", cell) for cell in cells), path


def test_no_page_names_a_machine_or_how_the_work_is_organised() -> None:
    """Nor lets a placeholder through."""
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(
            r"(?<![\w./:)(\"*])/\w+/\w|\bTODO\b|\bFIXME\b|(?i:lorem ipsum|coming soon)", text
        ), page
