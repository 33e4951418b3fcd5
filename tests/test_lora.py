import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from llmbook.gpt import GPT, GPTConfig
from llmbook.lora import LoRA, add_lora, merge_lora
from tests.reference import saved
from tests.reference.peft import SHAPES

CONFIG = GPTConfig(vocab_size=11, d_model=8, num_layers=2, num_heads=2, max_len=6)


def filled(linear: nn.Linear, rank: int, alpha: float | int) -> LoRA:
    layer = LoRA(linear, rank, alpha)
    nn.init.normal_(layer.up)
    return layer


@pytest.mark.parametrize("case", range(len(SHAPES)))
def test_output_gradients_and_the_merged_matrix_are_those_of_peft(case: int) -> None:
    theirs = {
        name.partition(".")[2]: torch.from_numpy(array)
        for name, array in saved("peft").items()
        if name.startswith(f"{case}.")
    }
    d_in, d_out, rank, alpha, bias = SHAPES[case]
    linear = nn.Linear(d_in, d_out, bias).double()
    linear.load_state_dict(
        {"weight": theirs["weight"], **({"bias": theirs["bias"]} if bias else {})}
    )
    layer = LoRA(linear, rank, alpha)
    layer.load_state_dict(
        {
            "down": theirs["down"],
            "up": theirs["up"],
            **{f"linear.{k}": v for k, v in linear.state_dict().items()},
        }
    )
    output = layer(theirs["x"])
    output.square().sum().backward()
    torch.testing.assert_close(output, theirs["output"], rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.down.grad, theirs["down gradient"], rtol=0, atol=1e-10)
    torch.testing.assert_close(layer.up.grad, theirs["up gradient"], rtol=0, atol=1e-10)
    torch.testing.assert_close(
        layer.merge().weight, theirs["merged"].requires_grad_(), rtol=0, atol=1e-10
    )


@settings(max_examples=40, deadline=None)
@given(
    d_in=st.integers(1, 9),
    d_out=st.integers(1, 9),
    data=st.data(),
    alpha=st.sampled_from([0.5, 1, 16]),
    bias=st.booleans(),
)
def test_merged_it_gives_what_the_two_paths_give(d_in, d_out, data, alpha, bias) -> None:  # type: ignore[no-untyped-def]
    rank = data.draw(st.integers(1, min(d_in, d_out)))
    layer = filled(nn.Linear(d_in, d_out, bias).double(), rank, alpha)
    x = torch.randn(4, d_in, dtype=torch.float64)
    torch.testing.assert_close(layer.merge()(x), layer(x), rtol=0, atol=1e-10)
    assert int(torch.linalg.matrix_rank(layer.change)) <= rank


def test_at_first_nothing_is_changed_and_at_the_full_rank_any_change_can_be_reached() -> None:
    linear = nn.Linear(4, 3).double()
    x = torch.randn(5, 4, dtype=torch.float64)
    layer = LoRA(linear, 3, 3)
    assert torch.equal(layer(x), linear(x))
    wanted = torch.randn(3, 4, dtype=torch.float64)
    layer.up.data, layer.down.data = torch.eye(3, dtype=torch.float64), wanted
    torch.testing.assert_close(layer.change, wanted.requires_grad_())


def test_only_the_two_small_matrices_learn() -> None:
    layer = filled(nn.Linear(4, 3), 2, 1)
    layer(torch.randn(2, 4)).sum().backward()
    assert {name for name, p in layer.named_parameters() if p.grad is not None} == {"down", "up"}


def test_a_model_with_paths_says_the_same_until_they_learn_and_the_same_merged() -> None:
    model = GPT(CONFIG).double().eval()
    token_ids = torch.tensor([[1, 2, 3]])
    before = model(token_ids)
    adapted = add_lora(copy.deepcopy(model), 2, 4, ("query", "value", "up"))
    assert torch.equal(adapted(token_ids), before)
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2 * 3
    assert all(name.endswith((".down", ".up")) for name in trained)
    for name, parameter in adapted.named_parameters():
        if name in trained:
            nn.init.normal_(parameter)
    after = adapted(token_ids)
    assert not torch.allclose(after, before)
    merged = merge_lora(adapted)
    assert {type(m) for m in merged.modules()} == {type(m) for m in model.modules()}
    torch.testing.assert_close(merged(token_ids), after, rtol=0, atol=1e-10)


def test_merging_leaves_the_layer_as_it_was_and_shares_nothing() -> None:
    layer = filled(nn.Linear(4, 3), 2, 1)
    weight: Tensor = layer.linear.weight.clone()
    layer.merge().weight.data.zero_()
    assert torch.equal(layer.linear.weight, weight)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_paths_have_the_layers_dtype(dtype: torch.dtype) -> None:
    layer = filled(nn.Linear(4, 3).to(dtype), 2, 1)
    assert layer(torch.ones(2, 4, dtype=dtype)).dtype == layer.merge().weight.dtype == dtype


def test_no_rows_give_no_rows() -> None:
    assert LoRA(nn.Linear(4, 3), 1, 1)(torch.ones(0, 4)).shape == (0, 3)


@pytest.mark.plain
def test_what_does_not_fit_is_named() -> None:
    linear = nn.Linear(4, 3)
    for rank in (0, 4, -1):
        with pytest.raises(
            ValueError, match=f"rank must be from 1 to 3, the matrix's own, got {rank}"
        ):
            LoRA(linear, rank, 1)
    with pytest.raises(ValueError, match="alpha must be positive, got 0"):
        LoRA(linear, 1, 0)
    with pytest.raises(TypeError, match=r"need an nn\.Linear, got Embedding"):
        LoRA(nn.Embedding(3, 4), 1, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"rank must be a whole number, got 1\.5"):
        LoRA(linear, 1.5, 1)  # type: ignore[arg-type]
    model = GPT(CONFIG)
    with pytest.raises(ValueError, match="no linear layer whose name ends in one of"):
        add_lora(model, 1, 1, ("querry",))
    with pytest.raises(ValueError, match="rank must be from 1 to 8"):
        add_lora(model, 9, 1, ("query",))
    assert all(p.requires_grad for p in model.parameters())
