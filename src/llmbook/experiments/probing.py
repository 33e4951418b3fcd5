"""A probe finds the subject's number in SmolLM2's stream: does the stream say it, or the probe?

"The key to the old", "The keys to the old": at *old*, a linear classifier is asked for the number
of the noun that stands three words back. For control it is asked for a label that was dealt to each
noun by lot, which the stream cannot know: what it gets right there, it has learned by heart.
"""

import functools
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from llmbook.interpretability import residual_stream
from llmbook.pretrained import smollm2

NOUNS: Final = (
    "key book letter box dog cat tree house car boat bird song road river bridge window door"
    " table chair picture girl boy king queen teacher doctor farmer student horse ship train ticket"
).split()
FRAMES: Final = (
    "The {} to the old", "The {} near the big", "I saw that the {} behind the red",
    "Perhaps the {} from the small", "We know the {} under the new", "The {} beside the long",
    "He said the {} of the rich", "Yesterday the {} in the dark",
)  # fmt: skip
LAYERS: Final = (0, 1, 2, 4, 8, 12, 16, 20, 24, 28, 30)


def plural(noun: str) -> str:
    """The regular plural.

    Examples:
        >>> plural("key"), plural("box")
        ('keys', 'boxes')
    """
    return noun + ("es" if noun.endswith(("x", "s", "ch")) else "s")


@functools.cache
def streams() -> tuple[
    Float[np.ndarray, "layers texts d_model"],
    Bool[np.ndarray, " texts"],
    Int[np.ndarray, " texts"],
    Int[np.ndarray, " texts"],
]:
    """The stream at the last word of each text, in `LAYERS`.

    Returns:
        The vectors, and for each text whether its noun is plural, the noun's number in the list,
            and the frame's.
    """
    model, tokenizer = smollm2()
    start = tokenizer.special_tokens["<|endoftext|>"]
    vectors, many, nouns, frames = [], [], [], []
    for number, noun in enumerate(NOUNS):
        for form in (noun, plural(noun)):
            for place, frame in enumerate(FRAMES):
                ids = torch.tensor([[start, *tokenizer.encode(frame.format(form))]])
                stream = residual_stream(model, ids)[list(LAYERS), 0, -1]
                vectors.append(stream.double().numpy())
                many.append(form != noun)
                nouns.append(number)
                frames.append(place)
    return np.stack(vectors, 1), np.array(many), np.array(nouns), np.array(frames)


def accuracy(
    vectors: Float[np.ndarray, "texts d_model"],
    labels: Bool[np.ndarray, " texts"],
    held_out: Bool[np.ndarray, " texts"],
) -> float:
    """How often a linear probe is right on the texts that are held out.

    Args:
        vectors: What it sees, each brought to length 1 after the mean was taken away.
        labels: What it must tell.
        held_out: True for the texts on which it is asked; from the others it learns.
    """
    centred = vectors - vectors[~held_out].mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    x, y = unit[~held_out], np.where(labels[~held_out], 1.0, -1.0)
    weights = np.linalg.solve(x.T @ x + 0.1 * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    guessed = unit[held_out] @ weights + y.mean() > 0
    return float((guessed == labels[held_out]).mean())


def run(seed: int) -> dict[str, Any]:
    """What is recorded: for each of `LAYERS` three shares of right answers.

    Args:
        seed: Of what is held out, and of the labels dealt by lot.

    Returns:
        "number", asked in frames that were held out, with nouns that were seen; "new nouns", asked
            of nouns that were held out; "by lot", a label dealt to each form of a noun, asked in
            frames that were held out.
    """
    vectors, many, nouns, frames = streams()
    random = np.random.default_rng(seed)
    new_frame = np.isin(frames, random.choice(len(FRAMES), 3, replace=False))
    new_noun = np.isin(nouns, random.choice(len(NOUNS), 10, replace=False))
    dealt = random.permutation(np.arange(2 * len(NOUNS)) % 2 == 0)[2 * nouns + many]
    return {
        "number": [accuracy(layer, many, new_frame) for layer in vectors],
        "new nouns": [accuracy(layer, many, new_noun) for layer in vectors],
        "by lot": [accuracy(layer, dealt, new_frame) for layer in vectors],
    }
