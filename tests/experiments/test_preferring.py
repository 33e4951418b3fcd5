"""`llmbook.experiments.preferring`: pairs are what they say, controls control, and nothing moves that should not."""

from typing import Any

import pytest
import torch

from llmbook.experiments import preferring
from llmbook.experiments.preferring import (
    WAYS,
    Setup,
    answer_mask,
    judge,
    pairs,
    score_pairs,
    share_cheerful,
    share_consistent,
    teach,
    write,
)
from llmbook.experiments.skills import new_model
from llmbook.experiments.stories import LENGTH, VOCABULARY, consistent, draw_stories
from llmbook.training import Recipe

SMALL = Setup(written=40, held_out=4, judged=20, batch=4, recipe=Recipe(steps=3, lr=1e-3))


def spoilt(count: int) -> torch.Tensor:
    """Stories, of which every other has a word too many wrong."""
    ids = draw_stories(count, seed=3)
    ids[::2, 1] = VOCABULARY.index("hungry")
    return ids


def test_a_pair_has_the_better_story_first() -> None:
    """By either wish, and no story is in two pairs."""
    ids = spoilt(40)
    for better, worse in pairs(ids, "consistent"):
        assert consistent(better)
        assert not consistent(worse)
    couples = pairs(ids, "cheerful")
    assert share_cheerful(couples[:, 0]) == 1
    assert share_cheerful(couples[:, 1]) == 0
    assert len({tuple(row) for row in couples.flatten(0, 1).tolist()}) == 2 * len(couples)
    assert share_consistent(ids) == 0.5


def test_a_storyteller_writes_side_by_side_what_it_would_write() -> None:
    """With a cache or without, the same words from the same draws."""
    model = new_model(0)
    written = write(model, 6, seed=1)
    assert written.shape == (6, LENGTH + 1)
    assert torch.equal(written, write(model, 6, seed=1))
    generator, ids = torch.Generator().manual_seed(1), written[:, :1]
    with torch.no_grad():
        for _ in range(LENGTH):
            weights = model.eval()(ids)[:, -1].softmax(-1)
            ids = torch.cat((ids, torch.multinomial(weights, 1, generator=generator)), 1)
    assert torch.equal(ids, written)


@pytest.mark.parametrize("way", WAYS)
def test_the_base_stays_and_the_model_moves(way: str) -> None:
    """Whatever it learns from."""
    base, couples = new_model(0), pairs(spoilt(40), "consistent")
    before = [weight.clone() for weight in base.parameters()]
    model = teach(base, couples, 0, way, SMALL)
    assert all(torch.equal(a, b) for a, b in zip(before, base.parameters(), strict=True))
    assert not torch.equal(model.embedding.weight, base.embedding.weight)


def test_preferences_are_learned_and_before_that_there_are_none() -> None:
    """The base is judged to be where it is; a few steps raise the better story over the worse."""
    base, couples = new_model(0), pairs(spoilt(80), "consistent")
    still = judge(base, base, couples, 0, SMALL)
    assert (still["accuracy"], still["kl"], still["chosen"]) == (0.5, 0.0, 0.0)
    setup = Setup(judged=20, batch=8, recipe=Recipe(steps=10, lr=1e-3))
    model = teach(base, couples[:20], 0, setup=setup)
    found = judge(model, base, couples[20:], 0, setup)
    assert found["accuracy"] > 0.9
    assert found["chosen"] > found["rejected"]


def test_shuffling_swaps_about_half_of_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves each pair together."""
    seen: list[Any] = []
    monkeypatch.setattr(preferring, "train", lambda model, draw, *_, **__: seen.append(draw))
    base, couples = new_model(0), pairs(spoilt(80), "consistent")
    teach(base, couples, 0, "shuffled", SMALL)
    batch, reference = seen[0](torch.Generator().manual_seed(0))
    right = [consistent(better) for better, _ in batch]
    assert all(consistent(a) != consistent(b) for a, b in batch)
    assert 0 < sum(right) < len(right)
    with torch.no_grad():
        torch.testing.assert_close(reference, score_pairs(base, batch))


def test_all_but_the_beginning_is_the_answer() -> None:
    """Which every story shares."""
    assert answer_mask(draw_stories(2, 0)).sum(1).tolist() == [LENGTH, LENGTH]


@pytest.mark.plain
def test_unknown_wishes_and_ways_are_refused() -> None:
    """With those that there are."""
    with pytest.raises(ValueError, match="wish must be one of cheerful, consistent, got 'short'"):
        pairs(spoilt(4), "short")
    with pytest.raises(ValueError, match="way must be one of preferences, dear"):
        teach(new_model(0), spoilt(4)[None, :2], 0, "luck")
