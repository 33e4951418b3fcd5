"""Taking a direction out of word vectors, and what is left that a probe can find."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float

from llmbook.bias import weat
from llmbook.datasets import glove, weat_words, word_similarities
from llmbook.experiments.word_tests import similarity

PAIRS: Final = (
    ("he", "she"), ("him", "her"), ("man", "woman"), ("men", "women"), ("boy", "girl"),
    ("father", "mother"), ("son", "daughter"), ("brother", "sister"), ("male", "female"),
    ("himself", "herself"),
)  # fmt: skip
"""Pairs of words that differ in gender and, as far as can be had, in nothing else."""

Vectors = Float[np.ndarray, "words d_model"]


def directions(
    differences: Float[np.ndarray, "pairs d_model"], count: int = 1
) -> Float[np.ndarray, "axes d_model"]:
    """The main directions along which the two words of a pair differ, as orthonormal rows.

    Args:
        differences: First word minus second, one row a pair.
        count: How many directions.

    Raises:
        ValueError: If `count` is not from 1 to the number of pairs.

    Examples:
        >>> directions(np.array([[2.0, 0.0], [3.0, 0.1]])).round(1) + 0.0
        array([[1., 0.]])

    Source:
        [Bolukbasi et al. 2016][bolukbasi2016man], section 5, without centring each pair's sides.
    """
    if not 1 <= count <= len(differences):
        raise ValueError(f"count must be from 1 to {len(differences)} pairs, got {count}")
    axes = np.linalg.svd(differences, full_matrices=False)[2][:count]
    signs = np.sign(axes @ differences.sum(0))
    return np.asarray(axes * np.where(signs == 0, 1, signs)[:, None])


def without(vectors: Vectors, axes: Float[np.ndarray, "axes d_model"]) -> Vectors:
    r"""Vectors with their part along orthonormal axes taken out, $v - \sum_i (v \cdot b_i)\, b_i$.

    Examples:
        >>> without(np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]]))
        array([[0., 4.]])
    """
    return np.asarray(vectors - (vectors @ axes.T) @ axes)


def probe(
    vectors: Vectors, labels: Bool[np.ndarray, " words"], *, seed: int = 0, ridge: float | int = 1.0
) -> tuple[float, Float[np.ndarray, "axes d_model"]]:
    """How often a linear classifier that saw half of the words is right on the other half.

    Args:
        vectors: What it sees.
        labels: What it must tell.
        seed: Of the division.
        ridge: Penalty of its weights.

    Returns:
        The share of right answers, and the direction that it found, as one row of length 1.

    Raises:
        ValueError: If there are fewer than four words, or only one label.
    """
    if len(labels) < 4 or labels.all() or not labels.any():
        raise ValueError("labels must be of at least four words, some true and some false")
    order = np.random.default_rng(seed).permutation(len(labels))
    learned, asked = np.array_split(order, 2)
    centre = vectors[learned].mean(0)
    x, y = vectors - centre, np.where(labels, 1.0, -1.0)
    gram = x[learned].T @ x[learned] + ridge * np.eye(vectors.shape[1])
    weights = np.linalg.solve(gram, x[learned].T @ (y[learned] - y[learned].mean()))
    guessed = x[asked] @ weights + y[learned].mean() > 0
    axis = weights / np.linalg.norm(weights)
    return float((guessed == labels[asked]).mean()), axis[None]


def neighbours(vectors: Vectors, labels: Bool[np.ndarray, " words"], count: int = 10) -> float:
    """How many words have the label that most of their nearest other words have, ties as half.

    A probe that draws no line, and finds what lies in clusters.

    Examples:
        >>> space = np.array([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [0.2, 1.0]])
        >>> neighbours(space, np.array([True, True, False, False]), count=1)
        1.0
    """
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    near = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
    alike = (labels[near] == labels[:, None]).mean(axis=1)
    return float(((alike > 0.5) + (alike == 0.5) / 2).mean())


def measure(rounds: Sequence[int] = (0, 1, 2, 4, 8, 16, 32), each: int = 500) -> dict[str, Any]:
    """What is left in GloVe's vectors when more and more is taken out; the results alone.

    The words are the 500 that lie farthest to either side of the direction of `PAIRS`, none of
    these pairs among them, before anything is taken out. After the first direction, which is that
    of the pairs, each further one is the one that a probe found on half of the words, as in
    iterative projection. Probes are asked of that half and of the other, each learning from half of
    it: what is gone from the words on which the directions were learned need not be gone from all.

    Args:
        rounds: After how many directions to measure.
        each: Words to either side.

    Returns:
        A list, "rounds", with for each the number of directions "removed"; a probe's share of right
        answers, as mean over ten divisions, on words of the half on which the directions were
        "learned" and of the "other"; on the other half after "random" directions, and the highest
        of twenty deals of its labels "by lot"; what "neighbours" tell, of all words, and of labels
        dealt "by lot, neighbours"; the effect and the difference of three tests of
        `llmbook.bias.weat` ("career", "maths", "flowers"), and the correlation with people's
        "similarity" of words.

    Source:
        [Gonen and Goldberg 2019][gonen2019lipstick] for the probe,
        [Ravfogel et al. 2020][ravfogel2020null] for repeating it.
    """
    words, vectors = glove()
    place = {word: index for index, word in enumerate(words)}
    vectors = vectors.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    differences = np.array([vectors[place[a]] - vectors[place[b]] for a, b in PAIRS])
    along = vectors @ directions(differences)[0]
    in_pairs = [place[word] for pair in PAIRS for word in pair]
    order = np.setdiff1d(np.argsort(along), in_pairs, assume_unique=True)
    order = order[np.argsort(along[order])]
    chosen = np.concatenate((order[:each], order[-each:]))
    labels = np.repeat([False, True], each)
    random = np.random.default_rng(0)
    learned = np.zeros(2 * each, dtype=bool)
    for side in (0, each):
        learned[side + random.permutation(each)[: each // 2]] = True
    dealt = [random.permutation(labels[~learned]) for _ in range(20)]

    def told(space: Vectors, of: Bool[np.ndarray, " words"]) -> float:
        return float(np.mean([probe(space, of, seed=seed)[0] for seed in range(10)]))

    def test(space: Vectors, *names: str) -> list[float]:
        sets = [space[[place[w] for w in weat_words()[name] if w in place]] for name in names]
        result = weat(*sets, permutations=1)
        return [result.effect, result.difference]

    found, axes = [], np.empty((0, vectors.shape[1]))
    drawn = np.random.default_rng(1).standard_normal((vectors.shape[1], max(rounds)))
    drawn = np.linalg.qr(drawn)[0].T
    for removed in range(max(rounds) + 1):
        space = without(vectors, axes)
        mine, others = space[chosen[learned]], space[chosen[~learned]]
        _, axis = probe(mine, labels[learned])
        if removed in rounds:
            at_random = without(vectors[chosen[~learned]], drawn[:removed])
            found.append(
                {
                    "removed": removed,
                    "learned": told(mine, labels[learned]),
                    "other": told(others, labels[~learned]),
                    "random": told(at_random, labels[~learned]),
                    "by lot": max(told(others, lot) for lot in dealt),
                    "neighbours": neighbours(space[chosen], labels),
                    "by lot, neighbours": neighbours(space[chosen], random.permutation(labels)),
                    "career": test(space, "male names", "female names", "career", "family"),
                    "maths": test(space, "maths", "arts", "male terms", "female terms"),
                    "flowers": test(space, "flowers", "insects", "pleasant", "unpleasant"),
                    "similarity": similarity(words, space, word_similarities())[0],
                }
            )
        new = directions(differences) if removed == 0 else axis
        new = without(new, axes)
        axes = np.concatenate((axes, new / np.linalg.norm(new)))
    return {"rounds": found}
