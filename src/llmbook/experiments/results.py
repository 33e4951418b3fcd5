"""Results over several seeds: made once by a command, and kept beside the data.

A chapter trains one model while the book is built, and asserts that it agrees with the record. The
other seeds, which would take minutes, are read from it.
`python -m llmbook.experiments.results stories` makes the record of *stories* again.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from llmbook.datasets import DATA

RESULTS = DATA / "results"


@dataclass(frozen=True)
class Experiment:
    """What is run for a record, and how often.

    Attributes:
        function: Its module within the package and its name. It takes a seed, and returns what
            JSON can hold, by name.
        seeds: One run for each.
    """

    function: str
    seeds: tuple[int, ...]

    def load(self) -> Callable[[int], dict[str, Any]]:
        """Import the function."""
        function: Callable[[int], dict[str, Any]] = resolve_name(self.function)
        return function


FIVE = (0, 1, 2, 3, 4)
EXPERIMENTS = {
    "acceptability": Experiment("llmbook.experiments.acceptability:run", FIVE),
    "addition": Experiment("llmbook.experiments.emergence:learn", FIVE),
    "addition-sizes": Experiment("llmbook.experiments.emergence:by_size", FIVE),
    "answers": Experiment("llmbook.experiments.answers:run", (0, 1, 2)),
    "book-cost": Experiment("llmbook.book.cost:run", (0,)),
    "canaries": Experiment("llmbook.experiments.canaries:run", (0, 1, 2)),
    "canaries-cut": Experiment("llmbook.experiments.canaries:cut_alone", (0, 1, 2)),
    "canaries-longer": Experiment("llmbook.experiments.canaries:longer", (0, 1, 2)),
    "copying": Experiment("llmbook.experiments.copying:compare", (0, 1, 2)),
    "counterfactual": Experiment("llmbook.experiments.counterfactual:run", (0, 1, 2)),
    "denoising": Experiment("llmbook.experiments.denoising:run", (0, 1, 2)),
    "denoising-small": Experiment("llmbook.experiments.denoising:small", (0,)),
    "dialect": Experiment("llmbook.experiments.dialect:run", (0,)),
    "dialect-features": Experiment("llmbook.experiments.dialect:by_feature", (0,)),
    "dictation": Experiment("llmbook.experiments.dictation:run", (0, 1, 2)),
    "distillation": Experiment("llmbook.experiments.distilling:run", (0, 1, 2)),
    "drawings": Experiment("llmbook.experiments.drawings:run", (0, 1, 2)),
    "drawings-small": Experiment("llmbook.experiments.drawings:small", (0,)),
    "emoji": Experiment("llmbook.experiments.emoji:run", (0, 1, 2)),
    "emoji-longer": Experiment("llmbook.experiments.emoji:longer", (0, 1, 2)),
    "facts": Experiment("llmbook.experiments.facts:run", (0, 1, 2)),
    "features": Experiment("llmbook.experiments.features:run", (0, 1, 2)),
    "federation": Experiment("llmbook.experiments.federation:run", (0, 1, 2)),
    "induction": Experiment("llmbook.experiments.induction:run", (0, 1, 2)),
    "instructing": Experiment("llmbook.experiments.instructing:run", (0, 1, 2)),
    "ladder": Experiment("llmbook.experiments.ladder:climb", (0, 1, 2)),
    "ladder-rates": Experiment("llmbook.experiments.ladder:choose", (0,)),
    "lenses": Experiment("llmbook.experiments.lenses:run", (0, 1, 2)),
    "lenses-small": Experiment("llmbook.experiments.lenses:small", (0,)),
    "llamacpp": Experiment("llmbook.experiments.llamacpp:run", (0,)),
    "memories": Experiment("llmbook.experiments.memories:run", (0, 1, 2)),
    "motion": Experiment("llmbook.experiments.motion:run", (0, 1, 2)),
    "patching": Experiment("llmbook.experiments.patching:run", (0, 1, 2)),
    "preferences": Experiment("llmbook.experiments.preferring:compare", (0, 1, 2)),
    "probing": Experiment("llmbook.experiments.probing:run", (0, 1, 2)),
    "reasoning": Experiment("llmbook.experiments.reasoning:compare", (0, 1, 2)),
    "reasons": Experiment("llmbook.experiments.reasons:run", (0, 1, 2)),
    "recall": Experiment("llmbook.experiments.recall:run", (0, 1, 2)),
    "repetition": Experiment("llmbook.experiments.repetition:compare", (0, 1, 2)),
    "reranking": Experiment("llmbook.experiments.reranking:run", (0, 1, 2)),
    "seeing": Experiment("llmbook.experiments.seeing:run", (0, 1, 2)),
    "seeing-small": Experiment("llmbook.experiments.seeing:small", (0,)),
    "serving": Experiment("llmbook.experiments.serving:run", (0,)),
    "settling": Experiment("llmbook.experiments.settling:run", (0, 1, 2)),
    "speaking": Experiment("llmbook.experiments.speaking:run", (0, 1, 2)),
    "speeds": Experiment("llmbook.experiments.speeds:run", (0,)),
    "steering": Experiment("llmbook.experiments.steering:run", (0, 1, 2)),
    "stories": Experiment("llmbook.experiments.skills:run", FIVE),
    "superposition": Experiment("llmbook.experiments.superposition:run", (0, 1, 2)),
    "sweep": Experiment("llmbook.experiments.sweep:run", (0, 1)),
    "text-to-text": Experiment("llmbook.experiments.text_to_text:compare_optimizers", FIVE),
    "tuning": Experiment("llmbook.experiments.tuning:run", (0, 1, 2)),
    "unmasking": Experiment("llmbook.experiments.unmasking:run", (0, 1, 2)),
    "word-order": Experiment("llmbook.experiments.word_order:run", (0, 1, 2)),
    "word-vectors": Experiment("llmbook.experiments.word_tests:by_epochs", FIVE),
}


def recorded(name: str) -> list[dict[str, Any]]:
    """The runs of an experiment, as they were when its command ran last.

    Args:
        name: One of `names`.

    Returns:
        For each seed what the function returned, with "seed" in front.

    Raises:
        ValueError: If there is no such experiment, or no record of it.

    Examples:
        >>> [run["seed"] for run in recorded("stories")]
        [0, 1, 2, 3, 4]
    """
    find(name)
    file = RESULTS / f"{name}.json"
    if not file.exists():
        raise ValueError(f"no record of {name!r}: make it with `{command(name)}`")
    runs: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["runs"]
    return runs


def record(name: str) -> Path:
    """Run an experiment for each of its seeds, and write down what came out.

    Args:
        name: One of `names`.

    Returns:
        The file, which holds the command and PyTorch's version too.

    Raises:
        ValueError: If there is no such experiment.
    """
    import torch

    experiment = find(name)
    function = experiment.load()
    torch.set_num_threads(1)  # sums in the same order on every machine
    runs = []
    for seed in experiment.seeds:
        print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
        runs.append({"seed": seed, **_rounded(function(seed))})
    content = {"command": command(name), "torch": torch.__version__.split("+")[0], "runs": runs}
    file = RESULTS / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")
    return file


def _rounded(value: Any) -> Any:
    """Six digits of every number: more than seeds have in common, and than anyone reads."""
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def command(name: str) -> str:
    """What makes the record."""
    return f"python -m llmbook.experiments.results {name}"


def names() -> list[str]:
    """All experiments."""
    return sorted(EXPERIMENTS)


def find(name: str) -> Experiment:
    """An experiment by its name.

    Raises:
        ValueError: If there is none.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"no experiment {name!r}: there are {', '.join(names())}")
    return EXPERIMENTS[name]


def main(arguments: Iterable[str] | None = None) -> None:
    """Make the named records, or all of them."""
    parser = argparse.ArgumentParser(
        prog="python -m llmbook.experiments.results",
        description="Run experiments over all their seeds and record what comes out.",
    )
    parser.add_argument(
        "name", nargs="*", metavar="NAME", help=f"one of {', '.join(names())}; or all"
    )
    args = parser.parse_args(None if arguments is None else list(arguments))
    try:
        for name in args.name or names():
            print(record(name))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
