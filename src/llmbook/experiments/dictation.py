"""Digits by dictation: a decoder that hears up to four, and writes them down.

The sound stands in front of the text, in one sequence, as a picture does before its caption: its
frames see each other, and each digit sees the sound and the digits before it. The voices of the
test have said nothing in training.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.positions import LearnedPositions
from llmbook.sizes import make_whole, whole
from llmbook.spoken import BANDS, DIGITS, clips
from llmbook.training import Recipe, evaluating, train
from llmbook.transformer import TransformerBlock

MOST: Final = 4
"""Digits of the longest string."""
HEARD: Final = 200
"""Frames of every string, of 20 ms; there is silence after the last digit."""
BEGIN: Final = len(DIGITS)
END: Final = BEGIN + 1
IGNORED: Final = -100

Sounds = Float[Tensor, "n 200 32"]
Texts = Int[Tensor, "n 5"]
"""Digits, their end, and -100 after it."""


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        held_out: Voices of the test.
        steps: Of training.
        batch: Strings in a step.
        lr: Highest learning rate of AdamW.
        linear_steps: Steps of the linear layer, which cost less.
        linear_lr: Its highest learning rate, the best of three.
        d_model: Width of the decoder.
        num_layers: Its blocks.
        tested: Strings of a test.

    Raises:
        TypeError: If a size is no whole number.
    """

    held_out: int = 25
    steps: int = 900
    batch: int = 48
    lr: float | int = 2e-3
    linear_steps: int = 3_600
    linear_lr: float | int = 1e-2
    d_model: int = 64
    num_layers: int = 3
    tested: int = 1_000

    def __post_init__(self) -> None:
        make_whole(self)


def voices(seed: int, setup: Setup = Setup()) -> tuple[Int[Tensor, " a"], Int[Tensor, " b"]]:
    """Which voices are trained on, and which are kept for the test.

    Raises:
        ValueError: If there are not that many.
    """
    count = len(clips().names)
    if not 0 < setup.held_out < count:
        raise ValueError(f"held_out must be from 1 to {count - 1}, got {setup.held_out}")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[setup.held_out :], order[: setup.held_out]


def dictate(
    n: int, speakers: Int[Tensor, " voices"], generator: torch.Generator
) -> tuple[Sounds, Texts]:
    """Put words of one voice in one accent one after the other, with pauses of up to 100 ms.

    Args:
        n: How many strings.
        speakers: Voices that may speak.
        generator: Where the randomness comes from.

    Returns:
        Loudness from 0 to 1, and what is said: one to four digits, each number as likely.

    Raises:
        ValueError: If `n` is negative or there is nobody to speak.

    Examples:
        >>> sounds, texts = dictate(2, torch.tensor([0, 1]), torch.Generator().manual_seed(0))
        >>> sounds.shape, texts.shape
        (torch.Size([2, 200, 32]), torch.Size([2, 5]))
    """
    n = whole("n", n)
    if n < 0:
        raise ValueError(f"n must not be negative, got {n}")
    if not len(speakers):
        raise ValueError("speakers must name at least one voice, got none")
    spoken = clips()
    which = speakers[torch.randint(len(speakers), (n,), generator=generator)]
    accent = torch.randint(2, (n, 1), generator=generator)
    said = torch.randint(len(DIGITS), (n, MOST), generator=generator)
    count = torch.randint(1, MOST + 1, (n,), generator=generator)
    pauses = torch.randint(6, (n, MOST), generator=generator)
    rows = (which[:, None] * 2 + accent) * len(DIGITS) + said
    sounds = np.zeros((n, HEARD, BANDS), np.float32)
    for i in range(n):
        start = 0
        for row, pause in zip(rows[i, : count[i]].tolist(), pauses[i].tolist(), strict=False):
            length = spoken.lengths[row]
            sounds[i, start + pause :][:length] = spoken.frames[row, :length] / 255
            start += pause + length
    texts = torch.full((n, MOST + 1), IGNORED)
    places = torch.arange(MOST + 1)
    texts[:, :MOST] = torch.where(places[:MOST] < count[:, None], said, IGNORED)
    texts[places == count[:, None]] = END
    return torch.from_numpy(sounds), texts


class Listener(nn.Module):
    """A decoder that reads sound before it writes.

    Two convolutions make one vector of four frames, 80 ms, as Whisper's make one of two. The
    vectors stand in front of the text's.

    Args:
        setup: Sizes.

    Examples:
        >>> sounds, texts = dictate(2, torch.tensor([0]), torch.Generator().manual_seed(0))
        >>> Listener(Setup())(sounds, texts[:, :3].clamp(min=0)).shape
        torch.Size([2, 4, 12])

    Source:
        Sound and text in one decoder: [Rubenstein et al. 2023][rubenstein2023audiopalm];
        convolutions before it: [Radford et al. 2022][radford2022robust], section 2.2.
    """

    mask: Bool[Tensor, "1 seq seq"]

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        d, heard = setup.d_model, HEARD // 4
        self.convolutions = nn.Sequential(
            nn.Conv1d(BANDS, d, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv1d(d, d, 3, stride=2, padding=1),
            nn.GELU(),
        )
        self.embedding = nn.Embedding(END + 1, d)
        self.positions = LearnedPositions(heard + MOST + 1, d)
        self.blocks = nn.ModuleList(
            TransformerBlock(d, 4, 4 * d, 0.0, norm_first=True, norm=nn.LayerNorm)
            for _ in range(setup.num_layers)
        )
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, END + 1)
        mask = torch.ones(heard + MOST + 1, heard + MOST + 1, dtype=torch.bool).tril()
        mask[:heard, :heard] = True  # sound sees all of the sound
        self.register_buffer("mask", mask[None], persistent=False)

    def forward(
        self, sounds: Sounds, written: Int[Tensor, "n digits"]
    ) -> Float[Tensor, "n next tokens"]:
        """Logits of the first token, and of each after those that are written.

        Raises:
            ValueError: If more is written than the longest string.
        """
        if written.shape[1] > MOST:
            raise ValueError(f"written must have at most {MOST} digits, got {written.shape[1]}")
        heard = self.convolutions(sounds.transpose(1, 2)).transpose(1, 2)
        text = self.embedding(F.pad(written, (1, 0), value=BEGIN))
        x = self.positions(torch.cat((heard, text), 1))
        seq = x.shape[1]
        for block in self.blocks:
            x = block(x, self.mask[:, :seq, :seq])
        logits: Tensor = self.head(self.norm(x[:, heard.shape[1] :]))
        return logits


class Linear(nn.Module):
    """The baseline: one linear layer from all frames to each digit of the string, or its end."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(HEARD * BANDS, (MOST + 1) * (END + 1))

    def forward(
        self, sounds: Sounds, written: Int[Tensor, "n digits"]
    ) -> Float[Tensor, "n next tokens"]:
        """Logits of the tokens, whatever is written."""
        logits: Tensor = self.layer(sounds.flatten(1)).unflatten(1, (MOST + 1, END + 1))
        return logits[:, : written.shape[1] + 1]


def text_loss(model: nn.Module, batch: tuple[Sounds, Texts]) -> Float[Tensor, ""]:
    """Mean cross-entropy of each digit and of the end, given the sound and the digits before."""
    sounds, texts = batch
    logits = model(sounds, texts[:, :-1].clamp(0, END))
    return F.cross_entropy(logits.flatten(0, 1), texts.flatten(), ignore_index=IGNORED)


def fit(
    model: nn.Module, seed: int, setup: Setup = Setup(), *, until: int | None = None
) -> list[float]:
    """Train on strings of the voices that are not held out, each string new.

    Args:
        model: A `Listener` or a `Linear`, which is trained in place.
        seed: Of the voices and of what is said.
        setup: All other settings.
        until: Stop after this step.

    Returns:
        The loss of each step.
    """
    steps, lr = setup.steps, setup.lr
    if isinstance(model, Linear):
        steps, lr = setup.linear_steps, setup.linear_lr
    recipe = Recipe(steps=steps, lr=lr, warmup=min(50, steps), decay="cosine")
    generator = torch.Generator().manual_seed(seed)
    draw = partial(dictate, setup.batch, voices(seed, setup)[0])
    return train(model, draw, recipe, generator=generator, loss=text_loss, until=until)


@torch.no_grad()
def transcribe(model: nn.Module, sounds: Sounds) -> Texts:
    """Write down the likeliest digit each time, until the end."""
    written = torch.zeros(len(sounds), 0, dtype=torch.long)
    with evaluating(model):
        for _ in range(MOST + 1):
            best = model(sounds, written)[:, -1:].argmax(-1)
            written = torch.cat((written, best), 1)
    over = (written == END).cumsum(1) - (written == END).long() > 0
    return written.masked_fill(over, IGNORED)


def judged(written: Texts, said: Texts) -> dict[str, Any]:
    """Compare what is written with what was said.

    Args:
        written: As `transcribe` gives it.
        said: As `dictate` does.

    Returns:
        Shares: of strings with every digit "right", of those of "one" to "four" digits, and of
        those whose "length" is right.
    """
    right = (written == said).all(1)
    lengths = (said >= 0).sum(1) - 1
    found = {
        word: right[lengths == k].double().mean().item()
        for k, word in enumerate(DIGITS[1 : MOST + 1], 1)
    }
    same = (written >= 0).sum(1) == (said >= 0).sum(1)
    return {
        "right": right.double().mean().item(),
        **found,
        "length": same.double().mean().item(),
    }


def run(seed: int) -> dict[str, Any]:
    """Both models with one seed, as it is recorded.

    Returns:
        For "listener" and "linear": `judged` on "new" voices, and on new strings of "known" ones;
        the losses of the "first" ten steps. "deaf": the listener on the sounds of other strings.
    """
    setup = Setup()
    known, new = voices(seed, setup)
    generator = torch.Generator().manual_seed(80_000 + seed)
    tests = {
        name: dictate(setup.tested, speakers, generator)
        for name, speakers in (("new", new), ("known", known))
    }
    results: dict[str, Any] = {}
    for name, kind in (("listener", partial(Listener, setup)), ("linear", Linear)):
        torch.manual_seed(seed)
        model = kind()
        losses = fit(model, seed, setup)
        results[name] = {
            test: judged(transcribe(model, sounds), texts)
            for test, (sounds, texts) in tests.items()
        } | {"first": losses[:10]}
        if name == "listener":
            sounds, texts = tests["new"]
            results["deaf"] = judged(transcribe(model, sounds.roll(1, 0)), texts)
    return results
