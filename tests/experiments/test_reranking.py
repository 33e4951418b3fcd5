"""Choosing among drawings: the highest score wins, and nothing beats what is there."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbook.experiments.drawings import Setup, learn, learn_codes, questions, training_set
from llmbook.experiments.reranking import COUNTS, chosen, drawings
from llmbook.experiments.results import recorded


@given(st.integers(0, 500), st.integers(1, 6))
def test_nothing_that_is_chosen_is_right_where_none_is(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    right = torch.rand(6, 9, generator=generator) < 0.3
    score = torch.rand(6, 9, generator=generator)
    picked = chosen(right, score, count)
    assert (picked <= right[:count].any(0)).all()
    assert torch.equal(chosen(right, right.float(), count), right[:count].any(0))
    assert torch.equal(chosen(right, score, 1), right[0])


def test_each_drawing_comes_with_its_own_likelihood() -> None:
    setup = Setup(pictures=300, plain_steps=1, code_steps=1, steps=2)
    _, images = training_set(0, setup)
    artist = learn(learn_codes(images, 0, setup), 0, setup)
    pictures, likely = drawings(artist, questions(0, setup)["new"][:3], 2, torch.Generator())
    assert len(pictures) == 2
    assert likely.shape == (2, 3)
    assert (likely < 0).all()


def test_the_record_never_beats_its_bound_and_begins_where_there_is_no_choice() -> None:
    for run in recorded("reranking"):
        for kind in ("new", "withheld"):
            assert list(map(int, run[kind])) == list(COUNTS)
            assert len(set(run[kind]["1"].values())) == 1
            for row in run[kind].values():
                assert max(row["CLIP"], row["likelihood"]) <= row["any"]
