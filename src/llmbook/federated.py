r"""Learning where the data is: averages of models, what gradients give away, sums in masks."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import combinations
from operator import mul
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from llmbook.sizes import positive, whole

Real = float | int
Array = NDArray[Any]
Residues = Int[np.ndarray, " size"]
Share = tuple[int, int]

# --- federated averaging ---------------------------------------------------------------------


def average(weights: Sequence[Sequence[ArrayLike]], counts: Sequence[Real]) -> list[Array]:
    r"""Average the weights of clients, each by how many examples it has.

    $$w = \sum_k \frac{n_k}{\sum_j n_j} w_k$$

    Args:
        weights: For each client its list of arrays, in the same order and of the same shapes.
        counts: $n_k$, not negative, for each client. One that has 0 does not count, whatever its
            weights are.

    Returns:
        The averages, summed in float64 and given in the arrays' own type; whole numbers become
            float64.

    Raises:
        ValueError: If there are no clients, not as many counts, a count is negative or not finite,
            all are 0, clients have different numbers of arrays, or an array another shape or no
            numbers.

    Examples:
        >>> average([[np.array([1.0, 2.0])], [np.array([4.0, 8.0])]], counts=[2, 1])
        [array([2., 4.])]

    Source:
        [McMahan et al. 2017][mcmahan2017communication], algorithm 1.
    """
    clients = [[np.asarray(array) for array in arrays] for arrays in weights]
    if not clients:
        raise ValueError("weights must hold at least one client's arrays, got none")
    if len(counts) != len(clients):
        raise ValueError(
            f"counts must be as many as clients, got {len(counts)} for {len(clients)} clients"
        )
    sizes = [float(count) for count in counts]
    if not all(0 <= size < math.inf for size in sizes) or sum(sizes) == 0:
        raise ValueError(
            "counts must be finite, not negative, and not all of them 0, "
            f"got {[float(c) for c in counts]}"
        )
    for k, arrays in enumerate(clients):
        if len(arrays) != len(clients[0]):
            raise ValueError(
                f"weights[{k}] must have as many arrays as weights[0], {len(clients[0])}, "
                f"got {len(arrays)}"
            )
        for i, (array, first) in enumerate(zip(arrays, clients[0], strict=True)):
            if array.shape != first.shape:
                raise ValueError(
                    f"weights[{k}][{i}] must have the shape {first.shape} of weights[0][{i}], "
                    f"got {array.shape}"
                )
            if array.dtype.kind not in "fiu":
                raise ValueError(f"weights[{k}][{i}] must hold numbers, got dtype {array.dtype}")
    total = sum(sizes)
    found = []
    for arrays in zip(*clients, strict=True):
        kind = np.result_type(*arrays)
        parts = [
            array.astype(np.float64) * (size / total)
            for array, size in zip(arrays, sizes, strict=True)
            if size
        ]
        mean = np.asarray(sum(parts[1:], parts[0]))
        found.append(mean.astype(kind if kind.kind == "f" else np.float64))
    return found


def train_locally(
    model: nn.Module,
    data: tuple[Tensor, Tensor],
    *,
    epochs: int,
    batch: int,
    lr: Real,
    generator: torch.Generator,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> None:
    """What a client does in a round: plain gradient descent on its own data, in place.

    Args:
        model: As the server has sent it.
        data: Inputs and targets.
        epochs: How often all of the data is read.
        batch: Rows in a step.
        lr: Learning rate.
        generator: Shuffles.
        loss: Of outputs and targets, the mean over rows.

    Raises:
        ValueError: If a number is not positive, or the client has no data.
    """
    positive(epochs=epochs, batch=batch, rows=len(data[0]))
    trained = [p for p in model.parameters() if p.requires_grad]
    for _ in range(epochs):
        for rows in torch.randperm(len(data[0]), generator=generator).split(batch):
            gradients = torch.autograd.grad(loss(model(data[0][rows]), data[1][rows]), trained)
            with torch.no_grad():
                for p, gradient in zip(trained, gradients, strict=True):
                    p.sub_(lr * gradient)


def federate(
    model: nn.Module,
    clients: Sequence[tuple[Tensor, Tensor]],
    *,
    rounds: int,
    epochs: int,
    batch: int,
    lr: Real,
    generator: torch.Generator,
) -> Iterator[nn.Module]:
    """Federated averaging: in each round every client trains what the server has, and it averages.

    Args:
        model: Where to begin; changed in place.
        clients: The data of each, which nobody else reads.
        rounds: How many.
        epochs: Of each client, in a round.
        batch: Rows in a client's step.
        lr: Learning rate of the clients.
        generator: Shuffles.

    Yields:
        The server's model after each round.

    Raises:
        ValueError: If a number is not positive, there are no clients, or one has no data.

    Source:
        [McMahan et al. 2017][mcmahan2017communication], algorithm 1, with all clients in each
        round.
    """
    positive(rounds=rounds, clients=len(clients))
    parameters = list(model.parameters())
    for _ in range(rounds):
        sent = [p.detach().clone() for p in parameters]
        answers = []
        for data in clients:
            train_locally(model, data, epochs=epochs, batch=batch, lr=lr, generator=generator)
            answers.append([p.detach().numpy().copy() for p in parameters])
            with torch.no_grad():
                for p, value in zip(parameters, sent, strict=True):
                    p.copy_(value)
        new = average(answers, [len(data[0]) for data in clients])
        with torch.no_grad():
            for p, array in zip(parameters, new, strict=True):
                p.copy_(torch.from_numpy(array))
        yield model


# --- what a gradient gives away --------------------------------------------------------------


def invert_dense(
    weight_gradient: Float[Tensor, "out inputs"], bias_gradient: Float[Tensor, " out"]
) -> Float[Tensor, " inputs"]:
    r"""The input of a dense layer, from the gradients of its weight and bias, by one division.

    $$\frac{\partial L}{\partial W_k} = \delta_k\, x, \quad \frac{\partial L}{\partial b_k}
      = \delta_k \quad\Rightarrow\quad
      x = \frac{\partial L}{\partial W_k} \Big/ \frac{\partial L}{\partial b_k}$$

    For one example it is exact, whatever comes after the layer. For several it is their mean,
    weighted by their $\delta_k$, which may be negative.

    Args:
        weight_gradient: Of $W$.
        bias_gradient: Of $b$; the row with the largest is taken.

    Raises:
        ValueError: If there are not as many rows as biases, or all gradients are 0: then the
            example has moved nothing.

    Examples:
        >>> x, delta = torch.tensor([3.0, 1.0, 4.0]), torch.tensor([0.0, 2.0])
        >>> invert_dense(torch.outer(delta, x), delta)
        tensor([3., 1., 4.])

    Source:
        [Geiping et al. 2020][geiping2020inverting], proposition 3.1.
    """
    if len(weight_gradient) != len(bias_gradient):
        raise ValueError(
            "weight_gradient must have a row for each bias, "
            f"got {len(weight_gradient)} rows and {len(bias_gradient)} biases"
        )
    row = int(bias_gradient.abs().argmax())
    if bias_gradient[row] == 0:
        raise ValueError("bias_gradient must have an entry that is not 0, got zeros alone")
    return weight_gradient[row] / bias_gradient[row]


def tokens_in(embedding_gradient: Float[Tensor, "vocab d_model"]) -> Int[Tensor, " tokens"]:
    """The tokens that were read, from the gradient of an embedding: rows that are not 0.

    Of which tokens there are, not of how many and in what order. An embedding that is the output
    layer too (tied) has a gradient in every row, and this gives the whole vocabulary.

    Args:
        embedding_gradient: With a row for each token.

    Examples:
        >>> tokens_in(torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, -2.0]]))
        tensor([1, 2])
    """
    return (embedding_gradient != 0).any(1).nonzero()[:, 0]


def invert_by_search(
    model: nn.Module,
    gradients: Sequence[Tensor],
    guess: Float[Tensor, "batch *shape"],
    targets: Tensor,
    *,
    steps: int = 60,
    within: tuple[Real, Real] | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Float[Tensor, "batch *shape"]:
    r"""Search for inputs whose gradient is the one that was seen.

    $$\min_{x'} \sum_\theta \lVert \nabla_\theta L(x') - g_\theta \rVert^2$$

    by L-BFGS, which needs second derivatives of the model: of ReLU these are 0 almost everywhere.

    Args:
        model: Whose weights the gradients belong to.
        gradients: $g$, of each parameter.
        guess: Where the search begins.
        targets: Labels, which the last layer's bias often gives away, or are guessed.
        steps: Of L-BFGS, of up to 20 evaluations each.
        within: Lowest and highest value of an input, if they are known, as of pixels. Then
            $x' = a + (b - a)\,\sigma(u)$ and the search is for $u$.
        loss: Of outputs and targets, the mean over rows.

    Returns:
        The inputs with the smallest distance that was found.

    Raises:
        ValueError: If there are not as many gradients as parameters, or `guess` is not between the
            two values of `within`.

    Source:
        [Zhu et al. 2019][zhu2019deep], algorithm 1.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if len(gradients) != len(parameters):
        raise ValueError(
            f"gradients must be as many as parameters, {len(parameters)}, got {len(gradients)}"
        )
    low, high = within if within is not None else (0.0, 1.0)
    if within is not None and not ((guess > low) & (guess < high)).all():
        raise ValueError(f"guess must be between {low} and {high}, got other values")
    free = guess if within is None else ((guess - low) / (high - low)).logit()
    free = free.detach().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [free], tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
    )
    best, least = guess.detach().clone(), math.inf

    def distance() -> Tensor:
        nonlocal best, least
        found = free if within is None else low + (high - low) * free.sigmoid()
        ours = torch.autograd.grad(loss(model(found), targets), parameters, create_graph=True)
        between = sum((a - b).square().sum() for a, b in zip(ours, gradients, strict=True))
        total: Tensor = torch.as_tensor(between)
        if total.item() < least:
            best, least = found.detach().clone(), total.item()
        (free.grad,) = torch.autograd.grad(total, [free])
        return total

    for _ in range(steps):
        optimizer.step(distance)
        if not free.isfinite().all():
            break
    return best


# --- a sum of which nobody sees the parts ----------------------------------------------------

PRIME = 2**61 - 1


def split_secret(secret: int, shares: int, threshold: int, rng: np.random.Generator) -> list[Share]:
    r"""Shamir's sharing: any `threshold` shares give the secret, and fewer say nothing about it.

    The secret is $f(0)$ of a random polynomial of degree `threshold` - 1 over the integers modulo
    a prime, and a share is a point of it.

    Args:
        secret: From 0 to $2^{61} - 2$.
        shares: How many.
        threshold: How many suffice.
        rng: Draws the polynomial.

    Raises:
        ValueError: If the secret does not fit, or not 1 <= threshold <= shares.

    Examples:
        >>> points = split_secret(42, shares=5, threshold=3, rng=np.random.default_rng(0))
        >>> join_shares(points[1:4])
        42

    Source:
        [Shamir 1979][shamir1979share].
    """
    if not 0 <= whole("secret", secret) < PRIME or not 1 <= threshold <= shares:
        raise ValueError(
            f"secret must be from 0 to {PRIME - 1} and threshold from 1 to shares, "
            f"got {secret}, {threshold} and {shares}"
        )
    factors = [secret, *(int(rng.integers(PRIME)) for _ in range(threshold - 1))]
    return [
        (x, reduce(lambda value, factor: (value * x + factor) % PRIME, reversed(factors), 0))
        for x in range(1, shares + 1)
    ]


def join_shares(shares: Sequence[Share]) -> int:
    """The secret from at least as many shares as it needs; from fewer, an unrelated number.

    Raises:
        ValueError: If there are no shares, or one comes twice.
    """
    places = [x for x, _ in shares]
    if not places or len(set(places)) < len(places):
        raise ValueError(f"shares must be of different clients, got those of {places}")
    secret = 0
    for x, y in shares:
        others = [other for other in places if other != x]
        above = reduce(mul, (-other for other in others), 1)
        below = reduce(mul, (x - other for other in others), 1)
        secret += y * above * pow(below, -1, PRIME)
    return secret % PRIME


class SecureSum:
    r"""A sum of clients' vectors, of which the server sees nothing but the sum.

    Client $u$ sends, modulo $R$,

    $$y_u = x_u + p(b_u) + \sum_{v > u} p(s_{uv}) - \sum_{v < u} p(s_{uv})$$

    where $p$ stretches a seed to a vector of random residues, $s_{uv}$ is a seed that the two have
    agreed on, and $b_u$ the client's own. In a sum the seeds of pairs cancel. All seeds are shared
    among the clients: of who has sent, the own seed is put together again, of who has dropped out
    the seeds of its pairs, and of nobody both, or its vector would be seen.

    This is the arithmetic of the protocol in one process. There are no keys, no signatures and no
    messages, and the random numbers are NumPy's, which do for arithmetic and not for secrets.

    Args:
        clients: How many, at least 3: of a sum of two, each knows the other's part.
        threshold: So many must send, or nothing is put together; more than half, so that two
            halves cannot be asked for different seeds.
        seed: Where all seeds come from.
        modulus: $R$, at most $2^{62}$.

    Raises:
        ValueError: If there are fewer than 3 clients, or a number is out of its range.

    Examples:
        >>> secure = SecureSum(clients=3, threshold=2, seed=0, modulus=1000)
        >>> sent = {u: secure.masked(u, np.array([10 * u, 1])) for u in (0, 2)}  # 1 drops out
        >>> secure.total(sent)
        array([20,  2])

    Source:
        [Bonawitz et al. 2017][bonawitz2017practical], section 4 and figure 4.
    """

    def __init__(self, clients: int, threshold: int, seed: int, modulus: int = 2**32) -> None:
        self.clients, self.threshold = whole("clients", clients), whole("threshold", threshold)
        self.modulus = whole("modulus", modulus)
        if self.clients < 3:
            raise ValueError(f"clients must be at least 3, got {clients}")
        if not self.clients < 2 * self.threshold <= 2 * self.clients:
            raise ValueError(
                f"threshold must be more than half of {clients} clients and no more than all, "
                f"got {threshold}"
            )
        if not 2 <= self.modulus <= 2**62:
            raise ValueError(f"modulus must be from 2 to 2**62, got {modulus}")
        rng = np.random.default_rng(seed)
        self._seeds = {
            pair: int(rng.integers(PRIME))
            for pair in [*((u, u) for u in range(clients)), *combinations(range(clients), 2)]
        }
        self._shares = {
            pair: split_secret(secret, clients, threshold, rng)
            for pair, secret in self._seeds.items()
        }

    def masked(self, client: int, vector: Residues) -> Residues:
        """What a client sends: its vector in masks.

        Args:
            client: From 0.
            vector: Whole numbers, which are taken modulo $R$.

        Raises:
            ValueError: If there is no such client, or the vector holds no whole numbers.
        """
        if not 0 <= whole("client", client) < self.clients:
            raise ValueError(f"client must be from 0 to {self.clients - 1}, got {client}")
        if np.asarray(vector).dtype.kind not in "iu":
            raise ValueError(
                f"vector must hold whole numbers, got dtype {np.asarray(vector).dtype}"
            )
        sent = np.asarray(vector).astype(np.int64) % self.modulus
        for pair, seed in self._seeds.items():
            if client in pair:
                sent = (
                    sent + self._sign(client, pair) * self._stretch(seed, len(sent))
                ) % self.modulus
        return sent

    def total(self, sent: Mapping[int, Residues]) -> Residues:
        """The sum of the vectors of those who have sent, modulo $R$.

        Args:
            sent: By client what it has sent; those who are missing have dropped out.

        Raises:
            ValueError: If fewer than the threshold have sent, or one who does not exist.
        """
        if not set(sent) <= set(range(self.clients)):
            raise ValueError(f"sent must be of clients below {self.clients}, got {sorted(sent)}")
        if len(sent) < self.threshold:
            raise ValueError(
                f"sent must be of at least {self.threshold} clients, got {len(sent)}: "
                "the masks cannot be taken off"
            )
        found = np.asarray(0)
        for vector in sent.values():
            found = (found + vector) % self.modulus
        alive = sorted(sent)
        for pair, shares in self._shares.items():
            here = [client for client in set(pair) if client in sent]
            if len(here) == 1:  # an own seed, or that of a pair of which one has dropped out
                seed = join_shares([shares[u] for u in alive[: self.threshold]])
                mask = self._sign(here[0], pair) * self._stretch(seed, found.size)
                found = (found - mask) % self.modulus
        return found

    def _sign(self, client: int, pair: tuple[int, int]) -> int:
        return 1 if client == pair[0] else -1

    def _stretch(self, seed: int, size: int) -> Residues:
        return np.random.default_rng(seed).integers(self.modulus, size=size)


def to_residues(
    values: Float[np.ndarray, " size"], modulus: int, *, scale: Real, clients: int
) -> Residues:
    r"""Numbers as residues: rounded to multiples of 1 / `scale`, negative ones from above.

    Args:
        values: Of one client.
        modulus: $R$.
        scale: Steps to a unit.
        clients: How many will be added; their sum must not pass $R / 2$.

    Raises:
        ValueError: If a number is not finite, or so large that the sum may come out another.

    Examples:
        >>> residues = to_residues(np.array([1.5, -0.25]), 1000, scale=100, clients=3)
        >>> residues, from_residues(residues, 1000, scale=100)
        (array([150, 975]), array([ 1.5 , -0.25]))
    """
    steps = np.rint(np.asarray(values, np.float64) * scale)
    if not np.isfinite(steps).all() or (np.abs(steps) * clients >= modulus / 2).any():
        raise ValueError(
            f"values must be finite and below {modulus / 2 / clients / scale:g} in size, "
            f"got {values}"
        )
    return steps.astype(np.int64) % modulus


def from_residues(residues: Residues, modulus: int, *, scale: Real) -> Float[np.ndarray, " size"]:
    """Residues as numbers again: the upper half is negative.

    Args:
        residues: From 0 to `modulus` - 1.
        modulus: $R$.
        scale: As in `to_residues`.
    """
    return np.where(residues >= modulus / 2, residues - modulus, residues) / scale
