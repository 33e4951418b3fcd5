"""`llmbook.weights`: all of theirs come in, each under its name, or the error says which do not."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from llmbook.bert import Bert
from llmbook.gpt import GPT
from llmbook.llama import Llama
from llmbook.t5 import T5
from llmbook.weights import build_model, copied, renamed, unembedded

Sizes = dict[str, Any]
GPT_SIZES: Sizes = {"vocab_size": 9, "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8}
SIZES: Sizes = {
    "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
}  # fmt: skip
T5_SIZES: Sizes = {
    "vocab_size": 9, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2,
}  # fmt: skip

# Ours, how theirs is made, and a norm of theirs that ours has too.
CLASSES: dict[str, tuple[Any, Callable[[], Any], str]] = {
    "gpt-2": (
        GPT,
        lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT_SIZES)),
        "transformer.h.0.ln_1.weight",
    ),
    "gpt": (
        GPT,
        lambda: transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**GPT_SIZES)),
        "transformer.h.0.ln_1.weight",
    ),
    "bert": (
        Bert,
        lambda: transformers.BertForPreTraining(transformers.BertConfig(**SIZES)),
        "bert.encoder.layer.0.attention.output.LayerNorm.weight",
    ),
    "encoder": (
        Bert,
        lambda: transformers.BertModel(transformers.BertConfig(**SIZES)),
        "encoder.layer.0.attention.output.LayerNorm.weight",
    ),
    "llama": (
        Llama,
        lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)),
        "model.layers.0.input_layernorm.weight",
    ),
    "t5": (
        T5,
        lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**T5_SIZES)),
        "decoder.block.0.layer.1.layer_norm.weight",
    ),
}
each_class = pytest.mark.parametrize("kind", CLASSES)


@each_class
def test_from_hf_takes_a_weight_for_each_of_theirs(kind: str) -> None:
    """As many numbers as they have; what they tie is one weight in both."""
    ours, make, _ = CLASSES[kind]
    model = make()
    expected = sum(weight.numel() for weight in model.parameters())
    assert sum(weight.numel() for weight in ours.from_hf(model).parameters()) == expected


@each_class
@pytest.mark.parametrize("where", ["", "inside"])
def test_from_hf_names_a_weight_that_it_would_leave_behind(kind: str, where: str) -> None:
    """An adapter, say, without which ours would be another model."""
    ours, make, norm = CLASSES[kind]
    model, module = make(), norm.rpartition(".")[0] if where else ""
    model.get_submodule(module).register_parameter("adapter", nn.Parameter(torch.zeros(2)))
    name = f"{module}.adapter".removeprefix(".").removeprefix("bert.")
    with pytest.raises(ValueError, match=f"no place for these weights: {name}$"):
        ours.from_hf(model)


@each_class
def test_from_hf_names_a_weight_that_is_missing(kind: str) -> None:
    """Not by a KeyError, nor by a model that is half random."""
    ours, make, norm = CLASSES[kind]
    model = make()
    model.get_submodule(norm.rpartition(".")[0]).weight = None
    name = norm.removeprefix("bert.")
    with pytest.raises(ValueError, match=f"needs weights that are not there: {name}$"):
        ours.from_hf(model)


@pytest.mark.parametrize("model", [Bert, Llama])
def test_from_weights_checks_both_sets_of_names(model: Any) -> None:
    """Of a state that a file may hold."""
    if model is Llama:
        ours = Llama.from_hf(CLASSES["llama"][1]())
        build: Callable[[Any], nn.Module] = partial(Llama.from_weights, ours.config)
        state, name = ours.state_dict(), "norm.weight"
    else:
        their = CLASSES["encoder"][1]()
        build = partial(Bert.from_weights, Bert.config_of(their.config.to_dict(), heads=False))
        state, name = their.state_dict(), "embeddings.LayerNorm.weight"
        state["embeddings.position_ids"] = torch.arange(512)[None]  # as older files have it
    assert isinstance(build(state), model)
    with pytest.raises(ValueError, match=r"no place for these weights: lora\.a, lora\.b$"):
        build(state | {"lora.b": torch.zeros(1), "lora.a": torch.zeros(1)})
    with pytest.raises(
        ValueError, match=f"^{name} must have the shape .8,. as norm.weight, got .7,."
    ):
        build(state | {name: torch.zeros(7)})
    del state[name]
    with pytest.raises(ValueError, match=f"needs weights that are not there: {name}$"):
        build(state)


def test_a_model_is_built_of_what_convert_gives() -> None:
    """Uncopied, without a random number drawn, in training mode, with gradients."""
    weight, state = torch.ones(2, 3), torch.get_rng_state()

    def convert(name: str, theirs: Tensor) -> Tensor:
        return theirs if name == "weight" else theirs + 1

    model = build_model(
        lambda: nn.Linear(3, 2),
        {"w": weight, "b": torch.zeros(2), "mask": torch.ones(1)},
        lambda name: name[0],
        convert,
        ignored=["mask", "not there"],
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert model.weight.data_ptr() == weight.data_ptr()
    assert model.bias.tolist() == [1, 1]
    assert model.training
    assert model.weight.requires_grad


def test_one_weight_of_theirs_may_be_several_of_ours() -> None:
    """As GPT-2 has queries, keys and values in one matrix."""
    both = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    model = build_model(
        lambda: nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)),
        {"both": both},
        lambda name: "both",
        lambda name, weight: weight[int(name[0])][None],
    )
    assert [weight.tolist() for weight in model.parameters()] == [[[1, 2]], [[3, 4]]]


@pytest.mark.parametrize("shape", [(2, 3), (3, 2), (4,), (2, 2)])
def test_a_copy_lies_row_by_row(shape: tuple[int, ...]) -> None:
    """The same numbers in memory of their own, however theirs lie."""
    weight = torch.arange(float(torch.Size(shape).numel())).view(shape)
    weight = weight.T if weight.ndim == 2 else weight
    copy = copied(weight)
    assert torch.equal(copy, weight)
    assert copy.is_contiguous()
    assert copy.data_ptr() != weight.data_ptr()


@each_class
def test_weights_from_hf_can_be_saved_flattened_and_optimised(kind: str, tmp_path: Path) -> None:
    """By safetensors, `parameters_to_vector` and LBFGS, which refuse what is not contiguous."""
    ours, make, _ = CLASSES[kind]
    model = ours.from_hf(make())
    assert all(weight.is_contiguous() for weight in model.state_dict().values())
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(vector.clone(), model.parameters())

    def closure() -> Tensor:
        loss = torch.stack([weight.square().sum() for weight in model.parameters()]).sum()
        loss.backward()
        return loss

    torch.optim.LBFGS(model.parameters(), max_iter=1).step(closure)


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(1, 9), st.integers(0, 2), st.integers(0, 2), st.booleans())
def test_the_output_layer_is_a_product(
    vocab: int, d_model: int, batch: int, seq: int, grad: bool
) -> None:
    """However many positions it is computed for, and however the weight lies."""
    hidden = torch.randn(batch, seq, d_model, dtype=torch.float64)
    for weight in (hidden.new_ones(vocab, d_model).cumsum(0), hidden.new_ones(d_model, vocab).T):
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(unembedded(hidden, weight), hidden @ weight.T)


def test_names_follow_the_table() -> None:
    """Inside of the blocks and outside."""
    parts = {"attention.out": "attn_output", "norm": "output_norm"}
    assert renamed("blocks.12.attention.out.bias", "blk", parts) == "blk.12.attn_output.bias"
    assert renamed("norm.weight", "blk", parts) == "output_norm.weight"
