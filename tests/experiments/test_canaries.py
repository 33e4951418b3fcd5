"""`llmbook.experiments.canaries`: the text is what it says, and all of it can be run small."""

import math

import numpy as np
import pytest
import torch

from llmbook.experiments import canaries
from llmbook.experiments.canaries import DIGITS, LENGTH, Setup, World, encode, line_loss, young
from llmbook.experiments.results import recorded

SMALL = Setup(
    sentences=40, tested=30, canaries=2, coins=20, d_model=16, epochs=1,
    private_steps=2, private_batch=20,
)  # fmt: skip


def test_a_canary_stands_in_the_text_as_often_as_it_says() -> None:
    world = World(0, SMALL)
    for canary in world.canaries:
        told = [line for line in world.lines if line.startswith(canary.prompt + canary.pin)]
        assert len(told) == canary.copies
        assert len(set(told)) == (canary.copies if canary.near else min(1, canary.copies))
        assert len(canary.pin) == DIGITS
    names = [canary.name for canary in world.canaries] + [coin.split()[3] for coin in world.coins]
    assert len(set(names)) == len(names)
    for coin, inside in zip(world.coins, world.included.tolist(), strict=True):
        assert world.lines.count(coin) == inside
    assert not set(world.unseen) & set(world.sentences)
    assert max(map(len, world.lines)) <= LENGTH


def test_near_duplicates_are_taken_out_without_the_rest() -> None:
    from llmbook.memorization import deduplicate

    world = World(0, Setup(sentences=300))
    kept = deduplicate(world.lines, 0.6)
    for canary in world.canaries:
        told = [line for line in kept if line.startswith(canary.prompt + canary.pin)]
        assert len(told) == min(1, canary.copies)
    inside = [c for c, i in zip(world.coins, world.included.tolist(), strict=True) if i]
    assert set(inside) <= set(kept)
    assert sum(line in kept for line in world.sentences) > 0.75 * len(world.sentences)


def test_the_floor_of_the_loss_is_what_the_words_cost() -> None:
    world = World(1, SMALL)
    assert math.isclose(
        world.entropy, 6 * math.log(8) / np.mean([len(line) for line in world.unseen])
    )


def test_what_fills_up_a_line_does_not_count() -> None:
    model = young(0, 16)
    lines = encode(["ab.", "the pin of bako is 4711."])
    whole = line_loss(model, lines)
    parts = [line_loss(model, line[None]) for line in lines]
    torch.testing.assert_close(whole, (3 * parts[0] + 24 * parts[1]) / 27)
    assert torch.equal(encode(["ab."]), encode(["ab.\n"]))


def test_the_control_stops_at_the_loss_that_it_is_given() -> None:
    world = World(0, SMALL)
    start = canaries.unseen_loss(young(0, 16), world)
    model = canaries.train_to_loss(world.lines, 0, start - 0.3, world)
    reached = canaries.unseen_loss(model, world)
    assert start - 0.9 < reached <= start - 0.3


def test_the_experiment_is_what_its_seed_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries, "SIZES", (16,))
    monkeypatch.setattr(canaries, "EPSILONS", {"strict": 8.0})
    found = canaries.run(0, SMALL)
    assert found == canaries.run(0, SMALL)
    assert found["strict"]["epsilon"] <= 8
    assert found["exact"]["lines"] > found["near"]["lines"]
    assert found["lines"] > found["exact"]["lines"]


def test_the_record_is_of_the_settings() -> None:
    """Lines and guarantee, recomputed from the seed alone."""
    for run in recorded("canaries"):
        world = World(run["seed"])
        assert run["lines"] == len(world.lines)
        guarantee = canaries.guarantee_for(8.0, len(world.lines), world.setup)
        assert run["strict"]["noise"] == guarantee.noise_multiplier
        assert math.isclose(run["strict"]["epsilon"], guarantee.epsilon(), rel_tol=1e-5)
