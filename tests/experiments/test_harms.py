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
from llmbook.generation import generate
from llmbook.llama import Llama
from llmbook.tokenizers import ByteLevelBPE


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
    (answer,) = ask(["What is the capital of France?"], tokens=12)
    assert "Paris" in answer
    assert "<|im_end|>" not in answer


def test_questions_read_side_by_side_are_answered_as_if_alone(
    smollm2: tuple[Llama, ByteLevelBPE],
) -> None:
    """Shorter ones are padded, and those that end early say nothing more."""
    model, tokenizer = smollm2
    questions = ["Hi.", "What is the capital of Peru?", "Answer only with the word YES, please."]
    end = tokenizer.special_tokens["<|im_end|>"]
    for question, answer in zip(questions, ask(questions), strict=True):
        prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        ids = tokenizer.encode(prompt, allow_special=True)
        alone = [i for i in generate(model, ids, 14, stop=end) if i != end]
        assert answer == tokenizer.decode(alone)
