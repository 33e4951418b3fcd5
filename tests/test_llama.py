"""`llmbook.llama` against transformers' Llama, and by what each position may depend on."""

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig as TheirConfig
from transformers import LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding

from llmbook.llama import Llama, LlamaBlock, LlamaConfig
from llmbook.positions import rotary_tables, rotate

BATCH, SEQ, VOCAB = 3, 11, 50
SMALL: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "grouped-query": {},
    "multi-query": {"num_key_value_heads": 1},
    "multi-head": {"num_key_value_heads": 4},
    "tied": {"tie_word_embeddings": True},
    "rope-base": {"rope_parameters": {"rope_type": "default", "rope_theta": 123.4}},
    "wide-heads": {"head_dim": 20},
    "epsilon": {"rms_norm_eps": 0.5},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "one-layer": {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1},
}


def compute_in_double(patch: pytest.MonkeyPatch) -> None:
    """Let transformers compute norms and rotary tables in the model's dtype, not in float32."""

    def norm(self: Any, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        result: Tensor = self.weight * (x * scale)
        return result

    def tables(self: Any, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        d_head, base = self.config.head_dim, self.config.rope_parameters["rope_theta"]
        inverse = 1.0 / (base ** (torch.arange(0, d_head, 2, dtype=x.dtype) / d_head))
        angles = position_ids[..., None].to(x.dtype) * inverse
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos(), angles.sin()

    patch.setattr(LlamaRMSNorm, "forward", norm)
    patch.setattr(LlamaRotaryEmbedding, "forward", tables)


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their detours through float32 left out, for a test."""
    compute_in_double(monkeypatch)


def theirs(dtype: torch.dtype = torch.float64, **options: Any) -> LlamaForCausalLM:
    """Transformers' model with weights large enough that every part matters."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(TheirConfig(**{**SMALL, **options}))
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    nn.Module.to(model, dtype)  # whose own `to` is not typed
    model.eval()
    return model


def ours(**options: Any) -> Llama:
    """A model of ours in float64."""
    return Llama.from_hf(theirs(**options))


def texts(batch: int = BATCH, seq: int = SEQ) -> Tensor:
    """Token ids at random."""
    return torch.randint(VOCAB, (batch, seq), generator=torch.Generator().manual_seed(1))


def paddings() -> dict[str, Tensor]:
    """Masks for three texts of which one fills the row."""
    lengths = torch.tensor([[SEQ], [4], [7]])
    right = torch.arange(SEQ) < lengths
    return {"right": right, "left": right.flip(1), "both": right & right.flip(1).roll(1, 0)}


def assert_equal(
    their: LlamaForCausalLM,
    atol: float,
    mask: Tensor | None = None,
    token_ids: Tensor | None = None,
) -> None:
    """The logits at visible positions and the gradients of all weights agree."""
    mine, token_ids = Llama.from_hf(their), texts() if token_ids is None else token_ids
    visible = torch.ones_like(token_ids, dtype=torch.bool) if mask is None else mask
    my_logits = mine(token_ids, mask)[visible]
    their_logits = their(token_ids, attention_mask=None if mask is None else mask.long()).logits[
        visible
    ]
    torch.testing.assert_close(my_logits, their_logits, rtol=0, atol=atol)

    direction = torch.linspace(-1, 1, my_logits.numel(), dtype=my_logits.dtype).view_as(my_logits)
    my_gradients = torch.autograd.grad(my_logits, tuple(mine.parameters()), direction)
    their_gradients = torch.autograd.grad(their_logits, tuple(their.parameters()), direction)
    carrier = copy.deepcopy(their)  # takes their gradients to our names, as if they were weights
    with torch.no_grad():
        for parameter, gradient in zip(carrier.parameters(), their_gradients, strict=True):
            parameter.copy_(gradient)
    for my_gradient, expected in zip(
        my_gradients, Llama.from_hf(carrier).parameters(), strict=True
    ):
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(my_gradient, expected.detach(), rtol=0, atol=atol * scale)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("variant", VARIANTS)
def test_llama_equals_transformers(variant: str) -> None:
    """With the same weights the logits and all gradients are theirs to 1e-10."""
    assert_equal(theirs(**VARIANTS[variant]), atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", VARIANTS)
def test_llama_equals_transformers_as_it_is(variant: str, dtype: torch.dtype) -> None:
    """With their float32 detours, on weights as they draw them, it is 1e-5."""
    torch.manual_seed(0)
    their = LlamaForCausalLM(TheirConfig(**{**SMALL, **VARIANTS[variant]}))
    nn.Module.to(their, dtype)
    assert_equal(their, atol=1e-5)


@pytest.mark.usefixtures("in_double")
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_equals_transformers(side: str) -> None:
    """Whichever side is padded, positions and visibility are as in their forward."""
    assert_equal(theirs(), atol=1e-10, mask=paddings()[side])


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Any Llama that transformers can build, as long as it is small."""
    num_kv_heads, group, d_head = draw(st.tuples(*[st.integers(1, 3)] * 3))
    return {
        "vocab_size": VOCAB,
        "hidden_size": num_kv_heads * group * draw(st.integers(1, 5)),
        "intermediate_size": draw(st.integers(1, 20)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": num_kv_heads * group,
        "num_key_value_heads": num_kv_heads,
        "head_dim": 2 * d_head,
        "max_position_embeddings": 64,
        "rms_norm_eps": draw(st.floats(1e-6, 1.0)),
        "tie_word_embeddings": draw(st.booleans()),
        "attention_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
        "rope_parameters": {"rope_type": "default", "rope_theta": draw(st.floats(2, 1e6))},
    }


@settings(max_examples=30, deadline=None)
@given(options=configs(), batch=st.integers(1, 3), seq=st.integers(1, 20))
def test_every_config_equals_transformers(options: dict[str, Any], batch: int, seq: int) -> None:
    """Nothing depends on the sizes that the other tests happen to have."""
    with pytest.MonkeyPatch.context() as patch:
        compute_in_double(patch)
        assert_equal(theirs(**options), atol=1e-10, token_ids=texts(batch, seq))


@pytest.mark.usefixtures("in_double")
def test_attention_weights_equal_transformers() -> None:
    """Each head of each layer, to the float32 in which their softmax is computed."""
    their = theirs()
    their.set_attn_implementation("eager")
    expected = torch.stack(their(texts(), output_attentions=True).attentions)
    weights = Llama.from_hf(their).attention_weights(texts())
    torch.testing.assert_close(weights, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert not weights.triu(1).any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_attention_weights_leave_padding_out(side: str) -> None:
    """Tokens attend as in the text alone, nothing attends to padding, and nothing is NaN."""
    model, token_ids, mask = ours(), texts(), paddings()[side]
    weights = model.attention_weights(token_ids, mask)
    assert not weights.transpose(-1, -2)[:, ~mask.unsqueeze(1).expand(weights.shape[1:-1])].any()
    for index, visible in enumerate(mask):
        seen = weights[:, index][..., visible, :][..., visible]
        alone = model.attention_weights(token_ids[index, visible][None])[:, 0]
        torch.testing.assert_close(seen, alone, rtol=0, atol=1e-12)


def test_attention_weights_are_those_that_forward_uses() -> None:
    """In a model of one layer, they rebuild what attention hands on."""
    model, token_ids = ours(num_hidden_layers=1), texts()
    (block,), weights = model.blocks, model.attention_weights(token_ids)[0]
    assert isinstance(block, LlamaBlock)
    rotary, _ = model._rotary_and_mask(token_ids, None)
    x = block.attention_norm(model.embedding(token_ids))
    value = block.attention.value(x).unflatten(-1, (-1, block.attention.d_head)).transpose(1, 2)
    heads = weights @ value.repeat_interleave(2, dim=1)
    rebuilt = block.attention.out(heads.transpose(1, 2).flatten(-2))
    torch.testing.assert_close(rebuilt, block.attention(x, rotary=rotary, causal=True))


def test_attention_weights_compute_each_attention_once() -> None:
    """And a block gives the same with its weights as without."""
    model, token_ids, keys = ours(), texts(), []
    for block in model.blocks:
        assert isinstance(block, LlamaBlock)
        block.attention.key.register_forward_hook(lambda *_: keys.append(1))
    model.attention_weights(token_ids)
    assert len(keys) == len(model.blocks) > 1
    rotary, mask = model._rotary_and_mask(token_ids, None)
    x = model.embedding(token_ids)
    for block in model.blocks:
        assert isinstance(block, LlamaBlock)
        y = block(x, rotary, mask)
        torch.testing.assert_close(block.with_weights(x, rotary, mask)[0], y)
        x = y


def test_future_tokens_and_other_texts_change_nothing() -> None:
    """Another token moves its own and later positions of its text, and no others."""
    model, before = ours(), texts()
    after = before.clone()
    after[1, 5] = (after[1, 5] + 1) % VOCAB
    moved = (model(before) - model(after)).abs().amax(dim=-1)
    assert not moved[[0, 2]].any()
    assert not moved[1, :5].any()
    assert (moved[1, 5:] > 1e-6).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_equals_leaving_it_out(side: str) -> None:
    """What is padded, and how much of it, reaches no token; and nothing turns into NaN."""
    model, token_ids, mask = ours(), texts(), paddings()[side]
    logits = model(token_ids, mask)
    assert logits.isfinite().all()
    for text, visible, row in zip(token_ids, mask, logits, strict=True):
        torch.testing.assert_close(row[visible], model(text[visible][None])[0], rtol=0, atol=1e-10)
    gradients = torch.autograd.grad(logits[mask].square().sum(), tuple(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("side", [None, "left", "right", "both"])
@pytest.mark.parametrize("chunks", [[SEQ], [1] * SEQ, [4, 1, 6]])
def test_a_cache_changes_no_logits(chunks: list[int], side: str | None) -> None:
    """However a text is cut, its parts after a cache give what the whole gives."""
    model, token_ids = ours(), texts()
    mask = paddings()[side] if side else torch.ones(BATCH, SEQ, dtype=torch.bool)
    cache, parts = model.new_cache(SEQ, batch=BATCH), []
    with torch.no_grad():
        whole = model(token_ids, mask)
        for part in token_ids.split(chunks, dim=1):
            seen = mask[:, : cache.length + part.shape[1]]
            parts.append(model(part, seen if side else None, cache))
    torch.testing.assert_close(torch.cat(parts, dim=1)[mask], whole[mask], rtol=0, atol=1e-12)
    assert cache.length == SEQ


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500), st.floats(2, 1e6))
def test_rotated_products_depend_on_the_distance_alone(
    first: int, second: int, shift: int, base: float
) -> None:
    """Two vectors, rotated by their positions, keep their product when both move on."""
    x = torch.randn(2, 1, 1, 1, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def product(*positions: int) -> Tensor:
        turned = [
            rotate(vector, rotary_tables(torch.tensor([position]), 12, base, torch.float64))
            for vector, position in zip(x, positions, strict=True)
        ]
        torch.testing.assert_close([t.norm() for t in turned], [vector.norm() for vector in x])
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(product(first, second), product(first + shift, second + shift))


def test_rotation_is_complex_multiplication() -> None:
    """The pair (x_i, x_{i + d/2}) as a complex number, times exp(i p b^(-2i/d))."""
    x = torch.randn(1, 1, 5, 8, dtype=torch.float64)
    angles = torch.arange(5)[:, None] * 100.0 ** (-torch.arange(4, dtype=torch.float64) / 4)
    turned = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angles), angles)
    result = rotate(x, rotary_tables(torch.arange(5), 8, 100, torch.float64))
    torch.testing.assert_close(result, torch.cat((turned.real, turned.imag), dim=-1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_from_hf_keeps_the_models_state(dtype: torch.dtype, training: bool) -> None:
    """Dtype, device and training mode come along, and the output has the model's dtype."""
    model = Llama.from_hf(theirs(dtype).train(training))
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training is training for module in model.modules())
    assert model(texts()).dtype == dtype
    elsewhere = theirs(dtype)
    nn.Module.to(elsewhere, "meta")
    assert Llama.from_hf(elsewhere).device.type == "meta"


@pytest.mark.parametrize("tied", [True, False])
def test_from_hf_copies(tied: bool) -> None:
    """Nothing is shared with theirs, no random number is drawn, and tied weights stay one."""
    their = theirs(tie_word_embeddings=tied)
    state = torch.get_rng_state()
    model = Llama.from_hf(their)
    assert torch.equal(torch.get_rng_state(), state)
    storages = [
        {parameter.untyped_storage().data_ptr() for parameter in some.parameters()}
        for some in (model, their)
    ]
    assert storages[0].isdisjoint(storages[1])
    assert model.config.tied is tied
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(parameter.numel() for parameter in their.parameters())


def test_state_dict_round_trip() -> None:
    """What one model saves another loads, from_hf or fresh, and both then say the same."""
    model = ours()
    fresh = Llama(model.config).double()
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh(texts()), model(texts()), rtol=0, atol=1e-12)


def test_fresh_model_knows_nothing_and_learns() -> None:
    """Its loss is that of guessing, and 30 steps of Adam on one text take most of that away."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, d_model=32, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=48, max_len=64
    )
    model, token_ids = Llama(config), texts()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        logits = model(token_ids[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), token_ids[:, 1:].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(VOCAB), abs=0.05)
    assert losses[-1] < losses[0] / 4


def test_smollm2_would_have_the_published_number_of_parameters() -> None:
    """134.5 million, as its makers count, of which the embedding is a fifth."""
    config = LlamaConfig(
        vocab_size=49_152,
        d_model=576,
        num_layers=30,
        num_heads=9,
        num_kv_heads=3,
        d_ff=1536,
        max_len=8192,
    )
    with torch.device("meta"):
        model = Llama(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
    assert 0.2 < model.embedding.weight.numel() / 134_515_008 < 0.22


SIZES: dict[str, Any] = {
    "vocab_size": 9, "d_model": 8, "num_layers": 1, "num_heads": 4, "num_kv_heads": 2, "d_ff": 8, "max_len": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "num_heads must divide d_model .*, got num_heads=3 and d_model=8"),
        (
            {"num_kv_heads": 3},
            "num_kv_heads must divide num_heads, got num_kv_heads=3 and num_heads=4",
        ),
        ({"num_heads": 8}, "d_head must be even, for rotary pairs, got 1"),
        ({"num_heads": 0}, "num_heads must be positive, got 0"),
        ({"d_head": -2}, "d_head must be positive, got -2"),
        ({"num_layers": 0}, "num_layers must be positive, got 0"),
        ({"rope_base": math.nan}, "rope_base must be positive, got nan"),
    ],
)
def test_impossible_sizes_are_named(changes: dict[str, Any], message: str) -> None:
    """Sizes that make no model are refused when it is described, not when it runs."""
    with pytest.raises(ValueError, match=message):
        LlamaConfig(**{**SIZES, **changes})


@pytest.mark.plain
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [torch.zeros(3, dtype=torch.long)],
            r"token_ids must have the shape \(batch, seq\) .*, got shape \(3,\)",
        ),
        ([torch.tensor(3)], r"got shape \(\)"),
        ([torch.zeros(1, 0, dtype=torch.long)], r"hold at least one token, got shape \(1, 0\)"),
        ([torch.zeros(1, 3)], "token_ids must be int64 or int32, got dtype torch.float32"),
        ([torch.tensor([[0, 9]])], "token_ids must be from 0 to vocab_size - 1 = 8, got 9"),
        ([torch.tensor([[0, -1]])], "token_ids must be from 0 to vocab_size - 1 = 8, got -1"),
        (
            [torch.zeros(1, 9, dtype=torch.long)],
            "token_ids must end within max_len=8 positions, got 9",
        ),
        (
            [torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 4, dtype=torch.bool)],
            r"attention_mask must have the shape \(batch, key\) = \(2, 3\), got \(2, 4\)",
        ),
        (
            [torch.zeros(1, 2, dtype=torch.long), torch.tensor([[0.0, -1e9]])],
            "attention_mask must be boolean, or hold 0 and 1 alone",
        ),
    ],
)
def test_wrong_inputs_are_named(arguments: list[Tensor], message: str) -> None:
    """The error names the argument, what it is and what was expected."""
    model = Llama(LlamaConfig(**SIZES))
    for function in (model, model.attention_weights):
        with pytest.raises(ValueError, match=message):
            function(*arguments)


def test_a_cache_that_does_not_fit_is_refused() -> None:
    """Too short, for another batch, or where gradients would be lost without a word."""
    model, token_ids = Llama(LlamaConfig(**SIZES)), torch.zeros(1, 4, dtype=torch.long)
    with torch.no_grad(), pytest.raises(ValueError, match="room for 3 positions, got 4"):
        model(token_ids, cache=model.new_cache(3))
    with torch.no_grad(), pytest.raises(ValueError, match="for a batch of 2, got 1"):
        model(token_ids, cache=model.new_cache(4, batch=2))
    with pytest.raises(ValueError, match=r"needs torch.no_grad\(\)"):
        model(token_ids, cache=model.new_cache(4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_act": "gelu"}, "hidden_act must be 'silu', got 'gelu'"),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}},
            "rope_type must be 'default', got 'linear'",
        ),
    ],
)
def test_from_hf_names_what_it_does_not_support(options: dict[str, Any], message: str) -> None:
    """A model that ours cannot equal is refused instead of half copied."""
    with pytest.raises(ValueError, match=message):
        Llama.from_hf(theirs(**options))


@pytest.mark.plain
@pytest.mark.parametrize("kind", ["Linear", "NoneType", "MistralForCausalLM", "LlamaModel"])
def test_from_hf_refuses_other_things(kind: str) -> None:
    """Also models that only look like Llama, or are only a part of it."""
    things = {
        "Linear": lambda: nn.Linear(2, 2),
        "NoneType": lambda: None,
        "MistralForCausalLM": lambda: MistralForCausalLM(MistralConfig(**SMALL)),
        "LlamaModel": lambda: theirs().model,
    }
    with pytest.raises(TypeError, match=f"need a transformers.LlamaForCausalLM, got {kind}"):
        Llama.from_hf(things[kind]())
