"""`llmbook.unmasking`: what masks are worth, and what is lost if several are filled at once."""

import math
from collections.abc import Callable
from itertools import combinations, pairwise, permutations, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llmbook.bert import Bert, BertConfig
from llmbook.unmasking import (
    ORDERS,
    block_sizes,
    hide,
    nll_bound,
    share_kept,
    token_log_probs,
    unmask,
    unmasking_loss,
)
from tests.reference import saved
from tests.reference.diffusers import MASKED, VOCAB, begun, guesses

MASK = 3
TEXTS = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 2, 0], [2, 2, 2], [1, 0, 1]])
WEIGHTS = torch.tensor([0.35, 0.25, 0.2, 0.15, 0.05], dtype=torch.float64)


def oracle(texts: Tensor, weights: Tensor, vocab: int = MASK + 1) -> Callable[[Tensor], Tensor]:
    """The true probabilities of every token, given those that are there."""

    def logits(ids: Tensor) -> Tensor:
        fits = ((ids[:, None] == texts) | (ids[:, None] == vocab - 1)).all(-1) * weights
        unknown = fits.sum(1) == 0  # no such text: what comes out does not matter
        fits = torch.where(unknown[:, None], weights, fits)
        shares = torch.einsum("bt,tsv->bsv", fits, F.one_hot(texts, vocab).double())
        return (shares / shares.sum(-1, keepdim=True)).log()

    return logits


def drawn(steps: int, order: str, count: int = 20_000) -> Tensor:
    ids = torch.full((count, TEXTS.shape[1]), MASK)
    return unmask(
        oracle(TEXTS, WEIGHTS),
        ids,
        steps,
        mask_id=MASK,
        generator=torch.Generator().manual_seed(0),
        order=order,
    )


def joint(ids: Tensor) -> Tensor:
    """How often each of the 27 texts came."""
    return (ids @ torch.tensor([9, 3, 1])).bincount(minlength=27).double()


def chi_square(found: Tensor, expected: Tensor) -> float:
    there = expected > 0
    assert found[~there].sum() == 0
    return ((found - expected)[there].square() / expected[there]).sum().item()


TRUE_JOINT = torch.zeros(27, dtype=torch.float64).index_add(
    0, TEXTS @ torch.tensor([9, 3, 1]), WEIGHTS
)


@pytest.mark.parametrize("order", ORDERS)
def test_one_token_a_step_gives_the_true_joint_distribution_in_every_order(order: str) -> None:
    found = joint(drawn(3, order))
    assert chi_square(found, 20_000 * TRUE_JOINT) < 18.5  # 4 degrees of freedom, p = 0.001


@pytest.mark.parametrize("order", ORDERS)
def test_all_at_once_gives_the_product_of_the_marginals(order: str) -> None:
    marginals = torch.einsum("t,tsv->sv", WEIGHTS, F.one_hot(TEXTS, 3).double())
    expected = torch.einsum("a,b,c->abc", *marginals).flatten()
    assert chi_square(joint(drawn(1, order)), 20_000 * expected) < 54.1  # 26 degrees of freedom


@pytest.mark.parametrize(("seq", "steps"), MASKED)
def test_the_surest_first_writes_what_diffusers_writes_where_nothing_is_drawn(
    seq: int, steps: int
) -> None:
    ids = unmask(
        guesses,
        begun(seq),
        steps,
        mask_id=VOCAB - 1,
        generator=torch.Generator(),
        order="surest",
        temperature=0,
    )
    assert np.array_equal(ids.numpy(), saved("diffusers")[f"masks/{seq}/{steps}"])


def test_to_keep_what_is_likeliest_of_what_was_drawn_is_no_fair_draw() -> None:
    """Two coins, heads with 0.9: the likelier one is kept and the other drawn anew."""
    heads = 0.9
    both_tails = 0.0
    for first, second in product((True, False), repeat=2):
        chance = math.prod(heads if coin else 1 - heads for coin in (first, second))
        kept = first or second  # a head is kept if there is one
        both_tails += chance * (0 if kept else 1 - heads)
    assert math.isclose(both_tails, 0.001)  # and not 0.01
    coins = torch.tensor([0.9, 0.1, 0.0]).log().expand(1, 2, 3)
    ids = unmask(
        lambda ids: coins.expand(len(ids), 2, 3),
        torch.full((50_000, 2), 2),
        2,
        mask_id=2,
        generator=torch.Generator().manual_seed(0),
        order="surest",
    )
    assert abs((ids == 1).all(1).double().mean() - 0.01) < 0.002


def test_with_the_true_probabilities_the_bound_is_the_negative_log_likelihood() -> None:
    found = nll_bound(oracle(TEXTS, WEIGHTS), TEXTS, MASK)
    torch.testing.assert_close(found, -WEIGHTS.log())


def anything(seed: int, seq: int, vocab: int) -> Callable[[Tensor], Tensor]:
    """A model that is wrong: logits for each position that depend on all tokens."""
    weights = torch.randn(
        seq * vocab, seq * vocab, generator=torch.Generator().manual_seed(seed)
    ).double()
    return lambda ids: (F.one_hot(ids, vocab).double().flatten(1) @ weights).view(-1, seq, vocab)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_bound_is_the_mean_over_all_orders_of_one_token_at_a_time(seed: int) -> None:
    model = anything(seed, 4, 4)
    text = torch.randint(3, (1, 4), generator=torch.Generator().manual_seed(seed))
    costs = []
    for order in permutations(range(4)):
        ids, cost = torch.full((1, 4), MASK), 0.0
        for i in order:
            cost -= token_log_probs(model, ids, MASK)[0, i, text[0, i]].item()
            ids[0, i] = text[0, i]
        costs.append(cost)
    assert math.isclose(nll_bound(model, text, MASK).item(), np.mean(costs), rel_tol=1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_the_loss_is_the_bound_on_the_average_over_rates_and_masks(seed: int) -> None:
    """The average is an integral of a polynomial over t, which nodes of Gauss take exactly."""
    model = anything(seed, 4, 4)
    text = torch.randint(3, (1, 4), generator=torch.Generator().manual_seed(seed))
    nodes, weights = np.polynomial.legendre.leggauss(8)
    total = 0.0
    for t, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        for size in range(1, 5):
            for chosen in combinations(range(4), size):
                hidden = text.clone()
                hidden[:, chosen] = MASK
                chance = t**size * (1 - t) ** (4 - size)
                loss = unmasking_loss(model, (text, hidden, torch.tensor([t])), MASK)
                total += weight * chance * loss.item()
    assert math.isclose(4 * total, nll_bound(model, text, MASK).item(), rel_tol=1e-9)


def test_the_loss_and_its_gradients_are_those_of_weighted_cross_entropy() -> None:
    torch.manual_seed(0)
    config = BertConfig(vocab_size=8, d_model=16, num_layers=1, num_heads=2, d_ff=32, max_len=6)
    model = Bert(config).double()
    texts = torch.randint(7, (5, 6))
    hidden, rates = hide(texts, 7, generator=torch.Generator().manual_seed(0))
    loss = unmasking_loss(model, (texts, hidden, rates), 7)
    labels = texts.masked_fill(hidden != 7, -100)
    logits = model(hidden)[0][..., :7]  # the mask is the last token
    each = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
    expected = (each / rates[:, None]).mean()
    torch.testing.assert_close(loss, expected)
    ours, theirs = (
        torch.autograd.grad(x, [*model.blocks.parameters(), model.embedding.weight])
        for x in (loss, expected)
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@settings(max_examples=50, deadline=None)
@given(batch=st.integers(1, 40), seed=st.integers(0, 999))
def test_rates_are_evenly_spaced_above_0_and_up_to_1(batch: int, seed: int) -> None:
    texts = torch.zeros(batch, 5, dtype=torch.long)
    hidden, rates = hide(texts, 1, generator=torch.Generator().manual_seed(seed))
    assert ((rates > 0) & (rates <= 1)).all()
    torch.testing.assert_close(rates.diff(), torch.full((batch - 1,), 1 / batch))
    assert set(hidden.unique().tolist()) <= {0, 1}


def test_each_token_is_masked_with_its_texts_rate() -> None:
    texts = torch.zeros(4, 50_000, dtype=torch.long)
    hidden, rates = hide(texts, 1, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(hidden.float().mean(1), rates, rtol=0, atol=0.01)


@settings(max_examples=60, deadline=None)
@given(
    seq=st.integers(1, 7),
    steps=st.integers(1, 9),
    order=st.sampled_from(ORDERS),
    temperature=st.sampled_from([0, 0.5, 1.0]),
    seed=st.integers(0, 999),
)
def test_what_is_there_stays_all_masks_go_and_no_step_is_too_many(
    seq: int, steps: int, order: str, temperature: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    model, left = anything(seed, seq, 4), []
    ids = torch.randint(4, (3, seq), generator=generator)

    def watched(now: Tensor) -> Tensor:
        left.append((now == MASK).sum(1))
        return model(now)

    found = unmask(
        watched, ids, steps, mask_id=MASK, generator=generator, order=order, temperature=temperature
    )
    assert torch.equal(found[ids != MASK], ids[ids != MASK])
    assert not (found == MASK).any()
    assert len(left) == min(steps, int((ids == MASK).sum(1).max()))
    for row, masks in enumerate((ids == MASK).sum(1).tolist()):
        counts = [int(step[row]) for step in left] + [0]
        filled = [a - b for a, b in pairwise(counts) if a - b]
        assert filled == block_sizes(masks, steps)


def test_orders_are_what_they_are_called() -> None:
    """Each first step of three shows which mask was filled first."""
    logits = torch.tensor([[0.0, 1, 0, 0], [5.0, 0, 0, 0], [0.0, 0, 3, 0]])
    ids = torch.full((400, 3), MASK)
    for order, expected in (("left", {0}), ("surest", {1}), ("random", {0, 1, 2})):
        seen: list[Tensor] = []

        def watched(now: Tensor, seen: list[Tensor] = seen) -> Tensor:
            seen.append(now)
            return logits.expand(len(now), 3, 4)

        unmask(
            watched,
            ids,
            3,
            mask_id=MASK,
            generator=torch.Generator().manual_seed(0),
            order=order,
        )
        assert set((seen[1] != MASK).int().argmax(1).tolist()) == expected


def test_at_temperature_0_the_likeliest_token_is_written_and_below_1_more_often() -> None:
    logits = torch.tensor([0.0, 1.0, 0.0, 9.0]).expand(1, 1, 4)  # the mask's own does not count
    shares = {}
    for temperature in (0, 0.5, 1, 2):
        ids = unmask(
            lambda ids: logits.expand(len(ids), 1, 4),
            torch.full((20_000, 1), MASK),
            1,
            mask_id=MASK,
            generator=torch.Generator().manual_seed(0),
            temperature=temperature,
        )
        shares[temperature] = (ids == 1).double().mean().item()
    assert shares[0] == 1
    for temperature in (0.5, 1, 2):
        expected = math.exp(1 / temperature) / (math.exp(1 / temperature) + 2)
        assert abs(shares[temperature] - expected) < 0.015


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_bert_of_any_precision_writes_and_keeps_its_mode(dtype: torch.dtype) -> None:
    config = BertConfig(
        vocab_size=8, d_model=16, num_layers=1, num_heads=2, d_ff=32, max_len=6, dropout=0.5
    )
    model = Bert(config).to(dtype).train()
    ids = torch.full((2, 6), 7)
    one, other = (
        unmask(model, ids, 2, mask_id=7, generator=torch.Generator().manual_seed(0))
        for _ in range(2)
    )
    assert torch.equal(one, other)  # without dropout
    assert model.training
    assert (ids == 7).all()


def test_nothing_is_written_where_there_is_nothing_to_write() -> None:
    at = torch.Generator()
    for shape in ((0, 3), (2, 0)):
        ids = torch.empty(shape, dtype=torch.long)
        assert unmask(anything(0, 3, 4), ids, 2, mask_id=MASK, generator=at).shape == shape
        assert hide(ids, MASK, generator=at)[0].shape == shape
    whole = torch.zeros(2, 3, dtype=torch.long)
    assert torch.equal(unmask(anything(0, 3, 4), whole, 2, mask_id=MASK, generator=at), whole)
    assert nll_bound(anything(0, 0, 4), torch.empty(2, 0, dtype=torch.long), MASK).tolist() == [
        0,
        0,
    ]


EVEN = torch.tensor([[a, b, (a + b) % 3, b] for a in range(3) for b in range(3)])


def by_hand(sizes: list[int], orders: list[tuple[int, ...]], known: tuple[int, ...] = ()) -> float:
    """The same number from its definition, with fractions of texts counted one by one."""
    texts = [tuple(text) for text in EVEN.tolist()]

    def alike(text: tuple[int, ...], places: tuple[int, ...]) -> int:
        return sum(all(other[i] == text[i] for i in places) for other in texts)

    total = 0.0
    for order in orders:
        for text in texts:
            chance, there, rest = alike(text, known) / len(texts), known, order
            for size in sizes:
                block, rest = rest[:size], rest[size:]
                for i in block:
                    chance *= alike(text, (*there, i)) / alike(text, there)
                there = (*there, *block)
            total += chance
    return total / len(orders)


@pytest.mark.parametrize("sizes", [[4], [1, 3], [2, 2], [3, 1], [1, 1, 2], [1, 1, 1, 1]])
def test_the_share_that_is_kept_is_what_counting_gives(sizes: list[int]) -> None:
    every = [*permutations(range(4))]
    assert math.isclose(share_kept(EVEN, sizes), by_hand(sizes, every))
    for order in ((0, 1, 2, 3), (3, 1, 2, 0)):
        assert math.isclose(share_kept(EVEN, sizes, order=order), by_hand(sizes, [order]))


def test_with_some_tokens_given_too() -> None:
    rest = [*permutations((0, 1, 3))]
    for sizes in ([3], [1, 2], [1, 1, 1]):
        assert math.isclose(share_kept(EVEN, sizes, given=[2]), by_hand(sizes, rest, (2,)))


def test_an_oracle_keeps_the_share_that_is_computed() -> None:
    model = oracle(EVEN, torch.ones(len(EVEN), dtype=torch.float64))
    for steps in (1, 2, 3, 4):
        for order in ("random", "left"):
            ids = unmask(
                model,
                torch.full((10_000, 4), MASK),
                steps,
                mask_id=MASK,
                generator=torch.Generator().manual_seed(0),
                order=order,
            )
            there = (ids[:, None] == EVEN).all(-1).any(1).double().mean().item()
            sizes = block_sizes(4, steps)
            expected = share_kept(EVEN, sizes, order=range(4) if order == "left" else None)
            assert abs(there - expected) < 0.02


def test_one_at_a_time_loses_nothing_and_independent_tokens_may_come_at_once() -> None:
    assert math.isclose(share_kept(EVEN, [1, 1, 1, 1]), 1)
    assert math.isclose(share_kept(EVEN, [2, 2], order=[0, 1, 2, 3]), 1)
    assert share_kept(EVEN, [2, 2], order=[1, 3, 0, 2]) < 0.5


@pytest.mark.plain
def test_what_does_not_fit_is_named() -> None:
    generator = torch.Generator()
    ids = torch.full((1, 4), MASK)
    model = anything(0, 4, 4)
    with pytest.raises(ValueError, match="token_ids must be texts without the mask, got 3 among"):
        hide(ids, MASK, generator=generator)
    with pytest.raises(ValueError, match="texts without the mask, got 3"):
        nll_bound(model, ids, MASK)
    with pytest.raises(ValueError, match="at most 16 tokens a text, got 17"):
        nll_bound(model, torch.zeros(1, 17, dtype=torch.long), MASK)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        unmask(model, ids, 0, mask_id=MASK, generator=generator)
    with pytest.raises(ValueError, match="order must be one of random, surest, left, got 'right'"):
        unmask(model, ids, 1, mask_id=MASK, generator=generator, order="right")
    with pytest.raises(ValueError, match="temperature must not be negative, got -1"):
        unmask(model, ids, 1, mask_id=MASK, generator=generator, temperature=-1)
    with pytest.raises(ValueError, match=r"sizes must be positive and sum to 4, got \[2, 1\]"):
        share_kept(EVEN, [2, 1])
    with pytest.raises(ValueError, match=r"order must hold each of \[0, 1, 2, 3\] once, got \[0\]"):
        share_kept(EVEN, [4], order=[0])
