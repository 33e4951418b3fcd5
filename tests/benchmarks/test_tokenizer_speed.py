"""Ours against `tokenizers`, which is Rust, on the same text and the same merges."""

from tokenizers import Tokenizer, models, pre_tokenizers

from llmbook.tokenizers import ByteLevelBPE
from tests.benchmarks.conftest import Compare
from tests.book import chapters


def test_encoding(compare: Compare) -> None:
    """A book's worth of English and code; nothing is in our cache when we begin."""
    text = "\n".join(path.read_text("utf-8") for path in chapters())
    ours = ByteLevelBPE.train([text], 1024)
    theirs = Tokenizer(models.BPE(ours.vocabulary, ours.merges))
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    compare(
        lambda: ByteLevelBPE(ours.vocabulary, ours.merges).encode(text),
        lambda: theirs.encode(text),
    )
