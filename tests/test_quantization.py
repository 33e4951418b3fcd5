import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from llmbook.generation import generate
from llmbook.llama import Llama, LlamaConfig
from llmbook.quantization import (
    Int8Linear,
    from_q8_0,
    int8_product,
    normal_float,
    q8_0,
    quantize,
    quantize_to,
    stored_bits,
    to_int8,
)
from tests.reference import saved
from tests.reference.bitsandbytes import SHAPES, weights

Q8_0 = gguf.GGMLQuantizationType.Q8_0
CONFIG = LlamaConfig(
    vocab_size=50, d_model=16, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=40, max_len=32
)


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.sampled_from([32, 64])),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_q8_0_is_ggufs_bit_for_bit_and_comes_back_as_ggufs(array) -> None:  # type: ignore[no-untyped-def]
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # of denormal numbers, whose inverse has no float
        expected = gguf.quants.quantize(array, Q8_0)
    data = q8_0(array)
    if np.abs(array).max() > 1e-30 or not array.any():
        assert data == expected.tobytes()
    np.testing.assert_array_equal(
        from_q8_0(expected.tobytes(), array.shape), gguf.quants.dequantize(expected, Q8_0)
    )


def test_halves_are_rounded_away_from_zero_as_in_c() -> None:
    block = np.zeros(32, np.float32)
    block[:5] = [127, 0.5, -0.5, 1.5, 2.5]
    codes = np.frombuffer(q8_0(block), np.int8)[2:7]
    assert codes.tolist() == [127, 1, -1, 2, 3]
    assert q8_0(block) == gguf.quants.quantize(block, Q8_0).tobytes()


def test_a_block_of_32_numbers_takes_34_bytes_and_8_and_a_half_bits_each() -> None:
    assert len(q8_0(np.ones(96))) == 3 * 34
    assert 8 * 34 / 32 == stored_bits(8, 32) == 8.5


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 4),
    groups=st.integers(1, 4),
    group=st.integers(1, 6),
    bits=st.integers(2, 8),
    seed=st.integers(0, 99),
)
def test_no_weight_is_off_by_more_than_half_a_step_of_its_group_and_the_largest_by_nothing(  # type: ignore[no-untyped-def]
    rows, groups, group, bits, seed
) -> None:
    weight = torch.randn(
        rows, groups * group, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    coded = quantize(weight, bits, group)
    off = (coded.dequantize() - weight).abs().view(rows, groups, group)
    assert (off <= coded.scales[..., None] / 2 + 1e-12).all()
    largest = weight.view(rows, groups, group).abs().argmax(-1, keepdim=True)
    assert off.gather(-1, largest).max() < 1e-12
    assert coded.codes.abs().max() == 2 ** (bits - 1) - 1


def test_by_hand() -> None:
    coded = quantize(torch.tensor([[1.0, -7.0, 3.4, 0.0, 0.0, 0.0]]), bits=4, group=3)
    assert coded.codes.tolist() == [[1, -7, 3, 0, 0, 0]]
    assert coded.scales.tolist() == [[1.0, 0.0]]
    assert coded.dequantize().tolist() == [[1.0, -7.0, 3.0, 0.0, 0.0, 0.0]]


def test_the_values_of_nf4_are_those_of_bitsandbytes_but_for_their_rounding() -> None:
    """Their table was made in single precision, with q = 0.9677083."""
    ours, theirs = normal_float(4), torch.as_tensor(saved("bitsandbytes")["table"])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-7)
    assert ours[7] == 0
    assert ours[0] == -1 == -ours[-1]


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_with_their_table_nf4_is_bitsandbytes_bit_for_bit(number: int) -> None:
    theirs = saved("bitsandbytes")
    coded = quantize_to(weights(number), torch.as_tensor(theirs["table"]))
    for name, ours in (
        ("codes", coded.codes),
        ("scales", coded.scales),
        ("weights", coded.dequantize()),
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs[f"{number}/{name}"])
    assert torch.equal(coded.codes, quantize_to(weights(number), normal_float()).codes)


@settings(max_examples=40, deadline=None)
@given(bits=st.integers(2, 8))
def test_a_normal_float_has_all_its_values_in_order_and_one_is_zero(bits: int) -> None:
    values = normal_float(bits)
    assert len(values) == 2**bits
    assert (values.diff() > 0).all()
    assert (values == 0).sum() == 1
    assert (values > 0).sum() == (values < 0).sum() + 1


def test_between_two_values_on_a_side_lies_the_same_share_of_normal_weights() -> None:
    values = normal_float(4)
    cdf = torch.special.ndtr(values[8:].double() * torch.special.ndtri(torch.tensor(0.9677083)))
    torch.testing.assert_close(cdf.diff(), torch.full((7,), (0.9677083 - 0.5) / 8).double())


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 3),
    groups=st.integers(1, 3),
    bits=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_each_weight_goes_to_the_nearest_value_and_the_largest_stays(
    rows: int, groups: int, bits: int, seed: int
) -> None:
    weight = torch.randn(rows, 8 * groups, generator=torch.Generator().manual_seed(seed)).double()
    values = normal_float(bits)
    coded = quantize_to(weight, values, group=8)
    every = coded.scales.repeat_interleave(8, -1)[..., None] * values.double()
    nearest = (weight[..., None] - every).abs().min(-1).values
    torch.testing.assert_close((coded.dequantize() - weight).abs(), nearest, rtol=0, atol=1e-12)
    largest = weight.view(rows, groups, 8).abs().argmax(-1, keepdim=True)
    left = coded.dequantize().view(rows, groups, 8).gather(-1, largest)
    torch.testing.assert_close(
        left.abs(), weight.view(rows, groups, 8).gather(-1, largest).abs(), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("count", [2, 16, 32, 33, 200])
def test_what_lies_in_the_middle_between_two_values_goes_to_the_lower(count: int) -> None:
    """With few values, which are compared one by one, as with many."""
    values = torch.linspace(-1, 1, count)
    weight = torch.cat([torch.ones(1), (values[:-1] + values[1:]) / 2])  # the scale is 1
    codes = quantize_to(weight, values, group=count).codes.tolist()
    assert codes == [count - 1, *range(count - 1)]


def test_normal_weights_lose_less_by_nf4_and_even_ones_less_by_even_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (64, 1024)
    for name, weight in (
        ("normal", torch.randn(shape, generator=generator)),
        ("even", 2 * torch.rand(shape, generator=generator) - 1),
    ):
        nf4, even = (
            (coded.dequantize() - weight).square().mean()
            for coded in (quantize_to(weight, normal_float()), quantize(weight, 4, 64))
        )
        assert (nf4 < even) == (name == "normal")


def test_evenly_spaced_values_are_absmax_quantisation() -> None:
    weight = torch.randn(4, 128, generator=torch.Generator().manual_seed(0))
    evenly = quantize_to(weight, torch.arange(-7, 8) / 7)
    torch.testing.assert_close(evenly.dequantize(), quantize(weight, 4, 64).dequantize())


def test_one_large_weight_spoils_its_group_and_no_other() -> None:
    weight = torch.full((1, 64), 0.01)
    weight[0, 0] = 10.0
    assert quantize(weight, 8).dequantize()[0, 32:].abs().max() == 0
    torch.testing.assert_close(quantize(weight, 8, group=32).dequantize()[0, 32:], weight[0, 32:])


@settings(max_examples=20, deadline=None)
@given(rows=st.sampled_from([1, 3, 40]), bias=st.booleans())
def test_a_layer_of_bytes_gives_what_its_rounded_weights_give(rows, bias) -> None:  # type: ignore[no-untyped-def]
    linear = nn.Linear(32, 48, bias)
    layer, x = Int8Linear(linear), torch.randn(rows, 32)
    exact = nn.functional.linear(x, quantize(linear.weight).dequantize(), linear.bias)
    torch.testing.assert_close(layer(x), exact, rtol=1e-5, atol=1e-5)
    with torch.no_grad():  # few rows go through a kernel with activations of 16 bits
        torch.testing.assert_close(layer(x), exact, rtol=0, atol=0.05)


def test_the_product_carries_gradients_to_its_input() -> None:
    codes, scales = torch.tensor([[2, -3]], dtype=torch.int8), torch.tensor([0.5])
    x = torch.tensor([[1.0, 1.0]], requires_grad=True)
    int8_product(x, codes, scales).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, -1.5]]


def test_a_llama_of_bytes_says_nearly_the_same_and_leaves_the_other_alone() -> None:
    torch.manual_seed(0)
    model = Llama(CONFIG)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    rounded = to_int8(model)
    token_ids = torch.randint(50, (2, 20))
    torch.testing.assert_close(rounded(token_ids), model(token_ids), rtol=0, atol=0.02)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert not any(isinstance(module, nn.Linear) for module in rounded.modules())
    assert len(list(generate(rounded, [1, 2, 3], 5))) == 5


def test_a_head_of_its_own_is_rounded_too() -> None:
    from dataclasses import replace

    torch.manual_seed(0)
    model = Llama(replace(CONFIG, tied=False))
    token_ids = torch.randint(50, (1, 20))
    torch.testing.assert_close(to_int8(model)(token_ids), model(token_ids), rtol=0, atol=0.02)


@pytest.mark.model
def test_smollm2_in_bytes_stays_near_itself() -> None:
    from llmbook.pretrained import smollm2

    model, tokenizer = smollm2()
    token_ids = torch.tensor(
        [tokenizer.encode("The capital of France is Paris, and that of Italy is Rome.")]
    )
    with torch.inference_mode():
        exact, rounded = (m(token_ids)[0].log_softmax(-1) for m in (model, to_int8(model)))
    divergence = (exact.exp() * (exact - rounded)).sum(-1)
    assert divergence.max() < 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_weights_can_be_rounded(dtype: torch.dtype) -> None:
    weight = torch.randn(3, 8).to(dtype)
    assert quantize(weight, 8).dequantize().dtype == dtype
    coded = quantize_to(weight, normal_float(), group=8)  # in single precision, as bitsandbytes
    assert coded.dequantize().dtype == torch.float32


@pytest.mark.plain
def test_what_does_not_fit_is_named() -> None:
    weight = torch.ones(2, 6)
    for bits in (1, 9):
        with pytest.raises(ValueError, match=f"bits must be from 2 to 8, got {bits}"):
            quantize(weight, bits)
    with pytest.raises(ValueError, match="group must divide the row of 6, got 4"):
        quantize(weight, 8, 4)
    with pytest.raises(ValueError, match="group must divide the row of 6, got 0"):
        quantize(weight, 8, 0)
    with pytest.raises(ValueError, match=r"numbers in its rows, got shape \(2, 0\)"):
        quantize(torch.ones(2, 0))
    with pytest.raises(ValueError, match="weight must be finite"):
        quantize(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(ValueError, match="bits must be from 2 to 8, got 1"):
        normal_float(1)
    with pytest.raises(ValueError, match="group must divide the row of 6, got 64"):
        quantize_to(weight, normal_float())
    for values in ([0.0, 0.0], [0.5], [0.0, 2.0], [1.0, 0.0]):
        with pytest.raises(ValueError, match="values must be 2 to 256 numbers from -1 to 1"):
            quantize_to(weight, torch.tensor(values), 6)
    with pytest.raises(
        ValueError, match=r"rows that 32 divides, and at least one, got shape \(2, 33\)"
    ):
        q8_0(np.ones((2, 33)))
    with pytest.raises(ValueError, match="at least one, got shape"):
        q8_0(np.ones((0, 32)))
    with pytest.raises(ValueError, match="array must be finite"):
        q8_0(np.full(32, np.inf))
    with pytest.raises(ValueError, match=r"array must be finite and within"):
        q8_0(np.full(32, 1e8))
    with pytest.raises(ValueError, match="whole blocks of 34 bytes, got 35"):
        from_q8_0(b"0" * 35)
    with pytest.raises(ValueError, match=r"shape must hold 32 numbers, got \(3, 3\)"):
        from_q8_0(b"0" * 34, (3, 3))
