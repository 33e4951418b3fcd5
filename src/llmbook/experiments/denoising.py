"""The shapes again, out of noise: a diffusion model beside the GPT of `drawings`.

Both have the same encoder and decoder, the same pictures and the same number of operations in
training. The GPT writes the grid between them code by code, from a list; here a grid of numbers
comes out of noise, all at once, and no list is asked.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmbook.dalle import drop_text
from llmbook.diffusion import Denoiser, betas, denoise, guided, noise_loss
from llmbook.experiments import drawings
from llmbook.experiments.drawings import (
    SIDE,
    batches,
    gallery,
    judged,
    operations,
    questions,
    shared_codes,
    to_hex,
    training_set,
)
from llmbook.experiments.shapes import (
    LENGTH,
    WORDS,
    Captions,
    Images,
    captions,
    sample,
    train_judge,
    withheld_pairs,
)
from llmbook.training import Recipe, evaluating, train
from llmbook.vq import VQVAE

Latents = Float[Tensor, "n channels rows columns"]
DATA = drawings.Setup()
TESTED = 200
"""Texts of each kind."""


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        data: Pictures, what is withheld, and how much is tested, as in `drawings`.
        total: Steps of the noise.
        start: Noise of the first step, which grows linearly.
        end: Of the last. So 40 % of the steps are where a twentieth to a thousandth of the picture
            is left, and the text decides what is in it; of the cosine schedule's steps 12 % are.
        back: Steps of DDIM from noise to a picture.
        guidance: By which the text counts more than it does.
        operations: In training beyond that of the autoencoder; the same as those of the GPT, if it
            is 0.
    """

    data: drawings.Setup = DATA
    total: int = 200
    start: float | int = 0.02
    end: float | int = 0.06
    back: int = 20
    guidance: float | int = 2.0
    operations: int = 0


SMALL = Setup(data=drawings.SMALL)
"""So few steps that a chapter can take them while the book is built."""


@dataclass
class Diffuser:
    """What one run has trained.

    Attributes:
        vqvae: Whose encoder and decoder are used, and not its list.
        model: Sees noise.
        mean: Of each channel of what the encoder gives.
        std: Its standard deviation.
        setup: By which it learnt.
    """

    vqvae: VQVAE
    model: Denoiser
    mean: Latents
    std: Latents
    setup: Setup

    @torch.no_grad()
    def decode(self, latents: Latents) -> Images:
        """The pictures of grids of numbers."""
        grid = (latents * self.std + self.mean).permute(0, 2, 3, 1)
        return self.vqvae.autoencoder.decode(grid).clamp(0, 1)

    def way(
        self, texts: Captions, generator: torch.Generator, **changed: Any
    ) -> tuple[Latents, ...]:
        """The noise, and what becomes of it in each step."""
        setup = replace(self.setup, **changed)
        nothing = torch.full_like(texts, self.model.nothing)

        def see(x: Tensor, t: Tensor) -> Tensor:
            noise: Tensor = self.model(x, t, texts)
            if setup.guidance == 1:
                return noise
            return guided(noise, self.model(x, t, nothing), setup.guidance)

        x = torch.randn(len(texts), *self.mean.shape[1:2], SIDE, SIDE, generator=generator)
        schedule = betas(setup.total, start=setup.start, end=setup.end)
        with evaluating(self.model):
            found = denoise(see, x, schedule, generator, steps=setup.back, clip=False)
            return (x, *found)

    def draw(self, texts: Captions, generator: torch.Generator, **changed: Any) -> Images:
        """Draw one picture for each text."""
        return self.decode(self.way(texts, generator, **changed)[-1])


@torch.no_grad()
def latents_of(vqvae: VQVAE, images: Images) -> Latents:
    """What the encoder gives, before the nearest code is taken."""
    grids = [vqvae.autoencoder.encode(part) for part in images.split(500)]
    return torch.cat(grids).permute(0, 3, 1, 2).contiguous()


def _loss(setup: Setup) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
    schedule = betas(setup.total, start=setup.start, end=setup.end)

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        text, x, t, noise = batch
        return noise_loss(lambda x, t: model(x, t, text), x, t, noise, schedule)

    return loss


def steps_for(setup: Setup = Setup()) -> int:
    """How many steps come to as many operations as the decoder of `drawings` takes."""
    n = setup.data.batch
    model = Denoiser(len(WORDS), LENGTH, SIDE, channels=16)
    x = torch.zeros(n, 16, SIDE, SIDE)
    text, t = torch.zeros(n, LENGTH, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    one = operations(lambda: _loss(setup)(model, (text, x, t, x)).backward())
    allowed = setup.operations or drawings.decoder_operations(setup.data)
    return max(1, allowed // one)


def learn(vqvae: VQVAE, seed: int, setup: Setup = Setup()) -> Diffuser:
    """Train a denoiser on what an encoder gives, for as many operations as the GPT had."""
    token_ids, images = training_set(seed, setup.data)
    latents = latents_of(vqvae, images)
    mean, std = (f((0, 2, 3), keepdim=True) for f in (latents.mean, latents.std))
    torch.manual_seed(seed)
    model = Denoiser(len(WORDS), LENGTH, SIDE, channels=latents.shape[1])
    drawn = batches(setup.data, token_ids, (latents - mean) / std)

    def with_noise(generator: torch.Generator) -> tuple[Tensor, ...]:
        text, x = drawn(generator)
        t = torch.randint(setup.total, (len(x),), generator=generator)
        noise = torch.randn(x.shape, generator=generator)
        return drop_text(text, model.nothing, generator, setup.data.drop), x, t, noise

    steps = steps_for(setup)
    recipe = Recipe(
        steps=steps, lr=3e-3, muon_lr=0.02, warmup=min(50, steps), decay="cosine", betas=(0.9, 0.95)
    )
    generator = torch.Generator().manual_seed(seed)
    train(model, with_noise, recipe, generator=generator, loss=_loss(setup))
    return Diffuser(vqvae, model.eval(), mean, std, setup)


def measure(
    diffuser: Diffuser, judge: nn.Module, seed: int, tested: int | None = None, **changed: Any
) -> dict[str, Any]:
    """Let a diffuser draw all kinds of texts, and judge it as the GPT is judged."""
    setup = diffuser.setup.data
    setup = setup if tested is None else replace(setup, tested=tested)
    asked = questions(seed, setup)
    generator = torch.Generator().manual_seed(60_000 + seed)
    drawn = {kind: diffuser.draw(texts, generator, **changed) for kind, texts in asked.items()}
    return judged(judge, asked, drawn, setup)


def drawing_operations(setup: Setup = Setup()) -> int:
    """What it computes to draw one picture."""
    one = torch.ones(1, 16, 1, 1)
    model = Denoiser(len(WORDS), LENGTH, SIDE, channels=16)
    diffuser = Diffuser(VQVAE(setup.data.num_codes), model, one, one, setup)
    texts = captions(1, torch.Generator().manual_seed(0))
    return operations(lambda: diffuser.draw(texts, torch.Generator()))


def out_of_noise(diffuser: Diffuser, seed: int, shown: int = 6) -> dict[str, Any]:
    """One picture on its way, for the first new text.

    Returns:
        "text" as token ids, and "pictures" after even numbers of steps, the noise first.
    """
    text = questions(seed, diffuser.setup.data)["new"][:1]
    way = diffuser.way(text, torch.Generator().manual_seed(seed))
    chosen = torch.linspace(0, len(way) - 1, shown).round().long().tolist()
    pictures = [to_hex(diffuser.decode(way[step])[0]) for step in chosen]
    return {"text": text[0].tolist(), "steps": chosen, "pictures": pictures}


def small(seed: int) -> dict[str, Any]:
    """What a run of few steps gives, for a chapter that takes them again.

    Returns:
        The "loss" on pictures of held-out scenes, at random steps of the noise.
    """
    diffuser = learn(shared_codes(seed, SMALL.data), seed, SMALL)
    generator = torch.Generator().manual_seed(50_000 + seed)
    withheld = withheld_pairs(SMALL.data.withheld)
    text, images = sample(200, generator, withheld, held_out=True)
    x = (latents_of(diffuser.vqvae, images) - diffuser.mean) / diffuser.std
    t = torch.randint(SMALL.total, (200,), generator=generator)
    noise = torch.randn(x.shape, generator=generator)
    with torch.no_grad():
        loss = _loss(SMALL)(diffuser.model, (text, x, t, noise))
    return {"loss": loss.item()}


def run(seed: int) -> dict[str, Any]:
    """All of it with one seed, as it is recorded.

    Returns:
        "drawn" at the default scale of guidance in the default number of steps; "guidance" and
        "back", at others; a "gallery", and one picture "out of noise"; "steps" of training, and
        "operations" of "drawing" a picture.
    """
    judge = train_judge(seed)
    diffuser = learn(shared_codes(seed), seed)
    return {
        "steps": steps_for(),
        "operations": {"drawing": drawing_operations()},
        "drawn": measure(diffuser, judge, seed, tested=TESTED),
        "guidance": {"1.0": measure(diffuser, judge, seed, tested=TESTED, guidance=1.0)},
        "back": {"5": measure(diffuser, judge, seed, tested=TESTED, back=5)},
        "gallery": gallery(diffuser.draw, judge, seed),
        "out of noise": out_of_noise(diffuser, seed),
    }
