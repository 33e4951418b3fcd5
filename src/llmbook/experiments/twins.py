"""How far can a trained head's attention be moved without moving what the head gives?"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from llmbook.datasets import sotu
from llmbook.interpretability import residual_stream
from llmbook.pretrained import smollm2

_SMALL = 1e-9


def twin(
    weights: Float[np.ndarray, " keys"], values: Float[np.ndarray, "keys d_head"]
) -> Float[np.ndarray, " keys"]:
    r"""Other weights with the same sum and the same output, as different as a short walk gets.

    Looked for are $w' \ge 0$ with $\sum_j w'_j = \sum_j w_j$ and
    $\sum_j w'_j v_j = \sum_j w_j v_j$. The walk goes from $w$ in the allowed direction that lowers
    $w' \cdot w$ fastest until a weight is zero, leaves that one out, and goes on until no direction
    is left. What it finds is a lower bound on how different weights can be.

    Args:
        weights: Attention of one query, not negative.
        values: The values that are averaged.

    Raises:
        ValueError: If a weight is negative or there are not as many values as weights.

    Examples:
        >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        >>> twin(np.array([0.1, 0.4, 0.1, 0.4]), square).round(2) + 0.0
        array([0.5, 0. , 0.5, 0. ])
    """
    if len(weights) != len(values):
        raise ValueError(f"values must be as many as weights, got {len(values)}, {len(weights)}")
    if (weights < 0).any():
        raise ValueError("weights must not be negative")
    start = weights.astype(np.float64)
    w = start.copy()
    equations = np.vstack([np.ones(len(w)), values.T.astype(np.float64)])
    active = w > _SMALL
    while active.sum() > 1:
        rows = np.linalg.svd(equations[:, active])
        rank = int((rows[1] > _SMALL * rows[1][0]).sum())
        free = rows[2][rank:]
        if not len(free):
            break
        step = -(free @ start[active]) @ free
        if np.abs(step).max() < _SMALL:
            step = free[0]
        if not (step < -1e-14).any():
            step = -step
        falling = step < -1e-14
        length = (w[active][falling] / -step[falling]).min()
        moved = w[active] + length * step
        w[active] = np.where(moved < _SMALL, 0.0, moved)
        active = w > _SMALL
    return np.asarray(w)


@torch.no_grad()
def measure(
    lengths: tuple[int, ...] = (32, 64, 128, 256), layers: tuple[int, ...] = (3, 15, 27)
) -> dict[str, Any]:
    """How much of the last token's attention has a twin, in all heads of some layers of SmolLM2.

    Returns:
        For each number of tokens a list of shares, one a head: half of the sum of the differences
            between weights and twin, 1 if all of the attention could be elsewhere. And, for 128
            tokens, under "without sink" the same if the first token's weight has to stay.
    """
    model, tokenizer = smollm2()
    start = tokenizer.special_tokens["<|endoftext|>"]
    ids = [start, *tokenizer.encode(sotu()[-1].text[:4_000])]
    found: dict[str, Any] = {}
    for length in lengths:
        texts = torch.tensor([ids[:length]])
        stream, weights = residual_stream(model, texts), model.attention_weights(texts)
        shares, stayed = [], []
        for layer in layers:
            block: Any = model.blocks[layer]
            values = block.attention.value(block.attention_norm(stream[layer]))[0]
            by_group = values.view(length, -1, model.config.d_head).numpy()
            group = model.config.num_heads // model.config.num_kv_heads
            for head in range(model.config.num_heads):
                w, v = weights[layer, 0, head, -1].double().numpy(), by_group[:, head // group]
                shares.append(float(np.abs(twin(w, v) - w).sum() / 2))
                if length == 128:
                    rest = np.abs(twin(w[1:], v[1:]) - w[1:]).sum() / 2
                    stayed.append(float(rest / max(w[1:].sum(), _SMALL)))
        found[str(length)] = shares
        if stayed:
            found["without sink"] = stayed
    return found
