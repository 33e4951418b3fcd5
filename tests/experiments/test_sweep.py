"""`llmbook.experiments.sweep`: budgets are kept to, a cell is the same each time, and its record is whole."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from llmbook.datasets import DATA
from llmbook.experiments import sweep
from llmbook.experiments.ladder import Corpus, Part, flops
from llmbook.experiments.sweep import BUDGETS, SIZES, cell, config, run, steps_for
from llmbook.gpt import GPT


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of few tokens in place of all addresses."""
    rng = np.random.default_rng(0)
    drawn = [Part(rng.integers(0, 1024, size), size) for size in (2000, 100, 1600)]
    monkeypatch.setattr(sweep, "read", lambda since, vocab_size: Corpus(*drawn, vocab_size=1024))
    monkeypatch.setattr(sweep, "held_out", lambda: torch.from_numpy(drawn[2].token_ids[:300]))


def recorded() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / "results" / "sweep.json").read_text("utf-8"))
    return content


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_budget_is_spent(budget: float) -> None:
    """To half a step, by every size; so a smaller model reads more."""
    for size in BUDGETS[budget]:
        spent = flops(config(size), steps_for(size, budget) * sweep.BATCH * sweep.CONTEXT)
        assert abs(spent - budget) <= flops(config(size), sweep.BATCH * sweep.CONTEXT) / 2 + 1
    steps = [steps_for(size, budget) for size in BUDGETS[budget]]
    assert steps == sorted(steps, reverse=True)


def test_the_test_is_spread_over_all_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every eighth piece of a thousand tokens."""
    part = Part(np.arange(24_000), 1)
    monkeypatch.setattr(sweep, "read", lambda *_: Corpus(part, part, part, vocab_size=1024))
    pieces = sweep.held_out.__wrapped__().reshape(3, 1000)
    assert pieces[:, 0].tolist() == [0, 8000, 16_000]
    assert pieces[:, -1].tolist() == [999, 8999, 16_999]


@pytest.mark.usefixtures("small")
def test_a_cell_is_the_same_each_time() -> None:
    """Of one seed; another reads other pieces from other weights."""
    first = cell("16 x 2", 3, 0)
    assert cell("16 x 2", 3, 0) == first
    assert cell("16 x 2", 3, 1)["loss"] != first["loss"]
    assert abs(first["loss"] - math.log(1024)) < 1  # nothing to be learned from noise
    assert first["tokens"] == 3 * 8 * 64


@pytest.mark.usefixtures("small")
def test_a_run_has_the_form_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row for each size of each budget."""
    monkeypatch.setattr(sweep, "BUDGETS", {1e8: ("8 x 1", "16 x 2"), 2e8: ("16 x 2",)})
    rows = run(0)["cells"]
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


@pytest.mark.usefixtures("small")
def test_a_seed_decides_the_first_weights_and_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of them, and each time alike."""
    seen = []

    def look(model: GPT, draw: Any, recipe: Any, *, generator: torch.Generator) -> None:
        seen.append((model.embedding.weight.detach().clone(), draw(generator)))

    monkeypatch.setattr(sweep, "train", look)
    for seed in (0, 1, 0):
        cell("8 x 1", 1, seed)
    for first, other, again in zip(*seen, strict=True):
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
