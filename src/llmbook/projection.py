"""Many vectors on a flat map, and what of their neighbourhoods such a map keeps."""

import json
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

from llmbook.sizes import whole

Vectors = Float[np.ndarray, "words d_model"]
Places = Float[np.ndarray, "words 2"]
LEVELS: Final = 127  # of a number in eight bits, each way


def neighbours(
    vectors: Float[np.ndarray, "words d"],
    count: int = 10,
    of: Int[np.ndarray, " rows"] | None = None,
) -> Int[np.ndarray, "rows n"]:
    """The vectors nearest to each, by Euclidean distance, the nearest first and never itself.

    For vectors of length 1 that is the order of their cosines, too.

    Args:
        vectors: One in each row.
        count: How many to give, fewer than there are vectors.
        of: The rows whose neighbours are asked for; all, without.

    Raises:
        ValueError: If there are not so many others.

    Examples:
        >>> neighbours(np.array([[0.0], [1.0], [3.0]]), count=1).tolist()
        [[1], [0], [1]]
    """
    count = whole("count", count)
    if not 1 <= count < len(vectors):
        raise ValueError(f"count must be from 1 to {len(vectors) - 1}, got {count}")
    x = torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32))
    squares = x.square().sum(1)
    found = []
    for rows in (
        torch.arange(len(x)).split(1000) if of is None else torch.from_numpy(of).split(1000)
    ):
        distance = squares - 2 * x[rows] @ x.T  # but for what is the same in a row
        distance[torch.arange(len(rows)), rows] = torch.inf
        found.append(distance.topk(count, largest=False).indices)
    return torch.cat(found).numpy()


def principal_components(vectors: Vectors) -> tuple[Places, float]:
    r"""The plane on which the vectors are spread most, and the share of their variance on it.

    With the mean taken away, the two first eigenvectors $u_1, u_2$ of $X^\top X$ span the plane:

    $$y_i = (u_1 \cdot x_i,\; u_2 \cdot x_i), \qquad
      \text{share} = \frac{\lambda_1 + \lambda_2}{\sum_k \lambda_k}$$

    Args:
        vectors: At least two, of at least two numbers.

    Examples:
        >>> corners = np.array([[2.0, 0, 0], [-2, 0, 0], [0, 1, 0], [0, -1, 0]])
        >>> places, share = principal_components(corners)
        >>> places.round(3).tolist(), share
        ([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]], 1.0)

    Source:
        [Pearson 1901][pearson1901lines].
    """
    centred = vectors - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    plane = axes[:, :-3:-1]
    plane = plane * np.sign(plane[np.abs(plane).argmax(axis=0), [0, 1]])  # the sign is free
    return centred @ plane, float(values[-2:].sum() / values.sum())


def contrastive_map(
    near: Int[np.ndarray, "words n"],
    first: Places,
    *,
    steps: int = 600,
    batch: int = 8192,
    negatives: int = 8,
    rate: float | int = 1.0,
    seed: int = 0,
) -> Places:
    r"""Places on a plane such that neighbours are told from other words by their distance.

    The contrastive loss of a neighbour $j$ of $i$ against $m$ words $k$ drawn by lot, with a
    similarity that falls slowly, so that far words need not be far apart exactly:

    $$L = -\ln \frac{q_{ij}}{q_{ij} + \sum_{k} q_{ik}}, \qquad
      q_{ij} = \frac{1}{1 + \lVert y_i - y_j \rVert^2}$$

    Args:
        near: The neighbours of each word among the vectors, as `neighbours` gives them.
        first: Where the words are at first; brought to spread 1.
        steps: Of gradient descent, with a rate that falls to zero.
        batch: Pairs of neighbours in each.
        negatives: Words by lot for each pair, $m$.
        rate: Of the first step.
        seed: Of all that is drawn.

    Source:
        [Damrich et al. 2023][damrich2023from], where this is InfoNC-t-SNE, of a family with t-SNE
        and UMAP.
    """
    dice = torch.Generator().manual_seed(seed)
    edges = torch.from_numpy(near)
    y = torch.tensor(first / first.std(), dtype=torch.float32)
    for step in range(steps):
        i = torch.randint(len(y), (batch,), generator=dice)
        j = edges[i, torch.randint(edges.shape[1], (batch,), generator=dice)]
        k = torch.randint(len(y), (batch, negatives), generator=dice)
        y = y - rate * (1 - step / steps) * contrastive_gradient(y, i, j, k)
    return y.numpy().astype(np.float64)


def contrastive_gradient(
    y: Float[Tensor, "words 2"],
    i: Int[Tensor, " batch"],
    j: Int[Tensor, " batch"],
    k: Int[Tensor, "batch negatives"],
) -> Float[Tensor, "words 2"]:
    r"""The gradient of the summed loss of `contrastive_map` at the places, by hand.

    With the shares $p = q / (q_{ij} + \sum_k q_{ik})$ that a softmax of $\ln q$ has,
    $\partial L / \partial \ln q_{ij} = p_{ij} - 1$ and $\partial L / \partial \ln q_{ik} = p_{ik}$,
    and $\partial \ln q / \partial y_i = -2 q\,(y_i - y_j)$.

    Args:
        y: The places.
        i: The first word of each pair.
        j: Its neighbour.
        k: The words by lot.
    """
    others = torch.cat((j[:, None], k), dim=1)
    away = y[i][:, None] - y[others]
    q = 1 / (1 + away.square().sum(-1))
    slope = q / q.sum(1, keepdim=True)
    slope[:, 0] -= 1
    pull = -2 * (slope * q)[..., None] * away
    gradient = torch.zeros_like(y)
    gradient.index_add_(0, i, pull.sum(1))
    gradient.index_add_(0, others.reshape(-1), -pull.reshape(-1, 2))
    return gradient


def kept_neighbours(
    vectors: Float[np.ndarray, "words d"],
    places: Float[np.ndarray, "words k"],
    count: int = 10,
    of: Int[np.ndarray, " rows"] | None = None,
) -> float:
    """The share of words' nearest neighbours among the vectors that are so on the map as well.

    Args:
        vectors: A row for each word.
        places: On the map, or wherever else, a row for each.
        count: How many neighbours of a word.
        of: The rows of the words that are asked; all, without.

    Raises:
        ValueError: If there are not as many places as vectors, or not so many neighbours.

    Examples:
        >>> line = np.array([[0.0, 0], [1, 0], [3, 0]])
        >>> kept_neighbours(line, line[[2, 0, 1]], count=1)
        0.3333

    Source:
        The k-nearest-neighbour recall of [Damrich et al. 2023][damrich2023from].
    """
    if len(vectors) != len(places):
        raise ValueError(f"{len(vectors)} vectors have {len(places)} places: they must be as many")
    before, after = neighbours(vectors, count, of), neighbours(places, count, of)
    kept = (before[:, :, None] == after[:, None, :]).any(axis=2)
    return round(float(kept.mean()), 4)


def rounded(
    vectors: Float[np.ndarray, "words d_model"],
) -> tuple[Int8[np.ndarray, "words d_model"], float]:
    r"""Vectors of length 1 in eight bits: whole numbers, and how much a step of them is.

    $$n_i = \mathrm{round}\!\left(\frac{x_i}{\lVert x_i \rVert\, s}\right), \qquad
      s = \frac{\max |x_{ik}| / \lVert x_i \rVert}{127}$$

    Args:
        vectors: None of them zero.

    Examples:
        >>> numbers, step = rounded(np.array([[3.0, 4.0], [0.0, 2.0]]))
        >>> numbers.tolist(), round(step, 6)
        ([[76, 102], [0, 127]], 0.007874)
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    step = float(np.abs(unit).max()) / LEVELS
    return (unit / step).round().astype(np.int8), step


def packed(
    words: list[str],
    places: Float[np.ndarray, "words 2"],
    vectors: Int8[np.ndarray, "words d_model"],
) -> bytes:
    """The file that the page loads: a length in four bytes, a head in JSON, places, vectors.

    Args:
        words: In the order of the rows.
        places: On the map; rounded to a 65,536th of its width.
        vectors: As `rounded` makes them; a step less or more is the same to a cosine.
    """
    low = places.min(axis=0)
    scale = (places - low).max() / 65535
    head = json.dumps({"words": words, "dims": vectors.shape[1]}, ensure_ascii=False).encode()
    head += b" " * (-len(head) % 4)
    at = ((places - low) / scale).round().astype("<u2")
    file: bytes = len(head).to_bytes(4, "little") + head + at.tobytes() + vectors.tobytes()
    return file
