"""`llmbook.experiments.senses` by hand, against scipy, and on the real encoder."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from llmbook.bert import Bert
from llmbook.experiments.senses import right_senses, sentences, tell_apart, wilson, word_vectors
from llmbook.wordpiece import WordPiece

Encoder = tuple[Bert, WordPiece]


def test_each_sense_has_ten_sentences_of_its_own(minilm: Encoder) -> None:
    """With the word in each of them once, as one piece, and no sentence twice."""
    _, tokenizer = minilm
    texts = list(chain(*(group for word in sentences().values() for group in word.values())))
    assert len(texts) == len(set(texts)) == 120
    for word, by_sense in sentences().items():
        assert [len(group) for group in by_sense.values()] == [10, 10]
        for text in chain(*by_sense.values()):
            assert tokenizer.tokens(text).count(word) == 1


def test_vectors_are_those_of_the_sentence(minilm: Encoder) -> None:
    """Own vector at its place; around it, the mean of the other words' embeddings."""
    model, tokenizer = minilm
    own, around = word_vectors(model, tokenizer, ["The bank gives money."], "bank")
    ids = torch.tensor([tokenizer.encode("The bank gives money.")[0]])
    assert tokenizer.pieces[int(ids[0, 2])] == "bank"
    with torch.no_grad():
        np.testing.assert_allclose(own[:, 0], model.levels(ids)[:, 0, 2], atol=1e-6)
        others = model.embedding(ids[0, [1, 3, 4, 5]]).mean(0)
        np.testing.assert_allclose(around[0], others, atol=1e-6)
    with pytest.raises(ValueError, match="must hold 'bank' once"):
        word_vectors(model, tokenizer, ["A bank is a bank."], "bank")


def test_leaving_one_out_by_hand() -> None:
    """A lone stray is nearer to the others' mean; equal vectors of two senses tell nothing apart."""
    vectors = np.array([[1, 0], [1, 0.1], [0.1, 1], [0, 1], [0, 1]])
    assert right_senses(vectors, ["a", "a", "a", "b", "b"]) == 4
    assert right_senses(vectors[:4], ["a", "a", "b", "b"]) == 4
    with pytest.raises(ValueError, match="must have at least two vectors"):
        right_senses(vectors[:3], ["a", "a", "b"])


@given(st.integers(0, 60), st.integers(1, 60))
def test_interval_is_scipys(right: int, asked: int) -> None:
    """Wilson's, for any share."""
    right = min(right, asked)
    expected = binomtest(right, asked).proportion_ci(method="wilson")
    assert wilson(right, asked, z=1.959963984540054) == pytest.approx(
        (expected.low, expected.high), abs=1e-9
    )


@pytest.mark.parametrize(("right", "asked"), [(2, 1), (-1, 3), (0, 0)])
def test_an_impossible_share_is_named(right: int, asked: int) -> None:
    """More right than asked, or nothing asked."""
    with pytest.raises(ValueError, match=f"got right={right} and asked={asked}"):
        wilson(right, asked)


def test_the_real_encoder_tells_senses_apart(minilm: Encoder) -> None:
    """Above the bag of context after its blocks, near chance before them."""
    found = tell_apart(*minilm)
    assert found["asked"] == 120
    assert len(found["levels"]) == 7
    assert found["levels"][-1] > found["context"] > found["levels"][0]
    assert wilson(found["levels"][0], 120)[0] < 0.5 < wilson(found["context"], 120)[0]
