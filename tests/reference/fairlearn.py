"""Fairlearn's rates by group, and scikit-learn's area under the curve, on drawn people."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LIBRARY = "fairlearn"
CASES = [(200, 2), (57, 3), (1000, 5)]  # people, groups


def drawn(case: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Labels, scores from 0 to 9 with ties, and groups of one case."""
    people, groups = CASES[case]
    random = np.random.default_rng(case)
    labels = random.integers(0, 2, people)
    scores = np.clip(random.integers(0, 8, people) + 2 * labels, 0, 9)
    return labels, scores, random.integers(0, groups, people)


def values() -> dict[str, NDArray[np.generic]]:
    from fairlearn.metrics import (
        MetricFrame,
        false_negative_rate,
        false_positive_rate,
        selection_rate,
    )
    from sklearn.metrics import precision_score, roc_auc_score

    found: dict[str, Any] = {}
    names = {
        "fpr": false_positive_rate,
        "fnr": false_negative_rate,
        "ppv": precision_score,
        "flagged": selection_rate,
    }
    for case in range(len(CASES)):
        labels, scores, groups = drawn(case)
        frame = MetricFrame(
            metrics=names, y_true=labels, y_pred=scores >= 5, sensitive_features=groups
        )
        for name in names:
            found[f"{case}.{name}"] = frame.by_group[name].sort_index().to_numpy()
        found[f"{case}.auc"] = np.array(roc_auc_score(labels, scores))
    return found
