"""Pictures as a few codes from a list: vector quantisation, and the discrete VAE beside it.

Both have an encoder that turns a picture into a grid of vectors, a list of codes, and a decoder
that draws from codes. To choose a code is a step without a gradient. `Codebook` takes the nearest
and lets the gradient pass it by; `GumbelCodes` mixes the codes while it learns, and ever less so.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.sizes import positive, whole

Images = Float[Tensor, "batch 3 height width"]
Grid = Float[Tensor, "batch rows columns channels"]
Codes = Int[Tensor, "batch rows columns"]


class Quantized(NamedTuple):
    """What becomes of vectors in a `Codebook`.

    Attributes:
        vectors: The nearest codes, whose gradient goes to the vectors that came in, unchanged.
        indices: Which they are.
        codebook_loss: Mean squared distance, with a gradient for the codes alone.
        commitment_loss: The same number, with a gradient for what came in alone.
    """

    vectors: Float[Tensor, "*batch d_code"]
    indices: Int[Tensor, "*batch"]
    codebook_loss: Float[Tensor, ""]
    commitment_loss: Float[Tensor, ""]


class Codebook(nn.Module):
    r"""A list of vectors of which the nearest stands for what comes in.

    $$k = \arg\min_j \lVert x - e_j \rVert^2, \qquad
      y = x + \mathrm{sg}(e_k - x)$$

    where $\mathrm{sg}$ stops the gradient: $y$ is $e_k$, and its gradient is that of $x$
    (straight-through). The codes learn from $\lVert \mathrm{sg}(x) - e_k \rVert^2$, and
    $\lVert x - \mathrm{sg}(e_k) \rVert^2$ keeps the encoder by its codes.

    Args:
        num_codes: Codes in the list.
        d_code: Width of each.

    Raises:
        ValueError: If one of them is not positive.

    Examples:
        >>> book = Codebook(2, 1)
        >>> _ = book.load_state_dict({"weight": torch.tensor([[0.0], [10.0]])})
        >>> found = book(torch.tensor([[4.0], [7.0]]))
        >>> found.indices, found.commitment_loss.item()
        (tensor([0, 1]), 12.5)

    Source:
        [van den Oord et al. 2017][oord2017neural], section 3.
    """

    def __init__(self, num_codes: int, d_code: int) -> None:
        super().__init__()
        num_codes, d_code = positive(num_codes=num_codes, d_code=d_code)
        self.weight = nn.Parameter(torch.randn(num_codes, d_code))

    def nearest(self, x: Float[Tensor, "*batch d_code"]) -> Int[Tensor, "*batch"]:
        """Number of the nearest code; of equals the first.

        Raises:
            ValueError: If `x` has another width than the codes.
        """
        if x.ndim < 1 or x.shape[-1] != self.weight.shape[1]:
            raise ValueError(
                f"x must have vectors of width {self.weight.shape[1]}, got shape {tuple(x.shape)}"
            )
        scores = x @ self.weight.T - self.weight.square().sum(1) / 2  # largest for the nearest
        return scores.argmax(-1)

    def forward(self, x: Float[Tensor, "*batch d_code"]) -> Quantized:
        """Put the nearest code in the place of each vector."""
        indices = self.nearest(x)
        codes = self.weight[indices]
        return Quantized(
            vectors=x + (codes - x).detach(),
            indices=indices,
            codebook_loss=F.mse_loss(codes, x.detach()),
            commitment_loss=F.mse_loss(x, codes.detach()),
        )

    @torch.no_grad()
    def start(self, x: Float[Tensor, "*batch d_code"], generator: torch.Generator) -> None:
        """Take the means of clusters of some vectors for codes, so that all are of use at first."""
        self.weight.copy_(kmeans(x.flatten(0, -2), len(self.weight), generator))


def kmeans(
    x: Float[Tensor, "n width"], k: int, generator: torch.Generator, steps: int = 20
) -> Float[Tensor, "k width"]:
    """Find `k` means so that each vector is near one: Lloyd's algorithm.

    It starts from vectors drawn with a probability that grows with the squared distance from the
    means before (k-means++). A mean that no vector is nearest to stays where it is.

    Args:
        x: The vectors.
        k: How many means.
        generator: Draws where to start.
        steps: How often each mean moves to the middle of the vectors nearest to it.

    Raises:
        ValueError: If there are fewer vectors than means, or no means.

    Examples:
        >>> x = torch.tensor([[0.0], [2.0], [10.0], [12.0]])
        >>> kmeans(x, 2, torch.Generator().manual_seed(0)).sort(0).values.tolist()
        [[1.0], [11.0]]

    Source:
        [Arthur and Vassilvitskii 2007][arthur2007kmeans], section 2.
    """
    k = whole("k", k)
    if not 0 < k <= len(x):
        raise ValueError(f"k must be from 1 to the number of vectors, {len(x)}, got {k}")
    means = x[torch.randint(len(x), (1,), generator=generator)]
    distance = (x - means).square().sum(1)
    for _ in range(k - 1):
        even = torch.ones_like(distance)  # where all vectors are taken already
        share = distance if distance.sum() > 0 else even
        new = x[torch.multinomial(share, 1, generator=generator)]
        means = torch.cat((means, new))
        distance = torch.minimum(distance, (x - new).square().sum(1))
    for _ in range(steps):
        nearest = torch.cdist(x, means).argmin(1)
        total = torch.zeros_like(means).index_add_(0, nearest, x)
        count = nearest.bincount(minlength=k)[:, None]
        means = torch.where(count > 0, total / count.clamp(min=1), means)
    return means


def gumbel_softmax(
    logits: Float[Tensor, "*batch codes"],
    temperature: float | int = 1.0,
    *,
    hard: bool = False,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*batch codes"]:
    r"""Draw from a distribution over codes so that the draw has a gradient.

    $$y_i = \frac{\exp((z_i + g_i) / \tau)}{\sum_j \exp((z_j + g_j) / \tau)}, \qquad
      g_i = -\log(-\log u_i)$$

    The largest $z_i + g_i$ is a draw from the softmax of $z$; the smaller $\tau$, the nearer $y$
    comes to that draw alone.

    Args:
        logits: Unnormalised log-probabilities $z$.
        temperature: $\tau > 0$.
        hard: Give the draw itself, 0 or 1, with the gradient of $y$ (straight-through).
        generator: Draws $u$.

    Returns:
        Weights that sum to 1.

    Raises:
        ValueError: If `temperature` is not positive.

    Examples:
        >>> logits = torch.tensor([0.0, 5.0])
        >>> gumbel_softmax(logits, hard=True, generator=torch.Generator().manual_seed(0))
        tensor([0., 1.])

    Source:
        [Jang et al. 2017][jang2017categorical], section 2.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    noise = -torch.empty_like(logits).exponential_(generator=generator).log()
    soft = ((logits + noise) / temperature).softmax(-1)
    if not hard:
        return soft
    one = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
    return one - soft.detach() + soft


class Autoencoder(nn.Module):
    """Convolutions that halve a picture twice, and others that double what is left.

    Args:
        width: Channels after the first halving; twice as many after the second.
        d_latent: Channels of the grid between the two.
        d_decoded: Channels that the decoder takes; `d_latent` unless it is given.
    """

    def __init__(self, width: int, d_latent: int, d_decoded: int | None = None) -> None:
        super().__init__()
        width, d_latent, d_decoded = positive(
            width=width, d_latent=d_latent, d_decoded=d_latent if d_decoded is None else d_decoded
        )
        self.down = nn.Sequential(
            nn.Conv2d(3, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * width, d_latent, 3, padding=1),
        )
        self.up = nn.Sequential(
            nn.Conv2d(d_decoded, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1),
        )

    def encode(self, images: Images) -> Grid:
        """Turn pictures into grids of vectors, a quarter as high and wide.

        Raises:
            ValueError: If 4 does not divide the sides of the pictures.
        """
        if images.ndim != 4 or images.shape[1] != 3 or any(side % 4 for side in images.shape[2:]):
            raise ValueError(
                "images must be of shape (batch, 3, height, width) with sides that 4 divides, "
                f"got {tuple(images.shape)}"
            )
        grid: Tensor = self.down(2 * images - 1)
        return grid.permute(0, 2, 3, 1)

    def decode(self, grid: Grid) -> Images:
        """Turn grids of vectors into pictures, of which a value may leave [0, 1] a little."""
        images: Tensor = self.up(grid.permute(0, 3, 1, 2))
        return (images + 1) / 2


class Coded(NamedTuple):
    """Pictures after their way through codes.

    Attributes:
        images: As they are drawn again.
        codes: In between.
        loss: What is to be made small beside the error of the pictures.
    """

    images: Images
    codes: Codes
    loss: Float[Tensor, ""]


class VQVAE(nn.Module):
    """An autoencoder with a `Codebook` in the middle.

    Args:
        num_codes: Codes in the list.
        d_code: Width of each.
        width: Of the `Autoencoder`.
        commitment: Weight of the commitment loss.

    Examples:
        >>> model = VQVAE(num_codes=8)
        >>> codes = model.encode(torch.rand(2, 3, 24, 24))
        >>> codes.shape, model.decode(codes).shape
        (torch.Size([2, 6, 6]), torch.Size([2, 3, 24, 24]))

    Source:
        [van den Oord et al. 2017][oord2017neural], equation 3.
    """

    def __init__(
        self, num_codes: int, d_code: int = 16, width: int = 32, commitment: float | int = 0.25
    ) -> None:
        super().__init__()
        self.autoencoder = Autoencoder(width, d_code)
        self.codebook = Codebook(num_codes, d_code)
        self.commitment = commitment

    def forward(self, images: Images) -> Coded:
        """Code pictures, and draw them again."""
        found = self.codebook(self.autoencoder.encode(images))
        loss = found.codebook_loss + self.commitment * found.commitment_loss
        return Coded(self.autoencoder.decode(found.vectors), found.indices, loss)

    def encode(self, images: Images) -> Codes:
        """The codes of pictures."""
        return self.codebook.nearest(self.autoencoder.encode(images))

    def decode(self, codes: Codes) -> Images:
        """Draw what codes stand for."""
        return self.autoencoder.decode(self.codebook.weight[codes])


class DVAE(nn.Module):
    r"""A discrete variational autoencoder: the encoder gives a distribution over codes.

    While it learns, codes are drawn by `gumbel_softmax`; afterwards the likeliest is taken. With a
    weight $\beta$, $\beta \, \mathrm{KL}(q \,\|\, \text{uniform})$ keeps the distribution wide.

    Args:
        num_codes: Codes in the list.
        d_code: Width of each.
        width: Of the `Autoencoder`.
        kl_weight: $\beta$.

    Source:
        [Ramesh et al. 2021][ramesh2021zero], section 2.1.
    """

    def __init__(
        self, num_codes: int, d_code: int = 16, width: int = 32, kl_weight: float | int = 0.0
    ) -> None:
        super().__init__()
        self.autoencoder = Autoencoder(width, num_codes, d_code)
        self.weight = nn.Parameter(torch.randn(num_codes, d_code))
        self.kl_weight = kl_weight
        self.temperature = 1.0
        self.hard = False

    def forward(self, images: Images) -> Coded:
        """Draw codes for pictures, and the pictures again; in evaluation take the likeliest."""
        logits = self.autoencoder.encode(images)
        if not self.training:
            codes = logits.argmax(-1)
            return Coded(self.decode(codes), codes, logits.new_zeros(()))
        weights = gumbel_softmax(logits, self.temperature, hard=self.hard)
        log_q = logits.log_softmax(-1)
        kl = (log_q.exp() * (log_q - log_q.new_tensor(1 / log_q.shape[-1]).log())).sum(-1).mean()
        drawn = self.autoencoder.decode(weights @ self.weight)
        return Coded(drawn, weights.argmax(-1), self.kl_weight * kl)

    def encode(self, images: Images) -> Codes:
        """The likeliest codes of pictures."""
        return self.autoencoder.encode(images).argmax(-1)

    def decode(self, codes: Codes) -> Images:
        """Draw what codes stand for."""
        return self.autoencoder.decode(self.weight[codes])
