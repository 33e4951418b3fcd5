"""`llmbook.experiments.copying`: what the task is, that no model can cheat, and that both can learn it."""

from typing import Literal

import pytest
import torch

from llmbook.experiments.copying import (
    SYMBOLS,
    CopyAttentionLSTM,
    CopyLSTM,
    CopyTransformer,
    Setup,
    copy_accuracy,
    copy_batch,
    copy_logits,
)
from llmbook.experiments.results import recorded

Kind = Literal["transformer", "lstm with attention", "lstm"]
KINDS: tuple[Kind, ...] = ("transformer", "lstm with attention", "lstm")


def generator() -> torch.Generator:
    """The same random numbers each time."""
    return torch.Generator().manual_seed(0)


def models(length: int) -> dict[str, CopyLSTM | CopyAttentionLSTM | CopyTransformer]:
    """All three, untrained."""
    torch.manual_seed(0)
    return {
        "lstm": CopyLSTM().double(),
        "lstm with attention": CopyAttentionLSTM().double(),
        "transformer": CopyTransformer(length).double(),
    }


def test_a_text_is_a_string_twice() -> None:
    """Marks before each, symbols alone in it, all of them in use, strings that differ."""
    text = copy_batch(5, 200, generator())
    assert text.shape == (200, 12)
    assert torch.equal(text[:, 1:6], text[:, 7:])
    assert set(text[:, 0].tolist()) == {SYMBOLS}
    assert set(text[:, 6].tolist()) == {SYMBOLS + 1}
    assert set(text[:, 7:].flatten().tolist()) == set(range(SYMBOLS))
    assert len({tuple(row) for row in text.tolist()}) > 190


@pytest.mark.parametrize("kind", KINDS)
def test_no_symbol_is_seen_before_it_is_said(kind: str) -> None:
    """A change of a symbol of the copy changes no prediction up to and with its own."""
    model, text = models(4)[kind], copy_batch(4, 3, generator())
    before = copy_logits(model, text)
    assert before.shape == (3, 4, SYMBOLS)
    for place in range(4):
        other = text.clone()
        other[:, 6 + place] = (other[:, 6 + place] + 1) % SYMBOLS
        after = copy_logits(model, other)
        assert torch.equal(after[:, : place + 1], before[:, : place + 1])
        assert place == 3 or not torch.isclose(after[:, place + 1 :], before[:, place + 1 :]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_texts_of_a_batch_do_not_meet(kind: str) -> None:
    """Each is read as if it were alone, and each prediction depends on its source symbol."""
    model, text = models(4)[kind], copy_batch(4, 3, generator())
    together = copy_logits(model, text)
    for row in range(3):
        torch.testing.assert_close(copy_logits(model, text[row : row + 1]), together[row : row + 1])
    other = text.clone()
    other[0, 2] = (other[0, 2] + 1) % SYMBOLS
    changed = (copy_logits(model, other) - together).abs().amax(dim=-1)
    assert changed[0].min() > 1e-9
    assert changed[1:].max() == 0


def test_the_lstm_starts_with_open_forget_gates() -> None:
    """Bias 1 in the second of torch's four blocks of gates, 0 elsewhere."""
    lstm = CopyLSTM(d_hidden=3).lstm
    bias = lstm.get_parameter("bias_ih_l0") + lstm.get_parameter("bias_hh_l0")
    assert bias.tolist() == [0] * 3 + [1] * 3 + [0] * 6


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_decides_the_result(kind: Kind) -> None:
    """To the last digit, whatever was drawn before, and torch's own random state is left alone."""
    first = copy_accuracy(kind, length=3, steps=3, seed=1)
    torch.rand(5)
    state = torch.get_rng_state()
    assert copy_accuracy(kind, length=3, steps=3, seed=1) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert copy_accuracy(kind, length=3, steps=3, seed=2)["symbols"] != first["symbols"]
    few = copy_accuracy(kind, length=3, steps=3, seed=1, setup=Setup(batch=4, tested=5))
    assert (few["symbols"] * 15) % 1 == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [("lstm", 85_584), ("lstm with attention", 104_016), ("transformer", 103_376)],
)
def test_untrained_models_guess(kind: Kind, parameters: int) -> None:
    """About one symbol of sixteen, and no string; the three are about as large."""
    result = copy_accuracy(kind, length=8, steps=0, seed=0)
    assert abs(result["symbols"] - 1 / SYMBOLS) < 0.03
    assert result["strings"] == 0
    assert result["parameters"] == parameters


def test_both_learn_and_the_lstm_more_slowly() -> None:
    """The chapter's experiment in small, with as many steps for both."""
    fast, slow = (copy_accuracy(kind, 8, steps=100, seed=0) for kind in (KINDS[0], KINDS[-1]))
    assert fast["strings"] > 0.99
    assert 2 / SYMBOLS < slow["symbols"] < 0.75
    assert slow["strings"] < 0.1


@pytest.mark.parametrize(
    ("length", "steps", "message"),
    [
        (0, 1, "length must be positive and steps not negative, got 0, 1"),
        (3, -1, "length must be positive and steps not negative, got 3, -1"),
    ],
)
def test_sizes_are_named(length: int, steps: int, message: str) -> None:
    """Before anything is trained."""
    with pytest.raises(ValueError, match=message):
        copy_accuracy("lstm", length, steps, seed=0)


@pytest.mark.plain
def test_another_kind_is_named() -> None:
    """The error says which there are."""
    with pytest.raises(ValueError, match=r"kind must be one of lstm, .*, got 'gru'"):
        copy_accuracy("gru", 3, 1, seed=0)  # type: ignore[arg-type]


def test_attention_is_what_the_lstm_lacks() -> None:
    """The record: with a look back the same recurrence copies what it could not hold."""
    for run in recorded("copying"):
        right = run["right"]
        assert min(right["transformer"].values()) > 0.99
        assert min(right["lstm with attention"].values()) > 0.85
        assert right["lstm with attention"]["32"] > 0.99
        assert right["lstm"]["32"] < 0.2
