"""Values of libraries that are too heavy to install for a test, kept in small files.

Each module here asks one library, in its function `values`, and names it in `LIBRARY`. With the extra `reference`
installed, `python -m tests.reference make` writes the files, and `python -m tests.reference compare` says where the
libraries' answers have moved. The tests read the files through `saved`.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILES = Path(__file__).parents[1] / "data" / "reference"


def names() -> list[str]:
    """All libraries that are asked, by the name of the module."""
    return sorted(file.stem for file in Path(__file__).parent.glob("[!_]*.py"))


def saved(name: str) -> dict[str, NDArray[np.generic]]:
    """What the library answered when it was asked last."""
    with np.load(FILES / f"{name}.npz") as file:
        return {key: file[key] for key in file.files if key != "made"}


def made(name: str) -> dict[str, str]:
    """The versions that answered."""
    with np.load(FILES / f"{name}.npz") as file:
        versions: dict[str, str] = json.loads(str(file["made"]))
    return versions
