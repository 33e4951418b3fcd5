"""`vector-quantize-pytorch`: indices, vectors, losses and gradients of a list of codes."""

from typing import Any

import torch
from numpy.typing import NDArray

LIBRARY = "vector-quantize-pytorch"
SETTINGS = [(8, 4, (5, 7)), (96, 16, (2, 36)), (3, 2, (1, 1))]  # codes, their width, vectors


def inputs(number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes, vectors, and the gradient that comes back, in float64."""
    codes, width, batch = SETTINGS[number]
    generator = torch.Generator().manual_seed(number)
    shapes = ((codes, width), (*batch, width), (*batch, width))
    made = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    book, x, upstream = made
    return book, x, upstream


def values() -> dict[str, NDArray[Any]]:
    from vector_quantize_pytorch import VectorQuantize

    found: dict[str, NDArray[Any]] = {}
    for number, (codes, width, _) in enumerate(SETTINGS):
        book, x, upstream = inputs(number)
        for name, learnable, weight in (("commitment", False, 0.25), ("both", True, 1.0)):
            theirs = VectorQuantize(
                dim=width,
                codebook_size=codes,
                commitment_weight=weight,
                learnable_codebook=learnable,
                ema_update=False,
                rotation_trick=False,
                kmeans_init=False,
                sync_codebook=False,
            ).double()
            theirs._codebook.embed.data.copy_(book[None])
            x = x.detach().requires_grad_()
            vectors, indices, loss = theirs(x)
            (through,) = torch.autograd.grad((vectors * upstream).sum(), x, retain_graph=True)
            (of_loss,) = torch.autograd.grad(loss.sum(), x, retain_graph=True)
            found[f"{number}/{name}/indices"] = indices.numpy()
            found[f"{number}/{name}/vectors"] = vectors.detach().numpy()
            found[f"{number}/{name}/loss"] = loss.detach().numpy()
            found[f"{number}/{name}/through"] = through.numpy()
            found[f"{number}/{name}/of_loss"] = of_loss.numpy()
            if learnable:
                (of_codes,) = torch.autograd.grad(loss.sum(), theirs._codebook.embed)
                found[f"{number}/{name}/of_codes"] = of_codes[0].numpy()
    return found
