"""`llmbook.wordpiece` against `tokenizers`, on any text, with the real list and a small one."""

import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from llmbook.wordpiece import SPECIAL, WordPiece, is_ideograph, is_punctuation

SMALL = [
    *SPECIAL, *"abcdeé!$日", "##a", "##b", "##c", "ab", "##ab", "abc", "cat", "##s", "é", "’", "##é",
]  # fmt: skip
SMALL = list(dict.fromkeys(SMALL))
# Rust's table of categories is that of an old Unicode: characters that have changed since differ.
# And its strings hold no half of a surrogate pair, which `test_half_a_surrogate_pair_is_dropped` has.
SETTLED = st.characters(codec="utf-8").filter(
    lambda c: unicodedata.category(c) == unicodedata.ucd_3_2_0.category(c)
)
LETTERS = st.sampled_from("abcABCé É\t\n!$’日本ñ́\u200b\x00\xa0-_")
TEXTS = st.text(st.one_of(LETTERS, SETTLED), max_size=30)


def theirs(pieces: list[str], *, lowercase: bool) -> BertWordPieceTokenizer:
    """The same list in Rust."""
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return BertWordPieceTokenizer(vocabulary, lowercase=lowercase)


@given(TEXTS, st.booleans())
def test_small_lists_cut_as_tokenizers_do(text: str, lowercase: bool) -> None:
    """Cased and uncased; what the list lacks is unknown in both."""
    ours = WordPiece(SMALL, lowercase=lowercase)
    their = theirs(SMALL, lowercase=lowercase)
    # They take a special token that a text spells for what it stands for; ours when it is told to.
    assert ours.encode(text, allow_special=True)[0] == their.encode(text).ids


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_the_real_list_cuts_as_tokenizers_do(real: Any, text: str) -> None:
    """MiniLM's 30,522 pieces, which are BERT's."""
    ours, their = real
    assert ours.encode(text, allow_special=True)[0] == their.encode(text).ids


@pytest.fixture(scope="module")
def real(minilm: tuple[Any, WordPiece]) -> tuple[WordPiece, BertWordPieceTokenizer]:
    """Both with the real list."""
    return minilm[1], theirs(minilm[1].pieces, lowercase=True)


def test_pairs_have_segments_as_in_tokenizers(real: Any) -> None:
    """[CLS] and the first [SEP] belong to the first text."""
    ours, their = real
    found = their.encode("What is a bank?", "A side of a river.")
    assert ours.encode("What is a bank?", "A side of a river.") == (found.ids, found.type_ids)


def test_half_a_surrogate_pair_is_dropped(real: Any) -> None:
    """As a control character is, for it stands for nothing that can be read."""
    ours, _ = real
    for half in map(chr, (0xD800, 0xDFFF)):
        assert ours.tokens(f"un{half}affable {half}") == ["una", "##ffa", "##ble"]
        assert ours.tokens(half) == []


def test_a_word_is_cut_into_the_longest_pieces(real: Any) -> None:
    """From the left, the rest with two signs before it; accents and case are gone."""
    ours, _ = real
    assert ours.tokens("Unaffable café!") == ["una", "##ffa", "##ble", "cafe", "!"]
    assert ours.decode(ours.encode("Unaffable café!")[0]) == "[CLS] unaffable cafe ! [SEP]"
    assert ours.tokens("x" * 101) == ["[UNK]"]
    assert ours.tokens("") == []


def test_a_typed_special_token_is_text_unless_it_is_allowed(real: Any) -> None:
    """So that a text cannot hide a word, or end itself."""
    ours, _ = real
    assert ours.tokens("a [MASK].") == ["a", "[", "mask", "]", "."]
    assert ours.tokens("a [MASK].", allow_special=True) == ["a", "[MASK]", "."]


def test_signs_and_ideographs() -> None:
    """Every ASCII sign stands alone, and so does every Chinese character, but no kana."""
    assert all(map(is_punctuation, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"))
    assert not any(map(is_punctuation, "aé1 \t\x7f€"))
    assert [is_ideograph(c) for c in "中かア"] == [True, False, False]


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (["[UNK]", "[CLS]", "[SEP]", "a", "a"], "pieces must differ, got 'a' twice"),
        (["[UNK]", "[CLS]"], r"pieces must hold \[SEP\]"),
    ],
)
def test_a_list_that_cannot_be_is_named(pieces: list[str], message: str) -> None:
    """A piece twice, or one of the needed ones missing."""
    with pytest.raises(ValueError, match=message):
        WordPiece(pieces)


@pytest.mark.parametrize("length", [100, 101, 20_000])
def test_a_very_long_word_is_unknown_at_once(length: int) -> None:
    """As BERT has it, and before it is cut, which takes a time that grows with its square."""
    tokenizer = WordPiece(["[UNK]", "[CLS]", "[SEP]", "a", "##a"])
    start = time.perf_counter()
    tokens = tokenizer.tokens("a" * length + " a")
    assert time.perf_counter() - start < 2
    assert tokens == (["a", *["##a"] * 99] if length == 100 else ["[UNK]"]) + ["a"]
