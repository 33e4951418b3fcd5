from dataclasses import replace

import pytest
import torch

from llmbook.experiments.recall import (
    MARK,
    RecallModel,
    Setup,
    by_distance,
    learn,
    recall_loss,
    texts,
)
from llmbook.experiments.results import recorded
from llmbook.training import Recipe

SMALL = Setup(seq=24, window=4, d_model=16, batch=16, tested=40, recipe=Recipe(steps=20, lr=5e-3))


def test_a_text_has_one_mark_and_distances_count_from_the_symbol_after_it() -> None:
    token_ids, distance = texts(200, 12, torch.Generator().manual_seed(0))
    assert ((token_ids == MARK).sum(1) == 1).all()
    assert torch.equal(distance == -1, token_ids == MARK)
    assert (distance.diff(dim=1) == 1).all()
    assert int(distance[:, -1].min()) == 1  # every text asks at least once


def test_the_model_reads_the_token_before_and_no_position() -> None:
    model = RecallModel(SMALL.masks["full"], SMALL).double()
    token_ids = torch.randint(16, (1, 24))
    swapped = token_ids.clone()
    swapped[0, [3, 9]] = swapped[0, [9, 3]]
    swapped[0, [4, 10]] = swapped[0, [10, 4]]
    before, after = (
        model.token(ids) + model.before(torch.nn.functional.pad(ids, (1, -1), value=17))
        for ids in (token_ids, swapped)
    )
    torch.testing.assert_close(before[0, 4], after[0, 10])


@pytest.mark.parametrize("name", ["full", "window", "stride"])
def test_what_a_pattern_cannot_reach_in_its_layers_has_no_gradient(name: str) -> None:
    model = RecallModel(SMALL.masks[name], SMALL)
    x = torch.randn(1, 24, 16, requires_grad=True)
    h = x
    for block in model.blocks:
        h = block(h, model.mask)
    (gradient,) = torch.autograd.grad(h[0, -1].sum(), x)
    reached = int((gradient[0].abs().sum(-1) > 0).sum())
    assert reached == {"full": 24, "window": 2 * 3 + 1, "stride": 24}[name]


def test_guessing_costs_the_logarithm_of_the_symbols() -> None:
    class Blind(torch.nn.Module):
        def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
            """Knows nothing."""
            return torch.zeros(*token_ids.shape, 16)

    batch = texts(8, 12, torch.Generator().manual_seed(0))
    assert recall_loss(Blind(), batch).item() == pytest.approx(2.7726, abs=1e-4)


def test_training_is_told_by_its_seed_and_shares_by_every_distance() -> None:
    model, losses = learn("window", 3, SMALL)
    assert losses == learn("window", 3, SMALL)[1]
    shares = by_distance(model, 3, SMALL)
    assert len(shares) == 21
    assert all(0 <= share <= 1 for share in shares)


def test_the_record_has_its_cliff_where_the_windows_end() -> None:
    reach = {"window": 14, "deeper": 28}
    for run in recorded("recall"):
        for name, end in reach.items():
            right = run[name]["right"]
            assert min(right[:end]) > 0.9
            assert sum(right[end:]) / len(right[end:]) < 0.1
        assert min(run["full"]["right"] + run["stride"]["right"]) > 0.9


@pytest.mark.plain
def test_an_unknown_pattern_is_named() -> None:
    with pytest.raises(ValueError, match="pattern must be one of full, window, stride, got 'wide'"):
        learn("wide", 0, replace(SMALL))
