import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import (
    MixtralSparseMoeBlock,
    load_balancing_loss_func,
)

from llmbook.moe import MixtureOfExperts, Routing, balance_loss, load


def theirs(
    d_model: int = 8,
    d_ff: int = 12,
    experts: int = 4,
    top_k: int = 2,
    seed: int = 0,
    **options: Any,
) -> MixtralSparseMoeBlock:
    torch.manual_seed(seed)
    kinds: Any = {"experts_implementation": "eager", **options}
    config = MixtralConfig(
        hidden_size=d_model,
        intermediate_size=d_ff,
        num_local_experts=experts,
        num_experts_per_tok=top_k,
        **kinds,
    )
    block = MixtralSparseMoeBlock(config).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


@pytest.mark.parametrize(
    ("d_model", "d_ff", "experts", "top_k"),
    [(8, 12, 4, 2), (16, 24, 8, 2), (6, 6, 3, 3), (4, 8, 5, 1), (4, 4, 1, 1)],
)
def test_a_block_of_mixtral_and_its_gradients(
    d_model: int, d_ff: int, experts: int, top_k: int
) -> None:
    block = theirs(d_model, d_ff, experts, top_k)
    ours = MixtureOfExperts.from_hf(block)
    x = torch.randn(2, 7, d_model, dtype=torch.float64, requires_grad=True)
    outputs = ours(x), block(x)
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-10)
    for output in outputs:
        output.square().sum().backward(retain_graph=True)
    gate_up: Any = block.experts.gate_up_proj.grad
    down: Any = block.experts.down_proj.grad
    torch.testing.assert_close(
        ours.router.weight.grad, block.gate.weight.grad, rtol=1e-10, atol=1e-10
    )
    for i, expert in enumerate(ours.experts):
        gate, up = gate_up[i].chunk(2)
        for name, gradient in (("gate", gate), ("up", up), ("down", down[i])):
            torch.testing.assert_close(
                expert.get_parameter(f"{name}.weight").grad, gradient, rtol=1e-10, atol=1e-10
            )


def test_gradients_of_the_input_are_mixtrals_too() -> None:
    block, x = theirs(), torch.randn(1, 9, 8, dtype=torch.float64, requires_grad=True)
    ours = MixtureOfExperts.from_hf(block)
    a, b = (torch.autograd.grad(layer(x).square().sum(), x)[0] for layer in (ours, block))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(tokens=st.integers(1, 30), experts=st.integers(1, 6), data=st.data())
def test_the_balance_loss_is_the_one_of_transformers(tokens, experts, data) -> None:  # type: ignore[no-untyped-def]
    top_k = data.draw(st.integers(1, experts))
    layer = MixtureOfExperts(4, 4, experts, top_k)
    x = torch.randn(tokens, 4)
    expected = load_balancing_loss_func((layer.router(x),), experts, top_k)
    torch.testing.assert_close(balance_loss(layer.route(x)), expected, rtol=1e-5, atol=1e-6)


def test_even_loads_have_a_balance_loss_of_one_and_one_expert_for_all_that_of_their_number() -> (
    None
):
    def loss(experts: list[int], probs: torch.Tensor) -> float:
        return balance_loss(
            Routing(probs, torch.tensor(experts)[:, None], torch.ones(len(experts), 1))
        ).item()

    assert loss([0, 1, 2, 3], torch.eye(4)) == pytest.approx(1)
    assert loss([0, 0, 0, 0], torch.eye(4)[[0, 0, 0, 0]]) == pytest.approx(4)


@settings(max_examples=30, deadline=None)
@given(experts=st.integers(1, 5), data=st.data(), tokens=st.integers(0, 12), bias=st.booleans())
def test_a_token_gets_the_weighted_sum_of_its_own_experts(experts, data, tokens, bias) -> None:  # type: ignore[no-untyped-def]
    top_k = data.draw(st.integers(1, experts))
    layer = MixtureOfExperts(6, 5, experts, top_k, activation="gelu", bias=bias).double()
    x = torch.randn(tokens, 6, dtype=torch.float64)
    y, routing = layer.with_routing(x)
    for token, chosen, weights, given_ in zip(x, routing.experts, routing.weights, y, strict=True):
        expected = sum(
            (w * layer.experts[int(e)](token) for e, w in zip(chosen, weights, strict=True)),
            torch.zeros(6, dtype=torch.float64),
        )
        torch.testing.assert_close(given_, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(routing.weights.sum(-1), torch.ones(tokens))


def test_with_all_experts_chosen_it_is_the_mean_by_probability() -> None:
    layer = MixtureOfExperts(4, 3, 3, 3).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    probs = layer.router(x).softmax(-1)
    expected = torch.stack([expert(x) for expert in layer.experts], -1) @ probs[..., None]
    torch.testing.assert_close(layer(x), expected[..., 0], rtol=0, atol=1e-6)


def test_beyond_its_capacity_an_expert_gives_later_tokens_nothing() -> None:
    layer = MixtureOfExperts(4, 3, 2, 1, capacity=1.0)
    layer.offsets.copy_(torch.tensor([9.0, 0.0]))  # all tokens to the first
    y = layer(torch.randn(6, 4))
    assert y[:3].abs().sum(-1).min() > 0
    assert torch.equal(y[3:], torch.zeros(3, 4))


def test_with_one_expert_a_token_the_router_learns_from_its_output_only_if_weights_are_not_normalized() -> (
    None
):
    torch.manual_seed(0)
    x = torch.randn(40, 8)
    for normalized in (True, False):
        layer = MixtureOfExperts(8, 6, 4, 1, normalized=normalized)
        y, routing = layer.with_routing(x)
        y.square().sum().backward()
        gradient = layer.router.weight.grad
        assert gradient is not None
        assert (gradient.abs().max() < 1e-6) == normalized
        expected = torch.ones(40, 1) if normalized else routing.probs.amax(-1, keepdim=True)
        torch.testing.assert_close(routing.weights, expected)


def test_offsets_choose_and_do_not_weigh() -> None:
    layer = MixtureOfExperts(4, 3, 3, 2)
    x = torch.randn(5, 4)
    before = layer.route(x)
    layer.offsets.copy_(torch.tensor([0.0, 0.0, 9.0]))
    after = layer.route(x)
    assert torch.equal(before.probs, after.probs)
    assert (after.experts == 2).any(-1).all()
    kept = after.probs.gather(-1, after.experts)
    torch.testing.assert_close(after.weights, kept / kept.sum(-1, keepdim=True))


def test_rebalancing_evens_loads_without_a_loss() -> None:
    torch.manual_seed(0)
    layer = MixtureOfExperts(8, 4, 4, 1)
    x = torch.randn(2000, 8) + 1  # the mean token prefers some experts
    uneven = load(layer.route(x).experts, 4)
    for _ in range(300):
        layer.rebalance(layer.route(x).experts, rate=1e-2)
    even = load(layer.route(x).experts, 4)
    assert uneven.max() > 800
    assert even.max() < 600
    assert even.min() > 400


def test_idle_experts_have_gradients_of_zero_and_none_is_missing() -> None:
    layer = MixtureOfExperts(4, 3, 3, 1)
    layer.offsets.copy_(torch.tensor([9.0, 0.0, 0.0]))
    layer(torch.randn(5, 4)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())
    assert all(
        p.grad is not None and not p.grad.any()
        for expert in itertools.islice(layer.experts, 1, 3)
        for p in expert.parameters()
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_goes_through_and_routes_in_float32(dtype: torch.dtype) -> None:
    layer = MixtureOfExperts(4, 3, 3, 2).to(dtype)
    y, routing = layer.with_routing(torch.randn(2, 5, 4, dtype=dtype))
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert routing.probs.dtype == torch.float32


def test_device_mode_and_dtype_come_along_and_nothing_is_shared() -> None:
    block = theirs().eval().float()
    ours = MixtureOfExperts.from_hf(block)
    assert not ours.training
    x = torch.randn(1, 3, 8)
    before = ours(x)
    block.gate.weight.data.zero_()
    block.experts.down_proj.data.zero_()
    assert torch.equal(ours(x), before)


@pytest.mark.plain
def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="top_k must be from 1 to num_experts = 4, got 5"):
        MixtureOfExperts(8, 8, 4, 5)
    with pytest.raises(ValueError, match="top_k must be from 1 to num_experts = 4, got 0"):
        MixtureOfExperts(8, 8, 4, 0)
    with pytest.raises(ValueError, match="num_experts must be at least 1, got 0"):
        MixtureOfExperts(8, 8, 0, 1)
    with pytest.raises(ValueError, match="capacity must be positive, got 0"):
        MixtureOfExperts(8, 8, 4, 1, capacity=0)
    with pytest.raises(TypeError, match="need a MixtralSparseMoeBlock, got Linear"):
        MixtureOfExperts.from_hf(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="activation must be SiLU, got GELU"):
        MixtureOfExperts.from_hf(theirs(hidden_act="gelu"))
    with pytest.raises(ValueError, match=r"router_jitter_noise must be 0, got 0\.1"):
        MixtureOfExperts.from_hf(theirs(router_jitter_noise=0.1))
    with pytest.raises(ValueError, match="at least one token"):
        balance_loss(MixtureOfExperts(4, 4, 2, 1).route(torch.ones(0, 4)))
