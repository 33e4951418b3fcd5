"""Does CLIP know which is left? Captions whose two things change places, and pictures of shapes.

*A red circle left of a blue square* and *a blue square left of a red circle* have the same words. A
tower that takes the mean of word vectors gives both the same vector; one that reads in order need
not. Retrieval among other captions can be solved without order, nearly.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.clip import Clip, ClipConfig, DualEncoder, TextConfig, clip_loss, repeats
from llmbook.experiments.shapes import (
    LENGTH,
    SIZE,
    WORDS,
    canonical,
    captions,
    draw,
    sample,
    swap,
    withheld_pairs,
)
from llmbook.training import Recipe, evaluating, train
from llmbook.vit import VisionTransformer, ViTConfig

END = len(WORDS)
TEXTS = ("transformer", "bag")
Captions = Int[Tensor, "n 5"]
Images = Float[Tensor, "n 3 24 24"]


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment.

    Attributes:
        text: The tower that reads: "transformer", as CLIP's, or "bag", a mean of word vectors.
        steps: Of training.
        batch: Pairs in a step.
        lr: Highest learning rate of AdamW.
        muon_lr: Highest learning rate of Muon, which has the matrices in the blocks.
        d_model: Width of the towers, and of the space in which they meet.
        withheld: Pairs of a colour and a shape that never come in training; nor does a fifth of
            all scenes.
        one_sided: Train on scenes alone whose left or upper thing comes first in a list of all
            things: who is left then says nothing that the words do not say.
        tested: Pictures and captions of each test.
    """

    text: str = "transformer"
    steps: int = 600
    batch: int = 128
    lr: float | int = 3e-3
    muon_lr: float | int = 0.02
    d_model: int = 64
    withheld: int = 4
    one_sided: bool = False
    tested: int = 1_000


class BagOfWords(nn.Module):
    """The mean of learned word vectors, through a layer: the same for any order of the words.

    Args:
        d_model: Width of the vectors.

    Examples:
        >>> bag, ids = BagOfWords(8), torch.tensor([[0, 4, 8, 2, 5, 12]])
        >>> torch.allclose(bag(ids), bag(ids[:, [3, 4, 2, 0, 1, 5]]), atol=1e-6)
        True
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS) + 1, d_model)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(
        self, token_ids: Int[Tensor, "n seq"], attention_mask: Bool[Tensor, "n seq"] | None = None
    ) -> Float[Tensor, "n d_model"]:
        """Sort the words first, so that equal bags give equal numbers to the last digit."""
        mean = self.embedding(token_ids.sort(dim=1).values).mean(1)
        out: Tensor = mean + self.down(F.gelu(self.up(mean)))
        return out


def build(setup: Setup) -> DualEncoder:
    """Fresh towers; the pictures' is a Vision Transformer on squares of 6 pixels.

    Raises:
        ValueError: If there is no such tower.
    """
    if setup.text not in TEXTS:
        raise ValueError(f"text must be one of {list(TEXTS)}, got {setup.text!r}")
    d = setup.d_model
    sizes: dict[str, Any] = {"d_model": d, "num_layers": 2, "num_heads": 4}
    vision = ViTConfig(image_size=SIZE, patch_size=6, **sizes)
    if setup.text == "bag":
        return DualEncoder(VisionTransformer(vision), BagOfWords(d), d, d, d)
    text = TextConfig(vocab_size=END + 1, max_len=LENGTH + 1, eos_id=END, **sizes)
    return Clip(ClipConfig(vision=vision, text=text, d_joint=d))


def ended(token_ids: Captions) -> Int[Tensor, "n 6"]:
    """Captions with their end."""
    return F.pad(token_ids, (0, 1), value=END)


def pair_loss(model: nn.Module, batch: tuple[Captions, Images]) -> Float[Tensor, ""]:
    """CLIP's loss; captions that say the same, in either order, share the target."""
    token_ids, images = batch
    logits_per_image, logits_per_text = model(ended(token_ids), images)
    return clip_loss(logits_per_image, logits_per_text, repeats(canonical(token_ids)))


def fit(
    seed: int, setup: Setup = Setup(), until: int | None = None
) -> tuple[DualEncoder, list[float]]:
    """Train both towers on pictures with their captions.

    Args:
        seed: Of the first weights and of what is drawn.
        setup: All other settings.
        until: Stop after this step.

    Returns:
        The model, and the loss of each step.
    """
    torch.manual_seed(seed)
    model = build(setup)
    losses = train(
        model,
        partial(_draw, setup),
        Recipe(
            steps=setup.steps,
            lr=setup.lr,
            muon_lr=setup.muon_lr,
            warmup=setup.steps // 10,
            decay="cosine",
            betas=(0.9, 0.98),
        ),
        generator=torch.Generator().manual_seed(seed),
        loss=pair_loss,
        on_step=lambda *_: model.limit_scale(),
        until=until,
    )
    return model, losses


def _draw(setup: Setup, generator: torch.Generator) -> tuple[Captions, Images]:
    pairs = withheld_pairs(setup.withheld)
    if not setup.one_sided:
        return sample(setup.batch, generator, pairs, held_out=False)
    more = captions(4 * setup.batch, generator, withheld=pairs, held_out=False)
    token_ids = more[in_order(more)][: setup.batch]
    return token_ids, draw(token_ids, generator)


def in_order(token_ids: Captions) -> Bool[Tensor, " n"]:
    """Where the left or upper thing comes before the other in a list of colours, then shapes.

    Examples:
        >>> from llmbook.experiments.shapes import tokens
        >>> texts = ("a red circle left of a blue square", "a red circle right of a blue square")
        >>> in_order(torch.stack([tokens(text) for text in texts]))
        tensor([ True, False])
    """
    a, b, _, c, d = canonical(token_ids).unbind(1)
    return 4 * a + b < 4 * c + d


@torch.no_grad()
def scores(
    model: DualEncoder, images: Images, token_ids: Captions
) -> Float[Tensor, "images texts"]:
    """Cosines of pictures with captions."""
    with evaluating(model):
        seen = F.normalize(model.image_features(images), dim=-1)
        read = F.normalize(model.text_features(ended(token_ids)), dim=-1)
    return seen @ read.T


def preference(right: Float[Tensor, " n"], wrong: Float[Tensor, " n"]) -> float:
    """How often the right one has more; a tie counts half.

    Examples:
        >>> preference(torch.tensor([2.0, 1.0]), torch.tensor([1.0, 1.0]))
        0.75
    """
    return ((right > wrong).double() + (right == wrong).double() / 2).mean().item()


def judge(model: DualEncoder, token_ids: Captions, images: Images) -> dict[str, float]:
    """Ask for the right caption in several ways.

    Args:
        model: Trained towers.
        token_ids: A caption for each picture.
        images: The pictures.

    Returns:
        How often the right caption is preferred to the one whose things are swapped ("swapped"),
        to one with another relation of the same axis ("opposite"), to one with another colour in
        place of the first ("colour"), and to another picture's caption ("other"); "both", the
        share of pairs, of a picture and the one of the swapped caption, in which each picture
        prefers its caption, as Winoground asks for; and "first", how often the right caption is
        first among 100.
    """
    other = token_ids.clone()
    other[:, 0] = (other[:, 0] + 1) % 4
    opposite = token_ids.clone()
    opposite[:, 2] = 8 + (opposite[:, 2] - 8 + 2) % 4
    mirrored = draw(swap(token_ids), torch.Generator().manual_seed(0))

    def fits(asked: Images, texts: Captions) -> Float[Tensor, " n"]:
        return scores(model, asked, texts).diagonal()

    right, swapped = fits(images, token_ids), fits(images, swap(token_ids))
    back, turned = fits(mirrored, swap(token_ids)), fits(mirrored, token_ids)
    first = []
    for texts, pictures in zip(token_ids.split(100), images.split(100), strict=True):
        said = canonical(texts)
        same = (said[:, None] == said[None]).all(-1)
        grid = scores(model, pictures, texts)
        best = grid.masked_fill(same, -2).amax(1)
        first.append((grid.diagonal() > best).double().mean())
    return {
        "swapped": preference(right, swapped),
        "both": ((right > swapped) & (back > turned)).double().mean().item(),
        "opposite": preference(right, fits(images, opposite)),
        "colour": preference(right, fits(images, other)),
        "other": preference(right, fits(images, token_ids.roll(1, 0))),
        "first": torch.stack(first).mean().item(),
    }


def run(seed: int) -> dict[str, Any]:
    """Both towers, and the control, with one seed, as it is recorded.

    Returns:
        For "transformer", "bag" and a Transformer that was trained "one-sided": `judge` on scenes
        that training has not, made of things that it has ("scenes"), and on scenes with a thing
        that it has not ("pairs"); "loss", the mean of the last hundred steps, and the losses of
        the "first" twenty.
    """
    setup = Setup()
    results: dict[str, dict[str, Any]] = {}
    generator = torch.Generator().manual_seed(40_000 + seed)
    pairs = withheld_pairs(setup.withheld)
    tests = {
        "scenes": captions(setup.tested, generator, withheld=pairs, held_out=True),
        "pairs": captions(setup.tested, generator, only=pairs),
    }
    drawn = {name: draw(ids, generator) for name, ids in tests.items()}
    variants = {text: Setup(text=text) for text in TEXTS} | {"one-sided": Setup(one_sided=True)}
    for variant, chosen in variants.items():
        model, losses = fit(seed, chosen)
        results[variant] = {name: judge(model, ids, drawn[name]) for name, ids in tests.items()}
        results[variant] |= {"loss": sum(losses[-100:]) / 100, "first": losses[:20]}
    return results
