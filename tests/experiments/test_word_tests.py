"""`llmbook.experiments.word_tests` against gensim's and scipy's, and by hand."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from llmbook.datasets import analogy_questions, glove, word_similarities
from llmbook.experiments import word_tests
from llmbook.experiments.results import recorded
from llmbook.experiments.word_tests import (
    EPOCHS,
    GROUPS,
    analogies,
    by_epochs,
    categories,
    counted,
    from_addresses,
    pairs_and_steps,
    similarity,
)
from llmbook.word2vec import nearest


@pytest.fixture(scope="module")
def words() -> list[str]:
    """GloVe's most frequent."""
    return glove()[0][:6000]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Theirs."""
    return glove()[1][:6000]


@pytest.fixture(scope="module")
def theirs(words: list[str], vectors: np.ndarray) -> KeyedVectors:
    """The same in gensim."""
    keyed = KeyedVectors(100)
    keyed.add_vectors(words, vectors)
    return keyed


def test_similarity_equals_gensims(
    words: list[str], vectors: np.ndarray, theirs: KeyedVectors, tmp_path: Path
) -> None:
    """The same correlation over the same pairs."""
    rows = tmp_path / "pairs.tsv"
    with rows.open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows(word_similarities())
    _, spearman, unknown = theirs.evaluate_word_pairs(str(rows))
    rho, known = similarity(words, vectors, word_similarities())
    assert rho == pytest.approx(spearman[0], abs=1e-6)
    assert known == pytest.approx(353 * (1 - unknown / 100))


@given(st.lists(st.integers(0, 5), min_size=3, max_size=12), st.integers(0, 99))
def test_ties_share_their_rank_as_in_scipy(scores: list[int], seed: int) -> None:
    """Equal scores are no order."""
    if len(set(scores)) < 2:
        return
    vectors = np.random.default_rng(seed).standard_normal((2 * len(scores), 4))
    names = [f"w{i}" for i in range(len(vectors))]
    pairs = [(names[2 * i], names[2 * i + 1], float(s)) for i, s in enumerate(scores)]
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in zip(vectors[::2], vectors[1::2], strict=True)
    ]
    assert similarity(names, vectors, pairs)[0] == pytest.approx(
        spearmanr(cosines, scores).statistic
    )


def test_analogies_equal_gensims(
    words: list[str], vectors: np.ndarray, theirs: KeyedVectors, tmp_path: Path
) -> None:
    """Of each kind, as many right answers to as many questions."""
    questions = {kind: asked[:150] for kind, asked in list(analogy_questions().items())[::4]}
    file = tmp_path / "questions.txt"
    lines = [
        f": {kind}\n" + "".join(" ".join(q) + "\n" for q in asked)
        for kind, asked in questions.items()
    ]
    file.write_text("".join(lines))
    _, sections = theirs.evaluate_word_analogies(str(file), restrict_vocab=len(words))
    expected = {
        section["section"]: (
            len(section["correct"]),
            len(section["correct"]) + len(section["incorrect"]),
        )
        for section in sections[:-1]
    }
    assert analogies(words, vectors, questions) == expected
    assert sum(right for right, _ in expected.values()) > 50


def test_inputs_that_may_answer_do(words: list[str], vectors: np.ndarray) -> None:
    """Fewer questions are answered rightly when the words of the question may be the answer."""
    questions = {"family": analogy_questions()["family"]}
    strict = analogies(words, vectors, questions)["family"]
    free = analogies(words, vectors, questions, exclude_inputs=False)["family"]
    assert free[1] == strict[1]
    assert free[0] < strict[0]


def test_categories_by_hand() -> None:
    """Two of three: the lone gold lies nearest to a month."""
    space = np.array([[1.0, 0], [1, 0.1], [0, 1], [9, 9]])
    groups = {"months": ["may", "june"], "metals": ["gold", "unknown"]}
    assert categories(["may", "june", "gold", "other"], space, groups) == (2, 3)


def test_counted_vectors_are_the_formulas() -> None:
    """With as many directions as words, products of vectors give back the matrix of surprises."""
    corpus = [["a", "b", "a"], ["c", "b", "c", "a"]] * 3
    counts = {"a": 9, "b": 6, "c": 6}
    near = np.zeros((3, 3))
    for sentence in corpus:
        for i, first in enumerate(sentence):
            for j, second in enumerate(sentence):
                if i != j and abs(i - j) <= 2:
                    near["abc".index(first), "abc".index(second)] += 1 / abs(i - j)
    word = near.sum(1) / near.sum()
    context = word**0.75 / (word**0.75).sum()
    surprise = np.maximum(0, np.log(np.maximum(near / near.sum(), 1e-30) / np.outer(word, context)))
    left, sizes, _ = np.linalg.svd(surprise)
    vectors = counted(corpus, counts, window=2, d_model=3)
    np.testing.assert_allclose(vectors @ vectors.T, (left * sizes) @ left.T, atol=1e-5)


@pytest.mark.parametrize("way", ["skip-gram", "CBOW", "counted", "random"])
def test_every_way_gives_the_same_report(way: str) -> None:
    """On a small part of the addresses: what is asked is there, whoever made the vectors."""
    groups = {
        "numbers": ["two", "three", "four", "five"],
        "months": ["january", "march", "april", "june"],
    }
    report: dict[str, Any] = from_addresses(way, groups, ["two"], since=1980, epochs=1)
    assert set(report) == {"similarity", "pairs", "right", "known", "neighbours"}
    assert -1 <= report["similarity"] <= 1
    assert report["known"] == 8
    assert len(report["neighbours"]["two"]) == 5


def test_skip_gram_gets_better_with_more_readings() -> None:
    """In both tests and for every seed of the record; five readings are enough."""
    for run in recorded("word-vectors"):
        assert [each["epochs"] for each in run["skip-gram"]] == [*EPOCHS]
        few, *more = run["skip-gram"]
        assert all(each["similarity"] > few["similarity"] + 0.04 for each in more)
        assert all(each["right"] >= few["right"] for each in more)
        assert more[0]["right"] > few["right"] + 4


def test_by_epochs_asks_for_each_number_of_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the seed and the groups of the book."""
    calls = []

    def note(way: str, groups: Any, *, epochs: int, seed: int) -> dict[str, Any]:
        calls.append((way, groups, epochs, seed))
        return {"right": epochs}

    monkeypatch.setattr(word_tests, "from_addresses", note)
    runs = by_epochs(7)["skip-gram"]
    assert [(run["epochs"], run["right"]) for run in runs] == [(n, n) for n in EPOCHS]
    assert calls == [("skip-gram", GROUPS, n, 7) for n in EPOCHS]


def test_pairs_and_steps_equal_those_by_hand(words: list[str], vectors: np.ndarray) -> None:
    """All pairs of a kind, each once, one by one."""
    questions = {"family": analogy_questions()["family"]}
    place = {word: index for index, word in enumerate(words)}
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    known = [q for q in questions["family"] if all(word in place for word in q)]
    pairs = sorted({p for a, b, c, d in known for p in ((a, b), (c, d))})
    alike = np.mean([unit[place[a]] @ unit[place[b]] for a, b in pairs])
    steps = [unit[place[b]] - unit[place[a]] for a, b in pairs]
    steps = [step / np.linalg.norm(step) for step in steps]
    parallel = np.mean([s @ t for i, s in enumerate(steps) for t in steps[:i]])
    assert pairs_and_steps(words, vectors, questions)["family"] == pytest.approx((alike, parallel))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_addresses("glove", {}), "way must be 'skip-gram', .* got 'glove'"),
        (lambda: similarity(["a"], np.ones((1, 2)), [("a", "a", 1.0)]), "at least three .* got 1"),
    ],
)
def test_what_cannot_be_is_named(call: Any, message: str) -> None:
    """An unknown way, too few pairs."""
    with pytest.raises(ValueError, match=message):
        call()


def test_neighbours_of_the_report_are_nearest() -> None:
    """Random vectors can be made again, so the report can be checked."""
    report = from_addresses("random", {"a": ["the"]}, ["the"], since=2015, seed=3)
    from llmbook.datasets import sotu
    from llmbook.word2vec import sentences, vocabulary

    counts = vocabulary(s for address in sotu(2015) for s in sentences(address.text))
    vectors = np.random.default_rng(3).standard_normal((len(counts), 100))
    expected = [word for word, _ in nearest(list(counts), vectors, "the")]
    assert report["neighbours"]["the"] == expected
