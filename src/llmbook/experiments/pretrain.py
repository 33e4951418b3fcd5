"""A GPT trained on the State of the Union addresses, by a command.

`python -m llmbook.training` runs it; under `torchrun`, on as many processes as that starts.
"""

import argparse
import os
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from llmbook.datasets import sotu
from llmbook.gpt import GPT, GPTConfig
from llmbook.processes import rank_and_world_size
from llmbook.tokenizers import ByteLevelBPE
from llmbook.training import Recipe, bits_per_byte, next_token_batch, train


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llmbook.training",
        description="Train a GPT on the State of the Union addresses. Every tenth is held out.",
        epilog="On several devices: torchrun --nproc-per-node=2 -m llmbook.training …",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for name, default, what in (
        ("steps", 1000, "changes of the weights"),
        ("batch", 16, "texts in a step, of all processes together"),
        ("context", 64, "tokens in a text"),
        ("vocab-size", 2048, "tokens of the byte-level BPE, which is trained first"),
        ("d-model", 96, "width of the residual stream"),
        ("layers", 2, "blocks"),
        ("heads", 4, "attention heads in a block"),
        ("warmup", 30, "steps in which the learning rate rises"),
        ("accumulate", 1, "parts in which a batch is read, where memory is short"),
        ("every", 100, "steps between two reports, and two checkpoints"),
        ("since", 1900, "the first year whose address is read"),
        ("seed", 0, "of all randomness"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=what)
    parser.add_argument("--lr", type=float, default=3e-3, help="AdamW's highest rate")
    parser.add_argument("--muon-lr", type=float, default=0.02, help="Muon's; 0 is AdamW alone")
    parser.add_argument(
        "--decay", choices=("linear", "cosine", "none"), default="linear", help="of the rates"
    )
    parser.add_argument("--dropout", type=float, default=0.0, help="probability, while training")
    parser.add_argument("--checkpoint", type=Path, help="file to go on from, and to write")
    parser.add_argument("--shard", action="store_true", help="FSDP instead of DDP, under torchrun")
    parser.add_argument("--device", help="such as cpu; a GPU if there is one")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says; print losses, and bits per byte of what was held out."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.every < 1:
        parser.error(f"--every must be at least 1, got {args.every}")
    device = torch.device(args.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if "WORLD_SIZE" in os.environ:  # torchrun has set it
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    rank, _ = rank_and_world_size()

    def say(text: str) -> None:
        if rank == 0:
            print(text, flush=True)

    end = "<|endoftext|>"
    texts = [end + address.text for address in sotu(args.since)]
    held_out = texts[5::10]
    learned = [text for index, text in enumerate(texts) if index % 10 != 5]
    try:
        tokenizer = ByteLevelBPE.train(learned, args.vocab_size, [end])
        config = GPTConfig(
            vocab_size=tokenizer.vocab_size,
            d_model=args.d_model,
            num_layers=args.layers,
            num_heads=args.heads,
            max_len=args.context,
            dropout=args.dropout,
        )
        recipe = Recipe(
            steps=args.steps,
            lr=args.lr,
            muon_lr=args.muon_lr or None,
            warmup=args.warmup,
            decay=args.decay,
            accumulate=args.accumulate,
        )
        torch.manual_seed(args.seed)
        model = GPT(config).to(device)
        torch.manual_seed(args.seed + rank)  # each process drops others
        tokens, unseen = (
            torch.tensor([i for text in some for i in tokenizer.encode(text, allow_special=True)])
            for some in (learned, held_out)
        )
        say(
            f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokens):,} tokens "
            f"of {len(learned)} addresses, {len(held_out)} held out"
        )
        train(
            model,
            partial(next_token_batch, tokens, args.batch, args.context),
            recipe,
            generator=torch.Generator().manual_seed(args.seed),
            checkpoint=args.checkpoint,
            every=args.every,
            shard=args.shard,
            on_step=lambda step, loss: (
                say(f"step {step}: loss {loss:.4f}") if step % args.every == 0 else None
            ),
        )
    except ValueError as error:
        parser.error(str(error))
    num_bytes = sum(len(text.removeprefix(end).encode()) for text in held_out)
    bits = bits_per_byte(model, unseen, num_bytes, max_len=args.context)
    say(f"held out: {bits:.4f} bits per byte")
    if "WORLD_SIZE" in os.environ:
        dist.destroy_process_group()
