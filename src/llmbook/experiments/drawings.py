"""A GPT that draws shapes: trained on texts with the codes of their pictures, and judged.

What is asked: texts that were in training, new texts of pairs that were, and texts with a pair of a
colour and a shape that came in no picture at all, neither of the codes nor of the decoder.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from llmbook.dalle import Dalle, dalle_loss, drop_text
from llmbook.experiments.shapes import (
    LENGTH,
    PAIRS,
    SIZE,
    WORDS,
    Captions,
    Images,
    canonical,
    captions,
    draw,
    parts_right,
    read,
    sample,
    train_judge,
    withheld_pairs,
)
from llmbook.training import Recipe, train
from llmbook.vq import DVAE, VQVAE, Coded

SIDE = SIZE // 4
"""Codes of a side of a picture."""
WITHHELD = (1, 2, 4, 8)
"""How many of the 16 pairs are withheld, in turn."""


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        withheld: Pairs of a colour and a shape that come in no picture of the training.
        pictures: From which all is learnt.
        batch: Pictures in a step.
        num_codes: Codes in the list.
        plain_steps: Steps in which the autoencoder learns without codes.
        code_steps: And then with them.
        steps: Of the decoder.
        drop: Share of the texts that the decoder does not see.
        temperature: At which it draws.
        tested: Texts of each kind.
    """

    withheld: int = 4
    pictures: int = 6_000
    batch: int = 64
    num_codes: int = 96
    plain_steps: int = 200
    code_steps: int = 300
    steps: int = 600
    drop: float | int = 0.1
    temperature: float | int = 0.5
    tested: int = 400


SMALL = Setup(plain_steps=40, code_steps=40, steps=100, tested=100)
"""So few steps that a chapter can take them while the book is built."""


def training_set(seed: int, setup: Setup = Setup()) -> tuple[Captions, Images]:
    """Texts and pictures of scenes that are not held out, without the withheld pairs."""
    generator = torch.Generator().manual_seed(seed)
    withheld = withheld_pairs(setup.withheld)
    return sample(setup.pictures, generator, withheld, held_out=False)


def questions(seed: int, setup: Setup = Setup()) -> dict[str, Captions]:
    """What is to be drawn: "trained" texts, "new" ones of known pairs, and "withheld" pairs."""
    generator = torch.Generator().manual_seed(40_000 + seed)
    withheld, n = withheld_pairs(setup.withheld), setup.tested
    return {
        "trained": captions(n, generator, withheld=withheld, held_out=False),
        "new": captions(n, generator, withheld=withheld, held_out=True),
        "withheld": captions(n, generator, only=withheld),
    }


def batches(setup: Setup, *tensors: Tensor) -> Callable[[torch.Generator], tuple[Tensor, ...]]:
    """A function that draws rows of tensors, the same of each."""

    def drawn(generator: torch.Generator) -> tuple[Tensor, ...]:
        rows = torch.randint(len(tensors[0]), (setup.batch,), generator=generator)
        return tuple(tensor[rows] for tensor in tensors)

    return drawn


def pixel_loss(drawn: Images, images: Images) -> Float[Tensor, ""]:
    """Squared error, with the weight that it has beside the losses of codes."""
    loss: Tensor = 16 * F.mse_loss(drawn, images)
    return loss


def plain_loss(model: nn.Module, batch: tuple[Images]) -> Float[Tensor, ""]:
    """The loss of an autoencoder without codes."""
    autoencoder: Any = model
    return pixel_loss(autoencoder.decode(autoencoder.encode(batch[0])), batch[0])


def coded_loss(model: nn.Module, batch: tuple[Images]) -> Float[Tensor, ""]:
    """The loss of pictures that went through codes."""
    found: Coded = model(batch[0])
    return pixel_loss(found.images, batch[0]) + found.loss


def _recipe(steps: int, lr: float) -> Recipe:
    return Recipe(
        steps=steps, lr=lr, warmup=min(20, steps), decay="cosine", final=0.1, weight_decay=0
    )


def learn_codes(images: Images, seed: int, setup: Setup = Setup()) -> VQVAE:
    """Train an autoencoder; then put codes in its middle, from k-means, and train on."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = VQVAE(setup.num_codes)
    drawn = batches(setup, images)
    plain = _recipe(setup.plain_steps, 3e-3)
    train(model.autoencoder, drawn, plain, generator=generator, loss=plain_loss)
    with torch.no_grad():
        model.codebook.start(model.autoencoder.encode(images[:256]), generator)
    train(model, drawn, _recipe(setup.code_steps, 3e-3), generator=generator, loss=coded_loss)
    return model.eval()


def learn_dvae(images: Images, seed: int, setup: Setup = Setup()) -> DVAE:
    """Train a discrete VAE for as long, its temperature falling from 1 to 0.5."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = DVAE(setup.num_codes)
    steps = setup.plain_steps + setup.code_steps

    def cool(step: int, _: float) -> None:
        model.temperature = 1 - step / steps / 2
        model.hard = step >= steps // 2

    recipe = _recipe(steps, 3e-3)
    drawn = batches(setup, images)
    train(model, drawn, recipe, generator=generator, loss=coded_loss, on_step=cool)
    return model.eval()


@torch.no_grad()
def encode(model: VQVAE | DVAE, images: Images) -> Int[Tensor, "n codes"]:
    """The codes of pictures, row by row."""
    return torch.cat([model.encode(part).flatten(1) for part in images.split(500)])


@torch.no_grad()
def decode(model: VQVAE | DVAE, codes: Int[Tensor, "n codes"]) -> Images:
    """The pictures of codes, which stand row by row."""
    return model.decode(codes.unflatten(1, (SIDE, SIDE))).clamp(0, 1)


def learn_to_draw(
    token_ids: Captions, codes: Int[Tensor, "n codes"], seed: int, setup: Setup = Setup()
) -> Dalle:
    """Train a decoder on texts and the codes of their pictures."""
    torch.manual_seed(seed)
    model = Dalle(len(WORDS), setup.num_codes, LENGTH, SIDE**2)
    drawn = batches(setup, token_ids, codes)

    def with_texts_dropped(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        text, code = drawn(generator)
        return drop_text(text, model.nothing, generator, setup.drop), code

    recipe = Recipe(
        steps=setup.steps,
        lr=4e-3,
        muon_lr=0.02,
        warmup=min(50, setup.steps),
        decay="cosine",
        betas=(0.9, 0.95),
    )
    generator = torch.Generator().manual_seed(seed)
    train(model, with_texts_dropped, recipe, generator=generator, loss=dalle_loss)
    return model.eval()


def pair_numbers(token_ids: Captions) -> Int[Tensor, "n 2"]:
    """The pairs of both things: 4 × colour + shape."""
    things = token_ids[:, [[0, 1], [3, 4]]]
    return 4 * things[..., 0] + things[..., 1] - 4


def things_right(
    read_ids: Captions, token_ids: Captions, pairs: Collection[int]
) -> dict[str, float]:
    """What was drawn where a text names one of some pairs.

    Returns:
        Shares of these things, in all texts together: "both" colour and shape are right, "colour"
        alone, "shape" alone, or "neither".

    Examples:
        >>> asked = torch.tensor([[0, 4, 8, 2, 5]])  # a red circle left of a blue square
        >>> things_right(torch.tensor([[0, 5, 8, 2, 5]]), asked, {0})
        {'both': 0.0, 'colour': 1.0, 'shape': 0.0, 'neither': 0.0}
    """
    asked, found = pair_numbers(canonical(token_ids)), pair_numbers(canonical(read_ids))
    named = torch.isin(asked, torch.tensor(sorted(pairs)))
    asked, found = asked[named], found[named]
    colour, shape = asked // 4 == found // 4, asked % 4 == found % 4
    shares = {
        "both": colour & shape,
        "colour": colour & ~shape,
        "shape": shape & ~colour,
        "neither": ~colour & ~shape,
    }
    return {name: share.double().mean().item() for name, share in shares.items()}


def judged(
    judge: nn.Module, asked: dict[str, Captions], drawn: dict[str, Images], setup: Setup
) -> dict[str, Any]:
    """Judge what was drawn for each kind of text.

    Returns:
        For each kind its `parts_right`; "shuffled": the same for the new texts, each with the
        picture of another; "things": `things_right` of the "withheld" pairs, and of the others in
        "new" texts.
    """
    found = {kind: read(judge, images) for kind, images in drawn.items()}
    withheld = set(withheld_pairs(setup.withheld))
    others = set(range(PAIRS)) - withheld
    return {
        **{kind: parts_right(found[kind], asked[kind]) for kind in asked},
        "shuffled": parts_right(found["new"].roll(1, 0), asked["new"]),
        "things": {
            "new": things_right(found["new"], asked["new"], others),
            "withheld": things_right(found["withheld"], asked["withheld"], withheld),
        },
    }


def reconstructed(
    judge: nn.Module, model: VQVAE | DVAE, asked: dict[str, Captions], seed: int
) -> dict[str, Any]:
    """Judge real pictures that went through codes and back, which no drawing can surpass much.

    Returns:
        `parts_right` for each kind of text, "error" in squares, and "used", how many codes.
    """
    generator = torch.Generator().manual_seed(50_000 + seed)
    real = {kind: draw(texts, generator) for kind, texts in asked.items()}
    codes = {kind: encode(model, images) for kind, images in real.items()}
    again = {kind: decode(model, found) for kind, found in codes.items()}
    return {
        **{kind: parts_right(read(judge, again[kind]), asked[kind]) for kind in asked},
        "error": F.mse_loss(again["new"], real["new"]).item(),
        "used": len(torch.cat(list(codes.values())).unique()),
    }


@dataclass
class Artist:
    """What one run has trained: a list of codes, and a decoder that writes them."""

    vqvae: VQVAE
    dalle: Dalle

    def draw(
        self,
        texts: Captions,
        generator: torch.Generator,
        temperature: float | int = Setup.temperature,
        guidance: float | int = 1.0,
    ) -> Images:
        """Draw one picture for each text."""
        codes = self.dalle.draw(texts, generator, temperature=temperature, guidance=guidance)
        return decode(self.vqvae, codes)


def shared_codes(seed: int, setup: Setup = Setup()) -> VQVAE:
    """Codes for every number of withheld pairs: they are learnt without any pair that ever is."""
    return learn_codes(training_set(seed, replace(setup, withheld=max(WITHHELD)))[1], seed, setup)


def learn(vqvae: VQVAE, seed: int, setup: Setup = Setup()) -> Artist:
    """Train a decoder on codes that are there."""
    token_ids, images = training_set(seed, setup)
    return Artist(vqvae, learn_to_draw(token_ids, encode(vqvae, images), seed, setup))


def measure(
    artist: Artist,
    judge: nn.Module,
    seed: int,
    setup: Setup = Setup(),
    temperature: float | int = Setup.temperature,
    guidance: float | int = 1.0,
) -> dict[str, Any]:
    """Let an artist draw all kinds of texts, and judge it by `judged`."""
    asked = questions(seed, setup)
    generator = torch.Generator().manual_seed(60_000 + seed)
    drawn = {
        kind: artist.draw(texts, generator, temperature, guidance) for kind, texts in asked.items()
    }
    return judged(judge, asked, drawn, setup)


def operations(function: Callable[[], object]) -> int:
    """Floating-point operations of matrices and convolutions while a function runs."""
    with FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


def decoder_operations(setup: Setup = Setup()) -> int:
    """All that the training of the decoder computes, from one step."""
    dalle = Dalle(len(WORDS), setup.num_codes, LENGTH, SIDE**2)
    text = torch.zeros(setup.batch, LENGTH, dtype=torch.long)
    codes = torch.zeros(setup.batch, SIDE**2, dtype=torch.long)
    return setup.steps * operations(lambda: dalle_loss(dalle, (text, codes)).backward())


def training_operations(setup: Setup = Setup()) -> int:
    """All that an artist's training computes, from one step of each part."""
    vqvae, images = VQVAE(setup.num_codes), torch.zeros(setup.batch, 3, SIZE, SIZE)
    plain = operations(lambda: plain_loss(vqvae.autoencoder, (images,)).backward())
    coded = operations(lambda: coded_loss(vqvae, (images,)).backward())
    codes = plain * setup.plain_steps + coded * setup.code_steps
    return codes + decoder_operations(setup)


def drawing_operations(setup: Setup = Setup()) -> int:
    """What it computes to draw one picture."""
    artist = Artist(VQVAE(setup.num_codes), Dalle(len(WORDS), setup.num_codes, LENGTH, SIDE**2))
    texts = captions(1, torch.Generator().manual_seed(0))
    return operations(lambda: artist.draw(texts, torch.Generator()))


def gallery(
    draw_one: Callable[[Captions, torch.Generator], Images],
    judge: nn.Module,
    seed: int,
    setup: Setup = Setup(),
    count: int = 6,
) -> list[dict[str, Any]]:
    """The first pictures for "new" texts and for "withheld" ones, not chosen by anyone.

    Returns:
        For each its "kind", the "text" as token ids, what the judge has "read", and the "picture"
        in 8 bits, row by row, as hexadecimal digits.
    """
    generator = torch.Generator().manual_seed(70_000 + seed)
    shown = []
    for kind, texts in questions(seed, setup).items():
        if kind != "trained":
            drawn = draw_one(texts[:count], generator)
            found = read(judge, drawn)
            for text, words, picture in zip(texts, found, drawn, strict=False):
                shown.append(
                    {
                        "kind": kind,
                        "text": text.tolist(),
                        "read": words.tolist(),
                        "picture": to_hex(picture),
                    }
                )
    return shown


def to_hex(picture: Float[Tensor, "3 height width"]) -> str:
    """A picture in 8 bits, row by row, as hexadecimal digits."""
    return bytes((picture.permute(1, 2, 0) * 255).round().byte().flatten().tolist()).hex()


def from_hex(digits: str) -> Float[Tensor, "3 24 24"]:
    """The picture of `to_hex`.

    Examples:
        >>> picture = torch.rand(3, 24, 24)
        >>> bool((from_hex(to_hex(picture)) - picture).abs().max() < 0.003)
        True
    """
    numbers = torch.tensor(list(bytes.fromhex(digits)))
    return numbers.reshape(SIZE, SIZE, 3).permute(2, 0, 1) / 255


def small(seed: int) -> dict[str, Any]:
    """What a run of few steps gives, for a chapter that takes them again.

    Returns:
        On pictures of held-out scenes: the "error" of the codes, in squares, how many are "used",
        and the "loss" of the decoder.
    """
    vqvae = shared_codes(seed, SMALL)
    dalle = learn(vqvae, seed, SMALL).dalle
    generator = torch.Generator().manual_seed(50_000 + seed)
    token_ids, images = sample(200, generator, withheld_pairs(SMALL.withheld), held_out=True)
    codes = encode(vqvae, images)
    with torch.no_grad():
        loss = dalle_loss(dalle, (token_ids, codes)).item()
    error = F.mse_loss(decode(vqvae, codes), images).item()
    return {"error": error, "used": len(codes.unique()), "loss": loss}


def run(seed: int) -> dict[str, Any]:
    """All of it with one seed, as it is recorded.

    Returns:
        "real", "reconstructed" and "dvae": pictures as they are, and after the codes of both
        kinds; by the number of withheld pairs "drawn"; for the default of them "temperatures" and
        "guidance", drawn at others, and a "gallery"; "operations" of "training" and of "drawing"
        a picture.
    """
    judge, vqvae = train_judge(seed), shared_codes(seed)
    most = replace(Setup(), withheld=max(WITHHELD))
    asked = questions(seed, most)
    dvae = learn_dvae(training_set(seed, most)[1], seed)
    token_ids, images = sample(2_000, torch.Generator().manual_seed(80_000 + seed))
    result: dict[str, Any] = {
        "real": parts_right(read(judge, images), token_ids),
        "reconstructed": reconstructed(judge, vqvae, asked, seed),
        "dvae": reconstructed(judge, dvae, asked, seed),
        "operations": {"training": training_operations(), "drawing": drawing_operations()},
        "drawn": {},
    }
    for withheld in WITHHELD:
        setup = replace(Setup(), withheld=withheld)
        artist = learn(vqvae, seed, setup)
        result["drawn"][str(withheld)] = measure(artist, judge, seed, setup)
        if withheld == Setup.withheld:
            result["temperatures"] = {
                str(t): measure(artist, judge, seed, temperature=t) for t in (1.0, 0.25)
            }
            result["guidance"] = {
                str(s): measure(artist, judge, seed, guidance=s) for s in (1.5, 2.0, 3.0)
            }
            result["gallery"] = gallery(artist.draw, judge, seed)
    return result
