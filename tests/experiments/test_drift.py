"""`llmbook.experiments.drift`: change of company, and what changes by lot."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbook.experiments.drift import change, excess, measured, occurrences, pairs, ppmi

TEXT = "the river bank was green and the bank was wet".split()


@given(st.lists(st.sampled_from("a b c d".split()), max_size=30), st.integers(1, 5))
def test_pairs_are_those_of_two_loops(text: list[str], window: int) -> None:
    """Over all places and all places near them."""
    words, company = ["a", "b"], ["b", "c", "d"]
    (found,) = pairs([text], words, company, window)
    expected = [
        words.index(one) * 3 + company.index(other)
        for i, one in enumerate(text)
        for j, other in enumerate(text)
        if one in words and other in company and 0 < abs(i - j) <= window
    ]
    assert sorted(found.tolist()) == sorted(expected)


def test_ppmi_is_zero_for_what_is_as_frequent_as_by_chance() -> None:
    """Independent rows and columns; a pair that never occurs; nothing at all."""
    assert np.allclose(ppmi(np.outer([1.0, 2, 3], [4.0, 5])), 0, atol=1e-12)
    counts = np.array([[3.0, 0.0], [1.0, 4.0]])
    assert ppmi(counts)[0, 0] == pytest.approx(np.log(3 / 8 / (3 / 8 * 4 / 8)))
    assert ppmi(counts)[0, 1] == 0
    assert (ppmi(np.zeros((2, 2))) == 0).all()


def test_the_same_company_is_no_change_and_none_in_common_is_all() -> None:
    """A word that keeps its company, and one that changes it."""
    words, company = ["bank", "lake"], ["river", "money", "fish"]
    old = ["bank", "river"] * 9 + ["x"] * 5 + ["lake", "fish"] * 9
    new = ["bank", "money"] * 9 + ["x"] * 5 + ["lake", "fish"] * 9
    near = pairs([old, new], words, company)
    found = change(near, np.array([False, True]), (2, 3))
    assert found == pytest.approx([1, 0])


def test_of_a_word_as_many_pairs_are_kept_in_both_groups() -> None:
    """More than there are leaves all; of few, more of a change is chance."""
    dice = np.random.default_rng(0)
    likely = np.exp(-((np.arange(20) - 7 * np.arange(3)[:, None]) % 20) / 3).ravel()
    near = [dice.choice(60, size=size, p=likely / likely.sum()) for size in (300, 3000)]
    late, shape = np.array([False, True]), (3, 20)
    counts = occurrences(near, late, shape)
    assert counts.sum(axis=(1, 2)).tolist() == [300, 3000]
    assert counts[0, 1, 7] == (near[0] == 27).sum()
    every = change(near, late, shape)
    assert np.array_equal(change(near, late, shape, np.full(3, 1e6)), every)
    few = [change(near, late, shape, np.full(3, 40.0), np.random.default_rng(n)) for n in range(20)]
    assert (np.mean(few, axis=0) > every).all()
    assert np.array_equal(few[0], change(near, late, shape, np.full(3, 40.0)))


def test_a_change_that_only_the_lot_makes_has_no_excess() -> None:
    """What lies on the line of all words; a word above it by a tenth of its neighbours."""
    lot = np.linspace(0.1, 0.9, 9)
    real = 0.2 + 0.5 * lot
    assert np.allclose(excess({"by lot": lot.tolist(), "change": real.tolist()}), 0)
    real[4] += 0.1
    found = excess({"by lot": lot.tolist(), "change": real.tolist()})
    assert found.argmax() == 4


def test_the_addresses_show_what_the_page_says() -> None:
    """With two lots instead of twenty: the controls come out the same."""
    found = measured(lots=2)
    changed, lot = np.array(found["change"]), np.array(found["by lot"])
    often = np.log(found["count"])
    assert changed.mean() - 0.05 > lot.mean() > 0.4
    assert np.corrcoef(often, lot)[0, 1] < -0.7
    top = [found["words"][n] for n in np.argsort(-excess(found))[:12]]
    assert {"balance", "care", "union"} <= set(top)
    assert not {"the", "economy"} & set(top[:5])
    assert np.corrcoef(often, found["as few"]["change"])[0, 1] > -0.1
    uneven = [found["words"][n] for n in np.argsort(-excess(found["all pairs"]))[:12]]
    assert {"economy", "security"} <= set(uneven)
    company = dict(zip(found["words"], found["company"], strict=True))
    assert "health" in company["care"][1]
    assert measured(lots=2)["by lot"] == found["by lot"]
