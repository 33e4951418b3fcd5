from statistics import median

import pytest
import torch

from llmbook.experiments.results import recorded
from llmbook.experiments.speeds import (
    NEW,
    PROMPTS,
    drafted,
    in_turns,
    median_seconds,
    of_attention,
    weights_read,
)
from llmbook.llama import Llama, LlamaConfig
from llmbook.quantization import to_int8

TOY = LlamaConfig(
    vocab_size=50, d_model=16, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=40, max_len=32
)


def test_the_median_of_runs_is_what_is_given() -> None:
    calls = []
    assert median_seconds(lambda: calls.append(1), 3) >= 0
    assert len(calls) == 4


def test_in_each_round_each_has_its_turn() -> None:
    calls: list[str] = []
    found = in_turns({name: lambda name=name: calls.append(name) for name in "abc"}, 2)  # type: ignore[misc]
    assert "".join(calls) == "abc" * 3
    assert [*found] == [*"abc"]
    assert all(len(seconds) == 2 and min(seconds) >= 0 for seconds in found.values())


def test_half_the_bits_are_half_the_bytes() -> None:
    model = Llama(TOY)
    whole = weights_read(model)
    assert whole == 4 * sum(weight.numel() for weight in model.parameters())
    assert weights_read(Llama(TOY).to(torch.bfloat16)) == whole / 2


def test_of_bytes_the_codes_and_scales_are_read_and_the_embedding_is_not() -> None:
    """Matrices once as bytes, 4 bytes a row for the scale and 4 for each gain of a norm."""
    rounded = to_int8(Llama(TOY))
    attention = [(16, 16), (8, 16), (8, 16), (16, 16)]
    matrices = [(50, 16), *2 * [*attention, (40, 16), (40, 16), (16, 40)]]
    assert weights_read(rounded) == sum(r * c + 4 * r for r, c in matrices) + 4 * 5 * 16


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


def test_the_record_has_the_medians_of_its_rounds_and_reads_half_and_a_quarter() -> None:
    (record,) = recorded("speeds")
    for prompt in PROMPTS:
        row = record["generation"][prompt]
        for way, seconds in row["rounds"].items():
            assert row[way] == median(seconds)
    read = record["read"]
    assert read["bfloat16"] == read["float32"] / 2
    assert 0.25 < read["int8"] / read["float32"] < 0.255


@pytest.mark.plain
def test_no_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        median_seconds(lambda: None, 0)
    with pytest.raises(ValueError, match="rounds must be at least 1, got 0"):
        in_turns({}, 0)
