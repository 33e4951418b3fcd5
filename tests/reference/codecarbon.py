"""codecarbon's tables: electricity by country with what it is made from, and processors' rated power."""

import json
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbook.emissions import GRIDS

LIBRARY = "codecarbon"
PROCESSORS = {"AMD EPYC 9965": 192, "AMD EPYC 9654": 96, "AMD EPYC 9575F": 64}  # and their cores
MADE_FROM = {  # its names for what makes electricity, and those of its grams for each
    "coal": "coal",
    "gas": "natural_gas",
    "oil": "petroleum",
    "nuclear": "nuclear",
    "hydroelectricity": "hydroelectricity",
    "solar": "solar",
    "wind": "wind",
    "biofuel": "biofuel",
}


def values() -> dict[str, NDArray[np.generic]]:
    data = Path(str(distribution(LIBRARY).locate_file("codecarbon/data")))  # read, and not run
    read = lambda name: json.loads((data / name).read_text(encoding="utf-8"))  # noqa: E731
    grids = read("private_infra/global_energy_mix.json")
    grams = read("private_infra/carbon_intensity_per_source.json")
    found: dict[str, Any] = {}
    for code in {grid.code for grid in GRIDS.values()} & grids.keys():
        grid = grids[code]
        made = [grid.get(f"{name}_TWh") or 0.0 for name in MADE_FROM]
        found[code] = np.array([grid["carbon_intensity"], grid["year"], grid["total_TWh"], *made])
    found["grams"] = np.array([float(grams[name]) for name in MADE_FROM.values()])
    found["world"] = np.array(float(grams["world_average"]))
    lines = (data / "hardware/cpu_power.csv").read_text(encoding="utf-8").splitlines()
    rated = dict(line.rsplit(",", 1) for line in lines)
    found["watts"] = np.array([float(rated[name]) for name in PROCESSORS])
    return found
