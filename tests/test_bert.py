"""`llmbook.bert` against transformers, and by what may depend on what."""

import copy
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig as TheirConfig
from transformers import BertForPreTraining, BertModel

from llmbook.bert import Bert, BertConfig
from llmbook.pretrained import fetch
from llmbook.wordpiece import WordPiece

VOCAB, SEQ = 60, 9
SEGMENTS = (torch.arange(SEQ) >= 5).long().expand(3, SEQ)
PADDINGS = {
    "none": None,
    "right": (torch.arange(SEQ) < torch.tensor([[9], [6], [2]])).long(),
    "left": torch.arange(SEQ) >= torch.tensor([[0], [3], [7]]),
}


def theirs(kind: Any = BertForPreTraining, **options: Any) -> Any:
    """A random BERT in float64 whose norms and biases are not the trivial ones."""
    torch.manual_seed(0)
    config = {
        "vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40,
        "max_position_embeddings": 16, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    }  # fmt: skip
    model = kind(TheirConfig(**{**config, **options})).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=0.5 * (parameter.ndim == 1), std=0.3)
    return model.eval()


def texts() -> Tensor:
    """Three texts of tokens; not of token 0, to which theirs, as padding, sends no gradient."""
    return torch.randint(1, VOCAB, (3, SEQ), generator=torch.Generator().manual_seed(1))


def assert_same(ours: Tensor, their: Tensor, mine: Any, their_model: Any) -> None:
    """Outputs agree to rounding, and so does the gradient of each weight that both can reach."""
    torch.testing.assert_close(ours, their, rtol=0, atol=1e-10)
    direction = torch.linspace(-1, 1, ours.numel(), dtype=ours.dtype).view_as(ours)
    our_embedding, their_embedding = (
        mine.embedding.weight,
        their_model.get_input_embeddings().weight,
    )
    for one, other in zip(
        torch.autograd.grad(
            ours, (our_embedding, *mine.blocks[0].parameters()), direction, retain_graph=True
        ),
        torch.autograd.grad(
            their,
            (their_embedding, *block_parameters(their_model)),
            direction,
            retain_graph=True,
        ),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def block_parameters(model: Any) -> list[nn.Parameter]:
    """Of their first block, in our order."""
    layer = (model.bert if hasattr(model, "bert") else model).encoder.layer[0]
    attention, output = layer.attention.self, layer.attention.output
    parts = [attention.query, attention.key, attention.value, output.dense, output.LayerNorm]
    parts += [layer.intermediate.dense, layer.output.dense, layer.output.LayerNorm]
    return [p for part in parts for p in (part.weight, part.bias)]


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("pair", [False, True])
def test_bert_equals_transformers(padding: str, pair: bool) -> None:
    """Both heads, forward and backward, with padding and with pairs."""
    model, mask = theirs(), PADDINGS[padding]
    ours = Bert.from_hf(model)
    segments = SEGMENTS if pair else None
    mlm, nsp = ours(texts(), segments, mask)
    expected = model(texts(), mask, segments)
    visible = torch.ones(3, SEQ, dtype=torch.bool) if mask is None else mask.bool()
    assert_same(mlm[visible], expected.prediction_logits[visible], ours, model)
    if padding != "left":  # where [CLS] itself is padding, it means nothing
        assert_same(nsp, expected.seq_relationship_logits, ours, model)


@pytest.mark.parametrize("padding", ["none", "right"])
def test_hidden_states_of_every_level_equal_transformers(padding: str) -> None:
    """An encoder without heads: the embeddings, and what each block makes of them."""
    model, mask = theirs(BertModel), PADDINGS[padding]
    ours = Bert.from_hf(model)
    levels = ours.levels(texts(), SEGMENTS, mask)
    assert torch.equal(ours.hidden_states(texts(), SEGMENTS, mask), levels[-1])
    expected = model(texts(), mask, SEGMENTS, output_hidden_states=True)
    assert len(levels) == 4
    visible = torch.ones(3, SEQ, dtype=torch.bool) if mask is None else mask.bool()
    for mine, their in zip(levels, expected.hidden_states, strict=True):
        torch.testing.assert_close(mine[visible], their[visible], rtol=0, atol=1e-10)
    torch.testing.assert_close(ours.pool(levels[-1]), expected.pooler_output, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="this encoder came without heads"):
        ours(texts())


def test_every_token_sees_every_other_but_no_padding_and_no_other_text() -> None:
    """A change moves all of its own text; a change of padding moves nothing."""
    ours, mask = Bert.from_hf(theirs()), PADDINGS["right"]
    before = ours(texts(), None, mask)[0]
    changed = texts()
    changed[1, 7] = (changed[1, 7] + 1) % VOCAB  # padding
    changed[2, 1] = (changed[2, 1] + 1) % VOCAB
    moved = (ours(changed, None, mask)[0] - before).abs().amax(-1)
    assert not moved[0].any()
    assert not moved[1, :6].any()
    assert (moved[2, :2] > 1e-6).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_from_hf_keeps_state_and_shares_nothing(dtype: torch.dtype, training: bool) -> None:
    """Dtype and mode come along; no random number is drawn."""
    model = theirs().to(dtype).train(training)
    state = torch.get_rng_state()
    ours = Bert.from_hf(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert {p.dtype for p in ours.parameters()} == {dtype}
    assert ours.training is training
    storage = {p.untyped_storage().data_ptr() for p in model.parameters()}
    assert not storage & {p.untyped_storage().data_ptr() for p in ours.parameters()}
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in model.parameters())


def test_a_fresh_bert_has_the_published_number_of_parameters() -> None:
    """bert-base with both heads."""
    config = BertConfig(vocab_size=30_522, d_model=768, num_layers=12, num_heads=12, d_ff=3072)
    with torch.device("meta"):
        ours = Bert(config)
    assert sum(p.numel() for p in ours.parameters()) == 110_106_428


def test_minilm_equals_transformers(minilm: tuple[Bert, WordPiece]) -> None:
    """Real weights in our code: every level of two sentences, one of them padded, in float64."""
    model, tokenizer = minilm
    rows = [tokenizer.encode(text)[0] for text in ("The bank of the river.", "He robbed it.")]
    ids = torch.tensor([row + [0] * (max(map(len, rows)) - len(row)) for row in rows])
    mask = torch.tensor([[i < len(row) for i in range(ids.shape[1])] for row in rows])
    their_model = BertModel.from_pretrained(fetch("minilm").parent).double().eval()
    ours = copy.deepcopy(model).double().levels(ids, None, mask)
    expected = their_model(ids, mask.long(), output_hidden_states=True).hidden_states
    for mine, their in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine[mask], their[mask], rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: Bert.from_hf(nn.Linear(2, 2)), TypeError, "got Linear"),
        (lambda: Bert.from_hf(theirs(hidden_act="relu")), ValueError, "hidden_act must be 'gelu', got 'relu'"),
        (
            lambda: Bert.from_hf(BertModel(theirs().config, add_pooling_layer=False)),
            ValueError,
            "the model must have a pooler",
        ),
        (
            lambda: BertConfig(vocab_size=9, d_model=10, num_layers=1, num_heads=3, d_ff=8),
            ValueError,
            "num_heads must divide d_model, got num_heads=3 and d_model=10",
        ),
        (
            lambda: BertConfig(vocab_size=0, d_model=8, num_layers=1, num_heads=2, d_ff=8),
            ValueError,
            "vocab_size must be positive, got 0",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(build: Any, error: type[Exception], message: str) -> None:
    """Another model, another activation, sizes that make none."""
    with pytest.raises(error, match=message):
        build()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(texts() + VOCAB), "token_ids must be from 0 to vocab_size - 1 = 59"),
        (lambda m: m(texts().repeat(1, 2)), "must end within max_len=16 positions, got 18"),
        (lambda m: m(texts()[:, :0]), "hold at least one token"),
        (lambda m: m(texts(), SEGMENTS[:, :3]), "token_type_ids must have the shape of token_ids, (3, 9), got (3, 3)"),
        (lambda m: m(texts(), None, torch.ones(3, 4)), "attention_mask must have the shape (batch, key) = (3, 9)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call: Any, message: str) -> None:
    """The argument, what came and what was expected."""
    with pytest.raises(ValueError, match=re.escape(message)):
        call(Bert.from_hf(theirs()))
