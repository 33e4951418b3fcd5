"""Explanations against Captum's and NNsight's, and against functions whose answer is known."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llmbook.gpt import GPT, GPTConfig
from llmbook.interpretability import (
    TunedLens,
    edited,
    integrated_gradients,
    lens_divergence,
    logit_lens,
    patch,
    read_out,
    residual_stream,
    token_attributions,
)
from llmbook.llama import Llama, LlamaConfig
from tests.reference import saved
from tests.reference.captum import CASES, network
from tests.reference.nnsight import CASES as PATCHES
from tests.reference.nnsight import model_and_texts
from tests.reference.tuned_lens import LAYERS, model_and_numbers


@pytest.mark.parametrize("case", range(len(CASES)))
def test_integrated_gradients_are_those_of_captum(case: int) -> None:
    model, x, baseline = network(case)
    steps, theirs = CASES[case][2], saved("captum")
    zeros = integrated_gradients(model, x, steps=steps)
    torch.testing.assert_close(zeros, torch.from_numpy(theirs[f"{case}.zeros"]))
    ours = integrated_gradients(model, x, baseline, steps)
    torch.testing.assert_close(ours, torch.from_numpy(theirs[f"{case}.baseline"]))


@given(st.integers(0, 200), st.integers(1, 4))
def test_attributions_sum_to_what_the_function_gained(seed: int, batch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, baseline = torch.randn(2, batch, 3, dtype=torch.float64, generator=generator)

    def function(x: Tensor) -> Tensor:
        return (x[:, 0] * x[:, 1] * x[:, 2]) + x[:, 0].square()

    found = integrated_gradients(function, x, baseline, steps=4)
    torch.testing.assert_close(found.sum(1), function(x) - function(baseline))


def test_an_input_that_a_function_does_not_read_gets_nothing() -> None:
    x = torch.tensor([[1.0, 5.0], [2.0, -3.0]])
    found = integrated_gradients(lambda x: x[:, 0] ** 2, x)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0], [4.0, 0.0]]))


def test_a_linear_function_needs_one_step_in_any_shape_and_dtype() -> None:
    x = torch.randn(2, 3, 4)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        given_x = x.to(dtype)
        found = integrated_gradients(lambda x: 2 * x.flatten(1).sum(1), given_x, steps=1)
        assert found.dtype == dtype
        torch.testing.assert_close(found, 2 * given_x)
    assert integrated_gradients(lambda x: x.sum(1), torch.empty(0, 3)).shape == (0, 3)
    one_for_all = integrated_gradients(lambda x: x.sum(1), torch.ones(2, 3), torch.ones(3))
    assert not one_for_all.any()


def test_gradients_are_taken_also_where_they_are_switched_off() -> None:
    x = torch.tensor([[3.0]], requires_grad=True)
    with torch.no_grad():
        found = integrated_gradients(lambda x: x[:, 0] ** 2, x)
    assert found.item() == pytest.approx(9)
    assert not found.requires_grad
    assert x.grad is None


@pytest.mark.plain
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps must be positive, got 0"),
        ({"steps": 1.5}, TypeError, "steps must be a whole number, got 1.5"),
        ({"x": torch.ones(2, 3, dtype=torch.int64)}, TypeError, "x must hold floating-point"),
        (
            {"baseline": torch.ones(4)},
            ValueError,
            r"baseline .* \(2, 3\), or .* \(3,\), got \(4,\)",
        ),
        ({"function": lambda x: x}, ValueError, r"one number for each of 2 inputs.*\(2, 3\)"),
        ({"function": lambda x: x.sum()}, ValueError, r"one number for each of 2 inputs.*\(\)"),
    ],
)
def test_what_has_no_integrated_gradient_is_refused(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    usual: dict[str, Any] = {"function": lambda x: x.sum(1), "x": torch.ones(2, 3)}
    with pytest.raises(error, match=message):
        integrated_gradients(**(usual | change))


@pytest.mark.parametrize("case", range(len(PATCHES)))
def test_patched_answers_are_those_of_nnsight(case: int) -> None:
    model, token_ids, donor_ids = model_and_texts()
    layer, positions = PATCHES[case]
    ours = patch(model, token_ids, donor_ids, [layer], positions)[0]
    torch.testing.assert_close(ours, torch.from_numpy(saved("nnsight")[f"{case}.logits"]))


def small(kind: str) -> Llama | GPT:
    torch.manual_seed(1)
    if kind == "gpt":
        sizes = GPTConfig(vocab_size=20, d_model=16, num_layers=3, num_heads=2, max_len=8)
        return GPT(sizes).double()
    llama = LlamaConfig(
        vocab_size=20, d_model=16, num_layers=3, num_heads=2, num_kv_heads=1, d_ff=24, max_len=8
    )
    return Llama(llama).double()


@pytest.mark.parametrize("kind", ["llama", "gpt"])
def test_all_positions_of_a_donor_give_the_donors_answer(kind: str) -> None:
    model = small(kind).train()
    a, b = torch.randint(20, (2, 3, 5))
    with torch.no_grad():
        expected = model.eval()(b)[:, -1]
    model.train()
    everywhere = patch(model, a, b, [0, 1, 2], range(5))
    torch.testing.assert_close(everywhere, expected.expand(3, -1, -1))
    assert model.training
    with torch.no_grad():
        own = model.eval()(a)[:, -1]
    torch.testing.assert_close(patch(model, a, b, [2], [0, 1, 2, 3])[0], own)


@pytest.mark.parametrize("kind", ["llama", "gpt"])
def test_the_lens_ends_with_the_models_own_answer(kind: str) -> None:
    model = small(kind).eval()
    ids = torch.randint(20, (2, 6))
    lens = logit_lens(model, ids)
    assert lens.shape == (4, 2, 20)
    with torch.no_grad():
        torch.testing.assert_close(lens[-1], model(ids)[:, -1])
        torch.testing.assert_close(logit_lens(model, ids, 2)[-1], model(ids)[:, 2])
    stream = residual_stream(model, ids)
    if isinstance(model, Llama):
        torch.testing.assert_close(stream[0], model.embedding(ids).detach())


def test_the_stream_is_what_transformers_calls_hidden_states() -> None:
    from transformers import LlamaConfig as TheirConfig
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    theirs = LlamaForCausalLM(
        TheirConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
            intermediate_size=20, max_position_embeddings=16,
        )
    ).double().eval()  # fmt: skip
    ids = torch.randint(30, (2, 7))
    with torch.no_grad():
        hidden = theirs(ids, output_hidden_states=True).hidden_states
    ours = residual_stream(Llama.from_hf(theirs), ids)
    for layer in range(3):  # their last one is normalised already
        torch.testing.assert_close(ours[layer], hidden[layer])


def test_an_edit_ends_with_its_block_also_after_an_error() -> None:
    model = small("llama").eval()
    ids = torch.randint(20, (1, 4))
    with torch.no_grad():
        before = model(ids)
        with edited(model, {1: torch.zeros_like}):
            assert not torch.equal(model(ids), before)
            with pytest.raises(ValueError, match="token"), edited(model, {0: torch.zeros_like}):
                model(ids + 1_000)
        assert torch.equal(model(ids), before)
        assert torch.equal(model(ids), before)
        with edited(model):
            assert torch.equal(model(ids), before)


def test_token_attributions_sum_to_the_preference_of_a_small_model() -> None:
    model = small("llama").eval()
    assert isinstance(model, Llama)
    ids = torch.randint(20, (5,))
    baseline = model.embedding.weight[3].detach()
    found = token_attributions(model, ids, 1, 2, baseline, steps=200)
    with torch.no_grad():
        logits = model(ids[None])[0, -1]
        empty = model(torch.full((1, 5), 3))[0, -1]
    gained = (logits[1] - logits[2]) - (empty[1] - empty[2])
    assert found.sum().item() == pytest.approx(gained.item(), abs=1e-4)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m, ids: patch(m, ids, ids[:, 1:], [0], [0]),
            ValueError,
            "must have the same shape",
        ),
        (lambda m, ids: patch(m, ids, ids, [0], [4]), ValueError, "among 4 tokens, got 4"),
        (
            lambda m, ids: patch(m, ids, ids, [3], [0]),
            ValueError,
            "layer must be from 0 to 2, got 3",
        ),
        (lambda m, ids: logit_lens(m, ids, -5), ValueError, "one of 4 tokens, got -5"),
    ],
)
def test_places_that_are_not_there_are_refused(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(small("llama"), torch.randint(20, (1, 4)))


def test_a_tuned_lens_reads_as_that_of_its_authors_and_has_its_gradients() -> None:
    theirs, stream, last, matrices, biases = model_and_numbers()
    model = GPT.from_hf(theirs)
    lens = TunedLens(stream.shape[-1], LAYERS).double()
    for translator, matrix, bias in zip(lens.translators, matrices, biases, strict=True):
        translator.load_state_dict({"weight": matrix, "bias": bias})
    logits = read_out(model, lens(stream))
    found = lens_divergence(model, lens(stream), last)
    found.sum().backward()
    values: Any = saved("tuned_lens")
    for layer, translator in enumerate(lens.translators):
        for name, ours in [
            ("logits", logits[layer]),
            ("divergence", found[layer]),
            ("weight", translator.weight.grad),
            ("bias", translator.bias.grad),
        ]:
            torch.testing.assert_close(ours, torch.from_numpy(values[f"{layer}.{name}"]), msg=name)


@pytest.mark.parametrize("kind", ["llama", "gpt"])
def test_an_untrained_lens_is_the_logit_lens_and_agrees_with_the_last_layer(kind: str) -> None:
    model = small(kind).eval()
    ids = torch.randint(20, (3, 6))
    stream = residual_stream(model, ids)[:, :, -1]
    lens = TunedLens(16, 4).double()
    assert torch.equal(read_out(model, lens(stream)), logit_lens(model, ids))
    found = lens_divergence(model, lens(stream), stream[-1])
    assert found[-1].item() == pytest.approx(0, abs=1e-12)
    assert (found[:-1] > 0).all()
    assert not any(parameter.any() for parameter in lens.parameters())


def test_where_the_rest_of_the_model_is_a_turn_the_trained_lens_reads_all_of_it() -> None:
    """The last layer's vectors are those of the layer, turned: an affine map undoes it."""
    model = small("llama").requires_grad_(requires_grad=False)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 400, 16, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64)).Q
    last = x[0] @ turn
    model.embedding.weight.data *= 50  # so that the output depends on what it reads
    lens = TunedLens(16, 1).double()
    before = lens_divergence(model, lens(x), last).item()
    optimizer = torch.optim.Adam(lens.parameters(), lr=0.05)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 300)
        optimizer.zero_grad()
        lens_divergence(model, lens(x), last).sum().backward()
        optimizer.step()
    after = lens_divergence(model, lens(x), last).item()
    assert before > 0.1
    assert after < 5e-3 * before
    exact: Any = lens.translators[0]
    exact.load_state_dict({"weight": turn.T - torch.eye(16), "bias": torch.zeros(16)})
    assert lens_divergence(model, lens(x), last).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.plain
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 2), "d_model must be positive, got 0"),
        ((4, -1), "layers must be positive, got -1"),
    ],
)
def test_a_lens_without_size_is_refused(sizes: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TunedLens(*sizes)
    with pytest.raises(ValueError, match="stream must have 2 layers, as the lens, got 3"):
        TunedLens(4, 2)(torch.ones(3, 5, 4))
