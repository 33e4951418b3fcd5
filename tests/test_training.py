"""`llmbook.training` against torch's optimisers, by hand, and against itself in other pieces."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from llmbook.gpt import GPT, GPTConfig
from llmbook.muon import Muon
from llmbook.training import (
    Recipe,
    bits_per_byte,
    evaluating,
    make_optimizers,
    next_token_batch,
    next_token_loss,
    sort_parameters,
    train,
)
from llmbook.transformer import EncoderDecoder

VOCAB, SEQ, BATCH = 23, 6, 8


def gpt(seed: int = 0, **options: Any) -> GPT:
    """A small model in float64."""
    torch.manual_seed(seed)
    sizes = {"vocab_size": VOCAB, "d_model": 16, "num_layers": 2, "num_heads": 2, "max_len": SEQ}
    return GPT(GPTConfig(**{**sizes, **options})).double()


def draw(generator: torch.Generator) -> Tensor:
    """Pieces of a text at random."""
    text = torch.randint(VOCAB, (300,), generator=torch.Generator().manual_seed(9))
    return next_token_batch(text, BATCH, SEQ, generator)


def run(model: nn.Module, seed: int = 0, **options: Any) -> list[float]:
    """Train with a recipe of six steps unless told."""
    fields = {"steps", "lr", "muon_lr", "warmup", "decay", "clip", "accumulate", "weight_decay"}
    recipe = {"steps": 6, **{name: options.pop(name) for name in fields & options.keys()}}
    generator = torch.Generator().manual_seed(seed)
    return train(model, draw, Recipe(**recipe), generator=generator, **options)


# --- rates, and what they apply to -----------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"decay": "none", "warmup": 4}, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ({"decay": "linear"}, [1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]),
        ({"decay": "linear", "warmup": 4, "final": 0.2}, [0.25, 0.5, 0.75, 1, 1, 0.8, 0.6, 0.4]),
        (
            {"decay": "cosine", "warmup": 4},
            [0.25, 0.5, 0.75, 1, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2],
        ),
        ({"decay": "cosine", "warmup": 8}, [1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1]),
    ],
)
def test_rates_by_hand(options: dict[str, Any], expected: list[float]) -> None:
    """They rise in equal steps to 1 and fall as said."""
    recipe = Recipe(steps=8, **options)
    assert [recipe.rate(step) for step in range(8)] == pytest.approx(expected)


@given(st.integers(1, 50), st.data(), st.sampled_from(["linear", "cosine", "none"]))
def test_rates_rise_and_then_fall(steps: int, data: st.DataObject, decay: str) -> None:
    """Between 0 and 1, and never 0 while there is a step to be made."""
    recipe = Recipe(steps=steps, warmup=data.draw(st.integers(0, steps)), decay=decay)
    rates = [recipe.rate(step) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    up, down = rates[: recipe.warmup], rates[recipe.warmup :]
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)


def test_only_matrices_decay_and_only_hidden_ones_are_for_muon() -> None:
    """Every parameter has one place."""
    model = gpt(tied=False)
    names = {parameter: name for name, parameter in model.named_parameters()}
    kinds = {k: {names[p] for p in found} for k, found in sort_parameters(model).items()}
    assert kinds["outer"] == {"head.weight"}
    parts = [f"attention.{name}" for name in ("query", "key", "value", "out")]
    parts += ["feed_forward.up", "feed_forward.down"]
    assert kinds["hidden"] == {f"blocks.{i}.{part}.weight" for i in (0, 1) for part in parts}
    assert {"embedding.weight", "positions.weight", "norm.weight", "norm.bias"} < kinds["rest"]
    assert sum(len(found) for found in kinds.values()) == len(names)
    whole = sort_parameters(EncoderDecoder(8, 2, 16, num_layers=1))
    assert not whole["outer"]
    assert all(p.ndim == 1 for p in whole["rest"])


def test_frozen_parameters_are_left_out() -> None:
    """They are in no optimiser, and do not move."""
    model = gpt().requires_grad_(False)
    model.blocks[1].requires_grad_(True)
    before = {name: p.clone() for name, p in model.named_parameters()}
    run(model, muon_lr=0.02)
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name]) is not name.startswith("blocks.1"), name


def test_groups_have_their_decay() -> None:
    """AdamW alone: matrices, and the rest without; with Muon the matrices are there."""
    recipe = Recipe(steps=1, weight_decay=0.3)
    (adamw,) = make_optimizers(gpt(), recipe)
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.3, 0.0]
    assert {p.ndim for p in adamw.param_groups[0]["params"]} == {2}
    adamw, muon = make_optimizers(gpt(), Recipe(steps=1, weight_decay=0.3, muon_lr=0.01))
    assert isinstance(muon, Muon)
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.0]
    assert [group["weight_decay"] for group in muon.param_groups] == [0.3]


# --- the loop --------------------------------------------------------------------------------


def test_training_equals_a_loop_with_torchs_adamw() -> None:
    """Rates, decay and clipping included, loss by loss and weight by weight."""
    recipe = Recipe(steps=6, lr=1e-2, warmup=2, decay="cosine", weight_decay=0.5, clip=0.3)
    ours, theirs = gpt(), gpt()
    losses = train(ours, draw, recipe, generator=torch.Generator().manual_seed(0))
    flat = [p for n, p in theirs.named_parameters() if p.ndim == 1 or n[:3] in ("emb", "pos")]
    matrices = [p for n, p in theirs.named_parameters() if p.ndim == 2 and n[:3] == "blo"]
    groups = [{"params": matrices, "weight_decay": 0.5}, {"params": flat, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.99), foreach=False)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, recipe.rate)
    generator, norms = torch.Generator().manual_seed(0), []
    for loss in losses:
        expected = next_token_loss(theirs, draw(generator))
        assert loss == pytest.approx(expected.item(), rel=1e-12)
        optimiser.zero_grad()
        expected.backward()
        norms.append(nn.utils.clip_grad_norm_(theirs.parameters(), 0.3).item())
        optimiser.step()
        schedule.step()
    assert max(norms) > 0.3  # else nothing was clipped
    for mine, yours in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, yours, rtol=0, atol=1e-12)


@pytest.mark.parametrize("muon_lr", [None, 0.02])
@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_accumulation_equals_the_whole_batch(accumulate: int, muon_lr: float | None) -> None:
    """The same losses, and the same weights in the end."""
    parts, whole = gpt(), gpt()
    losses = run(parts, accumulate=accumulate, muon_lr=muon_lr)
    assert losses == pytest.approx(run(whole, muon_lr=muon_lr), rel=1e-10)
    for some, all_ in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(some, all_, rtol=0, atol=1e-8)


def test_a_batch_of_several_tensors() -> None:
    """They are cut together, and the loss gets them as they came."""

    def pairs(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        texts = draw(generator)
        return texts[:, :-1], texts[:, 1:]

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())

    generator = torch.Generator().manual_seed(0)
    recipe = Recipe(steps=6, accumulate=2)
    losses = train(gpt(), pairs, recipe, generator=generator, loss=loss)
    assert losses == pytest.approx(run(gpt()), rel=1e-10)


@pytest.mark.parametrize("muon_lr", [None, 0.02])
def test_training_learns(muon_lr: float | None) -> None:
    """A text in which every token follows from the one before."""
    text = torch.arange(500) * 7 % VOCAB
    recipe = Recipe(steps=100, lr=1e-2, muon_lr=muon_lr, warmup=5)
    losses = train(
        gpt(),
        partial(next_token_batch, text, 16, SEQ),
        recipe,
        generator=torch.Generator().manual_seed(0),
    )
    assert losses[0] == pytest.approx(math.log(VOCAB), abs=0.1)
    assert losses[-1] < 0.3


def test_a_seed_decides_everything() -> None:
    """The same losses to the last bit; another seed of the data gives others."""
    assert run(gpt(), seed=1) == run(gpt(), seed=1) != run(gpt(), seed=2)


def test_on_step_hears_every_loss() -> None:
    """With its number, while the model is training."""
    heard: list[tuple[int, float]] = []
    losses = run(gpt().eval(), on_step=lambda step, loss: heard.append((step, loss)))
    assert heard == list(enumerate(losses, start=1))


# --- data and measure ------------------------------------------------------------------------


@given(st.integers(2, 40), st.data(), st.integers(0, 9))
def test_batches_are_pieces_of_the_text(tokens: int, data: st.DataObject, seed: int) -> None:
    """Each is a run of neighbours, drawn with the generator alone."""
    seq = data.draw(st.integers(1, tokens - 1))
    text = torch.arange(tokens)
    state = torch.get_rng_state()
    first, again = (
        next_token_batch(text, 5, seq, torch.Generator().manual_seed(seed)) for _ in range(2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert first.shape == (5, seq + 1)
    assert (first.diff(dim=1) == 1).all()


def test_every_piece_is_drawn_the_first_and_the_last_included() -> None:
    """Uniformly: of 10 tokens there are 7 pieces of 4."""
    pieces = next_token_batch(torch.arange(10), 7000, 3, torch.Generator().manual_seed(0))
    counts = pieces[:, 0].bincount()
    assert len(counts) == 7
    assert (counts - 1000).abs().max() < 5 * (7000 * (1 / 7) * (6 / 7)) ** 0.5


def test_loss_by_hand() -> None:
    """The mean of minus log p of each token but the first."""
    model, texts = gpt(), draw(torch.Generator().manual_seed(0))
    p = model(texts[:, :-1]).softmax(-1)
    expected = [-p[i, j, texts[i, j + 1]].log() for i in range(BATCH) for j in range(SEQ)]
    torch.testing.assert_close(next_token_loss(model, texts), torch.stack(expected).mean())


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(1, SEQ))
def test_bits_per_byte_counts_each_token_once(tokens: int, stride: int) -> None:
    """As a loop over tokens does, each with the context that its window leaves it."""
    text = torch.randint(VOCAB, (tokens,), generator=torch.Generator().manual_seed(1))
    model = gpt()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    nats, first_input = 0.0, 0
    for target in range(1, tokens):
        if target - first_input > SEQ:  # the window is full: it moves
            first_input += min(stride, tokens - 1 - SEQ - first_input)
        logits = model(text[None, first_input:target])[0, -1]
        nats -= logits.log_softmax(-1)[text[target]].item()
    bits = bits_per_byte(model, text, 17, max_len=SEQ, stride=stride)
    assert bits == pytest.approx(nats / math.log(2) / 17)


def test_bits_per_byte_leaves_the_model_as_it_was() -> None:
    """Dropout is off meanwhile, and no gradient is kept."""
    model, text = gpt(dropout=0.5).train(), torch.arange(20)
    assert len({bits_per_byte(model, text, 20, max_len=SEQ) for _ in range(3)}) == 1
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("training", [False, True])
def test_evaluating_gives_each_module_its_mode_back(training: bool) -> None:
    """Also a part that was in another mode than the whole, and also after an exception."""
    model = gpt(dropout=0.5).train(training)
    model.blocks[0].train(not training)
    before = [module.training for module in model.modules()]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
        with evaluating(model):
            pass
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert [module.training for module in model.modules()] == before


def test_dropout_is_off_while_evaluating() -> None:
    """And on again afterwards."""
    model, text = gpt(dropout=0.5).train(), draw(torch.Generator().manual_seed(0))
    with evaluating(model):
        assert torch.equal(model(text[:, :-1]), model(text[:, :-1]))
    assert not torch.equal(model(text[:, :-1]), model(text[:, :-1]))


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be positive, got 0"),
        ({"lr": -1.0}, "lr must be positive, got -1.0"),
        ({"lr": math.nan}, "lr must be positive, got nan"),
        ({"muon_lr": 0.0}, "muon_lr must be positive, got 0.0"),
        ({"clip": 0}, "clip must be positive, got 0"),
        ({"accumulate": 0}, "accumulate must be positive, got 0"),
        ({"warmup": 9}, "warmup must be from 0 to steps = 8, got 9"),
        ({"decay": "sine"}, "decay must be 'linear', 'cosine' or 'none', got 'sine'"),
        ({"final": 1.5}, "final must be from 0 to 1, got 1.5"),
        ({"weight_decay": -0.1}, "weight_decay must not be negative, got -0.1"),
    ],
)
def test_impossible_recipes_are_named(options: dict[str, Any], message: str) -> None:
    """Before anything is trained."""
    with pytest.raises(ValueError, match=message):
        Recipe(**{"steps": 8, **options})


def test_what_cannot_be_trained_is_named() -> None:
    """A batch that does not divide, no processes to shard among, a loss that is no number."""
    with pytest.raises(ValueError, match="among 1 processes and 3 parts, got 8 rows"):
        run(gpt(), accumulate=3)
    with pytest.raises(ValueError, match=r"shard=True needs torch\.distributed"):
        run(gpt(), shard=True)
    with pytest.raises(FloatingPointError, match="the loss of step 1 is nan"):
        run(gpt(), loss=lambda model, batch: next_token_loss(model, batch) * math.nan)
    with pytest.raises(ValueError, match="more than seq = 6 tokens, got 6"):
        next_token_batch(torch.arange(6), 1, 6, torch.Generator())
    with pytest.raises(ValueError, match=r"at least two tokens.*, got 1 tokens and 1 bytes"):
        bits_per_byte(gpt(), torch.arange(1), 1, max_len=SEQ)
    with pytest.raises(ValueError, match="stride must be from 1 to max_len = 6, got 7"):
        bits_per_byte(gpt(), torch.arange(9), 9, max_len=SEQ, stride=7)


def _given(batch: Any, _: torch.Generator) -> Any:
    return batch


def test_what_cannot_learn_is_named() -> None:
    """Weights that are frozen or in float16, batches without rows or with rows of two numbers."""
    with pytest.raises(ValueError, match="model has no weights to be trained"):
        run(gpt().requires_grad_(False))
    with pytest.raises(ValueError, match=r"embedding\.weight in float16, in which AdamW's squares"):
        run(gpt().half())
    recipe, generator = Recipe(steps=1), torch.Generator()
    for rows in ([0], [2, 3]):
        batch = tuple(torch.zeros(n, 3, dtype=torch.long) for n in rows)
        with pytest.raises(ValueError, match=rf"must have rows, .* got \[{rows[0]}"):
            train(gpt(), partial(_given, batch), recipe, generator=generator)
    with pytest.raises(ValueError, match="every must not be negative, got -1"):
        run(gpt(), every=-1)
    with pytest.raises(ValueError, match="batch and seq must not be negative, got -2 and 3"):
        next_token_batch(torch.arange(9), -2, 3, generator)


@pytest.mark.plain
@given(st.sampled_from([np.float16, np.float32, np.float64, torch.tensor]))
def test_a_recipe_holds_pythons_numbers(kind: Any) -> None:
    """Whatever they came as: a checkpoint could not be read with others."""
    make: Any = Recipe
    sizes = {"steps": np.uint8(200), "warmup": np.int16(100), "accumulate": torch.tensor(2)}
    rates = {name: kind(0.25) for name in ("lr", "muon_lr", "final", "weight_decay", "clip")}
    recipe = make(**sizes, **rates, betas=[kind(0.5), kind(0.25)])
    assert recipe == make(
        steps=200, warmup=100, accumulate=2, betas=(0.5, 0.25), **dict.fromkeys(rates, 0.25)
    )
    assert {type(value) for value in vars(recipe).values()} == {int, float, str, tuple}
    with pytest.raises(TypeError, match="lr must be a number, got 'fast'"):
        make(steps=1, lr="fast")
    with pytest.raises(TypeError, match=r"steps must be a whole number, got 2\.5"):
        make(steps=2.5)


@pytest.mark.plain
def test_sizes_of_a_text_do_not_wrap() -> None:
    """NumPy's integers of eight bits, one below their end."""
    text, generator = torch.arange(600), torch.Generator().manual_seed(0)
    byte: Any = np.uint8
    assert next_token_batch(text, byte(2), byte(255), generator).shape == (2, 256)
    model, ids = gpt(), torch.arange(20)
    bits = bits_per_byte(model, ids, byte(20), max_len=byte(SEQ), stride=byte(4))
    assert bits == bits_per_byte(model, ids, 20, max_len=SEQ, stride=4)
