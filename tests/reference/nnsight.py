"""Activation patching by NNsight's interventions, on a small random Llama of this book."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmbook.llama import Llama, LlamaConfig

LIBRARY = "nnsight"
CASES = [(0, [2]), (1, [-1]), (2, [0, 3])]  # layer, positions


def model_and_texts() -> tuple[Llama, Tensor, Tensor]:
    """A random model in float64, two texts and two donors."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, d_model=24, num_layers=3, num_heads=4, num_kv_heads=2, d_ff=40, max_len=16
    )
    token_ids, donor_ids = torch.randint(50, (2, 2, 6))
    return Llama(config).double().eval(), token_ids, donor_ids


def values() -> dict[str, NDArray[np.generic]]:
    from nnsight import NNsight

    model, token_ids, donor_ids = model_and_texts()
    theirs: Any = NNsight(model)
    found = {}
    for case, (layer, positions) in enumerate(CASES):
        with torch.no_grad():
            with theirs.trace(donor_ids):
                kept = theirs.blocks[layer].output.save()
            with theirs.trace(token_ids):
                theirs.blocks[layer].output[:, positions] = kept[:, positions]
                logits = theirs.output.save()
        found[f"{case}.logits"] = logits[:, -1].numpy()
    return found
