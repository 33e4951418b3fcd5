"""`llmbook.vocoder`: sound from its picture, step by step as librosa does it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.audio import RATE, log_mel, mel_filters
from llmbook.spoken import clips, frames_of
from llmbook.vocoder import energies, griffin_lim
from tests.reference import librosa, saved


@pytest.mark.parametrize(("steps", "momentum"), librosa.CASES)
def test_each_step_is_librosas(steps: int, momentum: float) -> None:
    ours = griffin_lim(torch.from_numpy(librosa.magnitudes()), steps, momentum=momentum)
    theirs = torch.from_numpy(saved("librosa")[f"{steps}-{momentum}"])
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), bands=st.sampled_from([8, 32, 80]), frames=st.integers(3, 40))
def test_the_energies_of_any_wave_fill_its_bands_and_none_is_negative(
    seed: int, bands: int, frames: int
) -> None:
    wave = np.random.default_rng(seed).normal(size=160 * frames)
    mel = log_mel(wave, num_mels=bands, seconds=None)
    found = energies(mel)
    assert found.shape == (201, frames)
    assert found.min() >= 0
    again = np.log10(mel_filters(bands) @ found) / 4 + 1
    np.testing.assert_allclose(again, mel, atol=0.02)


def test_a_band_that_is_silent_stays_silent() -> None:
    """Its picture has the floor of the loudest, eight powers of ten below."""
    mel = np.full((32, 4), -1.0)
    mel[3] = 1.0
    found = energies(mel)
    near = mel_filters(32)[3] > 0
    assert found[~near].max() < 1e-3 * found[near].max()


def test_the_spectrum_of_a_wave_comes_nearer_with_each_ten_steps() -> None:
    wave = torch.from_numpy(np.random.default_rng(0).normal(size=3_200))
    window = torch.hann_window(400, dtype=torch.float64)

    def spectrum(x: torch.Tensor) -> torch.Tensor:
        return torch.stft(x, 400, 160, window=window, return_complex=True).abs()

    aim = spectrum(wave)
    far = [float((spectrum(griffin_lim(aim, steps)) - aim).norm()) for steps in (0, 10, 20, 30)]
    assert far == sorted(far, reverse=True)
    assert far[-1] < far[0] / 3


def test_phases_may_be_drawn_and_float32_gives_float32() -> None:
    magnitudes = torch.rand(201, 5)
    first, again, other = (
        griffin_lim(magnitudes, 3, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert first.dtype == torch.float32
    assert first.shape == (4 * 160,)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("clip", [0, 5, 1013, 2019])
def test_a_spoken_digit_is_heard_as_it_was(clip: int) -> None:
    """From the book's frames to a wave and back to frames: nearly the same picture."""
    spoken = clips()
    frames = spoken.frames[clip, : spoken.lengths[clip]] / 255
    # A frame is 20 ms, from 0 to 1 for eight powers of ten: two windows, and log_mel's scale.
    magnitudes = np.sqrt(energies(2 * frames.repeat(2, 0).T - 1))
    wave = griffin_lim(torch.from_numpy(magnitudes)).numpy()
    again = frames_of(wave / abs(wave).max(), RATE) / 255
    common = min(len(again), len(frames))
    assert common >= len(frames) - 1
    assert np.corrcoef(again[:common].ravel(), frames[:common].ravel())[0, 1] > 0.98


@pytest.mark.plain
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": -1}, "steps and momentum must not be negative, got -1 and 0.99"),
        ({"momentum": -0.5}, "steps and momentum must not be negative, got 60 and -0.5"),
        ({"magnitudes": torch.ones(200, 5)}, r"must have 201 rows and at least 2 columns, got sh"),
        ({"magnitudes": torch.ones(201, 1)}, r"got shape \(201, 1\)"),
        ({"magnitudes": -torch.ones(201, 5)}, "magnitudes must be finite and not negative"),
        ({"magnitudes": torch.full((201, 5), torch.nan)}, "must be finite"),
    ],
)
def test_what_has_no_wave_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        griffin_lim(**{"magnitudes": torch.ones(201, 5), **change})


@pytest.mark.plain
def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="steps must not be negative, got -2"):
        energies(np.ones((3, 3)), -2)
    for mel in (np.ones((0, 3)), np.full((2, 2), np.nan)):
        with pytest.raises(ValueError, match="mel must have bands and finite numbers"):
            energies(mel)
