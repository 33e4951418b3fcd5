"""The tuned lens of those who proposed it, on a small random GPT-2."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

LIBRARY = "tuned-lens"
LAYERS = 2


def model_and_numbers() -> tuple[Any, Tensor, Tensor, Tensor, Tensor]:
    """A model in float64, what goes into two layers' maps, the last layer's vectors, the maps."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=40, n_positions=16, n_embd=12, n_layer=LAYERS, n_head=2,
            bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    model = model.double().eval()
    for parameter in (model.transformer.ln_f.weight, model.transformer.ln_f.bias):
        parameter.data = torch.randn(12, dtype=torch.float64)
    stream = torch.randn(LAYERS, 7, 12, dtype=torch.float64)
    last, matrices, biases = (
        torch.randn(*shape, dtype=torch.float64)
        for shape in ((7, 12), (LAYERS, 12, 12), (LAYERS, 12))
    )
    return model, stream, last, matrices, biases


def values() -> dict[str, NDArray[np.generic]]:
    from tuned_lens.nn.lenses import TunedLens

    model, stream, last, matrices, biases = model_and_numbers()
    lens = TunedLens.from_model(model).double()
    found = {}
    for layer in range(LAYERS):
        lens[layer].weight.data, lens[layer].bias.data = matrices[layer], biases[layer]
        logits = lens(stream[layer], layer)
        said = Categorical(logits=lens.unembed(last))
        divergence = kl_divergence(said, Categorical(logits=logits)).mean()
        divergence.backward()
        found[f"{layer}.logits"] = logits.detach().numpy()
        found[f"{layer}.divergence"] = divergence.detach().numpy()
        found[f"{layer}.weight"] = lens[layer].weight.grad.numpy()
        found[f"{layer}.bias"] = lens[layer].bias.grad.numpy()
    return found
