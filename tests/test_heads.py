"""`llmbook.heads` on weights made by hand, and on the heads of SmolLM2."""

import copy
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from llmbook.heads import (
    first_token_score,
    induction_score,
    mean_outputs,
    previous_token_score,
    repeated_tokens,
    without_heads,
)
from llmbook.llama import Llama, LlamaConfig

SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "previous": previous_token_score,
    "first": first_token_score,
    "induction": lambda weights: induction_score(weights, length=weights.shape[-1] // 2),
}
LENGTH = 24


def heads(*rows: list[int]) -> Tensor:
    """A layer of heads in which position i attends to position `rows[head][i]` alone."""
    return torch.eye(len(rows[0]), dtype=torch.float64)[torch.tensor(rows)][None, None]


def uniform(seq: int) -> Tensor:
    """A head that attends to itself and all before it alike."""
    ones = torch.ones(seq, seq, dtype=torch.float64).tril()
    return (ones / ones.sum(dim=1, keepdim=True)).expand(1, 1, 1, seq, seq)


def model() -> Llama:
    """A small decoder with large weights."""
    torch.manual_seed(0)
    small = Llama(
        LlamaConfig(
            vocab_size=50, d_model=24, num_layers=3, num_heads=6, num_kv_heads=2, d_ff=32, max_len=32,
            d_head=8, attention_bias=True,
        )
    )  # fmt: skip
    for parameter in small.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return small.double().eval()


TEXT = torch.arange(22).view(2, 11)


def test_perfect_heads_score_one_in_their_own_job() -> None:
    """And what chance gives in the others'."""
    previous, first, induction = [0, 0, 1, 2, 3, 4], [0] * 6, [0, 1, 2, 1, 2, 3]
    weights = heads(previous, first, induction)
    assert previous_token_score(weights).tolist() == [[1, 0.2, 0]]
    assert first_token_score(weights).tolist() == [[0.2, 1, 0]]
    assert induction_score(weights, 3).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("length", [2, 5, 24])
def test_a_head_that_looks_everywhere_has_the_computable_score(length: int) -> None:
    """Means of 1/(i + 1) over the positions that count."""
    seq = 2 * length
    expected = sum(1 / (i + 1) for i in range(1, seq)) / (seq - 1)
    torch.testing.assert_close(previous_token_score(uniform(seq)).item(), expected)
    torch.testing.assert_close(first_token_score(uniform(seq)).item(), expected)
    expected = sum(1 / (i + 1) for i in range(length, seq)) / length
    torch.testing.assert_close(induction_score(uniform(seq), length).item(), expected)


def test_induction_looks_only_at_the_second_copy() -> None:
    """What the first does, and what stands before both, changes nothing."""
    weights = torch.rand(2, 3, 4, 10, 10, dtype=torch.float64)
    longer = F.pad(weights, (3, 0, 3, 0), value=0.7)
    changed = longer.clone()
    changed[..., :8, :] = 0.1  # three positions before the copies, and five of the first
    expected = induction_score(weights, 5)
    torch.testing.assert_close(induction_score(longer, 5), expected)
    torch.testing.assert_close(induction_score(changed, 5), expected)


@pytest.mark.parametrize("score", SCORES)
def test_scores_are_means_over_texts(score: str) -> None:
    """One for each head of each layer, none of which depends on another."""
    weights = torch.rand(2, 3, 4, 8, 8, dtype=torch.float64).softmax(dim=-1)
    scores = SCORES[score](weights)
    assert scores.shape == (2, 4)
    each = [SCORES[score](weights[:, [text]]) for text in range(3)]
    torch.testing.assert_close(scores, torch.stack(each).mean(dim=0))
    torch.testing.assert_close(scores[1:, 2:], SCORES[score](weights[1:, :, 2:]))


@given(
    vocab_size=st.integers(1, 60), length=st.integers(1, 9), batch=st.integers(1, 4), seed=st.integers(0, 9)
)  # fmt: skip
def test_repeated_tokens_come_twice(vocab_size: int, length: int, batch: int, seed: int) -> None:
    """From the vocabulary, the same for the same seed."""
    token_ids = repeated_tokens(vocab_size, length, batch, torch.Generator().manual_seed(seed))
    assert token_ids.shape == (batch, 2 * length)
    assert torch.equal(token_ids[:, :length], token_ids[:, length:])
    assert 0 <= token_ids.min() <= token_ids.max() < vocab_size
    again = repeated_tokens(vocab_size, length, batch, torch.Generator().manual_seed(seed))
    assert torch.equal(token_ids, again)


@pytest.mark.parametrize(
    "silent",
    [
        [(0, 0)],
        [(2, 5), (2, 1), (0, 3)],
        [(layer, head) for layer in range(3) for head in range(6)],
    ],
    ids=["one", "some", "all"],
)
def test_silencing_equals_weights_of_zero(silent: list[tuple[int, int]]) -> None:
    """A head whose columns of the output projection are zero adds nothing; gradients too."""
    mine, other = model(), model()
    with torch.no_grad():
        for layer, head in silent:
            out = other.get_parameter(f"blocks.{layer}.attention.out.weight")
            out[:, 8 * head : 8 * head + 8] = 0
    with without_heads(mine, iter(silent)):
        logits = mine(TEXT)
    torch.testing.assert_close(logits, other(TEXT), rtol=0, atol=1e-12)
    direction = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype).view_as(logits)
    mine_gradient, other_gradient = (
        torch.autograd.grad(out, net.embedding.weight, direction)[0]
        for out, net in ((logits, mine), (other(TEXT), other))
    )
    torch.testing.assert_close(mine_gradient, other_gradient, rtol=0, atol=1e-10)


@torch.no_grad()
def test_the_mean_of_a_head_stands_where_its_output_stood() -> None:
    """Of one position the mean is the output itself; of many it is what they share."""
    mine = model()
    alone = TEXT[:1, :1]
    every = [(layer, head) for layer in range(3) for head in range(6)]
    with without_heads(mine, every, instead=mean_outputs(mine, alone)):
        torch.testing.assert_close(mine(alone), mine(alone))
        same = mine(alone)
    torch.testing.assert_close(same, mine(alone), rtol=0, atol=1e-12)
    seen: list[torch.Tensor] = []
    hook = mine.blocks[1].attention.out.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda _, inputs: seen.append(inputs[0])
    )
    means = mean_outputs(mine, TEXT)
    hook.remove()
    assert means.shape == (3, 6, 8)
    torch.testing.assert_close(means[1], seen[0].flatten(0, 1).mean(0).view(6, 8))
    with without_heads(mine, [(1, 2)], instead=means):
        changed = mine(TEXT)
    with without_heads(mine, [(1, 2)]):
        assert not torch.equal(changed, mine(TEXT))
    with without_heads(mine, [(1, 2)], instead=torch.zeros_like(means)):
        zeros = mine(TEXT)
    with without_heads(mine, [(1, 2)]):
        assert torch.equal(zeros, mine(TEXT))


@torch.no_grad()
def test_nothing_stays_behind() -> None:
    """After the block, after an exception, and where no head is named, the model is as before."""
    mine = model()
    before, state = mine(TEXT), copy.deepcopy(mine.state_dict())
    with without_heads(mine, []):
        assert torch.equal(mine(TEXT), before)
    with without_heads(mine, [(1, 1)]), without_heads(mine, [(2, 2)]):
        both = mine(TEXT)
    with pytest.raises(KeyError), without_heads(mine, [(0, 1), (2, 2)]):
        raise KeyError
    assert torch.equal(mine(TEXT), before)
    assert not any(module._forward_pre_hooks for module in mine.modules())
    assert all(torch.equal(value, state[name]) for name, value in mine.state_dict().items())
    with without_heads(mine, [(2, 2), (1, 1)]):  # within each other they add up
        assert torch.equal(mine(TEXT), both)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ((3, 0), "layer must be from 0 to 2, got 3"),
        ((-1, 0), "layer must be from 0 to 2, got -1"),
        ((0, 6), "head must be from 0 to 5, got 6"),
        ((0, -1), "head must be from 0 to 5, got -1"),
    ],
)
def test_heads_that_are_not_there_are_named(pair: tuple[int, int], message: str) -> None:
    """Before anything is silenced."""
    mine = model()
    with pytest.raises(ValueError, match=message), without_heads(mine, [(0, 0), pair]):
        pass
    assert not any(module._forward_pre_hooks for module in mine.modules())


@pytest.mark.parametrize("name", ["vocab_size", "length", "batch"])
def test_numbers_of_tokens_are_positive(name: str) -> None:
    """The error names the one that is not."""
    numbers = {"vocab_size": 9, "length": 3, "batch": 1, name: 0}
    with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
        repeated_tokens(**numbers, generator=torch.Generator())


def test_texts_that_are_too_short_are_named() -> None:
    """Without a token before, or a second copy, there is nothing to score."""
    for score in (previous_token_score, first_token_score):
        with pytest.raises(ValueError, match="weights must have at least 2 positions, got 1"):
            score(uniform(1))
    with pytest.raises(ValueError, match="weights must have at least 8 positions, got 7"):
        induction_score(uniform(7), 4)
    with pytest.raises(ValueError, match="length must be at least 2, got 1"):
        induction_score(uniform(7), 1)


@pytest.mark.plain
@pytest.mark.parametrize("shape", [(2, 3, 4, 8), (2, 3, 4, 8, 7)])
@pytest.mark.parametrize("score", SCORES)
def test_weights_of_another_shape_are_named(score: str, shape: tuple[int, ...]) -> None:
    """The error says which shape is needed."""
    with pytest.raises(ValueError, match=r"\(layers, batch, heads, seq, seq\), got \(2, 3, 4, 8"):
        SCORES[score](torch.zeros(shape))


def loss_of_second_copy(model: Llama, token_ids: Tensor) -> float:
    """Of the tokens after the second copy's first, which alone cannot be known by copying."""
    logits = model(token_ids)[:, LENGTH:-1]
    return F.cross_entropy(logits.flatten(0, 1), token_ids[:, LENGTH + 1 :].flatten()).item()


@torch.no_grad()
def test_smollm2_copies_with_its_induction_heads(smollm2: tuple[Llama, Any]) -> None:
    """The best scores above 0.5; without the best 8 it copies far worse than without 8 others."""
    model, _ = smollm2
    generator = torch.Generator().manual_seed(0)
    token_ids = repeated_tokens(model.config.vocab_size, LENGTH, 2, generator)
    scores = induction_score(model.attention_weights(token_ids), LENGTH)
    assert scores.max() > 0.5
    assert scores.median() < 0.1
    best = [divmod(int(i), model.config.num_heads) for i in scores.flatten().topk(8).indices]
    choice = random.Random(0)
    others: list[tuple[int, int]] = []
    for layer, _ in best:
        pairs = [(layer, head) for head in range(model.config.num_heads)]
        others.append(choice.choice([p for p in pairs if p not in best and p not in others]))
    losses = {}
    for name, silent in (("whole", []), ("best", best), ("others", others)):
        with without_heads(model, silent):
            losses[name] = loss_of_second_copy(model, token_ids)
    assert losses["best"] - losses["whole"] > 3 * abs(losses["others"] - losses["whole"])
    assert losses["best"] > math.log(model.config.vocab_size)  # as bad as if all were alike


@torch.no_grad()
def test_smollm2_has_previous_token_heads_and_a_sink(smollm2: tuple[Llama, Any]) -> None:
    """On random tokens, so it is not the text that makes them."""
    model, _ = smollm2
    token_ids = repeated_tokens(model.config.vocab_size, 12, 2, torch.Generator().manual_seed(1))
    weights = model.attention_weights(token_ids)
    assert previous_token_score(weights).max() > 0.7
    assert first_token_score(weights)[12:].mean() > 0.4
