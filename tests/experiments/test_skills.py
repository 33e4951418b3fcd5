"""`llmbook.experiments.skills`: what counting and a GPT learn from stories."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmbook.experiments.results import recorded
from llmbook.experiments.skills import (
    Setup,
    examine,
    examine_counts,
    learn,
    new_model,
    told,
    unseen,
)
from llmbook.experiments.stories import SKILLS, VOCABULARY, draw_stories, entropy
from llmbook.ngrams import KneserNey


class Oracle(nn.Module):
    """Has the stories before it, and says each word for certain."""

    def __init__(self, ids: Tensor) -> None:
        super().__init__()
        self.ids = ids

    def forward(self, ids: Tensor) -> Tensor:
        """The logits of who knows the end."""
        rows = [int((self.ids[:, :-1] == row).all(1).nonzero()[0]) for row in ids]
        return 50 * F.one_hot(self.ids[rows, 1:], len(VOCABULARY)).float()


def test_examine_gives_an_oracle_all_and_a_fresh_model_chance() -> None:
    """A loss of 0 and all skills; about the logarithm of the vocabulary, and not all."""
    ids = draw_stories(300, seed=5)
    best = examine(Oracle(ids), ids)
    assert best.pop("loss") == pytest.approx(0, abs=1e-6)
    assert set(best.values()) == {1.0}
    fresh = examine(new_model(0), ids)
    assert fresh["loss"] == pytest.approx(math.log(len(VOCABULARY)), abs=0.1)
    assert all(fresh[skill] < 0.8 for skill in SKILLS)


@pytest.mark.parametrize("training", [False, True])
def test_examining_leaves_the_mode_as_it_was(training: bool) -> None:
    """And is done without dropout, whatever it was."""
    model = new_model(0).train(training)
    model.dropout.p = 0.5
    ids = draw_stories(10, seed=5)
    assert examine(model, ids) == examine(model, ids)
    assert {module.training for module in model.modules()} == {training}


def test_a_five_gram_knows_the_mood_but_not_what_lies_further_back() -> None:
    """The film is four words before the verb that it decides; everything else is out of sight."""
    told = draw_stories(3_000, seed=6).flatten().numpy()
    five = examine_counts(KneserNey(told, len(VOCABULARY), 5), draw_stories(300, seed=7))
    assert five["mood"] == 1.0
    for skill in ("pronoun", "agreement", "sum", "colour", "thing"):
        assert five[skill] < 0.65
    assert five["loss"] > entropy() + 0.3


def test_the_loss_of_counts_is_that_of_each_word_given_those_before() -> None:
    """Against each word's probability, one at a time, from the distribution."""
    told, ids = draw_stories(50, seed=8), draw_stories(2, seed=9)
    model = KneserNey(told.flatten().numpy(), len(VOCABULARY), 3)
    flat = ids.flatten().numpy()
    logs = [
        math.log(model.distribution(flat[max(0, t - 2) : t])[flat[t]])
        for t in range(len(flat))
        if t % ids.shape[1]
    ]
    assert examine_counts(model, ids)["loss"] == pytest.approx(-float(np.mean(logs)))


def test_a_run_can_be_repeated_and_cut_short() -> None:
    """The first steps do not depend on where it stops."""
    setup = Setup(told=200, unseen=50, checks=(4, 6))
    _, once = learn(0, until=4, setup=setup)
    _, again = learn(0, until=6, setup=setup)
    assert [point["step"] for point in again] == [4, 6]
    assert once == again[:1]
    _, other = learn(0, until=4, setup=replace(setup, batch=8))
    assert other != once


def test_what_is_told_and_what_is_asked_are_others() -> None:
    """As many as the settings say, of two seeds."""
    setup = Setup(told=60, unseen=40)
    assert len(told(setup)) == 60
    assert len(unseen(setup)) == 40
    assert not {tuple(row) for row in told(setup).tolist()} & {
        tuple(row) for row in unseen(setup).tolist()
    }


def test_the_record_is_whole() -> None:
    """Every seed with both optimisers, examined at every check, and better than no model can be."""
    for run in recorded("stories"):
        for how in ("muon", "adamw"):
            assert [point["step"] for point in run[how]] == [*Setup().checks]
            assert min(point["loss"] for point in run[how]) > entropy() - 0.01
            assert all(0 <= point[skill] <= 1 for point in run[how] for skill in SKILLS)


def test_fresh_models_differ_by_seed_alone() -> None:
    """The same weights twice."""
    first, again, other = new_model(0), new_model(0), new_model(1)
    assert torch.equal(first.embedding.weight, again.embedding.weight)
    assert not torch.equal(first.embedding.weight, other.embedding.weight)
