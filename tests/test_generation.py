"""`llmbook.generation` against transformers, and by the probabilities of what it draws."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig as TheirConfig
from transformers import LlamaForCausalLM, TopKLogitsWarper, TopPLogitsWarper

from llmbook.generation import KVCache, LanguageModel, generate, keep_top_k, keep_top_p
from llmbook.llama import Llama

VOCAB, MAX_LEN, NEW = 60, 64, 40
PROMPT = [3, 1, 4, 1, 5]
LOGITS = st.lists(st.integers(-40, 40), min_size=1, max_size=12).map(
    lambda numbers: torch.tensor(numbers, dtype=torch.float64) / 8
)


def theirs(**options: Any) -> LlamaForCausalLM:
    """A random model of transformers that says different things after different texts."""
    torch.manual_seed(0)
    config = {
        "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": MAX_LEN, "initializer_range": 0.3, "eos_token_id": None,
    }  # fmt: skip
    model = LlamaForCausalLM(TheirConfig(**{**config, **options})).double()
    model.eval()
    return model


class Dice:
    """A model whose next token never depends on the text."""

    max_len, device = 8, torch.device("cpu")

    def __init__(self, *probabilities: float) -> None:
        self.logits = torch.tensor(probabilities).log()

    def hidden_states(self, token_ids: Tensor, *, cache: KVCache | None = None) -> Tensor:
        """Nothing worth knowing."""
        return torch.zeros(*token_ids.shape, 1)

    def unembed(self, hidden: Tensor) -> Tensor:
        """The same logits everywhere."""
        return self.logits.expand(*hidden.shape[:2], -1)

    def new_cache(self, max_len: int) -> KVCache:
        """One that stays empty."""
        return KVCache(torch.zeros(2, 1, 1, 1, max_len, 1))


def their_tokens(model: Any, **options: Any) -> list[int]:
    """What transformers says after the prompt."""
    prompt = torch.tensor([PROMPT])
    options = {"max_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, **options}
    output: Tensor = model.generate(prompt, attention_mask=torch.ones_like(prompt), **options)
    return output[0, len(PROMPT) :].tolist()


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize(
    "options", [{}, {"tie_word_embeddings": True}, {"num_key_value_heads": 4}], ids=str
)
def test_greedy_equals_transformers(options: dict[str, Any], use_cache: bool) -> None:
    """Token by token, with and without a cache."""
    model = theirs(**options)
    expected = their_tokens(model)
    assert list(generate(Llama.from_hf(model), PROMPT, NEW, use_cache=use_cache)) == expected
    assert len(set(expected)) > 5  # else the comparison would show little


def test_stop_equals_transformers() -> None:
    """A stop token is the last one given, as their end-of-sequence token is, and may be of several."""
    model = theirs()
    spoken = their_tokens(model)
    stop = spoken[20]
    expected = their_tokens(model, eos_token_id=stop)
    assert expected == spoken[: spoken.index(stop) + 1]
    ours = Llama.from_hf(model)
    absent = min(set(range(VOCAB)) - set(spoken))
    assert list(generate(ours, PROMPT, NEW, stop=stop)) == expected
    assert list(generate(ours, PROMPT, NEW, stop={stop, absent})) == expected
    assert list(generate(ours, PROMPT, NEW, stop=[])) == spoken
    assert list(generate(ours, PROMPT, NEW, stop=absent)) == spoken


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.7},
        {"temperature": 2, "top_k": 9},
        {"temperature": 1.0, "top_p": 0.8, "top_k": 30},
    ],
    ids=str,
)
def test_sampling_is_the_same_with_and_without_a_cache(options: dict[str, Any]) -> None:
    """Equal seeds draw equal tokens, other seeds draw others."""
    model = Llama.from_hf(theirs())

    def tokens(seed: int, use_cache: bool) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return list(
            generate(model, PROMPT, NEW, generator=generator, use_cache=use_cache, **options)
        )

    assert tokens(0, use_cache=True) == tokens(0, use_cache=False)
    assert tokens(0, use_cache=True) != tokens(1, use_cache=True)


@pytest.mark.parametrize(
    "prompt",
    [tuple(PROMPT), torch.tensor(PROMPT), torch.tensor([PROMPT], dtype=torch.int32)],
    ids=["tuple", "1-d", "2-d"],
)
def test_a_prompt_may_be_a_list_or_a_tensor(prompt: Any) -> None:
    """The same tokens come out, as plain integers, and the prompt stays as it was."""
    model, copy = Llama.from_hf(theirs()), torch.as_tensor(prompt).clone()
    tokens = list(generate(model, prompt, NEW, use_cache=False))
    assert tokens == list(generate(model, PROMPT, NEW))
    assert all(type(token) is int for token in tokens)
    assert torch.equal(torch.as_tensor(prompt), copy)


def test_tokens_come_one_by_one() -> None:
    """A token is computed when it is asked for, and gradients are on again when it comes."""
    steps = []
    model = Llama.from_hf(theirs())
    model.norm.register_forward_hook(lambda *_: steps.append(torch.is_grad_enabled()))
    tokens = generate(model, PROMPT, NEW)
    assert steps == []
    first = list(itertools.islice(tokens, 3))
    assert steps == [False] * 3
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    assert first + list(tokens) == list(generate(model, PROMPT, NEW))


def test_a_cache_reads_each_position_once() -> None:
    """The prompt at once and then one position a step; without a cache, the whole text each time."""
    widths: list[int] = []
    model = Llama.from_hf(theirs())
    model.norm.register_forward_hook(lambda _, inputs, __: widths.append(inputs[0].shape[1]))
    list(generate(model, PROMPT, 4))
    list(generate(model, PROMPT, 4, use_cache=False))
    assert widths == [5, 1, 1, 1, 5, 6, 7, 8]


def test_generation_fills_the_model_to_the_last_position() -> None:
    """The last token is given without being read, so it may lie beyond the last position."""
    model = Llama.from_hf(theirs())
    assert len(list(generate(model, PROMPT, MAX_LEN - 4))) == MAX_LEN - 4
    message = rf"token_ids \(5\) and max_new_tokens \({MAX_LEN - 3}\) .* it knows max_len={MAX_LEN}"
    with pytest.raises(ValueError, match=message):
        generate(model, PROMPT, MAX_LEN - 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 1.0}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.5}, [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
        ({"temperature": 1, "top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"temperature": 1.0, "top_p": 0.81}, [0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0]),
        ({"temperature": 0.5, "top_p": 0.81}, [0.25 / 0.34, 0.09 / 0.34, 0, 0]),  # heat first, cut then
        ({"temperature": 1.0, "top_k": 3, "top_p": 0.84}, [0.625, 0.375, 0, 0]),  # 0.8 of 0.95 is enough
        ({"temperature": 1e-30}, [1, 0, 0, 0]),
        ({"temperature": 0}, [1, 0, 0, 0]),
    ],
)  # fmt: skip
def test_draws_follow_the_probabilities(options: dict[str, Any], expected: list[float]) -> None:
    """Of 2,000 draws each token has its share, to four standard errors."""
    dice, generator = Dice(0.5, 0.3, 0.15, 0.05), torch.Generator().manual_seed(0)
    assert isinstance(dice, LanguageModel)
    draws = Counter(
        token
        for _ in range(250)
        for token in generate(dice, [0], 8, generator=generator, **options)
    )
    for token, probability in enumerate(expected):
        error = 4 * math.sqrt(probability * (1 - probability) / 2000)
        assert draws[token] / 2000 == pytest.approx(probability, abs=error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_filters_equal_transformers(dtype: torch.dtype) -> None:
    """On rows of random logits, which have no ties."""
    logits = 3 * torch.randn(20, 300, generator=torch.Generator().manual_seed(0), dtype=dtype)
    for k in (1, 5, 299, 300, 1000):
        assert torch.equal(keep_top_k(logits, k), TopKLogitsWarper(k)(None, logits))
    for p in (0.01, 0.3, 0.9, 0.999, 1.0):
        assert torch.equal(keep_top_p(logits, p), TopPLogitsWarper(p)(None, logits))


def split(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """What was kept and what was dropped; there is nothing else."""
    kept = after > -math.inf
    assert torch.equal(after[kept], before[kept])
    return before[kept], before[~kept]


@given(logits=LOGITS, k=st.integers(1, 15))
def test_top_k_keeps_k_tokens_and_their_equals(logits: Tensor, k: int) -> None:
    """No dropped token is as likely as a kept one, and k are kept unless there is a tie."""
    kept, dropped = split(logits, keep_top_k(logits, k))
    assert not len(dropped) or dropped.max() < kept.min()
    ties = (kept == kept.min()).sum()
    assert len(kept) - ties < min(k, len(logits)) <= len(kept)


@given(logits=LOGITS, p=st.floats(0.01, 1))
def test_top_p_keeps_the_smallest_set_of_that_mass(logits: Tensor, p: float) -> None:
    """What is kept has the mass p, and without its least likely tokens it would not."""
    kept, dropped = split(logits, keep_top_p(logits, p))
    assert not len(dropped) or dropped.max() < kept.min()
    total = logits.exp().sum()
    assert kept.exp().sum() / total >= p - 1e-9
    assert kept[kept > kept.min()].exp().sum() / total < p + 1e-9


@settings(max_examples=50)
@given(logits=LOGITS, data=st.data())
def test_filters_do_not_care_about_the_order_of_the_vocabulary(
    logits: Tensor, data: st.DataObject
) -> None:
    """Shuffled logits give shuffled results, also where there are ties."""
    order = torch.tensor(data.draw(st.permutations(range(len(logits)))))
    for after in (lambda x: keep_top_k(x, 3), lambda x: keep_top_p(x, 0.6)):
        assert torch.equal(after(logits[order]), after(logits)[order])


def test_ties_at_the_edge_are_kept() -> None:
    """Both filters keep all that is as likely as the last that is needed, and 1 keeps everything."""
    logits = torch.tensor([0.4, 0.2, 0.2, 0.2]).log()
    assert keep_top_k(logits, 2).isfinite().tolist() == [True] * 4
    assert keep_top_p(logits, 0.5).isfinite().tolist() == [True] * 4
    assert keep_top_p(logits, 0.3).isfinite().tolist() == [True, False, False, False]
    tiny = torch.tensor([0.0, -200.0])
    assert torch.equal(keep_top_p(tiny, 1), tiny)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"max_new_tokens": -1}, "max_new_tokens must be at least 1, got -1"),
        ({"temperature": -0.1}, "temperature must be finite and not negative, got -0.1"),
        ({"temperature": math.inf}, "temperature must be finite and not negative, got inf"),
        ({"temperature": math.nan}, "temperature must be finite and not negative, got nan"),
        ({"temperature": 1.0, "top_k": 0}, "top_k must be at least 1, got 0"),
        ({"temperature": 1.0, "top_p": 0.0}, "top_p must be above 0 and at most 1, got 0.0"),
        ({"temperature": 1.0, "top_p": 1.01}, "top_p must be above 0 and at most 1, got 1.01"),
        ({"temperature": 1.0, "top_p": math.nan}, "top_p must be above 0 and at most 1, got nan"),
        ({"top_k": 5}, "top_k=5 and top_p=None need a temperature above 0"),
        ({"top_p": 0.9}, "top_k=None and top_p=0.9 need a temperature above 0"),
        (
            {"token_ids": []},
            r"token_ids must be one text of at least one token, got shape \(1, 0\)",
        ),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    """The call itself raises, before any token is asked for."""
    with pytest.raises(ValueError, match=message):
        generate(Dice(0.5, 0.5), **{"token_ids": [0], "max_new_tokens": 3, **options})


@pytest.mark.plain
def test_a_prompt_is_one_text() -> None:
    """Two texts, or none, are refused, and so is a token that the model does not know."""
    model = Llama.from_hf(theirs())
    with pytest.raises(ValueError, match=r"one text of at least one token, got shape \(2, 3\)"):
        generate(model, torch.zeros(2, 3, dtype=torch.long), 3)
    with pytest.raises(ValueError, match=r"one text of at least one token, got shape \(1, 0\)"):
        generate(model, torch.zeros(1, 0, dtype=torch.long), 3)
    with pytest.raises(
        ValueError, match=f"token_ids must be from 0 to .* = {VOCAB - 1}, got {VOCAB}"
    ):
        next(generate(model, [VOCAB], 3))


@pytest.mark.parametrize(("keep", "value"), [(keep_top_k, 0), (keep_top_p, 0.0), (keep_top_p, 1.5)])
def test_filters_name_a_wrong_size(keep: Any, value: float) -> None:
    """Nothing can be drawn from no token."""
    with pytest.raises(ValueError, match=f"got {value}"):
        keep(torch.zeros(3), value)


# --- kinds of numbers ------------------------------------------------------------------------


STOPS: dict[str, Any] = {
    "int": lambda token, other: token,
    "NumPy": lambda token, other: np.int32(token),
    "tensor": lambda token, other: torch.tensor(token),
    "tensor of one": lambda token, other: torch.tensor([token]),
    "list": lambda token, other: [other, token],
    "tuple of NumPy's": lambda token, other: (np.uint8(other), np.int64(token)),
    "set of tensors": lambda token, other: {torch.tensor(other), torch.tensor(token)},
    "array": lambda token, other: np.array([other, token], np.uint16),
    "array of no axis": lambda token, other: np.array(token),
    "long tensor": lambda token, other: torch.tensor([other, token], dtype=torch.int32),
    "iterator": lambda token, other: iter([other, token]),
}


@pytest.mark.plain
@pytest.mark.parametrize("kind", STOPS)
@pytest.mark.parametrize("token", [0, 2])
def test_a_stop_token_may_be_of_any_kind(kind: str, token: int) -> None:
    """Zero is one too."""
    dice = Dice(*[float(place == token) for place in range(3)])
    assert list(generate(dice, [1], 8, stop=STOPS[kind](token, 1))) == [token]
    assert len(list(generate(dice, [1], 8, stop=STOPS[kind](1, 1)))) == 8


@pytest.mark.plain
@pytest.mark.parametrize("stop", [2.0, "a", ["a"], [[1, 2]], torch.tensor([1.5]), object(), [None]])
def test_a_stop_that_is_no_token_is_named(stop: Any) -> None:
    """Before anything is generated."""
    with pytest.raises(TypeError, match="stop must be a token or a collection of tokens, got "):
        generate(Dice(0.5, 0.5), [1], 8, stop=stop)


@pytest.mark.plain
def test_numbers_of_tokens_do_not_wrap() -> None:
    """Three tokens and 255 more, counted in eight bits, would be two."""
    dice, byte = Dice(0.5, 0.5), np.uint8
    with pytest.raises(ValueError, match="make the model read 257 positions"):
        generate(dice, [1, 1, 0], byte(255))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"max_new_tokens must be a whole number, got 2\.5"):
        generate(dice, [1], 2.5)  # type: ignore[arg-type]


@given(st.floats(0, 1e308, exclude_min=True), st.integers(0, 9))
def test_any_temperature_gives_a_token(temperature: float, seed: int) -> None:
    """The coldest are greedy, the hottest draw all alike; none gives NaN."""
    generator = torch.Generator().manual_seed(seed)
    dice = Dice(0.2, 0.5, 0.3)
    tokens = list(generate(dice, [0], 8, temperature=temperature, generator=generator))
    assert set(tokens) <= {0, 1, 2}
    if temperature < 1e-3:
        assert tokens == [1] * 8


@given(st.lists(st.integers(1, 60), min_size=2, max_size=12, unique=True), st.data())
def test_top_p_stops_where_the_sum_meets_it(shares: list[int], data: st.DataObject) -> None:
    """Exactly, in float32 and in float64, where rounding leaves the sum a little below."""
    ranked, total = sorted(shares, reverse=True), sum(shares)
    keep = data.draw(st.integers(1, len(ranked) - 1))
    for dtype in (torch.float32, torch.float64):
        logits = (torch.tensor(shares, dtype=torch.float64) / total).log().to(dtype)
        kept = keep_top_p(logits, sum(ranked[:keep]) / total) > -math.inf
        assert sorted(torch.tensor(shares)[kept].tolist(), reverse=True) == ranked[:keep]
