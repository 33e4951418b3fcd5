"""Each row of the corrections has its note in the text, and each note its row."""

import re
from collections import Counter
from pathlib import Path

import pytest

from llmbook.book.blocks import Blocks, corrections, errata, references
from tests.book import DOCS, nav

ROWS = corrections(DOCS)
KNOWN = references(DOCS)
PLACED = [
    (page, name)
    for page in nav()
    if page.endswith(".md")
    for body in re.findall(r"(?ms)^```correction\n(.*?)^```", (DOCS / page).read_text("utf-8"))
    for name in body.split()
]


def test_each_row_has_one_note_on_its_page_and_each_note_its_row() -> None:
    """No correction is only in the table, none twice, none elsewhere."""
    assert Counter(PLACED) == Counter((row["page"], name) for name, row in ROWS.items())


def test_every_claim_that_was_checked_and_found_wanting_has_a_row() -> None:
    """The numbers of the lesson's claims that are imprecise, wrong, unverifiable or dated."""
    claims = [row["claim"] for row in ROWS.values() if "claim" in row]
    assert len(claims) == len(set(claims))
    assert len(claims) >= 53
    assert {12, 31, 37, 49, 63, 66} <= set(claims)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_names_sources_that_the_bibliography_has(name: str) -> None:
    """And says in a few words what is right."""
    row = ROWS[name]
    assert all(key in KNOWN for key in row["sources"])
    inline = re.findall(r"\]\[(\w+)\]", row["right"] + row["lesson"])
    assert all(key in KNOWN for key in inline)
    assert len(row["right"].split()) <= 75


def test_a_note_shows_what_the_lesson_says_and_what_is_right() -> None:
    """With its anchor and its sources as citations."""
    note = Blocks(DOCS).correction("gpt-before-bert\n")
    row = ROWS["gpt-before-bert"]
    assert 'id="correction-gpt-before-bert"' in note
    assert row["lesson"] in note
    assert row["right"] in note
    assert f"][{row['sources'][0]}]" in note


def test_the_page_of_all_corrections_links_each_to_its_place() -> None:
    """In the lesson's order."""
    page = Blocks(DOCS).all_corrections("")
    links = re.findall(r"\(([\w/.-]+)#correction-([\w-]+)\)", page)
    assert links == [(row["page"], name) for name, row in ROWS.items()]


def test_the_books_own_errata_name_pages_of_the_book() -> None:
    """Each with what stood there, what is right, and the day; the newest first."""
    rows = errata(DOCS)
    assert len(rows) >= 10
    assert all((DOCS / row["page"]).is_file() for row in rows)
    assert [row["since"] for row in rows] == sorted((r["since"] for r in rows), reverse=True)
    items = Blocks(DOCS).errata("").strip().split("\n")
    assert len(items) == len(rows)
    for item, row in zip(items, rows, strict=True):
        assert item.startswith("- [")
        assert row["stood"] in item
        assert row["right"] in item


@pytest.mark.parametrize("row", ["{page: a.md}", "{page: a, stood: b, right: c, since: soon}"])
def test_a_faulty_row_of_the_errata_is_named(tmp_path: Path, row: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/errata.yaml").write_text(f"- {row}")
    with pytest.raises(ValueError, match="row 1 must have"):
        errata(tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("- {id: a, verdict: wrong, lesson: x, right: y, sources: []}", "missing fields {'page'}"),
        (
            "- {id: a, verdict: bad, lesson: x, right: y, sources: [], page: p}",
            "unknown verdict 'bad'",
        ),
        (
            "- &r {id: a, verdict: wrong, lesson: x, right: y, sources: [], page: p}\n- *r",
            "comes twice",
        ),
    ],
)
def test_a_faulty_row_is_named(tmp_path: Path, rows: str, message: str) -> None:
    """The file is written by hand, so its mistakes are caught."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/corrections.yaml").write_text(rows)
    with pytest.raises(ValueError, match=re.escape(message)):
        corrections(tmp_path)


def test_data_that_cannot_be_read_is_empty_whoever_asks_first(tmp_path: Path) -> None:
    """A block before the errors, or after them."""
    (tmp_path / "references.bib").write_text("@article{a,\n  year 2020\n}\n")
    first, last = Blocks(tmp_path), Blocks(tmp_path)
    (error,) = last.errors()
    assert error.path == tmp_path / "references.bib"
    for blocks in (first, last):
        assert (blocks.references(""), blocks.all_corrections("")) == ("\n", "")
        assert blocks.finish("[a][a]") == "[a][a]"
    assert [str(each) for each in first.errors()] == [str(error)]


def test_a_bibliography_in_latex_is_refused_with_the_letter_to_write(tmp_path: Path) -> None:
    r"""`B{\"o}hm` would end the attribute in which a citation says what it cites."""
    entry = '@article{a,\n  author = {B{\\"o}hm, Jan},\n  title = {T},\n  year = {2020},\n}\n'
    (tmp_path / "references.bib").write_text(entry)
    (error,) = Blocks(tmp_path).errors()
    assert "write the letter itself, as ö" in error.message
