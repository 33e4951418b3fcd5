"""The induction circuit in SmolLM2: heads that look one back, heads that find what came before.

Random tokens are read twice. Nothing but the first copy tells what comes in the second. A head of
the second kind must know, at each token, which token stood before it: heads of the first kind can
have written that down. If so, it looks elsewhere without them.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from llmbook.heads import induction_score, mean_outputs, previous_token_score, without_heads
from llmbook.llama import Llama
from llmbook.pretrained import smollm2

Heads = list[tuple[int, int]]


def repeated(
    texts: int, length: int, vocab_size: int, seed: int
) -> Int[Tensor, "texts {2*length}"]:
    """Random tokens from 1,000 on (before that are single bytes), each text twice in a row.

    Examples:
        >>> ids = repeated(1, 3, 2_000, seed=0)
        >>> bool((ids[:, :3] == ids[:, 3:]).all())
        True
    """
    generator = torch.Generator().manual_seed(seed)
    once = torch.randint(1_000, vocab_size, (texts, length), generator=generator)
    return torch.cat((once, once), 1)


def strongest(scores: Tensor, count: int, before: int | None = None) -> Heads:
    """The heads with the highest scores, in all layers or only those before one.

    Examples:
        >>> strongest(torch.tensor([[0.1, 0.9], [0.8, 0.95]]), 2)
        [(1, 1), (0, 1)]
        >>> strongest(torch.tensor([[0.1, 0.9], [0.8, 0.95]]), 1, before=1)
        [(0, 1)]
    """
    kept = scores if before is None else scores[:before]
    places = kept.flatten().topk(count).indices
    return [divmod(int(place), scores.shape[1]) for place in places]


def others(heads: Heads, spared: Heads, num_heads: int, seed: int) -> Heads:
    """As many heads of the same layers, drawn from those that are in neither list."""
    random = np.random.default_rng(seed)
    drawn: Heads = []
    for layer, _ in heads:
        free = [
            (layer, head)
            for head in range(num_heads)
            if (layer, head) not in [*heads, *spared, *drawn]
        ]
        drawn.append(free[random.integers(len(free))])
    return drawn


@torch.no_grad()
def second_copy(model: Llama, ids: Tensor, heads: Heads) -> dict[str, float]:
    """What heads do and what the model knows in the second copy.

    Returns:
        "score": the mean of `llmbook.heads.induction_score` of these heads; "loss": nats a token in
            the second copy, but for its first token.
    """
    length = ids.shape[1] // 2
    scores = induction_score(model.attention_weights(ids), length)
    logits = model(ids)[:, length:-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, length + 1 :].flatten())
    return {
        "score": float(np.mean([scores[layer, head].item() for layer, head in heads])),
        "loss": loss.item(),
    }


@torch.no_grad()
def by_side(
    induction: Sequence[Sequence[int]],
    previous: Sequence[Sequence[int]],
    seed: int = 0,
    texts: int = 4,
    length: int = 24,
) -> dict[str, float]:
    """Where induction heads look if heads of the first kind are silenced for one side alone.

    A circuit of two says that what stood before a token is read as a *key*. So the layers of the
    induction heads get their queries, or their keys, as if nothing had been silenced.

    Args:
        induction: The heads that look, as pairs of layer and number.
        previous: The heads that are silenced.
        seed: As in `run`.
        texts: As in `run`.
        length: As in `run`.

    Returns:
        The mean of `llmbook.heads.induction_score` with the "query" and with the "key" as it was.
    """
    model, tokenizer = smollm2()
    vocab = tokenizer.vocab_size
    means = mean_outputs(model, repeated(texts, length, vocab, seed=2 * seed))
    ids = repeated(texts, length, vocab, seed=2 * seed + 1)
    found: dict[str, float] = {}
    whole: dict[int, Tensor] = {}
    for side in ("query", "key"):
        parts: Any = {layer: getattr(model.blocks[layer].attention, side) for layer, _ in induction}
        with ExitStack() as stack:
            for layer, part in parts.items():

                def note(_: Any, __: Any, output: Tensor, layer: int = layer) -> None:
                    whole[layer] = output

                stack.callback(part.register_forward_hook(note).remove)
            model(ids)
        with ExitStack() as stack, without_heads(model, [(at, n) for at, n in previous], means):
            for layer, part in parts.items():

                def put(_: Any, __: Any, ___: Tensor, layer: int = layer) -> Tensor:
                    return whole[layer]

                stack.callback(part.register_forward_hook(put).remove)
            scores = induction_score(model.attention_weights(ids), length)
        found[side] = float(np.mean([scores[layer, head].item() for layer, head in induction]))
    return found


def run(seed: int, texts: int = 4, length: int = 24, count: int = 5) -> dict[str, Any]:
    """What is recorded: heads chosen on some texts, silenced on others.

    Silenced heads give their mean output, so that only what they say of *this* text is gone.

    Args:
        seed: Of the texts; they are others for choosing than for measuring.
        texts: How many.
        length: Of one copy.
        count: How many heads of each kind.

    Returns:
        "induction" and "previous": the heads, as pairs of layer and number; the previous-token
            heads are those in layers before the first induction head. "whole", "without previous",
            "without induction": what `second_copy` says of the induction heads; and for three draws
            of `others`, "without others of previous" and "without others of induction".
    """
    model, tokenizer = smollm2()
    vocab = tokenizer.vocab_size
    chosen_on = repeated(texts, length, vocab, seed=2 * seed)
    ids = repeated(texts, length, vocab, seed=2 * seed + 1)
    with torch.no_grad():
        weights = model.attention_weights(chosen_on)
        means = mean_outputs(model, chosen_on)
    induction = strongest(induction_score(weights, length), count)
    first = min(layer for layer, _ in induction)
    previous = strongest(previous_token_score(weights), count, before=first)

    def without(heads: Heads) -> dict[str, float]:
        with without_heads(model, heads, means):
            return second_copy(model, ids, induction)

    num_heads = model.config.num_heads
    both = [*induction, *previous]
    return {
        "induction": induction,
        "previous": previous,
        "whole": second_copy(model, ids, induction),
        "without previous": without(previous),
        "without induction": without(induction),
        "without others of previous": [
            without(others(previous, both, num_heads, draw)) for draw in range(3)
        ],
        "without others of induction": [
            without(others(induction, both, num_heads, draw)) for draw in range(3)
        ],
    }
