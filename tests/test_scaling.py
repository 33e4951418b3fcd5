"""`llmbook.scaling`: fits against NumPy and by simulation, laws against published numbers."""

from functools import partial
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.scaling import (
    FITS,
    FLOPS_PER_PETAFLOP_DAY,
    LossFit,
    compute_optimal,
    fit_power_law,
    iso_flop_curve,
    kaplan_loss,
    kaplan_optimal,
    loss,
    t_quantile,
)

CHINCHILLA = 5.76e23
BUDGETS = st.floats(1e15, 1e28)
CONSTANTS = st.builds(
    LossFit,
    E=st.floats(0, 3),
    A=st.floats(1, 1e4),
    B=st.floats(1, 1e4),
    alpha=st.floats(0.1, 0.9),
    beta=st.floats(0.1, 0.9),
)


@given(exponent=st.floats(-2, 2), factor=st.floats(0.01, 100), points=st.integers(3, 20))
def test_a_power_law_is_found_again(exponent: float, factor: float, points: int) -> None:
    """Without noise the constants come back, and the intervals shrink to them."""
    x = np.logspace(0, 3, points)
    law = fit_power_law(x, factor * x**exponent)
    assert law.exponent == pytest.approx(exponent, abs=1e-10)
    assert law.factor == pytest.approx(factor, rel=1e-10)
    assert law.exponent_interval == pytest.approx((exponent, exponent), abs=1e-9)
    np.testing.assert_allclose(law(x), factor * x**exponent)


@pytest.mark.parametrize("points", [3, 5, 40])
def test_standard_errors_are_those_of_numpy(points: int) -> None:
    """Slope, intercept and their covariance from `np.polyfit` on the logarithms."""
    generator = np.random.default_rng(points)
    x = np.sort(generator.uniform(1, 1000, points))
    y = 5 * x**-0.3 * np.exp(generator.normal(0, 0.1, points))
    law = fit_power_law(x, y, confidence=0.9)
    (slope, intercept), covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    reach = t_quantile(0.9, points - 2) * np.sqrt(np.diag(covariance))
    assert law.exponent == pytest.approx(slope)
    assert law.exponent_interval == pytest.approx((slope - reach[0], slope + reach[0]))
    assert np.log(law.factor) == pytest.approx(intercept)
    expected = (intercept - reach[1], intercept + reach[1])
    assert tuple(np.log(law.factor_interval)) == pytest.approx(expected)


@pytest.mark.parametrize("points", [3, 8])
def test_intervals_contain_the_truth_as_often_as_they_say(points: int) -> None:
    """In 2,000 noisy measurements of one law, at 80 %; as many as a fair coin of that bias allows."""
    generator, x = np.random.default_rng(0), np.logspace(0, 2, points)
    found = np.zeros(2)
    for _ in range(2000):
        law = fit_power_law(x, 3 * x**-0.5 * np.exp(generator.normal(0, 0.2, points)), 0.8)
        found += (
            law.exponent_interval[0] < -0.5 < law.exponent_interval[1],
            law.factor_interval[0] < 3 < law.factor_interval[1],
        )
    assert np.all(abs(found / 2000 - 0.8) < 3.5 * np.sqrt(0.8 * 0.2 / 2000))


@pytest.mark.parametrize(
    ("confidence", "freedom", "published"),
    [
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 5, 2.571),
        (0.99, 10, 3.169),
        (0.90, 30, 1.697),
        (0.95, 120, 1.980),
        (0.999, 3, 12.924),
    ],
)
def test_t_quantiles_are_those_of_the_printed_table(
    confidence: float, freedom: int, published: float
) -> None:
    """The two-sided values at the back of every statistics book."""
    assert t_quantile(confidence, freedom) == pytest.approx(published, abs=0.0005)


@pytest.mark.parametrize(
    ("given_", "published"),
    [
        ({"parameters": 1.5e9}, 2.3036),
        ({"tokens": 300e9}, 1.6378),
        ({"petaflop_days": 3640}, 1.7641),
    ],
)
def test_kaplans_laws_of_one_quantity(given_: dict[str, Any], published: float) -> None:
    """Worked out by hand from the printed constants."""
    assert kaplan_loss(**given_) == pytest.approx(published, abs=5e-5)


def test_kaplans_law_of_compute_has_no_jump_and_no_floor() -> None:
    """Ten times the computation multiplies every loss by 0.89, down to zero; half takes 2^20."""
    losses = np.asarray(kaplan_loss(petaflop_days=10.0 ** np.arange(-3, 300)))
    np.testing.assert_allclose(losses[1:] / losses[:-1], 0.8913, atol=5e-5)
    assert losses[-1] < 1e-10
    assert kaplan_loss(petaflop_days=2.0**20) == pytest.approx(
        0.5 * np.asarray(kaplan_loss(petaflop_days=1))
    )


@given(parameters=st.floats(1e6, 1e12), tokens=st.floats(1e8, 1e13))
def test_kaplans_joint_law_is_bounded_by_its_two_limits(parameters: float, tokens: float) -> None:
    """An endless text leaves what the size allows, an endless model what the text allows."""
    joint = float(kaplan_loss(parameters=parameters, tokens=tokens))
    of_size = float(kaplan_loss(parameters=parameters, tokens=1e300))
    of_text = float(kaplan_loss(parameters=1e300, tokens=tokens))
    assert of_size == pytest.approx((6.4e13 / parameters) ** 0.076)
    assert of_text == pytest.approx((1.8e13 / tokens) ** 0.103)
    assert max(of_size, of_text) <= joint <= of_size + of_text


def test_kaplans_advice_is_the_one_chinchillas_paper_quotes() -> None:
    """4.68 billion parameters for 1e21 operations, if half of them are the least that is needed."""
    parameters, tokens = kaplan_optimal(1e21 / 2 / FLOPS_PER_PETAFLOP_DAY)
    assert parameters / 1e9 == pytest.approx(4.68, abs=0.005)
    assert kaplan_optimal(10)[0] / kaplan_optimal(1)[0] == pytest.approx(10**0.73)
    assert tokens == pytest.approx(2e10 * (1e21 / 2 / 8.64e19) ** 0.27)


@pytest.mark.parametrize(
    ("fit", "parameters", "tokens", "lowest"),
    [
        ("hoffmann2022", 3.2190e10, 2.9823e12, 1.93075),
        ("hoffmann2022-tex", 4.0361e10, 2.3785e12, 1.91841),
        ("besiroglu2024", 7.2249e10, 1.3287e12, 1.97444),
    ],
)
def test_the_best_split_of_chinchillas_budget(
    fit: str, parameters: float, tokens: float, lowest: float
) -> None:
    """The three fits disagree by more than a factor of two about one budget."""
    ours = compute_optimal(CHINCHILLA, fit)
    assert ours == pytest.approx((parameters, tokens), rel=1e-4)
    assert loss(*ours, fit) == pytest.approx(lowest, abs=1e-5)
    assert iso_flop_curve(CHINCHILLA, ours[0], fit) == pytest.approx(lowest, abs=1e-5)


@pytest.mark.parametrize(
    ("parameters", "tokens", "published"),
    [(175e9, 300e9, 2.00854), (280e9, 300e9, 1.99961), (70e9, 1.4e12, 1.97388)],
)
def test_losses_of_known_models(parameters: float, tokens: float, published: float) -> None:
    """GPT-3, Gopher and Chinchilla by the re-fit, worked out by hand."""
    assert loss(parameters, tokens, "besiroglu2024") == pytest.approx(published, abs=1e-5)


@given(flops=BUDGETS, fit=CONSTANTS, other=st.floats(0.01, 100))
def test_no_other_split_of_a_budget_is_better(flops: float, fit: LossFit, other: float) -> None:
    """Whatever the constants, the closed form spends the budget and lies at the valley's floor."""
    parameters, tokens = compute_optimal(flops, fit)
    assert 6 * parameters * tokens == pytest.approx(flops)
    best = loss(parameters, tokens, fit)
    assert iso_flop_curve(flops, other * parameters, fit) >= best * (1 - 1e-12)


@given(flops=BUDGETS, fit=st.sampled_from(sorted(FITS)))
def test_the_best_size_follows_a_power_law(flops: float, fit: str) -> None:
    """Fitted over four budgets, it has the exponent of the formula."""
    budgets = flops * np.array([1.0, 10.0, 100.0, 1000.0])
    parameters, _ = compute_optimal(budgets, fit)
    constants = FITS[fit]
    exponent = constants.beta / (constants.alpha + constants.beta)
    assert fit_power_law(budgets, np.asarray(parameters)).exponent == pytest.approx(exponent)


def test_a_floor_passes_for_a_smaller_exponent() -> None:
    """Over two powers of ten a curve with a floor is nearly straight, with the wrong slope."""
    parameters = np.logspace(8, 10, 9)
    ample = np.asarray(loss(parameters, 1e300, "besiroglu2024"))
    law = fit_power_law(parameters, ample)
    assert -0.1 < law.exponent < -0.05
    assert law.exponent_interval[0] > -0.3478 / 2
    assert abs(np.asarray(law(parameters)) / ample - 1).max() < 0.03


@pytest.mark.plain
def test_fits_refuse_too_little() -> None:
    """The error says what is missing."""
    x = np.array([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"three or more points are needed, got \(2,\) x"):
        fit_power_law(x[:2], x[:2])
    with pytest.raises(ValueError, match=r"got \(3,\) x and \(2,\) y"):
        fit_power_law(x, x[:2])
    with pytest.raises(ValueError, match=r"x must vary, got 2\.0 only"):
        fit_power_law(np.full(3, 2.0), x)
    with pytest.raises(ValueError, match="y must be positive and finite"):
        fit_power_law(x, np.array([1.0, 0.0, 2.0]))
    with pytest.raises(ValueError, match="x must be positive and finite"):
        fit_power_law(np.array([1.0, np.nan, 2.0]), x)
    with pytest.raises(ValueError, match="confidence must be between 0 and 1, got 95"):
        fit_power_law(x, x, confidence=95)
    with pytest.raises(ValueError, match="freedom must be at least 1, got 0"):
        t_quantile(0.95, 0)
    with pytest.raises(ValueError, match="x must be positive and finite, got -1"):
        fit_power_law(x, x)(-1)


@pytest.mark.plain
@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf")])
def test_laws_refuse_what_is_not_positive(wrong: float) -> None:
    """The error names the argument and its value."""
    with pytest.raises(ValueError, match=f"parameters must be positive and finite, got {wrong}"):
        loss(wrong, 1e9)
    with pytest.raises(ValueError, match=f"tokens must be positive and finite, got {wrong}"):
        loss(1e9, wrong)
    with pytest.raises(ValueError, match=f"flops must be positive and finite, got {wrong}"):
        compute_optimal(wrong)
    with pytest.raises(ValueError, match=f"flops must be positive and finite, got {wrong}"):
        iso_flop_curve(wrong, 1e9)
    with pytest.raises(ValueError, match=f"parameters must be positive and finite, got {wrong}"):
        iso_flop_curve(1e21, wrong)
    with pytest.raises(ValueError, match=f"tokens must be positive and finite, got {wrong}"):
        kaplan_loss(tokens=wrong)
    with pytest.raises(ValueError, match=f"petaflop_days must be positive and finite, got {wrong}"):
        kaplan_optimal(wrong)


@pytest.mark.plain
def test_laws_refuse_what_they_do_not_know() -> None:
    """An unknown fit shows the known ones; Kaplan's compute law takes nothing beside."""
    with pytest.raises(ValueError, match=r"fit must be one of hoffmann2022, .* got 'kaplan'"):
        compute_optimal(1e21, "kaplan")
    with pytest.raises(ValueError, match="or petaflop_days alone, got nothing"):
        kaplan_loss()
    with pytest.raises(ValueError, match="alone, got tokens, petaflop_days"):
        kaplan_loss(tokens=1e9, petaflop_days=1)


@pytest.mark.plain
@settings(deadline=None)
@given(
    st.lists(st.integers(1, 10**9), min_size=3, max_size=6, unique=True),
    st.sampled_from([np.int32, np.uint32, np.int64, np.uint64, list, tuple]),
)
def test_integers_do_not_wrap_and_lists_do(numbers: list[int], kind: Any) -> None:
    """Of any width, and alone: what float64 gives. Six times a billion is beyond 32 bits."""
    some = kind(numbers) if kind in (list, tuple) else np.array(numbers, kind)
    exact = np.array(numbers, np.float64)
    for law in (
        partial(iso_flop_curve, 1e21),
        lambda n: loss(n, n),
        lambda n: compute_optimal(n)[1],
        lambda n: kaplan_loss(parameters=n, tokens=n),
        lambda n: kaplan_loss(petaflop_days=n),
        lambda n: kaplan_optimal(n)[0],
    ):
        here, right = law(some), cast("Any", law(exact))
        np.testing.assert_allclose(here, right, rtol=1e-12)
        if not isinstance(some, list | tuple):
            np.testing.assert_allclose(law(some[0]), right[0], rtol=1e-12)
    law = fit_power_law(some, [2 * n for n in numbers])
    assert law.factor == pytest.approx(2)
    np.testing.assert_allclose(cast("Any", law(some)), 2 * exact)
