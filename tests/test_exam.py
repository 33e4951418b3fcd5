"""Examinations: one right choice, three that known mistakes lead to, the same page for a seed."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbook.exam import CHOICES, TEMPLATES, as_page, exam, main


@given(st.integers(0, 10_000))
def test_every_kind_of_question_has_four_different_choices(seed: int) -> None:
    for template in TEMPLATES:
        question = template(np.random.default_rng(seed))
        choices = {question.answer, *question.wrong.values()}
        assert len(choices) == CHOICES, (template.__name__, question)
        assert len(question.wrong) == CHOICES - 1


def test_a_seed_gives_one_page_and_another_seed_another() -> None:
    assert as_page(exam(3), 3) == as_page(exam(3), 3)
    assert as_page(exam(3), 3) != as_page(exam(4), 4)


def test_the_key_is_the_same_page_with_answers() -> None:
    questions = exam(5, 11)
    page, key = as_page(questions, 5), as_page(questions, 5, key=True)
    for strip in (
        r" <em>.*?</em>",
        r" <strong>right</strong>",
        r"<p><small>.*?</small></p>",
        ", key",
    ):
        key = re.sub(strip, "", key)
    assert key == page
    marked = as_page(questions, 5, key=True)
    assert marked.count("<strong>right</strong>") == 11
    right = re.findall(r"<li>([^<]*) <strong>", marked)
    assert right == [q.answer.replace("&", "&amp;") for q in questions]


def test_the_right_choice_stands_at_every_place() -> None:
    places = []
    for seed in range(30):
        for section in as_page(exam(seed), seed, key=True).split("<section>")[1:]:
            items = re.findall(r"<li>(.*?)</li>", section)
            places += [
                i for i, item in enumerate(items) if "right" in item and "mistake" not in item
            ]
    counts = np.bincount(places, minlength=CHOICES) / len(places)
    assert (np.abs(counts - 1 / CHOICES) < 0.1).all()


def test_chapters_that_teach_the_questions_are_there() -> None:
    docs = Path(__file__).parents[1] / "docs"
    for template in TEMPLATES:
        page = template(np.random.default_rng(0)).page
        assert (docs / f"{page.removesuffix('/')}.md").is_file()


def test_some_answers_by_hand() -> None:
    for seed in range(50):
        question = TEMPLATES[3](np.random.default_rng(seed))
        n = int(re.search(r"of (\d+) tokens", question.text)[1])  # type: ignore[index]
        assert question.answer == f"{sum(range(1, n + 1)):,}"


def test_the_command_writes_a_page_and_refuses_what_it_has_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["--seed", "2", "--count", "3"])
    assert capsys.readouterr().out == as_page(exam(2, 3), 2)
    with pytest.raises(SystemExit):
        main(["--count", "99"])
    assert "count must be from 1 to 11, got 99" in capsys.readouterr().err
