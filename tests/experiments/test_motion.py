"""`llmbook.experiments.motion`: what a frame cannot tell, what frames can, and who sees it."""

from collections import Counter
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor

import llmbook.experiments.motion as m
from llmbook.experiments.motion import (
    DIRECTIONS,
    HIDDEN,
    STEP,
    FilmTransformer,
    Setup,
    bound,
    films,
    fit,
    guesses,
    run,
    share,
    shuffle,
)

SMALL = Setup(steps=2, batch=8, d_model=8)


def drawn(n: int = 400, frames: int = 4) -> tuple[Tensor, Tensor]:
    """Films and their directions."""
    return films(n, torch.Generator().manual_seed(0), frames)


def seen(shown: Tensor) -> Tensor:
    """Which frames show the thing."""
    return (shown < 1).flatten(2).any(2)


def test_the_thing_moves_by_whole_steps_and_comes_back_on_the_other_side() -> None:
    """Rolled by a step in the film's direction, a frame is the next one, where both show it."""
    shown, direction = drawn()
    ways = {"left": (0, -1), "up": (-1, 0), "right": (0, 1), "down": (1, 0)}
    compared = 0
    for film, d, visible in zip(shown, direction, seen(shown), strict=True):
        shift = tuple(STEP * x for x in ways[DIRECTIONS[int(d)]])
        for a, b in pairwise(range(4)):
            if visible[a] and visible[b]:
                assert torch.equal(film[a].roll(shift, (1, 2)), film[b])
                compared += 1
    assert compared > 300


def test_a_frame_says_nothing_of_the_direction() -> None:
    """By construction: of each start and thing, every direction gives each frame as often."""
    for frame in range(4):
        places: dict[int, Counter[tuple[int, int]]] = {d: Counter() for d in range(4)}
        for d, y, x in product(range(4), range(24), range(24)):
            down, right = ((0, -1), (-1, 0), (0, 1), (1, 0))[d]
            places[d][(y + frame * STEP * down) % 24, (x + frame * STEP * right) % 24] += 1
        assert places[0] == places[1] == places[2] == places[3]


@pytest.mark.parametrize("frames", [2, 3, 4])
@pytest.mark.parametrize("shuffled", [False, True])
def test_the_bound_is_what_a_perfect_eye_reaches(frames: int, shuffled: bool) -> None:
    """It knows what could be drawn, and how likely, and says the likeliest direction."""
    ways = ((0, -1), (-1, 0), (0, 1), (1, 0))
    likely: dict[tuple[object, ...], list[float]] = {}
    for visible in product([True, False], repeat=frames):
        weight = (1 - HIDDEN) ** sum(visible) * HIDDEN ** (frames - sum(visible)) / (4 * 24 * 24)
        for d, y, x in product(range(4), range(24), range(24)):
            down, right = (STEP * step for step in ways[d])
            at = [
                ((y + t * down) % 24, (x + t * right) % 24) if visible[t] else (-1, -1)
                for t in range(frames)
            ]
            likely.setdefault(tuple(sorted(at) if shuffled else at), [0.0] * 4)[d] += weight
    assert sum(map(sum, likely.values())) == pytest.approx(1)
    assert bound(frames, shuffled=shuffled) == pytest.approx(sum(map(max, likely.values())))


def test_as_many_frames_are_hidden_as_said() -> None:
    assert seen(drawn(2000)[0]).double().mean().item() == pytest.approx(1 - HIDDEN, abs=0.02)


def test_shuffling_keeps_the_frames_of_each_film() -> None:
    shown, _ = drawn(50)
    mixed = shuffle(shown, torch.Generator().manual_seed(1))
    assert not torch.equal(mixed, shown)
    assert torch.equal(
        mixed.flatten(2).sum(2).sort(1).values, shown.flatten(2).sum(2).sort(1).values
    )


def test_a_model_with_frames_apart_that_knows_no_time_cannot_tell_them_from_shuffled_ones() -> None:
    """With equal vectors for all times, the class token sees a set of squares."""
    torch.manual_seed(0)
    model = FilmTransformer(Setup(together=1, d_model=8))
    shown, _ = drawn(20)
    mixed = shuffle(shown, torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert not torch.allclose(model(shown), model(mixed), atol=1e-5)
        model.times.weight.zero_()
        torch.testing.assert_close(model(shown), model(mixed))


@pytest.mark.parametrize(("frames", "together", "tokens"), [(1, 1, 16), (4, 1, 64), (4, 2, 32)])
def test_tokens_are_counted_as_they_are_read(frames: int, together: int, tokens: int) -> None:
    setup = Setup(frames=frames, together=together, d_model=8)
    model, lengths = FilmTransformer(setup), []
    model.blocks[0].register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    model(drawn(3, frames)[0])
    assert setup.tokens == tokens == lengths[0] - 1  # and the class token


def test_a_token_holds_the_same_square_of_the_frames_that_are_cut_together() -> None:
    """A change in the first square of the first two frames changes one token alone."""
    model, got = FilmTransformer(Setup(d_model=8)), []
    model.blocks[0].register_forward_pre_hook(lambda _, args: got.append(args[0].detach()))
    shown, _ = drawn(1)
    model(shown)
    changed = shown.clone()
    changed[0, :2, :, :6, :6] += 1
    model(changed)
    assert (got[0] != got[1]).any(2).nonzero().tolist() == [[0, 1]]


def test_two_frames_that_are_cut_together_are_learned_to_the_bound() -> None:
    setup = Setup(frames=2, steps=250)
    model, losses = fit(0, setup)
    shown, direction = films(500, torch.Generator().manual_seed(9), 2)
    assert abs(share(guesses(model, shown), direction) - bound(2)) < 0.08
    assert fit(0, setup, until=2)[1] == losses[:2]
    assert model.training


def test_a_run_names_all_that_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(**changes: Any) -> Setup:
        return Setup(**{"steps": 2, "batch": 8, "d_model": 8, "tested": 40, **changes})

    monkeypatch.setattr(m, "Setup", small)
    result = run(0)
    assert [*result] == ["1", "2", "4", "shuffled", "apart", "at once"]
    assert [result[name]["tokens"] for name in result] == [16, 16, 32, 32, 64, 16]
    assert {"backwards", "opposite", "mixed"} <= {*result["4"]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Setup(frames=5), "frames must be from 1 to 4, got 5"),
        (lambda: Setup(frames=3), "together must divide frames = 3, got 2"),
        (lambda: films(-1, torch.Generator()), "n must not be negative, got -1"),
        (lambda: films(1, torch.Generator(), 0), "frames must be from 1 to 4, got 0"),
        (lambda: bound(0), "frames must be positive, got 0"),
        (
            lambda: FilmTransformer(SMALL)(torch.zeros(1, 2, 3, 24, 24)),
            "shown must have 4 frames a film, got 2",
        ),
    ],
)
def test_impossible_films_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_no_films_are_no_error() -> None:
    shown, direction = drawn(0)
    assert shown.shape == (0, 4, 3, 24, 24)
    assert direction.shape == (0,)
