"""`llmbook.experiments.dialect`: pairs that differ in grammar alone, and words of several tokens."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbook.experiments.dialect import (
    FAVOURABLE,
    FEATURES,
    REGIONAL,
    RUDE,
    TEMPLATES,
    UNFAVOURABLE,
    asked,
    changed,
    contracted,
    favour,
    guises,
    in_full,
    interval,
    misplaced,
    mistyped,
    redrawn,
    run,
    sentence_costs,
    word_log_probs,
)
from llmbook.experiments.results import recorded
from llmbook.llama import Llama, LlamaConfig
from llmbook.tokenizers import ByteLevelBPE, byte_alphabet

GRAMMAR = {
    "be", "is", "are", "has", "have", "usually", "already", "just", "after", "done", "it", "there",
    "no", "any", "nothing", "anything", "nobody", "anybody", "nowhere", "anywhere", "not", "am",
    "to", "sat", "stood", "sitting", "standing", "t", "do", "did",
}  # fmt: skip
SENTENCES = [s for g in guises().values() for pair in g for s in pair]


def content(sentence: str) -> list[str]:
    """The words that carry the meaning: without those of grammar, and without endings."""
    words = re.sub(r"\bain't\b|'(s|re|ve|m|ll)\b|n't", "", sentence.lower()).split()
    alike = [re.sub(r"(ing|ed)$", "", word) for word in words if word not in GRAMMAR]
    irregular = {"tell": "told", "buy": "bought", "pay": "paid", "send": "sent"}
    return [irregular.get(word, word) for word in alike]


@pytest.mark.parametrize("feature", [*FEATURES, *REGIONAL])
def test_the_two_sentences_of_a_pair_differ_in_grammar_alone(feature: str) -> None:
    pairs = {**FEATURES, **REGIONAL}[feature]
    assert len(pairs) == 8 == len({guise for guise, _ in pairs})
    for guise, standard in pairs:
        first, second = contracted(guise), contracted(standard)
        assert first != second
        assert content(first) == content(second)
        assert 1 <= changed(first, second) <= 3
        assert not re.search("[+A-Z]{2}|[+]", first + second)


def test_every_control_is_of_the_same_standard_sentences() -> None:
    drawn = guises(seed=3)
    standards = [standard for _, standard in drawn["dialect"]]
    for name in ("typing", "order", "formal"):
        assert [standard for _, standard in drawn[name]] == standards
        assert all(guise != standard for guise, standard in drawn[name])
    assert len(standards) == 48
    assert len(drawn["regional"]) == 24
    assert len(drawn["rude"]) == len(RUDE) == 8


@given(st.integers(0, 500))
def test_as_many_words_are_mistyped_as_the_dialect_changes_and_order_keeps_all(seed: int) -> None:
    drawn = guises(seed)
    dialect = drawn["dialect"]
    for (guise, standard), (typed, _) in zip(dialect, drawn["typing"], strict=True):
        spoilt = [a for a, b in zip(typed.split(), standard.split(), strict=True) if a != b]
        assert len(spoilt) == changed(guise, standard)
    for moved, standard in drawn["order"]:
        assert sorted(moved.split()) == sorted(standard.split())
        assert moved.split()[0] == standard.split()[0]


def test_mistakes_change_one_letter_or_exchange_two() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        typed = mistyped("elephant", 1, random)
        assert len(typed) == 7 or sorted(typed) == sorted("elephant")
        assert typed[0] == "e"
    assert mistyped("at the zoo", 1, random) == "at the zoo"  # no word is long enough
    assert misplaced("a b c", random) == "a c b"


@pytest.mark.parametrize(
    ("written", "said", "formal"),
    [
        ("They have+not called", "They haven't called", "They have not called"),
        ("I+am not here", "I'm not here", "I am not here"),
        ("They+are late", "They're late", "They are late"),
        ("Nothing to shorten", "Nothing to shorten", "Nothing to shorten"),
    ],
)
def test_contractions_are_made_and_undone(written: str, said: str, formal: str) -> None:
    assert contracted(written) == said
    assert in_full(written) == formal


def tiny() -> tuple[Llama, ByteLevelBPE]:
    """A small decoder with random weights that reads bytes."""
    config = LlamaConfig(
        vocab_size=300, d_model=16, num_layers=2, num_heads=2, num_kv_heads=1, d_ff=32, max_len=128
    )
    torch.manual_seed(0)
    letters = {char: byte for byte, char in byte_alphabet().items()}
    return Llama(config).eval(), ByteLevelBPE(letters, [], {"<|endoftext|>": 299})


def test_a_words_probability_is_the_product_over_its_tokens_read_one_after_the_other() -> None:
    model, tokenizer = tiny()
    texts = ["She is", "We were", "A person who says so is", "No", "He is", "They are", "Is it so"]
    words = ["kind", "a", "rude", "of"]
    found = word_log_probs(model, tokenizer, texts, words)
    for row, text in zip(found, texts, strict=True):
        before = [299, *tokenizer.encode(text)]
        for value, word in zip(row, words, strict=True):
            ids = torch.tensor([before + tokenizer.encode(f" {word}")])
            with torch.no_grad():
                logs = model(ids[:, :-1]).log_softmax(-1).gather(-1, ids[:, 1:, None])
            assert value == pytest.approx(float(logs[0, len(before) - 1 :].sum()), abs=1e-4)


def test_a_sentence_costs_its_surprise_summed_over_its_tokens() -> None:
    model, tokenizer = tiny()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    nats, tokens = sentence_costs(model, tokenizer, ["She is", "She"])
    assert tokens.tolist() == [7, 4]  # with the full stop
    np.testing.assert_allclose(nats, tokens * np.log(300), rtol=1e-5)  # every byte is as likely


@given(st.integers(0, 100), st.integers(1, 5), st.integers(1, 4))
def test_favour_is_antisymmetric_and_alike_for_alike_guises(
    seed: int, pairs: int, templates: int
) -> None:
    words = len(FAVOURABLE) + len(UNFAVOURABLE)
    delta = np.random.default_rng(seed).standard_normal((pairs, templates, words))
    np.testing.assert_allclose(favour(-delta), -favour(delta))
    np.testing.assert_allclose(favour(delta + 5), favour(delta))  # all words likelier: no favour
    assert not favour(np.zeros_like(delta)).any()
    kind = np.concatenate((np.ones(len(FAVOURABLE)), np.zeros(len(UNFAVOURABLE))))
    np.testing.assert_allclose(favour(np.broadcast_to(kind, delta.shape)), 1)


def test_an_interval_holds_no_width_where_nothing_scatters_and_else_that_of_the_mean() -> None:
    words = len(FAVOURABLE) + len(UNFAVOURABLE)
    kind = np.concatenate((np.ones(len(FAVOURABLE)), np.zeros(len(UNFAVOURABLE))))
    same = np.broadcast_to(kind, (6, 4, words))
    assert interval(redrawn(same)) == pytest.approx([1, 1])
    by_pair = np.random.default_rng(0).standard_normal((64, 1, 1)) * kind
    draws = redrawn(np.broadcast_to(by_pair, (64, 4, words)))
    error = by_pair[:, 0, 0].std() / 64**0.5
    assert draws.std() == pytest.approx(error, rel=0.1)
    assert draws.mean() == pytest.approx(by_pair[:, 0, 0].mean(), abs=0.01)


def test_adjectives_are_of_two_kinds_and_templates_have_one_place() -> None:
    assert not set(FAVOURABLE) & set(UNFAVOURABLE)
    assert len(set(FAVOURABLE)) == 25
    assert len(set(UNFAVOURABLE)) == 26
    assert all(template.count("{}") == 1 for template in TEMPLATES)
    assert len(set(SENTENCES)) > 200


def test_the_same_sentence_in_both_guises_changes_nothing() -> None:
    delta = asked([("We are late", "We are late")], TEMPLATES[:1])
    assert delta.shape == (1, 1, 51)
    assert not delta.any()


def test_the_record_is_what_smollm2_says() -> None:
    (record,) = recorded("dialect")
    drawn = guises(record["seed"])
    for name in ("dialect", "order"):
        delta = asked(drawn[name][:2], TEMPLATES[:1])
        then = np.array(record[name]["favour"])[:2, :1]
        np.testing.assert_allclose(favour(delta), then, atol=1e-3)
    assert set(record) - {"seed"} == set(drawn)
    assert callable(run)
