import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from llmbook.experiments.facts import (
    VALUES,
    FactModel,
    Setup,
    bits_known,
    facts_for,
    learn,
    make_facts,
    parameters,
    rounded,
)
from llmbook.experiments.results import recorded
from llmbook.moe import MixtureOfExperts

SMALL = Setup(names=12, d_model=8, d_ff=8, experts=3, exposures=20, batch=32, offered=0.2)


class Table(nn.Module):
    """Knows some facts, and guesses the others."""

    def __init__(self, facts: torch.Tensor) -> None:
        super().__init__()
        self.facts = facts

    def forward(self, pairs: torch.Tensor) -> torch.Tensor:
        """Sure of what it knows."""
        same = (pairs[:, None] == self.facts[None, :, :2]).all(-1)
        return 100.0 * same.float() @ nn.functional.one_hot(self.facts[:, 2], VALUES).float()


def test_facts_are_no_pair_twice_and_values_are_drawn_evenly() -> None:
    facts = make_facts(4000, 70, seed=0)
    assert len(facts[:, :2].unique(dim=0)) == 4000
    counts = torch.bincount(facts[:, 2], minlength=VALUES)
    assert counts.min() > 30
    assert counts.max() < 100


def test_a_model_that_knows_a_third_of_the_facts_has_a_third_of_the_bits() -> None:
    facts = make_facts(90, 20, seed=0)
    assert bits_known(Table(facts[:0]), facts) == pytest.approx(0, abs=1e-3)
    assert bits_known(Table(facts[:30]), facts) == pytest.approx(30 * math.log2(VALUES), rel=1e-4)
    assert bits_known(Table(facts), facts) == pytest.approx(90 * 6, rel=1e-4)


@pytest.mark.parametrize("experts", [1, 3])
def test_the_model_gives_what_its_blocks_give_and_says_where_tokens_went(experts: int) -> None:
    torch.manual_seed(0)
    model = FactModel(SMALL, experts).double()
    pairs = torch.randint(12, (5, 2))
    x = torch.stack((model.first(pairs[:, 0]), model.second(pairs[:, 1])), 1)
    for block in model.blocks:
        x = block(x)
    logits, routings = model.with_routings(pairs)
    torch.testing.assert_close(logits, model.head(model.norm(x[:, 1])))
    assert len(routings) == (2 if experts > 1 else 0)


def test_a_mixture_stores_its_experts_and_every_one_is_as_large_as_the_dense_network() -> None:
    dense, mixture = FactModel(SMALL, 1), FactModel(SMALL, 3)
    block: Any = dense.blocks[0]
    network = parameters(block.feed_forward)
    router = SMALL.d_model * 3
    assert parameters(mixture) - parameters(dense) == SMALL.layers * (2 * network + router)
    assert isinstance(mixture.blocks[0].feed_forward, MixtureOfExperts)


def test_each_model_gets_its_share_of_facts_and_training_is_told_by_its_seed() -> None:
    model, facts = learn(SMALL, 3, seed=1)
    assert len(facts) == facts_for(model, SMALL) == int(0.2 * parameters(model) / 6)
    again, _ = learn(SMALL, 3, seed=1)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert bits_known(model, facts) > 0


@pytest.mark.parametrize("normalized", [True, False])
def test_a_mixture_is_normalized_as_it_is_told(normalized: bool) -> None:
    block: Any = learn(replace(SMALL, exposures=1), 3, seed=1, normalized=normalized)[0].blocks[0]
    assert block.feed_forward.normalized == normalized


def test_more_facts_can_be_given_than_the_setup_offers() -> None:
    assert len(learn(replace(SMALL, exposures=1), 1, seed=0, count=100)[1]) == 100


def test_rounding_copies_changes_matrices_and_leaves_vectors() -> None:
    model = FactModel(SMALL, 1)
    other = rounded(model, 3, 8)
    for (name, before), after in zip(model.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(before, after) == (before.ndim < 2), name


def test_the_record_says_what_the_chapter_says() -> None:
    for run in recorded("facts"):
        for name in ("dense", "mixture", "wide"):
            model = run[name]
            assert model["bits"] < 6 * model["facts"]
            assert model["rounded"]["8"] == pytest.approx(model["bits"], rel=0.02)


@pytest.mark.plain
def test_more_facts_than_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="3 names make 9 pairs, got count=10"):
        make_facts(10, 3, 0)
