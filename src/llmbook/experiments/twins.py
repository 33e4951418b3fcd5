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
            tokens, the same under "without sink" if the first token's weight has to stay, and, to
            tell what the weights do from what the values do, for the head's weights with values
            drawn by lot ("random values") and for its values with weights drawn by lot ("random
            weights").
    """
    model, tokenizer = smollm2()
    start = tokenizer.special_tokens["<|endoftext|>"]
    ids = [start, *tokenizer.encode(sotu()[-1].text[:4_000])]
    random = np.random.default_rng(0)
    found: dict[str, Any] = {}

    def moved(w: Float[np.ndarray, " keys"], v: Float[np.ndarray, "keys d_head"]) -> float:
        return float(np.abs(twin(w, v) - w).sum() / 2 / max(w.sum(), _SMALL))

    for length in lengths:
        texts = torch.tensor([ids[:length]])
        stream, weights = residual_stream(model, texts), model.attention_weights(texts)
        shares = []
        at_128: dict[str, list[float]] = {
            name: [] for name in ("without sink", "random values", "random weights")
        }
        for layer in layers:
            block: Any = model.blocks[layer]
            values = block.attention.value(block.attention_norm(stream[layer]))[0]
            by_group = values.view(length, -1, model.config.d_head).numpy()
            group = model.config.num_heads // model.config.num_kv_heads
            for head in range(model.config.num_heads):
                w, v = weights[layer, 0, head, -1].double().numpy(), by_group[:, head // group]
                shares.append(moved(w, v))
                if length == 128:
                    at_128["without sink"].append(moved(w[1:], v[1:]))
                    drawn = random.standard_normal(v.shape)
                    at_128["random values"].append(moved(w, drawn))
                    at_128["random weights"].append(moved(random.random(length) / length, v))
        found[str(length)] = shares
        if length == 128:
            found.update(at_128)
    return found
