"""`llmbook.layers` against PyTorch's layers, transformers' SwiGLU, and by hand."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig, T5Config
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaMLP
from transformers.models.t5.modeling_t5 import T5DenseGatedActDense

from llmbook.layers import FeedForward, LayerNorm, RMSNorm, copied_linear

D_MODEL = 12


def inputs(*shape: int) -> Tensor:
    """Float64 numbers that want a gradient, far from mean 0 and variance 1."""
    generator = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(*(shape or (2, 5, D_MODEL)), generator=generator, dtype=torch.float64) + 2
    return x.requires_grad_()


def randomised(layer: nn.Module) -> nn.Module:
    """Weights and biases that are not the trivial ones."""
    torch.manual_seed(1)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, mean=0.5)
    return layer


def assert_equal(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Output and every gradient agree to rounding."""
    y, z = ours(x), theirs(x)
    torch.testing.assert_close(y, z, rtol=0, atol=1e-12)
    direction = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    mine, yours = (
        torch.autograd.grad(out, (x, *layer.parameters()), direction)
        for out, layer in ((y, ours), (z, theirs))
    )
    for one, other in zip(mine, yours, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize("eps", [1e-12, 1e-5, 0.5])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_equals_torch(eps: float, bias: bool) -> None:
    """With any epsilon, inside the root, and with or without a shift."""
    theirs = randomised(nn.LayerNorm(D_MODEL, eps, bias=bias, dtype=torch.float64))
    assert isinstance(theirs, nn.LayerNorm)
    assert_equal(LayerNorm.from_torch(theirs), theirs, inputs())


@pytest.mark.parametrize("eps", [None, 1e-5, 0.5])
def test_rms_norm_equals_torch(eps: float | None) -> None:
    """With any epsilon, and with torch's own when none is given."""
    theirs = randomised(nn.RMSNorm(D_MODEL, eps, dtype=torch.float64))
    assert isinstance(theirs, nn.RMSNorm)
    assert_equal(RMSNorm.from_torch(theirs), theirs, inputs())


@settings(deadline=None)
@given(
    st.sampled_from([torch.float16, torch.bfloat16]),
    st.sampled_from([1e-12, 1e-5, None]),
    st.floats(1e-4, 6e4),
    st.lists(st.floats(-1, 1), min_size=1, max_size=9),
)
def test_norms_of_sixteen_bits_are_right(
    dtype: torch.dtype, eps: float | None, scale: float, numbers: list[float]
) -> None:
    """Whose squares and epsilon the type does not hold: they are taken in float32, as in torch."""
    x = (scale * torch.tensor(numbers)).to(dtype)
    rms = nn.RMSNorm(len(numbers), eps, dtype=dtype)
    pairs = [(RMSNorm.from_torch(rms)(x), rms(x))]
    if eps is not None:  # whose own LayerNorm is wrong for vectors that are nearly constant
        norm = nn.LayerNorm(len(numbers), eps, dtype=dtype)
        exact = copy.deepcopy(norm).double()
        pairs.append((LayerNorm.from_torch(norm)(x), exact(x.double()).to(dtype)))
    for ours, right in pairs:
        torch.testing.assert_close(ours, right, rtol=2e-2, atol=2e-3)


def test_norms_by_hand() -> None:
    """Three numbers: mean 2, variance 2/3, mean square 14/3."""
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    layer = LayerNorm(3, eps=1e-12).double()
    torch.testing.assert_close(layer(x), (x - 2) / (2 / 3) ** 0.5)
    torch.testing.assert_close(RMSNorm(3, eps=1e-12).double()(x), x / (14 / 3) ** 0.5)


@given(st.floats(0.1, 100), st.floats(-10, 10))
def test_what_the_norms_do_not_see(scale: float, shift: float) -> None:
    """A LayerNorm forgets scale and shift, an RMSNorm the scale alone."""
    x = inputs().detach()
    layer, rms = LayerNorm(D_MODEL, eps=1e-12).double(), RMSNorm(D_MODEL, eps=1e-12).double()
    torch.testing.assert_close(layer(scale * x + shift), layer(x), atol=1e-7, rtol=0)
    torch.testing.assert_close(rms(scale * x), rms(x))


def test_zeros_stay_zeros() -> None:
    """Epsilon keeps a vector without spread from becoming NaN."""
    x = torch.zeros(2, D_MODEL)
    assert not LayerNorm(D_MODEL)(x + 7).any()
    assert not RMSNorm(D_MODEL)(x).any()


@pytest.mark.parametrize(
    ("activation", "theirs"),
    [
        ("relu", F.relu),
        ("relu", torch.relu),
        ("relu", nn.ReLU()),
        ("gelu", F.gelu),
        ("gelu", nn.GELU()),
    ],
)
@pytest.mark.parametrize("kind", [nn.TransformerEncoderLayer, nn.TransformerDecoderLayer])
@pytest.mark.parametrize("bias", [True, False])
def test_feed_forward_equals_torch(
    activation: str, theirs: Callable[[Tensor], Tensor], kind: Any, bias: bool
) -> None:
    """The two linear layers of torch's block around its activation, however that is spelt."""
    layer = kind(D_MODEL, 2, 40, 0.0, theirs, bias=bias, dtype=torch.float64)
    ours = FeedForward.from_torch(layer)
    assert ours.activation is getattr(F, activation)
    assert_equal(ours, nn.Sequential(layer.linear1, _Module(theirs), layer.linear2), inputs())


class _Module(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("bias", [True, False])
def test_swiglu_equals_transformers(bias: bool) -> None:
    """Llama's feed-forward network, weight by weight."""
    theirs = LlamaMLP(
        LlamaConfig(hidden_size=D_MODEL, num_attention_heads=2, intermediate_size=32, mlp_bias=bias)
    ).double()
    ours = FeedForward(D_MODEL, 32, "swiglu", bias).double()
    names = {"up": theirs.up_proj, "gate": theirs.gate_proj, "down": theirs.down_proj}
    for name, linear in names.items():
        setattr(ours, name, copied_linear(linear.weight, linear.bias))
    x = inputs()
    y, z = ours(x), theirs(x)
    torch.testing.assert_close(y, z, rtol=0, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(out.square().sum(), x)[0] for out in (y, z)))


def test_geglu_equals_transformers() -> None:
    """The feed-forward network of T5's version 1.1, weight by weight."""
    theirs = T5DenseGatedActDense(
        T5Config(d_model=D_MODEL, d_ff=32, feed_forward_proj="gated-gelu", dropout_rate=0.0)
    ).double()
    ours = FeedForward(D_MODEL, 32, "geglu", bias=False).double()
    names = {"up": theirs.wi_1, "gate": theirs.wi_0, "down": theirs.wo}
    for name, linear in names.items():
        setattr(ours, name, copied_linear(linear.weight, None))
    x = inputs()
    y, z = ours(x), theirs(x)
    torch.testing.assert_close(y, z, rtol=0, atol=1e-12)
    torch.testing.assert_close(*(torch.autograd.grad(out.square().sum(), x)[0] for out in (y, z)))


def test_gelu_tanh_equals_transformers() -> None:
    """GPT-2's approximation is theirs, and close to the exact GELU but another."""
    ours, exact = FeedForward(D_MODEL, 32, "gelu_tanh").double(), FeedForward(D_MODEL, 32, "gelu")
    exact.load_state_dict(ours.state_dict())
    theirs = nn.Sequential(ours.up, ACT2FN["gelu_new"], ours.down)
    assert_equal(ours, theirs, inputs())
    assert 1e-6 < (ours(inputs()) - exact.double()(inputs())).abs().max() < 1e-3


def test_parameters_by_formula() -> None:
    """Two matrices and two biases; a gate is a third of each."""
    d, f = 512, 2048
    count = {
        a: sum(p.numel() for p in FeedForward(d, f, a).parameters()) for a in ("relu", "swiglu")
    }
    assert count["relu"] == 2 * d * f + f + d == 2_099_712
    assert count["swiglu"] == 3 * d * f + 2 * f + d


@pytest.mark.parametrize(
    "layer",
    [LayerNorm(D_MODEL), RMSNorm(D_MODEL), FeedForward(D_MODEL, 32), FeedForward(D_MODEL, 32, "swiglu")],
    ids=["LayerNorm", "RMSNorm", "ReLU", "SwiGLU"],
)  # fmt: skip
def test_positions_do_not_mix(layer: nn.Module) -> None:
    """A change of one position moves that one alone."""
    layer, x = layer.double(), inputs().detach()
    changed = x.clone()
    changed[0, 3] *= -1
    moved = (layer(x) - layer(changed)).abs().amax(-1)
    assert moved[0, 3] > 1e-3
    moved[0, 3] = 0
    assert not moved.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_from_torch_keeps_the_layers_state(dtype: torch.dtype, training: bool) -> None:
    """Dtype, device and mode come along; nothing is shared, no random number is drawn."""
    block = nn.TransformerEncoderLayer(D_MODEL, 2, 32, dtype=dtype).train(training)
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (FeedForward.from_torch(block), block),
        (LayerNorm.from_torch(block.norm1), block.norm1),
    ]
    state = torch.get_rng_state()
    pairs.append((FeedForward.from_torch(block), block))
    assert torch.equal(torch.get_rng_state(), state)
    for ours, theirs in pairs:
        assert {p.dtype for p in ours.parameters()} == {dtype}
        assert all(module.training is training for module in ours.modules())
        storage = {p.untyped_storage().data_ptr() for p in theirs.parameters()}
        assert not storage & {p.untyped_storage().data_ptr() for p in ours.parameters()}
    meta = LayerNorm.from_torch(nn.LayerNorm(D_MODEL, device="meta"))
    assert meta.weight.device.type == "meta"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LayerNorm(0), "d_model must be positive, got 0"),
        (lambda: RMSNorm(-1), "d_model must be positive, got -1"),
        (lambda: FeedForward(4, 0), "d_ff must be positive, got 0"),
        (lambda: FeedForward(4, 8, "tanh"), "activation must be one of .*'relu'.*, got 'tanh'"),
        (lambda: LayerNorm.from_torch(nn.LayerNorm((2, 3))), "need a weight for each number of one axis"),
        (lambda: RMSNorm.from_torch(nn.RMSNorm(4, elementwise_affine=False)), "need a weight"),
        (
            lambda: FeedForward.from_torch(nn.TransformerEncoderLayer(4, 2, 8, activation=F.silu)),
            "activation must be relu or the exact gelu, got silu",
        ),
        (
            lambda: FeedForward.from_torch(
                nn.TransformerEncoderLayer(4, 2, 8, activation=nn.GELU("tanh"))
            ),
            "activation must be relu or the exact gelu, got GELU",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(build: Callable[[], nn.Module], message: str) -> None:
    """A layer that makes no sense, or that ours cannot equal, is refused."""
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.plain
@pytest.mark.parametrize("kind", [LayerNorm, RMSNorm, FeedForward])
def test_from_torch_refuses_other_things(kind: Any) -> None:
    """The error names what came."""
    with pytest.raises(TypeError, match="got Linear"):
        kind.from_torch(nn.Linear(2, 2))
