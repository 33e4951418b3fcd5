"""`llmbook.memorization`: exposure by hand, scikit's ROC, and greedy writing token by token."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.generation import generate
from llmbook.gpt import GPT, GPTConfig
from llmbook.memorization import (
    auc,
    deduplicate,
    exposure,
    log_likelihoods,
    roc,
    secret_log_probs,
    shingles,
    tpr_at,
    verbatim,
)


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=12, d_model=8, num_layers=2, num_heads=2, max_len=12, dropout=0.3)
    gpt = GPT(config)
    with torch.no_grad():
        for p in gpt.parameters():
            p.mul_(20)  # sure enough of itself to have a likeliest token
    return gpt.double()


@pytest.mark.parametrize("length", [1, 2, 3])
def test_every_candidate_is_scored_as_if_alone(model: GPT, length: int) -> None:
    """In the order of counting, with any alphabet, and dropout off and on again."""
    prompt, alphabet = torch.tensor([7, 1]), torch.tensor([9, 0, 4])
    found = secret_log_probs(model.train(), prompt, alphabet, length)
    assert model.training
    texts = torch.tensor(
        [[7, 1, *secret] for secret in itertools.product(alphabet.tolist(), repeat=length)]
    )
    mask = torch.ones_like(texts, dtype=torch.bool)
    mask[:, :2] = False
    torch.testing.assert_close(found, log_likelihoods(model, texts, mask))
    assert found.exp().sum() < 1


def test_padding_does_not_count(model: GPT) -> None:
    text = torch.tensor([[3, 5, 7, 2]])
    mask = torch.tensor([[True, True, True, False]])
    short = log_likelihoods(model, text[:, :3], mask[:, :3])
    torch.testing.assert_close(log_likelihoods(model, text, mask), short)


@settings(deadline=None)
@given(st.lists(st.floats(-50, 0), min_size=2, max_size=40), st.data())
def test_exposure_is_the_share_of_the_search_that_the_model_saves(
    logs: list[float], data: st.DataObject
) -> None:
    secret = data.draw(st.integers(0, len(logs) - 1))
    found = exposure(torch.tensor(logs, dtype=torch.double), secret)
    better, same = sum(x > logs[secret] for x in logs), sum(x == logs[secret] for x in logs)
    assert math.isclose(found, -math.log2((better + (same + 1) / 2) / len(logs)), abs_tol=1e-9)
    assert found + 1e-9 >= 0
    assert found <= math.log2(len(logs)) + 1e-9


def test_what_is_not_known_has_an_exposure_of_log2_e() -> None:
    """The mean over all ranks of 10,000."""
    logs = torch.arange(10_000, 0, -1).double()
    found = [exposure(logs, secret) for secret in range(10_000)]
    assert abs(np.mean(found) - math.log2(math.e)) < 2e-3
    assert found[0] == math.log2(10_000)
    assert math.isclose(exposure(torch.zeros(1023), 5), math.log2(1023 / 512))


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 11), min_size=2, max_size=8), st.data())
def test_verbatim_is_what_greedy_writing_has_in_common_with_the_text(
    model: GPT, tokens: list[int], data: st.DataObject
) -> None:
    text = torch.tensor(tokens)
    prompt = data.draw(st.integers(1, len(tokens) - 1))
    written = generate(model.eval(), text[:prompt].tolist(), len(tokens) - prompt, temperature=0)
    same = [
        a == b
        for a, b in zip(list(written)[-(len(tokens) - prompt) :], tokens[prompt:], strict=True)
    ]
    expected = same.index(False) if False in same else len(same)
    assert verbatim(model, text, prompt) == expected


@settings(deadline=None)
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
)
def test_the_area_is_mann_and_whitneys_count_of_pairs(
    inside: list[int], outside: list[int]
) -> None:
    members, others = torch.tensor(inside).double(), torch.tensor(outside).double()
    pairs = np.subtract.outer(inside, outside)
    assert math.isclose(
        auc(members, others), ((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs_tol=1e-12
    )
    false, true = roc(members, others)
    assert false[[0, -1]].tolist() == true[[0, -1]].tolist() == [0, 1]
    assert (false.diff() >= 0).all()
    assert (true.diff() >= 0).all()
    for fpr in (0.0, 0.1, 0.5):
        best = max(
            np.mean([s >= t for s in inside])
            for t in [*outside, *inside, 99]
            if np.mean([s >= t for s in outside]) <= fpr
        )
        assert math.isclose(tpr_at(members, others, fpr), best, abs_tol=1e-12)


def test_scores_that_say_nothing_find_as_many_as_they_accuse() -> None:
    generator = torch.Generator().manual_seed(0)
    members, others = (torch.randn(20_000, generator=generator) for _ in range(2))
    assert abs(auc(members, others) - 0.5) < 0.01
    assert abs(tpr_at(members, others, 0.01) - 0.01) < 0.004


def test_duplicates_go_and_what_is_only_alike_goes_when_asked() -> None:
    texts = ["the pin of bako is 4711 ref abc.", "the pin of bako is 4711 ref xyz.",
             "the pin of dilu is 9023 ref abc.", "the pin of bako is 4711 ref abc.", "ab", "ab"]  # fmt: skip
    assert deduplicate(texts) == [texts[0], texts[1], texts[2], "ab"]
    assert deduplicate(texts, 0.7) == [texts[0], texts[2], "ab"]
    assert deduplicate([], 0.5) == []
    assert shingles("abc", 5) == {"abc"}
    assert shingles("abcdef", 5) == {"abcde", "bcdef"}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text("ab", max_size=9), max_size=12), st.sampled_from([0.2, 0.5, 0.9, 1.0]))
def test_every_text_is_like_one_that_was_kept_and_no_two_of_those_are_alike(
    texts: list[str], similarity: float
) -> None:
    def like(a: str, b: str) -> bool:
        x, y = shingles(a, 2), shingles(b, 2)
        return a == b or (similarity < 1 and len(x & y) / len(x | y) >= similarity)

    kept = deduplicate(texts, similarity, width=2)
    assert all(any(like(text, other) for other in kept) for text in texts)
    assert not any(like(a, b) for a, b in itertools.combinations(kept, 2))
    assert kept == [text for i, text in enumerate(dict.fromkeys(texts)) if text in kept]


@pytest.mark.plain
def test_bad_input_is_refused_by_name(model: GPT) -> None:
    digits, prompt = torch.arange(10), torch.tensor([1])
    logs = torch.zeros(4)
    cases = [
        (lambda: secret_log_probs(model, prompt[:0], digits, 2), "prompt must hold a token"),
        (lambda: secret_log_probs(model, prompt, digits, 0), "length be positive.*0"),
        (lambda: secret_log_probs(model, prompt, torch.tensor([1, 1]), 2), r"different symbols, got \[1, 1\]"),
        (lambda: secret_log_probs(model, prompt, digits, 7), r"at most a million.*10 \*\* 7"),
        (lambda: exposure(logs, 4), "secret must be from 0 to 3, got 4"),
        (lambda: exposure(logs / 0, 1), "log_probs must be numbers, got nan"),
        (lambda: verbatim(model, torch.tensor([1, 2]), 2), "prompt must be from 1 to 1 tokens, got 2"),
        (lambda: tpr_at(logs, logs, 1.5), "fpr must be from 0 to 1, got 1.5"),
        (lambda: roc(logs[:0], logs), "members must hold scores"),
        (lambda: auc(logs, logs / 0), "others must hold scores that are numbers"),
        (lambda: deduplicate(["a"], 0), "similarity must be above 0.*got 0 and 5"),
        (lambda: deduplicate(["a"], 0.5, 0), "width positive.*got 0.5 and 0"),
    ]  # fmt: skip
    for call, match in cases:
        with pytest.raises(ValueError, match=match):
            call()
