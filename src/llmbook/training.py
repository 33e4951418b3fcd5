"""Training: one loop for every network of the book but Word2Vec, on one processor or many.

`python -m llmbook.training` is the command of `llmbook.experiments.pretrain`.
"""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.muon import Muon
from llmbook.positions import LearnedPositions, RelativeBias
from llmbook.processes import (
    check_same,
    described,
    digest,
    distribute,
    rank_and_world_size,
    read_checkpoint,
    restore,
    save,
)
from llmbook.sizes import make_whole, number, whole

Batch = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained; a step is one change of its weights.

    Attributes:
        steps: How many. Steps and not seconds, so that a slow machine gives the same model.
        lr: Highest learning rate of AdamW; of all numbers here, the one that decides most.
        muon_lr: Highest learning rate of Muon for the matrices inside of blocks; without one,
            AdamW has them too.
        warmup: Steps in which the rates rise from almost 0: the first gradients are large, and
            AdamW knows nothing of their size yet.
        decay: How the rates fall afterwards: "linear", "cosine", or "none".
        final: The share of the highest rate to which they fall.
        betas: How long AdamW remembers a gradient and its square.
        weight_decay: Share, times the rate, by which each matrix shrinks in a step; norms, biases
            and embeddings do not, as is usual.
        clip: The longest gradient that is taken as it is; a longer one is shortened to that.
        accumulate: Parts in which a batch is read, one after the other, where memory is short.

    Raises:
        TypeError: If what should be a number is none.
        ValueError: If a number is out of its range, or `decay` is none of the three.
    """

    steps: int
    lr: float | int = 3e-3
    muon_lr: float | int | None = None
    warmup: int = 0
    decay: str = "linear"
    final: float | int = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float | int = 0.1
    clip: float | int = 1.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        make_whole(self)
        for name in ("lr", "muon_lr", "final", "weight_decay", "clip"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, number(name, value))
        object.__setattr__(self, "betas", tuple(number("betas", beta) for beta in self.betas))
        for name in ("steps", "lr", "muon_lr", "clip", "accumulate"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if not self.weight_decay >= 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        if not 0 <= self.final <= 1:
            raise ValueError(f"final must be from 0 to 1, got {self.final}")
        if not 0 <= self.warmup <= self.steps:
            raise ValueError(f"warmup must be from 0 to steps = {self.steps}, got {self.warmup}")
        if self.decay not in ("linear", "cosine", "none"):
            raise ValueError(f"decay must be 'linear', 'cosine' or 'none', got {self.decay!r}")

    def rate(self, step: int) -> float:
        r"""The share of the highest learning rate at a step, counted from 0.

        Examples:
            >>> recipe = Recipe(steps=6, warmup=2)
            >>> [recipe.rate(step) for step in range(6)]
            [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
        """
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        cosine = (1 + math.cos(math.pi * done)) / 2
        factor = {"linear": 1 - done, "cosine": cosine, "none": 1.0}[self.decay]
        return self.final + (1 - self.final) * factor


def next_token_batch(
    token_ids: Int[Tensor, " tokens"], batch: int, seq: int, generator: torch.Generator
) -> Int[Tensor, "{batch} {seq}+1"]:
    """Cut pieces out of a long text, wherever they begin.

    Args:
        token_ids: The text.
        batch: How many pieces.
        seq: Tokens to be predicted in each; a piece has one more.
        generator: Where the randomness comes from.

    Raises:
        ValueError: If the text is shorter than a piece, or a number is negative.

    Examples:
        >>> next_token_batch(torch.arange(100), 2, 4, torch.Generator().manual_seed(0))
        tensor([[44, 45, 46, 47, 48],
                [15, 16, 17, 18, 19]])
    """
    batch, seq = whole("batch", batch), whole("seq", seq)
    if min(batch, seq) < 0:
        raise ValueError(f"batch and seq must not be negative, got {batch} and {seq}")
    if len(token_ids) <= seq:
        raise ValueError(f"token_ids must have more than seq = {seq} tokens, got {len(token_ids)}")
    starts = torch.randint(len(token_ids) - seq, (batch, 1), generator=generator)
    return token_ids[starts + torch.arange(seq + 1)]


def next_token_loss(model: nn.Module, token_ids: Int[Tensor, "batch seq"]) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats, of each token but the first, given those before it."""
    logits = model(token_ids[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), token_ids[:, 1:].flatten().long())


def sort_parameters(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Say which parameters are matrices of hidden layers, other matrices, and neither.

    Returns:
        "hidden": matrices inside of blocks (a `nn.ModuleList`), which Muon may have;
        "outer": others, such as an output layer that is not the embedding; "rest": norms, biases,
        and tables of which each token or position has a row, which do not decay.

    Examples:
        >>> from llmbook.gpt import GPT, GPTConfig
        >>> config = GPTConfig(vocab_size=9, d_model=8, num_layers=1, num_heads=2, max_len=4)
        >>> {kind: len(found) for kind, found in sort_parameters(GPT(config)).items()}
        {'hidden': 6, 'outer': 0, 'rest': 14}
    """
    tables = (nn.Embedding, LearnedPositions, RelativeBias)
    modules = list(model.modules())
    embedded = {p for m in modules if isinstance(m, tables) for p in m.parameters()}
    in_blocks = {p for m in modules if isinstance(m, nn.ModuleList) for p in m.parameters()}
    kinds: dict[str, list[nn.Parameter]] = {"hidden": [], "outer": [], "rest": []}
    for p in model.parameters():
        if p.requires_grad:
            if p.ndim < 2 or p in embedded:
                kinds["rest"].append(p)
            elif p.ndim == 2 and p in in_blocks:
                kinds["hidden"].append(p)
            else:
                kinds["outer"].append(p)
    return kinds


def make_optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW for all of a model, or with `muon_lr` for what Muon leaves.

    Source:
        Decay apart from the gradient: [Loshchilov and Hutter 2019][loshchilov2019decoupled].
    """
    kinds, decay = sort_parameters(model), recipe.weight_decay
    muon_lr = recipe.muon_lr if kinds["hidden"] else None
    decayed = kinds["outer"] + (kinds["hidden"] if muon_lr is None else [])
    groups = [
        {"params": params, "weight_decay": share, "max_lr": recipe.lr}
        for params, share in ((decayed, decay), (kinds["rest"], 0.0))
        if params
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=True))
    if muon_lr is not None:
        groups = [{"params": kinds["hidden"], "weight_decay": decay, "max_lr": muon_lr}]
        optimizers.append(Muon(groups, lr=muon_lr))
    return optimizers


def train(
    model: nn.Module,
    draw: Callable[[torch.Generator], Batch],
    recipe: Recipe,
    *,
    generator: torch.Generator,
    loss: Callable[[nn.Module, Any], Tensor] = next_token_loss,
    checkpoint: Path | str | None = None,
    every: int = 0,
    until: int | None = None,
    shard: bool = False,
    on_step: Callable[[int, float], object] | None = None,
) -> list[float]:
    """Train a model where it is, and on a GPU in mixed precision.

    With `torch.distributed` set up, as `torchrun` has it, each process reads its share of every
    batch and all make the same step, as one process would that reads it all.

    Args:
        model: What to train; its weights are changed, and afterwards it is in the mode in which
            it came, for training or evaluation.
        draw: Makes the next batch, one tensor or several with as many rows. Every process draws
            the same, so all of its randomness must come from the generator.
        recipe: How to train.
        generator: On the CPU, for `draw`.
        loss: Takes the model and a batch, and gives the mean over the rows; where rows count
            differently, parts and processes still weigh the same. It must call the model as
            `model(...)`, where several processes hook in.
        checkpoint: A file from which to go on, if it is there, as if nothing had happened, and
            to which the state goes in the end. Model, recipe, loss and data must be those by
            which it was made; of the data, the last batch is drawn again and compared.
        every: Write the checkpoint after so many steps, too.
        until: Stop after this step of the recipe's, from 1, whose rates stay what they are.
        shard: Keep only a part of the weights on each process (FSDP), for a model that is too
            large for one device. It stays in parts afterwards.
        on_step: Called after each step with its number, from 1, and its loss, on each process.

    Returns:
        The loss of each step, those before a checkpoint included.

    Raises:
        ValueError: If a batch does not divide among processes and parts, the model has nothing
            to be trained or is in float16, or there are no processes among which to shard; and
            before any training, if the checkpoint can't be written, is none, or was made by
            another model, recipe, loss or text.
        FloatingPointError: If a loss is not finite.
    """
    distributed = dist.is_available() and dist.is_initialized()
    rank, world_size = rank_and_world_size()
    if shard and not distributed:
        raise ValueError("shard=True needs torch.distributed, as under torchrun")
    _check_weights(model)
    if every < 0:
        raise ValueError(f"every must not be negative, got {every}")
    device = next(model.parameters()).device
    path = None if checkpoint is None else Path(checkpoint)
    state = None if path is None else read_checkpoint(path)
    made = _made_by(model, recipe, loss)
    if path is not None and state is not None:
        check_same(path, state, model, made)
        _check_data(path, state, draw, generator)
    replica: Any = distribute(model, shard=shard) if distributed else model
    optimizers = make_optimizers(model, recipe)
    losses = [] if state is None else restore(state, model, optimizers, generator)
    del state  # as much memory as weights and optimizers
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    bar = _progress_bar(recipe.steps, len(losses)) if rank == 0 else None
    last = recipe.steps if until is None else min(until, recipe.steps)
    with _mode(model, training=True):
        for step in range(len(losses), last):
            for group in groups:
                group["lr"] = group["max_lr"] * recipe.rate(step)
            before = generator.get_state()
            batch = draw(generator)
            parts = _parts(batch, world_size, recipe.accumulate)[rank::world_size]
            total: Any = 0.0
            for part in parts:
                # The last part of a step exchanges the gradients of all.
                unsynced = distributed and not shard and part is not parts[-1]
                with replica.no_sync() if unsynced else nullcontext():
                    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                        part_loss = loss(replica, _to(part, device)) / len(parts)
                    part_loss.backward()
                total = total + part_loss.detach()
            if distributed:
                dist.all_reduce(total)
            losses.append(total.item() / world_size)
            if not math.isfinite(losses[-1]):
                raise FloatingPointError(
                    f"the loss of step {step + 1} is {losses[-1]}: try a lower rate"
                )
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            done = step + 1
            if path is not None and (done == last or (every and done % every == 0)):
                read = (before, digest(_tensors(batch)))
                save(path, model, optimizers, made, generator, losses, read)
            if on_step is not None:
                on_step(done, losses[-1])
            if bar is not None:
                bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
                bar.update()
    if bar is not None:
        bar.close()
    return losses


def _check_weights(model: nn.Module) -> None:
    """Refuse a model that cannot learn."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("model has no weights to be trained: all are frozen, or there are none")
    for name, parameter in trained.items():
        if parameter.dtype == torch.float16:
            raise ValueError(
                f"model has {name} in float16, in which AdamW's squares of gradients vanish: "
                "train in float32 (a GPU computes in bfloat16 by itself)"
            )


def _made_by(model: nn.Module, recipe: Recipe, loss: Callable[..., Tensor]) -> dict[str, Any]:
    """All that decides the losses and is no tensor."""
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    name = getattr(loss, "__qualname__", type(loss).__name__)
    return {**asdict(recipe), "loss": name, "frozen": frozen, **described(model)}


def _check_data(
    path: Path,
    state: dict[str, Any],
    draw: Callable[[torch.Generator], Batch],
    generator: torch.Generator,
) -> None:
    """Refuse to go on with other data than a checkpoint was made by."""
    before, expected = state["batch"]
    again = torch.Generator(generator.device)
    again.set_state(before)
    if digest(_tensors(draw(again))) != expected:
        raise ValueError(
            f"{path} was made by other data: step {len(state['losses'])} read another batch than "
            "draw gives for it; texts, tokenizer and the sizes of a batch must be the same, and "
            "all randomness must come from the generator"
        )


def _tensors(batch: Batch) -> tuple[Tensor, ...]:
    return (batch,) if isinstance(batch, Tensor) else batch


def _parts(batch: Batch, world_size: int, accumulate: int) -> list[Batch]:
    """Cut a batch by rows, for each process and each of its turns."""
    tensors = _tensors(batch)
    rows, count = len(tensors[0]), world_size * accumulate
    if not rows or {len(tensor) for tensor in tensors} != {rows}:
        raise ValueError(
            "a batch must have rows, and all of its tensors as many, "
            f"got {[len(tensor) for tensor in tensors]}"
        )
    if rows % count:
        raise ValueError(
            f"a batch must divide among {world_size} processes and {accumulate} parts, "
            f"got {rows} rows"
        )
    cut = list(zip(*(tensor.chunk(count) for tensor in tensors), strict=True))
    return [part[0] for part in cut] if isinstance(batch, Tensor) else [*cut]


def _to(part: Batch, device: torch.device) -> Batch:
    if isinstance(part, Tensor):
        return part.to(device, non_blocking=True)
    return tuple(tensor.to(device, non_blocking=True) for tensor in part)


def _progress_bar(steps: int, done: int) -> Any:
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return tqdm(total=steps, initial=done, desc="training", unit="step")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while: dropout is off, and comes back afterwards.

    Args:
        model: Each of its modules gets back the mode that it had, also after an exception. A part
            that was in evaluation mode while the rest was trained stays there.

    Yields:
        Nothing; within the block, the model is in evaluation mode.

    Examples:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
        >>> with evaluating(model):
        ...     print(model.training)
        False
        >>> model.training
        True
    """
    with _mode(model, training=False):
        yield


@contextmanager
def _mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a model into training or evaluation mode for a while."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, before in modes:
            module.training = before


@torch.no_grad()
def bits_per_byte(
    model: nn.Module,
    token_ids: Int[Tensor, " tokens"],
    num_bytes: int,
    *,
    max_len: int,
    stride: int | None = None,
) -> float:
    r"""How many bits a model needs for a byte of text: what does not depend on the tokens' size.

    $$-\frac{1}{\mathrm{bytes}} \sum_t \log_2 p(x_t \mid x_{<t})$$

    Windows slide over the text, and each token but the first is counted once, in the first window
    that holds it: with at least `max_len - stride` tokens before it, except at the beginning.

    Args:
        model: Gives logits for token ids.
        token_ids: The text, with what stands before it, such as the end of another document.
        num_bytes: Bytes of the text whose tokens are counted.
        max_len: Positions that the model reads at once.
        stride: How far windows move; half of `max_len` if left out. Smaller is fairer and slower.

    Raises:
        ValueError: If there is no token to be counted, no byte, or an impossible stride.

    Examples:
        >>> from llmbook.gpt import GPT, GPTConfig
        >>> fresh = GPT(GPTConfig(vocab_size=256, d_model=8, num_layers=1, num_heads=2, max_len=8))
        >>> round(bits_per_byte(fresh, torch.arange(21), num_bytes=20, max_len=8), 1)
        8.0
    """
    num_bytes, max_len = whole("num_bytes", num_bytes), whole("max_len", max_len)
    stride = max(1, max_len // 2) if stride is None else whole("stride", stride)
    if len(token_ids) < 2 or num_bytes < 1:
        raise ValueError(
            "token_ids must hold at least two tokens, of at least one byte, "
            f"got {len(token_ids)} tokens and {num_bytes} bytes"
        )
    if not 1 <= stride <= max_len:
        raise ValueError(f"stride must be from 1 to max_len = {max_len}, got {stride}")

    def nats(windows: Tensor, new: int) -> float:
        logits = model(windows[:, :-1])[:, -new:]
        expected = windows[:, -new:].flatten().long()
        return F.cross_entropy(logits.flatten(0, 1).double(), expected, reduction="sum").item()

    token_ids = token_ids.to(next(model.parameters()).device)
    size = min(max_len, len(token_ids) - 1)
    windows = token_ids.unfold(0, size + 1, stride)
    rest = len(token_ids) - 1 - size - stride * (len(windows) - 1)
    with evaluating(model):
        total = nats(windows[:1], size)
        for start in range(1, len(windows), 32):
            total += nats(windows[start : start + 32], stride)
        if rest:
            total += nats(token_ids[None, -size - 1 :], rest)
    return total / math.log(2) / num_bytes


if __name__ == "__main__":
    from llmbook.experiments.pretrain import main

    main()
