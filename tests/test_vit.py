"""`llmbook.vit` against transformers, and squares as a convolution against squares as a matrix."""

import random
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, ViTModel
from transformers import ViTConfig as TheirConfig

from llmbook.vit import _VIT_NAMES as VIT_NAMES
from llmbook.vit import CLIP_VISION_NAMES, VisionTransformer, ViTConfig, patches, vision_name


def random_sizes(seed: int) -> dict[str, Any]:
    """Sizes that no two of which need fit together."""
    draw = random.Random(seed)
    heads, patch = draw.choice([1, 2, 3]), draw.choice([1, 2, 4, 5])
    return {
        "hidden_size": heads * draw.choice([4, 6, 10]), "num_attention_heads": heads, "intermediate_size": draw.choice([7, 24]),
        "num_hidden_layers": draw.choice([1, 2, 4]), "patch_size": patch, "image_size": patch * draw.choice([1, 2, 3]),
        "num_channels": draw.choice([1, 3, 4]), "layer_norm_eps": draw.choice([1e-12, 1e-5, 1e-2]),
        "hidden_act": draw.choice(["gelu", "quick_gelu", "gelu_new", "relu"]),
    }  # fmt: skip


def theirs(seed: int, *, clip: bool = False, pooled: bool = True, **options: Any) -> Any:
    """A random model of theirs in float64, with norms and biases that are not the trivial ones."""
    torch.manual_seed(seed)
    sizes = {**random_sizes(seed), **options}
    model: Any
    if clip:
        model = CLIPVisionModel(CLIPVisionConfig(**sizes))
    else:
        sizes = {"qkv_bias": seed % 3 > 0, "pooler_output_size": [None, 5][seed % 2], **sizes}
        model = ViTModel(TheirConfig(**sizes), add_pooling_layer=pooled)
    model = model.double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    return model


def pictures(model: Any, batch: int = 3) -> Tensor:
    """Random pictures that fit."""
    config = model.config
    shape = (batch, config.num_channels, config.image_size, config.image_size)
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def compare_gradients(ours: VisionTransformer, model: Any, clip: bool) -> None:
    """Of every weight, under their name."""
    names, blocks = (CLIP_VISION_NAMES, "encoder.layers") if clip else (VIT_NAMES, "layers")
    for name, parameter in ours.named_parameters():
        gradient = model.get_parameter(vision_name(name, names, blocks)).grad
        assert parameter.grad is not None
        torch.testing.assert_close(
            parameter.grad, gradient.view_as(parameter), rtol=1e-9, atol=1e-10
        )


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_vit_equals_transformers(seed: int, pooled: bool) -> None:
    """Hidden states, the pooled vector, and the gradient of every weight, at random sizes."""
    model = theirs(seed, pooled=pooled)
    ours, images = VisionTransformer.from_hf(model), pictures(model)
    expected = model(images)
    hidden, vector = ours.hidden_states(images), ours(images)
    torch.testing.assert_close(hidden, expected.last_hidden_state, rtol=0, atol=1e-10)
    pooled_vector = expected.pooler_output if pooled else expected.last_hidden_state[:, 0]
    torch.testing.assert_close(vector, pooled_vector, rtol=0, atol=1e-10)
    assert vector.shape == (3, ours.d_out)
    for one, other in ((hidden, expected.last_hidden_state), (vector, pooled_vector)):
        direction = torch.linspace(-1, 1, one.numel(), dtype=torch.float64).view_as(one)
        for result in (one, other):
            result.backward(direction, retain_graph=True)
    compare_gradients(ours, model, clip=False)
    count = sum(p.numel() for p in model.parameters())
    assert sum(p.numel() for p in ours.parameters()) == count


@pytest.mark.parametrize("seed", range(6))
def test_clips_tower_equals_transformers(seed: int) -> None:
    """A norm before the blocks, no bias at the squares: the vector and every gradient."""
    model = theirs(seed, clip=True)
    ours, images = VisionTransformer.from_hf(model), pictures(model)
    vector, expected = ours(images), model(images).pooler_output
    torch.testing.assert_close(vector, expected, rtol=0, atol=1e-10)
    direction = torch.linspace(-1, 1, vector.numel(), dtype=torch.float64).view_as(vector)
    vector.backward(direction)
    expected.backward(direction)
    compare_gradients(ours, model, clip=True)


@given(
    size=st.integers(1, 5), lines=st.integers(1, 3), columns=st.integers(1, 3),
    channels=st.integers(1, 4), batch=st.integers(0, 2),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_squares_times_a_matrix_are_a_convolution(
    size: int, lines: int, columns: int, channels: int, batch: int
) -> None:
    """For any square, any picture that it divides, and gradients too."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, channels, lines * size, columns * size)
    images = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    layer = nn.Conv2d(channels, 6, size, stride=size).double()
    assert layer.bias is not None
    as_matrix = patches(images, size) @ layer.weight.flatten(1).T + layer.bias
    as_convolution = layer(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(as_matrix, as_convolution, rtol=0, atol=1e-12)
    inputs = (images, layer.weight)
    for one, other in zip(
        *(torch.autograd.grad(y.square().sum(), inputs) for y in (as_matrix, as_convolution)),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_a_square_is_read_line_by_line() -> None:
    """By hand: two channels of 2 × 4 pixels, in squares of 2."""
    images = torch.arange(16.0).view(1, 2, 2, 4)
    assert patches(images, 2).tolist() == [
        [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]
    ]


def test_without_positions_the_order_of_squares_is_lost() -> None:
    """Swapping two squares changes the vector, unless all positions are equal."""
    model = theirs(2, patch_size=2, image_size=4, num_channels=1)
    ours = VisionTransformer.from_hf(model)
    images = pictures(model)
    swapped = images.roll(2, dims=-1)
    assert (ours(images) - ours(swapped)).abs().max() > 1e-6
    with torch.no_grad():
        ours.positions.weight[1:] = ours.positions.weight[1]
    torch.testing.assert_close(ours(images), ours(swapped), rtol=0, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_from_hf_keeps_state_and_shares_nothing(dtype: torch.dtype, training: bool) -> None:
    """Dtype and mode come along; no random number is drawn; pictures come in any dtype."""
    model = theirs(1).to(dtype).train(training)
    state = torch.get_rng_state()
    ours = VisionTransformer.from_hf(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert {p.dtype for p in ours.parameters()} == {dtype}
    assert ours.training is training
    storage = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert not storage & {p.untyped_storage().data_ptr() for p in ours.parameters()}
    assert ours(pictures(model).float()).dtype == dtype


def test_a_fresh_vit_has_the_published_number_of_parameters() -> None:
    """ViT-B/16 without its classifier: 86 million, as the paper rounds them."""
    config = ViTConfig(image_size=224, patch_size=16, d_model=768, num_layers=12, num_heads=12)
    with torch.device("meta"):
        assert sum(p.numel() for p in VisionTransformer(config).parameters()) == 85_798_656
        assert sum(p.numel() for p in ViTModel(TheirConfig(), add_pooling_layer=False).parameters()) == 85_798_656  # fmt: skip


SIZES: dict[str, Any] = {
    "image_size": 8, "patch_size": 4, "d_model": 8, "num_layers": 1, "num_heads": 2
}  # fmt: skip


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: VisionTransformer.from_hf(nn.Linear(2, 2)), TypeError, "need a transformers.ViTModel or CLIPVisionModel, got Linear"),
        (lambda: VisionTransformer.from_hf(theirs(1, hidden_act="silu")), ValueError, "hidden_act must be one of ['gelu_new', 'gelu_pytorch_tanh', 'relu', 'gelu', 'quick_gelu'], got 'silu'"),
        (lambda: VisionTransformer.from_hf(theirs(1, pooler_act="relu")), ValueError, "pooler_act must be 'tanh', got 'relu'"),
        (lambda: VisionTransformer.from_hf(theirs(1, image_size=(4, 8), patch_size=4)), ValueError, "image_size must be as high as wide, got (4, 8)"),
        (lambda: VisionTransformer.from_hf(theirs(1, image_size=9, patch_size=4)), ValueError, "patch_size must divide image_size, got patch_size=4 and image_size=9"),
        (lambda: ViTConfig(**{**SIZES, "patch_size": 3}), ValueError, "patch_size must divide image_size, got patch_size=3 and image_size=8"),
        (lambda: ViTConfig(**{**SIZES, "image_size": 0}), ValueError, "image_size must be positive, got 0"),
        (lambda: ViTConfig(**SIZES, pooler=-1), ValueError, "pooler must not be negative, got -1"),
        (lambda: ViTConfig(**SIZES, activation="tanh"), ValueError, "activation must be one of"),
        (lambda: ViTConfig(**{**SIZES, "num_heads": 3}), ValueError, "num_heads must divide d_model, got num_heads=3 and d_model=8"),
        (lambda: patches(torch.zeros(1, 3, 8, 8), 3), ValueError, "size must divide height and width of images, of the shape (batch, channels, height, width), got size=3 and the shape (1, 3, 8, 8)"),
        (lambda: patches(torch.zeros(1, 3, 8, 8), 0), ValueError, "got size=0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(build: Any, error: type[Exception], message: str) -> None:
    """Another model, another activation, squares that do not fit."""
    with pytest.raises(error, match=re.escape(message)):
        build()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 3, 8, 9), "images must have the shape (batch, channels, height, width) = (batch, 3, 8, 8), got (2, 3, 8, 9)"),
        (torch.zeros(2, 1, 8, 8), "(batch, 3, 8, 8), got (2, 1, 8, 8)"),
        (torch.zeros(3, 8, 8), "(batch, 3, 8, 8), got (3, 8, 8)"),
        (torch.zeros(2, 8, 8, 3), "(batch, 3, 8, 8), got (2, 8, 8, 3)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "images must be floating-point numbers, such as from 0 to 1, got dtype torch.uint8"),
    ],
)  # fmt: skip
def test_pictures_that_do_not_fit_are_named(images: Tensor, message: str) -> None:
    """Another size, wrong channels, channels last, bytes."""
    for call in (VisionTransformer(ViTConfig(**SIZES)), VisionTransformer(ViTConfig(**SIZES)).hidden_states):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(message)):
            call(images)


def test_no_pictures_give_no_vectors() -> None:
    assert VisionTransformer(ViTConfig(**SIZES))(torch.zeros(0, 3, 8, 8)).shape == (0, 8)
