"""CLIP on emoji: which name belongs to a picture of something that was never shown?

Two towers learn from two or three vendors' drawings of about 1,200 emoji. Each seed sets other
families aside, with all drawings of them. The baseline has no training: it looks for the pictures
that are most alike, pixel by pixel, and takes over their words.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.clip import Clip, ClipConfig, DualEncoder, TextConfig, clip_loss, repeats
from llmbook.datasets import glove
from llmbook.emoji import SIZE, VENDORS, Emoji, emoji, pictures
from llmbook.training import Recipe, evaluating, train
from llmbook.vit import VisionTransformer, ViTConfig

PAD, END = 0, 1
MAX_WORDS = 10
Ids = Int[Tensor, "texts seq"]

# Eight ways to say each of Unicode's groups, written down before any was tried. The first is the
# group's own name.
_PROMPTS = {
    "Smileys & Emotion": "smileys emotion; a face; a smile; feeling; "
    "happy face; sad face; heart love; expression",
    "People & Body": "people body; a person; a man; a woman; "
    "hand; part of the body; someone at work; family",
    "Animals & Nature": "animals nature; an animal; a bird; a fish; "
    "an insect; a plant; a flower; wild beast",
    "Food & Drink": "food drink; food; a drink; fruit; "
    "vegetable; a meal; something sweet; dish to eat",
    "Travel & Places": "travel places; a vehicle; a building; a car; "
    "a ship; weather; a landscape; a place to go",
    "Activities": "activities; sport; a game; a ball; a party; music; a prize; play",
    "Objects": "objects; a tool; clothes; a machine; office; furniture; an instrument; a thing",
    "Symbols": "symbols; a sign; an arrow; a letter; a button; a shape; warning; religion",
}
PROMPTS = {group: tuple(texts.split("; ")) for group, texts in _PROMPTS.items()}


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment.

    Attributes:
        text: "glove", a Transformer over GloVe's vectors, which stay as they are; "words", one
            that learns its words' vectors, as CLIP; "bag", the mean of GloVe's vectors.
        vendors: Whose drawings are trained on.
        held_out: Families that are set aside.
        steps: Of training.
        batch: Pairs in a step.
        lr: Highest learning rate of AdamW.
        muon_lr: Highest learning rate of Muon, which has the matrices in the blocks.
        d_model: Width of the Transformers.
        d_joint: Width of the space in which both towers meet.
    """

    text: str = "glove"
    vendors: tuple[str, ...] = VENDORS
    held_out: int = 200
    steps: int = 400
    batch: int = 128
    lr: float | int = 3e-3
    muon_lr: float | int = 0.02
    d_model: int = 64
    d_joint: int = 64


class Bag(nn.Module):
    """The mean of a text's word vectors: whatever their order, by construction.

    Args:
        vectors: One for each word; they stay as they are.
    """

    def __init__(self, vectors: Float[Tensor, "vocab d_model"]) -> None:
        super().__init__()
        self.embedding = nn.Embedding.from_pretrained(vectors, freeze=True)

    def forward(
        self, token_ids: Ids, attention_mask: Bool[Tensor, "texts seq"] | None = None
    ) -> Float[Tensor, "texts d_model"]:
        """Leave out padding and ends, which are no words."""
        word = (token_ids > END)[..., None]
        total = (self.embedding(token_ids) * word).sum(1)
        mean: Tensor = total / word.sum(1).clamp(min=1)
        return mean


def words(text: str) -> list[str]:
    """The words of a name, in lower case.

    Examples:
        >>> words("woman’s sandal")
        ['woman', 's', 'sandal']
    """
    return re.findall(r"[a-z0-9]+", text.lower())


@cache
def vocabulary() -> dict[str, int]:
    """The number of each word of names, keywords and prompts, after those of padding and end."""
    texts = [text for one in emoji() for text in (one.name, *one.keywords)]
    texts += [text for prompts in PROMPTS.values() for text in prompts]
    found = dict.fromkeys(word for text in texts for word in words(text))
    return {word: number for number, word in enumerate(found, 2)}


def encode(texts: Iterable[str]) -> Ids:
    """Texts side by side: words, the end, padding.

    Examples:
        >>> encode(["grinning face", "face"]).tolist()
        [[2, 3, 1], [3, 1, 0]]
    """
    known = vocabulary()
    rows = [[*[known[word] for word in words(text)][:MAX_WORDS], END] for text in texts]
    width = max(map(len, rows))
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])


@cache
def word_vectors(width: int) -> Float[Tensor, "vocab width"]:
    """GloVe's vectors of the vocabulary, along the directions in which all of GloVe varies most.

    Words that GloVe does not have are drawn at random, as long as the others.

    Args:
        width: How many directions, at most 100.
    """
    listed, numbers = glove()
    everything = torch.from_numpy(numbers)
    everything = everything - everything.mean(0)
    directions = torch.linalg.eigh(everything.T @ everything).eigenvectors[:, -width:]
    turned = everything @ directions
    turned = turned / turned.std()
    found = torch.randn(len(vocabulary()) + 2, width, generator=torch.Generator().manual_seed(0))
    place = {word: number for number, word in enumerate(listed)}
    for word, number in vocabulary().items():
        if word in place:
            found[number] = turned[place[word]]
    return found


def build(setup: Setup) -> DualEncoder:
    """Fresh towers: a Vision Transformer on squares of 8 pixels, and one of three for texts.

    Raises:
        ValueError: If there is no such tower.
    """
    if setup.text not in ("glove", "words", "bag"):
        raise ValueError(f"text must be 'glove', 'words' or 'bag', got {setup.text!r}")
    sizes: dict[str, Any] = {"d_model": setup.d_model, "num_layers": 2, "num_heads": 4}
    vision = ViTConfig(image_size=SIZE, patch_size=8, **sizes)
    if setup.text == "bag":
        bag = Bag(word_vectors(100))
        return DualEncoder(VisionTransformer(vision), bag, setup.d_model, 100, setup.d_joint)
    text = TextConfig(vocab_size=len(vocabulary()) + 2, max_len=MAX_WORDS + 1, eos_id=END, **sizes)
    model = Clip(ClipConfig(vision=vision, text=text, d_joint=setup.d_joint))
    if setup.text == "glove":
        table: Any = model.text.embedding
        table.weight = nn.Parameter(word_vectors(setup.d_model).clone(), requires_grad=False)
    return model


def split(seed: int, held_out: int = Setup.held_out) -> tuple[list[int], list[int]]:
    """Numbers of emoji for training, and of those that are set aside."""
    order = torch.randperm(len(emoji()), generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(order[held_out:]), sorted(order[:held_out])


def caption(one: Emoji, generator: torch.Generator) -> str:
    """A text for training: the name, four times of five, and up to five keywords in any order."""
    count = int(torch.randint(6, (1,), generator=generator))
    order = torch.randperm(len(one.keywords), generator=generator)[:count].tolist()
    chosen = [one.keywords[k] for k in order]
    named = not chosen or torch.rand(1, generator=generator).item() < 0.8
    return " ".join([one.name, *chosen] if named else chosen)


def draw_batch(
    numbers: Sequence[int], setup: Setup, generator: torch.Generator
) -> tuple[Ids, Float[Tensor, "batch 3 32 32"]]:
    """Texts and pictures of different emoji, each by a vendor of the setup's."""
    chosen = torch.randperm(len(numbers), generator=generator)[: setup.batch].tolist()
    who = torch.randint(len(setup.vendors), (len(chosen),), generator=generator).tolist()
    every = emoji()
    texts = [caption(every[numbers[k]], generator) for k in chosen]
    images = [pictures(setup.vendors[v])[numbers[k]] for k, v in zip(chosen, who, strict=True)]
    return encode(texts), moved(torch.stack(images), generator)


def moved(
    images: Float[Tensor, "batch 3 height width"], generator: torch.Generator
) -> Float[Tensor, "batch 3 height width"]:
    """Turn pictures by up to 10 degrees, scale and shift them by up to an eighth, mirror half.

    Args:
        images: Pictures on white, which is also what comes in from outside.
        generator: Where the randomness comes from.
    """
    turn, scale, right, down, mirror = 2 * torch.rand(5, len(images), generator=generator) - 1
    angle, scale = turn * math.pi / 18, 1 + scale / 8
    across = scale * mirror.sign()
    rows = (
        torch.stack((across * angle.cos(), -scale * angle.sin(), right / 4), 1),
        torch.stack((across * angle.sin(), scale * angle.cos(), down / 4), 1),
    )  # a picture is 2 wide here
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return 1 - F.grid_sample(1 - images, grid, align_corners=False)  # outside is 0


def pair_loss(model: nn.Module, batch: tuple[Ids, Float[Tensor, "b 3 h w"]]) -> Float[Tensor, ""]:
    """CLIP's loss of a batch of texts and pictures; equal texts share the target."""
    token_ids, images = batch
    logits_per_image, logits_per_text = model(token_ids, images)
    return clip_loss(logits_per_image, logits_per_text, repeats(token_ids))


def fit(
    seed: int, numbers: Sequence[int], setup: Setup = Setup(), until: int | None = None
) -> tuple[DualEncoder, list[float]]:
    """Train both towers.

    Args:
        seed: Of the first weights and of what is drawn.
        numbers: Of the emoji to train on.
        setup: All other settings.
        until: Stop after this step.

    Returns:
        The model, and the loss of each step.
    """
    torch.manual_seed(seed)
    model = build(setup)
    recipe = Recipe(
        steps=setup.steps,
        lr=setup.lr,
        warmup=setup.steps // 10,
        decay="cosine",
        betas=(0.9, 0.98),
        muon_lr=setup.muon_lr,
    )
    losses = train(
        model,
        partial(draw_batch, numbers, setup),
        recipe,
        generator=torch.Generator().manual_seed(seed),
        loss=pair_loss,
        on_step=lambda *_: model.limit_scale(),
        until=until,
    )
    return model, losses


# --- how well a picture finds its text ---------------------------------------------------------


def ranks(scores: Float[Tensor, "queries candidates"]) -> Float[Tensor, " queries"]:
    """The rank of each query's own candidate, that on the diagonal, from 1; ties count half.

    Examples:
        >>> ranks(torch.tensor([[3.0, 1.0, 2.0], [5.0, 4.0, 6.0], [0.0, 0.0, 0.0]]))
        tensor([1., 3., 2.])
    """
    own = scores.diagonal()[:, None]
    return 1 + (scores > own).sum(1) + ((scores == own).sum(1) - 1) / 2


def found(scores: Float[Tensor, "n n"], kept: Bool[Tensor, " n"]) -> dict[str, float]:
    """Retrieval among those that are kept: shares within the first 1, 5 and 10, median rank.

    Args:
        scores: How well each picture (row) fits each text (column); pairs are on the diagonal.
        kept: Which pairs count, as queries and as candidates.
    """
    rank = ranks(scores[kept][:, kept])
    shares = {f"R@{k}": (rank <= k).double().mean().item() for k in (1, 5, 10)}
    return {**shares, "median": rank.median().item(), "candidates": float(len(rank))}


@torch.no_grad()
def similarities(
    model: DualEncoder, images: Float[Tensor, "n 3 32 32"], texts: Iterable[str]
) -> Float[Tensor, "n texts"]:
    """Cosines of pictures with texts."""
    with evaluating(model):
        seen = F.normalize(torch.cat([model.image_features(x) for x in images.split(256)]), dim=-1)
        read = F.normalize(model.text_features(encode(texts)), dim=-1)
    return seen @ read.T


def standardised(images: Float[Tensor, "n 3 32 32"]) -> Float[Tensor, "n pixels"]:
    """Pixels of mean 0 and length 1, whose products are correlations."""
    flat = images.flatten(1)
    return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)


def correlations(
    queries: Sequence[int], vendor: str, others: Sequence[int], vendors: Sequence[str]
) -> Float[Tensor, "queries vendors_others"]:
    """How alike a vendor's pictures are to all vendors' pictures of other emoji, pixel by pixel."""
    one = standardised(pictures(vendor)[list(queries)])
    return torch.cat([one @ standardised(pictures(v)[list(others)]).T for v in vendors], 1)


def without_double(held: Sequence[int], trained: Sequence[int]) -> Bool[Tensor, " held"]:
    """Which have no picture, by whichever vendor, that correlates at 0.8 with one in training."""
    best = [correlations(held, v, trained, VENDORS).amax(1) for v in VENDORS]
    return torch.stack(best).amax(0) < 0.8


def neighbours_scores(
    held: Sequence[int],
    trained: Sequence[int],
    vendor: str,
    vendors: Sequence[str],
    k: int,
    by: str,
) -> Float[Tensor, "held held"]:
    """The baseline: what is said of the `k` pictures that are most alike fits the names how well?

    Args:
        held: Pictures that ask, and names that may answer.
        trained: Emoji whose pictures and words are known.
        vendor: Whose pictures ask.
        vendors: Whose pictures are known.
        k: How many neighbours have a say, each as much as it is alike.
        by: "words", the share of a name's words that neighbours have; "glove", the cosine of
            mean vectors.
    """
    alike = correlations(held, vendor, trained, vendors)
    weight, place = alike.topk(k, dim=1)
    who = place % len(trained)
    if by == "words":
        known, asked = _counts(trained, whole=True) > 0, _counts(held, whole=False)
        said = known.float()
        fits = (asked / asked.sum(1, keepdim=True)) @ said.T
    else:
        vectors = word_vectors(100)
        said, asked = _counts(trained, whole=True) @ vectors, _counts(held, whole=False) @ vectors
        fits = F.normalize(asked, dim=1) @ F.normalize(said, dim=1).T
    return (fits[:, who] * weight.clamp(min=0)).sum(2).T


def linear_scores(
    held: Sequence[int], trained: Sequence[int], vendor: str, vendors: Sequence[str]
) -> Float[Tensor, "held held"]:
    """Another baseline: the best linear map from 100 directions of pixels to GloVe's vectors."""
    vectors = word_vectors(100)
    pixels = torch.cat([standardised(pictures(v)[list(trained)]) for v in vendors])
    texts = F.normalize(_counts(trained, whole=True) @ vectors, dim=1).repeat(len(vendors), 1)
    mean = pixels.mean(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)  # it is found by random directions
        _, _, directions = torch.svd_lowrank(pixels - mean, 100)
    x = (pixels - mean) @ directions
    weights = torch.linalg.solve(
        x.T @ x + 0.1 * torch.eye(x.shape[1]), x.T @ (texts - texts.mean(0))
    )
    asked = (standardised(pictures(vendor)[list(held)]) - mean) @ directions @ weights
    names = F.normalize(_counts(held, whole=False) @ vectors, dim=1) - texts.mean(0)
    return F.normalize(asked, dim=1) @ F.normalize(names, dim=1).T


@cache
def _all_counts(whole: bool) -> Float[Tensor, "emoji vocab"]:
    counts = torch.zeros(len(emoji()), len(vocabulary()) + 2)
    for row, one in zip(counts, emoji(), strict=True):
        for text in (one.name, *one.keywords) if whole else (one.name,):
            for word in words(text):
                row[vocabulary()[word]] += 1
    return counts


def _counts(numbers: Sequence[int], *, whole: bool) -> Float[Tensor, "n vocab"]:
    """How often each word is in the names of emoji, or in names and keywords."""
    return _all_counts(whole)[list(numbers)]


@torch.no_grad()
def zero_shot(
    model: DualEncoder, numbers: Sequence[int], vendor: str, prompts: int
) -> dict[str, float]:
    """Sort pictures into Unicode's groups, by the first so many prompts of each.

    Args:
        model: Trained towers.
        numbers: Of the emoji.
        vendor: Whose drawings.
        prompts: How many; their vectors are averaged, as CLIP did with 80.

    Returns:
        "accuracy", and "balanced", the mean of the groups' accuracies, of which blind guessing
        gives an eighth.
    """
    texts = [text for group in PROMPTS.values() for text in group[:prompts]]
    with evaluating(model):
        read = F.normalize(model.text_features(encode(texts)), dim=-1)
        seen = model.image_features(pictures(vendor)[list(numbers)])
    classes = F.normalize(read.unflatten(0, (len(PROMPTS), prompts)).mean(1), dim=-1)
    guess = (seen @ classes.T).argmax(1)
    groups = list(PROMPTS)
    truth = torch.tensor([groups.index(emoji()[k].group) for k in numbers])
    right = (guess == truth).double()
    by_group = [right[truth == g].mean() for g in truth.unique()]
    return {"accuracy": right.mean().item(), "balanced": torch.stack(by_group).mean().item()}


def neighbours_groups(held: Sequence[int], trained: Sequence[int], vendor: str) -> float:
    """A baseline that knows labels: the group that most of the five most alike pictures have."""
    groups = list(PROMPTS)
    labels = torch.tensor([groups.index(one.group) for one in emoji()])
    place = correlations(held, vendor, trained, VENDORS).topk(5, dim=1).indices % len(trained)
    votes = F.one_hot(labels[list(trained)][place], len(groups)).sum(1)
    return (votes.argmax(1) == labels[list(held)]).double().mean().item()


def baselines(
    held: Sequence[int], trained: Sequence[int], vendor: str, vendors: Sequence[str] = VENDORS
) -> dict[str, Float[Tensor, "held held"]]:
    """What can be had of pixels without towers: neighbours, few or many, and a linear map."""
    scores = {
        f"{k} by {by}": neighbours_scores(held, trained, vendor, vendors, k, by)
        for by in ("words", "glove")
        for k in (1, 5, 20)
    }
    return scores | {"linear": linear_scores(held, trained, vendor, vendors)}


def retrieve(
    scores: Float[Tensor, "held held"], kept: Bool[Tensor, " held"]
) -> dict[str, dict[str, float]]:
    """`found` among "all" that are held out, and among those without a "new" near-duplicate."""
    return {"all": found(scores, torch.ones_like(kept)), "new": found(scores, kept)}


def unseen_vendor(seed: int, vendor: str = VENDORS[0], setup: Setup = Setup()) -> dict[str, Any]:
    """Train on the other vendors' drawings, and look at this vendor's.

    Returns:
        "new", retrieval of names of emoji that nobody has drawn in training, without near-
        duplicates; "same" and "pixels", retrieval among the trained emoji, by CLIP from the name,
        and by the most alike drawing of the other vendors.
    """
    others = tuple(v for v in VENDORS if v != vendor)
    trained, held = split(seed, setup.held_out)
    model, _ = fit(seed, trained, replace(setup, vendors=others))
    every = torch.ones(len(trained), dtype=torch.bool)
    scores = {
        name: similarities(model, pictures(vendor)[numbers], _names(numbers))
        for name, numbers in (("new", held), ("same", trained))
    }
    pixels = correlations(trained, vendor, trained, others)
    nearest = pixels.unflatten(1, (len(others), len(trained))).amax(1)
    return {
        "new": found(scores["new"], without_double(held, trained)),
        "same": found(scores["same"], every),
        "pixels": found(nearest, every),
    }


def longer(seed: int, steps: Sequence[int] = (400, 800, 1600)) -> dict[str, Any]:
    """Train over GloVe's vectors for so many steps, from the start and with a schedule each time.

    Args:
        seed: As for `run`.
        steps: Each number of them.

    Returns:
        For each number what `found` gives of Noto's drawings: "new" among the names of held-out
        emoji without a near-duplicate, "train" among those of trained ones.
    """
    trained, held = split(seed)
    kept, every = without_double(held, trained), torch.ones(len(trained), dtype=torch.bool)
    results: dict[str, Any] = {}
    for count in steps:
        model, _ = fit(seed, trained, Setup(steps=count))
        new, known = (
            similarities(model, pictures(VENDORS[0])[numbers], _names(numbers))
            for numbers in (held, trained)
        )
        results[str(count)] = {"new": found(new, kept), "train": found(known, every)}
    return results


def _names(numbers: Iterable[int]) -> list[str]:
    return [emoji()[k].name for k in numbers]


def run(seed: int) -> dict[str, Any]:
    """All of it with one seed, as it is recorded; pictures that ask are Noto's.

    Returns:
        For "glove", "words" and "bag" retrieval of the held-out emoji's names; the same for
        "baselines"; "train" for the names of trained emoji; "groups", zero-shot by the number of
        prompts, with the share of the largest group and "neighbours", which know labels;
        "unseen", see `unseen_vendor`; the first "losses"; and of "glove", for each held-out name,
        its picture's rank ("ranks") and which pictures are "nearest".
    """
    vendor = VENDORS[0]
    trained, held = split(seed)
    kept, images = without_double(held, trained), pictures(vendor)
    results: dict[str, Any] = {
        "baselines": {
            name: retrieve(scores, kept)
            for name, scores in baselines(held, trained, vendor).items()
        }
    }
    for text in ("words", "bag", "glove"):  # the last is looked at further
        model, losses = fit(seed, trained, Setup(text=text))
        scores = similarities(model, images[held], _names(held))
        results[text] = retrieve(scores, kept)
    every = torch.ones(len(trained), dtype=torch.bool)
    results["train"] = found(similarities(model, images[trained], _names(trained)), every)
    groups = [emoji()[k].group for k in held]
    results["groups"] = {
        "prompts": {str(n): zero_shot(model, held, vendor, n) for n in (1, 2, 4, 8)},
        "largest": max(groups.count(group) for group in PROMPTS) / len(held),
        "neighbours": neighbours_groups(held, trained, vendor),
    }
    results["unseen"] = unseen_vendor(seed)
    results["losses"] = losses[:20]
    results["ranks"] = ranks(scores.T).tolist()
    results["nearest"] = scores.topk(5, dim=0).indices.T.tolist()
    return results
