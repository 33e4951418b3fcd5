"""`llmbook.objectives`: how often, how long and where, against the exact distributions."""

import math
import re
from collections import Counter
from itertools import groupby, pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmbook.objectives import (
    corrupt_spans,
    mask_tokens,
    next_sentence_pairs,
    restore_spans,
)

MASK, SPECIAL, VOCAB = 4, (0, 2, 3), 200
SENTINELS = list(range(1000, 900, -1))
SEEDS = range(5)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_share(right: int, asked: int, share: float) -> None:
    """A count lies within five standard deviations of the binomial's mean: 1 in 1.7 million."""
    assert abs(right - asked * share) <= 5 * math.sqrt(asked * share * (1 - share)), right / asked


@pytest.mark.parametrize("seed", SEEDS)
def test_of_fifteen_percent_eight_tenths_are_hidden_and_one_tenth_is_replaced(seed: int) -> None:
    """The shares of Devlin et al., of the tokens that are not special."""
    text = torch.randint(VOCAB, (64, 512), generator=seeded(seed + 100))
    corrupted, labels = mask_tokens(
        text, MASK, VOCAB, generator=seeded(seed), special_ids=SPECIAL
    )  # fmt: skip
    special = torch.isin(text, torch.tensor([MASK, *SPECIAL]))
    chosen = labels != -100
    assert not (chosen & special).any()
    assert torch.equal(labels[chosen], text[chosen])
    assert torch.equal(corrupted[~chosen], text[~chosen])
    count, hidden = int(chosen.sum()), chosen & (corrupted == MASK)
    assert_share(count, int((~special).sum()), 0.15)
    assert_share(int(hidden.sum()), count, 0.8)
    other = chosen & ~hidden & (corrupted != text)  # a random token is the same again now and then
    assert_share(int(other.sum()), count, 0.1 * (1 - 1 / (VOCAB - 4)))
    assert not torch.isin(corrupted[other], torch.tensor([MASK, *SPECIAL])).any()
    assert len(corrupted[other].unique()) > 0.8 * VOCAB


def test_what_is_masked_depends_on_the_generator_alone() -> None:
    """Same seed, same result; another seed, another; and the text is not changed."""
    text = torch.arange(5, 105).view(2, 50)
    first, again, other = (mask_tokens(text, MASK, VOCAB, generator=seeded(s)) for s in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    assert torch.equal(text, torch.arange(5, 105).view(2, 50))


def test_shares_of_one_and_nought_are_certain() -> None:
    """All hidden, none chosen, all replaced, all chosen and kept."""
    text = torch.arange(5, 105)
    always: dict[str, Any] = {"generator": seeded(0), "rate": 1.0}
    assert (mask_tokens(text, MASK, VOCAB, masked=1.0, replaced=0.0, **always)[0] == MASK).all()
    assert (mask_tokens(text, MASK, VOCAB, generator=seeded(0), rate=0.0)[1] == -100).all()
    kept, labels = mask_tokens(text, MASK, VOCAB, masked=0.0, replaced=0.0, **always)
    assert torch.equal(kept, text)
    assert torch.equal(labels, text)
    swapped = mask_tokens(text, MASK, VOCAB, masked=0.0, replaced=1.0, **always)[0]
    assert (swapped != text).float().mean() > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_half_of_the_pairs_are_neighbours_and_half_are_of_another_document(seed: int) -> None:
    """Sentences are numbered through, so that where each comes from can be read off."""
    documents = [[[100 * d + s] for s in range(2 + d % 5)] for d in range(60)]
    pairs, labels = next_sentence_pairs(documents, generator=seeded(seed))
    places = [(first[0], second[0]) for first, second in pairs]
    assert [a for a, _ in places] == [s[0] for document in documents for s in document[:-1]]
    for (a, b), label in zip(places, labels.tolist(), strict=True):
        assert b == a + 1 if label == 0 else a // 100 != b // 100
    assert int(labels.sum()) == len(pairs) // 2
    assert not torch.equal(labels, next_sentence_pairs(documents, generator=seeded(seed + 9))[1])


def test_a_false_neighbour_is_any_sentence_of_the_other_documents() -> None:
    """Each of them as likely, whichever side of the document it stands on."""
    documents = [[[0], [1]], [[10], [11], [12]], [[20]]]
    seen: Counter[tuple[int, int]] = Counter()
    for seed in range(3000):
        pairs, labels = next_sentence_pairs(documents, generator=seeded(seed))
        seen.update(
            (a[0], b[0]) for (a, b), label in zip(pairs, labels.tolist(), strict=True) if label
        )
    expected = {0: (10, 11, 12, 20), 10: (0, 1, 20), 11: (0, 1, 20)}
    assert set(seen) == {(a, b) for a, others in expected.items() for b in others}
    for a, others in expected.items():  # one of three pairs is false each time
        for b in others:
            assert_share(seen[a, b], 3000, 1 / 3 / len(others))


def spans_of(targets: Tensor) -> list[list[int]]:
    """What stands between the sentinels."""
    groups = groupby(targets.tolist(), key=lambda token: token in SENTINELS)
    return [list(group) for is_sentinel, group in groups if not is_sentinel]


def test_the_papers_example_can_be_made() -> None:
    """'Thank you <X> me to your party <Y> week', with 'for inviting' and 'last'."""
    text = torch.arange(10)  # Thank you for inviting me to your party last week
    found = set()
    for seed in range(300):
        inputs, targets = corrupt_spans(
            text, SENTINELS, generator=seeded(seed), rate=0.3, mean_length=1.5
        )
        found.add((tuple(inputs.tolist()), tuple(targets.tolist())))
    assert ((0, 1, 1000, 4, 5, 6, 7, 999, 9), (1000, 2, 3, 999, 8, 998)) in found
    # Two spans of 1 + 2 or 2 + 1 tokens; 7 kept ones in two pieces of at least 1 and one of any size
    assert len(found) == 2 * math.comb(7, 2)


def test_all_ways_to_cut_are_equally_likely() -> None:
    """Six tokens, three of them cut in two spans: twice 3 ways, each a sixth of the time."""
    seen: Counter[tuple[int, ...]] = Counter()
    for seed in range(3000):
        inputs, _ = corrupt_spans(
            torch.arange(6), SENTINELS, generator=seeded(seed), rate=0.5, mean_length=1.5
        )
        seen[tuple(inputs.tolist())] += 1
    assert len(seen) == 2 * 3
    for count in seen.values():
        assert_share(count, 3000, 1 / 6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("seq", "rate", "mean", "cut", "spans"),
    [
        (512, 0.15, 3.0, 77, 26),
        (100, 0.15, 3.0, 15, 5),
        (100, 0.5, 10, 50, 5),
        (20, 0.15, 3.0, 3, 1),
        (2, 0.15, 3.0, 1, 1),  # at least one
        (4, 0.99, 3.0, 3, 1),  # not all
        (10, 0.9, 1.0, 9, 1),  # no more spans than kept tokens to part them
        (9, 0.3, 3.0, 3, 1),
    ],
)
def test_numbers_of_tokens_and_spans_are_exact(
    seq: int, rate: float, mean: float, cut: int, spans: int, seed: int
) -> None:
    """Raffel et al.: round(n r) tokens in round(n r / mean) spans, none empty, none adjacent."""
    text = torch.arange(seq)
    inputs, targets = corrupt_spans(
        text, SENTINELS, generator=seeded(seed), rate=rate, mean_length=mean
    )
    assert len(inputs) == seq - cut + spans
    assert len(targets) == cut + spans + 1
    gone = spans_of(targets)
    assert len(gone) == spans
    assert sum(map(len, gone)) == cut
    assert all(span == list(range(span[0], span[0] + len(span))) for span in gone)
    assert all(before[-1] + 1 < after[0] for before, after in pairwise(gone))
    assert gone[0][0] > 0
    assert [t for t in inputs.tolist() if t in SENTINELS] == SENTINELS[:spans]
    assert [t for t in targets.tolist() if t in SENTINELS] == SENTINELS[: spans + 1]
    assert (int(targets[0]), int(targets[-1])) == (SENTINELS[0], SENTINELS[spans])


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=80),
    st.floats(0.01, 0.99),
    st.floats(1, 8),
    st.integers(0, 10**6),
)
def test_spans_put_back_give_the_text(
    text: list[int], rate: float, mean: float, seed: int
) -> None:  # fmt: skip
    """Whatever the text, in which tokens may come again and again."""
    tokens = torch.tensor(text)
    parts = corrupt_spans(tokens, SENTINELS, generator=seeded(seed), rate=rate, mean_length=mean)
    assert torch.equal(restore_spans(*parts, SENTINELS), tokens)


def test_the_end_of_a_text_is_cut_out_now_and_then() -> None:
    """Not always, as in T5's own code, and not never; the first token always stays."""
    ends = [
        corrupt_spans(torch.arange(40), SENTINELS, generator=seeded(seed))[0][-1].item() in SENTINELS
        for seed in range(200)
    ]  # fmt: skip
    # 34 kept tokens in two pieces and a rest that may be empty: of comb(34, 2) ways comb(33, 1).
    assert_share(sum(ends), 200, math.comb(33, 1) / math.comb(34, 2))


def test_an_empty_span_can_be_put_back() -> None:
    """A model may write nothing for a gap."""
    restored = restore_spans(torch.tensor([5, 99, 8]), torch.tensor([99, 98]), [99, 98])
    assert restored.tolist() == [5, 8]
    assert restore_spans(torch.tensor([5]), torch.tensor([99]), [99, 98]).tolist() == [5]


T = torch.tensor
G = torch.Generator()


@pytest.mark.plain
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mask_tokens(T([1.0]), 0, 9, generator=G), "token_ids must be int64 or int32, got dtype torch.float32"),
        (lambda: mask_tokens(T([1]), 0, 9, generator=G, rate=1.5), "rate must be from 0 to 1, got 1.5"),
        (lambda: mask_tokens(T([1]), 0, 9, generator=G, masked=0.95), "masked and replaced must not be more than 1 together, got 0.95 and 0.1"),
        (lambda: mask_tokens(T([1]), 9, 9, generator=G), "mask_id must be from 0 to 8, got 9"),
        (lambda: mask_tokens(T([1]), 0, 2, generator=G, special_ids=[1]), "special_ids must leave a token of the 2, got [1]"),
        (lambda: next_sentence_pairs([[[1], [2]], []], generator=G), "documents must be at least two, and one must have two sentences, got [2, 0] sentences"),
        (lambda: next_sentence_pairs([[[1]], [[2]]], generator=G), "got [1, 1] sentences"),
        (lambda: corrupt_spans(T([[1, 2]]), [9, 8], generator=G), "token_ids must be a text of at least two tokens, got shape (1, 2)"),
        (lambda: corrupt_spans(T([1]), [9, 8], generator=G), "got shape (1,)"),
        (lambda: corrupt_spans(T([1, 2]), [9, 8], generator=G, rate=1), "rate must be between 0 and 1, got 1"),
        (lambda: corrupt_spans(T([1, 2]), [9, 8], generator=G, mean_length=0.5), "mean_length must be at least 1, got 0.5"),
        (lambda: corrupt_spans(T([1, 2]), [9], generator=G), "sentinels must be at least 2 for 2 tokens, got 1"),
        (lambda: corrupt_spans(T([1, 2]), [9, 9], generator=G), "sentinels must all be different, got [9, 9]"),
        (lambda: corrupt_spans(T([1, 8]), [9, 8], generator=G), "sentinels must not be tokens of the text, got [8]"),
        (lambda: restore_spans(T([1, 8, 9]), T([9, 1, 8, 2, 7]), [9, 8, 7]), "inputs must have the first of the sentinels [9, 8, 7] in their order, each once and one left for the end, got [8, 9]"),
        (lambda: restore_spans(T([1, 9, 9]), T([9, 1]), [9, 8, 7]), "got [9, 9]"),
        (lambda: restore_spans(T([1, 9, 8]), T([9, 1, 8]), [9, 8]), "one left for the end, got [9, 8]"),
        (lambda: restore_spans(T([1, 9]), T([9, 1]), [9, 8]), "targets must have the sentinels [9, 8], got [9]"),
        (lambda: restore_spans(T([1, 9]), T([9, 1, 8, 2, 7]), [9, 8, 7]), "targets must have the sentinels [9, 8], got [9, 8, 7]"),
        (lambda: restore_spans(T([1, 9]), T([5, 9, 1, 8]), [9, 8]), "targets must begin with 9 and end with 8, got 5 and 8"),
        (lambda: restore_spans(T([1, 9]), T([9, 1, 8, 5]), [9, 8]), "targets must begin with 9 and end with 8, got 9 and 5"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(call: Any, message: str) -> None:
    """The argument, what came and what was expected."""
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
