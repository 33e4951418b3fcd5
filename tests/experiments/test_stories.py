"""`llmbook.experiments.stories`: the truth that models are examined on is in the stories."""

import math

import numpy as np
import pytest
import torch

from llmbook.experiments.stories import (
    ANIMALS,
    FILMS,
    LENGTH,
    NUMBERS,
    PEOPLE,
    PLANS,
    SKILLS,
    VOCABULARY,
    consistent,
    draw_stories,
    draw_story,
    entropy,
    places,
    score,
    token_ids,
    words,
)


@pytest.mark.parametrize("seed", range(50))
def test_what_can_be_known_follows_from_what_was_told(seed: int) -> None:
    """Read with regular grammar: pronoun, verb, sum, colour, thing and mood are as they must be."""
    text = " ".join(draw_story(np.random.default_rng(seed)))
    sentences = [sentence.split() for sentence in text.split(".")[:-1]]
    aside = next(s for s in sentences if "near" in s)
    told = [s for s in sentences if s is not aside]
    pronoun = PEOPLE[told[0][3]]
    assert [told[2][0], told[3][1], told[5][0]] == [pronoun] * 3
    assert aside[-2] == ("are" if aside[1][:-1] in ANIMALS else "is")
    value = {number: n for n, number in enumerate(NUMBERS, start=2)}
    assert value[told[3][3]] == value[told[1][2]] + value[told[2][2]]
    assert told[3][4:] == told[1][3:]
    assert told[4][3] in FILMS[told[5][1]]


def test_every_plan_is_told_and_every_story_is_as_long() -> None:
    """The aside comes at three places; a story has one token for each word, and one in front."""
    ids = draw_stories(200, seed=0)
    assert ids.shape == (200, LENGTH + 1)
    assert {len(plan) for plan in PLANS} == {LENGTH}
    near = VOCABULARY.index("near")
    assert len(set((ids == near).int().argmax(1).tolist())) == len(PLANS)


def test_stories_depend_on_the_seed_alone() -> None:
    """The same twice, others with another seed, and hardly any story twice."""
    first = draw_stories(500, seed=1)
    assert torch.equal(first, draw_stories(500, seed=1))
    assert len({tuple(row) for row in torch.cat((first, draw_stories(500, seed=2))).tolist()}) > 990


def test_words_and_token_ids_are_inverse() -> None:
    """And a word of no story is named."""
    ids = draw_stories(1, seed=0)[0]
    assert torch.equal(token_ids(" ".join(words(ids))), ids)
    with pytest.raises(ValueError, match="no story has the words elephant"):
        token_ids("the elephant smiled")


def test_places_hold_words_that_fit() -> None:
    """At each skill's place stands one of its options."""
    ids = draw_stories(300, seed=3)
    for skill, place in places(ids).items():
        found = {VOCABULARY[i] for i in ids[torch.arange(300), place].tolist()}
        assert found == set(SKILLS[skill])


def test_the_truth_scores_one_and_the_nearest_noun_none() -> None:
    """Right logits have all skills; who takes the verb's number from the box is always misled."""
    ids = draw_stories(200, seed=4)
    right = torch.nn.functional.one_hot(ids[:, 1:], len(VOCABULARY)).float()
    assert set(score(right, ids).values()) == {1.0}
    boxes = (ids[:, :-1] == VOCABULARY.index("boxes")).float()
    box = (ids[:, :-1] == VOCABULARY.index("box")).float()
    misled = torch.zeros_like(right)
    misled[..., VOCABULARY.index("are")] = boxes
    misled[..., VOCABULARY.index("is")] = box
    assert score(misled, ids)["agreement"] == 0.0


def test_entropy_is_that_of_the_generator() -> None:
    """A code built by hand: the options of each thing that is drawn."""
    options = [10, 2, 5, 8, 8, 3, 8, 2, 8, 2, 8, 2, 6, 5, 20]  # in the order of the first plan
    assert entropy() == pytest.approx(sum(map(math.log, options)) / LENGTH)


def test_every_story_is_consistent_and_none_with_a_known_word_changed() -> None:
    """Each of the six words, replaced by another that fits, makes the story wrong."""
    ids = draw_stories(60, seed=5)
    assert all(consistent(row) for row in ids)
    for skill, place in places(ids).items():
        for row, where in zip(ids, place.tolist(), strict=True):
            others = {VOCABULARY.index(word) for word in SKILLS[skill]} - {int(row[where])}
            changed = row.clone()
            changed[where] = min(others)
            assert not consistent(changed)


def test_a_story_without_an_end_or_plan_is_not_consistent() -> None:
    """Cut short, too long, or with two words exchanged."""
    (row,) = draw_stories(1, seed=6)
    assert not consistent(row[:-1])
    assert not consistent(torch.cat((row, row[-1:])))
    assert not consistent(row[torch.tensor([0, 2, 1, *range(3, len(row))])])
