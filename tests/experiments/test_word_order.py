"""`llmbook.experiments.word_order`: what a bag cannot know, and what a judge asks."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from llmbook.clip import DualEncoder
from llmbook.experiments.shapes import (
    SHAPES,
    canonical,
    captions,
    draw,
    has_pair,
    is_held_out,
    swap,
    withheld_pairs,
)
from llmbook.experiments.word_order import (
    BagOfWords,
    Setup,
    _draw,
    build,
    ended,
    fit,
    in_order,
    judge,
    preference,
)

SMALL = Setup(steps=2, batch=8, d_model=8)


def sampled(n: int = 100) -> tuple[Tensor, Tensor]:
    """Captions and their pictures."""
    generator = torch.Generator().manual_seed(0)
    ids = captions(n, generator)
    return ids, draw(ids, generator)


@pytest.mark.parametrize("seed", range(5))
def test_a_bag_is_at_one_half_exactly_whatever_its_weights(seed: int) -> None:
    """Swapped captions have the same words: every preference is a tie, and no pair is right."""
    torch.manual_seed(seed)
    ids, images = sampled()
    result = judge(build(replace(SMALL, text="bag")), ids, images)
    assert result["swapped"] == 0.5
    assert result["both"] == 0
    bag = BagOfWords(16)
    assert torch.equal(bag(ended(ids)), bag(ended(swap(ids))))


class Reader(nn.Module):
    """Gives each caption's meaning as a vector of its own: the largest number is the caption's."""

    def forward(self, token_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The five words of the caption in canonical order, one after the other."""
        meaning = canonical(token_ids[:, :5])
        one_hot = nn.functional.one_hot(meaning, 12).flatten(1).float()
        return one_hot


class Seer(nn.Module):
    """Knows the captions of the pictures that it is shown, by their pixels."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__()
        self.known = torch.cat((ids, swap(ids)))

    def forward(self, images: Tensor) -> Tensor:
        """What a reader makes of the caption whose picture is nearest."""
        pictures = draw(self.known)
        nearest = torch.cdist(images.flatten(1), pictures.flatten(1)).argmin(1)
        read: Tensor = Reader()(ended(self.known[nearest]))
        return read


def perfect(ids: Tensor) -> DualEncoder:
    """Towers that see and read everything."""
    model = DualEncoder(Seer(ids), Reader(), 60, 60, 60)
    with torch.no_grad():
        for layer in (model.vision_projection, model.text_projection):
            layer.weight.copy_(torch.eye(60))
    return model


def test_a_perfect_reader_is_right_always() -> None:
    ids = captions(100, torch.Generator().manual_seed(0))
    result = judge(perfect(ids), ids, draw(ids))
    assert result["other"] > 0.97  # two in a row may say the same
    assert {name: result[name] for name in ("swapped", "both", "opposite", "colour", "first")} == {
        "swapped": 1, "both": 1, "opposite": 1, "colour": 1, "first": 1
    }  # fmt: skip


def test_one_that_sees_nothing_guesses() -> None:
    """Equal vectors for all pictures: pairs are never both right, and the rest is near one half."""
    ids, images = sampled(400)
    torch.manual_seed(1)
    model = build(SMALL)
    with torch.no_grad():
        for name, parameter in model.vision.named_parameters():
            if name.startswith("blocks"):
                parameter.zero_()  # the class token alone is left
    result = judge(model, ids, images)
    assert result["both"] == 0
    assert 0.3 < result["swapped"] < 0.7
    assert result["first"] < 0.1


def test_preference_counts_ties_half() -> None:
    assert preference(torch.tensor([1.0, 2.0, 0.0]), torch.tensor([1.0, 1.0, 1.0])) == 0.5


def test_training_never_shows_what_is_withheld() -> None:
    ids, images = _draw(Setup(batch=500), torch.Generator().manual_seed(0))
    assert not has_pair(ids, withheld_pairs(4)).any()
    assert not is_held_out(ids).any()
    assert images.shape == (500, 3, 24, 24)
    assert len(SHAPES) == 4


def test_one_sided_training_shows_no_scene_beside_its_mirror_image() -> None:
    """Though captions come in both orders; the full batch is there, and nothing held out."""
    setup = Setup(one_sided=True, batch=300)
    ids, images = _draw(setup, torch.Generator().manual_seed(0))
    assert len(ids) == len(images) == 300
    assert in_order(ids).all()
    assert not in_order(swap(ids)).any()
    assert 100 < (ids[:, 2] >= 10).sum() < 200
    assert not is_held_out(ids).any()
    assert not has_pair(ids, withheld_pairs(4)).any()


@pytest.mark.parametrize("text", ["transformer", "bag"])
def test_both_learn_and_start_again_the_same(text: str) -> None:
    setup = Setup(text=text, steps=40, batch=32, d_model=16)
    model, losses = fit(0, setup)
    assert sum(losses[-5:]) < sum(losses[:5])
    assert fit(0, setup, until=2)[1] == losses[:2]
    assert model.training


def test_an_unknown_tower_is_named() -> None:
    with pytest.raises(ValueError, match=r"text must be one of \['transformer', 'bag'\], got 'x'"):
        build(replace(SMALL, text="x"))
