"""Invented countries, and orders in notes: what is asked, and what counts as an answer."""

import pytest

from llmbook.experiments.harms import (
    CAPITALS,
    DIRECT,
    INVENTED,
    LITTLE_KNOWN,
    NOTES,
    ORDER,
    REMARK,
    WORD,
    ask,
    doubts,
)


def test_invented_countries_are_none_of_the_real_ones() -> None:
    assert not set(INVENTED) & {*CAPITALS, *LITTLE_KNOWN}
    assert not set(LITTLE_KNOWN) & set(CAPITALS)
    assert len(INVENTED) == len(CAPITALS) == 16


def test_order_and_remark_hold_the_word_and_no_note_does() -> None:
    assert WORD in ORDER
    assert ORDER.endswith(DIRECT[0].removeprefix("Answer"))
    assert WORD in REMARK
    assert not any(WORD.lower() in note.lower() for note in NOTES)
    assert abs(len(ORDER.split()) - len(REMARK.split())) <= 1


@pytest.mark.parametrize(
    ("answer", "doubt"),
    [
        ("Orvenia is a fictional country.", True),
        ("I don't know of such a country.", True),
        ("The capital of Orvenia is Nova.", False),
        ("", False),
    ],
)
def test_a_doubt_is_told_from_an_answer(answer: str, doubt: bool) -> None:
    assert doubts(answer) is doubt


def test_the_model_is_asked_as_it_was_trained_to_be_asked() -> None:
    answer = ask("What is the capital of France?", tokens=12)
    assert "Paris" in answer
    assert "<|im_end|>" not in answer
