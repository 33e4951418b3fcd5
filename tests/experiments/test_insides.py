"""Experiments on SmolLM2's insides and on small adders: what they count is what they say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbook.experiments import induction, patching, probing, reasons, steering, twins
from llmbook.experiments.features import WIDTH, pieces
from llmbook.experiments.reasoning import Setup
from llmbook.experiments.results import recorded
from llmbook.pretrained import smollm2


@given(st.integers(0, 300), st.integers(1, 4), st.integers(1, 12))
def test_a_twin_has_the_same_sum_and_output_and_no_negative_weight(
    seed: int, width: int, keys: int
) -> None:
    random = np.random.default_rng(seed)
    weights = random.dirichlet(np.ones(keys))
    values = random.standard_normal((keys, width))
    other = twins.twin(weights, values)
    assert (other >= 0).all()
    assert other.sum() == pytest.approx(1)
    np.testing.assert_allclose(other @ values, weights @ values, atol=1e-7)
    assert (other > 0).sum() <= max(width + 1, 1)


def test_without_more_keys_than_numbers_there_is_no_twin() -> None:
    random = np.random.default_rng(0)
    weights, values = random.dirichlet(np.ones(5)), random.standard_normal((5, 4))
    np.testing.assert_allclose(twins.twin(weights, values), weights)
    with pytest.raises(ValueError, match="weights must not be negative"):
        twins.twin(-weights, values)


@pytest.mark.plain
def test_weights_without_their_values_are_refused() -> None:
    with pytest.raises(ValueError, match="values must be as many as weights, got 4, 5"):
        twins.twin(np.ones(5) / 5, np.ones((4, 4)))


@pytest.mark.parametrize("template", patching.TEMPLATES)
def test_the_two_texts_of_a_pair_differ_in_the_giver_alone(template: str) -> None:
    _, tokenizer = smollm2()
    drawn = patching.prompts(template, 6, seed=1)
    differ = drawn.first != drawn.second
    assert differ.sum(1).eq(1).all()
    assert torch.equal(drawn.first[:, drawn.giver], drawn.b)
    assert torch.equal(drawn.second[:, drawn.giver], drawn.a)
    assert tokenizer.decode(drawn.first[0].tolist()).endswith(" to")


def test_exchanging_the_last_layer_moves_all_of_the_preference() -> None:
    drawn = patching.prompts(patching.TEMPLATES[0], 2, seed=0)
    found = patching.exchange(drawn, layers=(29,))
    np.testing.assert_allclose(found["last restored"][0], found["own"][0], atol=1e-3)
    np.testing.assert_allclose(found["last broken"][0], found["own"][1], atol=1e-3)
    np.testing.assert_allclose(found["giver restored"][0], found["own"][1], atol=1e-3)


def test_control_heads_are_of_the_same_layers_and_none_of_those_that_are_tested() -> None:
    heads, spared = [(3, 0), (3, 1), (5, 2)], [(3, 2)]
    for seed in range(20):
        drawn = induction.others(heads, spared, 6, seed)
        assert [layer for layer, _ in drawn] == [3, 3, 5]
        assert not set(drawn) & {*heads, *spared}
        assert len(set(drawn)) == 3


def test_the_steered_questions_hold_no_thing_from_which_the_direction_was_taken() -> None:
    for question in steering.QUESTIONS:
        assert not any(thing in question for thing in steering.THINGS)
    _, tokenizer = smollm2()
    firsts = [tokenizer.encode(f" {word}")[0] for word in (*steering.PRAISE, *steering.BLAME)]
    assert len(set(firsts)) == len(firsts)


def test_other_words_of_praise_are_others_and_one_token_each() -> None:
    _, tokenizer = smollm2()
    read = {*steering.PRAISE, *steering.BLAME}
    for word in (*steering.OTHER_WORDS[0], *steering.OTHER_WORDS[1]):
        assert word not in read
        assert len(tokenizer.encode(f" {word}")) == 1


def test_with_nothing_silenced_neither_side_is_blind() -> None:
    run = recorded("induction")[0]
    found = induction.by_side(run["induction"], [], seed=run["seed"])
    for side in ("query", "key"):
        np.testing.assert_allclose(found[side], run["whole"]["score"], atol=0.005)


def test_behind_the_last_layer_the_answer_is_at_the_last_token_and_nowhere_else() -> None:
    found = patching.between_strangers(patching.TEMPLATES[0], layers=(29,), count=6)
    assert found["giver"] == [0.0]
    assert found["last"][0] > 0.7


def test_pieces_that_are_held_out_are_none_of_those_that_were_read() -> None:
    first, second = pieces(3), pieces(2, first=3)
    assert first.shape == (3, WIDTH)
    assert second.shape == (2, WIDTH)
    assert torch.equal(pieces(5), torch.cat((first, second)))


def test_a_way_after_the_answer_ends_in_the_answer() -> None:
    generator = torch.Generator().manual_seed(0)
    digits = torch.randint(10, (50, 4), generator=generator)
    after = reasons.written(digits, generator, "after")
    assert torch.equal(after[:, 5], digits.sum(1) % 10)
    assert torch.equal(after[:, 5], after[:, -1])
    with pytest.raises(ValueError, match="kind must be one of before, after, got 'both'"):
        reasons.written(digits, generator, "both")


def test_shares_of_examined_reasons_are_shares_and_exclude_each_other() -> None:
    setup = Setup(digits=2, steps=30, batch=32, tested=200)
    before = reasons.examine(reasons.learn("before", 0, setup), "before", setup)
    assert before["follows"] + before["ignores"] <= 1
    after = reasons.examine(reasons.learn("after", 0, setup), "after", setup)
    assert after["justifies"] + after["contradicts"] <= 1


def test_the_records_agree_with_what_is_run_again() -> None:
    run = recorded("patching")[0]
    template = patching.TEMPLATES[0]
    drawn = patching.prompts(template, 12, seed=0)
    first_two = patching.Prompts(
        drawn.first[:2], drawn.second[:2], drawn.a[:2], drawn.b[:2], drawn.giver
    )
    some = patching.exchange(first_two, (26,))
    place = patching.LAYERS.index(26)
    np.testing.assert_allclose(some["own"][0], run[template]["own"][0][:2], atol=0.01)
    np.testing.assert_allclose(
        some["last restored"][0], run[template]["last restored"][place][:2], atol=0.01
    )


def test_probed_texts_end_alike_in_both_numbers() -> None:
    assert len(set(probing.NOUNS)) == 32
    for frame in probing.FRAMES:
        assert frame.count("{}") == 1
        assert not frame.endswith("{}")


def test_a_probe_tells_a_planted_line_and_no_label_dealt_by_lot() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2 == 0
    vectors = random.standard_normal((400, 20))
    vectors[:, 3] += np.where(labels, 4, -4)
    held_out = np.arange(400) >= 300
    assert probing.accuracy(vectors, labels, held_out) > 0.95
    dealt = random.permutation(labels)
    assert abs(probing.accuracy(vectors, dealt, held_out) - 0.5) < 0.2


def test_the_number_of_new_nouns_is_told_better_than_what_was_dealt_by_lot() -> None:
    for run in recorded("probing"):
        place = probing.LAYERS.index(8)
        assert run["new nouns"][place] > run["by lot"][place] + 0.2
