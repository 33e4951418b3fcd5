"""`llmbook.experiments.shapes`: pictures that show what their captions say, and a judge who reads it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbook.experiments import shapes
from llmbook.experiments.shapes import (
    PAIRS,
    RELATIONS,
    WORDS,
    canonical,
    caption,
    captions,
    draw,
    has_pair,
    parts_right,
    read,
    sample,
    swap,
    tokens,
    train_judge,
    withheld_pairs,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def colour_at(image: torch.Tensor, y: int, x: int) -> str:
    distances = (torch.tensor(shapes._RGB) - image[:, y, x]).norm(dim=1)
    return shapes.COLOURS[int(distances.argmin())] if distances.min() < 0.05 else "none"


@given(seed=st.integers(0, 10_000))
def test_words_and_token_ids_say_the_same(seed: int) -> None:
    token_ids = captions(1, generator(seed))[0]
    assert torch.equal(tokens(caption(token_ids)), token_ids)
    words = caption(token_ids).removeprefix("a ").replace(" a ", " ")
    assert words == " ".join(WORDS[i] for i in token_ids.tolist())


@pytest.mark.parametrize(
    ("relation", "first", "second"),
    [
        ("left of", (12, 5), (12, 17)),
        ("right of", (12, 17), (12, 5)),
        ("above", (5, 12), (17, 12)),
        ("below", (17, 12), (5, 12)),
    ],
)
def test_each_thing_stands_where_the_caption_says(
    relation: str, first: tuple[int, int], second: tuple[int, int]
) -> None:
    image = draw(tokens(f"a red circle {relation} a blue square")[None])[0]
    assert colour_at(image, *first) == "red"
    assert colour_at(image, *second) == "blue"
    assert torch.equal(image[:, 0, 0], torch.ones(3))


def test_a_picture_is_the_same_however_it_is_said() -> None:
    token_ids = captions(500, generator())
    assert torch.equal(draw(token_ids), draw(canonical(token_ids)))
    assert torch.equal(canonical(canonical(token_ids)), canonical(token_ids))
    said = {WORDS[i] for i in canonical(token_ids)[:, 2].tolist()}
    assert said == {"left of", "above"} < set(RELATIONS)


def test_swapped_captions_say_something_else() -> None:
    token_ids = captions(200, generator())
    assert torch.equal(swap(swap(token_ids)), token_ids)
    assert not (canonical(swap(token_ids)) == canonical(token_ids)).all(1).any()
    assert (draw(swap(token_ids)) - draw(token_ids)).abs().amax((1, 2, 3)).min() > 0.1


def test_every_caption_has_its_own_picture() -> None:
    every = canonical(shapes._all_captions()).unique(dim=0)
    assert len(every) == 2 * PAIRS * (PAIRS - 1)
    assert len(draw(every).flatten(1).unique(dim=0)) == len(every)


def test_jitter_moves_each_thing_within_the_picture() -> None:
    token_ids = tokens("a red square left of a blue square")[None].expand(300, 5)
    images = draw(token_ids, generator())
    assert 70 < len(images.flatten(1).unique(dim=0)) <= 81  # nine places for each of two
    red = ((images - torch.tensor(shapes._RGB[0])[:, None, None]).norm(dim=1) < 0.05).sum((1, 2))
    assert red.unique().numel() == 1  # nothing is cut off
    assert images.min() >= 0
    assert images.max() == 1


def test_a_generator_decides_all() -> None:
    a, b, c = (sample(20, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(a[0], c[0])


def test_scenes_kept_for_tests_come_under_no_other_words() -> None:
    every = shapes._all_captions()
    kept = shapes.is_held_out(every)
    assert 0.17 < kept.double().mean() < 0.23
    turned = swap(every)
    turned[:, 2] = (turned[:, 2] - 8 + 2) % 4 + 8  # left of, above, right of, below
    assert torch.equal(draw(turned), draw(every))
    assert torch.equal(shapes.is_held_out(turned), kept)
    test = captions(300, generator(), held_out=True)
    train = captions(300, generator(), held_out=False)
    assert not {tuple(c) for c in canonical(test).tolist()} & {
        tuple(c) for c in canonical(train).tolist()
    }
    assert set(range(12)) == set(train.flatten().tolist()) == set(test.flatten().tolist())


@pytest.mark.parametrize("count", range(13))
def test_withheld_pairs_are_spread_over_colours_and_shapes(count: int) -> None:
    for pairs in (withheld_pairs(count), withheld_pairs(count, generator(count))):
        assert len(set(pairs)) == count
        for of in ([p // 4 for p in pairs], [p % 4 for p in pairs]):
            counts = [of.count(i) for i in range(4)]
            assert max(counts) - min(counts) <= 1
        drawn = captions(400, generator(), withheld=pairs)
        assert not has_pair(drawn, pairs).any()
        assert set(drawn.flatten().tolist()) == set(range(len(WORDS)))  # each word is still met
        if count:
            assert has_pair(captions(50, generator(), only=pairs), pairs).all()


def test_the_judge_reads_real_pictures_it_has_not_seen() -> None:
    judge = train_judge(0, steps=150)
    token_ids, images = sample(1_000, generator(77))
    found = read(judge, images)
    assert parts_right(found, token_ids)["all"] > 0.6
    assert not judge.training
    shuffled = parts_right(found, token_ids.roll(1, 0))
    assert shuffled["all"] < 0.02
    assert 0.2 < shuffled["colour"] < 0.3
    assert 0.2 < shuffled["shape"] < 0.3
    assert 0.4 < shuffled["relation"] < 0.6


@pytest.mark.plain
def test_wrong_input_is_named() -> None:
    good = tokens("a red circle left of a blue square")
    with pytest.raises(ValueError, match=r"token_ids must be of shape \(n, 5\), got \(5,\)"):
        draw(good)
    with pytest.raises(ValueError, match=r"must be integers, got torch\.float32"):
        draw(good[None].float())
    with pytest.raises(ValueError, match="a shape, from 4 to 7, in column 1, got 0"):
        draw(good[None] * 0)
    for text in ("", "a red circle", "a red circle left of blue square", "a cross red above a b c"):
        with pytest.raises(ValueError, match="text must be like"):
            tokens(text)
    with pytest.raises(ValueError, match="count must be from 0 to 12, got 13"):
        withheld_pairs(13)
    with pytest.raises(ValueError, match="withheld must hold numbers from 0 to 15"):
        sample(1, generator(), withheld=(16,))
    with pytest.raises(ValueError, match="no caption is left"):
        captions(1, generator(), withheld=range(16))
    with pytest.raises(ValueError, match="n must not be negative, got -1"):
        sample(-1, generator())
    with pytest.raises(ValueError, match="same number of rows, at least one, got 0 and 1"):
        parts_right(good[None][:0], good[None])


def test_no_captions_give_no_pictures() -> None:
    token_ids, images = sample(0, generator())
    assert token_ids.shape == (0, 5)
    assert images.shape == (0, 3, 24, 24)
    assert swap(token_ids).shape == canonical(token_ids).shape == (0, 5)
