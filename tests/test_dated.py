"""What a page states of a law has a date, and what is older than a year is listed.

Every week the list makes the run fail, so that somebody reads the law again; a change to the book
is not held up by it.
"""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
DATED = re.compile(r"\bas of ([A-Z][a-z]+ \d{4})")
LAWS = re.compile(r"\[(?:Regulation|Directive) \(EU\)")


def months_since(stated: str, now: datetime) -> int:
    then = datetime.strptime(stated, "%B %Y").replace(tzinfo=UTC)
    return 12 * (now.year - then.year) + now.month - then.month


def stale(text: str, now: datetime) -> list[str]:
    return [
        f"line {text[: found.start()].count(chr(10)) + 1}: {found[0]}"
        for found in DATED.finditer(text)
        if months_since(found[1], now) > 12
    ]


def test_a_statement_is_old_after_a_year_and_not_before() -> None:
    text = "one\n(as of November 2025)\ntwo (as of December 2025)"
    assert stale(text, datetime(2026, 11, 30, tzinfo=UTC)) == []
    assert stale(text, datetime(2026, 12, 1, tzinfo=UTC)) == ["line 2: as of November 2025"]


@pytest.mark.parametrize(
    "page", [p for p in sorted(DOCS.rglob("*.md")) if LAWS.search(p.read_text("utf-8"))], ids=str
)
def test_a_page_that_cites_a_law_says_as_of_when(page: Path) -> None:
    text = page.read_text("utf-8")
    assert DATED.search(text), f"{page.name} cites a law and says nowhere: as of <month> <year>"


def test_statements_older_than_a_year_are_listed() -> None:
    now = datetime.now(UTC)
    old = [
        f"{page.relative_to(DOCS)}, {line}"
        for page in sorted(DOCS.rglob("*.md"))
        for line in stale(page.read_text("utf-8"), now)
    ]
    print("\n".join(old))
    if os.environ.get("LLMBOOK_LONG"):
        assert not old, f"read these again: {old}"
