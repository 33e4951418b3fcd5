"""`llmbook.experiments.results`: records are made by a command, and every one is there."""

import json
import math
from typing import Any

import pytest
import torch

from llmbook.experiments import results
from llmbook.experiments.results import (
    EXPERIMENTS,
    RESULTS,
    Experiment,
    command,
    find,
    main,
    names,
    record,
    recorded,
)


def numbers(value: Any) -> list[float]:
    """All numbers in a record."""
    if isinstance(value, dict):
        return [n for part in value.values() for n in numbers(part)]
    if isinstance(value, list):
        return [n for part in value for n in numbers(part)]
    return [value] if isinstance(value, int | float) else []


@pytest.mark.parametrize("name", names())
def test_every_experiment_has_its_record(name: str) -> None:
    """A run for each seed, numbers that are finite, its command, and a function that exists."""
    content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    assert content["command"] == command(name)
    assert content["torch"].count(".") == 2
    assert [run["seed"] for run in content["runs"]] == [*find(name).seeds]
    assert all(map(math.isfinite, numbers(content["runs"])))
    assert callable(find(name).load())


def test_every_record_has_its_experiment() -> None:
    """None is left of an experiment that is gone."""
    assert {file.name for file in RESULTS.iterdir()} == {f"{name}.json" for name in EXPERIMENTS}


def double(seed: int) -> dict[str, int]:
    """An experiment that is soon done."""
    return {"double": 2 * seed}


def test_the_command_writes_what_is_read(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each seed's result, in order, and the file's name on the screen."""
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setitem(EXPERIMENTS, "double", Experiment(f"{__name__}:double", (3, 5)))
    threads = torch.get_num_threads()
    with pytest.raises(ValueError, match=r"python -m llmbook\.experiments\.results double"):
        recorded("double")
    main(["double"])
    torch.set_num_threads(threads)
    assert recorded("double") == [{"seed": 3, "double": 6}, {"seed": 5, "double": 10}]
    assert capsys.readouterr().out.strip().endswith("double.json")


def test_an_unknown_experiment_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With those that there are."""
    with pytest.raises(
        ValueError, match="no experiment 'nothing': there are acceptability, addition"
    ):
        recorded("nothing")
    with pytest.raises(ValueError, match="no experiment 'nothing'"):
        record("nothing")
    with pytest.raises(SystemExit):
        main(["nothing"])
    assert "no experiment 'nothing'" in capsys.readouterr().err
