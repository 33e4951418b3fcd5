"""`llmbook.experiments.sweep`: budgets are kept to, a cell is the same each time, and its record is whole."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from llmbook.datasets import DATA
from llmbook.experiments import sweep
from llmbook.experiments.ladder import flops, read
from llmbook.experiments.sweep import (
    BUDGETS,
    SIZES,
    Setup,
    cell,
    config,
    held_out,
    run,
    spread,
    steps_for,
)
from llmbook.gpt import GPT

SMALL = Setup(since=2016, vocab_size=280)


def recorded() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / "results" / "sweep.json").read_text("utf-8"))
    return content


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_budget_is_spent(budget: float) -> None:
    """To half a step, by every size; so a smaller model reads more."""
    for size in BUDGETS[budget]:
        step = flops(config(size), Setup().batch * Setup().context)
        assert abs(step * steps_for(size, budget) - budget) <= step / 2 + 1
    steps = [steps_for(size, budget) for size in BUDGETS[budget]]
    assert steps == sorted(steps, reverse=True)


def test_the_test_is_spread_over_all_times() -> None:
    """Every eighth piece of a thousand tokens, of addresses that no model has read."""
    pieces = spread(np.arange(24_000)).reshape(3, 1000)
    assert pieces[:, 0].tolist() == [0, 8000, 16_000]
    assert pieces[:, -1].tolist() == [999, 8999, 16_999]
    test = read(SMALL.since, SMALL.vocab_size).test.token_ids
    assert held_out(SMALL).tolist() == spread(test).tolist()


def test_a_cell_is_the_same_each_time() -> None:
    """Of one seed; another reads other pieces from other weights."""
    first = cell("16 x 2", 3, 0, SMALL)
    assert cell("16 x 2", 3, 0, SMALL) == first
    assert cell("16 x 2", 3, 1, SMALL)["loss"] != first["loss"]
    assert abs(float(first["loss"]) - math.log(280)) < 1  # little is learned in three steps
    assert first["tokens"] == 3 * 8 * 64


def test_a_run_has_the_form_of_the_record() -> None:
    """A row for each size of each budget."""
    rows = run(0, {1e8: ("8 x 1", "16 x 2"), 2e8: ("16 x 2",)}, SMALL)["cells"]
    assert [(row["budget"], row["size"]) for row in rows] == [
        (1e8, "8 x 1"), (1e8, "16 x 2"), (2e8, "16 x 2"),
    ]  # fmt: skip
    assert recorded()["runs"][0]["cells"][0].keys() == rows[0].keys()


def test_the_record_is_whole() -> None:
    """Two seeds of all cells, of the sizes that the module has; all finite."""
    content = recorded()
    assert content["command"] == "python -m llmbook.experiments.results sweep"
    assert [one["seed"] for one in content["runs"]] == [0, 1]
    parameters = {size: sum(p.numel() for p in GPT(config(size)).parameters()) for size in SIZES}
    for one in content["runs"]:
        expected = [
            (budget, size, parameters[size], steps_for(size, budget) * 512)
            for budget, sizes in BUDGETS.items()
            for size in sizes
        ]
        rows = one["cells"]
        found = [(row["budget"], row["size"], row["parameters"], row["tokens"]) for row in rows]
        assert found == expected
        assert all(2 < row["loss"] < math.log(1024) for row in rows)
    losses = [[row["loss"] for row in one["cells"]] for one in content["runs"]]
    assert not set(losses[0]) & set(losses[1])


def test_a_seed_decides_the_first_weights_and_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of them, and each time alike."""
    seen = []

    def look(model: GPT, draw: Any, recipe: Any, *, generator: torch.Generator) -> None:
        seen.append((model.embedding.weight.detach().clone(), draw(generator)))

    monkeypatch.setattr(sweep, "train", look)
    for seed in (0, 1, 0):
        cell("8 x 1", 1, seed, SMALL)
    for first, other, again in zip(*seen, strict=True):
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
