"""`llmbook.experiments.unmasking`: texts are sums, and models are judged as who knows would be."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbook.experiments.results import recorded
from llmbook.experiments.unmasking import (
    ANSWER,
    EXTRA,
    LENGTH,
    Setup,
    before_an_end,
    bits,
    draw,
    everything,
    knows,
    learn,
    look,
    masked_from,
    nll,
    right,
    run,
    shown,
    size,
    spread,
    write,
    written,
)
from llmbook.unmasking import block_sizes, share_kept, unmask

SMALL = Setup(
    d_model=16,
    num_layers=1,
    steps=3,
    batch=4,
    rates=(0.01, 0.02),
    early=2,
    tested=20,
    passes=(1, 6),
    candidates=(1, 3),
)


@given(a=st.integers(0, 9), b=st.integers(0, 9))
def test_a_text_says_what_one_reads(a: int, b: int) -> None:
    ids = written(torch.tensor([a]), torch.tensor([b]))
    assert shown(ids[0]) == f"{a}+{b}={a + b:02}"
    assert right(ids).all()


def test_there_are_a_hundred_texts_and_all_are_right() -> None:
    texts = everything()
    assert texts.shape == (100, LENGTH)
    assert len(texts.unique(dim=0)) == 100
    assert right(texts).all()


@given(place=st.integers(0, LENGTH - 1), token=st.integers(0, EXTRA), seed=st.integers(0, 99))
def test_one_token_that_is_changed_makes_a_text_wrong(place: int, token: int, seed: int) -> None:
    """Each of the three numbers follows from the other two."""
    ids = draw(1, torch.Generator().manual_seed(seed))
    same = ids[0, place].item() == token
    ids[0, place] = token
    assert right(ids).item() == same


def test_drawn_texts_are_right_and_masks_hide_what_they_should() -> None:
    texts = draw(50, torch.Generator().manual_seed(0))
    assert right(texts).all()
    hidden = masked_from(texts, slice(ANSWER, None))
    assert (hidden[:, ANSWER:] == EXTRA).all()
    assert torch.equal(hidden[:, :ANSWER], texts[:, :ANSWER])
    assert not right(hidden).any()


def test_the_numbers_may_come_at_once_and_the_sum_after_them() -> None:
    texts = everything()
    assert abs(share_kept(texts, [3, 3], order=range(LENGTH)) - 1) < 1e-9
    by_hand = 0.1 * (0.45 * 0.45 + 0.55 * 0.55)  # ones are even, and 45 of 100 sums have a ten
    assert abs(share_kept(texts, [LENGTH]) - by_hand) < 1e-9


def test_who_knows_is_right_one_token_at_a_time_and_loses_what_is_computed_otherwise() -> None:
    texts = everything()
    for order in ("random", "left", "surest"):
        for steps in (1, 3, LENGTH):
            ids = unmask(
                knows,
                torch.full((300, LENGTH), EXTRA),
                steps,
                mask_id=EXTRA,
                generator=torch.Generator().manual_seed(0),
                order=order,
            )
            found, sizes = right(ids).double().mean().item(), block_sizes(LENGTH, steps)
            if steps == LENGTH:
                assert found == 1
            elif order == "left":
                assert abs(found - share_kept(texts, sizes, order=range(LENGTH))) < 0.05
            elif order == "random":
                assert abs(found - share_kept(texts, sizes)) < 0.08


def test_a_gpt_goes_on_with_what_is_there_and_its_costs_add_up() -> None:
    model = learn("gpt", 0, 0.02, SMALL)
    texts = draw(5, torch.Generator().manual_seed(0))
    ids = write(model, texts[:, :3], torch.Generator().manual_seed(0))
    assert ids.shape == texts.shape
    assert torch.equal(ids[:, :3], texts[:, :3])
    assert (ids < EXTRA).all()
    with torch.no_grad():
        begun = torch.cat((torch.full((5, 1), EXTRA), texts), 1)
        logits = model(begun[:, :-1])
        expected = torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), texts, reduction="none"
        )
    torch.testing.assert_close(nll(model, texts, 4), expected[:, 4:].sum(1))


def test_more_beginnings_leave_an_end_no_less_likely() -> None:
    """The first beginnings of a seed are the same, whatever comes after them."""
    model = learn("gpt", 0, 0.02, SMALL)
    texts = draw(30, torch.Generator().manual_seed(0))
    few = before_an_end(model, texts, (1, 3), torch.Generator().manual_seed(1))
    more = before_an_end(model, texts, (1, 3, 5), torch.Generator().manual_seed(1))
    assert set(few) == {"1", "3"}
    assert all(more[n] == few[n] for n in few)


def test_training_stops_early_and_is_then_what_it_was_on_the_way() -> None:
    seen = {}

    def watch(model: torch.nn.Module, step: int) -> None:
        if step == 2:
            seen["bits"] = look(model, 0, SMALL)["bits"]  # type: ignore[arg-type]

    learn("masked", 0, 0.02, SMALL, on_step=watch)
    assert look(learn("masked", 0, 0.02, SMALL, until=2), 0, SMALL)["bits"] == seen["bits"]


def test_a_record_has_all_that_is_compared() -> None:
    found = run(0, SMALL)
    assert set(found) == {"masked", "gpt", "perfect", "longer", "early"}
    assert [len(found["masked"]["trace"]), found["masked"]["trace"][0]] == [4, "_" * 6]
    for kind in ("masked", "gpt"):
        tried = found[kind]["tried"]
        assert str(found[kind]["muon_lr"]) == min(tried, key=tried.__getitem__)
        assert found[kind]["bits"] > 6.6
    assert set(found["masked"]["right"]) == {"random", "surest", "left"}
    assert set(found["masked"]["right"]["left"]) == {"1", "6"}


def test_untrained_models_need_more_bits_than_there_are() -> None:
    for kind in ("masked", "gpt"):
        model = learn(kind, 0, 0.02, replace(SMALL, steps=1))
        assert bits(kind, model) > 15
        assert size(model) <= sum(p.numel() for p in model.parameters())


def test_the_spread_of_even_draws_is_their_number_and_wrong_texts_do_not_count() -> None:
    assert abs(spread(everything()) - 100) < 1e-9
    wrong = everything()[:50].flip(1)
    assert abs(spread(torch.cat((everything()[:50], wrong))) - 50) < 1e-9


def test_the_record_says_what_the_chapter_says() -> None:
    for record in recorded("unmasking"):
        masked = record["masked"]["right"]
        assert record["gpt"]["right"] > 0.9
        assert masked["random"]["1"] < 0.1
        assert masked["random"]["6"] > masked["random"]["3"] > masked["random"]["1"]


@pytest.mark.plain
def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="kind must be 'masked' or 'gpt', got 'bert'"):
        learn("bert", 0, 0.02)
