"""A GPT trained on the State of the Union addresses, by a command.

`python -m llmbook.training` runs it; under `torchrun`, on as many processes as that starts.
"""

import argparse
import math
import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from llmbook.experiments.ladder import Part, read
from llmbook.gpt import GPT, GPTConfig
from llmbook.processes import rank_and_world_size, read_checkpoint
from llmbook.training import Recipe, bits_per_byte, next_token_batch, train


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says; print losses, and bits per byte of what was not learned."""
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        with _together(args.device) as device:
            _run(args, device)
    except (ValueError, OSError, FloatingPointError) as error:
        parser.error(_one_line(error))
    except (RuntimeError, MemoryError) as error:
        if "memory" not in f"{type(error)} {error}".lower():
            raise
        parser.error(f"there is not enough memory for these sizes ({_one_line(error)})")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llmbook.training",
        description="Train a GPT on the State of the Union addresses: it learns from eight of ten; "
        "one is to choose options by, and one is the test.",
        epilog="On several devices: torchrun --nproc-per-node=2 -m llmbook.training …",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for name, default, least, what in (
        ("steps", 1000, 1, "changes of the weights"),
        ("batch", 16, 1, "texts in a step, of all processes together"),
        ("context", 64, 1, "tokens in a text"),
        ("vocab-size", 2048, 257, "tokens of the byte-level BPE, which is trained first"),
        ("d-model", 96, 1, "width of the residual stream"),
        ("layers", 2, 1, "blocks"),
        ("heads", 4, 1, "attention heads in a block"),
        ("warmup", 30, 0, "steps in which the learning rate rises"),
        ("accumulate", 1, 1, "parts in which a batch is read, where memory is short"),
        ("every", 100, 1, "steps between two reports, and two checkpoints"),
        ("since", 1900, 0, "the first year whose address is read"),
        ("seed", 0, 0, "of all randomness"),
    ):
        parser.add_argument(
            f"--{name}", type=_whole(least), default=default, metavar="N", help=what
        )
    for name, default_rate, is_right, wanted, what in (
        ("lr", 3e-3, lambda x: x > 0, "positive", "AdamW's highest rate"),
        ("muon-lr", 0.02, lambda x: x >= 0, "0 or more", "Muon's; 0 is AdamW alone"),
        ("dropout", 0.0, lambda x: 0 <= x < 1, "from 0 to below 1", "probability, while training"),
    ):
        number = _number(is_right, wanted)
        parser.add_argument(f"--{name}", type=number, default=default_rate, help=what)
    parser.add_argument(
        "--decay", choices=("linear", "cosine", "none"), default="linear", help="of the rates"
    )
    parser.add_argument("--checkpoint", type=_file, help="file to go on from, and to write")
    parser.add_argument("--shard", action="store_true", help="FSDP instead of DDP, under torchrun")
    parser.add_argument("--device", type=_device, help="such as cpu; a GPU if there is one")
    parser.add_argument(
        "--test", action="store_true", help="judge on the test too, once nothing is left to choose"
    )
    return parser


def _whole(least: int) -> Callable[[str], int]:
    """What reads a whole number, of which the largest is what 63 bits hold."""

    def whole(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ArgumentTypeError(f"must be a whole number, got {text!r}") from None
        if not least <= value < 2**63:
            raise ArgumentTypeError(f"must be at least {least} and below 2^63, got {text}")
        return value

    return whole


def _number(is_right: Callable[[float], bool], wanted: str) -> Callable[[str], float]:
    """What reads a finite number."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ArgumentTypeError(f"must be a number, got {text!r}") from None
        if not (math.isfinite(value) and is_right(value)):
            raise ArgumentTypeError(f"must be {wanted}, got {text}")
        return value

    return number


def _device(name: str) -> torch.device:
    """A device that computes."""
    try:
        torch.ones(1, device=name).item()
    except (AssertionError, ImportError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ArgumentTypeError(f"no device {name!r} ({reason})") from None
    return torch.device(name)


def _file(name: str) -> Path:
    """A file that can be written, and that is a checkpoint if it is there."""
    try:
        read_checkpoint(Path(name))
    except ValueError as error:
        raise ArgumentTypeError(_one_line(error).removeprefix("checkpoint ")) from error
    return Path(name)


@contextmanager
def _together(wanted: torch.device | None) -> Iterator[torch.device]:
    """Under `torchrun`, join the other processes for a while; say on which device to compute."""
    device = wanted or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if "WORLD_SIZE" not in os.environ:  # which torchrun sets
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def _run(args: Namespace, device: torch.device) -> None:
    """Read, train and judge."""
    recipe = Recipe(
        steps=args.steps,
        lr=args.lr,
        muon_lr=args.muon_lr or None,
        warmup=args.warmup,
        decay=args.decay,
        accumulate=args.accumulate,
    )
    corpus = read(args.since, args.vocab_size)
    learned = torch.from_numpy(corpus.learned.token_ids)
    model = _new_model(args, device)
    parameters = sum(p.numel() for p in model.parameters())
    _say(f"{parameters:,} parameters, {len(learned):,} tokens to learn from")
    train(
        model,
        partial(next_token_batch, learned, args.batch, args.context),
        recipe,
        generator=torch.Generator().manual_seed(args.seed),
        checkpoint=args.checkpoint,
        every=args.every,
        shard=args.shard,
        on_step=lambda step, loss: (
            _say(f"step {step}: loss {loss:.4f}") if step % args.every == 0 else None
        ),
    )
    _judge(model, "validation", corpus.validation, args.context)
    if args.test:
        _judge(model, "test", corpus.test, args.context)


def _new_model(args: Namespace, device: torch.device) -> GPT:
    """A GPT of the sizes that the command line says."""
    config = GPTConfig(
        vocab_size=args.vocab_size,
        d_model=args.d_model,
        num_layers=args.layers,
        num_heads=args.heads,
        max_len=args.context,
        dropout=args.dropout,
    )
    torch.manual_seed(args.seed)
    model = GPT(config).to(device)
    torch.manual_seed(args.seed + rank_and_world_size()[0])  # each process drops others
    return model


def _judge(model: GPT, name: str, part: Part, context: int) -> None:
    token_ids = torch.from_numpy(part.token_ids)
    bits = bits_per_byte(model, token_ids, part.num_bytes, max_len=context)
    _say(f"{name}: {bits:.4f} bits per byte")


def _say(text: str) -> None:
    if rank_and_world_size()[0] == 0:
        print(text, flush=True)
