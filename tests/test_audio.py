import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from llmbook.audio import RATE, log_mel, mel_filters


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples)


@settings(max_examples=15, deadline=None)
@given(
    samples=st.integers(1, 60_000),
    seed=st.integers(0, 9),
    num_mels=st.sampled_from([80, 128]),
    loud=st.sampled_from([1e-6, 0.1, 1.0]),
)
def test_it_is_what_whispers_feature_extractor_gives(
    samples: int, seed: int, num_mels: int, loud: float
) -> None:
    wave = loud * noise(samples, seed)
    theirs = WhisperFeatureExtractor(feature_size=num_mels)(
        wave, sampling_rate=RATE, return_tensors="np"
    ).input_features[0]
    ours = log_mel(wave, num_mels=num_mels)
    assert ours.shape == theirs.shape == (num_mels, 3000)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)  # theirs is computed in float32


def test_in_float64_it_is_whispers_to_the_last_digits() -> None:
    wave = noise(RATE)
    extractor = WhisperFeatureExtractor()
    theirs = extractor._np_extract_fbank_features(np.pad(wave, (0, 29 * RATE))[None], "cpu")[0]
    np.testing.assert_allclose(log_mel(wave), theirs, atol=1e-5)


@pytest.mark.parametrize("num_mels", [1, 20, 80, 128])
def test_the_triangles_are_those_of_transformers(num_mels: int) -> None:
    theirs = mel_filter_bank(201, num_mels, 0.0, 8000.0, RATE, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(mel_filters(num_mels), theirs.T, atol=1e-12)


def test_a_higher_tone_is_loudest_in_a_higher_band_and_all_bands_have_one_area() -> None:
    time = np.arange(RATE) / RATE
    loudest = [
        int(log_mel(np.sin(2 * np.pi * f * time), seconds=1).mean(1).argmax())
        for f in (200, 400, 800, 1600, 3200, 6400)
    ]
    assert loudest == sorted(set(loudest))
    assert mel_filters(8).sum(1) * RATE / 400 == pytest.approx(np.ones(8), rel=0.05)


def test_twice_as_loud_is_the_same_picture_a_little_brighter() -> None:
    wave = noise(RATE)
    louder, softer = log_mel(2 * wave, seconds=1), log_mel(wave, seconds=1)
    np.testing.assert_allclose(louder - softer, np.log10(4) / 4, atol=1e-9)


def test_a_wave_is_cut_filled_up_or_left_and_silence_is_flat() -> None:
    wave = noise(RATE)
    assert log_mel(wave, seconds=None).shape == (80, 100)
    assert log_mel(np.tile(wave, 3), seconds=2).shape == (80, 200)
    np.testing.assert_array_equal(
        log_mel(wave, seconds=2), log_mel(np.pad(wave, (0, RATE)), seconds=None)
    )
    assert np.ptp(log_mel(np.zeros(RATE, np.int16), seconds=1)) == 0


@pytest.mark.plain
def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(
        ValueError, match="sampling_rate must be 16000, got 8000: resample the wave"
    ):
        log_mel(noise(8000), 8000)
    with pytest.raises(ValueError, match=r"not empty, got shape \(0,\)"):
        log_mel(noise(0))
    with pytest.raises(
        ValueError, match=r"one row of samples, and not empty, got shape \(2, 8000\)"
    ):
        log_mel(noise(16_000).reshape(2, -1))
    with pytest.raises(ValueError, match="at least 400 samples, got 100"):
        log_mel(noise(100), seconds=None)
    with pytest.raises(ValueError, match="wave must be finite"):
        log_mel(np.array([np.nan] * 500))
    with pytest.raises(ValueError, match="num_mels must be at least 1, got 0"):
        mel_filters(0)
    with pytest.raises(TypeError, match="sampling_rate must be a whole number"):
        log_mel(noise(500), "16 kHz")  # type: ignore[arg-type]
