"""`llmbook.clip` against transformers and open_clip, and its loss where texts repeat."""

import math
import random
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from llmbook.clip import Clip, ClipConfig, DualEncoder, TextConfig, _hf_name, clip_loss, repeats
from llmbook.vit import ViTConfig
from tests.reference import saved
from tests.reference.clip_loss import SIZES, features
from tests.test_vit import random_sizes

VOCAB, SEQ, TEXTS, PICTURES = 40, 9, 4, 3
EOS = {"legacy": 2, "newer": 39, "middle": 17}
LENGTHS = torch.tensor([[9], [5], [2], [1]])  # of each text, with its end token
PADDINGS = {
    "none": None,
    "right": (torch.arange(SEQ) < LENGTHS).long(),
    "left": torch.arange(SEQ) >= SEQ - LENGTHS,
}


def theirs(seed: int = 0, eos: Any = 39, **vision: Any) -> Any:
    """A random CLIP in float64, whose towers and space have different widths."""
    torch.manual_seed(seed)
    draw = random.Random(seed + 100)
    heads = draw.choice([1, 2, 4])
    text = {
        "vocab_size": VOCAB, "hidden_size": heads * draw.choice([3, 8]), "num_attention_heads": heads, "intermediate_size": 20,
        "num_hidden_layers": draw.choice([1, 3]), "max_position_embeddings": SEQ, "eos_token_id": eos,
        "hidden_act": draw.choice(["gelu", "quick_gelu"]), "layer_norm_eps": draw.choice([1e-5, 1e-2]),
    }  # fmt: skip
    config = CLIPConfig(
        text_config=text,
        vision_config={**random_sizes(seed), **vision},
        projection_dim=draw.choice([5, 11]),
        logit_scale_init_value=draw.choice([2.6592, 1.0, 5.5]),
    )
    model = CLIPModel(config).double().eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim:
            norm = parameter.ndim == 1 and "norm" in name and name.endswith("weight")
            nn.init.normal_(parameter, mean=float(norm), std=0.3)
    return model


def texts(eos: int, padding: str) -> Tensor:
    """Captions of different lengths, each with its end; padding is anything but a second end."""
    generator = torch.Generator().manual_seed(3)
    last = VOCAB - 1 if eos == 2 else eos
    ids = torch.randint(3, VOCAB - 1, (TEXTS, SEQ), generator=generator)
    ids[ids == last] = 5
    if padding != "left":
        return ids.scatter(1, LENGTHS - 1, last)
    ids[:, -1] = last
    return ids


def pictures(model: Any) -> Tensor:
    """Random pictures that fit."""
    c = model.config.vision_config
    shape = (PICTURES, c.num_channels, c.image_size, c.image_size)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("eos", EOS)
@pytest.mark.parametrize("seed", range(4))
def test_clip_equals_transformers(seed: int, eos: str, padding: str) -> None:
    """Logits both ways, features, and the gradient of every weight; texts end in three ways."""
    model, mask, ids = theirs(seed, EOS[eos]), PADDINGS[padding], texts(EOS[eos], padding)
    ours, images = Clip.from_hf(model), pictures(model)
    expected = model(input_ids=ids, pixel_values=images, attention_mask=mask)
    logits = ours(ids, images, mask)
    assert logits[0].shape == (PICTURES, TEXTS)
    torch.testing.assert_close(logits[0], expected.logits_per_image, rtol=0, atol=1e-10)
    torch.testing.assert_close(logits[1], expected.logits_per_text, rtol=0, atol=1e-10)
    for ours_found, unit, got in (
        (ours.image_features(images), expected.image_embeds, model.get_image_features(images)),
        (ours.text_features(ids, mask), expected.text_embeds, model.get_text_features(ids, mask)),
    ):
        torch.testing.assert_close(ours_found, got.pooler_output, rtol=0, atol=1e-10)
        torch.testing.assert_close(nn.functional.normalize(ours_found), unit, rtol=0, atol=1e-10)
    direction = torch.linspace(-1, 1, logits[0].numel(), dtype=torch.float64).view_as(logits[0])
    logits[0].backward(direction)
    expected.logits_per_image.backward(direction)
    for name, parameter in ours.named_parameters():
        gradient = model.get_parameter(_hf_name(name)).grad
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-9, atol=1e-10)
    count = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in ours.parameters()) == count


def test_the_loss_equals_transformers() -> None:
    """On a batch of pairs."""
    model = theirs(1)
    ids, images = texts(39, "right")[:PICTURES], pictures(model)
    expected = model(input_ids=ids, pixel_values=images, return_loss=True).loss
    torch.testing.assert_close(
        clip_loss(*Clip.from_hf(model)(ids, images)), expected, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("size", SIZES)
def test_the_loss_equals_open_clips(size: int) -> None:
    """The value, and the gradient by pictures and by texts."""
    images, captions, scale = features(size)
    logits = scale * images @ captions.T
    loss = clip_loss(logits, logits.T)
    loss.backward()
    reference = saved("clip_loss")
    for ours, name in ((loss, "loss"), (images.grad, "images"), (captions.grad, "texts")):
        assert ours is not None
        expected = torch.tensor(reference[f"{name}-{size}"])
        torch.testing.assert_close(ours.detach(), expected, rtol=0, atol=1e-12)


def test_rows_alone_are_not_the_loss() -> None:
    """By hand: rows decide well and columns badly, and the loss is the mean of both."""
    logits = torch.tensor([[2.0, 0.0], [3.0, 2.0]], dtype=torch.float64)
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    columns = (math.log(1 + math.exp(1)) + math.log(1 + math.exp(-2))) / 2
    assert clip_loss(logits, logits.T).item() == pytest.approx((rows + columns) / 2)
    tilted = torch.tensor([[2.0, 0.0], [4.0, 5.0]], dtype=torch.float64)
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))) / 2
    columns = (math.log(1 + math.exp(2)) + math.log(1 + math.exp(-5))) / 2
    assert clip_loss(tilted, tilted.T).item() == pytest.approx((rows + columns) / 2)
    assert rows < columns / 2


@given(groups=st.lists(st.integers(0, 3), min_size=1, max_size=8), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_where_texts_repeat_the_floor_is_the_targets_entropy(groups: list[int], seed: int) -> None:
    """No logits have less loss; those that are high where texts fit come as near as one likes."""
    label = torch.tensor(groups)
    same = label[:, None] == label
    entropy = same.sum(1).double().log().mean()
    perfect = 200 * same.double()
    torch.testing.assert_close(clip_loss(perfect, perfect.T, same), entropy)
    logits = torch.randn(same.shape, generator=torch.Generator().manual_seed(seed)).double()
    assert clip_loss(5 * logits, 5 * logits.T, same) >= entropy - 1e-12


def test_equal_texts_share_the_target_by_hand() -> None:
    """Three pairs of which the first two have one text: half, half and nothing."""
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 1.0, 0.0], [2.0, 0.0, 3.0]], dtype=torch.float64)
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()
    target = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]], dtype=torch.float64)
    by_hand = -(target * (logits.log_softmax(1) + logits.log_softmax(0))).sum() / 6
    torch.testing.assert_close(clip_loss(logits, logits.T, same), by_hand)
    assert clip_loss(logits, logits.T) != by_hand


@given(groups=st.lists(st.integers(0, 3), min_size=1, max_size=8), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_for_equal_texts_sharing_changes_nothing(groups: list[int], seed: int) -> None:
    """Their columns are equal, and so are the loss and its gradient; paraphrases are another case."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.tensor(groups)
    pictures = torch.randn(len(label), 3, generator=generator, dtype=torch.float64)
    vectors = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    gradients = []
    for same in (label[:, None] == label, None):
        logits = pictures @ vectors[label].T
        loss = clip_loss(logits, logits.T, same)
        gradients.append((loss, *torch.autograd.grad(loss, vectors)))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_without_sharing_it_pays_to_tell_paraphrases_apart() -> None:
    """Two texts that say the same: treated alike they cost ln 2 in either case, apart 0 or much."""
    same = torch.ones(2, 2, dtype=torch.bool)
    alike, apart = torch.full((2, 2), 20.0), 20 * torch.eye(2)
    assert clip_loss(alike, alike.T).item() == pytest.approx(math.log(2))
    assert clip_loss(alike, alike.T, same).item() == pytest.approx(math.log(2))
    assert clip_loss(apart, apart.T).item() == pytest.approx(0, abs=1e-8)
    assert clip_loss(apart, apart.T, same).item() == pytest.approx(10)


def test_repeats_are_equal_texts_whatever_the_padding_holds() -> None:
    ids = torch.tensor([[1, 2, 7], [1, 2, 9], [1, 9, 7]])
    mask = torch.tensor([[1, 1, 0]] * 3)
    assert repeats(ids).equal(torch.eye(3, dtype=torch.bool))
    assert repeats(ids, mask).tolist() == [[True, True, False], [True, True, False], [False, False, True]]  # fmt: skip


def test_blind_guessing_costs_the_logarithm_of_the_batch() -> None:
    zeros = torch.zeros(32, 32)
    assert clip_loss(zeros, zeros).item() == pytest.approx(math.log(32))


@pytest.mark.parametrize("eos", ["newer", "legacy"])
def test_what_follows_the_end_has_no_influence(eos: str) -> None:
    """Causal blocks, read off at the end: padding needs no mask."""
    model = theirs(2, EOS[eos])
    ours, ids = Clip.from_hf(model), texts(EOS[eos], "right")
    other = ids.clone()
    after = torch.arange(SEQ) >= LENGTHS
    other[after] = 4
    assert not torch.equal(ids, other)
    torch.testing.assert_close(ours.text_features(ids), ours.text_features(other), rtol=0, atol=0)
    assert (ours.text_features(ids.roll(1, 0)) - ours.text_features(ids)).abs().max() > 1e-6


def test_the_scale_is_kept_below_a_hundred_on_request_alone() -> None:
    """As CLIP does after a step; the forward pass takes the scale as it is, as transformers does."""
    ours = Clip(small())
    assert ours.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    with torch.no_grad():
        ours.logit_scale.fill_(9.0)
    assert ours(IDS, IMAGES)[0].abs().max() > 100
    ours.limit_scale()
    assert ours.logit_scale.exp().item() == pytest.approx(100)
    assert ours(IDS, IMAGES)[0].abs().max() < 100 + 1e-3
    with torch.no_grad():
        ours.logit_scale.fill_(1.0)
    ours.limit_scale()
    assert ours.logit_scale.item() == 1


def test_any_two_encoders_make_a_dual_encoder() -> None:
    """A flat picture and a bag of words: the order of the words is lost, by construction."""

    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(9, 4)

        def forward(self, token_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            mean: Tensor = self.embedding(token_ids).mean(1)
            return mean

    model = DualEncoder(nn.Flatten(), Bag(), 192, 4, 5)
    ours = model(IDS, IMAGES)[0]
    torch.testing.assert_close(model(IDS.flip(1), IMAGES)[0], ours)
    assert (Clip(small())(IDS, IMAGES)[0] - Clip(small())(IDS.flip(1), IMAGES)[0]).abs().max() > 0


def test_a_fresh_clip_has_the_published_number_of_parameters() -> None:
    """ViT-B/32: 151,277,313, as in transformers."""
    vision = ViTConfig(
        image_size=224, patch_size=32, d_model=768, num_layers=12, num_heads=12, pre_norm=True,
        patch_bias=False, activation="quick_gelu", norm_eps=1e-5,
    )  # fmt: skip
    text = TextConfig(vocab_size=49_408, d_model=512, num_layers=12, num_heads=8, eos_id=49_407)
    with torch.device("meta"):
        model = Clip(ClipConfig(vision=vision, text=text))
        assert sum(p.numel() for p in model.parameters()) == 151_277_313
        assert sum(p.numel() for p in CLIPModel(CLIPConfig()).parameters()) == 151_277_313


def test_fresh_logits_are_about_as_large_as_the_scale_allows() -> None:
    """Cosines of random vectors are small, so a fresh model guesses nearly blindly."""
    torch.manual_seed(0)
    ids = torch.cat((torch.randint(0, 8, (16, 4)), torch.full((16, 1), 8)), 1)
    loss = clip_loss(*Clip(small())(ids, torch.rand(16, 3, 8, 8)))
    assert 0.8 * math.log(16) < loss < 2 * math.log(16)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_from_hf_keeps_state_and_shares_nothing(dtype: torch.dtype, training: bool) -> None:
    """Dtype and mode come along; no random number is drawn."""
    model = theirs().to(dtype).train(training)
    state = torch.get_rng_state()
    ours = Clip.from_hf(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert {p.dtype for p in ours.parameters()} == {dtype}
    assert ours.training is training
    storage = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert not storage & {p.untyped_storage().data_ptr() for p in ours.parameters()}
    assert ours(texts(39, "right"), pictures(model))[0].dtype == dtype


IDS, IMAGES = torch.tensor([[1, 2, 8], [3, 8, 0]]), torch.linspace(0, 1, 576).view(3, 3, 8, 8)
TEXT: dict[str, Any] = {"vocab_size": 9, "d_model": 8, "num_layers": 1, "num_heads": 2}


def small() -> ClipConfig:
    """The smallest that has all parts."""
    vision = ViTConfig(image_size=8, patch_size=4, d_model=8, num_layers=1, num_heads=2)
    return ClipConfig(vision=vision, text=TextConfig(**TEXT, max_len=5, eos_id=8), d_joint=6)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Clip.from_hf(nn.Linear(2, 2)), TypeError, "need a transformers.CLIPModel, got Linear"),
        (lambda: Clip.from_hf(theirs(hidden_act="silu")), ValueError, "hidden_act must be one of"),
        (lambda: Clip.from_hf(theirs(eos=[3, 4])), ValueError, "eos_token_id must be one token, got [3, 4]"),
        (lambda: Clip.from_hf(theirs(eos=50)), ValueError, "eos_id must be below vocab_size=40, or None, got 50"),
        (lambda: Clip.from_hf(theirs(image_size=9, patch_size=4)), ValueError, "patch_size must divide image_size, got patch_size=4 and image_size=9"),
        (lambda: TextConfig(**TEXT, max_len=0), ValueError, "max_len must be positive, got 0"),
        (lambda: TextConfig(**TEXT, eos_id=-1), ValueError, "eos_id must not be negative, got -1"),
        (lambda: ClipConfig(vision=small().vision, text=small().text, d_joint=0), ValueError, "d_joint must be positive, got 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(build: Any, error: type[Exception], message: str) -> None:
    """Another model, another activation, sizes that make none."""
    with pytest.raises(error, match=re.escape(message)):
        build()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(IDS, IMAGES[:, :, :7]), "images must have the shape (batch, channels, height, width) = (batch, 3, 8, 8), got (3, 3, 7, 8)"),
        (lambda m: m(IDS, IMAGES[:, :1]), "(batch, 3, 8, 8), got (3, 1, 8, 8)"),
        (lambda m: m(IDS[:, :0], IMAGES), "token_ids must have the shape (batch, seq) and hold at least one token, got shape (2, 0)"),
        (lambda m: m(IDS[0], IMAGES), "token_ids must have the shape (batch, seq)"),
        (lambda m: m(IDS + 1, IMAGES), "token_ids must be from 0 to vocab_size - 1 = 8, got 9"),
        (lambda m: m(IDS[:, :2], IMAGES), "token_ids must hold the end token, eos_id=8, in each text, got [1, 2] in row 0"),
        (lambda m: m(IDS.repeat(1, 2), IMAGES), "token_ids must end within max_len=5 positions, got 6"),
        (lambda m: m(IDS, IMAGES, torch.tensor([[1, 1, 1], [0, 0, 0]])), "attention_mask must leave each text at least one token, got none in row 1"),
        (lambda m: m(IDS, IMAGES, torch.ones(2, 4)), "attention_mask must have the shape (batch, key) = (2, 3), got (2, 4)"),
        (lambda m: clip_loss(torch.zeros(2, 3), torch.zeros(3, 2)), "logits_per_image must have the shape (batch, batch), with a text for each picture, got (2, 3)"),
        (lambda m: clip_loss(torch.zeros(2, 2), torch.zeros(3, 3)), "logits_per_text must have the shape (batch, batch), with a text for each picture, got (3, 3)"),
        (lambda m: clip_loss(torch.zeros(0, 0), torch.zeros(0, 0)), "logits_per_image must have the shape (batch, batch)"),
        (lambda m: clip_loss(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2).bool()), "same must be boolean, of the shape (2, 2), and True on its diagonal"),
        (lambda m: clip_loss(torch.zeros(2, 2), torch.zeros(2, 2), torch.ones(2, 2)), "same must be boolean"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Any, message: str) -> None:
    """The argument, what came and what was expected."""
    with pytest.raises(ValueError, match=re.escape(message)):
        call(Clip(small()))
