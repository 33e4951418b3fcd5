import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.flash import online_attention


@settings(max_examples=50, deadline=None)
@given(
    queries=st.integers(1, 20),
    keys=st.integers(1, 40),
    block=st.integers(1, 50),
    scale=st.sampled_from([0.1, 1.0, 1000.0]),
)
def test_in_blocks_it_gives_what_pytorch_gives_at_once_and_the_same_gradients(  # type: ignore[no-untyped-def]
    queries, keys, block, scale
) -> None:
    generator = torch.Generator().manual_seed(queries * 100 + keys)
    query, key, value = (
        torch.randn(2, n, 5, generator=generator, dtype=torch.float64)
        for n in (queries, keys, keys)
    )
    inputs = (scale * query).requires_grad_(), key.requires_grad_(), value.requires_grad_()
    ours, whole = online_attention(*inputs, block), F.scaled_dot_product_attention(*inputs)
    torch.testing.assert_close(ours, whole, rtol=0, atol=1e-10)
    for a, b in zip(
        torch.autograd.grad(ours.square().sum(), inputs),
        torch.autograd.grad(whole.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_scores_far_beyond_what_an_exponential_holds_do_not_overflow() -> None:
    query, key = torch.full((1, 1, 1), 1e4), torch.arange(6.0).view(1, 6, 1)
    assert online_attention(query, key, key, 2).item() == 5.0


def test_it_holds_a_block_of_scores_where_dense_attention_holds_all() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                self.numbers = max(self.numbers, result.numel())
            return result

    x = torch.randn(1, 512, 8)
    with Largest() as pieces:
        online_attention(x, x, x, 32)
    with Largest() as whole:
        (x @ x.mT).softmax(-1) @ x
    assert pieces.numbers == 512 * 32
    assert whole.numbers == 512 * 512


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_stays_near_float32(dtype: torch.dtype) -> None:
    x = torch.randn(2, 60, 8, generator=torch.Generator().manual_seed(0))
    low = x.to(dtype)
    narrow = online_attention(low, low, low, 16)
    assert narrow.dtype == dtype
    assert (narrow.float() - F.scaled_dot_product_attention(x, x, x)).abs().max() < 0.05


@pytest.mark.plain
def test_what_does_not_fit_is_named() -> None:
    x = torch.ones(1, 4, 2)
    with pytest.raises(ValueError, match="block must be at least 1, got 0"):
        online_attention(x, x, x, 0)
    with pytest.raises(ValueError, match=r"at least one, got \(1, 4, 2\), \(1, 0, 2\)"):
        online_attention(x, x[:, :0], x[:, :0], 2)
    with pytest.raises(ValueError, match="must have one width"):
        online_attention(x, torch.ones(1, 4, 3), x, 2)
