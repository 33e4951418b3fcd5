"""The loss of `open_clip`, and its gradients."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

LIBRARY = "open-clip-torch"
SIZES = (1, 2, 7, 32)


def features(size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Unit vectors of pictures and of texts, and a scale, for a batch of `size` pairs."""
    generator = torch.Generator().manual_seed(size)
    drawn = torch.randn(2, size, 5, generator=generator, dtype=torch.float64)
    images, texts = drawn / drawn.norm(dim=-1, keepdim=True)
    return images.requires_grad_(), texts.requires_grad_(), torch.tensor(3.0 + size).double()


def values() -> dict[str, NDArray[np.generic]]:
    """For each size of a batch the loss, and its gradient by pictures and by texts."""
    # The file alone: the package would import torchvision, which the loss does not need.
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    spec = importlib.util.spec_from_file_location(
        "open_clip_loss", Path(package.origin).with_name("loss.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, NDArray[np.generic]] = {}
    for size in SIZES:
        images, texts, scale = features(size)
        loss = module.ClipLoss()(images, texts, scale)
        loss.backward()
        assert images.grad is not None
        assert texts.grad is not None
        found[f"loss-{size}"] = loss.detach().numpy()
        found[f"images-{size}"] = images.grad.numpy()
        found[f"texts-{size}"] = texts.grad.numpy()
    return found
