r"""Byte-level byte-pair encoding: how GPT-2 and SmolLM2 turn a text into numbers.

A text is cut into words, a word is spelled in bytes, and neighbours are merged, most frequent
first. Nothing is ever unknown: what the merges don't cover stays a sequence of bytes.
"""

import functools
import heapq
import itertools
import operator
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import SupportsIndex

_SPACES = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode White_Space
_SINCE_UNICODE_14 = {  # what Python 3.11 does not know yet, so that every Python cuts alike
    "L": """1c89-1c8a a7cb-a7cd a7da-a7dc 105c0-105f3 10d4a-10d65 10d6f-10d85 10ec2-10ec4
        1123f-11240 11380-11389 1138b 1138e 11390-113b5 113b7 113d1 113d3 11bc0-11be0 11f02
        11f04-11f10 11f12-11f33 1342f 13441-13446 13460-143fa 16100-1611d 16d40-16d6c 18cff
        1b132 1b155 1df25-1df2a 1e030-1e06d 1e4d0-1e4eb 1e5d0-1e5ed 1e5f0 2b739 2ebf0-2ee5d
        31350-323af""",
    "N": """10d40-10d49 116d0-116e3 11bf0-11bf9 11de0-11de9 11f50-11f59 16130-16139 16d70-16d79
        16ff4-16ff6 1ccf0-1ccf9 1d2c0-1d2d3 1e4f0-1e4f9 1e5f1-1e5fa""",
}
_CACHED_WORDS = 1 << 16


@functools.cache
def byte_alphabet() -> dict[int, str]:
    r"""Give each byte a visible character, so that tokens can be written down.

    Bytes that Latin-1 prints stand for themselves; the other 68 (control characters, the space,
    the soft hyphen) take the characters from U+0100 on, in order. The space becomes Ġ.

    Returns:
        The character of each of the 256 bytes.

    Examples:
        >>> "".join(byte_alphabet()[byte] for byte in " né\n".encode())
        'ĠnÃ©Ċ'

    Source:
        [Radford et al. 2019][radford2019language], in the code released with it.
    """
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = itertools.count(0x100)
    return {byte: chr(byte if byte in visible else next(stand_ins)) for byte in range(256)}


@functools.cache
def word_pattern(*, individual_digits: bool = False) -> re.Pattern[str]:
    r"""Cut a text into the words inside which merges may happen.

    A word is an English contraction, a run of letters, of digits or of other signs, each with the
    one space before it, or a run of white space. Letters and numbers are those of Unicode 16,
    whatever the Python; the joined words are always the text.

    Args:
        individual_digits: Each digit is a word by itself, and takes no space along.

    Returns:
        A pattern for `findall`.

    Examples:
        >>> word_pattern().findall("It's 1984,  isn't it?")
        ['It', "'s", ' 1984', ',', ' ', ' isn', "'t", ' it', '?']
        >>> word_pattern(individual_digits=True).findall("In 1984")
        ['In', ' ', '1', '9', '8', '4']

    Source:
        [Radford et al. 2019][radford2019language], section 2.2, in the code released with it;
        single digits: [Touvron et al. 2023][touvron2023llama], section 2.1.
    """
    letter, number = _characters("L"), _characters("N")
    digits = f"[{number}]" if individual_digits else f" ?[{number}]+"
    ends_words = number if individual_digits else ""  # before which white space stays whole
    return re.compile(
        rf"'(?:[sdmt]|ll|re|ve)| ?[{letter}]+|{digits}| ?[^{_SPACES}{letter}{number}]+"
        rf"|[{_SPACES}]+(?![^{_SPACES}{ends_words}])|[{_SPACES}]+"
    )


def _characters(category: str) -> str:
    """All of Unicode's letters (L) or numbers (N), as ranges inside a regular expression's []."""
    codes = range(0x32400)  # none is higher
    runs = itertools.groupby(codes, lambda code: unicodedata.category(chr(code))[0] == category)
    known = ((run := list(codes))[:: max(len(run) - 1, 1)] for inside, codes in runs if inside)
    later = (
        [int(end, 16) for end in run.split("-")] for run in _SINCE_UNICODE_14[category].split()
    )
    return "".join("-".join(map(chr, ends)) for ends in (*known, *later))


class ByteLevelBPE:
    r"""A tokenizer that knows which bytes to merge, and in which order.

    To encode a word, start from its bytes and, as long as there is one, merge the neighbours whose
    pair comes first in `merges` (the leftmost such pair first). To decode, join the bytes.

    Args:
        vocabulary: The id of each token, spelled in the
            [byte alphabet][llmbook.tokenizers.byte_alphabet].
        merges: Pairs of tokens, the first to be merged first.
        special_tokens: Ids of tokens that stand for no text, such as the end of a document,
            spelled as they are. They may be in `vocabulary` too.
        individual_digits: Cut numbers into digits, as SmolLM2 does.
        drop_unknown_bytes: Leave out bytes that have no token instead of raising. The text is then
            lost in part; a published vocabulary may want it to give the published ids.

    Raises:
        ValueError: If two tokens share an id, a merge names a token that is not in the vocabulary,
            a token is not spelled in bytes, or a special token could come out of a text.

    Examples:
        >>> tokenizer = ByteLevelBPE.train(["low lower lowest"], vocab_size=260)
        >>> tokenizer.merges
        [('l', 'o'), ('lo', 'w'), ('Ġ', 'low'), ('Ġlow', 'e')]
        >>> ids = tokenizer.encode("slower é")
        >>> ids
        [82, 257, 68, 81, 220, 127, 102]
        >>> tokenizer.tokens(ids)
        ['s', 'low', 'e', 'r', ' ', '\\xc3', '\\xa9']
        >>> tokenizer.decode(ids)
        'slower é'

    Source:
        [Sennrich et al. 2016][sennrich2016neural], section 3.2; on bytes:
        [Radford et al. 2019][radford2019language], section 2.2.
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        merges: Sequence[tuple[str, str]],
        special_tokens: dict[str, int] | None = None,
        *,
        individual_digits: bool = False,
        drop_unknown_bytes: bool = False,
    ) -> None:
        self.vocabulary, self.special_tokens = dict(vocabulary), dict(special_tokens or {})
        self.merges = [(left, right) for left, right in merges]
        self.individual_digits, self.drop_unknown_bytes = individual_digits, drop_unknown_bytes
        _check(self.vocabulary, self.merges, self.special_tokens)
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        byte = {char: byte for byte, char in byte_alphabet().items()}
        text = self.vocabulary.keys() - self.special_tokens.keys()
        self._bytes = {vocabulary[token]: bytes(map(byte.__getitem__, token)) for token in text}
        self._bytes |= {number: token.encode() for token, number in self.special_tokens.items()}
        longest_first = sorted(self.special_tokens, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self._cache: dict[str, list[int]] = {}

    @property
    def vocab_size(self) -> int:
        """Number of tokens, special ones included."""
        return len(self._bytes)

    def encode(self, text: str, *, allow_special: bool = False) -> list[int]:
        """Turn a text into token ids.

        Args:
            text: Anything that UTF-8 can hold.
            allow_special: What spells a special token becomes that token. By default it is text
                like any other, so that what somebody typed can't end a document or a turn.

        Returns:
            The ids; `decode` gives the text back.

        Raises:
            TypeError: If `text` is no str.
            ValueError: If it holds half a surrogate pair, or a byte without a token.
        """
        _check_text(text)
        ids, start = [], 0
        for match in self._special.finditer(text) if allow_special else ():
            ids += self._encode_plain(text[start : match.start()])
            ids.append(self.special_tokens[match[0]])
            start = match.end()
        return ids + self._encode_plain(text[start:])

    def decode(self, token_ids: Iterable[SupportsIndex]) -> str:
        """Turn token ids into the text that they spell.

        Args:
            token_ids: Ids, as a list, an array or a tensor of one axis. Special tokens are spelled.

        Returns:
            The text; bytes that are no UTF-8, as in half a character, become U+FFFD.

        Raises:
            ValueError: If an id is not in the vocabulary.
        """
        return b"".join(self._spell(token_ids)).decode("utf-8", "replace")

    def tokens(self, token_ids: Iterable[SupportsIndex]) -> list[str]:
        r"""Show the text of each token by itself.

        Args:
            token_ids: Ids, as for `decode`.

        Returns:
            One text per id, in which a byte that is no character by itself is written as `\\xe2`.

        Raises:
            ValueError: If an id is not in the vocabulary.
        """
        return [token.decode("utf-8", "backslashreplace") for token in self._spell(token_ids)]

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int,
        special_tokens: Sequence[str] = (),
        *,
        individual_digits: bool = False,
    ) -> "ByteLevelBPE":
        """Learn merges: again and again, make one token of the most frequent pair of neighbours.

        Of pairs that are equally frequent, the one with the lower ids comes first. Ids are given in
        order: special tokens, the 256 bytes in the order of their characters, then the merges.

        Args:
            texts: What to learn from; words are counted over all of them.
            vocab_size: Tokens to stop at; fewer when no word has two tokens left to merge.
            special_tokens: Tokens that stand for no text. Where a text spells one, it is text.
            individual_digits: Cut numbers into digits.

        Returns:
            The tokenizer.

        Raises:
            TypeError: If `texts` is a str, or holds something else than str.
            ValueError: If `vocab_size` has no room for the bytes and the special tokens, if merges
                spell a special token, or if a text holds half a surrogate pair.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be several texts, got one str: put it into a list")
        tokens = [*special_tokens, *sorted(byte_alphabet().values())]
        if vocab_size < len(tokens):
            raise ValueError(
                f"vocab_size must be at least {len(tokens)} (256 bytes and {len(special_tokens)} "
                f"special tokens), got {vocab_size}"
            )
        words: Counter[str] = Counter()
        for text in texts:
            _check_text(text)
            words.update(word_pattern(individual_digits=individual_digits).findall(text))
        merges = _learn(words, tokens, vocab_size)
        ids = {token: number for number, token in enumerate(tokens)}
        special = {token: ids[token] for token in special_tokens}
        return cls(ids, merges, special, individual_digits=individual_digits)

    def _encode_plain(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in word_pattern(individual_digits=self.individual_digits).findall(text):
            if (known := self._cache.get(word)) is None:
                known = [self._id(token, word) for token in self._merge(word)]
                if len(self._cache) >= _CACHED_WORDS:  # or more, where threads share it
                    self._cache.clear()
                self._cache[word] = known
            ids += known
        return ids

    def _id(self, token: str, word: str) -> int:
        if token not in self.vocabulary:
            raise ValueError(
                f"the vocabulary has no token for a byte of {word!r}, written {token!r}; "
                "with drop_unknown_bytes=True such bytes are left out"
            )
        return self.vocabulary[token]

    def _merge(self, word: str) -> list[str]:
        """Start from the bytes; merge the pair of the lowest rank, leftmost first, to the end.

        A linked list and a heap take n log n steps; looking at all pairs again after each merge
        takes n², which is too slow for a "word" of a million letters.
        """
        parts = _bytes_of(word)
        if self.drop_unknown_bytes:
            parts = [part for part in parts if part in self.vocabulary]
        parts.append("")  # merges with nothing; it also stands at -1, before the first
        before, after = [*range(-1, len(parts) - 1)], [*range(1, len(parts) + 1)]
        queue = [
            (self._ranks[pair], left, left + 1)
            for left, pair in enumerate(itertools.pairwise(parts))
            if pair in self._ranks
        ]
        heapq.heapify(queue)
        while queue:
            rank, left, right = heapq.heappop(queue)
            if self._ranks.get((parts[left], parts[right])) == rank:  # neither has changed since
                parts[left], parts[right] = parts[left] + parts[right], ""
                after[left] = after[right]
                before[after[left]] = left
                for i, j in ((before[left], left), (left, after[left])):
                    if (parts[i], parts[j]) in self._ranks:
                        heapq.heappush(queue, (self._ranks[parts[i], parts[j]], i, j))
        return [part for part in parts if part]

    def _spell(self, token_ids: Iterable[SupportsIndex]) -> Iterator[bytes]:
        for token_id in map(operator.index, token_ids):
            if token_id not in self._bytes:
                raise ValueError(f"token_ids holds {token_id}, which is no token's id")
            yield self._bytes[token_id]


def _bytes_of(word: str) -> list[str]:
    return [byte_alphabet()[byte] for byte in word.encode()]


def _learn(words: Counter[str], tokens: list[str], vocab_size: int) -> list[tuple[str, str]]:
    """Give the merges, in order, and append the tokens that they make to `tokens`."""
    ids = {token: number for number, token in enumerate(tokens)}
    spelled = [[ids[char] for char in _bytes_of(word)] for word in words]
    frequencies = list(words.values())
    totals: Counter[tuple[int, int]] = Counter()
    places: defaultdict[tuple[int, int], set[int]] = defaultdict(set)  # words that had the pair
    queue: list[tuple[int, tuple[int, int]]] = []

    def count(indices: Iterable[int], sign: int) -> None:
        changed = set()
        for index in indices:
            for pair in itertools.pairwise(spelled[index]):
                totals[pair] += sign * frequencies[index]
                places[pair].add(index)
                changed.add(pair)
        for pair in changed:
            heapq.heappush(queue, (-totals[pair], pair))

    count(range(len(spelled)), 1)
    merges = []
    while queue and len(tokens) < vocab_size:
        negative_total, pair = heapq.heappop(queue)
        if negative_total == 0 or negative_total != -totals[pair]:
            continue  # counted before another merge changed it: a newer entry is in the queue
        merges.append((tokens[pair[0]], tokens[pair[1]]))
        merged = ids.setdefault("".join(merges[-1]), len(tokens))
        if merged == len(tokens):
            tokens.append("".join(merges[-1]))
        indices = places.pop(pair)
        count(indices, -1)
        for index in indices:
            spelled[index] = _join(spelled[index], pair, merged)
        count(indices, 1)
    return merges


def _join(word: list[int], pair: tuple[int, int], merged: int) -> list[int]:
    """Replace each occurrence of the pair, from the left."""
    joined: list[int] = []
    for number in word:
        if joined and (joined[-1], number) == pair:
            joined[-1] = merged
        else:
            joined.append(number)
    return joined


def _check_text(text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"text holds half a surrogate pair, {text[error.start]!r} at position {error.start}, "
            "which UTF-8 can't hold"
        ) from None


def _check(
    vocabulary: dict[str, int], merges: list[tuple[str, str]], special: dict[str, int]
) -> None:
    """Refuse what would not decode to what was encoded."""
    (number, uses), *_ = Counter((vocabulary | special).values()).most_common(1) or [(0, 0)]
    if uses > 1:
        raise ValueError(f"{uses} tokens share the id {number}")
    alphabet = set(byte_alphabet().values())
    made = {left + right for left, right in merges}
    for token in special:
        if not token or token in alphabet or token in made:
            raise ValueError(f"special token {token!r} must not be what a text is encoded to")
        if vocabulary.get(token, special[token]) != special[token]:
            raise ValueError(
                f"special token {token!r} has the id {special[token]}, "
                f"but {vocabulary[token]} in vocabulary"
            )
    for token in vocabulary.keys() - special.keys():
        if not token or not alphabet.issuperset(token):
            raise ValueError(
                f"token {token!r} is not spelled in the byte alphabet; is it a special token?"
            )
    for token in itertools.chain(made, *merges):
        if token not in vocabulary:
            raise ValueError(f"merges name {token!r}, which is not in the vocabulary")
