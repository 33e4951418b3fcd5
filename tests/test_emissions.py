"""`llmbook.emissions` against the lesson's own function and against published training runs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbook.emissions import (
    DEVICES,
    KWH_PER_DANISH_HOME,
    KWH_PER_US_HOME,
    PUBLISHED_RUNS,
    Device,
    TrainingRun,
    emissions_kg,
    energy_kwh,
    estimate_carbon_emissions,
)

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


@pytest.mark.parametrize("record", [*DEVICES.values(), *PUBLISHED_RUNS.values()])
def test_records_are_frozen_and_sourced(record: Device | TrainingRun) -> None:
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
