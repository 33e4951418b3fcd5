r"""A sparse autoencoder: vectors as sums of a few directions out of many."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmbook.sizes import positive


class SparseAutoencoder(nn.Module):
    r"""Write each vector as a sum of at most `top_k` of many learned directions.

    $$z = \mathrm{TopK}\bigl(\mathrm{ReLU}(W_e\,(x - b))\bigr)\qquad \hat x = W_d\,z + b$$

    The columns of $W_d$ are directions of length 1, $z$ says how much of each there is. It begins
    with $W_e = W_d^\top$.

    Args:
        d_model: Numbers in a vector.
        features: Directions, usually more than `d_model`.
        top_k: Directions that a vector may use.
        frozen: Keep the directions random and train only $W_e$ and $b$: a baseline that has
            learned no direction.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a size is not positive or `top_k` is larger than `features`.

    Examples:
        >>> model = SparseAutoencoder(d_model=4, features=16, top_k=2)
        >>> reconstruction, z = model(torch.randn(8, 4))
        >>> reconstruction.shape, int((z != 0).sum(-1).max())
        (torch.Size([8, 4]), 2)

    Source:
        [Bricken et al. 2023][bricken2023monosemanticity]; the largest in place of a penalty:
        [Gao et al. 2025][gao2025scaling], section 2.3; frozen directions as a baseline:
        [Korznikov et al. 2026][korznikov2026sanity].
    """

    def __init__(self, d_model: int, features: int, top_k: int, *, frozen: bool = False) -> None:
        super().__init__()
        d_model, features, top_k = positive(d_model=d_model, features=features, top_k=top_k)
        if top_k > features:
            raise ValueError(f"top_k must be at most features ({features}), got {top_k}")
        self.top_k = top_k
        directions = nn.functional.normalize(torch.randn(features, d_model), dim=1)
        self.decoder = nn.Parameter(directions, requires_grad=not frozen)
        self.encoder = nn.Parameter(directions.clone())
        self.bias = nn.Parameter(torch.zeros(d_model))

    def encode(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch features"]:
        """How much of each direction is in each vector; zero but for at most `top_k`."""
        z = ((x - self.bias) @ self.encoder.T).relu()
        values, places = z.topk(self.top_k, dim=-1)
        return torch.zeros_like(z).scatter(-1, places, values)

    def decode(self, z: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch d_model"]:
        """The sum of the directions."""
        return z @ self.decoder + self.bias

    def forward(
        self, x: Float[Tensor, "*batch d_model"]
    ) -> tuple[Float[Tensor, "*batch d_model"], Float[Tensor, "*batch features"]]:
        """Encode and decode; gives the reconstruction and what it is made of."""
        z = self.encode(x)
        return self.decode(z), z


def fit(
    model: SparseAutoencoder,
    vectors: Float[Tensor, "vectors d_model"],
    *,
    steps: int,
    generator: torch.Generator,
    batch: int = 256,
    lr: float | int = 2e-3,
) -> None:
    r"""Train by the mean squared error, with directions brought back to length 1 after each step.

    Args:
        model: Is changed in place. Its bias begins at the mean of the vectors.
        vectors: What it learns from.
        steps: Changes of the weights; the rate falls to 0 in a line.
        generator: Of the batches.
        batch: Vectors in a step.
        lr: Adam's rate at the beginning.

    Raises:
        ValueError: If there are no vectors.
    """
    if not len(vectors):
        raise ValueError("vectors must be at least one, got none")
    with torch.no_grad():
        model.bias.copy_(vectors.mean(0))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=lr)
    schedule: Any = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for _ in range(steps):
        chosen = vectors[torch.randint(len(vectors), (batch,), generator=generator)]
        reconstruction, _ = model(chosen)
        loss = (reconstruction - chosen).square().sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            lengths = model.decoder.norm(dim=1, keepdim=True).clamp_min(1e-8)
            model.decoder.div_(lengths)


def unexplained(
    vectors: Float[Tensor, "vectors d_model"], reconstruction: Float[Tensor, "vectors d_model"]
) -> float:
    r"""The share of the variance that a reconstruction misses.

    $$\frac{\sum \lVert x - \hat x\rVert^2}{\sum \lVert x - \bar x\rVert^2}$$

    Returns:
        0 for an exact one, 1 for the mean of all vectors.

    Raises:
        ValueError: If all vectors are the same.

    Examples:
        >>> x = torch.tensor([[0.0], [2.0]])
        >>> unexplained(x, torch.tensor([[1.0], [1.0]]))
        1.0
    """
    spread = (vectors - vectors.mean(0)).square().sum()
    if spread == 0:
        raise ValueError("vectors must differ, all are the same")
    return float((vectors - reconstruction).square().sum() / spread)


def recovered(
    directions: Float[Tensor, "directions d_model"],
    true: Float[Tensor, "features d_model"],
    threshold: float | int = 0.9,
) -> float:
    """The share of true directions that some direction points along.

    Args:
        directions: Those that were found, of any length.
        true: Those that are there.
        threshold: The least cosine.

    Examples:
        >>> recovered(torch.tensor([[1.0, 0.1]]), torch.eye(2))
        0.5
    """
    unit = nn.functional.normalize(directions, dim=1)
    cosines = nn.functional.normalize(true, dim=1) @ unit.T
    return float((cosines.amax(1) >= threshold).float().mean())


def principal(
    vectors: Float[Tensor, "vectors d_model"], count: int
) -> tuple[Float[Tensor, " d_model"], Float[Tensor, "count d_model"]]:
    """The mean and the directions along which vectors differ most, as orthonormal rows.

    Raises:
        ValueError: If `count` is not from 1 to the width.
    """
    if not 1 <= count <= vectors.shape[1]:
        raise ValueError(f"count must be from 1 to {vectors.shape[1]}, got {count}")
    mean = vectors.mean(0)
    centred = vectors - mean
    return mean, torch.linalg.eigh(centred.T @ centred)[1].flip(-1)[:, :count].T
