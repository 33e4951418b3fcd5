"""An invented world: its text has the shares that it should, and twins even out what they swap."""

import numpy as np
import pytest
import torch

from llmbook.experiments.counterfactual import (
    FIRST_KIND,
    JOBS,
    WORDS,
    Setup,
    log_odds,
    shares,
    slope,
    study,
    swapped,
    text,
)
from llmbook.experiments.results import recorded


def test_the_text_has_the_shares_of_the_world() -> None:
    ids = text(40_000, seed=0)
    names = [WORDS[token] for token in ids[:, 2]]
    for job in (0, 11, 23):
        chosen = ids[torch.tensor([name == f"job{job}" for name in names])]
        pronoun = chosen[chosen[:, 3] == WORDS.index("said")]
        adjective = chosen[chosen[:, 3] == WORDS.index("is")]
        he = (pronoun[:, 5] == WORDS.index("he")).float().mean().item()
        first = torch.isin(adjective[:, 4], torch.tensor(FIRST_KIND)).float().mean().item()
        assert he == pytest.approx(shares()[job], abs=0.05)
        assert first == pytest.approx(shares()[job], abs=0.05)


def test_twins_swap_pronouns_and_nothing_else() -> None:
    ids = text(500, seed=1)
    twin = swapped(ids)
    differ = ids != twin
    assert differ.any(1).float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert {WORDS[token] for token in ids[differ]} == {"he", "she"}
    assert (ids != twin).sum() == torch.isin(ids, torch.tensor([4, 5])).sum()


def test_the_slope_of_the_worlds_own_odds_is_one() -> None:
    true = np.log(shares() / (1 - shares()))
    assert slope(true) == pytest.approx(1)
    assert slope(np.zeros(JOBS)) == pytest.approx(0)


def test_a_short_study_evens_the_pronouns_and_leaves_the_adjectives() -> None:
    setup = Setup(sentences=1_500, steps=150)
    found = {kind: log_odds(study(kind, seed=0, setup=setup)) for kind in ("plain", "swapped")}
    assert slope(found["plain"]["pronouns"]) > 0.3
    assert abs(slope(found["swapped"]["pronouns"])) < 0.1
    assert slope(found["swapped"]["adjectives"]) > 0.15


def test_an_unknown_kind_of_text_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of plain, swapped, got 'both'"):
        study("both", seed=0)


def test_the_record_says_what_the_chapter_says() -> None:
    for run in recorded("counterfactual"):
        assert run["plain"]["pronouns"] > 0.8
        assert abs(run["swapped"]["pronouns"]) < 0.01
        assert run["swapped"]["adjectives"] > 0.8
