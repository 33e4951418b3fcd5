"""`llmbook.processes`: training goes on as if nothing had happened, and two are like one."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from llmbook.training import Recipe, next_token_loss, train
from tests.test_training import VOCAB, draw, gpt, run


class PlugPulledError(Exception):
    """Somebody has pulled the plug."""


def stop_at(last: int) -> Callable[[int, float], None]:
    """What to do after each step: end it all at the last."""

    def on_step(step: int, loss: float) -> None:
        if step == last:
            raise PlugPulledError

    return on_step


@pytest.mark.parametrize("muon_lr", [None, 0.02])
@pytest.mark.parametrize("end", [3, 4, 5])
def test_resumed_training_is_the_same(end: int, muon_lr: float | None, tmp_path: Path) -> None:
    """To the last bit, with dropout, wherever it was interrupted, and whatever came between."""
    options: dict[str, Any] = {"muon_lr": muon_lr, "warmup": 2, "accumulate": 2}
    model, stopped = gpt(dropout=0.2), gpt(dropout=0.2)
    torch.manual_seed(5)
    losses = run(model, **options)
    path = tmp_path / "deep" / "model.pt"
    torch.manual_seed(5)
    with pytest.raises(PlugPulledError):
        run(stopped, checkpoint=path, every=3, on_step=stop_at(end), **options)
    resumed = gpt(seed=3, dropout=0.2)  # other weights, another place in the data
    steps: list[int] = []
    again = run(
        resumed, seed=77, checkpoint=path, on_step=lambda step, _: steps.append(step), **options
    )
    assert again == losses
    assert steps == [4, 5, 6]
    for mine, yours in zip(resumed.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, yours)
    assert run(gpt(seed=4, dropout=0.2), checkpoint=path, **options) == losses  # nothing to do


def test_a_checkpoint_is_the_old_one_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When writing fails half-way, the last one is still there, and nothing else."""
    path = tmp_path / "model.pt"
    with pytest.raises(PlugPulledError):
        run(gpt(), checkpoint=path, every=2, on_step=stop_at(3))
    before = path.read_bytes()

    def fails(state: object, file: Path) -> None:
        file.write_bytes(b"half of it")
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", fails)
        with pytest.raises(OSError, match="no space"):
            run(gpt(), checkpoint=path, every=2)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with path.open("rb") as reader:  # who is reading the old one reads it to its end
        assert run(gpt(), checkpoint=path) == run(gpt())
        assert reader.read() == before != path.read_bytes()


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    """Its schedule would be another, and the curve none of the two."""
    run(gpt(), checkpoint=tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"model\.pt was made by .*'steps': 6.*, got .*'steps': 7"):
        run(gpt(), checkpoint=tmp_path / "model.pt", steps=7)


class Late(nn.Module):
    """A model of which some parts have a gradient in some steps alone, or never."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.late, self.never = (nn.Linear(3, 3) for _ in range(3))
        self.blocks = nn.ModuleList([nn.Linear(3, 3)])

    def forward(self, x: Tensor) -> Tensor:
        """A loss."""
        y: Tensor = self.always(x)
        if x[0, 0] > 0:  # in steps 2 and 6 of the seed below
            y = self.late(self.blocks[0](y))
        return y.square().mean()


@pytest.mark.parametrize("muon_lr", [None, 0.02])
@pytest.mark.parametrize("end", range(1, 8))
def test_weights_without_a_gradient_yet_are_resumed(
    end: int, muon_lr: float | None, tmp_path: Path
) -> None:
    """And those that never have one, such as the pooler of a BERT that guesses words alone."""

    def late(**options: Any) -> list[float]:
        torch.manual_seed(0)
        return train(
            Late(),
            lambda generator: torch.randn(4, 3, generator=generator),
            Recipe(steps=8, muon_lr=muon_lr),
            generator=torch.Generator().manual_seed(3),
            loss=lambda model, x: model(x),
            **options,
        )

    path = tmp_path / "model.pt"
    late(checkpoint=path, until=end)
    assert late(checkpoint=path) == late()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_heads": 4},
            r"was made by .*'config.num_heads': '2'.*, got .*'config.num_heads': '4'",
        ),
        ({"dropout": 0.1}, r"was made by .*'config.dropout': '0.0'.*, got .*'0.1'"),
        ({"norm_first": False}, r"of other sizes .*'norm.weight': '.16,. in float64'.*None"),
        ({"d_ff": 65}, r"of other sizes .*up.weight': '.64, 16. in float64'.*'.65, 16. in"),
        ({"activation": "relu"}, r"was made by .*'gelu_tanh'.*, got .*'relu'"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """And what differs is named, before a step is made."""
    run(gpt(), checkpoint=tmp_path / "model.pt", until=2)
    with pytest.raises(ValueError, match=message):
        run(gpt(**options), checkpoint=tmp_path / "model.pt", on_step=stop_at(3))


def test_a_checkpoint_of_other_data_or_another_loss_is_refused(tmp_path: Path) -> None:
    """Other texts, other sizes of a batch, frozen weights, another type, other randomness."""
    path, recipe = tmp_path / "model.pt", Recipe(steps=6)
    run(gpt(), checkpoint=path, until=2)

    def go_on(draw: Callable[[torch.Generator], Tensor], model: nn.Module, **options: Any) -> None:
        train(model, draw, recipe, generator=torch.Generator(), checkpoint=path, **options)

    for other in (
        lambda generator: (draw(generator) + 1) % VOCAB,
        lambda generator: draw(generator)[:4],
        lambda generator: draw(generator)[:, :-1],
        lambda generator: draw(generator).int(),
        lambda generator: draw(torch.Generator().manual_seed(0)),
    ):
        with pytest.raises(ValueError, match=r"made by other data: step 2 read another batch"):
            go_on(other, gpt())
    with pytest.raises(
        ValueError, match=r"'loss': 'next_token_loss'.*, got .*'loss': '.*<lambda>'"
    ):
        go_on(draw, gpt(), loss=lambda model, batch: next_token_loss(model, batch))
    frozen = gpt()
    frozen.embedding.requires_grad_(False)
    with pytest.raises(ValueError, match=r"'frozen': \[\].*'frozen': \['embedding\.weight'\]"):
        go_on(draw, frozen)
    with pytest.raises(ValueError, match=r"in float64'.*in float32'"):
        go_on(draw, gpt().float())


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", "half", "other"])
def test_what_is_no_checkpoint_is_named_before_training(content: Any, tmp_path: Path) -> None:
    """Empty, something else, half of one, a file of PyTorch's with something else."""
    path = tmp_path / "model.pt"
    if content == "other":
        torch.save({"weights": {}}, path)
    elif content == "half":
        run(gpt(), checkpoint=path, until=1)
        path.write_bytes(path.read_bytes()[:2000])
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"model\.pt is there and is no checkpoint .*: move it"):
        run(gpt(), checkpoint=path, on_step=stop_at(1))
    assert path.read_bytes() == before


def test_a_place_where_nothing_can_be_written_is_named_before_training(tmp_path: Path) -> None:
    """A folder, and a path below a file."""
    with pytest.raises(ValueError, match="checkpoint must be a file, got the folder"):
        run(gpt(), checkpoint=tmp_path, on_step=stop_at(1))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="checkpoint cannot be written: "):
        run(gpt(), checkpoint=tmp_path / "file" / "model.pt", on_step=stop_at(1))


# --- several processes -----------------------------------------------------------------------

needs_distributed = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()),
    reason="this build of PyTorch has no torch.distributed with gloo",
)
WAYS: dict[str, dict[str, Any]] = {
    "ddp": {"accumulate": 2},
    "ddp-muon": {"muon_lr": 0.02},
    "fsdp": {"shard": True, "accumulate": 2},
    "fsdp-muon": {"shard": True, "muon_lr": 0.02},
}


def work(rank: int, folder: str) -> None:
    """What each of two processes does: all ways, and a checkpoint half-way of each."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    results = {}
    for way, options in WAYS.items():
        path = Path(folder) / f"{way}.pt"
        try:  # the second process begins with other weights, which must not matter
            run(gpt(seed=rank), checkpoint=path, every=3, on_step=stop_at(4), **options)
        except PlugPulledError:
            dist.barrier()
        if rank == 0:
            (Path(folder) / f"{way}-half.pt").write_bytes(path.read_bytes())
        model = gpt(seed=7)
        results[way] = run(model, seed=7, checkpoint=path, **options)
        local = model.get_parameter("blocks.0.attention.query.weight")
        assert hasattr(local, "to_local") is way.startswith("fsdp")  # else it is not in parts
    (Path(folder) / f"{rank}.json").write_text(json.dumps(results))
    dist.destroy_process_group()
    # gloo's threads outlive their group here; one that lets go of a tensor while Python is being
    # taken down aborts the process: https://github.com/pytorch/pytorch/issues/190489
    os._exit(0)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the losses of two processes, and their checkpoints."""
    folder = tmp_path_factory.mktemp("two")
    spawn(work, (str(folder),), nprocs=2)
    return folder


@needs_distributed
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_equal_one(way: str, two_processes: Path) -> None:
    """Each reads half of a batch; the losses are those of one that reads all, even resumed."""
    options = {name: value for name, value in WAYS[way].items() if name != "shard"}
    expected = run(gpt(), **options)
    for rank in (0, 1):
        losses = json.loads((two_processes / f"{rank}.json").read_text())[way]
        assert losses == pytest.approx(expected, rel=1e-9)


@needs_distributed
@pytest.mark.parametrize("way", WAYS)
def test_one_process_goes_on_where_two_stopped(way: str, two_processes: Path) -> None:
    """The checkpoint holds whole weights, whoever wrote it."""
    options = {name: value for name, value in WAYS[way].items() if name != "shard"}
    losses = run(gpt(seed=7), seed=7, checkpoint=two_processes / f"{way}-half.pt", **options)
    assert losses == pytest.approx(run(gpt(), **options), rel=1e-9)
