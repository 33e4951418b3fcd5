"""Scaling laws: how the loss falls with parameters, tokens and computation, and how to fit one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Real

from llmbook.sizes import whole

Numbers = float | int | Real[np.ndarray, "..."]
Points = Sequence[float | int] | Real[np.ndarray, " points"]

FLOPS_PER_PETAFLOP_DAY: Final = 1e15 * 24 * 3600


@dataclass(frozen=True)
class PowerLaw:
    r"""A fitted law $y = k\,x^p$, straight on logarithmic axes.

    Attributes:
        exponent: $p$, the slope; negative where $y$ falls.
        factor: $k$, the value at $x = 1$.
        exponent_interval: Between what the slope may be, at the confidence asked for.
        factor_interval: The same of the factor.
    """

    exponent: float
    factor: float
    exponent_interval: tuple[float, float]
    factor_interval: tuple[float, float]

    def __call__(self, x: Numbers) -> Numbers:
        """The law's value at $x$."""
        return self.factor * _positive("x", x) ** self.exponent


def fit_power_law(x: Points, y: Points, confidence: float = 0.95) -> PowerLaw:
    r"""Fit $y = k\,x^p$ by least squares on the logarithms.

    $$\log y = \log k + p \log x + \varepsilon$$

    The intervals are Student's: exact, however few the points, if the errors $\varepsilon$ are
    independent, normal and alike. They say nothing about whether a power law is true: a curve with
    a floor, $y = E + k\,x^p$, passes for a flatter straight line over a short range.

    Args:
        x: What grows, say parameters: an array or a list.
        y: What is measured, say a loss.
        confidence: Share of such intervals that contain the truth.

    Raises:
        ValueError: If there are fewer than three points, a value is not positive and finite, all
            `x` are the same, or `confidence` is not between 0 and 1.

    Examples:
        >>> law = fit_power_law(np.array([1, 10, 100]), np.array([8.0, 4.0, 2.0]))
        >>> round(law.exponent, 3), round(law.factor, 3), round(float(law(1000)), 3)
        (-0.301, 8.0, 1.0)
    """
    x, y = (np.asarray(_positive(name, value)) for name, value in (("x", x), ("y", y)))
    if x.ndim != 1 or x.shape != y.shape or x.size < 3:
        raise ValueError(f"three or more points are needed, got {x.shape} x and {y.shape} y")
    log_x, log_y = np.log(x), np.log(y)
    centred = log_x - log_x.mean()
    spread = (centred**2).sum()
    if np.ptp(log_x) == 0:
        raise ValueError(f"x must vary, got {x[0]} only")
    exponent = (centred * log_y).sum() / spread
    intercept = log_y.mean() - exponent * log_x.mean()
    freedom = x.size - 2
    variance = ((log_y - intercept - exponent * log_x) ** 2).sum() / freedom
    t = t_quantile(confidence, freedom)
    slope_error = t * np.sqrt(variance / spread)
    intercept_error = t * np.sqrt(variance * (1 / x.size + log_x.mean() ** 2 / spread))
    return PowerLaw(
        exponent=float(exponent),
        factor=float(np.exp(intercept)),
        exponent_interval=(float(exponent - slope_error), float(exponent + slope_error)),
        factor_interval=(
            float(np.exp(intercept - intercept_error)),
            float(np.exp(intercept + intercept_error)),
        ),
    )


def t_quantile(confidence: float, freedom: int) -> float:
    r"""How many standard errors an interval reaches to either side, by Student's distribution.

    With $\theta = \arctan(t / \sqrt\nu)$, the probability between $-t$ and $t$ is a finite sum:

    $$\sin\theta \left(1 + \tfrac12 \cos^2\theta + \tfrac{1 \cdot 3}{2 \cdot 4} \cos^4\theta +
      \dots\right), \quad
      \tfrac2\pi \left[\theta + \sin\theta \left(\cos\theta + \tfrac23 \cos^3\theta +
      \dots\right)\right]$$

    for even and for odd $\nu$, up to the power $\nu - 2$; bisection over $\theta$ inverts it.

    Args:
        confidence: Probability inside the interval.
        freedom: Degrees of freedom $\nu$: points less fitted constants.

    Raises:
        ValueError: If `confidence` is not between 0 and 1, or `freedom` is not positive.

    Examples:
        >>> round(t_quantile(0.95, freedom=2), 3), round(t_quantile(0.95, freedom=1000), 3)
        (4.303, 1.962)

    Source:
        [Abramowitz and Stegun 1964][abramowitz1964handbook], 26.7.3 and 26.7.4.
    """
    freedom = whole("freedom", freedom)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, got {confidence}")
    if freedom < 1:
        raise ValueError(f"freedom must be at least 1, got {freedom}")
    odd = freedom % 2
    low, high = 0.0, np.pi / 2
    for _ in range(60):
        theta = (low + high) / 2
        sine, cosine = np.sin(theta), np.cos(theta)
        term, total = cosine**odd, 0.0
        for power in range(odd, freedom - 1, 2):
            total += term
            term *= cosine**2 * (power + 1) / (power + 2)
        inside = 2 / np.pi * (theta + sine * total) if odd else sine * total
        low, high = (theta, high) if inside < confidence else (low, theta)
    return float(np.sqrt(freedom) * np.tan((low + high) / 2))


KAPLAN: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "parameters": (8.8e13, 0.076),
        "tokens": (5.4e13, 0.095),
        "petaflop_days": (3.1e8, 0.050),
    }
)
"""Kaplan's constants: for each quantity the scale at which the law reaches 1, and the exponent."""


def kaplan_loss(
    *,
    parameters: Numbers | None = None,
    tokens: Numbers | None = None,
    petaflop_days: Numbers | None = None,
) -> Numbers:
    r"""The loss in nats per token that one quantity leaves when the others are ample.

    $$L(N) = \left(\frac{N_c}{N}\right)^{\alpha_N}, \quad
      L(D) = \left(\frac{D_c}{D}\right)^{\alpha_D}, \quad
      L(C_{\min}) = \left(\frac{C_c}{C_{\min}}\right)^{\alpha_C}$$

    and of a model and a text together, with constants from a fit of its own,

    $$L(N, D) = \left[\left(\frac{N_c}{N}\right)^{\alpha_N / \alpha_D} +
      \frac{D_c}{D}\right]^{\alpha_D}$$

    Args:
        parameters: $N$, without embeddings.
        tokens: $D$, the size of the text.
        petaflop_days: $C_{\min}$, the least computation with which the loss can be reached: $N$
            at its best, and batches far below the critical size. A petaflop/s-day is
            `FLOPS_PER_PETAFLOP_DAY`.

    Raises:
        ValueError: If a value is not positive, none is given, or computation beside another.

    Examples:
        >>> round(kaplan_loss(petaflop_days=3640), 4), round(kaplan_loss(parameters=1.5e9), 4)
        (1.7641, 2.3036)

    Source:
        [Kaplan et al. 2020][kaplan2020scaling], equations 1.1, 1.2, 1.3 and 1.5, table 2.
    """
    values = {"parameters": parameters, "tokens": tokens, "petaflop_days": petaflop_days}
    given = {name: _positive(name, value) for name, value in values.items() if value is not None}
    if given.keys() == {"parameters", "tokens"}:
        alpha_n, alpha_d, n_c, d_c = 0.076, 0.103, 6.4e13, 1.8e13
        too_small = (n_c / given["parameters"]) ** (alpha_n / alpha_d)
        return (too_small + d_c / given["tokens"]) ** alpha_d
    if len(given) != 1:
        raise ValueError(
            "give parameters, tokens, both, or petaflop_days alone, "
            f"got {', '.join(given) or 'nothing'}"
        )
    ((name, value),) = given.items()
    scale, exponent = KAPLAN[name]
    return (scale / value) ** exponent


def kaplan_optimal(petaflop_days: Numbers) -> tuple[Numbers, Numbers]:
    r"""The size and the text that Kaplan's law advises: $1.3 \cdot 10^9\,C^{0.73}$ and the rest.

    Args:
        petaflop_days: $C_{\min}$, as in `kaplan_loss`.

    Returns:
        Parameters without embeddings, and tokens, $2 \cdot 10^{10}\,C^{0.27}$.

    Raises:
        ValueError: If the budget is not positive.

    Examples:
        >>> kaplan_optimal(1)
        (1300000000.0, 20000000000.0)

    Source:
        [Kaplan et al. 2020][kaplan2020scaling], appendix A.
    """
    budget = _positive("petaflop_days", petaflop_days)
    return 1.3e9 * budget**0.73, 2e10 * budget**0.27


@dataclass(frozen=True, kw_only=True)
class LossFit:
    r"""The constants of $L(N, D) = E + A / N^\alpha + B / D^\beta$.

    Attributes:
        E: The floor, that is left with any model and any text.
        A: What a small model costs.
        B: What a short text costs.
        alpha: How fast a larger model helps.
        beta: How fast a longer text helps.
        source: Key in the bibliography; empty for a fit of your own.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    source: str = ""


FITS: Final[Mapping[str, LossFit]] = MappingProxyType(
    {
        "hoffmann2022": LossFit(
            E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28, source="hoffmann2022training"
        ),
        "hoffmann2022-tex": LossFit(
            E=1.69337,
            A=406.401,
            B=410.723,
            alpha=0.33917084,
            beta=0.2849083,
            source="besiroglu2024chinchilla",
        ),
        "besiroglu2024": LossFit(
            E=1.8172,
            A=482.01,
            B=2085.43,
            alpha=0.3478,
            beta=0.3658,
            source="besiroglu2024chinchilla",
        ),
    }
)
"""Chinchilla's loss as printed, with more digits from the paper's TeX source, and fitted again."""


def loss(parameters: Numbers, tokens: Numbers, fit: str | LossFit = "hoffmann2022") -> Numbers:
    r"""Chinchilla's loss in nats per token: $L(N, D) = E + A / N^\alpha + B / D^\beta$.

    Args:
        parameters: $N$.
        tokens: $D$.
        fit: A name in `FITS`, or constants of your own.

    Raises:
        ValueError: If a value is not positive, or the fit is unknown.

    Examples:
        Chinchilla against Gopher, four times its size on a fifth of its text:

        >>> round(loss(70e9, 1.4e12, "besiroglu2024"), 3)
        1.974
        >>> round(loss(280e9, 300e9, "besiroglu2024"), 3)
        2.0

    Source:
        [Hoffmann et al. 2022][hoffmann2022training], section 3.3.
    """
    n, d, c = _positive("parameters", parameters), _positive("tokens", tokens), _find_fit(fit)
    return c.E + c.A / n**c.alpha + c.B / d**c.beta


def compute_optimal(flops: Numbers, fit: str | LossFit = "hoffmann2022") -> tuple[Numbers, Numbers]:
    r"""The size and the text with the lowest loss among all with $6 N D = C$.

    $$N^* = G \left(\frac{C}{6}\right)^{\beta / (\alpha + \beta)}, \quad
      D^* = \frac{1}{G} \left(\frac{C}{6}\right)^{\alpha / (\alpha + \beta)}, \quad
      G = \left(\frac{\alpha A}{\beta B}\right)^{1 / (\alpha + \beta)}$$

    Args:
        flops: The budget $C$ in floating-point operations.
        fit: A name in `FITS`, or constants of your own.

    Returns:
        Parameters and tokens.

    Raises:
        ValueError: If the budget is not positive, or the fit is unknown.

    Examples:
        >>> parameters, tokens = compute_optimal(5.76e23, fit="besiroglu2024")
        >>> f"{parameters / 1e9:.1f} billion parameters, {tokens / parameters:.1f} tokens for each"
        '72.2 billion parameters, 18.4 tokens for each'

    Source:
        [Hoffmann et al. 2022][hoffmann2022training], equation 4.
    """
    flops, c = _positive("flops", flops), _find_fit(fit)
    g = (c.alpha * c.A / (c.beta * c.B)) ** (1 / (c.alpha + c.beta))
    parameters = g * (flops / 6) ** (c.beta / (c.alpha + c.beta))
    return parameters, flops / 6 / parameters


def iso_flop_curve(
    flops: float | int, parameters: Numbers, fit: str | LossFit = "hoffmann2022"
) -> Numbers:
    r"""The loss of models of different size that all cost the same: $L(N, C / 6N)$.

    A small model reads more for the same computation. The curve is a valley; its lowest point is
    at `compute_optimal`.

    Args:
        flops: The budget $C$ in floating-point operations.
        parameters: The sizes $N$.
        fit: A name in `FITS`, or constants of your own.

    Raises:
        ValueError: If a value is not positive, or the fit is unknown.

    Examples:
        >>> iso_flop_curve(1e21, np.array([1e8, 2e9, 4e10]), "besiroglu2024").round(2)
        array([2.68, 2.31, 2.55])
    """
    sizes = _positive("parameters", parameters)
    return loss(sizes, _positive("flops", flops) / (6 * sizes), fit)


def _find_fit(fit: str | LossFit) -> LossFit:
    if isinstance(fit, LossFit):
        return fit
    if fit not in FITS:
        raise ValueError(f"fit must be one of {', '.join(FITS)}, got {fit!r}")
    return FITS[fit]


def _positive(name: str, value: Numbers | Points) -> Numbers:
    """Give a number, or numbers, in float64, in which no integer wraps."""
    try:
        exact = np.asarray(value, dtype=np.float64)
    except OverflowError:  # an integer of more than 308 digits
        exact = np.asarray(np.inf)
    if not np.all(np.isfinite(exact) & (exact > 0)):
        raise ValueError(f"{name} must be positive and finite, got {value}")
    return exact if exact.ndim else float(exact)
