"""`llmbook.experiments.dictation`: what is said, who says it, and what is written down."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import llmbook.experiments.dictation as m
from llmbook.experiments.dictation import (
    END,
    HEARD,
    IGNORED,
    MOST,
    Linear,
    Listener,
    Setup,
    dictate,
    fit,
    judged,
    run,
    text_loss,
    transcribe,
    voices,
)
from llmbook.spoken import clips

SMALL = Setup(steps=3, batch=8, d_model=16, num_layers=1)


def said(n: int = 200) -> tuple[Tensor, Tensor]:
    """Strings of the first ten voices."""
    return dictate(n, torch.arange(10), torch.Generator().manual_seed(0))


def test_no_voice_is_both_known_and_new() -> None:
    known, new = voices(0)
    assert sorted([*known.tolist(), *new.tolist()]) == list(range(101))
    assert len(new) == 25
    assert not torch.equal(voices(1)[1], new)


def test_a_string_of_one_digit_is_its_clip_after_a_pause() -> None:
    """Of one of the speakers' clips of that digit, exactly, and silence around it."""
    spoken = clips()
    for sound, text in zip(*said(), strict=True):
        if text[1] == END:
            digit = int(text[0])
            heard = (sound * 255).round().byte().numpy()
            start = int(heard.any(1).argmax())
            assert start <= 5
            rows = [r for r in range(200) if spoken.digits[r] == digit]
            assert any(
                (heard[start:][: spoken.lengths[r]] == spoken.frames[r][: spoken.lengths[r]]).all()
                and not heard[start + spoken.lengths[r] :].any()
                for r in rows
            )


def test_lengths_and_digits_are_drawn_evenly_and_end_once() -> None:
    _, texts = said(4000)
    lengths = (texts >= 0).sum(1) - 1
    assert (lengths.bincount(minlength=5)[1:] - 1000).abs().max() < 130
    assert ((texts == END).sum(1) == 1).all()
    digits = texts[(texts >= 0) & (texts < END)]
    assert (digits.bincount(minlength=10) - 1000).abs().max() < 130


def test_the_longest_string_is_heard_whole() -> None:
    spoken = clips()
    assert MOST * (spoken.lengths.max() + 5) <= HEARD


def test_the_sound_is_seen_whole_and_the_text_from_before_alone() -> None:
    """A later digit changes no logits before it; the last frame changes the first logits."""
    torch.manual_seed(0)
    model = Listener(SMALL).eval()
    sounds, _ = said(2)
    written = torch.tensor([[1, 2, 3], [4, 5, 6]])
    with torch.no_grad():
        logits = model(sounds, written)
        later = written.clone()
        later[:, 2] = 9
        changed = model(sounds, later)
        torch.testing.assert_close(changed[:, :3], logits[:, :3])
        assert not torch.allclose(changed[:, 3], logits[:, 3], atol=1e-4)
        other = sounds.clone()
        other[:, -1] += 1
        assert (model(other, written)[:, 0] - logits[:, 0]).abs().max() > 1e-5


def test_a_step_at_a_time_gives_what_all_at_once_gives() -> None:
    torch.manual_seed(0)
    model = Listener(SMALL).eval()
    sounds, _ = said(3)
    written = torch.randint(10, (3, MOST))
    with torch.no_grad():
        whole = model(sounds, written)
        for k in range(MOST + 1):
            torch.testing.assert_close(model(sounds, written[:, :k])[:, -1], whole[:, k])


class Perfect(nn.Module):
    """Writes what it was told."""

    def __init__(self, texts: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.texts = texts

    def forward(self, sounds: Tensor, written: Tensor) -> Tensor:
        """One-hot logits."""
        told = self.texts[:, : written.shape[1] + 1].clamp(min=0)
        return nn.functional.one_hot(told, END + 1).float() * 50 + self.weight


def test_a_perfect_writer_is_right_and_loses_nothing() -> None:
    sounds, texts = said()
    model = Perfect(texts)
    assert torch.equal(transcribe(model, sounds), texts)
    assert set(judged(transcribe(model, sounds), texts).values()) == {1.0}
    assert text_loss(model, (sounds, texts)).item() < 1e-6


def test_judged_by_hand() -> None:
    x = IGNORED
    texts = torch.tensor(
        [[1, END, x, x, x], [1, 2, END, x, x], [1, 2, 3, END, x], [1, 2, 3, 4, END]]
    )
    written = torch.tensor(
        [[1, END, x, x, x], [1, 3, END, x, x], [1, 2, 3, 4, END], [1, 2, 3, 4, 5]]
    )
    assert judged(written, texts) == {
        "right": 0.25, "one": 1, "two": 0, "three": 0, "four": 0, "length": 0.75
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["listener", "linear"])
def test_both_learn_and_start_again_the_same(kind: str) -> None:
    setup = Setup(steps=30, linear_steps=30, batch=32, d_model=32, num_layers=1)

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return Listener(setup) if kind == "listener" else Linear()

    model = fresh()
    losses = fit(model, 0, setup)
    assert sum(losses[-5:]) < sum(losses[:5]) - 0.5
    assert fit(fresh(), 0, setup, until=2) == losses[:2]
    assert model.training


def test_a_run_names_all_that_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(**changes: Any) -> Setup:
        return Setup(
            steps=2, linear_steps=2, batch=8, d_model=16, num_layers=1, tested=200, **changes
        )

    monkeypatch.setattr(m, "Setup", small)
    result = run(0)
    assert [*result] == ["listener", "deaf", "linear"]
    assert result["listener"]["new"].keys() == result["linear"]["known"].keys()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dictate(-1, torch.tensor([0]), torch.Generator()), "n must not be negative"),
        (lambda: dictate(1, torch.tensor([]).long(), torch.Generator()), "at least one voice"),
        (lambda: voices(0, Setup(held_out=101)), "held_out must be from 1 to 100, got 101"),
        (
            lambda: Listener(SMALL)(torch.zeros(1, HEARD, 32), torch.zeros(1, 5).long()),
            "written must have at most 4 digits, got 5",
        ),
    ],
)
def test_what_does_not_fit_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
