import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmbook.attention import causal_mask
from llmbook.sparse import local_attention, local_mask, strided_attention, strided_mask

PATTERNS = [(local_attention, local_mask), (strided_attention, strided_mask)]


def three(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(sum(shape))
    query, key, value = (
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for _ in range(3)
    )
    return query, key, value


@settings(max_examples=60, deadline=None)
@given(
    seq=st.integers(1, 150),
    reach=st.integers(1, 170),
    heads=st.integers(1, 3),
    pattern=st.sampled_from(PATTERNS),
)
def test_blocks_give_what_dense_attention_gives_under_the_mask_and_the_same_gradients(  # type: ignore[no-untyped-def]
    seq, reach, heads, pattern
) -> None:
    attend, make_mask = pattern
    inputs = three((2, heads, seq, 4))
    ours, dense = (
        attend(*inputs, reach),
        F.scaled_dot_product_attention(*inputs, make_mask(seq, reach)),
    )
    torch.testing.assert_close(ours, dense, rtol=0, atol=1e-10)
    weight = torch.linspace(-1, 1, ours.numel(), dtype=torch.float64).view(ours.shape)
    for a, b in zip(
        torch.autograd.grad((ours * weight).sum(), inputs),
        torch.autograd.grad((dense * weight).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [(70, 4), (3, 70, 4), (2, 1, 3, 70, 4)])
@pytest.mark.parametrize(("attend", "make_mask"), PATTERNS)
def test_any_leading_axes_are_carried_along(attend, make_mask, shape) -> None:  # type: ignore[no-untyped-def]
    inputs = three(shape)
    torch.testing.assert_close(
        attend(*inputs, 5),
        F.scaled_dot_product_attention(*inputs, make_mask(70, 5)),
        rtol=0,
        atol=1e-10,
    )


def test_a_window_of_one_gives_back_the_values() -> None:
    query, key, value = three((1, 200, 3))
    torch.testing.assert_close(local_attention(query, key, value, 1), value)


@pytest.mark.parametrize("attend", [local_attention, strided_attention])
def test_a_window_that_holds_the_text_is_causal_attention(attend) -> None:  # type: ignore[no-untyped-def]
    inputs = three((2, 90, 4))
    torch.testing.assert_close(
        attend(*inputs, 90),
        F.scaled_dot_product_attention(*inputs, causal_mask(90)),
        rtol=0,
        atol=1e-10,
    )


def test_a_stride_of_one_is_causal_attention() -> None:
    assert torch.equal(strided_mask(9, 1), causal_mask(9))
    inputs = three((2, 40, 4))
    torch.testing.assert_close(
        strided_attention(*inputs, 1),
        F.scaled_dot_product_attention(*inputs, causal_mask(40)),
        rtol=0,
        atol=1e-10,
    )


@pytest.mark.parametrize("attend", [local_attention, strided_attention])
def test_an_empty_text_stays_empty(attend) -> None:  # type: ignore[no-untyped-def]
    assert attend(*three((2, 0, 4)), 3).shape == (2, 0, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("attend", "make_mask"), PATTERNS)
def test_low_precision_stays_near_float32(attend, make_mask, dtype) -> None:  # type: ignore[no-untyped-def]
    query, key, value = (x.detach() for x in three((2, 100, 8), torch.float32))
    inputs = query, key, value
    narrow = attend(query.to(dtype), key.to(dtype), value.to(dtype), 10)
    assert narrow.dtype == dtype
    exact = F.scaled_dot_product_attention(*inputs, make_mask(100, 10))
    assert (narrow.float() - exact).abs().max() < 0.05


def test_the_window_computes_scores_in_proportion_to_the_length_and_not_its_square() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def products(seq: int) -> int:
        query, key, value = (x.detach() for x in three((1, 2, seq, 8)))
        with FlopCounterMode(display=False) as counter:
            strided_attention(query, key, value, 32)
        return int(counter.get_total_flops())

    near = (
        2 * 2 * 8 * 2 * 64
    )  # two products, two heads, width 8, multiply and add, two blocks of 32 keys
    for seq in (512, 1024, 2048):
        assert products(seq) == seq * (near + 2 * 2 * 8 * 2 * (seq // 32))


def test_two_layers_of_a_stride_reach_everything_and_of_a_window_do_not() -> None:
    stride, window = (mask(64, 8).long() for mask in (strided_mask, local_mask))
    assert bool(((stride @ stride) > 0).equal(causal_mask(64)))
    assert int(((window @ window)[-1] > 0).sum()) == 2 * 7 + 1


@pytest.mark.parametrize("attend", [local_attention, strided_attention])
@pytest.mark.parametrize("reach", [0, -3])
def test_an_empty_window_is_refused_by_its_name(attend, reach) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=rf"(window|stride) must be at least 1, got {reach}"):
        attend(*three((1, 8, 4)), reach)


@pytest.mark.parametrize("make_mask", [local_mask, strided_mask])
def test_masks_refuse_what_is_no_size(make_mask) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        make_mask(4, 0)
    with pytest.raises(ValueError, match="seq must not be negative, got -1"):
        make_mask(-1, 2)


@pytest.mark.plain
@pytest.mark.parametrize("attend", [local_attention, strided_attention])
def test_shapes_that_do_not_fit_are_named(attend) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        ValueError, match=r"query and key must have one shape .* got \(2, 8, 4\), \(2, 7, 4\)"
    ):
        attend(torch.ones(2, 8, 4), torch.ones(2, 7, 4), torch.ones(2, 8, 4), 3)
    with pytest.raises(TypeError, match="must be a whole number"):
        attend(*three((1, 8, 4)), 2.5)
