"""Rates by group: equal to Fairlearn's, bound by Chouldechova's identity, and true of COMPAS."""

import math
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from llmbook.datasets import compas, women_at_work
from llmbook.fairness import auc, calibration, group_rates, implied_fpr, wilson
from tests.reference import saved
from tests.reference.fairlearn import CASES, drawn

people = st.lists(
    st.tuples(st.booleans(), st.booleans(), st.sampled_from("abc")), min_size=1, max_size=60
)


@pytest.mark.parametrize("case", range(len(CASES)))
def test_rates_and_area_are_those_of_fairlearn_and_scikit_learn(case: int) -> None:
    labels, scores, groups = drawn(case)
    theirs = saved("fairlearn")
    ours = group_rates(labels, scores >= 5, groups)
    for name in ("fpr", "fnr", "ppv", "flagged"):
        assert [ours[g][name] for g in sorted(ours)] == pytest.approx(
            theirs[f"{case}.{name}"].tolist()
        )
    assert auc(labels, scores) == pytest.approx(float(theirs[f"{case}.auc"]), abs=1e-12)


@given(people)
def test_the_fourth_rate_follows_from_three(
    drawn_people: list[tuple[bool, bool, str]],
) -> None:
    for rates in group_rates(*map(list, zip(*drawn_people, strict=True))).values():
        if not (math.isnan(rates["fpr"]) or math.isnan(rates["fnr"])) and rates["ppv"] > 0:
            implied = implied_fpr(rates["base_rate"], rates["ppv"], rates["fnr"])
            assert implied == pytest.approx(rates["fpr"], abs=1e-12)


@given(people, st.randoms())
def test_the_order_of_people_changes_no_rate(
    drawn_people: list[tuple[bool, bool, str]], random: Random
) -> None:
    other = list(drawn_people)
    random.shuffle(other)
    first, second = (group_rates(*map(list, zip(*p, strict=True))) for p in (drawn_people, other))
    assert first.keys() == second.keys()
    for group, rates in first.items():
        assert list(rates.values()) == pytest.approx(list(second[group].values()), nan_ok=True)


@given(people)
def test_calibration_counts_everybody_once(drawn_people: list[tuple[bool, bool, str]]) -> None:
    labels, scores, groups = map(list, zip(*drawn_people, strict=True))
    table = calibration(labels, np.array(scores).astype(int), groups)
    assert sum(int(of["n"].sum()) for of in table.values()) == len(labels)
    hits = sum(float((of["n"] * of["rate"]).sum()) for of in table.values())
    assert hits == pytest.approx(sum(labels))


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2, max_size=40))
def test_the_area_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[bool, int]]) -> None:
    high = [score for label, score in pairs if label]
    low = [score for label, score in pairs if not label]
    assume(high and low)
    right = np.mean([(a > b) + (a == b) / 2 for a in high for b in low])
    assert auc(*map(list, zip(*pairs, strict=True))) == pytest.approx(right)


def test_the_published_rates_of_compas_come_out_to_the_digit() -> None:
    data = compas()
    rates = group_rates(data["again"], data["decile"] >= 5, data["race"])
    black, white = rates["African-American"], rates["Caucasian"]
    published = {"fpr": (44.85, 23.45), "fnr": (27.99, 47.72), "ppv": (62.97, 59.13)}
    for name, (of_black, of_white) in published.items():
        assert round(100 * black[name], 2) == of_black
        assert round(100 * white[name], 2) == of_white
    assert (black["n"], white["n"]) == (3696, 2454)


def test_leaving_out_who_was_screened_too_late_gives_the_published_share() -> None:
    data = compas()
    assert round(100 * data["again"].mean(), 1) == 45.1
    assert round(100 * data["again"][data["early"]].mean(), 1) == 36.2


def test_all_kinds_of_columns_are_taken() -> None:
    labels, predictions, groups = [1, 0, 1, 0], [1, 1, 0, 1], ["a", "a", "b", "b"]
    expected = group_rates(labels, predictions, groups)
    assert group_rates(np.array(labels, bool), np.array(predictions, np.int8), groups) == expected
    assert group_rates(np.array(labels, np.float16), torch.tensor(predictions), groups) == expected
    assert group_rates(torch.tensor(labels), predictions, np.array(groups)) == expected
    mixed = group_rates(labels, predictions, [None, None, 3, 3])
    assert list(mixed) == [None, 3]
    assert mixed[None] == expected["a"]


def test_where_nothing_is_counted_there_is_no_rate() -> None:
    assert group_rates([], [], []) == {}
    alone = group_rates([1], [0], ["a"])["a"]
    assert math.isnan(alone["fpr"])
    assert math.isnan(alone["ppv"])
    assert alone["fnr"] == 1
    assert math.isnan(auc([1, 1], [1, 2]))
    assert calibration([], [], []) == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: group_rates([0, 2], [0, 1], "ab"), "labels must be 0 or 1, got 2 at place 1"),
        (lambda: group_rates([0, 1], [0, 0.5], "ab"), r"predictions must be 0 or 1, got 0\.5"),
        (lambda: group_rates([0, 1], [0], "ab"), r"predictions and groups .* \(1,\) and 2"),
        (lambda: group_rates([[0, 1]], [0, 1], "ab"), r"labels must have one dimension.*\(1, 2\)"),
        (lambda: group_rates([0, 1], [0, 1], [1, float("nan")]), "nan at place 1"),
        (lambda: calibration([0, 1], [1, float("inf")], "ab"), "scores must be finite"),
        (lambda: auc([0, 1], [1, 2, 3]), r"scores must be as many as labels, \(2,\), got \(3,\)"),
        (lambda: auc([0, 1], [1, float("nan")]), "scores must be numbers, got nan"),
        (lambda: implied_fpr(1, 0.5, 0.5), "base_rate must be at least 0 and below 1, got 1"),
        (lambda: implied_fpr(0.5, 0, 0.5), "ppv must be above 0 and at most 1, got 0"),
        (lambda: implied_fpr(0.5, 0.5, 1.5), "fnr must be at least 0 and at most 1, got 1.5"),
        (lambda: wilson(1, 0), "of must be positive, got 0"),
        (lambda: wilson(3, 2), r"hits must be from 0 to of \(2\), got 3"),
        (lambda: wilson(1, 2, confidence=1), "confidence must be above 0 and below 1, got 1"),
    ],
)
def test_what_cannot_be_counted_is_refused_by_name(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_wilsons_interval_holds_the_true_share_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    for share in (0.02, 0.3, 0.5):
        ends = [wilson(int(hits), 60) for hits in random.binomial(60, share, 4000)]
        held = np.mean([low <= share <= high for low, high in ends])
        assert 0.93 < held < 0.985


def test_shares_of_women_are_shares() -> None:
    shares = women_at_work()
    assert len(shares) == 40
    assert all(0 < share < 1 for share in shares.values())
    assert min(shares, key=lambda name: shares[name]) == "carpenter"
    assert max(shares, key=lambda name: shares[name]) == "secretary"
