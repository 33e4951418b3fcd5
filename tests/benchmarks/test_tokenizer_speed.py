"""Ours against `tokenizers`, which is Rust, on the same text and the same merges, in one run."""

from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from tokenizers import Tokenizer, models, pre_tokenizers

from llmbook.tokenizers import ByteLevelBPE
from tests.book import chapters

TEXT = "\n".join(path.read_text("utf-8") for path in chapters())


def ours() -> Callable[[str], list[int]]:
    """Trained on the book itself; nothing is in its cache yet."""
    trained = ByteLevelBPE.train([TEXT], 1024)
    return ByteLevelBPE(trained.vocabulary, trained.merges).encode


def theirs() -> Callable[[str], list[int]]:
    """The same vocabulary and merges."""
    trained = ByteLevelBPE.train([TEXT], 1024)
    tokenizer = Tokenizer(models.BPE(trained.vocabulary, trained.merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda text: tokenizer.encode(text).ids


@pytest.mark.benchmark(group="byte-level BPE, the whole book")
@pytest.mark.parametrize("make", [ours, theirs], ids=["ours", "tokenizers"])
def test_encoding(
    benchmark: BenchmarkFixture, make: Callable[[], Callable[[str], list[int]]]
) -> None:
    """A book's worth of English and code."""
    assert len(benchmark(make(), TEXT)) > 1000
