r"""What a yes or no does to groups of people: rates, calibration, and what ties them together."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped
from numpy.typing import NDArray

Column = Sequence[Any] | Shaped[Any, " n"]


def group_rates(
    labels: Column, predictions: Column, groups: Column
) -> dict[Any, dict[str, float | int]]:
    r"""Count for each group how often a prediction is right and wrong.

    Of $n$ people of a group, let TP and FP be those predicted 1 whose label is 1 and 0, TN and FN
    those predicted 0 whose label is 0 and 1. Then

    $$\mathrm{fpr}=\frac{FP}{FP+TN}\quad\mathrm{fnr}=\frac{FN}{FN+TP}\quad
      \mathrm{ppv}=\frac{TP}{TP+FP}\quad\mathrm{flagged}=\frac{TP+FP}{n}\quad
      \mathrm{base\_rate}=\frac{TP+FN}{n}$$

    Equal `flagged` is *demographic parity*, equal `fpr` and `fnr` are *equalised odds*, equal `ppv`
    is *predictive parity*.

    Args:
        labels: What happened, 0 or 1 (or bool), one a person.
        predictions: What was predicted, 0 or 1, in the same order.
        groups: The group of each person, any value that can be a key.

    Returns:
        For each group, in the order in which they first appear: "n", "base_rate", "flagged",
            "fpr", "fnr", "ppv". A rate with nothing to divide by is nan.

    Raises:
        ValueError: If the three differ in length, have not one dimension, a label or prediction is
            neither 0 nor 1, or a group is nan.

    Examples:
        Four of *a*, two of *b*:

        >>> rates = group_rates([1, 1, 0, 0, 1, 0], [1, 0, 1, 0, 1, 0], list("aaaabb"))
        >>> rates["a"]
        {'n': 4, 'base_rate': 0.5, 'flagged': 0.5, 'fpr': 0.5, 'fnr': 0.5, 'ppv': 0.5}
        >>> rates["b"]["fpr"], rates["b"]["ppv"]
        (0.0, 1.0)

    Source:
        [Chouldechova 2017][chouldechova2017fair], section 2; names of the criteria as in
        [Barocas et al. 2023][barocas2023fairness], chapter 3.
    """
    happened, predicted = _binary("labels", labels), _binary("predictions", predictions)
    members = _members(groups, labels=happened, predictions=predicted)
    rates = {}
    for group, chosen in members.items():
        label, positive = happened[chosen], predicted[chosen]
        rates[group] = {
            "n": int(chosen.sum()),
            "base_rate": _share(label),
            "flagged": _share(positive),
            "fpr": _share(positive[~label]),
            "fnr": _share(~positive[label]),
            "ppv": _share(label[positive]),
        }
    return rates


def calibration(
    labels: Column, scores: Column, groups: Column
) -> dict[Any, dict[str, NDArray[Any]]]:
    r"""How often what is predicted happens, for each score and group.

    A score $S$ is calibrated within groups if $P(Y = 1 \mid S = s, G = g)$ is the same for all $g$:
    a 7 means the same, whoever has it.

    Args:
        labels: What happened, 0 or 1, one a person.
        scores: What was predicted, numbers of which several people share each.
        groups: The group of each person.

    Returns:
        For each group, in the order in which they first appear, three arrays over its distinct
            scores from low to high: "score", "n" people who have it, and the "rate" of those with
            label 1.

    Raises:
        ValueError: As `group_rates`, and if a score is not finite.

    Examples:
        >>> table = calibration([0, 1, 1, 1], [2, 2, 7, 7], ["a", "a", "a", "b"])
        >>> table["a"]["rate"].tolist(), table["a"]["n"].tolist()
        ([0.5, 1.0], [2, 1])

    Source:
        [Kleinberg et al. 2017][kleinberg2017inherent], section 1, condition (A).
    """
    happened = _binary("labels", labels)
    score = np.asarray(scores)
    members = _members(groups, labels=happened, scores=score)
    if not np.isfinite(score.astype(np.float64)).all():
        raise ValueError("scores must be finite numbers")
    table = {}
    for group, chosen in members.items():
        values, place = np.unique(score[chosen], return_inverse=True)
        n = np.bincount(place, minlength=len(values))
        hits = np.bincount(place, weights=happened[chosen], minlength=len(values))
        table[group] = {"score": values, "n": n, "rate": hits / n}
    return table


def implied_fpr(base_rate: float | int, ppv: float | int, fnr: float | int) -> float:
    r"""The false positive rate that three other rates leave no choice about.

    $$\mathrm{fpr} = \frac{p}{1 - p}\cdot\frac{1 - \mathrm{ppv}}{\mathrm{ppv}}
      \cdot(1 - \mathrm{fnr})$$

    It is arithmetic: all four are made of the same four counts. So if two groups have different
    base rates $p$, an equal `ppv` and an equal `fnr`, then their `fpr` differ, unless all are
    flagged rightly (`ppv` 1) or nobody is (`fnr` 1).

    Args:
        base_rate: $p$, the share of the group with label 1; below 1.
        ppv: Of those predicted 1, how many have label 1; above 0.
        fnr: Of those with label 1, how many are predicted 0.

    Returns:
        The rate. One above 1 means that no counts have these three rates.

    Raises:
        ValueError: If a rate is not between 0 and 1, `base_rate` is 1 or `ppv` is 0.

    Examples:
        >>> round(implied_fpr(base_rate=0.5, ppv=0.6, fnr=0.4), 3)
        0.4
        >>> round(implied_fpr(base_rate=0.4, ppv=0.6, fnr=0.4), 3)
        0.267

    Source:
        [Chouldechova 2017][chouldechova2017fair], equation 2.6.
    """
    for name, value, low, high in [
        ("base_rate", base_rate, "at least 0", "below 1"),
        ("ppv", ppv, "above 0", "at most 1"),
        ("fnr", fnr, "at least 0", "at most 1"),
    ]:
        inside = (value >= 0 if "least" in low else value > 0) and (
            value < 1 if "below" in high else value <= 1
        )
        if not inside:
            raise ValueError(f"{name} must be {low} and {high}, got {value}")
    return base_rate / (1 - base_rate) * (1 - ppv) / ppv * (1 - fnr)


def auc(labels: Column, scores: Column) -> float:
    r"""How well a score ranks: the chance that someone with label 1 scores above someone with 0.

    $$\mathrm{AUC} = P(S_1 > S_0) + \tfrac12 P(S_1 = S_0)$$

    Args:
        labels: 0 or 1, one a person.
        scores: Numbers, in the same order.

    Returns:
        0.5 for a score that says nothing, 1 for one that separates; nan if a label is missing.

    Raises:
        ValueError: If the two differ in length, have not one dimension, a label is neither 0 nor
            1, or a score is nan.

    Examples:
        >>> auc([0, 0, 1, 1], [1, 2, 2, 3])
        0.875

    Source:
        [Hanley and McNeil 1982][hanley1982meaning].
    """
    happened = _binary("labels", labels)
    score = np.asarray(scores)
    if score.shape != happened.shape:
        raise ValueError(f"scores must be as many as labels, {happened.shape}, got {score.shape}")
    score = score.astype(np.float64)
    if np.isnan(score).any():
        raise ValueError("scores must be numbers, got nan")
    high, low = score[happened], np.sort(score[~happened])
    if not (len(high) and len(low)):
        return float("nan")
    below = np.searchsorted(low, high, side="left")
    ties = np.searchsorted(low, high, side="right") - below
    return float((below + ties / 2).sum() / (len(high) * len(low)))


def wilson(hits: int, of: int, confidence: float | int = 0.95) -> tuple[float, float]:
    r"""An interval for a share that was counted, sound for few and for rare cases too.

    $$\frac{1}{1 + z^2/n}\left(\hat p + \frac{z^2}{2n}
      \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}\right)$$

    Args:
        hits: In how many cases.
        of: Of how many, $n$.
        confidence: How often such intervals hold the true share.

    Returns:
        Its lower and upper end.

    Raises:
        ValueError: If `of` is not positive, `hits` is not from 0 to `of`, or `confidence` is not
            between 0 and 1.

    Examples:
        >>> low, high = wilson(0, 10)
        >>> round(low, 3), round(high, 3)
        (0.0, 0.278)

    Source:
        [Wilson 1927][wilson1927probable].
    """
    if of < 1:
        raise ValueError(f"of must be positive, got {of}")
    if not 0 <= hits <= of:
        raise ValueError(f"hits must be from 0 to of ({of}), got {hits}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, got {confidence}")
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    p = hits / of
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = (z2 * p * (1 - p) / of + z2**2 / (4 * of**2)) ** 0.5 / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def _binary(name: str, values: Column) -> Bool[np.ndarray, " n"]:
    column = np.asarray(values)
    if column.ndim != 1:
        raise ValueError(f"{name} must have one dimension, got the shape {column.shape}")
    wrong = ~np.isin(column, [0, 1])
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"{name} must be 0 or 1, got {column.tolist()[at]!r} at place {at}")
    return column.astype(bool)


def _members(groups: Column, **others: NDArray[Any]) -> dict[Any, Bool[np.ndarray, " n"]]:
    named = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    for name, column in others.items():
        if column.shape != (len(named),):
            raise ValueError(
                f"{name} and groups must be as many, got {column.shape} and {len(named)}"
            )
    for at, group in enumerate(named):
        if group != group:
            raise ValueError(f"groups must name each person's group, got nan at place {at}")
    places: dict[Any, list[int]] = {}
    for at, group in enumerate(named):
        places.setdefault(group, []).append(at)
    found = {}
    for group, at_places in places.items():
        chosen = np.zeros(len(named), dtype=bool)
        chosen[at_places] = True
        found[group] = chosen
    return found


def _share(of: Bool[np.ndarray, " n"]) -> float:
    return float(of.mean()) if len(of) else float("nan")
