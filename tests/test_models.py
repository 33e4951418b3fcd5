"""What holds for every model of the book: 16 bits, types of tokens and sizes, export, modes."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmbook.architectures.configs import Config
from llmbook.architectures.costs import block_flops, block_parameters
from llmbook.attention import MultiHeadAttention
from llmbook.bert import Bert, BertConfig
from llmbook.experiments import acceptability, emergence, skills
from llmbook.generation import generate
from llmbook.gpt import GPT, GPTConfig
from llmbook.layers import FeedForward
from llmbook.llama import Llama, LlamaConfig
from llmbook.objectives import mask_tokens
from llmbook.rnn import LSTM
from llmbook.t5 import T5, T5Config
from llmbook.training import Recipe, bits_per_byte, next_token_loss, train

VOCAB, SEQ = 50, 12
SIZES: dict[str, Any] = {"vocab_size": VOCAB, "d_model": 32, "num_layers": 3, "num_heads": 4}


def gpt(**options: Any) -> GPT:
    """As in 2019, unless told."""
    return GPT(GPTConfig(**SIZES, max_len=SEQ, **options))


MODELS: dict[str, Callable[[], Any]] = {
    "gpt-2": gpt,
    "gpt": lambda: gpt(norm_first=False),
    "llama": lambda: Llama(LlamaConfig(**SIZES, num_kv_heads=2, d_ff=48, max_len=SEQ)),
    "bert": lambda: Bert(BertConfig(**SIZES, d_ff=64, max_len=SEQ)),
    "t5": lambda: T5(T5Config(**SIZES, d_head=8, d_ff=64)),
}
each_model = pytest.mark.parametrize("kind", MODELS)


def model_of(kind: str) -> Any:
    """A model with weights so large that it says different things after different texts."""
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=1.0 if kind == "t5" and len(parameter) == VOCAB else 0.2)
    return model


def texts(batch: int = 3, seq: int = SEQ) -> Tensor:
    """Token ids at random."""
    return torch.randint(VOCAB, (batch, seq), generator=torch.Generator().manual_seed(0))


def logits_of(model: Any, token_ids: Tensor, **options: Any) -> Tensor:
    """Of each position; a T5 writes what it reads."""
    given = (token_ids, token_ids) if isinstance(model, T5) else (token_ids,)
    logits = model(*given, **options)
    found: Tensor = logits[0] if isinstance(logits, tuple) else logits
    return found


def divergence(exact: Tensor, rough: Tensor) -> float:
    """The largest Kullback-Leibler divergence of any position, in nats."""
    p, q = (logits.double().log_softmax(-1) for logits in (exact, rough))
    return (p.exp() * (p - q)).sum(-1).max().item()


# --- 16 bits ---------------------------------------------------------------------------------


@each_model
@pytest.mark.parametrize(("dtype", "most"), [(torch.float16, 1e-4), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("padded", [False, True])
def test_a_model_in_sixteen_bits_says_nearly_the_same(
    kind: str, dtype: torch.dtype, most: float, padded: bool
) -> None:
    """Also with a stream of numbers whose squares float16 does not hold, and with padding."""
    model, token_ids = model_of(kind), texts()
    with torch.no_grad():
        for parameter in model.embedding.parameters():
            parameter.mul_(300 / parameter.abs().max())
    options: dict[str, Any] = {}
    if padded:
        options["attention_mask"] = torch.ones(3, SEQ, dtype=torch.bool)
        options["attention_mask"][1:, -3:] = False
    rough = copy.deepcopy(model).to(dtype)
    exact = copy.deepcopy(rough).float()  # the same weights, rounded alike
    with torch.no_grad():  # of logits as large as the embedding, all but one would be impossible
        one, other = (
            F.layer_norm(logits_of(each, token_ids, **options).float(), (VOCAB,))
            for each in (exact, rough)
        )
    assert other.isfinite().all()
    assert divergence(one, other) < most


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_smollm2_in_sixteen_bits_says_the_same(dtype: torch.dtype, smollm2: Any) -> None:
    """Up to what rounding does, which is eight times as coarse in bfloat16."""
    model, tokenizer = smollm2
    token_ids = torch.tensor(
        [tokenizer.encode("The capital of France is Paris, which lies on the")]
    )
    with torch.no_grad():
        exact, rough = (m(token_ids) for m in (model, copy.deepcopy(model).to(dtype)))
    assert divergence(exact, rough) < (5e-4 if dtype == torch.float16 else 3e-2)
    assert exact[0, -1].argmax() == rough[0, -1].argmax()


# --- types -----------------------------------------------------------------------------------


@each_model
def test_tokens_may_be_int32(kind: str) -> None:
    """In the model and in its loss."""
    model, token_ids = model_of(kind), texts()
    torch.testing.assert_close(logits_of(model, token_ids.int()), logits_of(model, token_ids))
    if kind in ("bert", "t5"):
        hidden, labels = mask_tokens(
            token_ids.int(), 4, VOCAB, generator=torch.Generator().manual_seed(0)
        )
        assert F.cross_entropy(logits_of(model, hidden).flatten(0, 1), labels.flatten()) > 0
    else:
        assert next_token_loss(model, token_ids.int()) == next_token_loss(model, token_ids)
        bits = [
            bits_per_byte(model, text, 9, max_len=5) for text in (token_ids[0], token_ids[0].int())
        ]
        assert bits[0] == bits[1]


@pytest.mark.plain
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int32, np.uint64, torch.tensor], ids=str)
def test_sizes_may_be_any_integers(kind: Any) -> None:
    """Of NumPy or PyTorch, of any width: none of them wraps."""
    n = {name: kind(value) for name, value in {"16": 16, "64": 64, "2": 2, "96": 96}.items()}
    config = GPTConfig(
        vocab_size=n["96"], d_model=n["64"], num_layers=n["2"], num_heads=n["16"], max_len=n["16"]
    )
    assert config == GPTConfig(vocab_size=96, d_model=64, num_layers=2, num_heads=16, max_len=16)
    assert all(type(size) is int for size in (config.d_model, config.d_ff))
    assert MultiHeadAttention(n["64"], n["16"], d_head=n["64"]).query.out_features == 1024
    assert FeedForward(n["64"], n["96"]).up.out_features == 96
    assert LSTM(n["16"], n["64"]).input[0].weight.shape == (256, 16)
    assert block_parameters(n["64"], n["96"]) == block_parameters(64, 96)
    assert block_flops(n["64"], n["96"], n["16"]) == block_flops(64, 96, 16)
    sheet: Any = {"num_layers": 2, "num_heads": 16, "d_ff": 96, "vocab_size": 96, "max_len": 16}
    ours = Config(kind="gpt-2", d_model=n["64"], **{k: kind(v) for k, v in sheet.items()})
    assert ours == Config(kind="gpt-2", d_model=64, **sheet)


@pytest.mark.plain
@pytest.mark.parametrize("size", [4.0, "4", [4], None])
def test_a_size_that_is_no_whole_number_is_named(size: Any) -> None:
    """Before it makes anything of the wrong shape."""
    sizes = {**SIZES, "num_heads": size}
    with pytest.raises(TypeError, match="num_heads must be a whole number, got "):
        GPTConfig(**sizes, max_len=SEQ)


# --- nothing to read -------------------------------------------------------------------------


@pytest.mark.plain
@each_model
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_read_is_named(kind: str, shape: tuple[int, int]) -> None:
    """No text, or texts without a token."""
    with pytest.raises(ValueError, match="hold at least one token, got shape"):
        logits_of(model_of(kind), torch.zeros(shape, dtype=torch.long))


# --- export ----------------------------------------------------------------------------------


@pytest.mark.plain
@each_model
@pytest.mark.parametrize("masked", [False, True])
def test_a_model_can_be_exported(kind: str, masked: bool) -> None:
    """As a graph that reads texts of any number and length."""
    model, some, others = model_of(kind), texts(2, 7), texts(3, 9)
    batch, seq = torch.export.Dim("batch", max=8), torch.export.Dim("seq", min=2, max=SEQ)
    axes = {0: batch, 1: seq}
    names = ["token_ids", *(["decoder_ids"] if kind == "t5" else [])]
    shapes = dict.fromkeys(names, axes) | ({"attention_mask": axes} if masked else {})
    mask = (lambda ids: {"attention_mask": torch.ones_like(ids)}) if masked else lambda ids: {}
    given = (some,) * len(names)
    with torch.no_grad():
        graph = torch.export.export(model, given, mask(some), dynamic_shapes=shapes, strict=False)
    found = graph.module()(*(others,) * len(names), **mask(others))
    found = found[0] if isinstance(found, tuple) else found
    torch.testing.assert_close(found, logits_of(model, others), rtol=1e-4, atol=1e-4)


# --- padding and a cache ---------------------------------------------------------------------


@pytest.mark.plain
@pytest.mark.parametrize("kind", ["gpt-2", "llama"])
def test_a_text_does_not_go_on_after_padding(kind: str) -> None:
    """Positions count by columns: it would stand too far from its beginning."""
    model, token_ids = model_of(kind), texts(2, 4)
    right = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    with torch.inference_mode():
        cache = model.new_cache(6, batch=2)
        model(token_ids, right, cache)
        new = texts(2, 1)
        with pytest.raises(ValueError, match="padding inside of a text: with a cache, pad on the"):
            model(new, torch.cat((right, torch.ones(2, 1, dtype=torch.long)), 1), cache)
        with pytest.raises(ValueError, match="must cover the cached positions: some are padding"):
            model(new, None, cache)
        with pytest.raises(ValueError, match="shows cached positions that it called padding"):
            model(new, torch.ones(2, 5, dtype=torch.long), cache)
        # A text that is at its end may stand beside one that goes on.
        mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
        going_on = model(new, mask, cache)[0, -1]
        alone = model(torch.cat((token_ids[:1], new[:1]), dim=1))[0, -1]
    torch.testing.assert_close(going_on, alone, rtol=1e-4, atol=1e-4)


# --- modes -----------------------------------------------------------------------------------


class DropoutError(Exception):
    """Somebody has pulled the plug."""


@contextmanager
def mixed_modes(model: nn.Module) -> Iterator[None]:
    """Some parts are in training mode and some are not, before and after."""
    for index, module in enumerate(model.modules()):
        module.training = index % 3 > 0
    before = [module.training for module in model.modules()]
    yield
    assert [module.training for module in model.modules()] == before


def fail(*_: Any) -> Any:
    """Stop whoever calls."""
    raise DropoutError


RUNS: dict[str, Callable[[Any], object]] = {
    "generate": lambda m: list(generate(m, [1, 2, 3], 4)),
    "bits_per_byte": lambda m: bits_per_byte(m, torch.arange(20), 20, max_len=5),
    "skills": lambda m: skills.examine(m, texts()),
    "emergence": lambda m: emergence.measure(m, texts()),
    "train": lambda m: train(
        m, lambda _: texts(), Recipe(steps=2), generator=torch.Generator().manual_seed(0)
    ),
}


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("fails", [False, True])
def test_each_module_is_in_its_mode_again(
    run: str, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards, and also after an exception."""
    if run == "skills":
        monkeypatch.setattr(skills, "score", lambda *_: {})
    model = gpt(dropout=0.5)
    with mixed_modes(model):
        if fails:
            model.blocks[1].register_forward_hook(fail)
            with pytest.raises(DropoutError):
                RUNS[run](model)
        else:
            RUNS[run](model)


def test_experiments_with_bert_give_its_modes_back() -> None:
    """Examination, fine-tuning of a copy, and one question."""
    setup = acceptability.Setup(examined=3, tested=2, tuning=Recipe(steps=1))
    model = acceptability.new_model(0)
    with mixed_modes(model):
        acceptability.examine(model, setup)
        acceptability.number_of(model, "the [MASK] is hungry .")
        acceptability.fine_tune(model, 8, 0, setup=setup)


def test_generated_text_does_not_vary_by_dropout() -> None:
    """Of GPT and T5, fresh or just trained; the mode is training mode again between two tokens."""
    model = gpt(dropout=0.5)
    train(model, lambda _: texts(), Recipe(steps=2), generator=torch.Generator())
    assert len({tuple(generate(model, [1, 2, 3], 8)) for _ in range(5)}) == 1
    tokens = generate(model, [1, 2, 3], 8)
    next(tokens)
    assert all(module.training for module in model.modules())
    t5 = model_of("t5").train()
    with mixed_modes(t5):
        t5.generate(texts(), 4)
