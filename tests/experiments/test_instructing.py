"""`llmbook.experiments.instructing`: requests ask for what answers have, and nothing judged is learned."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from llmbook.experiments import instructing
from llmbook.experiments.instructing import (
    ASKED,
    CONTEXT,
    PROMPT,
    WAYS,
    WITHHELD,
    Setup,
    answer,
    answer_loss,
    base,
    fulfilled,
    is_withheld,
    judge,
    mixed_loss,
    new_model,
    pairs,
    read,
    request,
    run,
    to_judge,
    to_learn,
    tune,
    windows,
)
from llmbook.experiments.results import recorded
from llmbook.experiments.stories import (
    BEGIN,
    COLOURS,
    LENGTH,
    THINGS,
    VOCABULARY,
    consistent,
    draw_stories,
    read_slots,
    token_ids,
    words,
)
from llmbook.training import Recipe, next_token_loss

FEW = Recipe(steps=2, lr=1e-3)
SMALL = Setup(told=30, batch=4, base=FEW, pairs=(4, 8), recipe=FEW, longer=3, judged=6)


def test_a_request_names_what_its_story_has() -> None:
    """In an order of words that no story has, and the answer follows it."""
    for story, ids in zip(draw_stories(40, seed=1), pairs(draw_stories(40, seed=1)), strict=True):
        slots = read_slots(story)
        assert slots is not None
        asked = words(request(story))
        assert asked == [BEGIN, *(slots[slot] for slot in ASKED), ".", BEGIN]
        assert len(asked) == PROMPT
        assert len(ids) == CONTEXT
        assert torch.equal(ids[PROMPT - 1 :], story)


def test_slots_are_read_from_what_keeps_to_a_plan_alone() -> None:
    """Of a story cut short, or with a word in a wrong place, nothing is read."""
    story = draw_stories(1, seed=4)[0]
    assert read_slots(story) is not None
    assert read_slots(story[:-1]) is None
    assert read_slots(story.flip(0)) is None
    wrong = story.clone()
    wrong[2] = token_ids("has")[0]  # not "is"
    assert read_slots(wrong) is None
    other = story.clone()
    other[1] = token_ids("kim" if words(story)[1] != "kim" else "lee")[0]
    assert read_slots(other) is None  # the name comes twice


def test_nothing_that_is_judged_was_learned() -> None:
    """No request, and of those that are withheld no pair of colour and thing."""
    learned = to_learn(300, seed=0)
    assert not is_withheld(learned[:, PROMPT - 1 :]).any()
    asked = to_judge(0, replace(SMALL, pairs=(300,), judged=50))
    prompts = {tuple(row) for row in learned[:, :PROMPT].tolist()}
    for kind, some in asked.items():
        assert len(some) == 50
        assert not prompts & {tuple(row) for row in some.tolist()}
        combined = {tuple(words(row)[1:3]) for row in some}
        assert (combined <= WITHHELD) == (kind == "withheld")
    assert {colour for colour, _ in WITHHELD} == set(COLOURS)
    assert {thing for _, thing in WITHHELD} == set(THINGS)


def test_fewer_pairs_are_the_first_of_more() -> None:
    """So more pairs are more of the same."""
    assert torch.equal(to_learn(5, seed=3), to_learn(9, seed=3)[:5])
    assert not torch.equal(to_learn(5, seed=3), to_learn(5, seed=4))


class Gives(nn.Module):
    """A model with an answer of its own."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, _: Tensor) -> Tensor:
        """That."""
        return self.logits


def test_the_loss_asks_for_the_answer_alone() -> None:
    """What stands in a request's place is no target: logits before the answer get no gradient."""
    ids = to_learn(3, seed=0)
    logits = torch.randn(3, CONTEXT - 1, len(VOCABULARY), requires_grad=True)
    answer_loss(Gives(logits), ids).backward()
    grad = logits.grad
    assert grad is not None
    assert (grad[:, : PROMPT - 1] == 0).all()
    assert (grad[:, PROMPT - 1 :].abs().sum(-1) > 0).all()
    expected = next_token_loss(Gives(logits[:, PROMPT - 1 :]), ids[:, PROMPT - 1 :])
    assert torch.allclose(answer_loss(Gives(logits), ids), expected)


def test_a_mixed_batch_counts_answers_and_text_alike() -> None:
    """Half of each loss."""
    model, answers = new_model(0).eval(), to_learn(4, seed=0)
    text = windows(4, SMALL, torch.Generator().manual_seed(0))
    found = mixed_loss(model, (answers, text))
    assert torch.allclose(found, (answer_loss(model, answers) + next_token_loss(model, text)) / 2)


def test_windows_are_cut_from_stories_one_after_the_other() -> None:
    """Also the first and the last that there is."""
    text = draw_stories(SMALL.told, seed=1).flatten().tolist()
    found = windows(400, SMALL, torch.Generator().manual_seed(1)).tolist()
    starts = {
        start
        for window in found
        for start in range(len(text))
        if text[start : start + CONTEXT] == window
    }
    assert min(starts) < 20
    assert max(starts) <= len(text) - CONTEXT
    assert {start % (LENGTH + 1) for start in starts} == set(range(LENGTH + 1))


def test_an_answer_fulfils_what_it_has() -> None:
    """A story behind its own request has all; behind another's what the two share; noise nothing."""
    stories = draw_stories(60, seed=5)
    prompts = torch.stack([request(story) for story in stories])
    assert set(fulfilled(prompts, stories).values()) == {1.0}
    other = fulfilled(prompts, stories.roll(1, 0))
    assert other["all"] < 0.1 < other["FACE"] < 0.8
    assert other["consistent"] == 1
    assert set(fulfilled(prompts, stories.flip(1)).values()) == {0.0}
    assert all(consistent(story) for story in stories)


def test_answers_follow_their_prompts() -> None:
    """With a cache or without, the same words from the same draws; they begin with `<bos>`."""
    model, prompts = new_model(0), to_learn(3, seed=0)[:, :PROMPT]
    told = answer(model, prompts, seed=2)
    assert told.shape == (3, LENGTH + 1)
    assert torch.equal(told[:, 0], prompts[:, -1])
    generator, ids = torch.Generator().manual_seed(2), prompts
    with torch.no_grad():
        for _ in range(LENGTH):
            weights = model.eval()(ids)[:, -1].softmax(-1)
            ids = torch.cat((ids, torch.multinomial(weights, 1, generator=generator)), 1)
    assert torch.equal(ids[:, PROMPT - 1 :], told)


@pytest.mark.parametrize("way", WAYS)
def test_tuning_leaves_the_base_as_it_is(way: str) -> None:
    """Each way gives another model, the same each time; from scratch it is not the base's."""
    before = {name: value.clone() for name, value in base(0, SMALL).state_dict().items()}
    one, two = (tune(0, 8, way, SMALL).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(torch.equal(before[n], value) for n, value in base(0, SMALL).state_dict().items())
    assert any(not torch.equal(before[name], one[name]) for name in one)


def test_an_unknown_way_is_refused() -> None:
    """By its name."""
    with pytest.raises(ValueError, match=r"way must be one of tuned, longer, .*got 'loud'"):
        tune(0, 4, "loud", SMALL)


def test_shuffled_pairs_have_another_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the same requests and the same answers in all."""
    seen = []

    def train(model: object, draw: object, *_: object, **__: object) -> None:
        seen.append(draw(torch.Generator().manual_seed(0)))  # type: ignore[operator]

    setup = replace(SMALL, batch=64)
    base(0, setup)
    monkeypatch.setattr(instructing, "train", train)
    for way in ("tuned", "shuffled"):
        tune(0, 8, way, setup)
    straight, crossed = ({tuple(row) for row in ids.tolist()} for ids in seen)
    assert not straight & crossed
    for part in (slice(PROMPT), slice(PROMPT, None)):
        assert {row[part] for row in straight} == {row[part] for row in crossed}


def test_a_run_has_every_way_and_its_first_losses() -> None:
    """Small: the shape of the record, and the same twice."""
    found = run(0, SMALL)
    assert set(found) == {"first", "base", "said", *WAYS}
    assert found["first"] == read(0, SMALL)[1][:10]
    assert set(found["tuned"]) == {"4", "8"}
    assert found["base"] == judge(base(0, SMALL), 0, SMALL)
    assert set(found["base"]) == {"new", "withheld", "loss"}


def test_the_record_is_of_the_settings() -> None:
    """As many numbers of pairs, three seeds, and the first steps as they are made today."""
    runs = recorded("instructing")
    assert [found["seed"] for found in runs] == [0, 1, 2]
    setup = Setup()
    assert all(list(found["tuned"]) == [str(n) for n in setup.pairs] for found in runs)
    today = read(0, setup, until=3)[1]
    assert today == pytest.approx(runs[0]["first"][:3], rel=1e-2)
