from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from llmbook.experiments.results import recorded
from llmbook.experiments.tuning import (
    WAYS,
    Setup,
    Top,
    below,
    new_top,
    read,
    share_right,
    split,
    tune,
)
from llmbook.llama import Llama, LlamaConfig

CONFIG = LlamaConfig(
    vocab_size=50, d_model=16, num_layers=4, num_heads=4, num_kv_heads=2, d_ff=40, max_len=32
)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("start", [1, 2, 4])
def test_below_and_the_top_give_what_the_whole_model_gives_with_padding_too(
    start: int, tied: bool
) -> None:
    torch.manual_seed(0)
    model = Llama(replace(CONFIG, tied=tied)).double()
    token_ids = torch.randint(50, (3, 7))
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1, :3] = False
    expected = model(token_ids, mask)[:, -1]
    torch.testing.assert_close(
        Top(model, start)(below(model, start, token_ids, mask), mask), expected, rtol=0, atol=1e-10
    )
    plain = Top(model, start)(below(model, start, token_ids))
    torch.testing.assert_close(plain, model(token_ids)[:, -1], rtol=0, atol=1e-10)


def test_no_word_is_in_two_parts_and_none_is_left_out() -> None:
    parts = split(92, Setup(), 3)
    assert [len(part) for part in parts] == [40, 20, 32]
    assert sorted(torch.cat(parts).tolist()) == list(range(92))


@pytest.mark.model
def test_a_way_trains_what_its_name_says_and_leaves_smollm2_alone() -> None:
    from llmbook.pretrained import smollm2

    trained = {
        way: sum(p.numel() for p in new_top(way, 0).parameters() if p.requires_grad) for way in WAYS
    }
    layers, d, d_ff, kv = 6, 576, 1536, 192
    pairs = [(d, d), (d, kv), (d, kv), (d, d), (d, d_ff), (d, d_ff), (d_ff, d)]
    assert trained["all"] == layers * sum(a * b for a, b in pairs)
    for rank in (1, 4, 16):
        assert trained[str(rank)] == layers * rank * sum(a + b for a, b in pairs)
    assert trained["norms"] == (2 * layers + 1) * d
    block: Any = smollm2()[0].blocks[29]
    before: Tensor = block.attention.query.weight.clone()
    tune("all", 1e-3, 0, replace(Setup(), steps=3))
    assert torch.equal(block.attention.query.weight, before)


@pytest.mark.model
def test_paths_change_nothing_before_they_learn() -> None:
    words = read(24)
    everything = torch.arange(len(words.answers))
    assert share_right(new_top("4", 0), words, everything) == share_right(
        new_top("all", 0), words, everything
    )


def test_the_record_says_what_the_chapter_says() -> None:
    for run in recorded("tuning"):
        assert run["before"]["test"] < 0.4
        assert run["norms"]["lower"] < 0.6
        assert run["norms"]["test"] > 0.9
        assert run["norms"]["longer"] > run["norms"]["lower"] + 0.3
        assert all(("lower" in run[way]) >= (run[way]["lr"] > max(Setup().rates)) for way in WAYS)
        assert run["4"]["parameters"] < run["all"]["parameters"] / 60


@pytest.mark.plain
def test_an_unknown_way_is_named() -> None:
    with pytest.raises(ValueError, match="way must be one of norms, 1, 4, 16, all, got '8'"):
        new_top("8", 0)
