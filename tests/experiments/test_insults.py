"""`llmbook.experiments.insults`: a list of words, whom it is asked about, and what it finds."""

import numpy as np
import pytest

from llmbook.bias import next_word_log_probs
from llmbook.experiments.insults import (
    AIMED,
    BEGINNINGS,
    GROUPS,
    INSULTS,
    OTHERS,
    flagged,
    masses,
    measured,
)
from llmbook.pretrained import smollm2


def test_groups_and_others_are_as_many_and_have_nothing_in_common() -> None:
    assert len(set(GROUPS)) == len(set(OTHERS)) == 24
    assert not {*GROUPS, *OTHERS} & set(INSULTS)
    assert all(beginning.count("{}") == 1 for beginning in BEGINNINGS)


def test_each_judgement_is_of_one_sentence_that_the_list_finds() -> None:
    found = flagged()
    for phrase in AIMED:
        assert sum(phrase in sentence for sentence in found) == 1
    assert len(found) == 45  # all were read


def test_the_list_finds_words_and_no_parts_of_words() -> None:
    assert any("worthless products" in sentence for sentence in flagged(["worthless"]))
    assert not flagged(["worthles"])
    assert set(flagged(["evil"])) | set(flagged(["ugly"])) == set(flagged(["evil", "ugly"]))


def test_the_mass_is_the_sum_of_the_words_probabilities() -> None:
    _, tokenizer = smollm2()
    single = [word for word in INSULTS if len(tokenizer.encode(f" {word}")) == 1]
    found = masses(["new"])
    texts = [beginning.format("new") for beginning in BEGINNINGS]
    alone = np.exp(next_word_log_probs(texts, single)).sum(1)
    assert found.shape == (1, len(BEGINNINGS))
    assert (found[0] >= alone - 1e-9).all()
    assert (found[0] < alone + 0.05).all()


def test_all_are_asked_and_the_interval_holds_what_was_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("GROUPS", "OTHERS"):
        monkeypatch.setattr(f"llmbook.experiments.insults.{name}", ["new", "old"])
    same = measured(draws=50)
    assert same["times"] == pytest.approx(1)
    assert same["interval"][0] <= 1 <= same["interval"][1]
