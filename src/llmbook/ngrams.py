"""N-grams: say what comes next by counting, as well as counting can."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from llmbook.sizes import whole

Tokens = Int[np.ndarray, " tokens"]


@dataclass(frozen=True)
class Table:
    """All n-grams of one length that a text has, sorted.

    Attributes:
        ngrams: Each as one number: its tokens are the digits, in base `vocab_size`.
        counts: How often each counts.
        contexts: Each n-gram without its last token, once.
        starts: Where each context's n-grams begin; one more at the end.
        totals: The counts of each context's n-grams together.
        discount: What is taken from each count.
    """

    ngrams: Int[np.ndarray, " ngrams"]
    counts: Int[np.ndarray, " ngrams"]
    contexts: Int[np.ndarray, " contexts"]
    starts: Int[np.ndarray, " contexts+1"]
    totals: Int[np.ndarray, " contexts"]
    discount: float | int

    @classmethod
    def of(
        cls, ngrams: Int[np.ndarray, " ngrams"], counts: Int[np.ndarray, " ngrams"], vocab_size: int
    ) -> "Table":
        """Group n-grams by context, and choose the discount."""
        contexts, starts = np.unique(ngrams // vocab_size, return_index=True)
        once, twice = (counts == 1).sum(), (counts == 2).sum()
        return cls(
            ngrams=ngrams,
            counts=counts,
            contexts=contexts,
            starts=np.append(starts, len(ngrams)),
            totals=np.add.reduceat(counts, starts),
            discount=float(once / (once + 2 * twice)) if once else 0.5,
        )


class KneserNey:
    r"""An n-gram model that leans on shorter contexts where a longer one was rarely seen.

    With $h$ for the tokens before and $h'$ for all of them but the first, in a context that occurs,

    $$p(w \mid h) = \frac{\max(c(hw) - D, 0)}{c(h\,\cdot)} + \frac{D\,t(h)}{c(h\,\cdot)}\,
      p(w \mid h'), \qquad D = \frac{n_1}{n_1 + 2 n_2}$$

    and $p(w \mid h')$ in one that does not. $t(h)$ counts the different tokens after $h$, and so
    how much the discount has taken away there; $n_1$ and $n_2$ are how many n-grams of this length
    count once and twice. What is special is $c$: in the longest n-grams it is how often they occur,
    but in all shorter ones *after how many different tokens* they occur. *Francisco* may be
    frequent, but it follows *San* alone, and is no good guess elsewhere. Below single tokens comes
    $1 / \mathrm{vocabulary}$, so that nothing is impossible. (Where no n-gram counts once, as in a
    tiny text, $D$ is one half.)

    Args:
        token_ids: The text to learn from. Documents stand one after the other, with a token
            between them that says so; a context may reach across.
        vocab_size: Tokens that there are.
        order: The longest n-grams, $n$: a token is told by up to $n - 1$ before it. 1 counts single
            tokens.

    Raises:
        ValueError: If `order` is not positive, the text is shorter than that or holds a token that
            is not in the vocabulary, or an n-gram does not fit into 63 bits.

    Examples:
        >>> model = KneserNey(np.array([0, 1, 0, 1, 0, 2]), vocab_size=3, order=2)
        >>> model.distribution(np.array([0])).round(2)
        array([0.04, 0.64, 0.31])

    Source:
        [Kneser and Ney 1995][kneser1995improved]; interpolated as in
        [Chen and Goodman 1999][chen1999empirical], section 3.
    """

    def __init__(self, token_ids: Tokens, vocab_size: int, order: int) -> None:
        vocab_size, order = whole("vocab_size", vocab_size), whole("order", order)
        if order < 1 or len(token_ids) < order:
            raise ValueError(
                f"order must be from 1 to the {len(token_ids)} tokens of the text, got {order}"
            )
        if vocab_size**order >= 2**63:
            raise ValueError(
                f"vocab_size**order must be below 2**63, got {vocab_size} and {order}: "
                "take a lower order or fewer tokens"
            )
        self.vocab_size, self.order = vocab_size, order
        ngrams, counts = np.unique(self._pack(token_ids, order), return_counts=True)
        tables = [Table.of(ngrams, counts, vocab_size)]
        for length in range(order - 1, 0, -1):
            ngrams, counts = np.unique(ngrams % vocab_size**length, return_counts=True)
            tables.append(Table.of(ngrams, counts, vocab_size))
        self.tables = tables[::-1]

    def log_probs(self, token_ids: Tokens) -> Float[np.ndarray, " tokens"]:
        """The logarithm of each token's probability in nats, given up to `order - 1` before it.

        The first tokens have fewer before them; of a text that starts a document, put the token in
        front that ends one.

        Args:
            token_ids: A text, as long as you like.

        Raises:
            ValueError: If a token is not in the vocabulary.
        """
        p = np.full(len(token_ids), 1 / self.vocab_size)
        for length, table in enumerate(self.tables, start=1):
            ngrams = self._pack(token_ids, length)
            place, seen = _find(table.contexts, ngrams // self.vocab_size)
            found, there = _find(table.ngrams, ngrams)
            taken = table.discount * np.diff(table.starts)[place]
            kept = np.where(there, table.counts[found] - table.discount, 0)  # D is at most 1
            lower = p[length - 1 :]
            p[length - 1 :] = np.where(seen, (kept + taken * lower) / table.totals[place], lower)
        log: Float[np.ndarray, " tokens"] = np.log(p)
        return log

    def distribution(self, context: Tokens) -> Float[np.ndarray, " vocab"]:
        """The probability of every token after a context, of which the last `order - 1` count.

        Args:
            context: The tokens before; none is a context too.

        Raises:
            ValueError: If a token is not in the vocabulary.
        """
        p = np.full(self.vocab_size, 1 / self.vocab_size)
        for length, table in enumerate(self.tables[: len(context) + 1]):
            (before,) = self._pack(context[len(context) - length :], length)
            (place,), (seen,) = _find(table.contexts, np.array([before]))
            if not seen:
                break  # then no longer context has been seen either
            follow = slice(table.starts[place], table.starts[place + 1])
            kept = table.counts[follow] - table.discount
            p *= table.discount * len(kept)
            p[table.ngrams[follow] % self.vocab_size] += kept
            p /= table.totals[place]
        return p

    def predict(self, contexts: Int[np.ndarray, "texts tokens"]) -> Int[np.ndarray, " texts"]:
        """The most probable token after each context; of equals, the lowest id.

        Args:
            contexts: One to a row.

        Raises:
            ValueError: If a token is not in the vocabulary.
        """
        return np.array([self.distribution(row).argmax() for row in contexts], dtype=np.int64)

    def _pack(self, token_ids: Tokens, length: int) -> Int[np.ndarray, " ngrams"]:
        """All n-grams of a text as numbers: the first token is the highest digit."""
        if len(token_ids) and not np.issubdtype(token_ids.dtype, np.integer):
            raise ValueError(f"token_ids must be integers, got dtype {token_ids.dtype}")
        if len(token_ids) and not 0 <= token_ids.min() <= token_ids.max() < self.vocab_size:
            raise ValueError(
                f"token_ids must be from 0 to {self.vocab_size - 1}, "
                f"got {token_ids.min()} to {token_ids.max()}"
            )
        count = max(0, len(token_ids) - length + 1)
        token_ids = token_ids.astype(np.int64)  # others may be too short for a product
        packed = np.zeros(count, dtype=np.int64)
        for start in range(length):
            packed = packed * self.vocab_size + token_ids[start : start + count]
        return packed


def _find(
    sorted_values: Int[np.ndarray, " values"], wanted: Int[np.ndarray, " wanted"]
) -> tuple[Int[np.ndarray, " wanted"], np.ndarray]:
    """Where each of some numbers is, or any place, and whether it is there."""
    place = np.searchsorted(sorted_values, wanted).clip(max=len(sorted_values) - 1)
    return place, sorted_values[place] == wanted
