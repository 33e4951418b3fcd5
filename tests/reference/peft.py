"""PEFT's LoRA: what a layer gives beside its path, merged, and the gradients of the two matrices."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

LIBRARY = "peft"
SHAPES = [
    (6, 4, 2, 4, True),
    (5, 9, 5, 1, False),
    (8, 8, 1, 16, True),
]  # in, out, rank, alpha, bias


def values() -> dict[str, NDArray[np.generic]]:
    import peft

    found: dict[str, Any] = {}
    for case, (d_in, d_out, rank, alpha, bias) in enumerate(SHAPES):
        torch.manual_seed(case)
        model = nn.Sequential(nn.Linear(d_in, d_out, bias)).double()
        x = torch.randn(3, d_in, dtype=torch.float64)
        config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"], lora_dropout=0.0)
        theirs: Any = peft.get_peft_model(model, config)
        layer = theirs.base_model.model[0]
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        nn.init.normal_(down)
        nn.init.normal_(up)
        output = theirs(x)
        output.square().sum().backward()
        found |= {
            f"{case}.x": x,
            f"{case}.weight": layer.base_layer.weight,
            f"{case}.down": down,
            f"{case}.up": up,
            f"{case}.output": output,
            f"{case}.down gradient": down.grad,
            f"{case}.up gradient": up.grad,
        }
        if bias:
            found[f"{case}.bias"] = layer.base_layer.bias
        found = {
            k: v.detach().numpy().copy() if isinstance(v, torch.Tensor) else v
            for k, v in found.items()
        }
        found[f"{case}.merged"] = theirs.merge_and_unload()[0].weight.detach().numpy()
    return found
