"""An autoencoder on SmolLM2's stream, beside baselines that have learned no feature."""

from collections.abc import Callable
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmbook.autoencoder import SparseAutoencoder, fit, principal, unexplained
from llmbook.datasets import sotu
from llmbook.interpretability import edited, residual_stream
from llmbook.pretrained import smollm2

LAYER: Final = 9
WIDTH: Final = 128
FEATURES: Final = 1_536
TOP_K: Final = 16


def pieces(count: int, first: int = 0) -> Int[Tensor, "pieces seq"]:
    """Pieces of the addresses since 1990, each with a beginning of text before it."""
    _, tokenizer = smollm2()
    start = tokenizer.special_tokens["<|endoftext|>"]
    text = "\n".join(address.text for address in sotu(since=1990))
    ids = tokenizer.encode(text[: 8 * WIDTH * (first + count)])
    body = torch.tensor(ids[: (WIDTH - 1) * (first + count)]).view(-1, WIDTH - 1)[first:]
    return torch.cat((torch.full((len(body), 1), start), body), 1)


def activations(ids: Int[Tensor, "pieces seq"]) -> Float[Tensor, "vectors d_model"]:
    """The stream behind `LAYER`, but for each piece's first position, which is unlike others."""
    model, _ = smollm2()
    found = [residual_stream(model, part)[LAYER + 1, :, 1:] for part in ids.split(8)]
    return torch.cat(found).flatten(0, 1)


@torch.no_grad()
def spliced_loss(
    ids: Int[Tensor, "pieces seq"], rebuild: Callable[[Tensor], Tensor] | None = None
) -> float:
    """Nats a token if the stream behind `LAYER` is what `rebuild` makes of it."""
    model, _ = smollm2()

    def edit(stream: Tensor) -> Tensor:
        rebuilt = stream.clone()
        if rebuild is not None:
            rebuilt[:, 1:] = rebuild(stream[:, 1:])
        return rebuilt

    losses = []
    with edited(model, {LAYER: edit}):
        for part in ids.split(4):
            logits = model(part[:, :-1]).flatten(0, 1)
            losses.append(torch.nn.functional.cross_entropy(logits, part[:, 1:].flatten()))
    return float(torch.stack(losses).mean())


def largest(numbers: Float[Tensor, "*batch d"], count: int = TOP_K) -> Float[Tensor, "*batch d"]:
    """The `count` largest numbers of each vector by their absolute value, and zeros.

    >>> largest(torch.tensor([3.0, -5.0, 1.0]), 2)
    tensor([ 3., -5.,  0.])
    """
    places = numbers.abs().topk(count, dim=-1).indices
    return torch.zeros_like(numbers).scatter(-1, places, numbers.gather(-1, places))


def run(seed: int, read: int = 64, held_out: int = 8, steps: int = 500) -> dict[str, Any]:
    """What is recorded: what each way explains of new vectors, and what splicing it in costs.

    Args:
        seed: Of the autoencoders.
        read: Pieces to learn from.
        held_out: Other pieces.
        steps: Of training.

    Returns:
        "whole" and "mean": the loss with the stream as it is, and with its mean in place of it; for
        "trained", "frozen" and "components" the share of variance "unexplained" and the "loss";
        for "trained" the share of directions that are "dead" on the new vectors.
    """
    vectors = activations(pieces(read))
    scale = vectors.norm(dim=1).median() / vectors.shape[1] ** 0.5
    ids = pieces(held_out, first=read)
    new = activations(ids)
    mean = vectors.mean(0)
    found: dict[str, Any] = {
        "whole": spliced_loss(ids),
        "mean": spliced_loss(ids, lambda stream: mean.expand_as(stream)),
    }

    def judge(rebuild: Callable[[Tensor], Tensor]) -> dict[str, float]:
        return {"unexplained": unexplained(new, rebuild(new)), "loss": spliced_loss(ids, rebuild)}

    for name in ("trained", "frozen"):
        torch.manual_seed(seed)
        model = SparseAutoencoder(vectors.shape[1], FEATURES, TOP_K, frozen=name == "frozen")
        generator = torch.Generator().manual_seed(seed)
        fit(model, vectors / scale, steps=steps, generator=generator)
        with torch.no_grad():
            found[name] = judge(lambda stream, model=model: scale * model(stream / scale)[0])  # type: ignore[misc]
            used = (model.encode(new / scale) > 0).any(0)
        found[name]["dead"] = 1 - float(used.float().mean())
    centre, axes = principal(vectors, TOP_K)
    _, every = principal(vectors, vectors.shape[1])
    found["components"] = judge(lambda stream: centre + (stream - centre) @ axes.T @ axes)
    found["chosen"] = judge(lambda stream: centre + largest((stream - centre) @ every.T) @ every)
    found["coordinates"] = judge(lambda stream: centre + largest(stream - centre))
    return found
