"""`llmbook.diffusion`: every schedule and step equal to diffusers', and what must hold of them."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from llmbook.diffusion import (
    SCHEDULES,
    Denoiser,
    DiTBlock,
    add_noise,
    betas,
    ddim_step,
    ddpm_step,
    denoise,
    guided,
    noise_loss,
    timesteps,
)
from tests.reference import saved
from tests.reference.diffusers import ETAS, SETTINGS, inputs, places


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_schedule_noise_and_steps_back_equal_those_of_diffusers(number: int) -> None:
    steps, schedule, start, end, back, clip = SETTINGS[number]
    theirs = {
        key.removeprefix(f"{number}/"): torch.as_tensor(value)
        for key, value in saved("diffusers").items()
        if key.startswith(f"{number}/")
    }
    beta = betas(steps, schedule, start=start, end=end)
    torch.testing.assert_close(beta, theirs["betas"], rtol=1e-6, atol=0)
    beta = theirs["betas"]  # to the last bit, for what follows in double precision
    chosen = timesteps(steps, back)
    assert chosen == theirs["timesteps"].tolist()
    x, noise, predicted = inputs(number)
    t = torch.tensor([0, 1, steps // 2, steps - 1])
    torch.testing.assert_close(add_noise(x, noise, t, beta), theirs["noisy"])
    for place in places(chosen):
        previous = place - steps // back
        generator = torch.Generator().manual_seed(place)
        new = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        made = ddpm_step(x, predicted, place, beta, new, previous=previous, clip=clip)
        # theirs never takes a variance for less than 1e-20
        torch.testing.assert_close(made, theirs[f"ddpm/{place}"], rtol=1e-7, atol=1e-9)
        for eta in ETAS:
            made = ddim_step(
                x, predicted, place, beta, noise, previous=previous, eta=eta, clip=clip
            )
            torch.testing.assert_close(made, theirs[f"ddim/{place}/{eta}"])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_leaves_less_and_less_of_a_picture(schedule: str) -> None:
    beta = betas(1000, schedule, dtype=torch.float64)
    left = (1 - beta).cumprod(0)
    assert 0 < beta.min() <= beta.max() < 1
    assert (left.diff() < 0).all()
    assert left[0] > 0.999
    assert left[-1] < 0.005


def test_the_closed_form_is_that_of_the_steps_one_after_the_other() -> None:
    """The mean of all steps, and the variance that they add up to."""
    beta = betas(50, "linear", end=0.1, dtype=torch.float64)
    mean, variance = 1.0, 0.0
    for t, b in enumerate(beta.tolist()):
        mean, variance = mean * math.sqrt(1 - b), variance * (1 - b) + b
        one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
        torch.testing.assert_close(add_noise(one, zero, t, beta).item(), mean)
        torch.testing.assert_close(add_noise(zero, one, t, beta).item(), math.sqrt(variance))


@given(seed=st.integers(0, 1_000), t=st.integers(0, 29), back=st.integers(1, 12))
def test_ddim_with_all_the_noise_is_ddpm(seed: int, t: int, back: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, predicted, noise = torch.randn(3, 2, 5, generator=generator, dtype=torch.float64)
    beta = betas(30, "cosine", dtype=torch.float64)
    torch.testing.assert_close(
        ddim_step(x, predicted, t, beta, noise, previous=t - back, eta=1),
        ddpm_step(x, predicted, t, beta, noise, previous=t - back),
    )


@given(seed=st.integers(0, 1_000), schedule=st.sampled_from(SCHEDULES), steps=st.integers(1, 20))
def test_who_knows_the_noise_gets_the_picture_back(seed: int, schedule: str, steps: int) -> None:
    """By DDIM in any number of steps; each step is on the way that `add_noise` went."""
    generator = torch.Generator().manual_seed(seed)
    beta = betas(20, schedule, dtype=torch.float64)
    x, noise = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    stride = 20 // steps
    start = timesteps(20, steps)[0]
    noisy = add_noise(x, noise, start, beta)
    way = list(denoise(lambda *_: noise, noisy, beta, generator, steps=steps, clip=False))
    assert len(way) == steps
    for t, seen in zip(timesteps(20, steps)[:-1], way, strict=False):
        torch.testing.assert_close(seen, add_noise(x, noise, t - stride, beta))
    torch.testing.assert_close(way[-1], x)


@pytest.mark.parametrize(("sampler", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0)])
def test_the_best_denoiser_draws_from_the_data(sampler: str, eta: float) -> None:
    """Of one number that is normal, with a mean and a variance, the best denoiser is known."""
    beta = betas(200, "linear", start=1e-3, end=0.05, dtype=torch.float64)
    left = (1 - beta).cumprod(0)
    mean, variance = 0.5, 0.04

    def model(x: Tensor, t: Tensor) -> Tensor:
        a = left[t][:, None]
        return (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * variance + 1 - a)

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20_000, 1, generator=generator, dtype=torch.float64)
    *_, drawn = denoise(model, x, beta, generator, sampler=sampler, eta=eta, clip=False)
    assert abs(drawn.mean().item() - mean) < 0.02
    assert abs(drawn.std().item() - math.sqrt(variance)) < 0.02


def test_a_generator_decides_what_is_drawn_and_ddim_draws_nothing() -> None:
    beta = betas(10, "cosine")
    x = torch.ones(2, 3)

    def last(sampler: str, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        *_, end = denoise(lambda x, t: 0.1 * x, x, beta, generator, sampler=sampler)
        return end

    assert torch.equal(last("ddpm", 1), last("ddpm", 1))
    assert not torch.equal(last("ddpm", 1), last("ddpm", 2))
    assert torch.equal(last("ddim", 1), last("ddim", 2))


def test_the_loss_is_nothing_for_who_sees_the_noise_and_one_for_who_sees_none() -> None:
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 400, 3, 8, 8, generator=generator)
    beta, t = betas(100), torch.randint(100, (400,), generator=generator)
    assert noise_loss(lambda *_: noise, x, t, noise, beta) == 0
    assert abs(noise_loss(lambda x, t: 0 * x, x, t, noise, beta).item() - 1) < 0.02


@given(scale=st.floats(-5, 5))
def test_guidance_goes_along_a_line(scale: float) -> None:
    a, b = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])
    torch.testing.assert_close(guided(a, b, scale) - b, scale * (a - b))
    assert torch.equal(guided(a, b, 0), b)
    torch.testing.assert_close(guided(a, b, 1), a)


def denoiser(patch: int = 2) -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(5, 2, 8, patch, channels=3, d_model=16, num_layers=2, num_heads=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.double()


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_squares_are_cut_and_joined_where_they_were(patch: int) -> None:
    model = denoiser(patch)
    x = torch.arange(2 * 3 * 64.0).reshape(2, 3, 8, 8)
    squares = model._cut(x)
    assert squares.shape == (2, (8 // patch) ** 2, 3 * patch**2)
    assert torch.equal(model._join(squares), x)
    corner = x[0, :, :patch, -patch:].permute(1, 2, 0).flatten()  # the last square of the first row
    assert torch.equal(squares[0, 8 // patch - 1], corner)


def test_a_fresh_block_changes_nothing_and_a_fresh_denoiser_says_nothing() -> None:
    x, condition = torch.randn(2, 5, 16), torch.randn(2, 16)
    assert torch.equal(DiTBlock(16, 2)(x, condition), x)
    model = Denoiser(5, 2, 8, 2, d_model=16, num_heads=2)
    with torch.no_grad():
        model.out.bias.zero_()
    noise = model(torch.randn(2, 3, 8, 8), torch.tensor([1, 2]), torch.zeros(2, 2).long())
    assert not noise.any()


def test_a_block_scales_shifts_and_gates_as_the_equation_says() -> None:
    torch.manual_seed(0)
    block = DiTBlock(8, 2).double()
    nn.init.normal_(block.modulation.weight)
    x, condition = torch.randn(3, 4, 8).double(), torch.randn(3, 8).double()
    s1, b1, g1, s2, b2, g2 = (block.modulation(F.silu(condition))).reshape(3, 6, 1, 8).unbind(1)

    def norm(y: Tensor) -> Tensor:
        return (y - y.mean(-1, keepdim=True)) / (
            y.var(-1, unbiased=False, keepdim=True) + 1e-5
        ).sqrt()

    h = x + g1 * block.attention((1 + s1) * norm(x) + b1)
    y = h + g2 * block.feed_forward((1 + s2) * norm(h) + b2)
    torch.testing.assert_close(block(x, condition), y)


def test_a_denoiser_looks_at_the_text_the_step_and_the_whole_picture() -> None:
    model = denoiser()
    x, t, text = (
        torch.randn(2, 3, 8, 8).double(),
        torch.tensor([3, 9]),
        torch.tensor([[0, 1], [4, 2]]),
    )
    noise = model(x, t, text)
    assert noise.shape == x.shape
    for other in (model(x, t + 1, text), model(x, t, text.flip(1)), model(x, t, text * 0 + 5)):
        assert ((other - noise).abs().amax((1, 2, 3)) > 1e-4).all()
    far = x.clone()
    far[:, :, 0, 0] += 1
    assert ((model(far, t, text) - noise)[:, :, -1, -1].abs().amax(1) > 1e-6).all()
    torch.testing.assert_close(model(x[1:], t[1:], text[1:]), noise[1:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_what_it_is(dtype: torch.dtype) -> None:
    beta, x = betas(10), torch.ones(2, 3, dtype=dtype)
    assert add_noise(x, x, 3, beta).dtype == dtype
    assert ddpm_step(x, x, 3, beta, x).dtype == dtype
    assert ddim_step(x, x, 3, beta, x, eta=0.5).dtype == dtype


@pytest.mark.plain
def test_wrong_input_is_named() -> None:
    beta, x = betas(10), torch.ones(2, 3)
    for message, wrong in (
        ("steps must be positive, got 0", lambda: betas(0)),
        ("schedule must be one of linear, scaled_linear, cosine, got 'x'", lambda: betas(3, "x")),
        (
            "need 0 < start <= end < 1, got start=0.5 and end=0.1",
            lambda: betas(3, start=0.5, end=0.1),
        ),
        (r"noise must be of shape \(2, 3\), got \(3,\)", lambda: add_noise(x, x[0], 0, beta)),
        ("t must be from 0 to 9, got 10", lambda: add_noise(x, x, 10, beta)),
        ("t must be from 0 to 9, got -1", lambda: ddim_step(x, x, -1, beta)),
        ("t must be a whole number, got 1.5", lambda: add_noise(x, x, 1.5, beta)),  # type: ignore[arg-type]
        (
            r"one step for each of 2 pictures, got shape \(3,\)",
            lambda: add_noise(x, x, torch.arange(3), beta),
        ),
        ("previous must be before t = 4, got 4", lambda: ddpm_step(x, x, 4, beta, previous=4)),
        (
            r"predicted must be of shape \(2, 3\), got \(1, 3\)",
            lambda: ddpm_step(x, x[:1], 4, beta),
        ),
        ("eta must be from 0 to 1, got 2", lambda: ddim_step(x, x, 4, beta, x, eta=2)),
        ("noise must be given where eta is not 0", lambda: ddim_step(x, x, 4, beta, eta=0.5)),
        ("steps must be from 1 to 10, got 11", lambda: timesteps(10, 11)),
        (
            r"betas must be one row of numbers, got shape \(0,\)",
            lambda: add_noise(x, x, 0, beta[:0]),
        ),
        ("patch must divide size, got patch=3 and size=8", lambda: Denoiser(5, 2, 8, 3)),
        ("text_len must be positive, got 0", lambda: Denoiser(5, 0, 8)),
        (
            r"x must be of shape \(batch, 3, 8, 8\), got \(2, 3\)",
            lambda: Denoiser(5, 2, 8)(x, torch.zeros(2).long(), torch.zeros(2, 2).long()),
        ),
        (
            r"text must be of shape \(1, 2\), got \(2, 2\)",
            lambda: Denoiser(5, 2, 8)(
                torch.ones(1, 3, 8, 8), torch.zeros(1).long(), torch.zeros(2, 2).long()
            ),
        ),
        (
            "sampler must be 'ddim' or 'ddpm', got 'x'",
            lambda: next(denoise(lambda x, t: x, x, beta, torch.Generator(), sampler="x")),
        ),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


def test_no_pictures_are_no_trouble() -> None:
    x = torch.ones(0, 3)
    beta = betas(10)
    assert add_noise(x, x, torch.zeros(0, dtype=torch.long), beta).shape == (0, 3)
    *_, drawn = denoise(lambda x, t: x, x, beta, torch.Generator())
    assert drawn.shape == (0, 3)
