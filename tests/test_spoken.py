"""`llmbook.spoken`: what the file holds, and how a sound becomes frames."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.audio import log_mel
from llmbook.spoken import ACCENTS, BANDS, DIGITS, FILE, FRAMES, SOURCE, clips, frames_of, make


def test_every_voice_says_every_digit_in_every_accent() -> None:
    spoken = clips()
    expected = [
        (voice, digit)
        for voice in range(len(spoken.names))
        for _ in ACCENTS
        for digit in range(len(DIGITS))
    ]
    assert list(zip(spoken.voices.tolist(), spoken.digits.tolist(), strict=True)) == expected
    assert len(set(spoken.names)) == len(spoken.names) == 101


def test_clips_are_loud_at_both_ends_and_silent_after() -> None:
    spoken = clips()
    for frames, length in zip(spoken.frames, spoken.lengths, strict=True):
        assert frames[:length].max() == 255
        assert min(frames[0].max(), frames[length - 1].max()) > 127
        assert not frames[length:].any()


def test_the_file_is_the_one_of_its_record_and_small() -> None:
    content = FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == SOURCE.sha256
    assert len(content) < 2e6


@settings(max_examples=20, deadline=None)
@given(
    hertz=st.sampled_from([300, 1000, 3000]),
    rate=st.sampled_from([16_000, 22_050, 44_100]),
    silence=st.floats(0, 0.3),
)
def test_a_tone_is_loudest_in_its_band_whatever_the_rate_and_the_silence(
    hertz: int, rate: int, silence: float
) -> None:
    """The band is the one that Whisper's frames have at 16,000 samples a second."""
    time = np.arange(int(0.4 * rate)) / rate
    tone = np.sin(2 * np.pi * hertz * time) * np.hanning(len(time))
    sound = np.concatenate([np.zeros(int(silence * rate)), tone, np.zeros(int(silence * rate))])
    frames = frames_of(sound, rate)
    plain = np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000)
    band = log_mel(plain, num_mels=BANDS, seconds=None).mean(1).argmax()
    assert frames.shape[1] == BANDS
    assert abs(len(frames) - 20) <= 2
    assert frames[len(frames) // 2].argmax() == band


def test_loudness_does_not_matter() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8_000)
    loud, soft = frames_of(noise, 16_000), frames_of(noise / 50, 16_000)
    assert np.abs(loud.astype(int) - soft.astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (np.zeros(10), "sound must be at least 20 ms long, got 10 samples at 16000"),
        (np.sin(np.arange(17_000)), f"at most {FRAMES} frames of 20 ms, got 53"),
    ],
)
def test_what_is_too_short_or_too_long_is_named(sound: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        frames_of(sound, 16_000)


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="the file is made with espeak-ng")
def test_the_file_is_made_again_by_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first voice alone, whose speeds and pitches are drawn first."""
    monkeypatch.setattr("llmbook.spoken.variants", lambda: [clips().names[0]])
    with np.load(make(tmp_path / "spoken.npz")) as again, np.load(FILE) as kept:
        frames = int(again["lengths"].astype(int).sum())
        assert np.array_equal(again["lengths"], kept["lengths"][:20])
        assert np.abs(again["frames"].astype(int) - kept["frames"][:, :frames]).max() <= 1
