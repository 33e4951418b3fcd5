"""Sound as a picture: how loud each pitch is at each moment, as Whisper reads it."""

from typing import Final

import numpy as np
from jaxtyping import Float, Num

from llmbook.sizes import whole

RATE: Final = 16_000  # samples a second
WINDOW: Final = 400  # samples, 25 ms
HOP: Final = 160  # samples, 10 ms


def log_mel(
    wave: Num[np.ndarray, " samples"],
    sampling_rate: int = RATE,
    *,
    num_mels: int = 80,
    seconds: float | int | None = 30,
) -> Float[np.ndarray, "num_mels frames"]:
    r"""The logarithm of the energy in bands of pitch, every 10 ms, as Whisper's encoder takes it.

    Windows of 25 ms, each multiplied by a raised cosine, are turned into energies $|F|^2$ of their
    frequencies, and these are summed up in triangular bands that are as wide as the ear is coarse
    (`mel_filters`). With $e$ for an energy and $m$ for the largest $\log_{10} e$ of the whole
    wave,

    $$x = \tfrac14\bigl(\max(\log_{10} \max(e, 10^{-10}),\, m - 8) + 4\bigr)$$

    so that nothing is quieter than the loudest by more than eight powers of ten.

    Args:
        wave: Samples from -1 to 1, one channel.
        sampling_rate: Samples a second. Only 16,000 is taken: another rate must be turned into
            that one first.
        num_mels: Bands.
        seconds: The wave is cut or filled up with silence to this length, as Whisper has it; `None`
            leaves it as it is.

    Returns:
        A row for each band, the lowest first, and 100 columns a second.

    Raises:
        TypeError: If a number is none.
        ValueError: If the wave has another rate or more than one axis, is shorter than 25 ms
            where it is not filled up, or holds a number that is not finite.

    Examples:
        >>> tone = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
        >>> picture = log_mel(tone, seconds=1)
        >>> picture.shape, int(picture.mean(1).argmax())
        ((80, 100), 11)

    Source:
        [Radford et al. 2022][radford2022robust], section 2.2.
    """
    wave = np.asarray(wave, np.float64)
    if whole("sampling_rate", sampling_rate) != RATE:
        raise ValueError(f"sampling_rate must be {RATE}, got {sampling_rate}: resample the wave")
    if wave.ndim != 1 or not wave.size:
        raise ValueError(f"wave must be one row of samples, and not empty, got shape {wave.shape}")
    if not np.isfinite(wave).all():
        raise ValueError("wave must be finite, got an infinite or undefined sample")
    if seconds is not None:
        length = round(seconds * RATE)
        wave = np.pad(wave[:length], (0, max(0, length - wave.size)))
    if wave.size < WINDOW:
        raise ValueError(f"wave must have at least {WINDOW} samples, got {wave.size}")
    padded = np.pad(wave, WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    energies = np.abs(np.fft.rfft(windows[: wave.size // HOP] * hann)) ** 2
    logarithm = np.log10(np.maximum(mel_filters(num_mels) @ energies.T, 1e-10))
    frames: Float[np.ndarray, "num_mels frames"] = np.maximum(logarithm, logarithm.max() - 8)
    return frames / 4 + 1


def mel_filters(num_mels: int = 80) -> Float[np.ndarray, "num_mels frequencies"]:
    r"""Triangles on the axis of frequencies, whose corners are evenly spaced in pitch.

    The mel of a frequency $f$ in hertz is $3f / 200$ below 1,000, and $15 + 27 \log_{6.4}(f/1000)$
    above: steps there, and ratios here. Each triangle has the same area.

    Args:
        num_mels: How many, from 0 to 8,000 hertz.

    Raises:
        TypeError: If `num_mels` is no whole number.
        ValueError: If it is less than 1.

    Examples:
        >>> mel_filters(80).shape
        (80, 201)

    Source:
        The scale of Slaney's auditory toolbox, [Slaney 1998][slaney1998auditory].
    """
    num_mels = whole("num_mels", num_mels)
    if num_mels < 1:
        raise ValueError(f"num_mels must be at least 1, got {num_mels}")
    corners = _hertz(np.linspace(0, 15 + 27 * np.log(8) / np.log(6.4), num_mels + 2))
    frequencies = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    low, middle, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    height = 2 / (high - low)
    filters: Float[np.ndarray, "num_mels frequencies"] = height * np.minimum(rising, falling)
    filters[filters < 0] = 0
    return filters


def _hertz(mel: Float[np.ndarray, " mels"]) -> Float[np.ndarray, " mels"]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))
