"""Ask the libraries: write down what they say, or say where it has moved."""

import argparse
import json
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from tests.reference import FILES, made, names, saved


def make(name: str) -> None:
    asked = import_module(f"tests.reference.{name}")
    versions = {asked.LIBRARY: version(asked.LIBRARY)}
    for library in ("torch", "numpy"):
        with suppress(PackageNotFoundError):
            versions[library] = version(library)
    FILES.mkdir(exist_ok=True)
    np.savez_compressed(
        FILES / f"{name}.npz", made=np.array(json.dumps(versions)), **asked.values()
    )
    print(f"{name}: {versions}")


def compare(name: str) -> bool:
    """Whether the library says today what its file says."""
    asked = import_module(f"tests.reference.{name}")
    now, then = asked.values(), saved(name)
    moved = sorted(now.keys() ^ then.keys())
    for key in now.keys() & then.keys():
        a, b = np.asarray(now[key]), then[key]
        same = (
            a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12)
            if a.dtype.kind == "f"
            else np.array_equal(a, b)
        )
        if not same:
            moved.append(key)
    print(
        f"{name}: {version(asked.LIBRARY)}, was {made(name)[asked.LIBRARY]}: {', '.join(moved) or 'the same'}"
    )
    return not moved


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.reference", description=__doc__)
    parser.add_argument("action", choices=["make", "compare"])
    parser.add_argument(
        "name", nargs="*", help=f"one of {', '.join(names())}; or all that share an environment"
    )
    args = parser.parse_args()
    chosen = args.name or [
        name for name in names() if not hasattr(import_module(f"tests.reference.{name}"), "APART")
    ]
    if args.action == "make":
        for chosen_name in chosen:
            make(chosen_name)
    else:
        moved = [name for name in chosen if not compare(name)]
        sys.exit(bool(moved))
