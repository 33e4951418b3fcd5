"""Several processes that train one model, and the file from which any number of them goes on."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank_and_world_size() -> tuple[int, int]:
    """Which process this is, counted from 0, and of how many; 0 and 1 where there is only one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def distribute(model: nn.Module, *, shard: bool = False) -> Any:
    """Let the backward passes of all processes exchange their gradients.

    Args:
        model: Where its process's share of the work is done.
        shard: Keep a part of each weight on each process, which a forward pass collects for one
            block at a time (FSDP); the model itself is changed to that.

    Returns:
        What to call in place of the model.

    Source:
        DDP: [Li et al. 2020][li2020pytorch]; FSDP: [Zhao et al. 2023][zhao2023pytorch].
    """
    device = next(model.parameters()).device
    if not shard:
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(model, [device] if device.type == "cuda" else None)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for tensor in model.state_dict().values():  # all begin with the same weights, as under DDP
        dist.broadcast(tensor, src=0)
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for stack in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
        for block in stack.children():  # of which one at a time is whole
            fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def _random_states(device: torch.device) -> list[list[Tensor]]:
    """Of the generators that dropout draws from, on each process."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    _, world_size = rank_and_world_size()
    gathered = [states] * world_size
    if world_size > 1:
        dist.all_gather_object(gathered, states)
    return gathered


def described(model: nn.Module) -> dict[str, str]:
    """What a model is, beside its weights: the kind of each part, and all settings, by name.

    Examples:
        >>> described(nn.Sequential(nn.Dropout(0.5)))
        {'': 'Sequential', '0': 'Dropout', '0.p': '0.5', '0.inplace': 'False'}
    """
    found: dict[str, str] = {}
    for path, part in model.named_modules():
        kind = type(part).__name__.removeprefix("FSDP")
        if kind == "OptimizedModule":  # what torch.compile wraps round a part
            continue
        name = ".".join(step for step in path.split(".") if step != "_orig_mod")
        found[name] = kind
        for setting, value in vars(part).items():
            key = f"{name}.{setting}".removeprefix(".")
            if setting.startswith("_") or setting == "training":
                continue
            if is_dataclass(value) and not isinstance(value, type):
                found |= {f"{key}.{field}": str(each) for field, each in asdict(value).items()}
            elif isinstance(value, bool | int | float | str):
                found[key] = str(value)
            elif callable(value):
                found[key] = getattr(value, "__qualname__", repr(value))
    return found


def digest(tensors: Iterable[Tensor]) -> str:
    """A number that other tensors hardly have: SHA-256 of their types, shapes and contents.

    Examples:
        >>> digest([torch.tensor([1, 2])]) == digest([torch.arange(3)[1:]])
        True
    """
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
        contents = tensor.detach().cpu().flatten().contiguous().view(torch.uint8)
        found.update(contents.numpy().tobytes())
    return found.hexdigest()


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """What a file holds that `save` has written, or None where there is no file yet.

    Raises:
        ValueError: If a checkpoint can't be written there later, or what is there is none.
    """
    if path.is_dir():
        raise ValueError(f"checkpoint must be a file, got the folder {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(f"checkpoint cannot be written: {error}") from error
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if set(state) != _KEPT:
            raise ValueError("it was written by another program, or an earlier version")
    except Exception as error:  # of any kind, as the file may hold anything
        reason = " ".join(str(error).split())[:80] or type(error).__name__
        raise ValueError(
            f"checkpoint {path} is there and is no checkpoint ({reason}): move it, or name another"
        ) from error
    return state


_KEPT = {"weights", "moments", "moved", "made", "batch", "generator", "random", "losses"}


def save(
    path: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    made: dict[str, Any],
    generator: torch.Generator,
    losses: list[float],
    batch: tuple[Tensor, str],
) -> None:
    """Write all that the next step depends on; whoever reads sees the old file or the new.

    Every process must call it; the first one writes, and whole weights even where they are in
    parts.

    Args:
        path: The file.
        model: Its weights.
        optimizers: Their memories of gradients.
        made: What must be the same when training goes on, by name, such as the recipe's numbers.
        generator: Which batches come next.
        losses: What has been measured so far.
        batch: Where the generator was before the last batch, and that batch's `digest`.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    moved = [bool(optimizer.state) for optimizer in optimizers]  # others have no memory yet
    used = [optimizer for optimizer in optimizers if optimizer.state]
    weights, moments = get_state_dict(model, used, options=whole)
    random = _random_states(next(model.parameters()).device)
    rank, _ = rank_and_world_size()
    if rank > 0:
        return
    state = {
        "weights": weights,
        "moments": moments,
        "moved": moved,
        "made": made,
        "batch": batch,
        "generator": generator.get_state(),
        "random": random,
        "losses": losses,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save(state, draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def check_same(path: Path, state: dict[str, Any], model: nn.Module, made: dict[str, Any]) -> None:
    """Refuse to go on with another model, or in another way, than a checkpoint was made.

    Args:
        path: The file, for the error.
        state: What it holds.
        model: What shall go on.
        made: How, as for `save`.

    Raises:
        ValueError: If anything differs; it is named, with what the file has and what came.
    """
    there = {name: _shape(weight) for name, weight in state["weights"].items()}
    weights = model.state_dict().items()
    here = {name.replace("_orig_mod.", ""): _shape(weight) for name, weight in weights}
    for what, old, new in (
        ("holds a model of other sizes", there, here),
        ("was made by", state["made"], made),
    ):
        names = [name for name in {**old, **new} if old.get(name) != new.get(name)][:4]
        if names:
            before, now = ({name: side.get(name) for name in names} for side in (old, new))
            raise ValueError(f"{path} {what} {before}, got {now}")


def _shape(weight: Tensor) -> str:
    return f"{tuple(weight.shape)} in {str(weight.dtype).removeprefix('torch.')}"


def restore(
    state: dict[str, Any],
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    generator: torch.Generator,
) -> list[float]:
    """Put everything back as it was; the arguments are those of `save`.

    Args:
        state: What `read_checkpoint` has read and `check_same` has passed.
        model: Gets its weights.
        optimizers: Get their memories of gradients. A weight without one gets none.
        generator: Draws the next batches.

    Returns:
        The losses up to there.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    set_state_dict(
        model,
        [o for o, moved in zip(optimizers, state["moved"], strict=True) if moved],
        model_state_dict=state["weights"],
        optim_state_dict=state["moments"],
        options=StateDictOptions(full_state_dict=True, strict=False),
    )
    for name, parameter in model.named_parameters():
        if name.replace("_orig_mod.", "") not in state["moments"]["state"]:
            for optimizer in optimizers:  # PyTorch counts a step for what has had no gradient yet
                optimizer.state.pop(parameter, None)
    generator.set_state(state["generator"])
    rank, world_size = rank_and_world_size()
    if len(state["random"]) == world_size:  # else there is no same dropout to go on with
        for put_back, saved in zip(
            (torch.set_rng_state, torch.cuda.set_rng_state), state["random"][rank], strict=False
        ):
            put_back(saved)
    losses: list[float] = state["losses"]
    return losses
