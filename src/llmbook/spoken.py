"""Digits, spoken by the voices of a speech synthesiser: what there is of each, as mel frames.

The voices are the variants of espeak-ng, a synthesiser that computes speech from formants and no
recordings. `python -m llmbook.spoken` makes the file that comes with the book; that needs the
program `espeak-ng` (GPL-3.0-or-later), of which nothing but its sound is in the file.
"""

import io
import subprocess
import sys
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Int, UInt8

from llmbook.audio import RATE, log_mel
from llmbook.datasets import DATA, Source

DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS: Final = ("en-gb", "en-us")
BANDS: Final = 32
"""Bands of pitch."""
FRAMES: Final = 48
"""Of the longest clip; each is 20 ms."""
SOURCE: Final = Source(
    file="spoken.npz",
    package="Debian: espeak-ng 1.51",
    licence="CC-BY-4.0, as the book's figures; the program, GPL-3.0-or-later, is not in the file",
    sha256="039fd82a7312d5db3ac5cda2909177aeddb76c875702645087f55e79be18f96b",
    what="ten digits by 101 voices in two accents, as frames of 20 ms in 32 bands, in eight bits",
)
FILE: Final = DATA / SOURCE.file
_RANGE: Final = 2.0  # of `log_mel`, from the quietest to the loudest


@dataclass(frozen=True)
class Clips:
    """Digits as they were spoken, one word each.

    Attributes:
        frames: Loudness of each band, from 0 for eight powers of ten below the clip's loudest to
            255; 0 after the end.
        lengths: Frames of each.
        digits: What is said.
        voices: Who says it: the same number in both accents.
        names: Of the voices.
    """

    frames: UInt8[np.ndarray, "clips 48 32"]
    lengths: Int[np.ndarray, " clips"]
    digits: Int[np.ndarray, " clips"]
    voices: Int[np.ndarray, " clips"]
    names: tuple[str, ...]


@cache
def clips() -> Clips:
    """Read the clips that come with the book.

    Examples:
        >>> spoken = clips()
        >>> spoken.frames.shape[1:], len(spoken.names), len(spoken.lengths)
        ((48, 32), 101, 2020)
    """
    with np.load(FILE) as file:
        parts = {name: file[name] for name in ("lengths", "digits", "voices")}
        frames = np.zeros((len(parts["lengths"]), FRAMES, BANDS), np.uint8)
        inside = np.arange(FRAMES) < parts["lengths"][:, None]
        frames[inside] = file["frames"].T
        return Clips(
            frames, **{k: v.astype(int) for k, v in parts.items()}, names=tuple(file["names"])
        )


def resampled(
    sound: Float[np.ndarray, " samples"], rate: int, to: int
) -> Float[np.ndarray, " others"]:
    """The same sound with another number of samples a second; pitches above half of it are lost.

    Args:
        sound: Samples.
        rate: How many there are in a second.
        to: How many there shall be.

    Examples:
        >>> resampled(np.ones(8), 16_000, 8_000).tolist()
        [1.0, 1.0, 1.0, 1.0]
    """
    count = round(len(sound) * to / rate)
    spectrum = np.fft.rfft(sound)[: count // 2 + 1]
    found: Float[np.ndarray, " others"] = np.fft.irfft(spectrum, count) * count / len(sound)
    return found


def wav(sound: Float[np.ndarray, " samples"], rate: int = RATE, to: int = 8_000) -> bytes:
    """A small file of a sound, for a page: one channel of eight bits.

    Args:
        sound: Samples from -1 to 1; what is louder is cut.
        rate: How many there are in a second.
        to: How many the file has; 8,000 are a telephone's.

    Examples:
        >>> len(wav(np.zeros(16_000)))
        8044
    """
    levels = np.clip(resampled(sound, rate, to) * 127 + 128, 0, 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(to)
        file.writeframes(levels.tobytes())
    return buffer.getvalue()


def mel_frames(sound: Float[np.ndarray, " samples"], rate: int) -> UInt8[np.ndarray, "frames 32"]:
    """Turn a sound into frames of 20 ms.

    Args:
        sound: Samples from -1 to 1.
        rate: Samples a second.

    Returns:
        Loudness, from 0 for eight powers of ten below the loudest to 255.

    Raises:
        ValueError: If it is shorter than a frame.

    Examples:
        >>> mel_frames(np.sin(np.arange(8_000)), 16_000).shape
        (25, 32)
    """
    if len(sound) < rate / 50:
        raise ValueError(f"sound must be at least 20 ms long, got {len(sound)} samples at {rate}")
    mel = log_mel(resampled(sound, rate, RATE), num_mels=BANDS, seconds=None)
    mel = mel[:, : mel.shape[1] // 2 * 2].reshape(BANDS, -1, 2).mean(2).T
    scaled = np.clip(mel - (mel.max() - _RANGE), 0, None) / _RANGE * 255
    found: UInt8[np.ndarray, "frames 32"] = scaled.round().astype(np.uint8)
    return found


def frames_of(sound: Float[np.ndarray, " samples"], rate: int) -> UInt8[np.ndarray, "frames 32"]:
    """The frames of a word, without the silence before and after it.

    Args:
        sound: Samples from -1 to 1.
        rate: Samples a second.

    Raises:
        ValueError: If it is heard for more than 48 frames, or is shorter than one.

    Examples:
        >>> silence = np.zeros(8_000)
        >>> frames_of(np.concatenate([silence, np.sin(np.arange(8_000)), silence]), 16_000).shape
        (26, 32)
    """
    frames = mel_frames(sound, rate)
    loud = np.flatnonzero(frames.max(1) >= 128)  # within four powers of ten
    found = frames[loud[0] : loud[-1] + 1]
    if len(found) > FRAMES:
        raise ValueError(
            f"sound must be heard for at most {FRAMES} frames of 20 ms, got {len(found)}"
        )
    return found


def speak(text: str, voice: str, speed: int, pitch: int) -> tuple[Float[np.ndarray, " n"], int]:
    """Let espeak-ng say something.

    Args:
        text: What.
        voice: An accent and a variant, such as "en-us+f1".
        speed: Words a minute.
        pitch: From 0 to 99.

    Returns:
        Samples from -1 to 1, and how many there are in a second.

    Raises:
        OSError: If the program is not there.
    """
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "--stdout", text]
    said = subprocess.run(command, capture_output=True, check=True)  # noqa: S603
    with wave.open(io.BytesIO(said.stdout)) as file:
        samples = np.frombuffer(file.readframes(-1), "<i2")
        return samples / 32768, file.getframerate()


def variants() -> list[str]:
    """The names of espeak-ng's voices."""
    command = ["espeak-ng", "--voices=variant"]
    listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout  # noqa: S603
    return sorted(
        {line.split("!v/")[1].split()[0] for line in listed.splitlines() if "!v/" in line}
    )


def make(file: Path = FILE, seed: int = 0) -> Path:
    """Have every voice say every digit in both accents, at a speed and pitch drawn by lot.

    Args:
        file: Where to write.
        seed: Of speed and pitch.
    """
    rng = np.random.default_rng(seed)
    names, rows = variants(), []
    for number, name in enumerate(names):
        for accent in ACCENTS:
            for digit, word in enumerate(DIGITS):
                speed, pitch = int(rng.integers(150, 251)), int(rng.integers(25, 76))
                sound, rate = speak(word, f"{accent}+{name}", speed, pitch)
                rows.append((frames_of(sound, rate), digit, number))
    np.savez_compressed(
        file,
        frames=np.concatenate([frames for frames, _, _ in rows]).T,
        lengths=np.array([len(frames) for frames, _, _ in rows], np.uint8),
        digits=np.array([digit for _, digit, _ in rows], np.uint8),
        voices=np.array([number for _, _, number in rows], np.uint8),
        names=np.array(names),
    )
    return file


if __name__ == "__main__":
    try:
        print(make())
    except OSError as error:
        sys.exit(f"error: {error}: install espeak-ng, such as with `apt install espeak-ng`")
