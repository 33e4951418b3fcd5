"""`llmbook.bias` against a real transformers pipeline, and against whole sentences read one by one."""

import math
import re
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM, BertTokenizer, pipeline

from llmbook.bias import (
    bootstrap,
    fill_mask,
    log_ratio,
    next_word_log_probs,
    pronoun_gaps,
    weat,
)
from llmbook.pretrained import smollm2
from tests.reference import saved
from tests.reference.wefe import SIZES, drawn

LESSON = [
    "The doctor said [MASK] would be back with the test results soon.",
    "The nurse told me [MASK] would be administering the medication.",
]
WORDS = [
    *[
        "the",
        "doctor",
        "nurse",
        "said",
        "told",
        "me",
        "he",
        "she",
        "they",
        "would",
        "be",
        "back",
        "soon",
    ],
    ".",
]


def tiny_bert(mask: str = "[MASK]") -> Any:
    """A pipeline on a BERT of eight dimensions that has learnt nothing."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", mask, *WORDS]
    tokenizer = BertTokenizer(vocab={w: i for i, w in enumerate(words)}, mask_token=mask)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=1.0,  # the usual 0.02 would make all words equally likely
    )
    return pipeline("fill-mask", model=BertForMaskedLM(config).eval(), tokenizer=tokenizer)


@pytest.fixture(scope="module")
def bert() -> Any:
    """One such pipeline for all tests that only read it."""
    return tiny_bert()


@pytest.fixture(scope="module")
def answers(smollm2: tuple[Any, Any]) -> list[list[dict[str, Any]]]:
    """All of SmolLM2's words for the lesson's two sentences."""
    return fill_mask(LESSON, top_k=200)


@pytest.mark.parametrize("top_k", [1, 3, 19])
@pytest.mark.parametrize("number", [1, 2])
def test_a_pipeline_speaks_for_itself(bert: Any, number: int, top_k: int) -> None:
    """Its words and scores come through, for several sentences, and for a list of one."""
    results = fill_mask(LESSON[:number], bert, top_k=top_k)
    assert len(results) == number
    for sentence, result in zip(LESSON, results, strict=False):
        expected = bert(sentence, top_k=top_k)
        assert [word.keys() for word in result] == [{"token_str", "score"}] * top_k
        assert [word["token_str"] for word in result] == [word["token_str"] for word in expected]
        scores = [word["score"] for word in result]
        np.testing.assert_allclose(scores, [word["score"] for word in expected], rtol=1e-6)
        assert scores == sorted(scores, reverse=True)
        assert 0 <= min(scores) <= max(scores) <= 1


def test_one_sentence_gives_its_words_alone(bert: Any) -> None:
    """As from a pipeline, so that the lesson's loop over sentences runs as it is."""
    for sentence in LESSON:
        assert fill_mask(sentence, bert) == fill_mask([sentence], bert)[0]
        assert len(fill_mask(sentence, bert)) == 3
    assert fill_mask(LESSON, bert) == [fill_mask(sentence, bert) for sentence in LESSON]
    assert fill_mask(tuple(LESSON), bert) == fill_mask(LESSON, bert)
    assert fill_mask([], bert) == fill_mask([]) == []


def test_the_mask_is_written_the_models_way() -> None:
    """[MASK] becomes <mask> for a tokenizer that calls it so; both in one text are two masks."""
    unmasker = tiny_bert("<mask>")
    expected = unmasker("the doctor said <mask> would be back.", top_k=3)
    result = fill_mask("the doctor said [MASK] would be back.", unmasker)
    assert result == [{key: word[key] for key in ("token_str", "score")} for word in expected]
    with pytest.raises(ValueError, match=r"sentences\[0\] must have one mask.*got <mask> too"):
        fill_mask("the <mask> said [MASK] would be back.", unmasker)


@pytest.mark.parametrize("with_pipeline", [True, False])
@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ("", "sentences[0] is empty: it must be a text with one [MASK]"),
        ([LESSON[0], " \n"], "sentences[1] is empty"),
        ("No mask.", "sentences[0] must have one [MASK], got 0 in 'No mask.'"),
        ("A [mask] is written [ MASK ].", "must have one [MASK], got 0"),
        ([LESSON[0], "[MASK] and [MASK]"], "sentences[1] must have one [MASK], got 2 in '[MASK] a"),
    ],
)
def test_texts_without_exactly_one_mask_are_named(
    bert: Any, with_pipeline: bool, sentences: Any, message: str
) -> None:
    """Before any model is asked, or even loaded."""
    with pytest.raises(ValueError, match=re.escape(message)):
        fill_mask(sentences, bert if with_pipeline else None)


@pytest.mark.parametrize("top_k", [0, -1, 201])
def test_top_k_is_a_possible_number_of_words(bert: Any, top_k: int) -> None:
    """SmolLM2 judges 200 words, a pipeline all those that it knows."""
    with pytest.raises(ValueError, match=f"top_k must be .* from 1 to 200, got {top_k}"):
        fill_mask(LESSON, top_k=top_k)
    with pytest.raises(ValueError, match=f"top_k must be .* from 1 to 19, got {top_k}"):
        fill_mask(LESSON, bert, top_k=top_k)


@pytest.mark.plain
@pytest.mark.parametrize("top_k", [2.5, 3.0, "3", None, True])
def test_top_k_is_a_whole_number(bert: Any, top_k: Any) -> None:
    """Neither a number with a point nor True counts words."""
    for unmasker in (None, bert):
        with pytest.raises(ValueError, match=f"top_k must be a whole number .* got {top_k!r}"):
            fill_mask(LESSON, unmasker, top_k=top_k)


@pytest.mark.plain
def test_what_is_no_text_is_named(bert: Any) -> None:
    """The error says which sentence it is."""
    with pytest.raises(TypeError, match=r"sentences\[1\] must be a str, got int"):
        fill_mask([LESSON[0], 3], bert)  # type: ignore[list-item]


def test_smollm2_scores_are_probabilities_over_200_words(
    answers: list[list[dict[str, Any]]],
) -> None:
    """Sorted, between 0 and 1, together 1; each word a different one, of letters alone."""
    for answer in answers:
        scores = [word["score"] for word in answer]
        assert scores == sorted(scores, reverse=True)
        assert 0 <= min(scores) <= max(scores) <= 1
        assert math.isclose(sum(scores), 1)
        assert len({word["token_str"] for word in answer}) == 200
        assert all(word["token_str"].isalpha() for word in answer)


def test_smollm2_expects_pronouns_in_the_lessons_sentences(
    answers: list[list[dict[str, Any]]],
) -> None:
    """A model that understands both sides puts a pronoun where one must stand."""
    for answer in answers:
        best = {word["token_str"] for word in answer[:4]}
        assert {"he", "she", "they"} <= best


@torch.no_grad()
def test_smollm2_scores_compare_whole_sentences(
    smollm2: tuple[Any, Any], answers: list[list[dict[str, Any]]]
) -> None:
    """Two scores differ by as much as the two sentences' probabilities, each read by itself."""
    model, tokenizer = smollm2
    for sentence, answer in zip(LESSON, answers, strict=True):
        logs = []
        for word in (answer[0], answer[2], answer[20], answer[150]):
            text = sentence.replace("[MASK]", word["token_str"])
            ids = torch.tensor([[0, *tokenizer.encode(text)]])  # 0 is <|endoftext|>
            rows = model(ids)[0].double().log_softmax(-1)
            total = sum(rows[i, ids[0, i + 1]].item() for i in range(ids.shape[1] - 1))
            logs.append((total, math.log(word["score"])))
        (first, first_score), *others = logs
        for total, score in others:
            assert math.isclose(total - first, score - first_score, abs_tol=1e-3)


def test_smollm2_knows_what_may_stand_where(smollm2: tuple[Any, Any]) -> None:
    """At the end, at the beginning, alone, and in brackets; with nothing after, it's quick."""
    assert fill_mask("Paris is the capital of [MASK]")[0]["token_str"] == "France"
    assert fill_mask("[MASK]")[0]["token_str"][0].isupper()
    first = {word["token_str"] for word in fill_mask("[MASK]", top_k=200)}
    assert {"The", "It"} <= first
    assert "He" not in first  # as the docstring says: a document seldom begins so
    assert fill_mask('"Yes,"\n[MASK]', top_k=1)[0]["token_str"].isalpha()


def test_smollm2_reads_sentences_one_by_one(smollm2: tuple[Any, Any]) -> None:
    """What else is asked in the same call changes nothing."""
    sentences = ["Paris is the capital of [MASK]", "The cat sat on the [MASK]"]
    assert fill_mask(sentences) == [fill_mask(sentence) for sentence in sentences]
    assert [len(answer) for answer in fill_mask(sentences, top_k=7)] == [7, 7]


PROBABILITIES = st.floats(1e-300, 1.0)


@given(a=PROBABILITIES, b=PROBABILITIES, prior_a=PROBABILITIES, prior_b=PROBABILITIES)
def test_log_ratio_compares_two_ratios(a: float, b: float, prior_a: float, prior_b: float) -> None:
    """It is antisymmetric in the two words and in target and prior; no preference gives 0."""
    bias = log_ratio(a, b, prior_a, prior_b)
    assert log_ratio(b, a, prior_b, prior_a) == -bias
    assert math.isclose(log_ratio(prior_a, prior_b, a, b), -bias, abs_tol=1e-9)
    assert log_ratio(a, b, a, b) == 0
    expected = math.log(a) - math.log(b) - math.log(prior_a) + math.log(prior_b)
    assert math.isclose(bias, expected, abs_tol=1e-9)


def test_log_ratio_takes_a_grid() -> None:
    """Templates along an axis, with one prior for all or with their own."""
    he, she = np.array([0.1, 0.2, 0.4]), np.array([0.4, 0.2, 0.1])
    expected = np.log([0.25, 1.0, 4.0])
    np.testing.assert_allclose(log_ratio(he, she, 0.5, 0.5), expected)
    np.testing.assert_allclose(log_ratio(he, she, she, he), 2 * expected)


@pytest.mark.parametrize("wrong", [0, 0.0, -0.1, 1.1, math.nan, math.inf])
@pytest.mark.parametrize("position", range(4))
def test_log_ratio_names_what_is_no_probability(position: int, wrong: float) -> None:
    """Also 0, of which there is no logarithm."""
    values: list[float] = [0.5] * 4
    values[position] = wrong
    name = ("target_a", "target_b", "prior_a", "prior_b")[position]
    with pytest.raises(ValueError, match=f"{name} must be above 0 and at most 1, got {wrong}"):
        log_ratio(*values)


# --- the association test ---------------------------------------------------------------------


@pytest.mark.parametrize("case", range(len(SIZES)))
def test_effects_are_those_of_wefe(case: int) -> None:
    assert weat(*drawn(case)).effect == pytest.approx(float(saved("wefe")[f"{case}.effect"]))


def test_of_two_against_two_words_six_divisions_are_counted() -> None:
    x, y = np.array([[1.0, 0.1], [1.0, 0.2]]), np.array([[0.1, 1.0], [0.3, 1.0]])
    found = weat(x, y, np.array([[1.0, 0]]), np.array([[0, 1.0]]))
    assert (found.p_value, found.exact) == (1 / 6, True)
    turned = weat(y, x, np.array([[1.0, 0]]), np.array([[0, 1.0]]))
    assert turned.effect == pytest.approx(-found.effect)
    assert turned.p_value == 1


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_the_length_of_vectors_changes_no_association(seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    x, y, a, b = (random.standard_normal((4, 5)) for _ in range(4))
    first, second = weat(x, y, a, b), weat(factor * x, y, a, b / factor)
    assert second.effect == pytest.approx(first.effect)
    assert second.p_value == first.p_value


def test_without_an_association_p_values_are_spread_evenly() -> None:
    random = np.random.default_rng(0)
    drawn_p = [
        weat(*(random.standard_normal((6, 8)) for _ in range(4)), permutations=200).p_value
        for _ in range(300)
    ]
    assert abs(np.mean(drawn_p) - 0.5) < 0.06
    assert 0.02 < np.mean(np.array(drawn_p) < 0.05) < 0.09


def test_drawn_divisions_agree_with_all_of_them() -> None:
    random = np.random.default_rng(3)
    sets = [random.standard_normal((7, 6)) + shift for shift in (0.3, 0, 0.3, 0)]
    every, some = weat(*sets), weat(*sets, permutations=3000)
    assert (every.exact, some.exact) == (True, False)
    assert some.p_value == pytest.approx(every.p_value, abs=0.03)
    assert weat(*[part.astype(np.float16) for part in sets]).effect == pytest.approx(
        every.effect, abs=0.01
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.empty((0, 3))}, "x must hold at least one vector, got none"),
        ({"a": np.zeros((1, 3))}, "a must hold finite vectors that are not zero"),
        ({"b": np.full((1, 3), np.nan)}, "b must hold finite vectors"),
        ({"x": np.ones((1, 3)), "y": np.ones((1, 3))}, "x and y must hold different associations"),
        ({"permutations": 0}, "permutations must be positive, got 0"),
    ],
)
def test_sets_that_cannot_be_compared_are_refused(change: dict[str, Any], message: str) -> None:
    given_sets: dict[str, Any] = {name: np.eye(3)[[i]] + 0.1 for i, name in enumerate("xya")}
    with pytest.raises(ValueError, match=message):
        weat(**(given_sets | {"b": np.ones((1, 3))} | change))


def test_the_interval_knows_of_rows_and_of_columns() -> None:
    random = np.random.default_rng(0)
    rows, columns = random.standard_normal((30, 1)), random.standard_normal((1, 30))

    def width(grid: Any) -> float:
        low, high = bootstrap(grid, lambda drawn_grid, _: float(drawn_grid.mean()), draws=400)
        return high - low

    alone = 2 * 1.96 * rows.std() / 30**0.5
    assert width(rows + 0 * columns) == pytest.approx(alone, rel=0.2)
    assert width(rows + columns) > 1.2 * width(rows + 0 * columns)


def test_a_bootstrap_without_draws_is_refused() -> None:
    with pytest.raises(ValueError, match="draws must be positive, got 0"):
        bootstrap(np.eye(2), lambda grid, _: 0.0, draws=0)
    with pytest.raises(ValueError, match="confidence must be above 0 and below 1, got 1"):
        bootstrap(np.eye(2), lambda grid, _: 0.0, confidence=1)


# --- pronouns ---------------------------------------------------------------------------------


def test_next_words_are_as_likely_one_by_one_as_together() -> None:
    texts = ["The nurse said that", "When the carpenter arrived,", "We", "The nurse said that"]
    together = next_word_log_probs(texts, ["he", "she"])
    alone = np.concatenate([next_word_log_probs([text], ["he", "she"]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    np.testing.assert_allclose(together[0], together[3], atol=1e-4)
    assert next_word_log_probs([], ["he"]).shape == (0, 1)
    model, tokenizer = smollm2()
    ids = [tokenizer.special_tokens["<|endoftext|>"], *tokenizer.encode(texts[0])]
    with torch.inference_mode():
        logs = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
    (he,) = tokenizer.encode(" he")
    assert together[0, 0] == pytest.approx(float(logs[he]), abs=1e-4)


def test_gaps_are_log_ratios_against_the_neutral_words() -> None:
    template = "The {} said that"
    found = pronoun_gaps(["nurse"], [template], ["person", "guest"])
    texts = [template.replace("{}", word) for word in ("nurse", "person", "guest")]
    he, she, they = np.exp(next_word_log_probs(texts, ["he", "she", "they"])).T
    ratios = [log_ratio(he[0], she[0], he[i], she[i]) for i in (1, 2)]
    assert found.gaps[0, 0] == pytest.approx(float(np.mean(np.array(ratios))), abs=1e-4)
    assert found.they[0, 0] == pytest.approx(they[0] / (he[0] + she[0] + they[0]), rel=1e-4)
    assert found.mass[0, 0] == pytest.approx(he[0] + she[0] + they[0], rel=1e-4)
    assert pronoun_gaps(["person"], [template], ["person"]).gaps[0, 0] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pronoun_gaps([], ["The {} said"]), r"jobs must be a list .* got \[\]"),
        (lambda: pronoun_gaps("nurse", ["The {} said"]), "jobs must be a list .* got 'nurse'"),
        (lambda: pronoun_gaps(["nurse"], ["The said"]), r"templates\[0\] must have one \{\}"),
        (lambda: next_word_log_probs(["It is "], ["he"]), r"texts\[0\] must be a text without"),
        (lambda: next_word_log_probs([""], ["he"]), r"texts\[0\] must be a text without"),
        (lambda: next_word_log_probs(["It"], ["hairdresser"]), "words must be one token each"),
    ],
)
def test_questions_without_an_answer_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
