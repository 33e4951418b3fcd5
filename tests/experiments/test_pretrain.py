"""`python -m llmbook.training`: trains, goes on, and says in one line what is wrong."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llmbook.experiments.ladder import read
from llmbook.experiments.pretrain import main

TINY = [
    *("--steps", "4", "--every", "2", "--since", "2016", "--vocab-size", "300", "--d-model", "8"),
    *("--layers", "1", "--heads", "2", "--context", "16", "--batch", "4", "--warmup", "1"),
    *("--device", "cpu"),
]


def test_the_command_trains_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Losses and bits per byte are printed; a finished checkpoint is only measured again."""
    command = [*TINY, "--checkpoint", str(tmp_path / "new" / "gpt.pt")]
    main(command)
    first = capsys.readouterr().out.splitlines()
    learned = read(2016, 300).learned.token_ids
    assert first[0] == f"3,416 parameters, {len(learned):,} tokens to learn from"
    assert [line.split(":")[0] for line in first[1:]] == ["step 2", "step 4", "validation"]
    bits = float(first[-1].split()[1])
    assert 4 < bits < 8
    main([*command, "--test"])
    again = capsys.readouterr().out.splitlines()
    assert again[:2] == [first[0], first[-1]]
    assert re.fullmatch(r"test: \d\.\d{4} bits per byte", again[2])
    assert again[2].split()[1] != first[-1].split()[1]


def refusal(options: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says in its last line, after its usage."""
    with pytest.raises(SystemExit) as stopped:
        main([*TINY, *options])
    assert stopped.value.code == 2
    output, errors = capsys.readouterr()
    assert "validation" not in output
    usage, _, said = errors.partition("python -m llmbook.training: error: ")
    assert usage.startswith("usage: ")
    assert said.count("\n") == 1
    return said.strip()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--heads 3", "num_heads must divide d_model, got num_heads=3 and d_model=8"),
        ("--accumulate 3", "a batch must divide among 1 processes and 3 parts, got 4 rows"),
        ("--vocab-size 256", "argument --vocab-size: must be at least 257 and below 2^63, got 256"),
        ("--warmup 5", "warmup must be from 0 to steps = 4, got 5"),
        ("--warmup=-1", "argument --warmup: must be at least 0 and below 2^63, got -1"),
        ("--seed=-1", "argument --seed: must be at least 0 and below 2^63, got -1"),
        ("--seed 9999999999999999999", "argument --seed: must be at least 0 and below 2^63"),
        ("--since 2019", "since must leave at least 6 addresses, got 3 since 2019"),
        ("--since 3000", "since must leave at least 6 addresses, got 0 since 3000"),
        ("--context 1000000", "token_ids must have more than seq = 1000000 tokens, got"),
        ("--batch 1000000000000000", "there is not enough memory for these sizes"),
        ("--lr 1e30 --muon-lr 1e30", "the loss of step 2 is nan: try a lower rate"),
        ("--lr fast", "argument --lr: must be a number, got 'fast'"),
        ("--dropout 1", "argument --dropout: must be from 0 to below 1, got 1"),
        ("--dropout nan", "argument --dropout: must be from 0 to below 1, got nan"),
        ("--muon-lr=-1", "argument --muon-lr: must be 0 or more, got -1"),
        ("--muon-lr nan", "argument --muon-lr: must be 0 or more, got nan"),
        ("--decay sometimes", "argument --decay: invalid choice: 'sometimes'"),
        ("--shard", "shard=True needs torch.distributed, as under torchrun"),
        ("--device gpu", "argument --device: no device 'gpu' ("),
        ("--device meta", "argument --device: no device 'meta' ("),
        ("--device cuda:999", "argument --device: no device 'cuda:999' ("),
        *((f"--lr={lr}", f"--lr: must be positive, got {lr}") for lr in ("0", "-1", "nan", "inf")),
    ],
)
def test_the_command_names_what_is_wrong(
    options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an error of usage, in one line, without a traceback."""
    assert message in refusal(options.split(), capsys)


@pytest.mark.parametrize(
    "name", ["steps", "batch", "context", "d-model", "layers", "heads", "accumulate", "every"]
)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0", "must be at least 1 and below 2^63, got 0"),
        ("-3", "must be at least 1 and below 2^63, got -3"),
        ("nan", "must be a whole number, got 'nan'"),
        ("2.5", "must be a whole number, got '2.5'"),
    ],
)
def test_sizes_are_whole_and_positive(
    name: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read."""
    assert refusal([f"--{name}={value}"], capsys) == f"argument --{name}: {message}"


def test_a_checkpoint_that_cannot_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder, a place where nothing can be written, something else, a model of other sizes."""
    assert "must be a file, got the folder" in refusal(["--checkpoint", str(tmp_path)], capsys)
    text = tmp_path / "text"
    for content in ("", "not a model"):
        text.write_text(content)
        assert "text is there and is no checkpoint" in refusal(["--checkpoint", str(text)], capsys)
        assert text.read_text() == content
    torch.save({"other": 1}, text)
    assert "text is there and is no checkpoint" in refusal(["--checkpoint", str(text)], capsys)
    below = str(text / "gpt.pt")
    assert "argument --checkpoint: cannot be written: " in refusal(["--checkpoint", below], capsys)
    path = str(tmp_path / "gpt.pt")
    main([*TINY, "--steps", "1", "--checkpoint", path])
    capsys.readouterr()
    other = ["--steps", "1", "--checkpoint", path]
    assert "gpt.pt holds a model of other sizes" in refusal([*other, "--d-model", "6"], capsys)
    assert "was made by" in refusal([*other, "--lr", "0.5"], capsys)


@pytest.mark.skipif(os.name == "nt" or not os.getuid(), reason="root writes everywhere")
def test_a_folder_without_the_right_to_write_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At once, and not after the training."""
    tmp_path.chmod(0o500)
    path = str(tmp_path / "gpt.pt")
    assert "argument --checkpoint: cannot be written: " in refusal(["--checkpoint", path], capsys)


def test_the_command_explains_itself() -> None:
    """Every option has a help text with its default."""
    command = [sys.executable, "-m", "llmbook.training", "--help"]
    environment = {**os.environ, "COLUMNS": "100"}
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "--steps N" in text.stdout
    assert text.stdout.count("(default:") >= 14
