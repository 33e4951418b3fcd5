"""Digits spoken: a decoder reads them, writes codes of sound, and a recogniser says what it hears.

The speaker is DALL-E's decoder with sound in the picture's place: digits in front, then one code
for each 40 ms, from a list that k-means has made of the book's voices. The recognisers are those of
`dictation`, which have learned from spoken digits alone. Some pairs of digits never come one after
the other in the speaker's training.
"""

import base64
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.audio import RATE
from llmbook.dalle import Dalle, dalle_loss, drop_text
from llmbook.experiments.dictation import (
    HEARD,
    MOST,
    Linear,
    Listener,
    Sounds,
    Texts,
    dictate,
    judged,
    transcribe,
    voices,
)
from llmbook.experiments.dictation import Setup as Heard
from llmbook.experiments.dictation import fit as teach
from llmbook.sizes import make_whole, whole
from llmbook.spoken import BANDS, DIGITS, clips, mel_frames
from llmbook.training import Recipe, train
from llmbook.vocoder import energies, griffin_lim
from llmbook.vq import Codebook

JOINED: Final = 2
"""Frames of 20 ms that one code stands for."""
LENGTH: Final = HEARD // JOINED
"""Codes of a string."""
APART: Final = 3
"""Digits one of which is this much above the other, modulo 10, never follow it in training."""
SETTINGS: Final = ((1.0, 1.0), (0.8, 1.0), (1.0, 2.0), (0.8, 2.0))
"""Temperature and guidance of what is recorded."""

Digits = Int[Tensor, "n 4"]
"""Digits, and 10 after the last."""
Codes = Int[Tensor, "n 100"]


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        num_codes: Sounds in the list.
        strings: Of which the list is made.
        steps: Of the speaker's training.
        batch: Strings in a step, less those with a withheld pair.
        lr: Highest learning rate of AdamW.
        d_model: Width of the speaker.
        num_layers: Its blocks.
        drop: Share of the texts that the speaker does not see.
        tested: Strings of a test.

    Raises:
        TypeError: If a size is no whole number.
    """

    num_codes: int = 256
    strings: int = 400
    steps: int = 2_000
    batch: int = 36
    lr: float | int = 2e-3
    d_model: int = 64
    num_layers: int = 3
    drop: float | int = 0.1
    tested: int = 500

    def __post_init__(self) -> None:
        make_whole(self)


def digits_of(texts: Texts) -> Digits:
    """What the speaker reads of a string.

    Examples:
        >>> digits_of(torch.tensor([[4, 0, 11, -100, -100]])).tolist()
        [[4, 0, 10, 10]]
    """
    digits = texts[:, :MOST]
    return torch.where((digits >= 0) & (digits < len(DIGITS)), digits, len(DIGITS))


def holds_withheld(digits: Digits) -> Bool[Tensor, " n"]:
    """Whether two digits follow each other that never do in training.

    Examples:
        >>> holds_withheld(torch.tensor([[1, 4, 10, 10], [4, 1, 10, 10], [5, 9, 2, 10]])).tolist()
        [True, False, True]
    """
    first, second = digits[:, :-1], digits[:, 1:]
    return ((second < len(DIGITS)) & ((second - first) % len(DIGITS) == APART)).any(1)


def strings(
    n: int,
    speakers: Int[Tensor, " voices"],
    generator: torch.Generator,
    *,
    withheld: bool = False,
) -> tuple[Sounds, Texts]:
    """Strings as `dictate` makes them, without a withheld pair, or only those with one.

    Args:
        n: How many are drawn. Of those without such a pair about five in six are left.
        speakers: Voices that may speak.
        generator: Where the randomness comes from.
        withheld: Which are wanted.
    """
    sounds, texts = dictate(n, speakers, generator)
    wanted = holds_withheld(digits_of(texts)) == withheld
    return sounds[wanted], texts[wanted]


def make_codes(seed: int, setup: Setup = Setup()) -> Codebook:
    """Make the list of sounds: the means of pairs of frames of the voices that are trained on."""
    generator = torch.Generator().manual_seed(seed)
    sounds, _ = strings(setup.strings, voices(seed)[0], generator)
    book = Codebook(setup.num_codes, JOINED * BANDS)
    pairs = _joined(sounds).flatten(0, 1)
    book.start(pairs[torch.randperm(len(pairs), generator=generator)[:20_000]], generator)
    return book


@torch.no_grad()
def encode(book: Codebook, sounds: Sounds) -> Codes:
    """The code of each 40 ms."""
    return book.nearest(_joined(sounds))


@torch.no_grad()
def decode(book: Codebook, codes: Codes) -> Sounds:
    """The frames that codes stand for."""
    return book.weight[codes].reshape(len(codes), HEARD, BANDS).clamp(0, 1)


def fit(
    book: Codebook, seed: int, setup: Setup = Setup(), *, until: int | None = None
) -> tuple[Dalle, list[float]]:
    """Train a speaker on the voices that are not held out.

    Args:
        book: The list of sounds.
        seed: Of its first weights, and of what it reads.
        setup: All other settings.
        until: Stop after this step.

    Returns:
        The speaker, and the loss of each step.
    """
    torch.manual_seed(seed)
    speaker = Dalle(len(DIGITS) + 1, setup.num_codes, MOST, LENGTH, setup.d_model, setup.num_layers)
    known, _ = voices(seed)

    def draw(generator: torch.Generator) -> tuple[Digits, Codes]:
        sounds, texts = strings(setup.batch, known, generator)
        read = drop_text(digits_of(texts), speaker.nothing, generator, setup.drop)
        return read, encode(book, sounds)

    recipe = Recipe(steps=setup.steps, lr=setup.lr, warmup=min(50, setup.steps), decay="cosine")
    generator = torch.Generator().manual_seed(seed)
    return speaker, train(speaker, draw, recipe, generator=generator, loss=dalle_loss, until=until)


def glued(digits: Digits, speakers: Int[Tensor, " voices"], pause: int = 3) -> Sounds:
    """The baseline: the average clip of each digit, one after the other.

    It is told where words begin and end, which the speaker has to find out.

    Args:
        digits: What to say.
        speakers: Of whose clips it is the average.
        pause: Frames of silence before each.
    """
    spoken, known = clips(), np.isin(clips().voices, speakers.numpy())
    words = []
    for digit in range(len(DIGITS)):
        chosen = known & (spoken.digits == digit)
        length = round(float(spoken.lengths[chosen].mean()))
        words.append(spoken.frames[chosen, :length].mean(0) / 255)
    sounds = np.zeros((len(digits), HEARD, BANDS), np.float32)
    for row, said in zip(sounds, digits.tolist(), strict=True):
        start = 0
        for digit in said:
            if digit < len(DIGITS):
                word = words[digit]
                row[start + pause :][: len(word)] = word
                start += pause + len(word)
    return torch.from_numpy(sounds)


def to_sound(frames: Float[Tensor, "frames 32"], steps: int = 60) -> Float[np.ndarray, " samples"]:
    """A wave of these frames, at 16,000 samples a second, the loudest sample 1.

    Args:
        frames: Loudness from 0 to 1, without the silence after the last word.
        steps: Of `griffin_lim`.

    Examples:
        >>> to_sound(torch.rand(10, 32)).shape
        (3040,)
    """
    mel = 2 * frames.double().numpy().repeat(2, 0).T - 1  # on `log_mel`'s scale, the loudest at 1
    generator = torch.Generator().manual_seed(0)
    wave = griffin_lim(torch.from_numpy(energies(mel) ** 0.5), steps, generator=generator).numpy()
    loud: Float[np.ndarray, " samples"] = wave / max(abs(wave).max(), 1e-9)
    return loud


def through_sound(sounds: Sounds) -> Sounds:
    """What is left of frames that have become a wave, and frames again."""
    again = torch.zeros_like(sounds)
    for row, frames in zip(again, sounds, strict=True):
        end = spoken_frames(frames)
        if end > 1:
            heard = torch.from_numpy(mel_frames(to_sound(frames[:end]), RATE) / 255)
            row[: len(heard)] = heard
    return again


def spoken_frames(frames: Float[Tensor, "frames 32"]) -> int:
    """How many there are until the last that is not silent.

    Examples:
        >>> spoken_frames(torch.tensor([[0.0], [0.9], [0.0], [0.0]]).expand(4, 32))
        2
    """
    loud = frames.amax(1) > 0.25
    return int(loud.nonzero().max()) + 1 if loud.any() else 0


def run(seed: int) -> dict[str, Any]:
    """A speaker with one seed, as it is recorded.

    Returns:
        For strings like those of the training ("new") and with withheld pairs ("withheld"), what
        each judge makes of the "real" ones, of the same as codes ("coded"), of the average voice
        ("glued") and of the speaker's, by temperature and guidance, and by the last of them as
        "wave". "shuffled": those judged by the text of another. Besides the losses of the "first"
        ten steps, and for the page what the speaker "said", with its "codebook".
    """
    setup = Setup()
    known, _ = voices(seed)
    judges: dict[str, nn.Module] = {}
    for name, kind in (("listener", partial(Listener, Heard())), ("linear", Linear)):
        torch.manual_seed(seed)
        judges[name] = kind()
        teach(judges[name], seed)
    book = make_codes(seed, setup)
    speaker, losses = fit(book, seed, setup)
    generator = torch.Generator().manual_seed(85_000 + seed)
    found: dict[str, Any] = {"first": losses[:10], "last": float(np.mean(losses[-50:]))}
    for name, withheld in (("new", False), ("withheld", True)):
        drawn = setup.tested * (8 if withheld else 2)
        sounds, texts = (
            part[: setup.tested] for part in strings(drawn, known, generator, withheld=withheld)
        )
        digits = digits_of(texts)
        said = {
            f"{temperature}, {guidance}": decode(
                book, speaker.draw(digits, generator, temperature=temperature, guidance=guidance)
            )
            for temperature, guidance in SETTINGS
        }
        last = said[f"{SETTINGS[-1][0]}, {SETTINGS[-1][1]}"]
        heard = {
            "real": sounds,
            "coded": decode(book, encode(book, sounds)),
            "glued": glued(digits, known),
            **said,
            "wave": through_sound(last),
        }
        found[name] = {
            judge: {what: _judged(model, x, texts) for what, x in heard.items()}
            | {"shuffled": _judged(model, last.roll(1, 0), texts)}
            for judge, model in judges.items()
        }
    found["said"] = examples(speaker, generator)
    found["codebook"] = pack(book)
    return found


def examples(speaker: Dalle, generator: torch.Generator) -> list[dict[str, Any]]:
    """Three strings for the page, in the order of the list; the last has a withheld pair."""
    digits = torch.tensor([[4, 0, 10, 10], [2, 7, 1, 10], [5, 8, 10, 10]])
    temperature, guidance = SETTINGS[-1]
    codes = speaker.draw(digits, generator, temperature=temperature, guidance=guidance)
    return [
        {"digits": [d for d in row if d < len(DIGITS)], "codes": said}
        for row, said in zip(digits.tolist(), codes.tolist(), strict=True)
    ]


def pack(book: Codebook) -> str:
    """The list of sounds in eight bits, as text."""
    levels = (book.weight.detach().clamp(0, 1) * 255).round().to(torch.uint8)
    return base64.b64encode(levels.numpy().tobytes()).decode()


def unpack(text: str) -> Codebook:
    """The list of sounds from its text.

    Raises:
        ValueError: If the text holds no whole number of codes.
    """
    levels = np.frombuffer(base64.b64decode(text), np.uint8)
    if len(levels) % (JOINED * BANDS):
        raise ValueError(f"text must hold codes of {JOINED * BANDS} levels, got {len(levels)}")
    book = Codebook(whole("codes", len(levels) // (JOINED * BANDS)), JOINED * BANDS)
    weight = torch.from_numpy(levels.reshape(-1, JOINED * BANDS) / 255).float()
    book.load_state_dict({"weight": weight})
    return book


def _judged(judge: nn.Module, sounds: Sounds, texts: Texts) -> dict[str, float]:
    """As `judged`, without the lengths that no text has: one digit is no pair."""
    found = judged(transcribe(judge, sounds), texts)
    return {name: share for name, share in found.items() if not math.isnan(share)}


def _joined(sounds: Sounds) -> Float[Tensor, "n 100 64"]:
    return sounds.reshape(len(sounds), LENGTH, JOINED * BANDS)
