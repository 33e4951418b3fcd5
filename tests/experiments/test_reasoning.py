"""`llmbook.experiments.reasoning`: ways are right, votes are counted, and a model that knows is always right."""

from dataclasses import replace
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbook.experiments import reasoning
from llmbook.experiments.reasoning import (
    EQUALS,
    Setup,
    answers,
    compare,
    examine,
    learn,
    questions,
    solved,
    vote,
)

SMALL = Setup(steps=3, batch=4, tested=20, votes=(1, 3))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 9))
def test_a_way_takes_each_digit_once_and_adds_it(digits: list[int], seed: int) -> None:
    """In an order that is drawn; the last number is the sum without its tens."""
    ids = solved(torch.tensor([digits]), torch.Generator().manual_seed(seed))[0].tolist()
    way = ids[len(digits) + 1 :]
    assert ids[: len(digits) + 1] == [*digits, EQUALS]
    assert sorted(way[::2]) == sorted(digits)
    assert way[1::2] == [sum(way[: 2 * i + 2 : 2]) % 10 for i in range(len(digits))]


def test_the_answer_alone_is_the_last_of_the_way() -> None:
    """To the same questions."""
    long, short = (
        questions(5, torch.Generator().manual_seed(0), digits=4, way=way) for way in (True, False)
    )
    assert torch.equal(long[:, :5], short[:, :5])
    assert torch.equal(long[:, -1], short[:, -1])
    assert short.shape == (5, 6)


@given(st.lists(st.integers(0, 10), min_size=1, max_size=9))
def test_the_vote_is_for_the_most_frequent(drawn: list[int]) -> None:
    """The smallest of several, as by counting."""
    expected = min(set(drawn), key=lambda answer: (-drawn.count(answer), answer))
    assert vote(torch.tensor(drawn)[:, None]).item() == expected


def test_with_a_cache_the_likeliest_way_is_that_without() -> None:
    """Token by token."""
    model = learn(0, way=True, setup=SMALL)
    asked = questions(3, torch.Generator().manual_seed(0), digits=6, way=False)[:, :7]
    ids = asked
    with torch.no_grad():
        for _ in range(12):
            ids = torch.cat((ids, model(ids)[:, -1].argmax(-1, keepdim=True)), 1)
    assert torch.equal(answers(model, asked, 12), ids[:, -1])


def test_who_knows_is_right_by_any_measure(monkeypatch: Any) -> None:
    """And who answers at random is right by chance."""
    monkeypatch.setattr(reasoning, "answers", lambda _, asked, *__: asked[:, :-1].sum(1) % 10)
    model = learn(0, way=False, setup=SMALL)
    found = examine(model, 1, 0, SMALL)
    assert found == {"greedy": 1, "votes": {"1": 1, "3": 1}, "any": {"1": 1, "3": 1}}


def test_the_record_has_what_is_made_anew() -> None:
    """The first votes of a seed are the same, whatever comes after them."""
    setup = Setup(steps=3, batch=4, tested=20, votes=(1, 3, 11))
    few = replace(setup, votes=(1, 3))
    record = compare(0, setup)["way"]
    anew = examine(learn(0, way=True, setup=few), 2 * few.digits, 0, few)
    assert set(anew["votes"]) == {"1", "3"}
    assert anew["greedy"] == record["greedy"]
    assert all(record["votes"][n] == right for n, right in anew["votes"].items())
