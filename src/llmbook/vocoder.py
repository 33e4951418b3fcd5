"""From a picture of sound back to sound: energies from mel bands, and a phase for them.

A log-mel picture has lost two things: what each band is a sum of, and every phase. The first is
filled in so that the bands sum up to what they were, the second so that overlapping windows agree.
"""

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from llmbook.audio import HOP, WINDOW, mel_filters
from llmbook.sizes import whole


def energies(
    mel: Float[np.ndarray, "num_mels frames"], steps: int = 50
) -> Float[np.ndarray, "201 frames"]:
    r"""Energies of all frequencies that, summed up in bands, give what `log_mel` shows.

    There are more frequencies than bands, so many are possible. From equal ones, each step
    multiplies every frequency by how much its bands lack, and so none becomes negative:

    $$p \leftarrow p \cdot \frac{F^\top (e / Fp)}{F^\top 1}$$

    with the filters $F$ and the energies $e = 10^{4x - 4}$ of the bands.

    Args:
        mel: As `llmbook.audio.log_mel` gives it.
        steps: How many.

    Raises:
        TypeError: If `steps` is no whole number.
        ValueError: If `mel` has no bands or holds a number that is not finite, or `steps` is
            negative.

    Examples:
        >>> from llmbook.audio import log_mel
        >>> mel = log_mel(np.random.default_rng(0).normal(size=8_000), num_mels=32, seconds=None)
        >>> found = energies(mel)
        >>> again = np.log10(mel_filters(32) @ found) / 4 + 1
        >>> found.shape, bool(np.allclose(again, mel, atol=0.01))
        ((201, 50), True)

    Source:
        [Lee and Seung 2000][lee2000algorithms], equation 5, with one factor fixed.
    """
    if whole("steps", steps) < 0:
        raise ValueError(f"steps must not be negative, got {steps}")
    if not mel.size or not np.isfinite(mel).all():
        raise ValueError(f"mel must have bands and finite numbers, got shape {mel.shape}")
    filters = mel_filters(len(mel))
    bands = 10.0 ** (4 * np.asarray(mel, np.float64) - 4)
    total = filters.sum(0)[:, None]
    heard = total > 0  # the lowest frequency and the highest are in no band
    found = np.where(heard, np.ones((1, mel.shape[1])), 0.0)
    for _ in range(steps):
        found *= filters.T @ (bands / (filters @ found)) / np.where(heard, total, 1)
    return found


def griffin_lim(
    magnitudes: Float[Tensor, "201 frames"],
    steps: int = 60,
    *,
    momentum: float | int = 0.99,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " samples"]:
    r"""Find a wave whose short-time spectrum has these magnitudes, as nearly as one can have them.

    Windows overlap, so not every table of complex numbers is the spectrum of a wave. Each step
    makes a wave, takes its spectrum $S_t$, and keeps the phase and not the magnitudes:

    $$\varphi_{t+1} = \mathrm{phase}\Bigl(S_t - \frac{\alpha}{1 + \alpha} S_{t-1}\Bigr)$$

    Args:
        magnitudes: Of each frequency in each window, 25 ms long and 10 ms apart, at 16,000
            samples a second.
        steps: How many.
        momentum: $\alpha \geq 0$; with 0 it is the first form of the algorithm.
        generator: Draws the first phases; without one they are all 0.

    Returns:
        160 samples for each window after the first.

    Raises:
        TypeError: If `steps` is no whole number.
        ValueError: If there are less than two windows or not 201 frequencies, a magnitude is
            negative or not finite, or `steps` or `momentum` is negative.

    Examples:
        >>> noise = torch.randn(8_000, generator=torch.Generator().manual_seed(0))
        >>> def spectrum(wave):
        ...     window = torch.hann_window(400, dtype=wave.dtype)
        ...     return torch.stft(wave, 400, 160, window=window, return_complex=True).abs()
        >>> aim = spectrum(noise)
        >>> waves = [griffin_lim(aim, steps) for steps in (0, 60)]
        >>> far = [(spectrum(wave) - aim).norm() / aim.norm() for wave in waves]
        >>> print(f"{far[0]:.2f} {far[1]:.2f}")
        0.86 0.15

    Source:
        [Griffin and Lim 1984][griffin1984signal], section III; momentum:
        [Perraudin et al. 2013][perraudin2013fast], section 3.
    """
    if whole("steps", steps) < 0 or not momentum >= 0:
        raise ValueError(f"steps and momentum must not be negative, got {steps} and {momentum}")
    if magnitudes.ndim != 2 or len(magnitudes) != WINDOW // 2 + 1 or magnitudes.shape[1] < 2:
        raise ValueError(
            f"magnitudes must have {WINDOW // 2 + 1} rows and at least 2 columns, "
            f"got shape {tuple(magnitudes.shape)}"
        )
    if not (magnitudes.isfinite() & (magnitudes >= 0)).all():
        raise ValueError("magnitudes must be finite and not negative")
    window = torch.hann_window(WINDOW, dtype=magnitudes.dtype, device=magnitudes.device)
    length = HOP * (magnitudes.shape[1] - 1)

    def wave(phase: Complex[Tensor, "201 frames"]) -> Float[Tensor, " samples"]:
        return torch.istft(magnitudes * phase, WINDOW, HOP, window=window, length=length)

    angle = torch.zeros_like(magnitudes)
    if generator is not None:
        angle.uniform_(-torch.pi, torch.pi, generator=generator)
    phase = torch.polar(torch.ones_like(magnitudes), angle)
    before = torch.zeros_like(phase)
    for _ in range(steps):
        spectrum = torch.stft(
            wave(phase), WINDOW, HOP, window=window, pad_mode="constant", return_complex=True
        )
        turned = spectrum - momentum / (1 + momentum) * before
        phase = turned / (turned.abs() + torch.finfo(magnitudes.dtype).tiny)
        before = spectrum
    return wave(phase)
