"""Several processes that train one model, and the file from which any number of them goes on."""

import os
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


def save(
    path: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    recipe: dict[str, Any],
    generator: torch.Generator,
    losses: list[float],
) -> None:
    """Write all that the next step depends on; whoever reads sees the old file or the new.

    Every process must call it; the first one writes, and whole weights even where they are in
    parts.

    Args:
        path: The file.
        model: Its weights.
        optimizers: Their memories of gradients.
        recipe: What must be the same when training goes on.
        generator: Which batches come next.
        losses: What has been measured so far.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, moments = get_state_dict(model, optimizers, options=whole)
    random = _random_states(next(model.parameters()).device)
    rank, _ = rank_and_world_size()
    if rank > 0:
        return
    state = {
        "weights": weights,
        "moments": moments,
        "recipe": recipe,
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


def load(
    path: Path,
    model: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    recipe: dict[str, Any],
    generator: torch.Generator,
) -> list[float]:
    """Put everything back as it was; the arguments are those of `save`.

    Returns:
        The losses up to there.

    Raises:
        ValueError: If the file was made by another recipe.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != recipe:
        raise ValueError(f"{path} was made by {state['recipe']}, got {recipe}")
    set_state_dict(
        model,
        optimizers,
        model_state_dict=state["weights"],
        optim_state_dict=state["moments"],
        options=StateDictOptions(full_state_dict=True),
    )
    generator.set_state(state["generator"])
    rank, world_size = rank_and_world_size()
    if len(state["random"]) == world_size:  # else there is no same dropout to go on with
        for restore, saved in zip(
            (torch.set_rng_state, torch.cuda.set_rng_state), state["random"][rank], strict=False
        ):
            restore(saved)
    losses: list[float] = state["losses"]
    return losses
