"""Energy and carbon of a training run: hours × watts × overhead, then grams per kilowatt-hour.

What the arithmetic leaves out is most of the argument: the host around each accelerator, idle
machines, failed runs, the making of the hardware, and every answer the trained model gives.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from types import MappingProxyType
from typing import Final

KG_PER_POUND: Final = 0.45359237

KWH_PER_US_HOME: Final = 10_791.0
"""Electricity a US home buys in a year, on average in 2022 ([EIA 2024][eia2024electricity])."""

KWH_PER_DANISH_HOME: Final = 1_508.0
"""What a Danish home uses in a year if GPT-3's 190,000 kWh are 126 homes, as
[The Register 2020][register2020carbon] has it."""


@dataclass(frozen=True)
class Device:
    """An accelerator and the power that it is rated for.

    Attributes:
        name: The name by which `estimate_carbon_emissions` knows it.
        watts: Thermal design power: an upper bound, without the host around it.
        source: Key in the bibliography.
        note: The form factor that the power is for.
    """

    name: str
    watts: float
    source: str
    note: str


DEVICES: Final[Mapping[str, Device]] = MappingProxyType(
    {
        device.name: device
        for device in (
            Device("V100", 300.0, "nvidia2018v100", "SXM2; the PCIe card is rated at 250 W"),
            Device("A100", 400.0, "nvidia2021a100", "SXM4; the first PCIe card is rated at 250 W"),
            Device("H100", 700.0, "nvidia2022h100", "SXM5; the PCIe card is rated at 350 W"),
        )
    }
)
"""The accelerators by name."""


def energy_kwh(accel_hours: float | int, watts_per_accel: float | int, pue: float | int) -> float:
    r"""Energy that a data centre draws for a number of accelerator-hours.

    $$E = \frac{h \cdot W \cdot \mathrm{PUE}}{1000}$$

    Args:
        accel_hours: Hours × accelerators, $h$.
        watts_per_accel: Average power of one accelerator, $W$, with its share of the host if
            that was measured.
        pue: Power usage effectiveness: what the building draws for each watt its computers draw.
            1 is a building without cooling or losses; a large cloud site has about 1.1.

    Returns:
        Kilowatt-hours.

    Raises:
        ValueError: If a value is negative or not a finite number, or `pue` is below 1.

    Examples:
        GPT-3's 10,000 V100 for 14.8 days, at a measured 330 W each:

        >>> round(energy_kwh(10_000 * 14.8 * 24, watts_per_accel=330, pue=1.1))
        1289376

    Source:
        [Patterson et al. 2021][patterson2021carbon], section 2.
    """
    hours = _require("accel_hours", accel_hours)
    watts = _require("watts_per_accel", watts_per_accel)
    return hours * watts * _require("pue", pue, minimum=1) / 1000


def emissions_kg(kwh: float | int, g_per_kwh: float | int) -> float:
    """Greenhouse gas emitted to generate an amount of electricity.

    Args:
        kwh: Energy in kilowatt-hours.
        g_per_kwh: Carbon intensity of the grid, in grams of CO2 equivalent per kilowatt-hour.

    Returns:
        Kilograms of CO2 equivalent.

    Raises:
        ValueError: If a value is negative or not a finite number.

    Examples:
        >>> emissions_kg(1000, g_per_kwh=57)  # the French grid that trained BLOOM
        57.0
    """
    return _require("kwh", kwh) * _require("g_per_kwh", g_per_kwh) / 1000


def estimate_carbon_emissions(
    training_time_hours: float | int,
    gpu_count: int,
    gpu_type: str = "V100",
    *,
    pue: float | int = 1.0,
    carbon_intensity: float | int = 475.0,
) -> float:
    """Estimate what a training run emits from its hours, its GPUs and where it runs.

    Every GPU counts as drawing its rated power all the time, and nothing else is counted.

    Args:
        training_time_hours: Wall-clock hours.
        gpu_count: How many GPUs run all that time.
        gpu_type: A name in `DEVICES`.
        pue: Power usage effectiveness of the data centre; 1 leaves out cooling and losses.
        carbon_intensity: Grams of CO2 equivalent per kilowatt-hour. The default is the world's
            average in 2018 ([IEA 2019][iea2019global]); `PUBLISHED_RUNS` has 57 to 545.

    Returns:
        Kilograms of CO2 equivalent.

    Raises:
        ValueError: If the device is unknown, a value is negative or not a finite number,
            `gpu_count` is not whole, or `pue` is below 1.

    Examples:
        64 V100 for 30 days:

        >>> print(f"{estimate_carbon_emissions(720, 64):.2f} kg")
        6566.40 kg
    """
    if gpu_type not in DEVICES:
        near = [name for name in DEVICES if name.casefold() in str(gpu_type).casefold()]
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"unknown gpu_type {gpu_type!r}{hint}; known: {', '.join(DEVICES)}")
    hours = _require("training_time_hours", training_time_hours)
    gpus = _require("gpu_count", gpu_count)
    if gpus % 1:
        raise ValueError(f"gpu_count must be a whole number, got {gpu_count!r}")
    _require("carbon_intensity", carbon_intensity)
    kwh = energy_kwh(hours * gpus, DEVICES[gpu_type].watts, pue)
    return emissions_kg(kwh, carbon_intensity)


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A published training run: what `energy_kwh` and `emissions_kg` need, and what was printed.

    Attributes:
        name: Model, or model and search.
        source: Key in the bibliography.
        hardware: What ran.
        accel_hours: Hours × accelerators; hours of the whole machine where that was measured.
        watts_per_accel: Average power of one accelerator, or of the whole machine.
        pue: Power usage effectiveness that the source used.
        g_per_kwh: Carbon intensity that the source used, before certificates and offsets.
        published_kwh: Energy as printed, or `None` where only emissions are.
        published_kg: Emissions as printed, in kilograms.
        note: What the numbers include.
    """

    name: str
    source: str
    hardware: str
    accel_hours: float
    watts_per_accel: float
    pue: float
    g_per_kwh: float
    published_kwh: float | None
    published_kg: float
    note: str


def _strubell(
    name: str, hardware: str, hours: float, watts: float, kwh: float, pounds: float
) -> TrainingRun:
    return TrainingRun(
        name=name,
        source="strubell2019energy",
        hardware=hardware,
        accel_hours=hours,
        watts_per_accel=watts,
        pue=1.58,
        g_per_kwh=954 * KG_PER_POUND,
        published_kwh=kwh,
        published_kg=pounds * KG_PER_POUND,
        note="power of the whole machine; PUE of an average data centre, average US grid",
    )


PUBLISHED_RUNS: Final[Mapping[str, TrainingRun]] = MappingProxyType(
    {
        run.name: run
        for run in (
            _strubell("Transformer (base)", "8 P100", 12.0, 1415.78, 27.0, 26.0),
            _strubell("Transformer (big)", "8 P100", 84.0, 1515.43, 201.0, 192.0),
            _strubell("ELMo", "3 P100", 336.0, 517.66, 275.0, 262.0),
            _strubell("BERT-Base", "64 V100", 79.0, 12041.51, 1507.0, 1438.0),
            _strubell(
                "Evolved Transformer NAS, as guessed in 2019",
                "8 P100",
                274_120.0,
                1515.43,
                656_347.0,
                626_155.0,
            ),
            TrainingRun(
                name="Evolved Transformer NAS",
                source="patterson2021carbon",
                hardware="200 TPU v2",
                accel_hours=200 * 6.8 * 24,
                watts_per_accel=208.0,
                pue=1.10,
                g_per_kwh=431.0,
                published_kwh=7_500.0,
                published_kg=3_200.0,
                note="measured system power, host included",
            ),
            TrainingRun(
                name="T5-11B",
                source="patterson2021carbon",
                hardware="512 TPU v3",
                accel_hours=512 * 20.0 * 24,
                watts_per_accel=310.0,
                pue=1.12,
                g_per_kwh=545.0,
                published_kwh=85_700.0,
                published_kg=46_700.0,
                note="measured system power, host included",
            ),
            TrainingRun(
                name="GPT-3",
                source="patterson2021carbon",
                hardware="10,000 V100",
                accel_hours=10_000 * 14.8 * 24,
                watts_per_accel=330.0,
                pue=1.10,
                g_per_kwh=429.0,
                published_kwh=1_287_000.0,
                published_kg=552_100.0,
                note="GPU count assumed; average US grid",
            ),
            TrainingRun(
                name="BLOOM",
                source="luccioni2022estimating",
                hardware="A100",
                accel_hours=1_082_990.0,
                watts_per_accel=400.0,
                pue=1.0,
                g_per_kwh=57.0,
                published_kwh=433_196.0,
                published_kg=24_690.0,
                note="rated power of the GPUs alone; 50.5 t with idle machines and manufacture",
            ),
            TrainingRun(
                name="Llama-2 7B",
                source="touvron2023llama2",
                hardware="A100",
                accel_hours=184_320.0,
                watts_per_accel=400.0,
                pue=1.1,
                g_per_kwh=385.0,
                published_kwh=None,
                published_kg=31_220.0,
                note="rated power of the GPUs alone; PUE and grid as in the first LLaMA paper",
            ),
        )
    }
)
"""Published runs by name, so that a reader can recompute each from its parts."""


def _require(name: str, value: float | int, minimum: int = 0) -> float:
    """Refuse anything but a number from `minimum` on; NaN fails every comparison.

    As a float it can be multiplied: NumPy's integers would wrap.
    """
    number = isinstance(value, Real) and not isinstance(value, bool)
    try:
        exact = float(value) if number else math.nan
    except OverflowError:  # an integer of more than 308 digits
        exact = math.inf
    if not minimum <= exact < math.inf:
        raise ValueError(f"{name} must be a finite number, at least {minimum}, got {value!r}")
    return exact
