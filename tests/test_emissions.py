"""`llmbook.emissions` against the lesson's own function and against published training runs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbook.emissions import (
    BLOOM_LIFE,
    DEVICES,
    GEMINI,
    GRIDS,
    KWH_PER_DANISH_HOME,
    KWH_PER_US_HOME,
    PUBLISHED_RUNS,
    PUBLISHED_USES,
    WATTS_PER_CORE,
    Boundary,
    Device,
    Grid,
    PublishedUse,
    TrainingRun,
    emissions_kg,
    energy_kwh,
    estimate_carbon_emissions,
    footprint,
    joules_per_token,
)
from tests.reference import saved
from tests.reference.codecarbon import PROCESSORS

AMOUNTS = st.floats(0, 1e9)
RUNS = pytest.mark.parametrize("run", PUBLISHED_RUNS.values(), ids=PUBLISHED_RUNS)
BIBLIOGRAPHY = Path(__file__).parents[1] / "docs" / "references.bib"


def lesson(training_time_hours: float, gpu_count: int, gpu_type: str = "V100") -> float:
    """The lesson's function, word for word."""
    power_consumption = {"V100": 300, "A100": 400}  # Watts
    total_energy = training_time_hours * gpu_count * power_consumption[gpu_type] / 1000  # kWh
    carbon_intensity = 475  # gCO2eq/kWh (global average)
    carbon_emissions = total_energy * carbon_intensity / 1000  # kgCO2eq
    return carbon_emissions


@given(hours=AMOUNTS, count=st.integers(0, 100_000), gpu_type=st.sampled_from(["V100", "A100"]))
def test_defaults_are_the_lessons(hours: float, count: int, gpu_type: str) -> None:
    """With nothing but the lesson's arguments, ours returns what the lesson's does."""
    ours = estimate_carbon_emissions(hours, count, gpu_type)
    assert ours == pytest.approx(lesson(hours, count, gpu_type), rel=1e-12)


def test_the_lessons_example() -> None:
    """64 V100 for 30 days: 13,824 kWh and 6,566.40 kg."""
    assert energy_kwh(720 * 64, 300, 1.0) == 13_824
    assert emissions_kg(13_824, 475) == pytest.approx(6566.40)
    assert estimate_carbon_emissions(720, 64) == pytest.approx(6566.40)
    assert type(estimate_carbon_emissions(720, 64)) is float


@given(hours=AMOUNTS, watts=AMOUNTS, pue=st.floats(1, 3), intensity=st.floats(0, 2000))
def test_everything_is_proportional(
    hours: float, watts: float, pue: float, intensity: float
) -> None:
    """Twice the hours, watts, overhead or intensity is twice the result."""
    kwh = energy_kwh(hours, watts, pue)
    assert energy_kwh(2 * hours, watts, pue) == pytest.approx(2 * kwh)
    assert energy_kwh(hours, 2 * watts, pue) == pytest.approx(2 * kwh)
    assert energy_kwh(hours, watts, 2 * pue) == pytest.approx(2 * kwh)
    assert emissions_kg(kwh, 2 * intensity) == pytest.approx(2 * emissions_kg(kwh, intensity))


def test_overhead_and_grid_are_options() -> None:
    """The lesson's run in a building with PUE 1.1 on the French grid of 57 g."""
    cleaner = estimate_carbon_emissions(720, 64, pue=1.1, carbon_intensity=57)
    assert cleaner == pytest.approx(6566.40 * 1.1 * 57 / 475)


def test_no_hours_and_no_gpus_emit_nothing() -> None:
    """Zero is an amount like any other."""
    assert estimate_carbon_emissions(0, 64) == 0.0
    assert estimate_carbon_emissions(720, 0) == 0.0
    assert emissions_kg(13_824, 0) == 0.0


@RUNS
def test_published_runs_follow_from_their_parts(run: TrainingRun) -> None:
    """Energy and emissions come out as printed, within the rounding of what was printed."""
    kwh = energy_kwh(run.accel_hours, run.watts_per_accel, run.pue)
    if run.published_kwh is not None:
        assert kwh == pytest.approx(run.published_kwh, rel=0.005, abs=0.5)
    assert emissions_kg(kwh, run.g_per_kwh) == pytest.approx(run.published_kg, rel=0.007, abs=0.5)


def test_gpt3_by_the_lessons_formula() -> None:
    """Rated power without overhead gives a sixth less energy than was published for GPT-3."""
    run = PUBLISHED_RUNS["GPT-3"]
    assert run.published_kwh is not None
    kwh = energy_kwh(run.accel_hours, DEVICES["V100"].watts, pue=1)
    assert kwh == pytest.approx(1_065_600)
    assert 1 - kwh / run.published_kwh == pytest.approx(0.17, abs=0.005)
    assert 1 - emissions_kg(kwh, 475) / run.published_kg == pytest.approx(0.083, abs=0.001)


def test_the_same_run_was_guessed_88_times_too_high() -> None:
    """Strubell et al.'s estimate of one architecture search against what it took."""
    guess = PUBLISHED_RUNS["Evolved Transformer NAS, as guessed in 2019"].published_kg
    assert guess / PUBLISHED_RUNS["Evolved Transformer NAS"].published_kg == pytest.approx(
        88.8, abs=0.1
    )


def test_the_126_homes_are_danish_and_not_of_this_run() -> None:
    """126 homes belong to an estimate of 190 MWh; Patterson's 1,287 MWh are 119 US homes."""
    assert round(190_000 / KWH_PER_DANISH_HOME) == 126
    published = PUBLISHED_RUNS["GPT-3"].published_kwh
    assert published is not None
    assert round(published / KWH_PER_US_HOME) == 119


def test_the_default_grid_lies_within_the_published_ones() -> None:
    """Training sites range from 57 to 545 g/kWh, as the docstring says."""
    intensities = [run.g_per_kwh for run in PUBLISHED_RUNS.values()]
    assert (min(intensities), max(intensities)) == (57, 545)


SOURCED = [*DEVICES.values(), *GRIDS.values(), *PUBLISHED_RUNS.values(), *PUBLISHED_USES.values()]


@pytest.mark.parametrize("record", SOURCED)
def test_records_are_frozen_and_sourced(
    record: Device | Grid | PublishedUse | TrainingRun,
) -> None:
    """Nobody changes a published number by accident, and each has its place in the bibliography."""
    with pytest.raises(AttributeError):
        record.name = "changed"  # type: ignore[misc]
    assert f"{{{record.source}," in BIBLIOGRAPHY.read_text()


def test_tables_are_read_only() -> None:
    """A chapter can't add a device for all the others."""
    with pytest.raises(TypeError):
        DEVICES["V100"] = DEVICES["H100"]  # type: ignore[index]
    assert {name: device.watts for name, device in DEVICES.items()} == {
        "V100": 300,
        "A100": 400,
        "H100": 700,
    }


@pytest.mark.parametrize(
    ("gpu_type", "message"),
    [
        ("v100", r"unknown gpu_type 'v100' \(did you mean 'V100'\?\); known: V100, A100, H100"),
        ("NVIDIA A100-SXM4", r"'NVIDIA A100-SXM4' \(did you mean 'A100'\?\); known"),
        ("abacus", r"unknown gpu_type 'abacus'; known: V100, A100, H100"),
        ("", r"unknown gpu_type ''; known: V100, A100, H100"),
    ],
)
def test_unknown_devices_are_named(gpu_type: str, message: str) -> None:
    """The error lists the known devices, and suggests one whose name is in what was typed."""
    with pytest.raises(ValueError, match=message):
        estimate_carbon_emissions(1, 1, gpu_type)


BAD = [-1, -0.001, math.nan, math.inf, -math.inf, True, 10**400]


@pytest.mark.parametrize("value", BAD)
def test_impossible_amounts_are_named(value: Any) -> None:
    """Every quantity is refused by its own name, with what would be allowed."""
    message = "must be a finite number, at least 0, got"
    with pytest.raises(ValueError, match=f"training_time_hours {message}"):
        estimate_carbon_emissions(value, 1)
    with pytest.raises(ValueError, match=f"carbon_intensity {message}"):
        estimate_carbon_emissions(1, 1, carbon_intensity=value)
    with pytest.raises(ValueError, match=f"accel_hours {message}"):
        energy_kwh(value, 1, 1)
    with pytest.raises(ValueError, match=f"watts_per_accel {message}"):
        energy_kwh(1, value, 1)
    with pytest.raises(ValueError, match=f"kwh {message}"):
        emissions_kg(value, 1)
    with pytest.raises(ValueError, match=f"g_per_kwh {message}"):
        emissions_kg(1, value)


@pytest.mark.parametrize("pue", [*BAD, 0, 0.99])
def test_a_building_draws_at_least_what_its_computers_draw(pue: Any) -> None:
    """PUE starts at 1."""
    with pytest.raises(ValueError, match="pue must be a finite number, at least 1, got"):
        estimate_carbon_emissions(1, 1, pue=pue)
    with pytest.raises(ValueError, match="pue must be a finite number, at least 1, got"):
        energy_kwh(1, 1, pue)


@pytest.mark.plain
@pytest.mark.parametrize("value", ["720", None, [720], 1j, *BAD])
def test_gpu_counts_are_amounts(value: Any) -> None:
    """Text, nothing, lists and complex numbers are no count, nor is what is no amount."""
    with pytest.raises(ValueError, match="gpu_count must be a finite number, at least 0, got"):
        estimate_carbon_emissions(1, value)


@pytest.mark.plain
def test_gpus_come_in_whole_numbers() -> None:
    """Half a GPU is refused; 64.0 GPUs are 64."""
    with pytest.raises(ValueError, match=r"gpu_count must be a whole number, got 63\.5"):
        estimate_carbon_emissions(720, 63.5)  # type: ignore[arg-type]
    assert estimate_carbon_emissions(720, 64.0) == estimate_carbon_emissions(720, 64)  # type: ignore[arg-type]


@pytest.mark.plain
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int32, np.float16])
def test_no_type_of_number_wraps(kind: Any) -> None:
    """Hours times accelerators times watts of eight bits, as of Python's."""
    hours, watts = kind(120), kind(100)
    assert energy_kwh(hours, watts, kind(1)) == energy_kwh(120, 100, 1)
    assert emissions_kg(hours, watts) == emissions_kg(120, 100)
    assert estimate_carbon_emissions(
        hours, kind(64), pue=kind(1), carbon_intensity=kind(100)
    ) == estimate_carbon_emissions(120, 64, pue=1, carbon_intensity=100)


COUNTRIES = pytest.mark.parametrize("grid", [g for g in GRIDS.values() if g.code != "WLD"])


@COUNTRIES
def test_grids_are_codecarbons_to_the_gram(grid: Grid) -> None:
    """Its table rests on the same data as ours, with more digits: half a gram is rounding."""
    grams, year, *_ = saved("codecarbon")[grid.code]
    assert grid.g_per_kwh == pytest.approx(grams, abs=0.5)
    assert grid.year == year


@COUNTRIES
def test_a_grids_grams_follow_from_what_its_electricity_is_made_of(grid: Grid) -> None:
    """From 8 to 71 % above, always above: codecarbon counts 743 g for gas, Ember less.

    The tolerance is this wide because what a kilowatt-hour from gas or wind stands for depends on
    the plants, and on how much of their life is counted.
    """
    theirs = saved("codecarbon")
    mix, grams = theirs[grid.code][3:].astype(float), theirs["grams"].astype(float)
    assert mix.sum() == pytest.approx(theirs[grid.code][2], rel=0.005)  # nothing is left out
    assert 1.08 < (mix * grams).sum() / mix.sum() / grid.g_per_kwh < 1.71


def test_grids_are_named_with_the_cleanest_first() -> None:
    """And the lesson's average is codecarbon's fallback too."""
    grams = [grid.g_per_kwh for grid in GRIDS.values()]
    assert grams == sorted(grams)
    assert len({grid.code for grid in GRIDS.values()}) == len(GRIDS) >= 12
    assert saved("codecarbon")["world"] == 475


def test_server_cores_are_rated_within_the_range() -> None:
    """500 W for 192 cores, 360 for 96, 400 for 64."""
    watts = saved("codecarbon")["watts"] / np.array(list(PROCESSORS.values()))
    assert list(watts) == sorted(watts)
    low, middle, high = WATTS_PER_CORE
    assert low < watts[0] < middle < watts[-1] < high
    assert watts[1] == 3.75


def test_geminis_prompt_follows_from_its_shares() -> None:
    """Chips alone 0.10 Wh; host, machines standing by and the building make it 0.24."""
    chips = PUBLISHED_USES["Gemini, chips alone"].wh
    whole = footprint(chips / 1000, 1.0, 0, GEMINI)
    assert whole.kwh * 1e6 == pytest.approx(PUBLISHED_USES["Gemini"].wh)
    assert chips / GEMINI.utilisation == pytest.approx(0.58 * 0.24)
    assert chips / GEMINI.utilisation * GEMINI.host == pytest.approx((0.58 + 0.25) * 0.24)
    assert whole.litres * 1e6 == pytest.approx(0.26)  # millilitres


def test_blooms_life_is_twice_its_training() -> None:
    """24.69 t of operation, 14.6 t idle and 11.2 t of making are the printed 50.5 t."""
    run = PUBLISHED_RUNS["BLOOM"]
    life = footprint(run.accel_hours, run.watts_per_accel, run.g_per_kwh, BLOOM_LIFE)
    assert life.kg == pytest.approx(50_500, rel=0.001)
    assert life.embodied_kg == pytest.approx(11_200)
    assert life.operation_kg == pytest.approx(24_690 + 14_600, rel=0.001)


def test_means_by_task_give_what_was_said_of_them() -> None:
    """A picture for sixty texts; and the 16 % of a telephone's charge are no thousand texts."""
    uses = {name: use.wh for name, use in PUBLISHED_USES.items()}
    assert uses["image generation"] / uses["text generation"] == pytest.approx(61.9, abs=0.1)
    charge = 12.0  # Wh
    assert 1000 * uses["text classification"] / charge == pytest.approx(0.16, abs=0.01)
    assert 1000 * uses["text generation"] / charge == pytest.approx(3.9, abs=0.02)


@given(
    hours=AMOUNTS,
    watts=AMOUNTS,
    grams=st.floats(0, 2000),
    utilisation=st.floats(0.01, 1),
    factors=st.tuples(*[st.floats(1, 3)] * 3),
)
def test_without_a_boundary_a_footprint_is_the_two_multiplications(
    hours: float,
    watts: float,
    grams: float,
    utilisation: float,
    factors: tuple[float, float, float],
) -> None:
    """And within one each factor multiplies, while use divides; no order matters."""
    bare = footprint(hours, watts, grams)
    kwh = energy_kwh(hours, watts, 1)
    assert (bare.kwh, bare.kg, bare.embodied_kg, bare.litres) == (
        kwh,
        emissions_kg(kwh, grams),
        0,
        0,
    )
    host, idle, pue = factors
    within = Boundary(
        utilisation=utilisation,
        host=host,
        idle=idle,
        pue=pue,
        embodied_g_per_hour=10,
        litres_per_kwh=2,
    )
    found = footprint(hours, watts, grams, within)
    assert found.kwh == pytest.approx(kwh * host * idle * pue / utilisation)
    assert found.litres == 2 * found.kwh
    assert found.kg == pytest.approx(emissions_kg(found.kwh, grams) + hours / utilisation / 100)


def test_a_pue_is_a_boundary() -> None:
    """The lesson's function with its options is the footprint of its device."""
    one = estimate_carbon_emissions(720, 64, pue=1.2, carbon_intensity=57)
    assert footprint(720 * 64, DEVICES["V100"].watts, 57, Boundary(pue=1.2)).kg == pytest.approx(
        one
    )


def test_tokens_share_the_energy_of_their_pass() -> None:
    """Half a second at 4 W for 8 tokens is a quarter of a joule each; a boundary multiplies."""
    assert joules_per_token(0.5, 4, 8) == 0.25
    assert joules_per_token(0.5, 4, 8, Boundary(host=1.5, pue=2)) == 0.75


@pytest.mark.parametrize("value", [*BAD, 0, 1.01])
def test_use_is_a_share(value: Any) -> None:
    """Above 0 and at most 1; what is no number has the other message."""
    with pytest.raises(ValueError, match="utilisation must be"):
        Boundary(utilisation=value)


@pytest.mark.parametrize("name", ["host", "idle", "pue"])
@pytest.mark.parametrize("value", [*BAD, 0, 0.99])
def test_no_boundary_makes_less_of_the_energy(name: str, value: Any) -> None:
    """Each factor starts at 1."""
    with pytest.raises(ValueError, match=f"{name} must be a finite number, at least 1, got"):
        Boundary(**{name: value})


@pytest.mark.parametrize("value", BAD)
def test_impossible_uses_are_named(value: Any) -> None:
    """By the argument's name, with what would be allowed."""
    message = "must be a finite number, at least 0, got"
    for name in ("embodied_g_per_hour", "litres_per_kwh"):
        with pytest.raises(ValueError, match=f"{name} {message}"):
            Boundary(**{name: value})
    with pytest.raises(ValueError, match=f"accel_hours {message}"):
        footprint(value, 1, 1)
    with pytest.raises(ValueError, match=f"watts_per_accel {message}"):
        footprint(1, value, 1)
    with pytest.raises(ValueError, match=f"g_per_kwh {message}"):
        footprint(1, 1, value)
    with pytest.raises(ValueError, match=f"seconds {message}"):
        joules_per_token(value, 1, 1)
    with pytest.raises(ValueError, match=f"watts {message}"):
        joules_per_token(1, value, 1)
    with pytest.raises(ValueError, match="tokens must be a finite number, at least 1, got"):
        joules_per_token(1, 1, value)
