"""`python -m llmbook.training`: trains, goes on, and says in one line what is wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmbook.experiments.pretrain import main

TINY = [
    *("--steps", "4", "--every", "2", "--since", "2000", "--vocab-size", "300", "--d-model", "8"),
    *("--layers", "1", "--heads", "2", "--context", "16", "--batch", "4", "--warmup", "1"),
]


def test_the_command_trains_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Losses and bits per byte are printed; a finished checkpoint is only measured again."""
    command = [*TINY, "--device", "cpu", "--checkpoint", str(tmp_path / "gpt.pt")]
    main(command)
    first = capsys.readouterr().out.splitlines()
    assert first[0].endswith("tokens of 20 addresses, 2 held out")
    assert [line.split(":")[0] for line in first[1:]] == ["step 2", "step 4", "held out"]
    bits = float(first[-1].split()[2])
    assert 4 < bits < 8
    main(command)
    assert capsys.readouterr().out.splitlines() == [first[0], first[-1]]


def test_the_command_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """As an error of usage, without a traceback."""
    for wrong, message in (
        (["--heads", "3"], "num_heads must divide d_model, got num_heads=3 and d_model=8"),
        (["--every", "0"], "--every must be at least 1, got 0"),
        (["--accumulate", "3"], "a batch must divide among 1 processes and 3 parts, got 4 rows"),
    ):
        with pytest.raises(SystemExit):
            main([*TINY, "--device", "cpu", *wrong])
        assert message in capsys.readouterr().err


def test_the_command_explains_itself() -> None:
    """Every option has a help text with its default."""
    command = [sys.executable, "-m", "llmbook.training", "--help"]
    environment = {**os.environ, "COLUMNS": "100"}
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "--steps N" in text.stdout
    assert text.stdout.count("(default:") >= 14
