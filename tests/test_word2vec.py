"""`llmbook.word2vec` against autograd, gensim, slow obvious code, and its own formulas."""

import random
from collections import Counter
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmbook.datasets import analogy_questions, glove, sotu
from llmbook.word2vec import (
    Setup,
    analogy,
    context_pairs,
    draw,
    keep_probability,
    nearest,
    negative_sampling,
    noise,
    one_hot,
    sentences,
    train,
    vocabulary,
)

WAYS: dict[str, dict[str, Any]] = {
    "skip-gram": {},
    "CBOW": {"cbow": True},
    "skip-gram, own negatives": {"shared": 0},
    "CBOW, own negatives": {"cbow": True, "shared": 0},
}


def two_worlds(count: int = 1500) -> list[list[str]]:
    """Sentences of 40 words that never stand beside the 40 words of the other sentences."""
    dice = random.Random(0)
    return [
        [f"{world}{dice.randrange(40)}" for _ in range(8)] for world in dice.choices("ab", k=count)
    ]


def test_one_hot_vectors_are_blind() -> None:
    """Every two words are equally unlike each other."""
    vectors = one_hot([0, 1, 2, 3], vocab_size=4)
    np.testing.assert_array_equal(vectors @ vectors.T, np.eye(4))
    theirs = F.one_hot(torch.tensor([3, 1]), 5).numpy()
    np.testing.assert_array_equal(one_hot([3, 1], 5), theirs)
    with pytest.raises(ValueError, match="indices must be from 0 to vocab_size - 1 = 3"):
        one_hot([4], vocab_size=4)


def test_sentences_end_at_punctuation_and_keep_apostrophes() -> None:
    """Numbers and signs are no words."""
    text = "In 1936--a hard year--we built 3,000 schools; the people’s work, and it's done!"
    assert list(sentences(text)) == [
        ["in"],
        ["a", "hard", "year"],
        ["we", "built"],
        ["schools"],
        ["the", "people’s", "work"],
        ["and", "it's", "done"],
    ]


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=9), max_size=9), st.integers(1, 4))
def test_vocabulary_counts(corpus: list[list[str]], min_count: int) -> None:
    """As a Counter does, the most frequent first."""
    expected = Counter(word for sentence in corpus for word in sentence)
    expected = Counter({word: n for word, n in expected.items() if n >= min_count})
    if not expected:
        with pytest.raises(ValueError, match=f"no word occurs min_count={min_count} times"):
            vocabulary(corpus, min_count)
        return
    counts = vocabulary(corpus, min_count)
    assert counts == expected
    assert list(counts.values()) == sorted(counts.values(), reverse=True)


def test_subsampling_and_noise_are_the_papers_formulas() -> None:
    """A word nine times as frequent as the threshold stays one time in three."""
    counts = np.array([90, 9, 1])
    np.testing.assert_allclose(keep_probability(counts, 0.1), [1 / 3, 1, 1])
    np.testing.assert_allclose(noise(counts), counts**0.75 / (counts**0.75).sum())
    np.testing.assert_allclose(noise(counts, 0), 1 / 3)
    np.testing.assert_allclose(noise(counts, 1), counts / 100)
    with pytest.raises(ValueError, match="threshold must be positive, got 0"):
        keep_probability(counts, 0)


def test_draws_follow_the_noise() -> None:
    """100,000 draws: each share within five standard errors."""
    probability = noise(np.array([1000, 100, 10, 1]))
    drawn = draw(
        torch.from_numpy(probability.cumsum()), (100_000,), torch.Generator().manual_seed(0)
    )
    share = np.bincount(drawn.numpy(), minlength=4) / len(drawn)
    error = np.sqrt(probability * (1 - probability) / len(drawn))
    assert (abs(share - probability) < 5 * error).all()


def slow_pairs(words: Tensor, sentence: Tensor, reach: Tensor) -> set[tuple[int, int]]:
    """Each centre with each neighbour in its reach, the obvious way."""
    return {
        (i, j)
        for i in range(len(words))
        for j in range(len(words))
        if i != j and abs(i - j) <= reach[i] and sentence[i] == sentence[j]
    }


@given(st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(1, 5), st.integers(0, 99))
def test_pairs_are_those_of_the_obvious_way(lengths: list[int], window: int, seed: int) -> None:
    """With the same reach for each centre, and never across sentences."""
    sentence = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    words = torch.arange(len(sentence))
    centre, neighbour = context_pairs(words, sentence, window, torch.Generator().manual_seed(seed))
    reach = torch.randint(1, window + 1, words.shape, generator=torch.Generator().manual_seed(seed))
    pairs = list(zip(centre.tolist(), neighbour.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == slow_pairs(words, sentence, reach)


@pytest.mark.parametrize("weight", [1, 5 / 64])
def test_gradients_are_those_of_autograd(weight: float) -> None:
    """Of the loss as the paper writes it."""
    generator = torch.Generator().manual_seed(0)
    inside, outside, negative = (
        torch.randn(2, n, 5, generator=generator, dtype=torch.float64, requires_grad=True)
        for n in (3, 3, 4)
    )
    true = F.logsigmoid((inside * outside).sum(-1)).sum()
    false = F.logsigmoid(-inside @ negative.transpose(1, 2)).sum()
    expected = torch.autograd.grad(-(true + weight * false), (inside, outside, negative))
    found = negative_sampling(inside.detach(), outside.detach(), negative.detach(), weight)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("way", WAYS)
def test_words_of_one_world_become_neighbours(way: str) -> None:
    """After training, each word's ten nearest are all of its own world."""
    corpus = two_worlds()
    counts = vocabulary(corpus)
    vectors = train(corpus, counts, Setup(d_model=16, epochs=10, threshold=1, **WAYS[way]))
    words = list(counts)
    for word in words:
        assert {other[0] for other, _ in nearest(words, vectors, word, 10)} == {word[0]}


@pytest.mark.parametrize("way", WAYS)
def test_a_seed_decides_everything(way: str) -> None:
    """The same twice, another with another seed."""
    corpus = two_worlds(60)
    counts = vocabulary(corpus)
    setup = Setup(d_model=8, epochs=1, **WAYS[way])
    runs = [train(corpus, counts, setup, seed=seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0], runs[2])


def test_on_real_text_ours_is_as_good_as_gensims() -> None:
    """Trained on the same addresses, each month's nearest word is a month as often as with gensim."""
    from gensim.models import Word2Vec

    months = "january february march april may june july august september october november december"
    corpus = [
        s for address in sotu() if 1890 <= address.year < 1910 for s in sentences(address.text)
    ]
    counts = vocabulary(corpus)
    asked = [month for month in months.split() if month in counts]

    def right(words: list[str], vectors: np.ndarray) -> int:
        return sum(nearest(words, vectors, month, 1)[0][0] in asked for month in asked)

    options = {
        "window": 5,
        "negative": 5,
        "sample": 1e-3,
        "epochs": 2,
        "workers": 1,
        "seed": 1,
        "sg": 1,
    }
    theirs = Word2Vec(corpus, vector_size=50, min_count=5, alpha=0.05, **options).wv
    ours = train(corpus, counts, Setup(d_model=50, epochs=2, lr=0.05))
    assert len(asked) == 12
    assert right(list(counts), ours) >= right(theirs.index_to_key, theirs.vectors) - 2 >= 7


# --- neighbours and analogies ----------------------------------------------------------------


@pytest.fixture(scope="module")
def vectors() -> tuple[list[str], np.ndarray]:
    """GloVe's 5,000 most frequent words."""
    words, numbers = glove()
    return words[:5000], numbers[:5000]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_neighbours_and_analogies_are_gensims(
    vectors: tuple[list[str], np.ndarray], data: st.DataObject
) -> None:
    """The same words with the same cosines, for any question."""
    from gensim.models import KeyedVectors

    words, numbers = vectors
    theirs = KeyedVectors(100)
    theirs.add_vectors(words, numbers)
    a, b, c = data.draw(st.lists(st.sampled_from(words), min_size=3, max_size=3, unique=True))
    expected = theirs.most_similar(a, topn=5)
    assert [w for w, _ in nearest(words, numbers, a)] == [w for w, _ in expected]
    np.testing.assert_allclose(
        [s for _, s in nearest(words, numbers, a)], [s for _, s in expected], atol=1e-4
    )
    answers = theirs.most_similar(positive=[b, c], negative=[a], topn=3)
    assert [w for w, _ in analogy(words, numbers, a, b, c, 3)] == [w for w, _ in answers]


def test_without_leaving_the_inputs_out_the_answer_is_often_an_input(
    vectors: tuple[list[str], np.ndarray],
) -> None:
    """Of the questions on capitals: what makes analogies look good is the exclusion."""
    words, numbers = vectors
    known = set(words)
    questions = [q for q in analogy_questions()["capital-common-countries"] if known >= set(q)][:60]
    answers = [analogy(words, numbers, *q[:3], exclude_inputs=False)[0][0] for q in questions]
    inputs = sum(answer in q[:3] for answer, q in zip(answers, questions, strict=True))
    right = sum(analogy(words, numbers, *q[:3])[0][0] == q[3] for q in questions)
    assert right > 0.8 * len(questions)
    assert inputs > 0.25 * len(questions)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w, v: nearest(w, v, "xyzzy"), "'xyzzy' is not among the 5,000 words"),
        (lambda w, v: nearest(w, v, "the", 0), "count must be at least 1, got 0"),
        (lambda w, v: analogy(w, v, "man", "king", "xyzzy"), "'xyzzy' is not among"),
        (lambda w, v: Setup(window=0), "window must be at least 1, got 0"),
        (lambda w, v: train([["c"]], {"a": 1, "b": 1}), "no two words of the vocabulary"),
        (lambda w, v: train([["a"], ["b"]], {"a": 1, "b": 1}), "no two words of the vocabulary"),
        (
            lambda w, v: train(two_worlds(), vocabulary(two_worlds()), Setup(lr=9)),
            "the vectors diverge at lr=9",
        ),
    ],
)
def test_what_cannot_be_is_named(
    vectors: tuple[list[str], np.ndarray], call: Any, message: str
) -> None:
    """An unknown word, a size, a corpus without pairs."""
    with pytest.raises(ValueError, match=message):
        call(*vectors)


@pytest.mark.plain
def test_a_corpus_that_is_used_up_or_cut_into_letters_is_named() -> None:
    """A generator has nothing left for the training; a str is no list of words."""
    corpus = (sentence for sentence in [["a", "b", "a", "c"]] * 50)
    counts = vocabulary(corpus, 1)
    with pytest.raises(ValueError, match="in 0 sentences: a generator that was read before is"):
        train(corpus, counts)
    for strings in (["the cat sat", "the dog ran"], "the cat", [b"the cat"]):
        for read in (vocabulary, lambda corpus: train(corpus, counts)):
            with pytest.raises(
                TypeError, match="corpus must hold sentences as lists of words, got"
            ):
                read(cast("Any", strings))


@pytest.mark.plain
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.float16, np.int64])
def test_counts_and_sizes_may_be_of_any_type(kind: Any) -> None:
    """Sums and products of eight bits would wrap."""
    counts = np.array([100, 90, 80, 1])
    np.testing.assert_allclose(
        keep_probability(counts.astype(kind), 0.1), keep_probability(counts, 0.1)
    )
    np.testing.assert_allclose(noise(counts.astype(kind)), noise(counts))
    if kind is not np.float16:
        assert Setup(d_model=kind(100), window=kind(5)) == Setup(d_model=100, window=5)
        assert type(Setup(d_model=kind(100)).d_model) is int
        assert one_hot([3], kind(100)).shape == (1, 100)
