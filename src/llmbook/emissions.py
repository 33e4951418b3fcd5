"""Energy and carbon of training and of use: hours × watts × overhead, then grams per kilowatt-hour.

What the arithmetic leaves out is most of the argument: the host around each accelerator, idle
machines, failed runs, the making of the hardware. A `Boundary` says what is counted.
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

WATTS_PER_CORE: Final = (2.5, 4.0, 7.0)
"""Low, middle and high: rated power over cores of large server processors, from 500 W for 192
cores to 400 W for 64 ([AMD 2024][amd2024epyc])."""

SERVER_SHARE: Final = (1.2, 1.5, 2.0)
"""By how much memory, board and power supply raise it: our assumption, of no source."""

BUILDING_SHARE: Final = (1.1, 1.3, 1.6)
"""PUE from a large cloud site to the average data centre of 2019 in `PUBLISHED_RUNS`."""


@dataclass(frozen=True)
class Grid:
    """How much greenhouse gas a kilowatt-hour of some place stands for, on average over a year.

    Attributes:
        name: Country.
        code: Its three letters in ISO 3166; `WLD` for the world.
        g_per_kwh: Grams of CO2 equivalent, over the life of the power plants.
        year: Of which it is the average.
        source: Key in the bibliography.
    """

    name: str
    code: str
    g_per_kwh: float
    year: int
    source: str


def _grid(name: str, code: str, g_per_kwh: float) -> Grid:
    return Grid(name, code, g_per_kwh, 2023, "owid2024intensity")


GRIDS: Final[Mapping[str, Grid]] = MappingProxyType(
    {
        grid.name: grid
        for grid in (
            _grid("Norway", "NOR", 30.0),
            _grid("Sweden", "SWE", 41.0),
            _grid("France", "FRA", 56.0),
            _grid("Brazil", "BRA", 98.0),
            _grid("Canada", "CAN", 170.0),
            _grid("United Kingdom", "GBR", 238.0),
            _grid("Ireland", "IRL", 291.0),
            _grid("United States", "USA", 369.0),
            _grid("Germany", "DEU", 381.0),
            Grid("World", "WLD", 471.0, 2024, "ember2026global"),
            _grid("Japan", "JPN", 485.0),
            _grid("Australia", "AUS", 549.0),
            _grid("China", "CHN", 582.0),
            _grid("Poland", "POL", 662.0),
            _grid("South Africa", "ZAF", 708.0),
            _grid("India", "IND", 713.0),
        )
    }
)
"""Grids by name, the cleanest first. A year's average hides hours and regions: within one country
both can differ by a multiple."""


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
class Boundary:
    r"""What is counted beside the accelerators at work: around the chip, the building, its making.

    $$E = \frac{E_\text{chip}}{u} \cdot \text{host} \cdot \text{idle} \cdot \text{PUE}$$

    All factors are 1 unless given, which counts the chips alone, in full use.

    Attributes:
        utilisation: $u$, the share of the chips' time, or of what they could do in it, that the
            work uses; the rest draws power for nothing.
        host: What a server draws for each watt of its accelerators.
        idle: What all machines draw, those that stand by included, for each watt of the busy ones.
        pue: What the building draws for each watt of its machines.
        embodied_g_per_hour: Making one accelerator with its server, spread over the hours of its
            life, in grams of CO2 equivalent.
        litres_per_kwh: Water for cooling; that of the power plants is another matter.
        source: Key in the bibliography; empty for one of your own.

    Raises:
        ValueError: If `utilisation` is not above 0 and at most 1, a factor is below 1, another
            value is negative, or one is not a finite number.

    Examples:
        >>> Boundary(host=1.5, pue=1.2).factor
        1.7999999999999998
        >>> Boundary(utilisation=0)
        Traceback (most recent call last):
            ...
        ValueError: utilisation must be above 0 and at most 1, got 0
    """

    utilisation: float | int = 1
    host: float | int = 1
    idle: float | int = 1
    pue: float | int = 1
    embodied_g_per_hour: float | int = 0
    litres_per_kwh: float | int = 0
    source: str = ""

    def __post_init__(self) -> None:
        if not 0 < _require("utilisation", self.utilisation) <= 1:
            raise ValueError(f"utilisation must be above 0 and at most 1, got {self.utilisation!r}")
        for name in ("host", "idle", "pue"):
            _require(name, getattr(self, name), minimum=1)
        for name in ("embodied_g_per_hour", "litres_per_kwh"):
            _require(name, getattr(self, name))

    @property
    def factor(self) -> float:
        """Kilowatt-hours at the meter for each that the chips need for the work alone."""
        return self.host * self.idle * self.pue / self.utilisation


GEMINI: Final = Boundary(
    utilisation=0.10 / (0.58 * 0.24),
    host=(0.58 + 0.25) / 0.58,
    idle=(0.58 + 0.25 + 0.10) / (0.58 + 0.25),
    pue=1 / (0.58 + 0.25 + 0.10),
    litres_per_kwh=0.26 / 0.24,
    source="elsworth2025measuring",
)
"""Google's median prompt, from the printed shares of its 0.24 Wh: 58 % accelerators, 25 % host,
10 % machines standing by, the rest the building; and from the 0.10 Wh of accelerators alone."""

BLOOM_LIFE: Final = Boundary(
    idle=1 + 14.6 / 24.69, embodied_g_per_hour=11.2e6 / 1_082_990, source="luccioni2022estimating"
)
"""BLOOM's training: 14.6 t for idle machines and 11.2 t for making them, beside 24.69 t."""


@dataclass(frozen=True)
class Footprint:
    """What some work takes and emits within a `Boundary`.

    Attributes:
        kwh: At the meter of the building.
        operation_kg: Emitted to generate that, in kilograms of CO2 equivalent.
        embodied_kg: The work's part of what making the hardware emitted.
        litres: Water for cooling.
    """

    kwh: float
    operation_kg: float
    embodied_kg: float
    litres: float

    @property
    def kg(self) -> float:
        """Operation and making together."""
        return self.operation_kg + self.embodied_kg


def footprint(
    accel_hours: float | int,
    watts_per_accel: float | int,
    g_per_kwh: float | int,
    boundary: Boundary = Boundary(),
) -> Footprint:
    """Energy, emissions and water of some hours of work, within a boundary.

    Args:
        accel_hours: Hours × accelerators that the work alone needs, at full use.
        watts_per_accel: Average power of one accelerator, without what the boundary adds.
        g_per_kwh: Carbon intensity of the grid.
        boundary: What is counted beside the accelerators.

    Raises:
        ValueError: If an amount is negative or not a finite number.

    Examples:
        BLOOM with idle machines and the making of all, for which 50.5 t were printed:

        >>> run = PUBLISHED_RUNS["BLOOM"]
        >>> life = footprint(run.accel_hours, run.watts_per_accel, run.g_per_kwh, BLOOM_LIFE)
        >>> round(life.kg / 1000, 1)
        50.5

    Source:
        [Luccioni et al. 2022][luccioni2022estimating], section 4.
    """
    hours = _require("accel_hours", accel_hours)
    kwh = energy_kwh(hours, watts_per_accel, pue=1) * boundary.factor
    return Footprint(
        kwh=kwh,
        operation_kg=emissions_kg(kwh, g_per_kwh),
        embodied_kg=hours / boundary.utilisation * boundary.embodied_g_per_hour / 1000,
        litres=kwh * boundary.litres_per_kwh,
    )


def joules_per_token(
    seconds: float | int, watts: float | int, tokens: float | int, boundary: Boundary = Boundary()
) -> float:
    r"""Energy of one token of text, $P\,t / n$ times what the boundary adds.

    Args:
        seconds: How long $n$ tokens took, on one core or accelerator.
        watts: What it draws meanwhile, $P$.
        tokens: $n$, those of all texts that were written side by side.
        boundary: What is counted beside it.

    Raises:
        ValueError: If an amount is negative or not a finite number, or there is no token.

    Examples:
        >>> joules_per_token(seconds=2.0, watts=4, tokens=40)
        0.2
    """
    amount = _require("tokens", tokens, minimum=1)
    return _require("seconds", seconds) * _require("watts", watts) / amount * boundary.factor


@dataclass(frozen=True, kw_only=True)
class PublishedUse:
    """What one use of a trained model takes, as published.

    Attributes:
        name: Model or task.
        source: Key in the bibliography.
        wh: Watt-hours of one query, answer or picture.
        boundary: What is counted, in words.
        year: When it was published.
    """

    name: str
    source: str
    wh: float
    boundary: str
    year: int


def _luccioni(name: str, kwh_per_1000: float) -> PublishedUse:
    return PublishedUse(
        name=name,
        source="luccioni2024power",
        wh=kwh_per_1000,  # kWh for a thousand are Wh for one
        boundary="GPU, CPU and memory of one busy server",
        year=2024,
    )


def _scored(name: str, kwh_per_1000: float) -> PublishedUse:
    return PublishedUse(
        name=name,
        source="energyscore2024data",
        wh=kwh_per_1000,
        boundary="GPU alone",
        year=2024,
    )


PUBLISHED_USES: Final[Mapping[str, PublishedUse]] = MappingProxyType(
    {
        use.name: use
        for use in (
            _luccioni("text classification", 0.002),
            _luccioni("image classification", 0.007),
            _luccioni("text generation", 0.047),
            _luccioni("summarisation", 0.05),
            _luccioni("image captioning", 0.06),
            _luccioni("image generation", 2.907),
            _scored("gpt2", 0.0023687),
            _scored("gpt2-medium", 0.0044652),
            _scored("gpt2-large", 0.0079082),
            _scored("gpt2-xl", 0.0131015),
            PublishedUse(
                name="Gemini, chips alone",
                source="elsworth2025measuring",
                wh=0.10,
                boundary="accelerators at work",
                year=2025,
            ),
            PublishedUse(
                name="Gemini",
                source="elsworth2025measuring",
                wh=0.24,
                boundary="accelerators, host, machines standing by, building",
                year=2025,
            ),
        )
    }
)
"""Published uses by name. Of the tasks these are means over models, in watt-hours for one query."""


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
