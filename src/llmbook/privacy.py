r"""Differential privacy: training that bounds what any one record can change, and what it costs.

A training is $(\varepsilon, \delta)$-differentially private if for any two data sets $D$ and $D'$
that differ in one record, and any set $S$ of results,

$$P[M(D) \in S] \le e^\varepsilon P[M(D') \in S] + \delta$$

Everywhere in this module the *unit* is a record, which is a row of the data; two data sets are
*adjacent* if one has a record that the other lacks; and in each step every record is read with the
same probability, independently of all others (Poisson sampling). What another unit or adjacency
needs is another number.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from llmbook.sizes import make_whole, number, whole
from llmbook.training import next_token_loss

Real = float | int
Gradients = dict[str, Tensor]
ORDERS = (*(1 + tenth / 10 for tenth in range(1, 100)), *range(11, 64), 128, 256, 512, 1024)
_AT_ONCE = 128  # records whose gradients are held in memory

# --- a step that is private ------------------------------------------------------------------


def per_sample_gradients(
    model: nn.Module,
    records: Tensor | tuple[Tensor, ...],
    loss: Callable[[nn.Module, Any], Tensor] = next_token_loss,
) -> Gradients:
    r"""The gradient of each record's own loss, as if the batch were that record alone.

    $$g_i = \nabla_\theta L(\theta, x_i)$$

    An ordinary backward pass only gives their mean. What looks at other rows of a batch, such as
    batch normalisation, has no such gradients.

    Args:
        model: In the mode in which it is; dropout draws anew for each record.
        records: The batch, one tensor or several with as many rows.
        loss: Takes the model and a batch of one row, and gives a number.

    Returns:
        For each parameter that is trained, by its name, a tensor with a row for each record in
            front of the parameter's own shape.

    Raises:
        ValueError: If there are no records, the tensors have not as many rows, or nothing is
            trained.

    Examples:
        >>> model = nn.Linear(2, 1, bias=False)
        >>> found = per_sample_gradients(model, torch.eye(2), lambda model, x: model(x).sum())
        >>> found["weight"].shape, found["weight"].squeeze(1).tolist()
        (torch.Size([2, 1, 2]), [[1.0, 0.0], [0.0, 1.0]])

    Source:
        [Abadi et al. 2016][abadi2016deep], algorithm 1, "compute gradient".
    """
    tensors = (records,) if isinstance(records, Tensor) else tuple(records)
    rows = [len(tensor) for tensor in tensors]
    if not rows or min(rows) == 0 or len(set(rows)) > 1:
        raise ValueError(f"records must have rows, and all tensors as many, got {rows}")
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise ValueError("model must have weights that are trained, got none")

    def loss_of_one(weights: Gradients, *row: Tensor) -> Tensor:
        one = tuple(part.unsqueeze(0) for part in row)
        return loss(_WithWeights(model, weights), one[0] if isinstance(records, Tensor) else one)

    of_each = torch.func.vmap(
        torch.func.grad(loss_of_one), (None, *(0 for _ in tensors)), randomness="different"
    )
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernel has no batched backward pass
        found: Gradients = of_each(trained, *tensors)
    return found


class _WithWeights(nn.Module):
    """A model that computes with other weights than its own."""

    def __init__(self, model: nn.Module, weights: Gradients) -> None:
        super().__init__()
        self.model, self.weights = model, weights

    def forward(self, *args: Any, **options: Any) -> Any:
        return torch.func.functional_call(self.model, self.weights, args, options)


def gradient_norms(gradients: Gradients) -> Float[Tensor, " batch"]:
    """The length of each record's gradient, over all parameters together.

    Args:
        gradients: As `per_sample_gradients` gives them.
    """
    squares = [g.flatten(1).square().sum(1) for g in gradients.values()]
    return torch.stack(squares).sum(0).sqrt()


def clipped_sum(gradients: Gradients, clip: Real) -> Gradients:
    r"""Shorten each record's gradient to at most a length, and add them up.

    $$\sum_i g_i \min\Bigl(1, \frac{C}{\lVert g_i \rVert}\Bigr)$$

    One record more or less changes this sum by at most $C$ in length, whatever the record is. The
    price is a bias: the sum of shortened gradients points elsewhere than the sum.

    Args:
        gradients: As `per_sample_gradients` gives them.
        clip: $C$, the largest length over all parameters together.

    Raises:
        ValueError: If `clip` is not positive, or a gradient is not finite: no factor makes it so.

    Examples:
        >>> clipped_sum({"w": torch.tensor([[3.0, 4.0], [0.0, 0.5]])}, clip=1.0)["w"]
        tensor([0.6000, 1.3000])

    Source:
        [Abadi et al. 2016][abadi2016deep], algorithm 1, "clip gradient".
    """
    if not clip > 0:
        raise ValueError(f"clip must be positive, got {clip}")
    norms = gradient_norms(gradients)
    if not norms.isfinite().all():
        raise ValueError("gradients must be finite, got one that is not")
    factors = (clip / norms).clamp(max=1.0)  # clip / 0 is inf, and 1 in the end
    return {name: torch.tensordot(factors, g, 1) for name, g in gradients.items()}


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """The numbers of a private training that its guarantee depends on.

    Attributes:
        sampling_rate: Probability with which a record is read in a step.
        noise_multiplier: Standard deviation of the noise on each number of the summed gradient, in
            units of `clip`.
        steps: How many.
        clip: Longest gradient of a record. The guarantee does not depend on it, as the noise grows
            with it.

    Raises:
        TypeError: If what should be a number is none.
        ValueError: If a number is out of its range.
    """

    sampling_rate: Real
    noise_multiplier: Real
    steps: int
    clip: Real = 1.0

    def __post_init__(self) -> None:
        make_whole(self)
        _check(self.sampling_rate, self.noise_multiplier, self.steps)
        if not 0 < number("clip", self.clip) < math.inf:
            raise ValueError(f"clip must be positive and finite, got {self.clip}")

    def epsilon(self, delta: Real = 1e-5) -> float:
        r"""$\varepsilon$ for one record more or less, with Poisson sampling."""
        return epsilon(self.sampling_rate, self.noise_multiplier, self.steps, delta)


def train_privately(
    model: nn.Module,
    records: Tensor | tuple[Tensor, ...],
    optimizer: torch.optim.Optimizer,
    guarantee: Guarantee,
    *,
    generator: torch.Generator,
    loss: Callable[[nn.Module, Any], Tensor] = next_token_loss,
    on_step: Callable[[int], object] | None = None,
) -> None:
    r"""Train with DP-SGD: sample, clip each record's gradient, add them up, add noise, step.

    $$\tilde g = \frac{1}{qN} \Bigl( \sum_{i \in B} g_i \min\bigl(1, \tfrac{C}{\lVert g_i \rVert}
      \bigr) + \mathcal N(0, z^2 C^2 I) \Bigr), \qquad
      P[i \in B] = q \text{ for each } i \text{ independently}$$

    The divisor is the expected size of a batch: its true size is private too. A batch may be empty;
    then the step is noise alone. What the optimizer makes of $\tilde g$ costs no more privacy.

    The noise comes from PyTorch's generator, which is good for an experiment and can be repeated.
    Who has a secret to protect needs one that cannot, and floating point of its own
    [Mironov 2012][mironov2012significance].

    Args:
        model: What is trained, in place; afterwards it is in the mode in which it came.
        records: All data; a row is a record.
        optimizer: Over the model's parameters. `torch.optim.SGD` gives the algorithm as published.
        guarantee: Rate, noise, steps and clip.
        generator: Chooses the records and draws the noise.
        loss: Takes the model and a batch of one record, and gives a number.
        on_step: Called after each step with its number, from 1.

    Raises:
        ValueError: If there are no records or their tensors have not as many rows.

    Source:
        [Abadi et al. 2016][abadi2016deep], algorithm 1.
    """
    tensors = (records,) if isinstance(records, Tensor) else tuple(records)
    rows = [len(tensor) for tensor in tensors]
    if not rows or min(rows) == 0 or len(set(rows)) > 1:
        raise ValueError(f"records must have rows, and all tensors as many, got {rows}")
    q, sigma = guarantee.sampling_rate, guarantee.noise_multiplier * guarantee.clip
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    mode = model.training
    model.train()
    for step in range(guarantee.steps):
        chosen = (torch.rand(rows[0], generator=generator, dtype=torch.float64) < q).nonzero()[:, 0]
        total = {name: torch.zeros_like(p) for name, p in trained.items()}
        for part in chosen.split(_AT_ONCE) if len(chosen) else ():
            batch = tuple(tensor[part] for tensor in tensors)
            found = per_sample_gradients(
                model, batch[0] if isinstance(records, Tensor) else batch, loss
            )
            for name, gradient in clipped_sum(found, guarantee.clip).items():
                total[name] += gradient
        for name, p in trained.items():
            noise = torch.randn(p.shape, generator=generator, dtype=p.dtype)
            p.grad = (total[name] + sigma * noise) / (q * rows[0] or 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if on_step is not None:
            on_step(step + 1)
    model.train(mode)


# --- what is guaranteed ----------------------------------------------------------------------


def rdp(
    sampling_rate: Real,
    noise_multiplier: Real,
    steps: int,
    orders: Sequence[Real] = ORDERS,
) -> Float[np.ndarray, " orders"]:
    r"""Rényi differential privacy of noisy sums over sampled records, at each of some orders.

    Of one step, with sampling rate $q$ and noise $z$, in units of the clip,

    $$\rho(\alpha) = \frac{1}{\alpha - 1} \log A_\alpha, \qquad
      A_\alpha = \mathbb{E}_{x \sim \mathcal N(0, z^2)}
      \Bigl(1 - q + q\, e^{(2x - 1) / 2 z^2}\Bigr)^\alpha$$

    and steps add up. For a whole $\alpha$ the expectation is the sum
    $\sum_k \binom{\alpha}{k} (1-q)^{\alpha-k} q^k e^{(k^2-k)/2z^2}$; for others it is integrated by
    the trapezoidal rule, which has no remainder to speak of for such a smooth function. Records are
    adjacent by adding or removing one.

    Args:
        sampling_rate: $q$, from 0 to 1.
        noise_multiplier: $z$; 0 is no noise, and no privacy.
        steps: How many.
        orders: $\alpha > 1$.

    Returns:
        $\rho(\alpha)$ in nats for each order.

    Raises:
        TypeError: If `steps` is no whole number.
        ValueError: If a number is out of its range.

    Examples:
        Without sampling it is $\alpha / 2z^2$:

        >>> rdp(1, 2.0, 1, orders=[2, 8])
        array([0.25, 1.  ])

    Source:
        [Mironov et al. 2019][mironov2019renyi], section 3.
    """
    steps = _check(sampling_rate, noise_multiplier, steps)
    if not all(1 < order < math.inf for order in orders):
        raise ValueError(f"orders must be above 1 and finite, got {list(orders)}")
    q, z, alphas = float(sampling_rate), float(noise_multiplier), np.array(orders, np.float64)
    if steps == 0 or q == 0:
        return np.zeros(len(alphas))
    if z == 0:
        return np.full(len(alphas), np.inf)
    if q == 1 or z == math.inf:
        return steps * alphas / (2 * z * z)
    logs = np.array([_log_moment(q, z, float(alpha)) for alpha in alphas])
    found: Float[np.ndarray, " orders"] = steps * np.maximum(logs, 0.0) / (alphas - 1)
    return found


def _log_moment(q: float, z: float, alpha: float) -> float:
    """The logarithm of the expectation, for one order."""
    if alpha.is_integer():
        n = int(alpha)
        k = np.arange(n + 1)
        factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, n + 1)))))
        binomials = factorials[n] - factorials - factorials[::-1]
        terms = binomials + k * math.log(q) + (n - k) * math.log1p(-q) + (k * k - k) / (2 * z * z)
        return float(np.logaddexp.reduce(terms))
    spacing = 1 / 32  # in standard deviations
    x = z * np.arange(-14, alpha / z + 14, spacing)
    ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2 * x - 1) / (2 * z * z))
    density = -((x / z) ** 2) / 2 - math.log(2 * math.pi) / 2 + math.log(spacing)
    return float(np.logaddexp.reduce(density + alpha * ratio))


def epsilon(
    sampling_rate: Real,
    noise_multiplier: Real,
    steps: int,
    delta: Real = 1e-5,
    orders: Sequence[Real] = ORDERS,
) -> float:
    r"""What a private training guarantees: the least $\varepsilon$ that this accountant can show.

    $$\varepsilon = \min_\alpha \; \rho(\alpha) + \log\frac{\alpha - 1}{\alpha}
      - \frac{\log \delta + \log \alpha}{\alpha - 1}$$

    and 0 where $\delta^2 \ge 1 - e^{-\rho(\alpha)}$. It is an upper bound: other accountants,
    which follow the whole distribution of the loss of privacy, show a smaller one for the same
    training. The unit is a record, adjacency is by adding or removing one, and sampling is Poisson.

    Args:
        sampling_rate: Probability with which a record is read in a step, from 0 to 1. It has to be
            that of the training: batches of a fixed size have another guarantee.
        noise_multiplier: Standard deviation of the noise, in units of the clip.
        steps: How many.
        delta: $\delta$, above 0 and below 1; well below 1 / (number of records), or publishing
            a few records as they are would pass.
        orders: $\alpha > 1$ among which the best is taken.

    Returns:
        $\varepsilon$; 0 if nothing is read, infinite without noise.

    Raises:
        TypeError: If `steps` is no whole number.
        ValueError: If a number is out of its range, or there are no orders.

    Examples:
        >>> round(epsilon(0.01, 1.1, 10_000), 2)
        5.63
        >>> epsilon(0.01, 1.1, 0), epsilon(0.0, 1.1, 100), epsilon(0.01, 0.0, 1)
        (0.0, 0.0, inf)

    Source:
        [Canonne et al. 2020][canonne2020discrete], proposition 12; its use for DP-SGD:
        [Abadi et al. 2016][abadi2016deep].
    """
    if not 0 < number("delta", delta) < 1:
        raise ValueError(f"delta must be above 0 and below 1, got {delta}")
    if len(orders) == 0:
        raise ValueError("orders must hold at least one order above 1, got none")
    rho, alphas = rdp(sampling_rate, noise_multiplier, steps, orders), np.array(orders, np.float64)
    log_delta = math.log(float(delta))
    bounds = rho + np.log1p(-1 / alphas) - (log_delta + np.log(alphas)) / (alphas - 1)
    bounds[2 * log_delta >= np.log(np.maximum(-np.expm1(-rho), np.finfo(float).tiny))] = 0.0
    return max(0.0, float(bounds.min()))


def noise_for(epsilon_at_most: Real, sampling_rate: Real, steps: int, delta: Real = 1e-5) -> float:
    r"""The least noise, to three digits behind the point, with which a training stays below.

    Args:
        epsilon_at_most: The $\varepsilon$ that must not be exceeded.
        sampling_rate: As in `epsilon`.
        steps: As in `epsilon`.
        delta: As in `epsilon`.

    Returns:
        A noise multiplier.

    Raises:
        ValueError: If `epsilon_at_most` is not positive, or no noise up to 1,000 is enough.

    Examples:
        >>> noise = noise_for(8, 0.05, 150)
        >>> epsilon(0.05, noise, 150) <= 8 < epsilon(0.05, noise - 0.001, 150)
        True
    """
    if not epsilon_at_most > 0:
        raise ValueError(f"epsilon_at_most must be positive, got {epsilon_at_most}")
    low, high = 0, 1_000_000  # thousandths
    if epsilon(sampling_rate, high / 1000, steps, delta) > epsilon_at_most:
        raise ValueError(
            f"epsilon_at_most must be in reach of a noise of 1,000, got {epsilon_at_most}"
        )
    while high - low > 1:
        middle = (low + high) // 2
        enough = epsilon(sampling_rate, middle / 1000, steps, delta) <= epsilon_at_most
        low, high = (low, middle) if enough else (middle, high)
    return high / 1000


def group_privacy(epsilon: Real, delta: Real, records: int) -> tuple[float, float]:
    r"""What a guarantee for one record says of several that belong together.

    $$(\varepsilon, \delta) \text{ for one} \;\Rightarrow\; \Bigl(k \varepsilon,\;
      \frac{e^{k\varepsilon} - 1}{e^\varepsilon - 1}\, \delta\Bigr) \text{ for } k$$

    Args:
        epsilon: For one record.
        delta: For one record.
        records: $k$: copies of a text, or all that one person has written.

    Returns:
        $\varepsilon$ and $\delta$ for the group. A $\delta$ of 1 says nothing at all.

    Raises:
        ValueError: If a number is out of its range.

    Examples:
        >>> group_privacy(0.5, 1e-5, 1)
        (0.5, 1e-05)
        >>> group_privacy(8.0, 1e-5, 4)
        (32.0, 1.0)

    Source:
        [Dwork et al. 2006][dwork2006calibrating]; with $\delta$:
        [Vadhan 2017][vadhan2017complexity], lemma 2.2.
    """
    count = whole("records", records)
    if count < 1 or not epsilon >= 0 or not 0 <= delta <= 1:
        raise ValueError(
            "epsilon must not be negative, delta from 0 to 1 and records at least 1, "
            f"got {epsilon}, {delta} and {records}"
        )
    if delta == 0 or epsilon == 0:
        return float(count * epsilon), min(1.0, float(count * delta))
    total, one = float(count * epsilon), float(epsilon)
    if count == 1:
        return total, float(delta)
    quotient = total - one + math.log(math.expm1(-total) / math.expm1(-one))
    return total, math.exp(min(0.0, math.log(delta) + quotient))


# --- whether the training keeps what was computed --------------------------------------------


def audit_p_value(
    right: int, guesses: int, canaries: int, epsilon: Real, delta: Real = 0.0
) -> float:
    r"""How likely so many right guesses are at most, if the training is private.

    Each of $m$ canaries was put into the data or left out by the throw of a coin. From the trained
    model somebody guesses of $r$ of them whether they were in, and is right $v$ times. If the
    training is $\varepsilon$-private, then the number of right guesses is at most as a binomial
    $W$ of $r$ trials with probability $e^\varepsilon / (1 + e^\varepsilon)$, and with $\delta$

    $$P[V \ge v] \le P[W \ge v] + 2 m \delta \max_{1 \le i \le v} \tfrac{1}{i}\,
      P[v - i \le W < v]$$

    Args:
        right: $v$.
        guesses: $r$, settled before the scores are seen.
        canaries: $m$.
        epsilon: The claim that is tested.
        delta: Its $\delta$.

    Raises:
        TypeError: If a count is no whole number.
        ValueError: If not 0 <= right <= guesses <= canaries, or a claim is out of its range.

    Examples:
        >>> round(audit_p_value(10, 10, 10, epsilon=0.0), 6)  # ten coins, all guessed
        0.000977

    Source:
        [Steinke et al. 2023][steinke2023privacy], theorem 5.2 and appendix D.
    """
    v, r, m = whole("right", right), whole("guesses", guesses), whole("canaries", canaries)
    if not 0 <= v <= r <= m:
        raise ValueError(f"need 0 <= right <= guesses <= canaries, got {v}, {r} and {m}")
    if not epsilon >= 0 or not 0 <= delta <= 1:
        raise ValueError(
            f"epsilon must not be negative and delta from 0 to 1, got {epsilon} and {delta}"
        )
    if v == 0 or epsilon == math.inf:
        return 1.0
    k = np.arange(r + 1)
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, r + 1)))))
    log_p, log_not_p = -math.log1p(math.exp(-epsilon)), -np.logaddexp(0.0, float(epsilon))
    logs = factorials[r] - factorials - factorials[::-1] + k * log_p + (r - k) * log_not_p
    chances = np.exp(logs)
    below = np.cumsum(chances[:v][::-1])  # P[v - i <= W < v] for i = 1, 2, ...
    worst = float((below / np.arange(1, v + 1)).max())
    return min(1.0, float(chances[v:].sum()) + 2 * m * float(delta) * worst)


def audit_epsilon(
    right: int, guesses: int, canaries: int, delta: Real = 0.0, confidence: Real = 0.95
) -> float:
    r"""A lower bound on $\varepsilon$ that right guesses about canaries prove.

    The largest claim that `audit_p_value` rejects. If it exceeds what an accountant has printed,
    the training does not do what was accounted. If it stays below, nothing is proved: a better
    guesser might have got further.

    Args:
        right: Right guesses.
        guesses: All guesses, their number settled before the scores are seen.
        canaries: Put in or left out by the throw of a coin each.
        delta: As in the claim.
        confidence: With which the bound holds.

    Returns:
        $\varepsilon$, 0 if nothing can be rejected.

    Raises:
        TypeError: If a count is no whole number.
        ValueError: If not 0 <= right <= guesses <= canaries, or a number is out of its range.

    Examples:
        >>> audit_epsilon(50, 100, 1000), round(audit_epsilon(100, 100, 1000), 2)
        (0.0, 3.49)

    Source:
        [Steinke et al. 2023][steinke2023privacy], appendix D.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, got {confidence}")
    low, high = 0.0, 50.0
    if audit_p_value(right, guesses, canaries, low, delta) > 1 - confidence:
        return 0.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        rejected = audit_p_value(right, guesses, canaries, middle, delta) <= 1 - confidence
        low, high = (middle, high) if rejected else (low, middle)
    return low


def audit_guesses(
    scores: Float[Tensor, " canaries"], included: Bool[Tensor, " canaries"], guesses: int
) -> int:
    """Guess that the highest scores were in and the lowest out, and count what is right.

    Args:
        scores: Higher where a canary seems to have been in.
        included: What the coins said.
        guesses: How many; half of them are "in", the other half "out".

    Returns:
        How many guesses are right.

    Raises:
        ValueError: If scores and coins are not as many, or guesses are odd, or more than those.

    Examples:
        >>> coins = torch.tensor([True, False, True, False])
        >>> audit_guesses(torch.tensor([3.0, 2.0, 1.0, 0.0]), coins, guesses=2)
        2
    """
    half, odd = divmod(whole("guesses", guesses), 2)
    if len(scores) != len(included) or odd or not 0 < 2 * half <= len(scores):
        raise ValueError(
            "guesses must be even and at most as many as there are scores and coins, "
            f"got {guesses} for {len(scores)} scores and {len(included)} coins"
        )
    order = scores.argsort(descending=True, stable=True)
    return int(included[order[:half]].sum() + (~included[order[-half:]]).sum())


def _check(sampling_rate: Real, noise_multiplier: Real, steps: int) -> int:
    if not 0 <= number("sampling_rate", sampling_rate) <= 1:
        raise ValueError(f"sampling_rate must be from 0 to 1, got {sampling_rate}")
    if not number("noise_multiplier", noise_multiplier) >= 0:
        raise ValueError(f"noise_multiplier must not be negative, got {noise_multiplier}")
    count = whole("steps", steps)
    if count < 0:
        raise ValueError(f"steps must not be negative, got {steps}")
    return count
