"""WordPiece, BERT's tokenizer: each word is cut into the longest pieces that the list has."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LONGEST = 100  # characters of a word; longer ones are unknown


def is_punctuation(character: str) -> bool:
    """What stands by itself: Unicode's punctuation, and every ASCII sign, such as `$`.

    Examples:
        >>> [c for c in "a1 .$_–é" if is_punctuation(c)]
        ['.', '$', '_', '–']
    """
    ascii_sign = character.isascii() and character.isprintable() and not character.isalnum()
    return (ascii_sign and character != " ") or unicodedata.category(character).startswith("P")


def is_ideograph(character: str) -> bool:
    """A Chinese character, in whatever language; each is a word of its own.

    Examples:
        >>> [c for c in "日本 desu" if is_ideograph(c)]
        ['日', '本']
    """
    ranges = (
        (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
    )  # fmt: skip
    return any(low <= ord(character) <= high for low, high in ranges)


class WordPiece:
    """A list of pieces, and the cutting of texts into them.

    A piece that continues a word is written with `##` before it. A word that cannot be cut into
    pieces is one `[UNK]`. So a text does not come back whole: case, accents, spaces and unknown
    words are lost.

    Args:
        pieces: All pieces in the order of their numbers, among them `[UNK]`, `[CLS]`, `[SEP]`.
        lowercase: Lower case, and no accents, as in the uncased models.

    Raises:
        ValueError: If a piece is there twice, or one of the three is missing.

    Examples:
        >>> tokenizer = WordPiece(["[UNK]", "[CLS]", "[SEP]", "un", "##happi", "##ness", "!"])
        >>> tokenizer.tokens("Unhappiness!")
        ['un', '##happi', '##ness', '!']

    Source:
        [Wu et al. 2016][wu2016google], section 4.1; as BERT has it:
        [Devlin et al. 2019][devlin2019bert], section 3.
    """

    def __init__(self, pieces: Sequence[str], *, lowercase: bool = True) -> None:
        self.pieces, self.lowercase = list(pieces), lowercase
        self.number = {piece: index for index, piece in enumerate(self.pieces)}
        if len(self.number) < len(self.pieces):
            twice = next(p for p in self.pieces if self.pieces.count(p) > 1)
            raise ValueError(f"pieces must differ, got {twice!r} twice")
        for needed in ("[UNK]", "[CLS]", "[SEP]"):
            if needed not in self.number:
                raise ValueError(f"pieces must hold {needed}")
        known = [re.escape(piece) for piece in SPECIAL if piece in self.number]
        self._special = re.compile(f"({'|'.join(known)})")

    @property
    def vocab_size(self) -> int:
        """Pieces in the list."""
        return len(self.pieces)

    def tokens(self, text: str, *, allow_special: bool = False) -> list[str]:
        """Cut a text into pieces.

        Args:
            text: Any text.
            allow_special: Take `[MASK]` and its like, where the text spells them, as what they
                stand for. Otherwise they are text.
        """
        if not allow_special:
            return [piece for word in self._words(text) for piece in self._cut(word)]
        tokens: list[str] = []
        for part in self._special.split(text):
            tokens += [part] if part in SPECIAL else self.tokens(part)
        return tokens

    def encode(
        self, first: str, second: str | None = None, *, allow_special: bool = False
    ) -> tuple[list[int], list[int]]:
        """Turn a text, or a pair of texts, into BERT's input.

        Args:
            first: A text.
            second: The text after it.
            allow_special: As in `tokens`.

        Returns:
            The numbers of `[CLS] first [SEP] second [SEP]`, and 0 for what belongs to the first
            text, 1 for the second.

        Examples:
            >>> tokenizer = WordPiece(["[UNK]", "[CLS]", "[SEP]", "yes", "no"])
            >>> tokenizer.encode("yes", "no")
            ([1, 3, 2, 4, 2], [0, 0, 0, 1, 1])
        """
        groups = [["[CLS]", *self.tokens(first, allow_special=allow_special), "[SEP]"]]
        if second is not None:
            groups.append([*self.tokens(second, allow_special=allow_special), "[SEP]"])
        ids = [self.number[piece] for group in groups for piece in group]
        return ids, [segment for segment, group in enumerate(groups) for _ in group]

    def decode(self, ids: Iterable[int]) -> str:
        """Put pieces together again, as well as that can be done."""
        return " ".join(self.pieces[index] for index in ids).replace(" ##", "")

    def _words(self, text: str) -> Iterator[str]:
        """Words and signs, cleaned as the model was trained."""
        clean = "".join(" " if c.isspace() else c for c in text if not _is_control(c))
        if self.lowercase:
            decomposed = unicodedata.normalize("NFD", clean)
            clean = "".join(c for c in decomposed if unicodedata.category(c) != "Mn").lower()
        for word in clean.split():
            for alone, run in groupby(word, lambda c: is_punctuation(c) or is_ideograph(c)):
                characters = "".join(run)
                yield from characters if alone else [characters]

    def _cut(self, word: str) -> list[str]:
        """The longest piece from the left, then from where that ends, and so on."""
        if len(word) > LONGEST:
            return ["[UNK]"]
        pieces: list[str] = []
        start = 0
        while start < len(word):
            before = "##" if start else ""
            for end in range(len(word), start, -1):
                if (piece := before + word[start:end]) in self.number:
                    break
            else:
                return ["[UNK]"]
            pieces.append(piece)
            start = end
        return pieces


def _is_control(character: str) -> bool:
    if character in "\t\n\r":
        return False
    return character in "\0�" or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co")
