"""A GPT in NumPy: its losses, gradients and steps are PyTorch's."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.explorer import heads, unpacked
from llmbook.gpt import GPT, GPTConfig
from llmbook.numpy_gpt import (
    AdamW,
    Sizes,
    Trainer,
    byte_tokenizer,
    initial_weights,
    logits,
    loss_and_gradients,
)
from llmbook.training import Recipe, next_token_loss, train

TEXT = "This is the house that Jack built. This is the malt that lay in the house. " * 4


def twin(weights: dict[str, np.ndarray], sizes: Sizes) -> GPT:
    """The book's GPT with the same weights, in float64."""
    settings = {name: getattr(sizes, name) for name in Sizes.__dataclass_fields__}
    model = GPT(GPTConfig(**settings)).double()
    model.load_state_dict({name: torch.from_numpy(w.copy()) for name, w in weights.items()})
    return model


def drawn(sizes: Sizes, seed: int) -> dict[str, np.ndarray]:
    """Weights far from their first values, so that no gradient is small by chance."""
    rng = np.random.default_rng(seed)
    return {n: w + rng.normal(0, 0.4, w.shape) for n, w in initial_weights(sizes, seed).items()}


@settings(max_examples=12, deadline=None)
@given(
    layers=st.integers(1, 3),
    num_heads=st.sampled_from([1, 2, 4]),
    width=st.integers(1, 4),
    batch=st.integers(1, 3),
    seq=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
def test_loss_logits_looks_and_every_gradient_are_those_of_the_gpt(
    layers: int, num_heads: int, width: int, batch: int, seq: int, seed: int
) -> None:
    sizes = Sizes(
        vocab_size=11, d_model=num_heads * width, num_layers=layers, num_heads=num_heads, max_len=9
    )
    weights = drawn(sizes, seed)
    ids = np.random.default_rng(seed).integers(11, size=(batch, seq + 1))
    loss, gradients = loss_and_gradients(weights, ids, num_heads)
    model = twin(weights, sizes)
    theirs = next_token_loss(model, torch.from_numpy(ids))
    theirs.backward()
    assert abs(loss - theirs.item()) < 1e-10
    parameters = dict(model.named_parameters())
    assert gradients.keys() == parameters.keys()
    for name, gradient in gradients.items():
        there = parameters[name].grad
        assert there is not None
        np.testing.assert_allclose(gradient, there, rtol=1e-10, atol=1e-10)
    z, looks = logits(weights, ids[:, :-1], num_heads)
    with torch.no_grad():
        np.testing.assert_allclose(z, model(torch.from_numpy(ids[:, :-1])), rtol=1e-10, atol=1e-10)
    looked = heads(model, torch.from_numpy(ids[0, :-1]))[1]
    np.testing.assert_allclose(looks[:, 0], looked, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("betas", "decay"), [((0.9, 0.99), 0.1), ((0.5, 0.9), 0.0)])
def test_a_step_is_that_of_pytorch(betas: tuple[float, float], decay: float) -> None:
    """Over six steps with rates that change, of weights that decay and one that does not."""
    rng = np.random.default_rng(0)
    weights = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5)}
    theirs = {name: torch.from_numpy(w.copy()).requires_grad_() for name, w in weights.items()}
    ours = AdamW(weights, betas, weight_decay={"a": decay})
    groups = [
        {"params": [theirs["a"]], "weight_decay": decay},
        {"params": [theirs["b"]], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=betas)
    for lr in (0.1, 0.3, 0.01, 0.2, 0.0, 0.05):
        gradients = {name: rng.normal(size=w.shape) for name, w in weights.items()}
        ours.step(gradients, lr)
        for group in optimizer.param_groups:
            group["lr"] = lr
        for name, gradient in gradients.items():
            theirs[name].grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        for name, weight in weights.items():
            np.testing.assert_allclose(weight, theirs[name].detach(), rtol=1e-12, atol=1e-12)


def test_a_trainer_goes_as_the_books_own_training() -> None:
    """The same weights, batches and recipe give the losses of `llmbook.training.train`."""
    ours = Trainer(TEXT, seed=3, batch=4, seq=12)
    model = twin(ours.weights, ours.sizes)
    other = Trainer(TEXT, seed=3, batch=4, seq=12)
    recipe = Recipe(steps=30, lr=0.01, warmup=20, decay="none")
    draw: Any = lambda generator: torch.from_numpy(other.draw())  # noqa: E731
    theirs = train(model, draw, recipe, generator=torch.Generator())
    np.testing.assert_allclose(ours.run(30), theirs, rtol=1e-8)
    for name, weight in model.state_dict().items():
        np.testing.assert_allclose(ours.weights[name], weight, rtol=1e-5, atol=1e-7)


def test_first_weights_are_drawn_as_the_gpt_draws_them() -> None:
    """By their spread: what writes into the stream has less."""
    sizes = Sizes(vocab_size=300, d_model=64, num_layers=2)
    ours = initial_weights(sizes, 0)
    torch.manual_seed(0)
    theirs = twin(ours, sizes).config
    fresh = GPT(theirs).state_dict()
    assert ours.keys() == fresh.keys()
    for name, weight in fresh.items():
        assert ours[name].shape == weight.shape
        assert abs(ours[name].std() - weight.std(correction=0).item()) < 0.003
        assert abs(ours[name].mean() - weight.mean().item()) < 0.003


def test_training_in_parts_is_training_at_once() -> None:
    whole, parts = Trainer(TEXT, seed=1), Trainer(TEXT, seed=1)
    assert whole.run(7) == [*parts.run(3), *parts.run(0), *parts.run(4)]
    assert whole.losses == parts.losses
    assert Trainer(TEXT, seed=2).run(1) != whole.losses[:1]


def test_it_learns_a_text_by_heart() -> None:
    trainer = Trainer(TEXT, seed=0)
    losses = trainer.run(150)
    assert np.mean(losses[:5]) > 2.5
    assert np.mean(losses[-5:]) < 0.3
    assert trainer.write("This is the h", 12, temperature=0.1) == "ouse that Ja"


def test_the_explorer_opens_what_was_trained() -> None:
    trainer = Trainer(TEXT, seed=0)
    trainer.run(5)
    model, tokenizer, begin = unpacked(trainer.file())
    assert begin is None
    assert tokenizer.encode("the malt,é") == trainer.tokenizer.encode("the malt")
    ids = torch.tensor([tokenizer.encode("This is")])
    with torch.no_grad():
        there = model(ids)
    here, _ = logits(trainer.weights, ids.numpy(), 4)
    np.testing.assert_allclose(here, there, atol=0.01)  # float16


@pytest.mark.plain
def test_bad_input_is_said() -> None:
    with pytest.raises(ValueError, match="text must hold at least one character"):
        byte_tokenizer("")
    with pytest.raises(ValueError, match="more than 48 bytes, which a piece has, got 9: take"):
        Trainer("too short")
    with pytest.raises(ValueError, match="num_layers must be positive, got 0"):
        Sizes(vocab_size=3, num_layers=0)
    with pytest.raises(ValueError, match="got num_heads=5 and d_model=32"):
        Sizes(vocab_size=3, num_heads=5)
    weights = initial_weights(Sizes(vocab_size=3, max_len=4), 0)
    with pytest.raises(ValueError, match=r"\(batch, 1 to 4\), got \(1, 5\)"):
        logits(weights, np.zeros((1, 5), dtype=int), 4)
    with pytest.raises(ValueError, match="token_ids must be from 0 to 2"):
        logits(weights, np.array([[3]]), 4)
