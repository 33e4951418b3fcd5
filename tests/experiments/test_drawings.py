"""`llmbook.experiments.drawings`: what is asked, what is counted as right, and runs of few steps."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from llmbook.dalle import Dalle
from llmbook.experiments import drawings
from llmbook.experiments.drawings import (
    Artist,
    Setup,
    decode,
    drawing_operations,
    encode,
    from_hex,
    gallery,
    judged,
    learn,
    learn_dvae,
    operations,
    questions,
    reconstructed,
    shared_codes,
    things_right,
    training_operations,
    training_set,
)
from llmbook.experiments.results import recorded
from llmbook.experiments.shapes import (
    Judge,
    canonical,
    captions,
    has_pair,
    is_held_out,
    tokens,
    withheld_pairs,
)
from llmbook.vq import VQVAE

TINY = Setup(pictures=64, batch=8, num_codes=8, plain_steps=2, code_steps=2, steps=2, tested=20)


@pytest.mark.parametrize("withheld", drawings.WITHHELD)
def test_training_has_no_withheld_pair_and_no_scene_of_the_tests(withheld: int) -> None:
    setup = Setup(withheld=withheld, pictures=1_000, tested=200)
    pairs = withheld_pairs(withheld)
    token_ids, images = training_set(0, setup)
    assert len(images) == 1_000
    assert not has_pair(token_ids, pairs).any()
    assert not is_held_out(token_ids).any()
    asked = questions(0, setup)
    assert not has_pair(asked["new"], pairs).any()
    assert is_held_out(asked["new"]).all()
    assert has_pair(asked["withheld"], pairs).all()
    scenes = {kind: {tuple(c) for c in canonical(texts).tolist()} for kind, texts in asked.items()}
    trained = {tuple(c) for c in canonical(token_ids).tolist()}
    assert not trained & (scenes["new"] | scenes["withheld"])
    assert len(scenes["trained"] & trained) > 0.9 * len(scenes["trained"])


def test_things_are_counted_by_what_is_right_of_them() -> None:
    def ids(*texts: str) -> torch.Tensor:
        return torch.stack([tokens(text) for text in texts])

    asked = ids(*["a red circle left of a blue square"] * 4)
    drawn = ids(
        "a blue square right of a red circle",
        "a red cross left of a blue square",
        "a green circle left of a red circle",
        "a blue square left of a green square",
    )
    each = dict.fromkeys(("both", "colour", "shape", "neither"), 0.25)
    assert things_right(drawn, asked, {0}) == each
    assert things_right(drawn, asked, {9})["both"] == 0.5  # the blue square, where it should be
    assert sum(things_right(drawn, asked, {0, 9}).values()) == 1


def test_a_perfect_artist_gets_full_marks_and_shuffled_texts_none() -> None:
    class Reader(nn.Module):
        """Has been told what was drawn."""

        def __init__(self) -> None:
            super().__init__()
            self.told: list[torch.Tensor] = []

        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            """Logits that say it."""
            first = torch.tensor([0, 4, 8, 0, 4])
            words = (canonical(self.told.pop(0)) - first).unbind(1)
            return [
                nn.functional.one_hot(word, count)
                for word, count in zip(words, Judge.CHOICES, strict=True)
            ]

    setup = Setup(tested=300)
    asked, reader = questions(0, setup), Reader()
    reader.told = list(asked.values())
    blank = {kind: torch.ones(300, 3, 24, 24) for kind in asked}
    found = judged(reader, asked, blank, setup)
    perfect = {"all": 1, "colour": 1, "shape": 1, "relation": 1}
    assert found["trained"] == found["new"] == found["withheld"] == perfect
    assert found["shuffled"]["all"] < 0.05
    assert found["shuffled"]["colour"] < 0.4
    assert found["things"]["withheld"] == {"both": 1, "colour": 0, "shape": 0, "neither": 0}


def test_codes_stand_row_by_row() -> None:
    torch.manual_seed(0)
    model = VQVAE(9).eval()
    images = torch.rand(3, 3, 24, 24)
    codes = encode(model, images)
    assert torch.equal(codes.reshape(3, 6, 6), model.encode(images))
    torch.testing.assert_close(decode(model, codes), model(images).images.clamp(0, 1))


def test_a_seed_decides_what_is_learnt_and_drawn() -> None:
    artists = [learn(shared_codes(seed, TINY), seed, TINY) for seed in (1, 1, 2)]
    first, again, other = (
        torch.cat([p.flatten() for p in (*a.vqvae.parameters(), *a.dalle.parameters())])
        for a in artists
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    texts = captions(3, torch.Generator().manual_seed(0))
    drawn = [artists[0].draw(texts, torch.Generator().manual_seed(4)) for _ in range(2)]
    assert torch.equal(*drawn)
    shown = gallery(artists[0].draw, Judge(), 0, TINY, count=2)
    assert [one["kind"] for one in shown] == ["new", "new", "withheld", "withheld"]
    picture = from_hex(shown[0]["picture"])
    assert picture.shape == (3, 24, 24)
    assert 0 <= picture.min() <= picture.max() <= 1


def test_the_dvae_cools_down_and_is_judged_in_the_same_way() -> None:
    model = learn_dvae(training_set(0, TINY)[1], 0, TINY)
    assert model.temperature == 0.5
    assert model.hard
    assert not model.training
    found = reconstructed(Judge(), model, questions(0, TINY), 0)
    assert 1 <= found["used"] <= 8
    assert set(found["new"]) == {"all", "colour", "shape", "relation"}


def test_operations_are_those_of_the_matrices() -> None:
    a, b = torch.ones(2, 3), torch.ones(3, 5)
    assert operations(lambda: a @ b) == 2 * 2 * 3 * 5
    one = training_operations(TINY)
    more = training_operations(replace(TINY, steps=3))
    twice = training_operations(replace(TINY, plain_steps=4, code_steps=4, steps=4))
    assert one < more < twice == 2 * one
    assert drawing_operations(TINY) > 0
    artist = Artist(VQVAE(8), Dalle(12, 8, 5, 36))
    assert artist.draw(captions(2, torch.Generator()), torch.Generator()).shape == (2, 3, 24, 24)


def test_the_record_is_whole_and_its_shares_add_up() -> None:
    for run in recorded("drawings"):
        assert run["real"]["all"] > 0.99
        for withheld in map(str, drawings.WITHHELD):
            drawn = run["drawn"][withheld]
            for shares in drawn["things"].values():
                assert sum(shares.values()) == pytest.approx(1)
            assert run["reconstructed"]["new"]["all"] > drawn["shuffled"]["all"]
            for kind in ("trained", "new", "withheld", "shuffled"):
                assert drawn[kind]["all"] <= min(drawn[kind].values())
        assert {one["kind"] for one in run["gallery"]} == {"new", "withheld"}
