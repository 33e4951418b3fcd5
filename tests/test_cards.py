"""Cards and data sheets say what configurations, records and sources say."""

from statistics import mean

import pytest

from llmbook.cards import FILES, SUBJECTS, card, datasheet
from llmbook.datasets import DATA
from llmbook.experiments.results import EXPERIMENTS, recorded


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_card_counts_the_model_and_tells_its_record(name: str) -> None:
    text, subject = card(name), SUBJECTS[name]
    parameters = sum(p.numel() for p in subject.build().parameters())
    assert f"| parameters | {parameters:,} |" in text
    runs = recorded(subject.record)
    for what, measure in subject.measures.items():
        assert f"| {what} | {mean(measure(run) for run in runs):.3f}" in text
    assert f"({len(EXPERIMENTS[subject.record].seeds)} seeds)" in text
    for row in ("intended use", "not for", "not measured", "learned from"):
        (line,) = (line for line in text.splitlines() if line.startswith(f"| {row} |"))
        assert len(line) > len(f"| {row} |  |") + 20


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_row_of_a_card_has_two_cells(name: str) -> None:
    table = card(name).split("\n\n")[1].splitlines()
    assert all(line.count("|") == 3 for line in table)


def test_a_subject_has_learned_from_files_or_from_what_is_made_up() -> None:
    files = {source.file for source in FILES}
    for subject in SUBJECTS.values():
        assert bool(subject.data) != bool(subject.made_up)
        assert set(subject.data) <= files


def test_the_data_sheet_lists_every_file_with_its_licence() -> None:
    text = datasheet()
    for source in FILES:
        assert f"| {source.file} | {source.package} | {source.licence} |" in text
        assert source.sha256[:12] in text


def test_every_packed_file_is_in_the_data_sheet() -> None:
    packed = {
        str(path.relative_to(DATA))
        for path in DATA.rglob("*")
        if path.suffix in {".xz", ".npz", ".tsv", ".gz", ".png"}
    }
    assert packed
    assert packed <= {source.file for source in FILES}


def test_a_card_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no card of 'bert'; there are ladder, addition"):
        card("bert")
