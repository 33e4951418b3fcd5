import pytest

from llmbook.experiments.results import recorded
from llmbook.experiments.speeds import NEW, PROMPTS, drafted, median_seconds, of_attention


def test_the_median_of_runs_is_what_is_given() -> None:
    calls = []
    assert median_seconds(lambda: calls.append(1), 3) >= 0
    assert len(calls) == 4


def test_all_kinds_of_attention_are_timed_at_every_length() -> None:
    found = of_attention((64, 96))
    assert len(found) == 4
    assert all(set(times) == {"64", "96"} and min(times.values()) >= 0 for times in found.values())


@pytest.mark.model
@pytest.mark.parametrize("draft", ["text", "24"])
def test_counts_add_up_to_the_tokens_that_are_written(draft: str) -> None:
    counts = drafted("a list", draft, new=12)
    assert counts.passes + counts.accepted == 12
    assert counts.accepted <= counts.guessed


def test_the_record_counts_what_was_written() -> None:
    (record,) = recorded("speeds")
    for prompt in PROMPTS:
        for draft in ("text", "24", "10"):
            row = record["generation"][prompt][draft]
            assert row["passes"] + row["accepted"] == NEW


@pytest.mark.plain
def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        median_seconds(lambda: None, 0)
