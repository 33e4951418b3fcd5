"""`llmbook.ngrams` against nltk, and against the definition in dictionaries."""

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.lm import KneserNeyInterpolated
from nltk.util import everygrams

from llmbook.ngrams import KneserNey

TEXTS = st.lists(st.integers(0, 5), min_size=5, max_size=60)


def text(size: int = 300, vocab: int = 12, seed: int = 0) -> np.ndarray:
    """Tokens of which few are frequent, each leaning on the one before."""
    rng = np.random.default_rng(seed)
    drawn = rng.zipf(1.5, size).clip(max=vocab) - 1
    return np.where(rng.random(size) < 0.5, (np.roll(drawn, 1) * 5 + 1) % vocab, drawn)


def slow_probability(
    learned: list[int], vocab: int, order: int, context: tuple[int, ...], word: int
) -> float:
    """Interpolated Kneser-Ney as one would say it, with n-grams in dictionaries."""
    counts = {
        order: Counter(tuple(learned[i : i + order]) for i in range(len(learned) - order + 1))
    }
    for length in range(order - 1, 0, -1):  # how many different longer n-grams end so
        counts[length] = Counter(longer[1:] for longer in counts[length + 1])

    def p(context: tuple[int, ...], length: int) -> float:
        if length == 0:
            return 1 / vocab
        lower = p(context[1:], length - 1)
        follow = {gram: n for gram, n in counts[length].items() if gram[:-1] == context}
        if not follow:
            return lower
        sizes = Counter(counts[length].values())
        discount = sizes[1] / (sizes[1] + 2 * sizes[2]) if sizes[1] else 0.5
        kept = max(follow.get((*context, word), 0) - discount, 0)
        return (kept + discount * len(follow) * lower) / sum(follow.values())

    context = context[len(context) - order + 1 :] if len(context) >= order else context
    return p(context, len(context) + 1)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 6), max_size=6), st.integers(1, 5))
def test_distribution_is_the_definition(learned: list[int], seen: list[int], order: int) -> None:
    """Whatever the text, for contexts that occur, that do not, and that are too long."""
    model = KneserNey(np.array(learned), 7, order)
    ours = model.distribution(np.array(seen, dtype=int))
    theirs = [slow_probability(learned, 7, order, tuple(seen), word) for word in range(7)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 6), max_size=9), st.integers(1, 5))
def test_log_probs_are_logs_of_distributions(
    learned: list[int], text: list[int], order: int
) -> None:
    """Each token's, given what stands before it in the array."""
    model = KneserNey(np.array(learned), 7, order)
    ours = model.log_probs(np.array(text, dtype=int))
    assert ours.dtype == np.float64
    one_by_one = [
        math.log(model.distribution(np.array(text[:t], dtype=int))[word])
        for t, word in enumerate(text)
    ]
    np.testing.assert_allclose(ours, one_by_one, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 6), max_size=5), st.integers(1, 5))
def test_distributions_sum_to_one_and_nothing_is_impossible(
    learned: list[int], seen: list[int], order: int
) -> None:
    """Token 6 is in no text, and still may come."""
    p = KneserNey(np.array(learned), 7, order).distribution(np.array(seen, dtype=int))
    assert abs(p.sum() - 1) < 1e-12
    assert p.min() > 0


@pytest.mark.parametrize("order", [2, 3, 4])
def test_equals_nltk_where_they_agree(order: int) -> None:
    """With nltk's one discount, and single tokens as nltk has them.

    nltk takes 0.1 from the counts of every order, whatever the text, and of single tokens nothing,
    so that unknown ones are impossible; and it counts an n-gram at the start of the text although
    nothing is before it, which the text here rules out by beginning as it ends.
    """
    learned = text()
    learned = np.concatenate([learned, learned[: order + 1]])
    ours, theirs = KneserNey(learned, 12, order), KneserNeyInterpolated(order, discount=0.1)
    ours.tables = [replace(t, discount=0.1 if i else 0) for i, t in enumerate(ours.tables)]
    words = [*map(str, learned)]
    theirs.fit([everygrams(words, max_len=order)], vocabulary_text=words)
    contexts = [learned[i : i + order - 1] for i in range(0, 60, 3)]
    contexts += [np.array([3, 11, 7, 11][: order - 1])] + [learned[:i] for i in range(1, order - 1)]
    known = np.unique(learned)
    for seen in contexts:
        expected = [theirs.score(str(word), [*map(str, seen)]) for word in known]
        np.testing.assert_allclose(ours.distribution(seen)[known], expected, rtol=1e-12)


def test_order_1_is_counts() -> None:
    """Each less the discount, and what was taken shared among all."""
    learned = np.array([0, 0, 0, 0, 1, 1, 2, 3])  # 2 once, 1 twice
    discount = 2 / (2 + 2 * 1)
    p = KneserNey(learned, 5, 1).distribution(np.array([3]))
    shared = 4 * discount / 5
    expected = (np.array([3.5, 1.5, 0.5, 0.5, 0]) + shared) / 8
    np.testing.assert_allclose(p, expected, rtol=1e-15)


def test_a_frequent_token_after_one_other_is_no_good_guess_elsewhere() -> None:
    """Francisco: what counts in a new context is after how many different tokens one comes."""
    san, francisco, the, end, a, b, c, new = range(8)
    learned = [san, francisco] * 9 + [a, end, b, end, c, end] + [the]
    model = KneserNey(np.array(learned), 8, 2)
    assert KneserNey(np.array(learned), 8, 1).predict(np.array([[new]])) == [san]
    p = model.distribution(np.array([new]))
    assert p.argmax() == end
    assert p[francisco] < p[end] / 2
    assert model.predict(np.array([[new], [san], [a]])).tolist() == [end, francisco, end]


@pytest.mark.parametrize("order", [2, 3, 5])
def test_an_unseen_context_is_that_of_the_lower_order(order: int) -> None:
    """Exactly: after a token that never occurred, only what stands behind it counts."""
    model = KneserNey(text(vocab=10), 12, order)
    for behind in ([], [3], [3, 4], [1, 5, 3]):
        end = np.array(behind, dtype=int)
        unseen = np.array([10, *behind])
        np.testing.assert_array_equal(model.distribution(unseen), model.distribution(end))


def test_only_the_last_tokens_of_a_context_count() -> None:
    """And of a text, a change moves the next `order - 1` tokens alone."""
    learned, read = text(), text(40, seed=1)
    model = KneserNey(learned, 12, 3)
    np.testing.assert_array_equal(model.distribution(read), model.distribution(read[-2:]))
    changed = read.copy()
    changed[20] = (changed[20] + 1) % 12
    moved = model.log_probs(read) != model.log_probs(changed)
    assert moved[20]
    assert not moved[:20].any()
    assert not moved[23:].any()


def test_longer_contexts_help_on_a_text_that_repeats() -> None:
    """On what was not learned, too; and no text is needed at all."""
    rng = np.random.default_rng(0)
    phrases = rng.integers(0, 20, (30, 6))
    learned, read = (phrases[rng.integers(0, 30, 400)].ravel() for _ in range(2))
    scores = [KneserNey(learned, 20, order).log_probs(read).mean() for order in (1, 2, 3, 5)]
    assert scores == sorted(scores)
    assert KneserNey(learned, 20, 3).log_probs(read[:0]).size == 0


def test_a_large_vocabulary_fits() -> None:
    """63 bits and no more: what does not fit is refused, not mixed up."""
    learned = np.array([0, 50256, 0, 50256, 7] * 3)
    p = KneserNey(learned, 50257, 4).distribution(np.array([50256, 0, 50256]))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)
    assert p.argmax() == 7


@pytest.mark.plain
@pytest.mark.parametrize(
    ("tokens", "vocab", "order", "message"),
    [
        ([0, 1, 2], 3, 0, "order must be from 1 to the 3 tokens of the text, got 0"),
        ([0, 1, 2], 3, 4, "order must be from 1 to the 3 tokens of the text, got 4"),
        ([0, 1, 3], 3, 2, "token_ids must be from 0 to 2, got 0 to 3"),
        ([0, -1, 2], 3, 1, "token_ids must be from 0 to 2, got -1 to 2"),
        ([0] * 9, 2**21, 3, r"vocab_size\*\*order must be below 2\*\*63, got 2097152 and 3"),
    ],
)
def test_errors_name_the_argument(tokens: list[int], vocab: int, order: int, message: str) -> None:
    """What was expected, and what came."""
    with pytest.raises(ValueError, match=message):
        KneserNey(np.array(tokens), vocab, order)


@pytest.mark.plain
def test_unknown_tokens_are_refused_later_too() -> None:
    """In a context, and in a text."""
    model = KneserNey(np.array([0, 1, 2, 1]), 3, 2)
    for call in (model.log_probs, model.distribution):
        with pytest.raises(ValueError, match="token_ids must be from 0 to 2, got 3 to 3"):
            call(np.array([3]))


@pytest.mark.plain
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.uint64])
def test_sizes_and_tokens_of_any_type_do_not_wrap(kind: Any) -> None:
    """Neither as the number of tokens nor as those of the text."""
    text = np.frombuffer(b"the cat sat on the mat and the rat sat on the cat " * 3, np.uint8)
    ids = text.astype(kind)
    ours = KneserNey(ids, ids.max() + kind(1), kind(4))
    assert (ours.vocab_size, ours.order) == (int(text.max()) + 1, 4)
    same = KneserNey(text.astype(np.int64), int(text.max()) + 1, 4)
    np.testing.assert_array_equal(ours.log_probs(ids), same.log_probs(text.astype(np.int64)))
    assert len(ours.log_probs(ids[:0])) == 0
    with pytest.raises(ValueError, match="token_ids must be integers, got dtype float64"):
        KneserNey(ids.astype(float), 122, 2)
    with pytest.raises(ValueError, match=r"vocab_size\*\*order must be below"):
        KneserNey(np.arange(256), np.uint16(65535), 4)  # type: ignore[arg-type]
