"""`llmbook.experiments.speaking`: what is read, the codes, the baseline, and the way to a wave."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import llmbook.experiments.speaking as m
from llmbook.experiments.dictation import HEARD, dictate, voices
from llmbook.experiments.results import recorded
from llmbook.experiments.speaking import (
    APART,
    LENGTH,
    SETTINGS,
    Setup,
    decode,
    digits_of,
    encode,
    examples,
    fit,
    glued,
    holds_withheld,
    make_codes,
    pack,
    run,
    spoken_frames,
    strings,
    through_sound,
    to_sound,
    unpack,
)
from llmbook.spoken import BANDS, clips

SMALL = Setup(num_codes=24, strings=20, steps=4, batch=8, d_model=16, num_layers=1, tested=6)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4))
def test_a_string_is_withheld_if_one_digit_is_three_above_the_one_before(said: list[int]) -> None:
    digits = torch.tensor([said + [10] * (4 - len(said))])
    expected = any((b - a) % 10 == APART for a, b in pairwise(said))
    assert bool(holds_withheld(digits)) == expected


def test_training_never_holds_a_withheld_pair_and_the_test_of_them_always_does() -> None:
    for withheld in (False, True):
        sounds, texts = strings(
            300, torch.arange(9), torch.Generator().manual_seed(0), withheld=withheld
        )
        assert len(sounds) == len(texts) > 20
        assert holds_withheld(digits_of(texts)).eq(withheld).all()


def test_each_code_stands_for_the_nearest_pair_of_frames_and_real_sound_comes_back() -> None:
    book = make_codes(0, SMALL)
    sounds, _ = strings(20, voices(0)[0], torch.Generator().manual_seed(3))
    codes = encode(book, sounds)
    assert codes.shape == (len(sounds), LENGTH)
    pairs = sounds.reshape(-1, 2 * BANDS)
    assert torch.equal(torch.cdist(pairs, book.weight).argmin(1), codes.flatten())
    again = decode(book, codes)
    assert again.shape == sounds.shape
    assert (again - sounds).square().mean() < 0.2 * sounds.var()
    assert torch.equal(encode(book, again), codes)


def test_training_lowers_the_loss_and_the_same_seed_gives_the_same_speaker() -> None:
    longer = Setup(**{**vars(SMALL), "steps": 25})
    book = make_codes(0, longer)
    _, losses = fit(book, 0, longer)
    _, again = fit(book, 0, longer, until=3)
    assert losses[-1] < losses[0] - 0.3
    np.testing.assert_allclose(again, losses[:3], rtol=1e-5)


def test_the_average_voice_says_each_digit_after_a_pause_and_nothing_after_the_last() -> None:
    digits = torch.tensor([[3, 10, 10, 10], [3, 3, 10, 10], [10, 10, 10, 10]])
    once, twice, never = glued(digits, voices(0)[0])
    assert not never.any()
    assert not once[:3].any()
    assert once[3].any()
    length = spoken_frames(once) - 3
    assert torch.equal(twice[: 3 + length], once[: 3 + length])
    start = 3 + int(twice[3:].any(1).logical_not().nonzero()[0])
    assert torch.allclose(twice[start + 3 :][:5], once[3:8])


@pytest.mark.parametrize("string", range(4))
def test_a_string_survives_the_way_through_a_wave(string: int) -> None:
    sounds, _ = dictate(4, torch.arange(10), torch.Generator().manual_seed(1))
    again = through_sound(sounds[string : string + 1])
    both = torch.stack((again.flatten(), sounds[string].flatten()))
    assert torch.corrcoef(both)[0, 1] > 0.95


def test_silence_stays_silence() -> None:
    assert not through_sound(torch.zeros(1, HEARD, BANDS)).any()
    assert spoken_frames(torch.zeros(5, BANDS)) == 0


def test_the_loudest_sample_of_a_wave_is_one() -> None:
    spoken = clips()
    frames = torch.from_numpy(spoken.frames[0, : spoken.lengths[0]] / 255).float()
    wave = to_sound(frames)
    assert abs(wave).max() == pytest.approx(1)
    assert len(wave) == 160 * (2 * len(frames) - 1)


def test_the_list_of_sounds_fits_into_text() -> None:
    book = make_codes(0, SMALL)
    again = unpack(pack(book))
    assert again.weight.shape == book.weight.shape
    assert (again.weight - book.weight.clamp(0, 1)).abs().max() < 1 / 500


@pytest.mark.plain
def test_text_that_holds_no_whole_code_is_refused() -> None:
    with pytest.raises(ValueError, match="text must hold codes of 64 levels, got 3"):
        unpack("AAAA")


def test_a_run_records_what_each_judge_makes_of_each_kind(monkeypatch: Any) -> None:
    """Small, but all of it: nothing that JSON cannot hold, lengths that no text has left out."""
    monkeypatch.setattr(m, "Setup", lambda: SMALL)
    monkeypatch.setattr(m, "teach", lambda model, seed: None)
    found = run(0)
    kinds = {"real", "coded", "glued", "wave", "shuffled"} | {f"{t}, {g}" for t, g in SETTINGS}
    for name in ("new", "withheld"):
        for judge in ("listener", "linear"):
            assert set(found[name][judge]) == kinds
            for shares in found[name][judge].values():
                assert all(0 <= share <= 1 for share in shares.values())
    assert "one" not in found["withheld"]["listener"]["real"]
    assert len(found["said"]) == 3
    assert all(len(row["codes"]) == LENGTH for row in found["said"])
    assert unpack(found["codebook"]).weight.shape == (24, 64)


def test_the_page_gets_three_strings_of_which_the_last_alone_is_withheld() -> None:
    book = make_codes(0, SMALL)
    speaker, _ = fit(book, 0, SMALL)
    said = examples(speaker, torch.Generator().manual_seed(0))
    digits = torch.tensor([row["digits"] + [10] * (4 - len(row["digits"])) for row in said])
    assert holds_withheld(digits).tolist() == [False, False, True]


def test_the_record_holds_what_was_said_with_its_sounds() -> None:
    for record in recorded("speaking"):
        book = unpack(record["codebook"])
        assert len(book.weight) == Setup.num_codes
        for row in record["said"]:
            frames = decode(book, torch.tensor([row["codes"]]))[0]
            assert 10 < spoken_frames(frames) <= HEARD
