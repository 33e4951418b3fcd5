"""`llmbook.gpt` against transformers' GPT-2 and GPT, and by what each position may depend on."""

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from llmbook.generation import LanguageModel, generate
from llmbook.gpt import GPT, GPTConfig

BATCH, SEQ, VOCAB, MAX_LEN = 3, 11, 50, 32
NO_TOKENS = {"bos_token_id": None, "eos_token_id": None}
SMALL: dict[str, Any] = {
    "vocab_size": VOCAB, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": MAX_LEN, **NO_TOKENS,
}  # fmt: skip
VARIANTS: dict[str, tuple[bool, dict[str, Any]]] = {
    "gpt-2": (True, {}),
    "untied": (True, {"tie_word_embeddings": False}),
    "epsilon": (True, {"layer_norm_epsilon": 0.5}),
    "narrow": (True, {"n_inner": 7}),
    "gelu": (True, {"activation_function": "gelu"}),
    "relu": (True, {"activation_function": "relu"}),
    "one-layer": (True, {"n_layer": 1, "n_head": 1}),
    "gpt-1": (False, {}),
    "gpt-1-untied": (False, {"tie_word_embeddings": False}),
    "gpt-1-relu": (False, {"afn": "relu", "layer_norm_epsilon": 0.1}),
}


def theirs(second: bool = True, **options: Any) -> Any:
    """Transformers' model in float64 with weights large enough that every part matters."""
    torch.manual_seed(0)
    options = {**SMALL, **options}
    model: Any
    if second:
        model = GPT2LMHeadModel(GPT2Config(**options))
    else:
        model = OpenAIGPTLMHeadModel(OpenAIGPTConfig(**options))
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    return model.double().eval()


def ours(second: bool = True, **options: Any) -> GPT:
    """A model of ours in float64."""
    return GPT.from_hf(theirs(second, **options))


def texts(batch: int = BATCH, seq: int = SEQ) -> Tensor:
    """Token ids at random."""
    return torch.randint(VOCAB, (batch, seq), generator=torch.Generator().manual_seed(1))


def paddings() -> dict[str, Tensor]:
    """Masks for three texts of which one fills the row."""
    right = torch.arange(SEQ) < torch.tensor([[SEQ], [4], [7]])
    return {"right": right, "left": right.flip(1), "both": right & right.flip(1).roll(1, 0)}


def assert_equal(their: Any, mask: Tensor | None = None, token_ids: Tensor | None = None) -> None:
    """The logits at visible positions and the gradients of all weights agree to 1e-10."""
    mine, token_ids = GPT.from_hf(their), texts() if token_ids is None else token_ids
    visible = torch.ones_like(token_ids, dtype=torch.bool) if mask is None else mask
    my_logits = mine(token_ids, mask)[visible]
    their_logits = their(token_ids, attention_mask=None if mask is None else mask.long()).logits
    their_logits = their_logits[visible]
    torch.testing.assert_close(my_logits, their_logits, rtol=0, atol=1e-10)

    direction = torch.linspace(-1, 1, my_logits.numel(), dtype=my_logits.dtype).view_as(my_logits)
    my_gradients = torch.autograd.grad(my_logits, tuple(mine.parameters()), direction)
    their_gradients = torch.autograd.grad(their_logits, tuple(their.parameters()), direction)
    carrier = copy.deepcopy(their)  # takes their gradients to our names, as if they were weights
    with torch.no_grad():
        for parameter, gradient in zip(carrier.parameters(), their_gradients, strict=True):
            parameter.copy_(gradient)
    for mine_one, expected in zip(my_gradients, GPT.from_hf(carrier).parameters(), strict=True):
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(mine_one, expected.detach(), rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gpt_equals_transformers(variant: str) -> None:
    """With the same weights the logits and all gradients are theirs."""
    second, options = VARIANTS[variant]
    assert_equal(theirs(second, **options))


@pytest.mark.parametrize("second", [True, False], ids=["gpt-2", "gpt-1"])
@pytest.mark.parametrize("side", ["left", "right", "both"])
def test_padding_equals_transformers(side: str, second: bool) -> None:
    """Whichever side is padded, positions and visibility are as in their forward."""
    assert_equal(theirs(second), mask=paddings()[side])


@st.composite
def configs(draw: st.DrawFn) -> tuple[bool, dict[str, Any]]:
    """Any GPT that transformers can build, as long as it is small."""
    num_heads, d_head = draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    second = draw(st.booleans())
    options: dict[str, Any] = {
        "n_embd": num_heads * d_head,
        "n_layer": draw(st.integers(1, 3)),
        "n_head": num_heads,
        "layer_norm_epsilon": draw(st.floats(1e-6, 1.0)),
        "tie_word_embeddings": draw(st.booleans()),
    }
    if second:
        options["n_inner"] = draw(st.none() | st.integers(1, 20))
        options["activation_function"] = draw(st.sampled_from(["gelu_new", "gelu", "relu"]))
    return second, options


@settings(max_examples=30, deadline=None)
@given(config=configs(), batch=st.integers(1, 3), seq=st.integers(1, 20))
def test_every_config_equals_transformers(
    config: tuple[bool, dict[str, Any]], batch: int, seq: int
) -> None:
    """Nothing depends on the sizes that the other tests happen to have."""
    second, options = config
    assert_equal(theirs(second, **options), token_ids=texts(batch, seq))


@pytest.mark.parametrize("use_cache", [True, False])
def test_greedy_text_equals_transformers(use_cache: bool) -> None:
    """Token by token, with and without a cache, to the last position that there is."""
    torch.manual_seed(0)
    model: Any = GPT2LMHeadModel(GPT2Config(**SMALL, initializer_range=0.6)).double().eval()
    prompt = [3, 1, 4, 1, 5]
    new = MAX_LEN + 1 - len(prompt)
    token_ids = torch.tensor([prompt])
    expected = model.generate(
        token_ids,
        attention_mask=torch.ones_like(token_ids),
        max_new_tokens=new,
        do_sample=False,
        pad_token_id=0,
    )[0, len(prompt) :].tolist()
    mine = GPT.from_hf(model)
    assert isinstance(mine, LanguageModel)
    assert list(generate(mine, prompt, new, use_cache=use_cache)) == expected
    assert len(set(expected)) > 5  # else the comparison would show little


@pytest.mark.parametrize("second", [True, False], ids=["gpt-2", "gpt-1"])
@pytest.mark.parametrize("side", [None, "left", "right", "both"])
@pytest.mark.parametrize("chunks", [[SEQ], [1] * SEQ, [4, 1, 6]])
def test_a_cache_changes_no_logits(chunks: list[int], side: str | None, second: bool) -> None:
    """However a text is cut, its parts after a cache give what the whole gives."""
    model, token_ids = ours(second), texts()
    mask = paddings()[side] if side else torch.ones(BATCH, SEQ, dtype=torch.bool)
    cache, parts = model.new_cache(SEQ, batch=BATCH), []
    with torch.no_grad():
        whole = model(token_ids, mask)
        for part in token_ids.split(chunks, dim=1):
            seen = mask[:, : cache.length + part.shape[1]]
            parts.append(model(part, seen if side else None, cache))
    torch.testing.assert_close(torch.cat(parts, dim=1)[mask], whole[mask], rtol=0, atol=1e-12)
    assert cache.length == SEQ


@pytest.mark.parametrize("second", [True, False], ids=["gpt-2", "gpt-1"])
def test_later_tokens_and_other_texts_change_nothing(second: bool) -> None:
    """Another token moves its own and later positions of its text, and no others."""
    model, before = ours(second), texts()
    after = before.clone()
    after[1, 5] = (after[1, 5] + 1) % VOCAB
    moved = (model(before) - model(after)).abs().amax(dim=-1)
    assert not moved[[0, 2]].any()
    assert not moved[1, :5].any()
    assert (moved[1, 5:] > 1e-6).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_reaches_no_token(side: str) -> None:
    """Other tokens in the padding move nothing that is none, and nothing turns into NaN."""
    model, before, mask = ours(), texts(), paddings()[side]
    after = torch.where(mask, before, (before + 1) % VOCAB)
    logits = model(before, mask)
    assert torch.equal(logits[mask], model(after, mask)[mask])
    assert logits.isfinite().all()
    gradients = torch.autograd.grad(logits[mask].square().sum(), tuple(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_padding_on_the_right_equals_leaving_it_out() -> None:
    """On the left it would not: there a text begins at a later position."""
    model, token_ids, mask = ours(), texts(), paddings()["right"]
    logits = model(token_ids, mask)
    for text, visible, row in zip(token_ids, mask, logits, strict=True):
        torch.testing.assert_close(row[visible], model(text[visible][None])[0], rtol=0, atol=1e-10)


def test_order_matters() -> None:
    """The last token sees the same tokens in another order as another text."""
    model, token_ids = ours(), texts()
    swapped = token_ids[:, [1, 0, *range(2, SEQ)]]
    assert ((model(token_ids) - model(swapped))[:, -1].abs().amax(-1) > 1e-6).all()


def test_gpt2_has_the_published_number_of_parameters() -> None:
    """124 million, of which the embedding is 31 %; GPT of 2018 has 117 million."""
    with torch.device("meta"):
        second = GPT(
            GPTConfig(vocab_size=50_257, d_model=768, num_layers=12, num_heads=12, max_len=1024)
        )
        first = GPT(
            GPTConfig(
                vocab_size=40_478,
                d_model=768,
                num_layers=12,
                num_heads=12,
                max_len=512,
                norm_first=False,
            )
        )
    count = [
        sum(parameter.numel() for parameter in model.parameters()) for model in (second, first)
    ]
    assert count == [124_439_808, 116_534_784]
    assert round(second.embedding.weight.numel() / count[0], 2) == 0.31


def test_without_biases_there_are_none() -> None:
    """Neither in matrices nor in norms."""
    names = [name for name, _ in GPT(GPTConfig(**SIZES, bias=False)).named_parameters()]
    assert not any("bias" in name for name in names)


def test_fresh_weights_are_as_published() -> None:
    """0.02, what writes into the residual stream less, norms 1, biases 0."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=500, d_model=64, num_layers=8, num_heads=2, max_len=256))
    for name, parameter in model.named_parameters():
        if "norm" in name or "bias" in name:
            assert (parameter == float(name.endswith("weight"))).all(), name
        else:
            writes = "out" in name or "down" in name
            assert parameter.std().item() == pytest.approx(0.02 / (4 if writes else 1), rel=0.05)


def test_fresh_model_knows_nothing_and_learns() -> None:
    """Its loss is that of guessing, and 30 steps of Adam on one text take most of that away."""
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=VOCAB, d_model=32, num_layers=2, num_heads=4, max_len=64)
    model, token_ids = GPT(config), texts()
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


def test_dropout_acts_in_training_alone() -> None:
    """Two calls differ while training and are the same in eval mode."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(**SIZES, dropout=0.5)).eval()
    token_ids = texts() % SIZES["vocab_size"]
    token_ids = token_ids[:, : SIZES["max_len"]]
    assert torch.equal(model(token_ids), model(token_ids))
    model.train()
    assert not torch.equal(model(token_ids), model(token_ids))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_from_hf_keeps_the_models_state(dtype: torch.dtype, training: bool) -> None:
    """Dtype, device and training mode come along, and the output has the model's dtype."""
    their = theirs().to(dtype).train(training)
    model = GPT.from_hf(their)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training is training for module in model.modules())
    assert model(texts()).dtype == dtype
    assert GPT.from_hf(their.to("meta")).device.type == "meta"


@pytest.mark.parametrize("tied", [True, False])
def test_from_hf_copies(tied: bool) -> None:
    """Nothing is shared with theirs, no random number is drawn, and tied weights stay one."""
    their = theirs(tie_word_embeddings=tied)
    state = torch.get_rng_state()
    model = GPT.from_hf(their)
    assert torch.equal(torch.get_rng_state(), state)
    pointers = [
        [parameter.untyped_storage().data_ptr() for parameter in some.parameters()]
        for some in (model, their)
    ]
    assert set(pointers[0]).isdisjoint(pointers[1])
    assert len(set(pointers[0])) == len(pointers[0])  # the three of c_attn share nothing either
    assert model.config.tied is tied
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(parameter.numel() for parameter in their.parameters())


def test_state_dict_round_trip() -> None:
    """What one model saves another loads, from_hf or fresh, and both then say the same."""
    model = ours()
    fresh = GPT(model.config).double()
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh(texts()), model(texts()), rtol=0, atol=1e-12)


SIZES: dict[str, Any] = {
    "vocab_size": 9, "d_model": 8, "num_layers": 1, "num_heads": 4, "max_len": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_heads": 3}, "num_heads must divide d_model, got num_heads=3 and d_model=8"),
        ({"num_heads": 0}, "num_heads must be positive, got 0"),
        ({"num_layers": 0}, "num_layers must be positive, got 0"),
        ({"d_ff": -1}, "d_ff must be positive, got -1"),
        ({"norm_eps": math.nan}, "norm_eps must be positive, got nan"),
        ({"dropout": 1.5}, "dropout must be from 0 to 1, got 1.5"),
    ],
)
def test_impossible_sizes_are_named(changes: dict[str, Any], message: str) -> None:
    """Sizes that make no model are refused when it is described, not when it runs."""
    with pytest.raises(ValueError, match=message):
        GPTConfig(**{**SIZES, **changes})


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
    with pytest.raises(ValueError, match=message):
        GPT(GPTConfig(**SIZES))(*arguments)


def test_a_cache_that_does_not_fit_is_refused() -> None:
    """Too short, for another batch, or where gradients would be lost without a word."""
    model, token_ids = GPT(GPTConfig(**SIZES)), torch.zeros(1, 4, dtype=torch.long)
    with torch.no_grad(), pytest.raises(ValueError, match="room for 3 positions, got 4"):
        model(token_ids, cache=model.new_cache(3))
    with torch.no_grad(), pytest.raises(ValueError, match="for a batch of 2, got 1"):
        model(token_ids, cache=model.new_cache(4, batch=2))
    with pytest.raises(ValueError, match=r"needs torch.no_grad\(\)"):
        model(token_ids, cache=model.new_cache(4))


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        (True, {"activation_function": "silu"}, "activation must be relu, .*, got 'silu'"),
        (False, {"afn": "silu"}, "activation must be relu, gelu or gelu_new, got 'silu'"),
        (True, {"scale_attn_weights": False}, "scale_attn_weights must be True, got False"),
        (
            True,
            {"scale_attn_by_inverse_layer_idx": True},
            "scale_attn_by_inverse_layer_idx must be False, got True",
        ),
        (True, {"add_cross_attention": True}, "add_cross_attention must be False, got True"),
    ],
)
def test_from_hf_names_what_it_does_not_support(
    second: bool, options: dict[str, Any], message: str
) -> None:
    """A model that ours cannot equal is refused instead of half copied."""
    with pytest.raises(ValueError, match=message):
        GPT.from_hf(theirs(second, **options))


@pytest.mark.plain
@pytest.mark.parametrize("kind", ["Linear", "NoneType", "GPT2Model"])
def test_from_hf_refuses_other_things(kind: str) -> None:
    """Also a model that is only a part of one."""
    things: dict[str, Any] = {
        "Linear": nn.Linear(2, 2),
        "NoneType": None,
        "GPT2Model": theirs().transformer,
    }
    with pytest.raises(TypeError, match=f"GPT2LMHeadModel or OpenAIGPTLMHeadModel, got {kind}"):
        GPT.from_hf(things[kind])
