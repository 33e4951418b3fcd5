"""Schedulers of `diffusers`: what noise is added, what each step back gives, which masks go first."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

LIBRARY = "diffusers"
NAMES = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
SETTINGS = [  # steps in training, schedule, start, end, steps back, whether x0 is clipped
    (1000, "linear", 1e-4, 0.02, 1000, False),
    (1000, "scaled_linear", 0.00085, 0.012, 50, False),
    (1000, "cosine", 1e-4, 0.02, 20, True),
    (100, "linear", 1e-3, 0.2, 100, True),
    (64, "cosine", 1e-4, 0.02, 7, False),
]
ETAS = (0.0, 0.3, 1.0)
MASKED = [(9, 4), (9, 9), (12, 5), (7, 1)]  # tokens of a text of masks, steps to fill them
VOCAB = 6  # the last of which is the mask


def inputs(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures, noise, and what a model says, in float64."""
    generator = torch.Generator().manual_seed(number)
    x, noise, predicted = torch.randn(3, 4, 3, 2, 2, generator=generator, dtype=torch.float64)
    return x, noise, predicted


def places(back: list[int]) -> list[int]:
    """Steps of the way back that are compared: the first, two on the way, the last."""
    return [back[0], back[len(back) // 3], back[-2], back[-1]]


def guesses(ids: torch.Tensor) -> torch.Tensor:
    """Logits of a model whose guess for each token depends on all tokens, and is never the mask."""
    seq = ids.shape[1]
    generator = torch.Generator().manual_seed(seq)
    weights = torch.randn(seq * VOCAB, seq * VOCAB, generator=generator)
    logits = torch.nn.functional.one_hot(ids, VOCAB).float().flatten(1) @ weights
    return logits.view(-1, seq, VOCAB) - 1e9 * (torch.arange(VOCAB) == VOCAB - 1)


def begun(seq: int) -> torch.Tensor:
    """Four texts of masks; each begins with a token of its own."""
    ids = torch.full((4, seq + 1), VOCAB - 1)
    ids[:, 0] = torch.arange(4)
    return ids


def values() -> dict[str, NDArray[Any]]:
    from diffusers import BlockRefinementScheduler, DDIMScheduler, DDPMScheduler

    found: dict[str, NDArray[Any]] = {}
    for number, (steps, schedule, start, end, back, clip) in enumerate(SETTINGS):
        common = {
            "num_train_timesteps": steps,
            "beta_schedule": NAMES[schedule],
            "beta_start": start,
            "beta_end": end,
            "clip_sample": clip,
        }
        ddpm, ddim = DDPMScheduler(**common), DDIMScheduler(**common)
        for scheduler in (ddpm, ddim):  # they compute in single precision: go on in double
            scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
            scheduler.set_timesteps(back)
        found[f"{number}/betas"] = ddpm.betas.numpy()
        found[f"{number}/left"] = ddpm.alphas_cumprod.numpy()
        found[f"{number}/timesteps"] = ddim.timesteps.numpy()
        x, noise, predicted = inputs(number)
        t = torch.tensor([0, 1, steps // 2, steps - 1])
        found[f"{number}/noisy"] = ddpm.add_noise(x, noise, t).numpy()
        for place in places(ddim.timesteps.tolist()):
            generator = torch.Generator().manual_seed(place)
            made = ddpm.step(predicted, place, x, generator=generator).prev_sample
            found[f"{number}/ddpm/{place}"] = made.numpy()
            for eta in ETAS:
                made = ddim.step(
                    predicted, place, x, eta=eta, variance_noise=noise if eta else None
                ).prev_sample
                found[f"{number}/ddim/{place}/{eta}"] = made.numpy()
    for seq, steps in MASKED:
        scheduler = BlockRefinementScheduler(threshold=2.0)  # nothing is surer than that
        scheduler.set_timesteps(steps, block_length=seq)
        ids = begun(seq)
        for step in range(steps):
            ids = scheduler.step(guesses(ids), step, ids, mask_token_id=VOCAB - 1).prev_sample
        found[f"masks/{seq}/{steps}"] = ids.numpy()
    return {key: np.asarray(value) for key, value in found.items()}
