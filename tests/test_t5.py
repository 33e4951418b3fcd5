"""`llmbook.t5` against transformers, and by what may depend on what."""

import itertools
import random
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import T5Config as TheirConfig
from transformers import T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5LayerNorm

from llmbook.architectures.configs import find_config
from llmbook.architectures.counting import count_parameters
from llmbook.t5 import T5, T5Config, _hf_name

VOCAB, SOURCE, TARGET = 40, 11, 6
PADDINGS = {
    "none": None,
    "right": (torch.arange(SOURCE) < torch.tensor([[11], [7], [2]])).long(),
    "left": torch.arange(SOURCE) >= torch.tensor([[0], [4], [9]]),
}


@pytest.fixture(autouse=True)
def _norm_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs squares in float32 whatever comes in, which no comparison in float64 survives."""

    def forward(norm: Any, x: Tensor) -> Tensor:
        mean_square = x.square().mean(-1, keepdim=True)
        result: Tensor = norm.weight * (x * torch.rsqrt(mean_square + norm.variance_epsilon))
        return result

    monkeypatch.setattr(T5LayerNorm, "forward", forward)


def theirs(*, own_head: bool = False, **options: Any) -> Any:
    """A random T5 in float64, with norms that are not the trivial ones."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": VOCAB, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_decoder_layers": 3,
        "num_heads": 5, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 10, "decoder_start_token_id": 0,
    }  # fmt: skip
    model = T5ForConditionalGeneration(TheirConfig(**{**sizes, **options})).double()
    if own_head:
        model.lm_head.weight = nn.Parameter(torch.randn(VOCAB, model.config.d_model).double())
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=1, std=0.3)
    return model.eval()


V1_1 = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}


def random_options(seed: int) -> dict[str, Any]:
    """Sizes that no two of which need fit together, of both versions."""
    draw = random.Random(seed)
    heads, buckets = draw.choice([1, 3, 6]), draw.choice([4, 7, 32])
    return {
        "d_model": draw.choice([10, 16, 30]), "d_kv": draw.choice([3, 8, 16]), "num_heads": heads, "d_ff": draw.choice([12, 50]),
        "num_layers": draw.choice([1, 2, 4]), "num_decoder_layers": draw.choice([1, 2, 3]), "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": draw.choice([buckets + 1, 128]), "layer_norm_epsilon": draw.choice([1e-6, 1e-2]),
        "decoder_start_token_id": draw.choice([None, 0, 5]), **(V1_1 if seed % 2 else {}), "own_head": seed % 4 == 3,
    }  # fmt: skip


def texts(batch: int = 3) -> tuple[Tensor, Tensor]:
    """What is read, and what is written."""
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randint(2, VOCAB, (batch, SOURCE), generator=generator),
        torch.randint(0, VOCAB, (batch, TARGET), generator=generator),
    )


def their_gradient(model: Any, name: str) -> Tensor:
    """With respect to our weight: our queries are theirs times the root of d_head."""
    gradient: Tensor = model.get_parameter(_hf_name(name, model.config.feed_forward_proj)).grad
    factor: float = model.config.d_kv**0.5 if "attention.query" in name else 1
    return gradient / factor


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("seed", range(8))
def test_t5_equals_transformers(seed: int, padding: str) -> None:
    """Both versions, at random sizes: the logits, and the gradient of every weight."""
    model, mask = theirs(**random_options(seed)), PADDINGS[padding]
    ours = T5.from_hf(model)
    logits = ours(*texts(), mask)
    expected = model(input_ids=texts()[0], decoder_input_ids=texts()[1], attention_mask=mask).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    direction = torch.linspace(-1, 1, logits.numel(), dtype=torch.float64).view_as(logits)
    logits.backward(direction)
    expected.backward(direction)
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, their_gradient(model, name), rtol=1e-9, atol=1e-10
        )


@pytest.mark.parametrize("seed", range(8))
def test_the_output_layer_is_theirs(seed: int) -> None:
    """Of its own or the embedding, scaled or not: as many parameters, and the config says it."""
    options = random_options(seed)
    model = theirs(**options)
    ours = T5.from_hf(model)
    assert ours.config.scaled is (seed % 2 == 0)
    assert ours.config.start_id == (options["decoder_start_token_id"] or 0)  # else it is padding
    assert ours.config.tied is not options["own_head"]
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in model.parameters())


def test_greedy_text_equals_transformers() -> None:
    """Token by token, and padding after the end of a text that ends before the others."""
    written = []
    for seed, padding in itertools.product(range(4), ("none", "right")):
        model, mask = theirs(**(V1_1 if seed % 2 else {}), own_head=True), PADDINGS[padding]
        with torch.no_grad():  # an end token that comes sooner or later
            model.lm_head.weight[1] *= 3
        ids = (texts()[0] + 7 * seed) % (VOCAB - 2) + 2
        ours = T5.from_hf(model).generate(ids, 8, mask)
        attended = torch.ones_like(ids) if mask is None else mask
        expected = model.generate(
            ids, attention_mask=attended, max_new_tokens=8, do_sample=False, use_cache=False
        )  # their cache has a layer for each of the encoder's
        assert torch.equal(ours, expected[:, 1:])
        written += ours.tolist()
    assert len({tuple(row) for row in written}) > 10
    assert {len(row) for row in written} == {2, 3, 8}


def test_a_text_that_ends_is_padded_and_stops_the_rest_no_sooner() -> None:
    """Each row is what it would be alone."""
    torch.manual_seed(4)
    sizes = T5Config(vocab_size=6, d_model=16, d_head=4, num_heads=2, d_ff=32, num_layers=1)
    model = T5(replace(sizes, start_id=3, tied=False))
    ids = torch.randint(2, 6, (40, 5))
    together = model.generate(ids, 12)
    lengths = []
    for row, text in zip(together, ids, strict=True):
        alone = model.generate(text[None], 12)[0]
        lengths.append(len(alone))
        assert torch.equal(row[: len(alone)], alone)
        assert (row[len(alone) :] == 3).all()
    assert min(lengths) < max(lengths)


def test_shift_right_equals_transformers() -> None:
    """The start, then the labels; what losses leave out becomes padding."""
    model = theirs()
    labels = torch.tensor([[5, 6, 1], [7, 1, -100]])
    assert torch.equal(T5.from_hf(model).shift_right(labels), model._shift_right(labels))


@pytest.mark.parametrize("place", range(TARGET))
def test_the_decoder_sees_what_was_read_and_written_but_not_the_future(place: int) -> None:
    """A change of one written token moves that position and later ones alone."""
    ours = T5.from_hf(theirs())
    ids, written = texts(1)
    before, changed = ours(ids, written), written.clone()
    changed[0, place] = (changed[0, place] + 1) % VOCAB
    moved = (ours(ids, changed) - before).abs().amax(-1)[0]
    assert not moved[:place].any()
    assert (moved[place:] > 1e-9).all()
    ids[0, place] = (ids[0, place] + 1) % VOCAB
    assert ((ours(ids, written) - before).abs().amax(-1)[0] > 1e-9).all()


@pytest.mark.parametrize("padding", ["right", "left"])
def test_padding_and_other_texts_have_no_influence(padding: str) -> None:
    """Whatever stands at padding, nothing moves, and nothing moves in the other texts."""
    ours, mask = T5.from_hf(theirs()), PADDINGS[padding]
    assert mask is not None
    ids, written = texts()
    before = ours(ids, written, mask)
    assert torch.equal(ours(ids.where(mask.bool(), torch.tensor(7)), written, mask), before)
    ids[1] = (ids[1] + 1) % VOCAB
    moved = (ours(ids, written, mask) - before).abs().amax((-1, -2))
    assert moved[1] > 1e-6
    assert not moved[[0, 2]].any()


def test_the_same_text_cut_to_its_length_gives_the_same() -> None:
    """Padding on the right could as well not be there; distances do not count it."""
    ours = T5.from_hf(theirs())
    ids, written = texts()
    padded = ours(ids, written, PADDINGS["right"])
    torch.testing.assert_close(padded[1:2], ours(ids[1:2, :7], written[1:2]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_from_hf_keeps_state_and_shares_nothing(dtype: torch.dtype, training: bool) -> None:
    """Dtype and mode come along; no random number is drawn."""
    model = theirs().to(dtype).train(training)
    state = torch.get_rng_state()
    ours = T5.from_hf(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert {p.dtype for p in ours.parameters()} == {dtype}
    assert ours.training is training
    storage = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert not storage & {p.untyped_storage().data_ptr() for p in ours.parameters()}


@pytest.mark.parametrize("name", ["t5-small", "t5-base", "t5-large", "t5-3b", "t5-11b"])
def test_a_fresh_t5_has_the_published_number_of_parameters(name: str) -> None:
    """All sizes of the paper, without memory for them."""
    sizes: Any = find_config(name)
    same = ("vocab_size", "d_model", "d_head", "num_heads", "d_ff", "num_layers")
    with torch.device("meta"):
        ours = T5(T5Config(**{field: getattr(sizes, field) for field in same}))
    assert sum(p.numel() for p in ours.parameters()) == count_parameters(name)


def test_fresh_weights_make_logits_of_about_one() -> None:
    """With the embedding's numbers at 1, which is why the output is scaled."""
    torch.manual_seed(0)
    config = T5Config(vocab_size=VOCAB, d_model=256, d_head=64, num_heads=4, d_ff=512, num_layers=2)
    middle = T5(config)(*texts()).abs().median()
    assert 0.5 < middle < 0.9  # 0.67 in a normal distribution
    assert 8 < T5(replace(config, scaled=False))(*texts()).abs().median() < 15


SIZES: dict[str, Any] = {
    "vocab_size": 9, "d_model": 8, "d_head": 4, "num_heads": 2, "d_ff": 8, "num_layers": 1
}  # fmt: skip


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: T5.from_hf(nn.Linear(2, 2)), TypeError, "need a transformers.T5ForConditionalGeneration, got Linear"),
        (lambda: T5.from_hf(theirs(feed_forward_proj="gated-silu")), ValueError, "feed_forward_proj must be one of ['relu', 'gated-gelu'], got 'gated-silu'"),
        (lambda: T5Config(**{**SIZES, "d_head": 0}), ValueError, "d_head must be positive, got 0"),
        (lambda: T5Config(**SIZES, end_id=9), ValueError, "end_id must be from 0 to 8, got 9"),
        (lambda: T5(T5Config(**SIZES, activation="tanh")), ValueError, "activation must be one of"),
        (lambda: T5(T5Config(**SIZES, num_buckets=2)), ValueError, "num_buckets must be at least 4"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(build: Any, error: type[Exception], message: str) -> None:
    """Another model, another activation, sizes that make none."""
    with pytest.raises(error, match=re.escape(message)):
        build()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(texts()[0] + VOCAB, texts()[1]), "token_ids must be from 0 to vocab_size - 1 = 39"),
        (lambda m: m(texts()[0], texts()[1] + VOCAB), "decoder_ids must be from 0 to vocab_size - 1 = 39"),
        (lambda m: m(texts()[0][0], texts()[1]), "token_ids must have the shape (batch, seq)"),
        (lambda m: m(texts()[0], texts()[1][:, :0]), "decoder_ids must have the shape (batch, seq) and hold at least one token"),
        (lambda m: m(texts()[0], texts()[1].double()), "decoder_ids must be int64 or int32, got dtype torch.float64"),
        (lambda m: m(texts()[0], texts()[1][:2]), "decoder_ids must be as many as token_ids, 3, got 2"),
        (lambda m: m(*texts(), torch.ones(3, 4)), "attention_mask must have the shape (batch, key) = (3, 11), got (3, 4)"),
        (lambda m: m(*texts(), torch.full((3, SOURCE), 2)), "attention_mask must be boolean, or hold 0 and 1 alone"),
        (lambda m: m.generate(texts()[0], 0), "max_new_tokens must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Any, message: str) -> None:
    """The argument, what came and what was expected."""
    with pytest.raises(ValueError, match=re.escape(message)):
        call(T5.from_hf(theirs()))


@pytest.mark.parametrize("end", [None, 3, [3], [3, 5]], ids=str)
@pytest.mark.parametrize("start", [None, 2])
def test_special_tokens_may_be_none_or_several(end: Any, start: int | None) -> None:
    """In transformers' config; the same is written, up to whichever token comes first."""
    model = theirs()
    model.config.eos_token_id, model.config.decoder_start_token_id = end, start
    model.config.pad_token_id = 0 if start is None else None
    ours = T5.from_hf(model)
    assert ours.config.start_id == (start or 0)
    assert ours.config.end_id == (() if end is None else end if end == 3 else tuple(end))
    written = ours.generate(token_ids := torch.arange(6, 12).view(2, 3), 12)
    ends = [] if end is None else [end] if end == 3 else end
    endless = T5(replace(ours.config, end_id=()))
    endless.load_state_dict(ours.state_dict())
    for row, whole in zip(written.tolist(), endless.generate(token_ids, 12).tolist(), strict=True):
        first = min((whole.index(token) for token in ends if token in whole), default=len(whole))
        assert row[: first + 1] == whole[: first + 1]
        assert not any(row[first + 1 :])


def test_several_tokens_to_start_with_are_named() -> None:
    """One for each text is more than ours has."""
    model = theirs()
    model.config.decoder_start_token_id = [0, 1]
    with pytest.raises(ValueError, match=r"decoder_start_token_id must be one token, got \[0, 1\]"):
        T5.from_hf(model)
