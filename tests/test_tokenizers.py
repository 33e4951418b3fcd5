"""`llmbook.tokenizers` against Hugging Face's `tokenizers`, id by id, and by going there and back."""

import itertools
import json
import pickle
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from llmbook import tokenizers
from llmbook.pretrained import fetch
from llmbook.tokenizers import ByteLevelBPE, byte_alphabet, word_pattern
from tests.book import ROOT, chapters

BOOK = "\n".join(path.read_text("utf-8") for path in chapters())
SPECIAL = {"<|end|>": 0, "<|end|>>": 1, "[X]": 2}
ASSIGNED_BY_UNICODE_17 = {*range(0x11DE0, 0x11DEA), *range(0x16FF4, 0x16FF7)}

# What stands on its own, and what makes a tokenizer stumble when it is joined.
PIECES = st.one_of(
    st.text(max_size=8),
    st.text("  \t\n\r\x0b\x1c\x85\xa0\u2003\u3000", min_size=1, max_size=6),
    st.text("0123456789٣४²Ⅷ½一", min_size=1, max_size=5),
    st.text("'sStTrevlmd\u2019", min_size=1, max_size=5),
    st.text("ab'1 .\U00010d40\U00011de0\U00013460\U00031350\ua7cb", min_size=1, max_size=6),
    st.text("👩🏽‍💻🇫🇷❤️🫠e\u0301ñß漢字हिन्दीعر", min_size=1, max_size=8),
    st.sampled_from(
        [
            *SPECIAL,
            "<|im_end|>",
            "def f(x):\n    return x**2  # ok\n",
            "\t\tif (a&&b) {\r\n",
            "It's we'll I'M",
        ]
    ),
    st.text("\x00\x04\x06\x13\x14\x16\x1d\U00040000\U000bffff\U00100000", min_size=1, max_size=3),
)
TEXTS = st.lists(PIECES, max_size=8).map("".join)


def cutter(individual_digits: bool) -> Any:
    """Their pre-tokenizer."""
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if not individual_digits:
        return byte_level
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])


def theirs(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], *, individual_digits: bool = False
) -> Tokenizer:
    """Their byte-level BPE."""
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = cutter(individual_digits)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def spell(words: list[str]) -> list[str]:
    """Words in the byte alphabet."""
    return [word.encode().decode("latin-1").translate(byte_alphabet()) for word in words]


@pytest.fixture(scope="module")
def trained() -> ByteLevelBPE:
    """Ours, trained on the chapters."""
    return ByteLevelBPE.train([BOOK], 1000, list(SPECIAL))


@pytest.fixture(scope="module")
def their_trained(trained: ByteLevelBPE) -> Tokenizer:
    """Theirs, with the same tokens."""
    their = theirs(trained.vocabulary, trained.merges)
    their.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return their


@pytest.fixture(scope="module")
def pair(smollm2: tuple[Any, ByteLevelBPE]) -> tuple[ByteLevelBPE, Tokenizer]:
    """SmolLM2's tokenizer as the package loads it, and theirs on what the GGUF file says."""
    return smollm2[1], from_gguf(fetch("smollm2"))


def from_gguf(path: Path) -> Tokenizer:
    """Their BPE on the file's vocabulary and merges."""
    with pytest.MonkeyPatch.context() as patch:  # a view of a memmap for each string takes long
        patch.setattr(np, "memmap", lambda file, mode: np.fromfile(file, np.uint8))
        fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    return theirs(vocabulary, merges, individual_digits=True)


def test_alphabet_equals_gpt2s() -> None:
    """The rule gives the table that GPT-2 was released with."""
    assert byte_alphabet() == bytes_to_unicode()


@pytest.mark.parametrize("individual_digits", [False, True])
def test_every_character_is_cut_as_tokenizers_cuts_it(individual_digits: bool) -> None:
    """Each character of Unicode, where its class shows: after a letter, two spaces, before 's."""
    pattern = word_pattern(individual_digits=individual_digits)
    their = cutter(individual_digits)
    planes = [range(0xD800), range(0xE000, 0x34000), range(0xE0000, 0xE0200)]  # the rest is empty
    unicode = list(itertools.chain(*planes))
    if not individual_digits:  # where the two halves of `tokenizers` differ among themselves
        unicode = [code for code in unicode if code not in ASSIGNED_BY_UNICODE_17]
    for start in range(0, len(unicode), 4096):
        text = "".join(f"a{chr(code)}'s  {chr(code)}!" for code in unicode[start : start + 4096])
        words = pattern.findall(text)
        assert "".join(words) == text
        assert spell(words) == [word for word, _ in their.pre_tokenize_str(text)]


@settings(max_examples=500, deadline=None)
@given(text=TEXTS)
@pytest.mark.parametrize("individual_digits", [False, True])
def test_words_equal_those_of_tokenizers(individual_digits: bool, text: str) -> None:
    """Runs of spaces, contractions and digits are cut alike wherever they meet."""
    if not individual_digits:
        text = "".join(char for char in text if ord(char) not in ASSIGNED_BY_UNICODE_17)
    words = word_pattern(individual_digits=individual_digits).findall(text)
    expected = [word for word, _ in cutter(individual_digits).pre_tokenize_str(text)]
    assert spell(words) == expected


@settings(max_examples=500, deadline=None)
@given(text=TEXTS)
def test_smollm2_ids_equal_those_of_tokenizers(
    pair: tuple[ByteLevelBPE, Tokenizer], text: str
) -> None:
    """Whatever the text, the ids are theirs, and give the text back but for bytes without token."""
    ours, their = pair
    ids = ours.encode(text)
    assert ids == their.encode(text).ids
    known = {byte for byte, char in byte_alphabet().items() if char in ours.vocabulary}
    kept = bytes(byte for byte in text.encode() if byte in known)
    assert ours.decode(ids) == kept.decode("utf-8", "replace")
    assert kept == text.encode() or not set(text.encode()) <= known


def test_smollm2_ids_of_long_texts_equal_those_of_tokenizers(
    pair: tuple[ByteLevelBPE, Tokenizer],
) -> None:
    """The chapters, all of the book's own code, and "words" of a hundred thousand characters."""
    ours, their = pair
    code = [path.read_text("utf-8") for path in sorted((ROOT / "src").rglob("*.py"))]
    shuffled = random.Random(0)
    long = ["a" * 100_000, " " * 100_000, "".join(shuffled.choices("abcde", k=100_000))]
    for text in [BOOK, *code, *long]:
        ids = ours.encode(text)
        assert ids == their.encode(text).ids
        assert ours.decode(ids) == text


def test_smollm2_has_no_token_for_a_few_bytes(pair: tuple[ByteLevelBPE, Tokenizer]) -> None:
    """Six control characters, two bytes that begin unassigned planes, and 13 that UTF-8 never uses."""
    ours, _ = pair
    missing = {byte for byte, char in byte_alphabet().items() if char not in ours.vocabulary}
    never_in_utf8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
    assert missing - never_in_utf8 == {0x04, 0x06, 0x13, 0x14, 0x16, 0x1D, 0xF1, 0xF2}
    assert ours.vocab_size == 49_152
    assert len(ours.merges) == 48_900
    assert len(ours.special_tokens) == 17


def test_smollm2_encodes_a_typed_special_token_as_text(
    pair: tuple[ByteLevelBPE, Tokenizer],
) -> None:
    """A typed <|im_end|> ends no turn, unless asked to."""
    ours, their = pair
    special = set(ours.special_tokens.values())
    for token, number in ours.special_tokens.items():
        text = f"a{token} b"
        assert not special & set(ours.encode(text))
        assert ours.decode(ours.encode(text)) == text
        assert ours.encode(text, allow_special=True) == [
            *their.encode("a").ids, number, *their.encode(" b").ids
        ]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_decoding_gives_back_every_text(trained: ByteLevelBPE, text: str) -> None:
    """With a token for each byte there is nothing that can't be said, special tokens or not."""
    assert trained.decode(trained.encode(text)) == text
    assert trained.decode(trained.encode(text, allow_special=True)) == text
    assert "".join(trained.tokens(trained.encode(text.encode("ascii", "ignore").decode()))) == (
        text.encode("ascii", "ignore").decode()
    )
    assert not set(SPECIAL.values()) & set(trained.encode(text))


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_special_tokens_equal_those_of_tokenizers(
    trained: ByteLevelBPE, their_trained: Tokenizer, text: str
) -> None:
    """The longest special token that stands there is taken, and words are cut on either side."""
    text = "".join(char for char in text if ord(char) not in ASSIGNED_BY_UNICODE_17)
    assert trained.encode(text, allow_special=True) == their_trained.encode(text).ids


@settings(max_examples=300, deadline=None)
@given(ids=st.lists(st.integers(0, 999), max_size=12))
def test_decoding_any_ids_equals_tokenizers(
    trained: ByteLevelBPE, their_trained: Tokenizer, ids: list[int]
) -> None:
    """Also where the bytes are no UTF-8, whatever holds the ids."""
    text = trained.decode(ids)
    assert text == their_trained.decode(ids, skip_special_tokens=False)
    assert (
        text
        == trained.decode(np.array(ids, dtype=np.int64))
        == trained.decode(torch.tensor(ids).long())
    )
    assert len(trained.tokens(ids)) == len(ids)


@settings(max_examples=500, deadline=None)
@given(data=st.data(), texts=st.lists(st.text("abc", max_size=30), min_size=1, max_size=3))
def test_merges_in_any_order_equal_tokenizers(data: st.DataObject, texts: list[str]) -> None:
    """Also merges that no training would give: long tokens first, one token made in two ways."""
    tokens, pairs = ["a", "b", "c"], []
    for _ in range(data.draw(st.integers(0, 12))):
        left, right = data.draw(st.sampled_from(tokens)), data.draw(st.sampled_from(tokens))
        pairs.append((left, right))
        tokens.append(left + right)
    merges = data.draw(st.permutations(list(dict.fromkeys(pairs))))
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    ours, their = ByteLevelBPE(vocabulary, merges), theirs(vocabulary, merges)
    for text in texts:
        assert ours.encode(text) == their.encode(text).ids


def trained_by_them(
    texts: list[str], vocab_size: int, special: list[str], *, individual_digits: bool = False
) -> Tokenizer:
    """The same training with their BpeTrainer."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = cutter(individual_digits)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def merges_of(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """What their training has learnt."""
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


@pytest.mark.parametrize("individual_digits", [False, True])
@pytest.mark.parametrize("vocab_size", [300, 1000, 4000])
def test_training_equals_tokenizers(individual_digits: bool, vocab_size: int) -> None:
    """On the chapters: the same merges in the same order, ties included, and the same ids."""
    texts = BOOK.splitlines(keepends=True)
    options = {"individual_digits": individual_digits}
    ours = ByteLevelBPE.train(iter(texts), vocab_size, list(SPECIAL), **options)
    their = trained_by_them(texts, vocab_size, list(SPECIAL), **options)
    assert ours.merges == merges_of(their)
    assert ours.vocabulary == their.get_vocab()
    assert ours.special_tokens == SPECIAL


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.text("ab é1\n", max_size=40), max_size=4), more=st.integers(0, 40))
def test_training_on_next_to_nothing_equals_tokenizers(texts: list[str], more: int) -> None:
    """Few and repeated letters are full of ties; the merges may end before the vocabulary does."""
    ours = ByteLevelBPE.train(texts, 256 + more)
    their = trained_by_them(texts, 256 + more, [])
    assert ours.merges == merges_of(their)
    assert ours.vocabulary == their.get_vocab()


def test_a_tokenizer_can_be_sent_to_another_process(trained: ByteLevelBPE) -> None:
    """It survives pickle, as a data loader's workers need."""
    assert pickle.loads(pickle.dumps(trained)).encode(BOOK) == trained.encode(BOOK)


def test_tokens_show_half_a_character_as_its_bytes(trained: ByteLevelBPE) -> None:
    """So a chapter can show what a token holds that is no text by itself."""
    assert trained.tokens(trained.encode("漢")) == ["\\xe6", "\\xbc", "\\xa2"]
    assert trained.decode(trained.encode("漢")[:2]) == "\ufffd"


def test_bytes_without_a_token_are_named_or_dropped() -> None:
    """Losing part of a text is a choice that the caller makes."""
    vocabulary = {"a": 0, "b": 1, "ab": 2}
    with pytest.raises(ValueError, match=r"no token for a byte of 'azb', written 'z'"):
        ByteLevelBPE(vocabulary, [("a", "b")]).encode("azb")
    dropping = ByteLevelBPE(vocabulary, [("a", "b")], drop_unknown_bytes=True)
    assert dropping.encode("azb") == theirs(vocabulary, [("a", "b")]).encode("azb").ids == [2]


@pytest.mark.parametrize("text", ["ab\ud800", "\udfff", "x\ud83d \ude00"])
def test_half_a_surrogate_pair_is_named(text: str) -> None:
    """Python's str can hold what UTF-8 can't."""
    tokenizer = ByteLevelBPE.train(["ab"], 256)
    with pytest.raises(ValueError, match=r"text holds half a surrogate pair, '\\u.*' at position"):
        tokenizer.encode(text)
    with pytest.raises(ValueError, match="half a surrogate pair"):
        ByteLevelBPE.train(["fine", text], 300)


@pytest.mark.parametrize("token_id", [3, -1, 10**12])
def test_unknown_ids_are_named(token_id: int) -> None:
    """Neither the first nor the last token stands in for an id that is none."""
    tokenizer = ByteLevelBPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])
    for view in (tokenizer.decode, tokenizer.tokens):
        with pytest.raises(ValueError, match=f"token_ids holds {token_id}, which is no token's id"):
            view([0, token_id])


@pytest.mark.parametrize(
    ("vocabulary", "merges", "special", "message"),
    [
        ({"a": 0}, [("a", "b")], {}, "merges name 'ab?', which is not in the vocabulary"),
        ({"a": 0, "ab": 1}, [("a", "b")], {}, "merges name 'b', which is not in the vocabulary"),
        ({"a": 0, "b": 1}, [("a", "b")], {}, "merges name 'ab', which is not in the vocabulary"),
        ({"a": 0, "b": 0}, [], {}, "2 tokens share the id 0"),
        ({"a": 0}, [], {"<s>": 0}, "2 tokens share the id 0"),
        ({"a": 0, "<s>": 1}, [], {"<s>": 2}, "special token '<s>' has the id 2, but 1 in vocabu"),
        ({"a": 0}, [], {"": 1}, "special token '' must not be what a text is encoded to"),
        ({"a": 0}, [], {"a": 0}, "special token 'a' must not be what a text is encoded to"),
        ({"a": 0, "b": 1, "ab": 2}, [("a", "b")], {"ab": 2}, "special token 'ab' must not be"),
        ({"a b": 0}, [], {}, "token 'a b' is not spelled in the byte alphabet; is it a special"),
        ({"": 0}, [], {}, "token '' is not spelled in the byte alphabet"),
    ],
)
def test_impossible_vocabularies_are_named(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], special: dict[str, int], message: str
) -> None:
    """What would not come back as it went in is refused at once."""
    with pytest.raises(ValueError, match=message):
        ByteLevelBPE(vocabulary, merges, special)


def test_impossible_trainings_are_named() -> None:
    """There must be room for each byte, and no word may spell a special token."""
    with pytest.raises(ValueError, match=r"at least 257 \(256 bytes and 1 special tokens\), got 9"):
        ByteLevelBPE.train(["ab"], 9, ["<s>"])
    with pytest.raises(ValueError, match="special token 'ab' must not be what a text is encoded"):
        ByteLevelBPE.train(["ab ab"], 300, ["ab"])
    with pytest.raises(TypeError, match="texts must be several texts, got one str"):
        ByteLevelBPE.train("ab ab", 300)


@pytest.mark.plain
@pytest.mark.parametrize("text", [b"ab", None, 3, ["ab"]])
def test_what_is_no_str_is_named(text: Any) -> None:
    """Bytes are not text until somebody says in which encoding."""
    tokenizer = ByteLevelBPE.train(["ab"], 256)
    with pytest.raises(TypeError, match=f"text must be a str, got {type(text).__name__}"):
        tokenizer.encode(text)


def test_threads_share_a_cache_that_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A word of one is not taken away from another, and they do not step over the limit."""
    monkeypatch.setattr(tokenizers, "_CACHED_WORDS", 5)
    tokenizer, size = ByteLevelBPE.train(["hello world " * 5], 258), 0

    def work(number: int) -> list[bool]:
        nonlocal size
        right = []
        for i in range(300):
            text = f"{chr(97 + number)}{i} {chr(97 + number)}{i % 3} hello {i % 4}"
            right.append(tokenizer.decode(tokenizer.encode(text)) == text)
            size = max(size, len(tokenizer._cache))
        return right

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(all(right) for right in pool.map(work, range(4)))
    finally:
        sys.setswitchinterval(before)
    assert size <= 5 + 4


def test_a_crowded_cache_is_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is already beyond its limit, as two threads can leave it."""
    monkeypatch.setattr(tokenizers, "_CACHED_WORDS", 5)
    tokenizer = ByteLevelBPE.train(["hello"], 258)
    tokenizer._cache = {f"w{i}": [] for i in range(7)}
    tokenizer.encode("hello")
    assert len(tokenizer._cache) == 1
