"""`llmbook.experiments.acceptability`: what a small BERT reads and judges is what it should be."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch

from llmbook.experiments.acceptability import (
    CLS,
    MAX_LEN,
    PAD,
    SEP,
    VOCABULARY,
    Judge,
    Setup,
    clues,
    draw_pairs,
    encode,
    examine,
    fine_tune,
    judgements,
    new_model,
    next_by_rule,
    number_of,
    packed,
    pairs_of,
    pretrain,
    pretraining_loss,
    run,
    stories,
)
from llmbook.experiments.results import recorded
from llmbook.experiments.skills import new_model as new_gpt
from llmbook.experiments.stories import token_ids
from llmbook.training import Recipe


def text(ids: Sequence[int]) -> str:
    """The words of token ids."""
    return " ".join(VOCABULARY[i] for i in ids)


def test_stories_come_sentence_by_sentence() -> None:
    """Seven of them, each with its full stop."""
    told = stories(20, seed=0)
    assert {len(story) for story in told} == {7}
    assert all(text(sentence).endswith(" .") for story in told for sentence in story)


def test_pairs_are_neighbours_in_one_half_and_of_two_stories_in_the_other() -> None:
    """A neighbour is the next sentence of the same story; of the others hardly any could be."""
    told = [[text(sentence) for sentence in story] for story in stories(200, seed=1)]
    neighbours = {pair for story in told for pair in pairwise(story)}
    ids, segments, labels = pairs_of(200, seed=1)
    assert ids.shape == segments.shape == (1_200, MAX_LEN)
    assert labels.sum() == 600
    found = []
    for row, segment, label in zip(ids.tolist(), segments.tolist(), labels.tolist(), strict=True):
        assert row[0] == CLS
        first = [i for i, s in zip(row, segment, strict=True) if s == 0 and i not in (CLS, PAD)]
        second = [i for i, s in zip(row, segment, strict=True) if s == 1]
        assert first.pop() == second.pop() == SEP
        found.append((label, (text(first), text(second)) in neighbours))
    assert all(there for label, there in found if label == 0)
    assert sum(there for label, there in found if label == 1) < 30


def test_a_batch_hides_words_and_never_marks() -> None:
    """Labels stand where words stood; [CLS], [SEP] and padding are as they were."""
    pairs = pairs_of(50, seed=2)
    generator = torch.Generator().manual_seed(0)
    corrupted, segments, labels, follows = draw_pairs(pairs, 64, generator)
    assert len(corrupted) == len(follows) == 64
    marks = (corrupted == PAD) | (corrupted == CLS) | (corrupted == SEP)
    assert (labels[marks] == -100).all()
    assert not torch.isin(labels, torch.tensor([PAD, CLS, SEP])).any()
    assert (segments[corrupted == CLS] == 0).all()


def test_the_loss_of_a_fresh_model_is_that_of_guessing() -> None:
    """The logarithms of the vocabulary and of two."""
    batch = draw_pairs(pairs_of(50, seed=2), 64, torch.Generator().manual_seed(0))
    expected = torch.tensor([float(len(VOCABULARY)), 2.0]).log().sum()
    with torch.no_grad():
        assert abs(pretraining_loss(new_model(0), batch) - expected) < 0.1


def test_judgements_are_balanced_and_their_last_noun_misleads() -> None:
    """Right ones have the subject's number, wrong ones the box's."""
    sentences, labels = judgements(200, seed=0)
    assert labels.sum() == 100
    for sentence, label in zip(sentences, labels.tolist(), strict=True):
        _, subject, *_, box, verb, _, stop = text(list(sentence)).split()
        assert stop == "."
        assert subject.endswith("s") != (box == "boxes")
        assert (verb == "are") == (subject.endswith("s") == bool(label))


def test_a_judge_takes_its_own_copy() -> None:
    """Tuning leaves the pre-trained model as it was, for the next one."""
    bert = new_model(0)
    before = {name: weight.clone() for name, weight in bert.state_dict().items()}
    judge = Judge(bert)
    assert judge.bert is not bert
    share = fine_tune(bert, 8, 0, Recipe(steps=2, lr=5e-4, warmup=2))
    assert 0.3 < share < 0.7
    assert all(torch.equal(weight, before[name]) for name, weight in bert.state_dict().items())


def test_what_cannot_be_seen_cannot_be_used() -> None:
    """A causal model says the same of the animal, whatever verb comes; a BERT need not."""
    gpt = new_gpt(0).eval()
    one, many = (
        token_ids(f"<bos> the dog near the cat behind the red box {verb} wet .")[None]
        for verb in ("is", "are")
    )
    with torch.no_grad():
        assert torch.equal(gpt(one)[0, 1], gpt(many)[0, 1])
    bert = new_model(0)
    hidden = "the [MASK] near the cat behind the red box {} wet ."
    assert number_of(bert, hidden.format("is")) != number_of(bert, hidden.format("are"))


@pytest.mark.parametrize("sentence", ["the dog is wet .", "the [MASK] near the [MASK] is wet ."])
def test_one_word_must_be_hidden(sentence: str) -> None:
    """No more and no less."""
    with pytest.raises(ValueError, match=r"must have one \[MASK\]"):
        number_of(new_model(0), sentence)


def test_packed_sentences_do_not_see_their_padding() -> None:
    """Cut off, it changes nothing."""
    ids, _ = packed([[encode("she smiled .")]])
    bert = new_model(0)
    with torch.no_grad():
        long = bert.hidden_states(ids, None, ids != PAD)[:, :5]
        short = bert.hidden_states(ids[:, :5])
    torch.testing.assert_close(long, short)


def test_pretraining_can_be_repeated() -> None:
    """The same weights after three steps."""
    setup = Setup(stories=200, examined=100)
    first, again = (pretrain(0, until=3, setup=setup) for _ in range(2))
    for ours, theirs in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert examine(first, setup)["next_accuracy"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("training", [False, True])
def test_examining_leaves_the_mode_as_it_was(training: bool) -> None:
    """And is done without dropout, whatever it was."""
    model = new_model(0).train(training)
    model.dropout.p = 0.5
    setup = Setup(examined=4)
    assert examine(model, setup) == examine(model, setup)
    hidden = "the [MASK] near the cat behind the red box is wet ."
    assert number_of(model, hidden) == number_of(model, hidden)
    assert {module.training for module in model.modules()} == {training}


@pytest.mark.parametrize(
    ("first", "second", "known"),
    [
        ("kim is a girl .", "kim has two red hats .", ("is", "has", ("name", True))),
        ("kim is a boy .", "she finds two more .", ("is", "finds", ("pronoun", False))),
        ("the film was dull .", "she frowned .", ("film", "face", ("mood", True))),
        ("she smiled .", "the film was dull .", ("face", "film", ("mood", False))),
        (
            "he finds two more .",
            "now he has six red hats .",
            ("finds", "sum", ("pronoun", True), "two", "six"),
        ),
        (
            "kim has two red hats .",
            "the cat near the dog behind the red box is wet .",
            ("has", "aside"),
        ),
    ],
)
def test_a_rule_sees_of_two_sentences_what_they_are_and_share(
    first: str, second: str, known: tuple[object, ...]
) -> None:
    """Kinds always, the rest only where the words may be looked at."""
    ids, _ = packed([[encode(first), encode(second)]])
    assert clues(ids[0], words=True) == known
    assert clues(ids[0], words=False) == known[:2]


def test_of_a_neighbour_only_chance_is_unknown() -> None:
    """By kinds alone a rule beats guessing, and with the words it does better."""
    found = next_by_rule(Setup(stories=2_000, examined=200))
    assert 0.8 < found["kinds"] < found["kinds and words"] < 0.9


def test_a_run_has_the_form_of_the_record() -> None:
    """With everything in small: a row for each number of judgements, and the same names."""
    tiny = Recipe(steps=1)
    setup = Setup(
        stories=4,
        examined=4,
        pretraining=tiny,
        labelled=(2, 4),
        tuning=tiny,
        scratch=(tiny, tiny),
        tested=20,
    )
    found, then = run(0, setup), recorded("acceptability")[0]
    assert then.keys() == {"seed", *found}
    assert then["pretraining"].keys() == found["pretraining"].keys()
    assert [row["labelled"] for row in found["judgements"]] == [2, 4]
    assert all(row.keys() == then["judgements"][0].keys() for row in found["judgements"])


def test_the_record_is_whole() -> None:
    """Every number of labelled sentences for every seed, and shares that are shares."""
    for then in recorded("acceptability"):
        assert [row["labelled"] for row in then["judgements"]] == [*Setup().labelled]
        assert all(
            0 <= row[how] <= 1 for row in then["judgements"] for how in ("pretrained", "scratch")
        )
