"""Skip-gram against gensim's, which is C, on one core: the same text, one epoch."""

from functools import cache

import pytest
from gensim.models import Word2Vec

from llmbook.datasets import sotu
from llmbook.word2vec import Setup, sentences, train, vocabulary
from tests.benchmarks.conftest import Compare


@cache
def corpus() -> list[list[str]]:
    """The addresses of a century: 870,000 words of the vocabulary."""
    return [words for address in sotu(1900) for words in sentences(address.text)]


@pytest.mark.parametrize("shared", [64, 0], ids=["shared-negatives", "own-negatives"])
def test_skip_gram(compare: Compare, shared: int) -> None:
    """Words a second; making the vocabulary is timed in neither."""
    counts = vocabulary(corpus())
    theirs = Word2Vec(vector_size=100, window=5, min_count=5, sg=1, negative=5, workers=1, seed=0)
    theirs.build_vocab(corpus())
    total = theirs.corpus_count
    compare(
        lambda: train(corpus(), counts, Setup(shared=shared, epochs=1)),
        lambda: theirs.train(corpus(), total_examples=total, epochs=1),
    )
