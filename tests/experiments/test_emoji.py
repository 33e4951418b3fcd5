"""`llmbook.experiments.emoji`: ranks, splits and baselines in cases that can be counted."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.emoji import emoji, pictures
from llmbook.experiments import emoji as experiment
from llmbook.experiments.emoji import (
    END,
    MAX_WORDS,
    PROMPTS,
    Setup,
    baselines,
    build,
    correlations,
    draw_batch,
    encode,
    fit,
    found,
    longer,
    moved,
    neighbours_groups,
    ranks,
    similarities,
    split,
    vocabulary,
    without_double,
    word_vectors,
    words,
    zero_shot,
)
from llmbook.experiments.results import recorded

SMALL = Setup(steps=2, batch=8, d_model=8, d_joint=8, held_out=1300)


@given(size=st.integers(1, 8), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_ranks_are_places_in_the_sorted_list(size: int, seed: int) -> None:
    scores = torch.randn(size, size, generator=torch.Generator().manual_seed(seed))
    by_sorting = [
        row.argsort(descending=True).tolist().index(k) + 1 for k, row in enumerate(scores)
    ]
    assert ranks(scores).tolist() == by_sorting


def test_a_model_that_gives_all_the_same_score_is_in_the_middle() -> None:
    """It must not look perfect: ties count half."""
    result = found(torch.zeros(100, 100), torch.ones(100, dtype=torch.bool))
    assert result == {"R@1": 0, "R@5": 0, "R@10": 0, "median": 50.5, "candidates": 100}


def test_only_what_is_kept_asks_and_answers() -> None:
    scores = torch.tensor([[1.0, 2.0, 9.0], [0.0, 1.0, 9.0], [0.0, 0.0, 9.0]])
    assert found(scores, torch.tensor([True, True, False]))["R@1"] == 0.5
    assert found(scores, torch.ones(3, dtype=torch.bool))["R@1"] == pytest.approx(1 / 3)


def test_a_split_shares_nothing_and_differs_by_seed() -> None:
    trained, held = split(0)
    assert not set(trained) & set(held)
    assert sorted(trained + held) == list(range(len(emoji())))
    assert len(held) == 200
    assert split(1)[1] != held


def test_texts_end_and_are_cut() -> None:
    ids = encode(["face", " ".join(["face"] * 30)])
    assert ids.shape == (2, MAX_WORDS + 1)
    assert ids[0].tolist()[1:] == [END] + [0] * (MAX_WORDS - 1)
    assert ids[1, -1] == END
    assert (ids == END).sum(1).tolist() == [1, 1]


def test_every_prompt_can_be_read_and_every_group_has_eight() -> None:
    """The first is the name of the group, which no text of training holds as it is."""
    groups = {one.group for one in emoji()}
    assert set(PROMPTS) == groups
    assert {len(texts) for texts in PROMPTS.values()} == {8}
    assert {word for texts in PROMPTS.values() for t in texts for word in words(t)} <= set(
        vocabulary()
    )
    for group, texts in PROMPTS.items():
        assert texts[0] == " ".join(words(group))


def test_glove_comes_along_turned_but_with_its_angles() -> None:
    """All 100 directions keep cosines of centred vectors; fewer keep the largest part."""
    place = vocabulary()
    pairs = [("dog", "cat"), ("dog", "car"), ("apple", "fruit"), ("apple", "train")]
    for width in (100, 64):
        vectors = word_vectors(width)
        alike = [
            torch.cosine_similarity(vectors[place[a]], vectors[place[b]], dim=0) for a, b in pairs
        ]
        assert alike[0] > alike[1]
        assert alike[2] > alike[3]


def test_a_batch_has_trained_emoji_alone_each_with_its_own_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before it is moved, every picture is a vendor's, and its text says what it shows."""
    monkeypatch.setattr(experiment, "moved", lambda images, generator: images)
    trained, _ = split(0, 1300)
    setup = replace(SMALL, batch=50, vendors=("noto", "openmoji"))
    token_ids, images = draw_batch(trained, setup, torch.Generator().manual_seed(0))
    drawn = torch.stack([pictures(vendor)[trained] for vendor in setup.vendors])
    spelled = {number: word for word, number in vocabulary().items()}
    vendors = set()
    for image, ids in zip(images, token_ids.tolist(), strict=True):
        vendor, place = (drawn == image).flatten(2).all(2).nonzero()[0].tolist()
        vendors.add(vendor)
        one = emoji()[trained[place]]
        known = {word for text in (one.name, *one.keywords) for word in words(text)}
        assert {spelled[k] for k in ids if k > END} <= known
        assert END in ids
    assert vendors == {0, 1}


def test_moved_pictures_stay_white_at_the_rim_and_in_range() -> None:
    """A black rim would be a sign of what was moved."""
    images = torch.ones(20, 3, 32, 32)
    torch.testing.assert_close(moved(images, torch.Generator().manual_seed(0)), images)
    drawn = pictures("noto")[:20]
    again = moved(drawn, torch.Generator().manual_seed(0))
    assert 0 <= again.min() <= again.max() <= 1 + 1e-6
    assert (again - drawn).abs().flatten(1).amax(1).min() > 0.05
    still = moved(drawn, torch.Generator().manual_seed(0))
    assert torch.equal(again, still)


def test_near_duplicates_are_found_by_their_correlation() -> None:
    """A picture correlates with itself at 1; of held-out emoji some have a double in training."""
    trained, held = split(0)
    torch.testing.assert_close(
        correlations(held[:5], "noto", held[:5], ("noto",)).diagonal(), torch.ones(5)
    )
    new = without_double(held, trained)
    assert 100 < new.sum() < 150
    best = correlations(held, "twemoji", trained, ("openmoji", "noto")).amax(1)
    assert best[new].max() < 0.8
    assert not without_double(held[:5], held[:5]).any()


def test_baselines_find_what_lies_before_their_eyes() -> None:
    """Where pictures that ask are known with their words, the nearest is right nearly always."""
    numbers = split(0)[1][:60]
    every = torch.ones(60, dtype=torch.bool)
    scores = baselines(numbers, numbers, "noto", ("noto", "twemoji"))
    assert set(scores) == {f"{k} by {b}" for k in (1, 5, 20) for b in ("words", "glove")} | {
        "linear"
    }
    assert found(scores["1 by words"], every)["R@1"] > 0.75
    assert found(scores["1 by glove"], every)["R@1"] > 0.5
    assert found(scores["linear"], every)["R@5"] > 0.8
    assert neighbours_groups(numbers, numbers, "noto") > 0.3


@pytest.mark.parametrize("text", ["glove", "words", "bag"])
def test_towers_learn_and_glove_stays(text: str) -> None:
    """The loss of a few emoji falls; GloVe's vectors are what they were."""
    setup = replace(SMALL, text=text, steps=60, batch=12, d_model=16, d_joint=16)
    model, losses = fit(0, list(range(0, 1388, 60)), setup)
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    table = model.text.get_parameter("embedding.weight")
    assert table.requires_grad is (text == "words")
    if text == "glove":
        assert torch.equal(table, word_vectors(16))
    _, first = fit(0, list(range(0, 1388, 60)), setup, until=3)
    assert first == losses[:3]


def test_a_bag_gives_equal_vectors_to_any_order_and_a_transformer_does_not() -> None:
    images = pictures("noto")[:2]
    texts = ["red heart with ribbon", "ribbon with heart red"]
    for text, same in (("bag", True), ("glove", False)):
        torch.manual_seed(0)
        scores = similarities(build(replace(SMALL, text=text)), images, texts)
        assert torch.allclose(scores[:, 0], scores[:, 1], atol=1e-6) is same


def test_zero_shot_is_right_where_pictures_say_their_group() -> None:
    """A tower that sees nothing is right as often as its one answer comes."""
    torch.manual_seed(0)
    model = build(SMALL)
    numbers = list(range(0, 1388, 10))
    result = zero_shot(model, numbers, "noto", 8)
    assert 0 <= result["accuracy"] <= 1
    with torch.no_grad():
        model.vision_projection.weight.zero_()
    blind = zero_shot(model, numbers, "noto", 8)
    share = sum(emoji()[k].group == next(iter(PROMPTS)) for k in numbers) / len(numbers)
    assert blind["accuracy"] == pytest.approx(share)
    assert blind["balanced"] == pytest.approx(1 / 8)


@pytest.mark.parametrize("text", ["glov", ""])
def test_an_unknown_tower_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"text must be 'glove', 'words' or 'bag', got '{text}'"):
        build(replace(SMALL, text=text))


def test_what_is_trained_longer_begins_where_the_record_is() -> None:
    """As many steps find nearly as much, and four times as many find most of what is trained."""
    for short, long in zip(recorded("emoji"), recorded("emoji-longer"), strict=True):
        assert {*long} == {"seed", "400", "800", "1600"}
        for once, again, off in (
            (short["train"], long["400"]["train"], 0.05),
            (short["glove"]["new"], long["400"]["new"], 0.1),
        ):
            assert again["candidates"] == once["candidates"]
            assert again["R@10"] == pytest.approx(once["R@10"], abs=off)
        assert long["1600"]["train"]["R@10"] > 2 * long["400"]["train"]["R@10"]


def test_any_numbers_of_steps_are_trained_and_judged() -> None:
    found_in = longer(0, steps=(1, 2))
    assert {*found_in} == {"1", "2"}
    for both in found_in.values():
        assert both["train"]["candidates"] == len(emoji()) - Setup.held_out
        assert both["new"]["candidates"] < Setup.held_out
    assert found_in["1"] != found_in["2"]
