"""`llmbook.attention` against PyTorch's function and layer, and by what may depend on what."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from llmbook.attention import (
    MultiHeadAttention,
    attention,
    causal_mask,
    padding_mask,
    self_attention,
)
from llmbook.positions import alibi, rotary_tables

D_MODEL, HEADS = 24, 6


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal float64 numbers that want a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def layer(**options: Any) -> MultiHeadAttention:
    """A layer of ours in float64."""
    torch.manual_seed(0)
    return MultiHeadAttention(D_MODEL, HEADS, **options).double()


def assert_same_gradients(ours: Tensor, theirs: Tensor, leaves: list[Tensor]) -> None:
    """Two outputs push their inputs in the same direction."""
    direction = torch.linspace(-1, 1, ours.numel(), dtype=ours.dtype).view_as(ours)
    for one, other in zip(
        torch.autograd.grad(ours, leaves, direction, retain_graph=True),
        torch.autograd.grad(theirs, leaves, direction, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("key_seq", [1, 7, 40])
@pytest.mark.parametrize("seq", [1, 7, 40])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_torch(seq: int, key_seq: int, masked: bool) -> None:
    """Ours and torch's attention agree to rounding, forward and backward, also for empty rows."""
    query, key, value = (
        normal(2, 3, n, d, seed=n + d) for n, d in ((seq, 8), (key_seq, 8), (key_seq, 5))
    )
    mask = None
    if masked:
        mask = torch.rand(2, 1, seq, key_seq, generator=torch.Generator().manual_seed(1)) > 0.5
        mask[0, 0, 0] = False  # this query may attend to nothing
    ours, weights = attention(query, key, value, mask)
    theirs = F.scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert_same_gradients(ours, theirs, [query, key, value])
    assert mask is None or not weights.masked_select(~mask).any()


def test_attention_equals_the_numpy_version() -> None:
    """The two functions of the book are one."""
    x, mask = normal(2, 5, 8).detach(), causal_mask(5)
    output, weights = attention(x, x, x, mask)
    plain = self_attention(x.numpy(), x.numpy(), x.numpy(), mask.numpy())
    np.testing.assert_allclose(output.numpy(), plain[0], atol=1e-14)
    np.testing.assert_allclose(weights.numpy(), plain[1], atol=1e-14)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10_000))
def test_weights_are_a_distribution_over_what_is_allowed(q: int, k: int, seed: int) -> None:
    """Each row sums to one, or to zero where nothing is allowed; forbidden pairs weigh nothing."""
    x, mask = normal(q, 4, seed=seed), normal(q, k, seed=seed + 1) > 0
    y = normal(k, 4, seed=seed + 2)
    output, weights = attention(x, y, y, mask)
    torch.testing.assert_close(weights.sum(-1), mask.any(-1).double())
    assert (weights >= 0).all()
    assert not weights[~mask].any()
    torch.testing.assert_close(output, weights @ y)


def test_a_bias_is_added_to_the_scores() -> None:
    """As torch's float mask is."""
    x, bias = normal(2, 3, 5, 8), normal(3, 5, 5, seed=1)
    ours, _ = attention(x, x, x, bias=bias)
    theirs = F.scaled_dot_product_attention(x, x, x, bias.expand(2, 3, 5, 5))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert_same_gradients(ours, theirs, [x, bias])


def test_by_hand() -> None:
    """Scores 0 and ln 3 give the weights 1/4 and 3/4, whatever the width."""
    for width in (1, 4):
        query = torch.full((1, width), math.log(3) / math.sqrt(width))
        key = torch.tensor([[0.0], [1.0]]).expand(2, width)
        _, weights = attention(query, key, key)
        torch.testing.assert_close(weights, torch.tensor([[0.25, 0.75]]))


def test_masks_by_hand() -> None:
    """Causal is lower triangular with its diagonal; padding is the first positions of each text."""
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True] * 3]
    assert causal_mask(0).shape == (0, 0)
    mask = padding_mask(torch.tensor([2, 0, 3]), 3)
    assert mask.shape == (3, 1, 3)
    assert mask[:, 0].tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert causal_mask(2, "meta").device.type == "meta"


@pytest.mark.parametrize("lengths", [[-1, 2], [4, 1]])
def test_lengths_beyond_the_texts_are_named(lengths: list[int]) -> None:
    """A length that no text of this batch can have is refused."""
    with pytest.raises(ValueError, match=re.escape(f"from 0 to seq = 3, got {lengths}")):
        padding_mask(torch.tensor(lengths), 3)


def test_a_negative_length_is_named() -> None:
    """There is no text of minus one position."""
    with pytest.raises(ValueError, match="seq must not be negative, got -1"):
        causal_mask(-1)


# --- the layer -------------------------------------------------------------------------------


def torch_layer(**options: Any) -> nn.MultiheadAttention:
    """PyTorch's layer in float64, with biases that are not zero."""
    torch.manual_seed(0)
    options = {"batch_first": True, "dtype": torch.float64, **options}
    theirs = nn.MultiheadAttention(D_MODEL, HEADS, **options)
    for parameter in theirs.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter)
    return theirs


@pytest.mark.parametrize("cross", [False, True], ids=["self", "cross"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_layer_equals_torch(cross: bool, bias: bool, batch_first: bool, masked: bool) -> None:
    """With the same weights, output, weights and gradients of `nn.MultiheadAttention`."""
    theirs = torch_layer(bias=bias, batch_first=batch_first)
    ours = MultiHeadAttention.from_torch(theirs)
    x = normal(3, 5, D_MODEL)
    context = normal(3, 8, D_MODEL, seed=1) if cross else x
    allowed = normal(5, context.shape[1], seed=2) > -0.5
    allowed[:, 0] = True
    padding = padding_mask(torch.tensor([5, 3, 1]), context.shape[1])
    mask = allowed & padding if masked else None
    how = {"attn_mask": ~allowed, "key_padding_mask": ~padding[:, 0]} if masked else {}
    flip = (lambda t: t) if batch_first else (lambda t: t.transpose(0, 1))
    inputs = flip(x), flip(context), flip(context)
    their_y, their_weights = theirs(*inputs, **how, average_attn_weights=False)
    their_y = flip(their_y)
    given_context = context if cross else None
    fused = ours(x, given_context, mask)
    explicit, weights = ours.with_weights(x, given_context, mask)
    torch.testing.assert_close(weights, their_weights, rtol=0, atol=1e-12)
    leaves = [x, context] if cross else [x]
    for y in (fused, explicit):
        torch.testing.assert_close(y, their_y, rtol=0, atol=1e-12)
        assert_same_gradients(y, their_y, leaves)
    direction = torch.linspace(-1, 1, fused.numel(), dtype=fused.dtype).view_as(fused)
    fused.backward(direction, retain_graph=True)
    their_y.backward(direction)
    assert theirs.in_proj_weight.grad is not None
    parts = (ours.query, ours.key, ours.value)
    mine = torch.cat([p.weight.grad for p in parts])  # type: ignore[misc]
    torch.testing.assert_close(mine, theirs.in_proj_weight.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.out.weight.grad, theirs.out_proj.weight.grad)


@pytest.mark.parametrize("kv_heads", [1, 2, 3, 6])
def test_grouped_queries_are_full_attention_with_repeated_heads(kv_heads: int) -> None:
    """Sharing a key head is having it several times: neighbours share, as everywhere."""
    shared = layer(num_kv_heads=kv_heads)
    full = layer()
    full.query, full.out = shared.query, shared.out
    for name in ("key", "value"):
        linear: nn.Linear = getattr(shared, name)
        for part in ("weight", "bias"):
            rows = getattr(linear, part).unflatten(0, (kv_heads, -1))
            repeated = rows.repeat_interleave(HEADS // kv_heads, dim=0).flatten(0, 1)
            setattr(getattr(full, name), part, nn.Parameter(repeated.detach()))
    x, mask = normal(2, 7, D_MODEL), causal_mask(7)
    torch.testing.assert_close(shared(x, mask=mask), full(x, mask=mask))
    ours, theirs = (heads.with_weights(x, mask=mask) for heads in (shared, full))
    torch.testing.assert_close(ours, theirs)


def test_fewer_key_heads_have_fewer_weights() -> None:
    """Query and output projections stay; keys and values shrink with their heads."""
    counts = {
        k: sum(p.numel() for p in MultiHeadAttention(512, 8, k).parameters()) for k in (8, 2, 1)
    }
    square = 512 * 512 + 512
    assert counts[8] == 4 * square == 1_050_624
    assert counts[2] == 2 * square + 2 * (512 * 128 + 128)
    assert counts[1] == 2 * square + 2 * (512 * 64 + 64)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 3), st.integers(0, 9), st.integers(0, 9), st.sampled_from([1, 2, 4]),
    st.booleans(), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_causal_by_name_equals_the_mask(
    batch: int, cached: int, new: int, kv_heads: int, padded: bool, weights: bool, seed: int
) -> None:
    """Forward and every gradient, after so many cached positions, with and without padding."""
    torch.manual_seed(seed)
    layer = MultiHeadAttention(16, 4, kv_heads).double()
    x = torch.randn(batch, new, 16, dtype=torch.float64, requires_grad=True)
    before = torch.randn(2, batch, kv_heads, cached, 4, dtype=torch.float64, requires_grad=True)

    def past(*now: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = (torch.cat(pair, dim=2) for pair in zip(before, now, strict=True))
        return keys, values

    mask = causal_mask(cached + new)[cached:]
    padding = torch.rand(batch, 1, cached + new) < 0.7 if padded else None
    both = mask if padding is None else mask & padding
    call = (lambda *a, **k: layer.with_weights(*a, **k)[0]) if weights else layer
    named, masked = call(x, mask=padding, causal=True, past=past), layer(x, mask=both, past=past)
    torch.testing.assert_close(named, masked, rtol=0, atol=1e-12)
    leaves = (x, before, *layer.parameters())
    direction = torch.randn_like(named)
    mine, yours = (torch.autograd.grad(out, leaves, direction) for out in (named, masked))
    for one, other in zip(mine, yours, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("padded", [False, True])
def test_the_kernel_is_told_that_attention_is_causal(
    padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name, not by a mask, where nothing else is hidden; it then does half of the work."""
    told: list[tuple[bool, bool]] = []

    def kernel(*args: Any, **options: Any) -> Any:
        told.append((options["is_causal"], args[3] is None))
        return sdpa(*args, **options)

    sdpa: Any = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", kernel)
    mask = torch.ones(2, 1, 5, dtype=torch.bool) if padded else None
    MultiHeadAttention(8, 2)(torch.randn(2, 5, 8), mask=mask, causal=True)
    assert told == [(not padded, not padded)]


@pytest.mark.parametrize(("batch", "query", "key"), [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0)])
@pytest.mark.parametrize("weights", [False, True])
def test_nothing_is_as_in_torch(batch: int, query: int, key: int, weights: bool) -> None:
    """No text, no position that looks, or none that is looked at: shapes and values are theirs."""
    theirs = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    ours = MultiHeadAttention.from_torch(theirs)
    x, context = (torch.randn(batch, n, 8, dtype=torch.float64) for n in (query, key))
    mine = ours.with_weights(x, context)[0] if weights else ours(x, context)
    assert mine.shape == (batch, query, 8)
    if key:
        torch.testing.assert_close(mine, theirs(x, context, context)[0])
    else:  # nothing is taken up: the output layer sees zeros
        torch.testing.assert_close(mine, theirs.out_proj.bias.expand_as(mine))
    assert ours(x, causal=True).shape == x.shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_of_sixteen_bits_do_not_overflow(dtype: torch.dtype) -> None:
    """Products of queries and keys are above 65,504 before they are divided, and below after."""
    query, key, value = (normal(3, 64, seed=seed).detach().to(dtype) for seed in range(3))
    query, key = 64 * query.sign(), 64 * key.sign()
    assert (query.float() @ key.float().T).abs().max() > 65_504
    expected, _ = attention(query.double(), key.double(), value.double())
    torch.testing.assert_close(
        attention(query, key, value)[0].double(), expected, rtol=0.01, atol=0.01
    )


@pytest.mark.parametrize("kv_heads", [1, 6])
@pytest.mark.parametrize("weights", [False, True])
def test_causal_mask_hides_the_future(kv_heads: int, weights: bool) -> None:
    """A change moves its own position and later ones, never an earlier one by a bit."""
    ours, x = layer(num_kv_heads=kv_heads), normal(2, 7, D_MODEL).detach()
    changed = x.clone()
    changed[:, 4] += 1
    look = (lambda *args: ours.with_weights(*args)[0]) if weights else ours
    before, after = (look(t, None, causal_mask(7)) for t in (x, changed))
    moved = (before - after).abs().amax(dim=(0, 2))
    assert not moved[:4].any()
    assert (moved[4:] > 1e-6).all()


def test_padding_is_not_attended_and_items_do_not_mix() -> None:
    """What stands behind a text's end, or in another text, moves nothing in it."""
    ours, x = layer(), normal(3, 7, D_MODEL).detach()
    mask = padding_mask(torch.tensor([7, 4, 7]), 7)
    changed = x.clone()
    changed[1, 4:] += 100
    changed[2] += 1
    moved = (ours(x, mask=mask) - ours(changed, mask=mask)).abs().amax(-1)
    assert not moved[0].any()
    assert not moved[1, :4].any()
    assert (moved[2] > 1e-6).any()
    torch.testing.assert_close(ours(x, mask=mask)[1, :4], ours(x[1:2, :4])[0])


def test_context_order_does_not_matter_but_masked_context_does_not_count() -> None:
    """Cross-attention averages over a set."""
    ours, x, context = layer(), normal(1, 3, D_MODEL), normal(1, 8, D_MODEL, seed=1)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x, context[:, order]), ours(x, context))
    mask = torch.arange(8).expand(3, 8) < 5
    torch.testing.assert_close(ours(x, context, mask), ours(x, context[:, :5]))


def test_alibi_and_rotary_reach_the_scores() -> None:
    """Both make the weights depend on distance: equal vectors are no longer weighed equally."""
    ours = layer()
    x = normal(1, 1, D_MODEL).expand(1, 5, D_MODEL)
    _, flat = ours.with_weights(x)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.2))
    for how in (
        {"bias": alibi(HEADS, 5).double()},
        {"rotary": rotary_tables(torch.arange(5), D_MODEL // HEADS, 10, torch.float64)},
    ):
        output, weights = ours.with_weights(x, **how)
        assert (weights - flat).abs().max() > 1e-3
        torch.testing.assert_close(ours(x, **how), output)


def test_dropout_acts_on_weights_in_training_alone() -> None:
    """In eval mode nothing is drawn; while training a dropped weight is a missing value."""
    ours, x = layer(dropout=0.5), normal(2, 5, D_MODEL)
    assert not torch.equal(ours(x), ours(x))
    assert not torch.equal(ours.with_weights(x)[0], ours.with_weights(x)[0])
    ours.eval()
    assert torch.equal(ours(x), ours(x))
    _, weights = layer(dropout=0.5).with_weights(x)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, HEADS, 5, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_from_torch_keeps_the_layers_state(dtype: torch.dtype, training: bool) -> None:
    """Dtype, device, dropout and mode come along; nothing is shared, no random number drawn."""
    theirs = torch_layer(dtype=dtype, dropout=0.3).train(training)
    state = torch.get_rng_state()
    ours = MultiHeadAttention.from_torch(theirs)
    assert torch.equal(torch.get_rng_state(), state)
    assert {p.dtype for p in ours.parameters()} == {dtype}
    assert all(module.training is training for module in ours.modules())
    assert ours.dropout == 0.3
    assert all(p.requires_grad for p in ours.parameters())
    storage = {p.untyped_storage().data_ptr() for p in theirs.parameters()}
    assert not storage & {p.untyped_storage().data_ptr() for p in ours.parameters()}
    meta = MultiHeadAttention.from_torch(torch_layer(device="meta"))
    assert {p.device.type for p in meta.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kdim": 8}, "kdim and vdim must be embed_dim = 24, got 8 and 24"),
        ({"vdim": 8}, "kdim and vdim must be embed_dim = 24, got 24 and 8"),
        ({"add_bias_kv": True}, "add_bias_kv and add_zero_attn are not supported"),
        ({"add_zero_attn": True}, "add_bias_kv and add_zero_attn are not supported"),
    ],
)
def test_from_torch_names_what_it_does_not_support(options: dict[str, Any], message: str) -> None:
    """A layer that ours cannot equal is refused instead of half copied."""
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention.from_torch(torch_layer(**options))


@pytest.mark.plain
def test_from_torch_refuses_other_things() -> None:
    """The error names what came."""
    with pytest.raises(TypeError, match=r"need an nn.MultiheadAttention, got Linear"):
        MultiHeadAttention.from_torch(nn.Linear(2, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((10, 3, None), "num_heads must divide d_model, got d_model=10 and num_heads=3"),
        ((12, 6, 4), "num_kv_heads must divide num_heads, got num_kv_heads=4 and num_heads=6"),
        ((0, 1, None), "must be positive, got 0, 1 and 1"),
        ((8, 0, None), "must be positive, got 8, 0 and 0"),
        ((8, 2, 0), "must be positive, got 8, 2 and 0"),
    ],
)
def test_impossible_sizes_are_named(sizes: tuple[int, int, int | None], message: str) -> None:
    """Heads that do not divide are refused when the layer is built."""
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(*sizes)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, x: f(x[0]), "x must have the shape (batch, seq, d_model = 24), got (5, 24)"),
        (lambda f, x: f(x[..., :8]), "got (2, 5, 8)"),
        (lambda f, x: f(x, x[:, :, :8]), "context must have the shape (batch, seq, d_model = 24)"),
        (lambda f, x: f(x, x[:1]), "context must have x's batch of 2, got 1"),
        (lambda f, x: f(x, mask=torch.ones(5, 5)), "mask must be boolean"),
        (
            lambda f, x: f(x, mask=torch.ones(2, 5, dtype=torch.bool)),
            "mask of shape (2, 5) does not broadcast to the scores' (2, 5, 5)",
        ),
        (
            lambda f, x: f(x, x[:, :3], mask=torch.ones(5, 5, dtype=torch.bool)),
            "mask of shape (5, 5) does not broadcast to the scores' (2, 5, 3)",
        ),
    ],
)
def test_what_does_not_fit_is_named(call: Any, message: str) -> None:
    """The argument, what came and what was expected."""
    with pytest.raises(ValueError, match=re.escape(message)):
        call(layer(), normal(2, 5, D_MODEL))


@pytest.mark.plain
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 4), (5, 6), (5, 4)), "same last axis, got shapes (3, 4) and (5, 6)"),
        (((3, 4), (5, 4), (6, 4)), "as many positions, got shapes (5, 4) and (6, 4)"),
    ],
)
def test_shapes_that_do_not_meet_are_named(shapes: Any, message: str) -> None:
    """The function says which two."""
    with pytest.raises(ValueError, match=re.escape(message)):
        attention(*(normal(*shape) for shape in shapes))
