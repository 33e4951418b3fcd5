r"""Pictures out of noise: the denoising diffusion model, its training and its samplers.

A picture is mixed with ever more noise, and a network learns to say which noise it was. Whoever
can say that can go back, step by step, from noise alone.
"""

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.attention import MultiHeadAttention
from llmbook.layers import FeedForward
from llmbook.positions import LearnedPositions
from llmbook.sizes import positive, whole

Pictures = Float[Tensor, "batch *picture"]
Betas = Float[Tensor, " steps"]
Real = float | int

SCHEDULES = ("linear", "scaled_linear", "cosine")


def betas(
    steps: int,
    schedule: str = "linear",
    *,
    start: Real = 1e-4,
    end: Real = 0.02,
    dtype: torch.dtype | None = None,
) -> Betas:
    r"""How much noise each step adds.

    "linear" goes from `start` to `end`; "scaled_linear" does so with the square roots; "cosine"
    leaves at step $t$ the share $\bar\alpha_t = f(t/T)/f(0)$ of the picture's variance, with
    $f(s) = \cos^2\bigl(\frac{s + 0.008}{1.008} \cdot \frac{\pi}{2}\bigr)$, so that

    $$\beta_t = \min\Bigl(1 - \frac{\bar\alpha_{t}}{\bar\alpha_{t-1}},\; 0.999\Bigr)$$

    Args:
        steps: Number of steps $T$.
        schedule: One of the three.
        start: $\beta$ of the first step, but for "cosine".
        end: Of the last; the two were chosen for a thousand steps, and with fewer of them there is
            picture left at the end.
        dtype: Of the result; PyTorch's default if it is not given.

    Returns:
        $\beta_1, \ldots, \beta_T$, from which $\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)$.

    Raises:
        ValueError: If there are no steps, `schedule` is unknown, or not
            $0 < \text{start} \le \text{end} < 1$.

    Examples:
        >>> betas(3, start=0.1, end=0.3)
        tensor([0.1000, 0.2000, 0.3000])

    Source:
        [Ho et al. 2020][ho2020denoising], section 4; cosine:
        [Nichol and Dhariwal 2021][nichol2021improved], equation 17.
    """
    steps = whole("steps", steps)
    if steps < 1:
        raise ValueError(f"steps must be positive, got {steps}")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    if not 0 < start <= end < 1:
        raise ValueError(f"need 0 < start <= end < 1, got start={start} and end={end}")
    if schedule == "linear":
        return torch.linspace(start, end, steps, dtype=dtype)
    if schedule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, steps, dtype=dtype).square()
    left = [math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps + 1)]
    found = [min(1 - after / before, 0.999) for before, after in pairwise(left)]
    return torch.tensor(found, dtype=dtype)


def add_noise(
    x: Pictures, noise: Pictures, t: Int[Tensor, " batch"] | int, betas: Betas
) -> Pictures:
    r"""Go through the first steps of adding noise at once.

    $$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \epsilon$$

    Args:
        x: Pictures $x_0$, from -1 to 1.
        noise: $\epsilon$, standard normal.
        t: The step, from 0, for each picture or for all.
        betas: Noise of each step.

    Returns:
        The noisy pictures, of the dtype of `x`.

    Raises:
        ValueError: If shapes differ, or a step is none of the steps.

    Examples:
        >>> x, noise = torch.ones(1, 1), torch.zeros(1, 1)
        >>> add_noise(x, noise, 1, torch.tensor([0.5, 0.5]))
        tensor([[0.5000]])

    Source:
        [Ho et al. 2020][ho2020denoising], equation 4.
    """
    _same_shape(x, "noise", noise)
    left = _left(t, betas, x)
    return left.sqrt() * x + (1 - left).sqrt() * noise


def noise_loss(
    model: Callable[[Tensor, Tensor], Tensor],
    x: Pictures,
    t: Int[Tensor, " batch"],
    noise: Pictures,
    betas: Betas,
) -> Float[Tensor, ""]:
    r"""Mean squared error of the noise that a model sees in noisy pictures.

    $$L = \lVert \epsilon - \epsilon_\theta(x_t, t) \rVert^2$$

    per number of a picture.

    Args:
        model: Takes noisy pictures and their steps.
        x: Pictures.
        t: Which step each is brought to.
        noise: By which noise.
        betas: Noise of each step.

    Source:
        [Ho et al. 2020][ho2020denoising], equation 14.
    """
    return F.mse_loss(model(add_noise(x, noise, t, betas), t), noise)


def ddpm_step(
    x: Pictures,
    predicted: Pictures,
    t: int,
    betas: Betas,
    noise: Pictures | None = None,
    *,
    previous: int | None = None,
    clip: bool = False,
) -> Pictures:
    r"""One step back, with new noise: a draw from $q(x_s \mid x_t, \hat x_0)$, $s$ before $t$.

    $$x_s = \frac{\sqrt{\bar\alpha_s}\,\beta}{1 - \bar\alpha_t}\, \hat x_0
      + \frac{\sqrt{1 - \beta}\,(1 - \bar\alpha_s)}{1 - \bar\alpha_t}\, x_t
      + \sqrt{\frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}\,\beta}\; z, \qquad
      \beta = 1 - \frac{\bar\alpha_t}{\bar\alpha_s}$$

    with $\hat x_0 = (x_t - \sqrt{1 - \bar\alpha_t}\,\hat\epsilon) / \sqrt{\bar\alpha_t}$.

    Args:
        x: Noisy pictures $x_t$.
        predicted: The noise $\hat\epsilon$ that a model sees in them.
        t: Their step, from 0.
        betas: Noise of each step.
        noise: $z$, standard normal; without it, the mean.
        previous: The step $s$ to which to go back: $t - 1$ unless it is given. Below 0 it is the
            picture without noise.
        clip: Keep $\hat x_0$ from -1 to 1.

    Raises:
        ValueError: If shapes differ, `t` is none of the steps, or `previous` is not before it.

    Source:
        [Ho et al. 2020][ho2020denoising], equations 7 and 15.
    """
    left, before = _both(x, predicted, t, betas, previous)
    if noise is not None:
        _same_shape(x, "noise", noise)
    beta = 1 - left / before
    clean = _clean(x, predicted, left, clip)
    mean = (before.sqrt() * beta * clean + (1 - beta).sqrt() * (1 - before) * x) / (1 - left)
    if noise is None:
        return mean
    return mean + ((1 - before) / (1 - left) * beta).sqrt() * noise


def ddim_step(
    x: Pictures,
    predicted: Pictures,
    t: int,
    betas: Betas,
    noise: Pictures | None = None,
    *,
    previous: int | None = None,
    eta: Real = 0.0,
    clip: bool = False,
) -> Pictures:
    r"""One step back in which the noise that was found is used again.

    $$x_s = \sqrt{\bar\alpha_s}\,\hat x_0 + \sqrt{1 - \bar\alpha_s - \sigma^2}\;\hat\epsilon
      + \sigma z, \qquad
      \sigma^2 = \eta^2 \, \frac{1 - \bar\alpha_s}{1 - \bar\alpha_t}
      \Bigl(1 - \frac{\bar\alpha_t}{\bar\alpha_s}\Bigr)$$

    With $\eta = 0$ nothing is drawn, and the first noise decides the picture; with $\eta = 1$ it is
    `ddpm_step` (as long as nothing is clipped).

    Args:
        x: Noisy pictures $x_t$.
        predicted: The noise $\hat\epsilon$ that a model sees in them.
        t: Their step, from 0.
        betas: Noise of each step.
        noise: $z$, standard normal; needed if `eta` is not 0.
        previous: The step $s$ to which to go back: $t - 1$ unless it is given. Below 0 it is the
            picture without noise.
        eta: Share of new noise, from 0 to 1.
        clip: Keep $\hat x_0$ from -1 to 1.

    Raises:
        ValueError: If shapes differ, `t` is none of the steps, `previous` is not before it, `eta`
            is not from 0 to 1, or noise is missing.

    Source:
        [Song et al. 2021][song2021denoising], equations 12 and 16.
    """
    left, before = _both(x, predicted, t, betas, previous)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be from 0 to 1, got {eta}")
    if eta and noise is None:
        raise ValueError(f"noise must be given where eta is not 0, got eta={eta} and noise=None")
    if noise is not None:
        _same_shape(x, "noise", noise)
    variance = eta**2 * (1 - before) / (1 - left) * (1 - left / before)
    clean = _clean(x, predicted, left, clip)
    found = before.sqrt() * clean + (1 - before - variance).clamp(min=0).sqrt() * predicted
    return found if noise is None else found + variance.sqrt() * noise


def timesteps(total: int, steps: int) -> list[int]:
    """Choose steps at even distances, from late to early, to go back in fewer than there are.

    Raises:
        ValueError: If `steps` is not from 1 to `total`.

    Examples:
        >>> timesteps(1000, 4)
        [750, 500, 250, 0]
    """
    total, steps = whole("total", total), whole("steps", steps)
    if not 0 < steps <= total:
        raise ValueError(f"steps must be from 1 to {total}, got {steps}")
    return [i * (total // steps) for i in reversed(range(steps))]


def denoise(
    model: Callable[[Tensor, Tensor], Tensor],
    x: Pictures,
    betas: Betas,
    generator: torch.Generator,
    *,
    steps: int | None = None,
    sampler: str = "ddim",
    eta: Real = 0.0,
    clip: bool = True,
) -> Iterator[Pictures]:
    """Go from noise to pictures, and show each step.

    Args:
        model: Takes noisy pictures and their steps, and says which noise is in them.
        x: Noise, standard normal.
        betas: Noise of each step, as in training.
        generator: Draws the noise of each step, where there is some.
        steps: How many to take, evenly spaced; all unless it is given.
        sampler: "ddim", or "ddpm".
        eta: For "ddim".
        clip: Keep what is seen as the picture without noise from -1 to 1.

    Yields:
        The pictures after each step, the last ones without noise.

    Raises:
        ValueError: If `sampler` is neither, or `steps` is out of range.
    """
    if sampler not in ("ddim", "ddpm"):
        raise ValueError(f"sampler must be 'ddim' or 'ddpm', got {sampler!r}")
    chosen = timesteps(len(betas), len(betas) if steps is None else steps)
    stride = len(betas) // len(chosen)
    drawn = sampler == "ddpm" or eta > 0
    for t in chosen:
        with torch.no_grad():
            predicted = model(x, torch.full((len(x),), t, device=x.device))
        noise = None
        if drawn and t > 0:  # the last step adds none
            noise = torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
        previous = t - stride
        if sampler == "ddpm":
            x = ddpm_step(x, predicted, t, betas, noise, previous=previous, clip=clip)
        else:
            now = 0.0 if noise is None else eta
            x = ddim_step(x, predicted, t, betas, noise, previous=previous, eta=now, clip=clip)
        yield x


def guided(
    conditional: Float[Tensor, "*shape"], unconditional: Float[Tensor, "*shape"], scale: Real
) -> Float[Tensor, "*shape"]:
    r"""Go further in the direction in which a condition changes what a model says.

    $$\epsilon_\varnothing + s \, (\epsilon_c - \epsilon_\varnothing)$$

    Args:
        conditional: What the model says with the text.
        unconditional: And without.
        scale: $s$: 0 ignores the text, 1 is the plain model, and more exaggerates.

    Examples:
        >>> guided(torch.tensor(2.0), torch.tensor(1.0), 3)
        tensor(4.)

    Source:
        [Ho and Salimans 2022][ho2022classifier], equation 6, where $w = s - 1$.
    """
    return unconditional + scale * (conditional - unconditional)


class DiTBlock(nn.Module):
    r"""A Transformer block that is told something: how to scale and to shift what it reads.

    $$h = x + g_1\,\mathrm{MultiHead}\bigl((1 + s_1)\,\mathrm{LN}(x) + b_1\bigr), \qquad
      y = h + g_2\,\mathrm{FFN}\bigl((1 + s_2)\,\mathrm{LN}(h) + b_2\bigr)$$

    where $s, b, g$ are computed from a condition by one matrix. It starts at zero, so that each
    block at first changes nothing.

    Args:
        d_model: Width of the residual stream, and of the condition.
        num_heads: Attention heads.

    Source:
        [Peebles and Xie 2023][peebles2023scalable], section 3.2, adaLN-Zero.
    """

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(d_model, elementwise_affine=False)
        self.attention = MultiHeadAttention(d_model, num_heads)
        self.norm2 = nn.LayerNorm(d_model, elementwise_affine=False)
        self.feed_forward = FeedForward(d_model, 4 * d_model, "gelu_tanh")
        self.modulation = nn.Linear(d_model, 6 * d_model)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self, x: Float[Tensor, "batch seq d_model"], condition: Float[Tensor, "batch d_model"]
    ) -> Float[Tensor, "batch seq d_model"]:
        """Let the positions look at each other, then transform each by itself, as told."""
        s1, b1, g1, s2, b2, g2 = self.modulation(F.silu(condition))[:, None].chunk(6, -1)
        x = x + g1 * self.attention((1 + s1) * self.norm1(x) + b1)
        y: Tensor = x + g2 * self.feed_forward((1 + s2) * self.norm2(x) + b2)
        return y


class Denoiser(nn.Module):
    r"""A Transformer that is told a text and a step, and says which noise is in a picture.

    The picture is cut into squares, each a token. All tokens see each other. Text and step are
    one vector, by which each block is changed.

    Args:
        text_vocab: Tokens of texts. One more stands for each word of a text that is not given.
        text_len: Tokens of a text.
        size: Pixels of a picture's side.
        patch: Pixels of a square's side.
        channels: Numbers of a pixel.
        d_model: Width of the Transformer.
        num_layers: Its blocks.
        num_heads: Attention heads in each.

    Raises:
        ValueError: If a size is not positive, heads do not divide, or squares do not fill.

    Examples:
        >>> model = Denoiser(text_vocab=12, text_len=5, size=24, patch=4)
        >>> x, t, text = torch.randn(2, 3, 24, 24), torch.tensor([0, 9]), torch.zeros(2, 5).long()
        >>> model(x, t, text).shape
        torch.Size([2, 3, 24, 24])

    Source:
        [Peebles and Xie 2023][peebles2023scalable], section 3.2.
    """

    def __init__(
        self,
        text_vocab: int,
        text_len: int,
        size: int,
        patch: int = 1,
        channels: int = 3,
        d_model: int = 64,
        num_layers: int = 2,
        num_heads: int = 4,
    ) -> None:
        super().__init__()
        text_vocab, text_len, size, patch = positive(
            text_vocab=text_vocab, text_len=text_len, size=size, patch=patch
        )
        if size % patch:
            raise ValueError(f"patch must divide size, got patch={patch} and size={size}")
        self.text_vocab, self.text_len = text_vocab, text_len
        self.shape = (channels, size, size)
        self.patch, self.side = patch, size // patch
        self.words = nn.Embedding(text_vocab + 1, d_model)
        self.text = nn.Linear(text_len * d_model, d_model)
        self.time = nn.Linear(d_model, d_model)
        self.squares = nn.Linear(channels * patch**2, d_model)
        self.positions = LearnedPositions(self.side**2, d_model)
        self.blocks = nn.ModuleList(DiTBlock(d_model, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(d_model)
        self.out = nn.Linear(d_model, channels * patch**2)
        nn.init.zeros_(self.out.weight)

    @property
    def nothing(self) -> int:
        """The token that stands for a word of a text that is not given."""
        return self.text_vocab

    def forward(
        self,
        x: Float[Tensor, "batch channels size size"],
        t: Int[Tensor, " batch"],
        text: Int[Tensor, "batch words"],
    ) -> Float[Tensor, "batch channels size size"]:
        """Say which noise is in pictures at their steps, given their texts.

        Raises:
            ValueError: If pictures or texts have another shape than the model's.
        """
        if x.shape[1:] != self.shape:
            c, h, w = self.shape
            raise ValueError(f"x must be of shape (batch, {c}, {h}, {w}), got {tuple(x.shape)}")
        if text.shape != (len(x), self.text_len):
            raise ValueError(
                f"text must be of shape ({len(x)}, {self.text_len}), got {tuple(text.shape)}"
            )
        condition = self.text(self.words(text).flatten(1)) + self.time(
            _clock(t, self.time.in_features, x)
        )
        y = self.squares(self._cut(x)) + self.positions.weight
        for block in self.blocks:
            y = block(y, condition)
        return self._join(self.out(self.norm(y)))

    def _cut(self, x: Tensor) -> Tensor:
        """Pictures as rows of squares."""
        p = self.patch
        squares = x.unflatten(3, (-1, p)).unflatten(2, (-1, p)).permute(0, 2, 4, 3, 5, 1)
        rows: Tensor = squares.flatten(1, 2).flatten(2)
        return rows

    def _join(self, squares: Tensor) -> Tensor:
        """Rows of squares as pictures."""
        p = self.patch
        x = squares.unflatten(2, (p, p, -1)).unflatten(1, (self.side, self.side))
        pictures: Tensor = x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
        return pictures


def _clock(t: Tensor, width: int, like: Tensor) -> Tensor:
    """Steps as sines and cosines of falling frequency."""
    frequency = torch.exp(
        -math.log(10_000) * torch.arange(width // 2, device=t.device) / (width // 2)
    )
    angle = t[:, None] * frequency
    return torch.cat((angle.sin(), angle.cos()), 1).to(like)


def _clean(x: Tensor, predicted: Tensor, left: Tensor, clip: bool) -> Tensor:
    """The picture without the noise that was seen in it."""
    clean = (x - (1 - left).sqrt() * predicted) / left.sqrt()
    return clean.clamp(-1, 1) if clip else clean


def _left(t: Tensor | int, betas: Tensor, x: Tensor) -> Tensor:
    """Share of the picture's variance that is left at a step, to be multiplied with `x`."""
    if betas.ndim != 1 or not len(betas):
        raise ValueError(f"betas must be one row of numbers, got shape {tuple(betas.shape)}")
    steps = torch.as_tensor(t, device=betas.device)
    if steps.is_floating_point() or steps.dtype == torch.bool:
        raise ValueError(f"t must be a whole number, got {t}")
    if steps.ndim and steps.shape != (len(x),):
        raise ValueError(
            f"t must have one step for each of {len(x)} pictures, got shape {tuple(steps.shape)}"
        )
    if steps.numel() and not 0 <= steps.min() <= steps.max() < len(betas):
        raise ValueError(f"t must be from 0 to {len(betas) - 1}, got {t}")
    left = (1 - betas).cumprod(0)[steps.long()].to(x)
    return left.reshape(-1, *[1] * (x.ndim - 1)) if steps.ndim else left


def _both(
    x: Tensor, predicted: Tensor, t: int, betas: Tensor, previous: int | None
) -> tuple[Tensor, Tensor]:
    """What is left of the picture at a step, and at the one to which it goes back."""
    _same_shape(x, "predicted", predicted)
    t = whole("t", t)
    s = t - 1 if previous is None else whole("previous", previous)
    if s >= t:
        raise ValueError(f"previous must be before t = {t}, got {s}")
    left = _left(t, betas, x)
    return left, torch.ones_like(left) if s < 0 else _left(s, betas, x)


def _same_shape(x: Tensor, name: str, other: Tensor) -> None:
    """Nothing is to be spread over what has another shape."""
    if other.shape != x.shape:
        raise ValueError(f"{name} must be of shape {tuple(x.shape)}, got {tuple(other.shape)}")
