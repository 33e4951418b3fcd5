"""`llmbook.positions` by their formulas, their geometry, and against transformers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig, T5Config
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.t5.modeling_t5 import T5Attention

from llmbook.positions import (
    LearnedPositions,
    RelativeBias,
    alibi,
    alibi_slopes,
    halves_to_neighbours,
    relative_buckets,
    rotary_tables,
    rotate,
    shift_matrix,
    sinusoidal,
)

LAYOUTS = ["halves", "neighbours"]


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same at each call."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_each_number_is_the_papers_formula() -> None:
    """Written out once more, number by number, as the paper has it."""
    rows = sinusoidal(50, 16)
    for position in (0, 1, 7, 49):
        for i in range(8):
            angle = position / 10_000 ** (2 * i / 16)
            assert rows[position, 2 * i] == pytest.approx(math.sin(angle), abs=1e-12)
            assert rows[position, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-12)


@given(st.integers(0, 200), st.integers(-100, 100), st.sampled_from([2, 8, 64]))
def test_one_matrix_shifts_every_position(position: int, steps: int, d_model: int) -> None:
    """Relative position is a linear map of the encoding, the same wherever it is applied."""
    if position + steps < 0:
        steps = -steps
    rows = sinusoidal(position + abs(steps) + 1, d_model)
    shifted = shift_matrix(steps, d_model) @ rows[position]
    np.testing.assert_allclose(shifted, rows[position + steps], atol=1e-12)


@given(st.integers(-50, 50), st.integers(-50, 50))
def test_shifts_add_up_and_keep_lengths(first: int, second: int) -> None:
    """Shifting twice is shifting by the sum, and every shift is a rotation."""
    both = shift_matrix(first, 8) @ shift_matrix(second, 8)
    np.testing.assert_allclose(both, shift_matrix(first + second, 8), atol=1e-12)
    np.testing.assert_allclose(both @ both.T, np.eye(8), atol=1e-12)


def test_the_dot_product_of_two_positions_depends_on_their_distance_alone() -> None:
    """Every diagonal of the matrix of dot products is constant."""
    rows = sinusoidal(40, 32)
    products = rows @ rows.T
    for distance in range(40):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-12)
    np.testing.assert_allclose(np.diagonal(products), 16)


@pytest.mark.parametrize("d_model", [0, -2, 5])
def test_an_odd_or_empty_width_is_refused(d_model: int) -> None:
    """The hands come in pairs of sine and cosine."""
    with pytest.raises(ValueError, match=f"d_model must be even and positive, got {d_model}"):
        sinusoidal(3, d_model)
    with pytest.raises(ValueError, match=f"got {d_model}"):
        shift_matrix(3, d_model)


def test_a_negative_length_is_refused() -> None:
    """No positions is an empty array; fewer is a mistake."""
    assert sinusoidal(0, 4).shape == (0, 4)
    with pytest.raises(ValueError, match="seq must not be negative, got -1"):
        sinusoidal(-1, 4)


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transformers compute rotary tables in the model's dtype, not in float32."""

    def tables(self: Any, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        d_head, base = self.config.head_dim, self.config.rope_parameters["rope_theta"]
        inverse = 1.0 / (base ** (torch.arange(0, d_head, 2, dtype=x.dtype) / d_head))
        angles = position_ids[..., None].to(x.dtype) * inverse
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()

    monkeypatch.setattr(LlamaRotaryEmbedding, "forward", tables)


def assert_rotary_equals_transformers(dtype: torch.dtype, base: float, d_head: int) -> None:
    """Rotated queries and keys, and the gradients through them, are theirs."""
    config = LlamaConfig(
        hidden_size=d_head,
        num_attention_heads=1,
        head_dim=d_head,
        rope_parameters={"rope_type": "default", "rope_theta": base},
    )
    positions = torch.tensor([0, 1, 2, 5, 99, 1000])
    query = normal(2, 3, 6, d_head, dtype=dtype).requires_grad_()
    key = normal(2, 1, 6, d_head, dtype=dtype).cos().requires_grad_()
    theirs = apply_rotary_pos_emb(query, key, *LlamaRotaryEmbedding(config)(query, positions[None]))
    rotary = rotary_tables(positions, d_head, base, dtype)
    ours = rotate(query, rotary), rotate(key, rotary)
    torch.testing.assert_close(ours, theirs)
    gradients = [
        torch.autograd.grad((q.square() * k.tanh()).sum(), (query, key)) for q, k in (ours, theirs)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("base", [10_000, 123.4])
@pytest.mark.parametrize("d_head", [2, 6, 64])
@pytest.mark.usefixtures("in_double")
def test_rotary_equals_transformers(base: float, d_head: int) -> None:
    """In float64, with their float32 detour lifted, forward and backward."""
    assert_rotary_equals_transformers(torch.float64, base, d_head)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotary_equals_transformers_as_it_is(dtype: torch.dtype) -> None:
    """Coarse dtypes get tables as good as theirs, also far into a text."""
    assert_rotary_equals_transformers(dtype, 10_000, 64)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rotation_is_complex_multiplication(layout: str) -> None:
    """A pair as a complex number, times exp(i p b^(-2i/d))."""
    x, positions = normal(2, 3, 5, 8), torch.tensor([0, 1, 2, 7, 300])
    pairs = x.view(2, 3, 5, 4, 2) if layout == "neighbours" else x.view(2, 3, 5, 2, 4).mT
    angles = positions[:, None] * 100.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    turned = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.exp(1j * angles))
    expected = (turned if layout == "neighbours" else turned.mT).flatten(-2)
    rotary = rotary_tables(positions, 8, 100, torch.float64, layout=layout)
    torch.testing.assert_close(rotate(x, rotary, layout=layout), expected)


@settings(deadline=None)
@given(
    first=st.integers(0, 500),
    second=st.integers(0, 500),
    shift=st.integers(0, 500),
    base=st.floats(2, 1e6),
    d_head=st.sampled_from([2, 6, 12]),
    layout=st.sampled_from(LAYOUTS),
)
def test_rotated_products_depend_on_the_distance_alone(
    first: int, second: int, shift: int, base: float, d_head: int, layout: str
) -> None:
    """A rotated query and key keep their product when both move on, and their lengths anyway."""
    pair, products = normal(2, d_head), []
    for positions in ([first, second], [first + shift, second + shift]):
        rotary = rotary_tables(torch.tensor(positions), d_head, base, torch.float64, layout=layout)
        turned = rotate(pair, rotary, layout=layout)
        torch.testing.assert_close(turned.norm(dim=-1), pair.norm(dim=-1))
        products.append(turned[0] @ turned[1])
    torch.testing.assert_close(*products)


@given(st.integers(1, 40), st.integers(1, 5))
def test_one_permutation_leads_from_layout_to_layout(half: int, seq: int) -> None:
    """Reordering and then turning neighbours is turning halves and then reordering."""
    d_head, positions = 2 * half, torch.arange(seq)
    order, x = halves_to_neighbours(d_head), normal(3, seq, d_head)
    halves = rotary_tables(positions, d_head, dtype=x.dtype)
    neighbours = rotary_tables(positions, d_head, dtype=x.dtype, layout="neighbours")
    turned = rotate(x[..., order], neighbours, layout="neighbours")
    torch.testing.assert_close(turned, rotate(x, halves)[..., order])
    assert torch.equal(turned[..., order.argsort()][..., order], turned)
    assert order.tolist() == [i // 2 + half * (i % 2) for i in range(d_head)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rotation_reads_each_position_by_itself(layout: str) -> None:
    """A change at one position of one text reaches no other, and position 0 stays as it is."""
    x, rotary = (
        normal(3, 5, 8),
        rotary_tables(torch.arange(5), 8, dtype=torch.float64, layout=layout),
    )
    changed = x.clone()
    changed[1, 2] += 1
    before, after = (rotate(some, rotary, layout=layout) for some in (x, changed))
    moved = (before != after).any(dim=-1)
    assert moved.nonzero().tolist() == [[1, 2]]
    assert torch.equal(before[:, 0], x[:, 0])


@pytest.mark.parametrize("d_head", [0, -2, 5])
def test_an_odd_or_empty_head_is_refused(d_head: int) -> None:
    """Its numbers are turned in pairs."""
    for function in (halves_to_neighbours, lambda d: rotary_tables(torch.arange(3), d)):
        with pytest.raises(ValueError, match=f"d_head must be even and positive, got {d_head}"):
            function(d_head)


def test_an_unknown_layout_is_refused() -> None:
    """By name, wherever it is given."""
    message = "layout must be 'halves' or 'neighbours', got 'interleaved'"
    with pytest.raises(ValueError, match=message):
        rotary_tables(torch.arange(3), 4, layout="interleaved")
    with pytest.raises(ValueError, match=message):
        rotate(torch.zeros(3, 4), rotary_tables(torch.arange(3), 4), layout="interleaved")


@pytest.mark.parametrize("seq", [0, 1, 5, 9])
def test_learned_positions_equal_an_embedding(seq: int) -> None:
    """Forward, and the gradients of input and table: rows that no position reads get none."""
    table, x = nn.Embedding(9, 4, dtype=torch.float64), normal(3, seq, 4).requires_grad_()
    layer = LearnedPositions.from_torch(table)
    ours, theirs = layer(x), x + table(torch.arange(seq))
    assert torch.equal(ours, theirs)
    gradients = [
        torch.autograd.grad(y.square().sum(), (x, weight))
        for y, weight in ((ours, layer.weight), (theirs, table.weight))
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_learned_positions_keep_the_embeddings_state(dtype: torch.dtype, training: bool) -> None:
    """Dtype, device and training mode come along; memory is not shared, nothing is drawn."""
    table, state = nn.Embedding(9, 4, dtype=dtype).train(training), torch.get_rng_state()
    layer = LearnedPositions.from_torch(table)
    assert torch.equal(torch.get_rng_state(), state)
    assert (layer.weight.dtype, layer.training) == (dtype, training)
    assert layer.weight.requires_grad
    assert layer.weight.data_ptr() != table.weight.data_ptr()
    assert LearnedPositions.from_torch(table.to("meta")).weight.is_meta


def test_fresh_learned_positions_are_small_and_differ() -> None:
    """Drawn around zero with the standard deviation that GPT and BERT take."""
    weight = LearnedPositions(200, 100).weight
    assert weight.shape == (200, 100)
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert weight.mean().abs() < 1e-3


def test_impossible_learned_positions_are_named() -> None:
    """Sizes when the layer is made, lengths when it runs."""
    with pytest.raises(ValueError, match="max_len and d_model must be positive, got 0 and 4"):
        LearnedPositions(0, 4)
    with pytest.raises(ValueError, match="x must have at most max_len=9 positions, got 10"):
        LearnedPositions(9, 4)(torch.zeros(1, 10, 4))
    for options in ({"padding_idx": 1}, {"max_norm": 2.0}):
        with pytest.raises(ValueError, match="padding_idx and max_norm must be None, got"):
            LearnedPositions.from_torch(nn.Embedding(9, 4, **options))


@pytest.mark.plain
def test_learned_positions_name_what_they_cannot_take() -> None:
    """Another shape than (batch, seq, d_model), or another layer than an embedding."""
    for shape in ((9, 4), (1, 9, 5)):
        with pytest.raises(ValueError, match=r"x must have the shape \(batch, seq, d_model = 4\)"):
            LearnedPositions(9, 4)(torch.zeros(shape))
    with pytest.raises(TypeError, match=r"need an nn\.Embedding, got Linear"):
        LearnedPositions.from_torch(nn.Linear(9, 4))  # type: ignore[arg-type]


def papers_slopes(num_heads: int) -> list[float]:
    """The recursion in the ALiBi paper's own code."""
    if math.log2(num_heads).is_integer():
        start = 2 ** (-(2 ** -(math.log2(num_heads) - 3)))
        return [start * start**i for i in range(num_heads)]
    closest = 2 ** math.floor(math.log2(num_heads))
    return papers_slopes(closest) + papers_slopes(2 * closest)[0::2][: num_heads - closest]


@pytest.mark.parametrize("num_heads", [*range(1, 34), 48, 112])
def test_alibi_slopes_are_the_papers(num_heads: int) -> None:
    """For any number of heads, powers of two or not."""
    expected = torch.tensor(papers_slopes(num_heads), dtype=torch.float64)
    torch.testing.assert_close(alibi_slopes(num_heads, torch.float64), expected)
    assert alibi_slopes(num_heads).dtype == torch.float32


@pytest.mark.parametrize("num_heads", [1, 2, 6, 8, 12, 16])
@pytest.mark.parametrize("seq", [1, 7, 30])
def test_alibi_equals_transformers(num_heads: int, seq: int) -> None:
    """Up to a constant in each row, which softmax does not see, where a causal mask lets see."""
    theirs = build_alibi_tensor(torch.ones(1, seq), num_heads, torch.float64)
    difference = alibi(num_heads, seq, torch.float64) - theirs
    causal = torch.ones(seq, seq, dtype=torch.bool).tril()
    expected = difference[..., :1].expand_as(difference)  # every query sees the first key
    torch.testing.assert_close(difference[:, causal], expected[:, causal], atol=1e-5, rtol=0)
    if seq > 2:
        assert (difference - expected)[:, ~causal].abs().max() > 0.001


def test_alibi_counts_both_directions() -> None:
    """It is symmetric, zero at home, and falls by its slope with each step."""
    bias = alibi(5, 9, torch.float64)
    assert torch.equal(bias, bias.mT)
    assert not bias.diagonal(dim1=1, dim2=2).any()
    steps = bias.diff(dim=-1).triu(0)[:, :-1]
    slopes = alibi_slopes(5, torch.float64)
    assert torch.equal(steps, (-slopes[:, None, None] * torch.ones(9, 8)).triu(0)[:, :-1])


def test_impossible_alibi_is_refused() -> None:
    """There is a head at least, and no negative length."""
    with pytest.raises(ValueError, match="num_heads must be positive, got 0"):
        alibi(0, 3)
    with pytest.raises(ValueError, match="seq must not be negative, got -1"):
        alibi(2, -1)
    assert alibi(2, 0).shape == (2, 0, 0)


def t5_attention(
    num_heads: int, num_buckets: int, max_distance: int, bidirectional: bool
) -> T5Attention:
    """Their layer, in float64."""
    config = T5Config(
        d_model=num_heads,
        d_kv=1,
        num_heads=num_heads,
        relative_attention_num_buckets=num_buckets,
        relative_attention_max_distance=max_distance,
        is_decoder=not bidirectional,
    )
    torch.manual_seed(0)
    return T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double()


SETTINGS = [
    (32, 128),
    (8, 20),
    (4, 3),
    (7, 33),
    (32, 17),
    (64, 1000),
    (18, 128),
]  # in the last, float32 decides


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), SETTINGS)
@pytest.mark.parametrize(("query_len", "key_len"), [(1, 1), (5, 13), (13, 5), (300, 300), (3, 0)])
def test_relative_bias_equals_t5(
    num_buckets: int, max_distance: int, query_len: int, key_len: int, bidirectional: bool
) -> None:
    """The numbers of all heads and the gradient of the table; the buckets one by one."""
    theirs = t5_attention(3, num_buckets, max_distance, bidirectional)
    ours = RelativeBias(3, num_buckets, max_distance, bidirectional=bidirectional).double()
    ours.load_state_dict(theirs.relative_attention_bias.state_dict())
    my_bias, (their_bias,) = ours(query_len, key_len), theirs.compute_bias(query_len, key_len)
    assert torch.equal(my_bias, their_bias)
    weights = theirs.relative_attention_bias.weight, ours.weight
    gradients = [
        torch.autograd.grad(bias.square().sum(), weight)
        for bias, weight in zip((their_bias, my_bias), weights, strict=True)
    ]
    torch.testing.assert_close(*gradients)


@settings(deadline=None)
@given(
    num_buckets=st.integers(4, 80),
    beyond=st.integers(1, 300),
    query_len=st.integers(0, 40),
    key_len=st.integers(0, 400),
    bidirectional=st.booleans(),
)
def test_relative_buckets_equal_t5(
    num_buckets: int, beyond: int, query_len: int, key_len: int, bidirectional: bool
) -> None:
    """Whatever the sizes; none is out of range, and the furthest share the last of a direction."""
    max_distance = num_buckets // (4 if bidirectional else 2) + beyond
    offset = torch.arange(key_len) - torch.arange(query_len)[:, None]
    expected = T5Attention._relative_position_bucket(
        offset, bidirectional, num_buckets, max_distance
    )
    buckets = relative_buckets(
        query_len,
        key_len,
        num_buckets=num_buckets,
        max_distance=max_distance,
        bidirectional=bidirectional,
    )
    assert torch.equal(buckets, expected)
    assert ((buckets >= 0) & (buckets < num_buckets)).all()
    if bidirectional:
        assert (buckets[offset >= max_distance] == num_buckets // 2 * 2 - 1).all()
    else:
        assert not buckets[offset >= 0].any()


def test_relative_bias_depends_on_the_distance_alone() -> None:
    """Every diagonal is constant, near distances differ, and each direction has its own."""
    bias = RelativeBias(2)(60, 60)
    for offset in range(-59, 60):
        diagonal = bias.diagonal(offset, dim1=1, dim2=2)
        assert torch.equal(diagonal, diagonal[:, :1].expand_as(diagonal))
    assert len(bias[0, 30, 15:46].unique()) == 10 + 9  # 0 to 7, 8 to 11, 12 to 15; 0 only once


def test_fresh_relative_bias_has_a_small_number_for_each_bucket_and_head() -> None:
    """And only those are trained; another device may hold them (`meta` stands for all)."""
    layer = RelativeBias(16, 512, 1000)
    assert [tuple(parameter.shape) for parameter in layer.parameters()] == [(512, 16)]
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert layer.to("meta")(3, 4).is_meta
    assert relative_buckets(3, 4, device="meta").is_meta
    assert alibi(3, 4, device="meta").is_meta


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RelativeBias(0), "num_heads must be positive, got 0"),
        (lambda: RelativeBias(2, 3), "num_buckets must be at least 4, .* got num_buckets=3"),
        (
            lambda: RelativeBias(2, 1, bidirectional=False),
            "num_buckets must be at least 2, .* got num_buckets=1",
        ),
        (
            lambda: RelativeBias(2, 32, 8),
            "max_distance more than 8, got num_buckets=32 and max_distance=8",
        ),
        (
            lambda: relative_buckets(-1, 4),
            "query_len and key_len must not be negative, got -1 and 4",
        ),
    ],
)
def test_impossible_buckets_are_named(make: Callable[[], Any], message: str) -> None:
    """When the layer is made, not when it runs."""
    with pytest.raises(ValueError, match=message):
        make()
