"""Several drawings for each text, of which CLIP chooses one, as it did for DALL-E.

The artist is that of `drawings`, CLIP that of `word_order`. Neither has ever seen the withheld
pairs of colour and shape, nor the scenes that are new.
"""

from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmbook.experiments import word_order
from llmbook.experiments.drawings import (
    Artist,
    Setup,
    decode,
    learn,
    questions,
    shared_codes,
    to_hex,
)
from llmbook.experiments.shapes import canonical, read, train_judge
from llmbook.training import evaluating

COUNTS: Final = (1, 2, 4, 8, 16)
Captions = Int[Tensor, "n 5"]
Images = Float[Tensor, "n 3 24 24"]


@torch.no_grad()
def drawings(
    artist: Artist, texts: Captions, count: int, generator: torch.Generator
) -> tuple[list[Images], Float[Tensor, "count n"]]:
    """Draw so many pictures for each text.

    Returns:
        The pictures, and how likely the artist found each: the sum of the log-probabilities of
            its codes.
    """
    pictures, likely = [], []
    for _ in range(count):
        codes = artist.dalle.draw(texts, generator, temperature=Setup.temperature)
        with evaluating(artist.dalle):
            logits = artist.dalle(texts, codes)[1].log_softmax(-1)
        likely.append(logits.gather(-1, codes[..., None]).sum((1, 2)))
        pictures.append(decode(artist.vqvae, codes))
    return pictures, torch.stack(likely)


def chosen(
    right: Bool[Tensor, "count n"], score: Float[Tensor, "count n"], count: int
) -> Bool[Tensor, " n"]:
    """Whether the one with the highest score among the first so many is right.

    Examples:
        >>> right = torch.tensor([[False], [True]])
        >>> chosen(right, torch.tensor([[1.0], [2.0]]), 1).item()
        False
        >>> chosen(right, torch.tensor([[1.0], [2.0]]), 2).item()
        True
    """
    best = score[:count].argmax(0)
    return right[best, torch.arange(right.shape[1])]


def run(seed: int, most: int = max(COUNTS), tested: int = 100) -> dict[str, Any]:
    """What is recorded: shares of texts whose chosen picture is right in all parts.

    Args:
        seed: Of all that is trained and drawn.
        most: Drawings for each text.
        tested: Texts of each kind.

    Returns:
        For "new" scenes and "withheld" pairs, by the number of drawings: chosen by "CLIP", by the
        artist's own "likelihood", and whether "any" is right, which nothing can beat. Under
        "gallery" for each kind the picture with the highest and that with the lowest of CLIP's
        scores over all texts.
    """
    judge, artist = train_judge(seed), learn(shared_codes(seed), seed)
    clip, _ = word_order.fit(seed)
    found: dict[str, Any] = {"gallery": []}
    for kind in ("new", "withheld"):
        texts = questions(seed)[kind][:tested]
        generator = torch.Generator().manual_seed(90_000 + seed)
        pictures, likely = drawings(artist, texts, most, generator)
        read_ids = [read(judge, drawn) for drawn in pictures]
        asked = canonical(texts)
        right = torch.stack([(canonical(ids) == asked).all(1) for ids in read_ids])
        fits = torch.stack([word_order.scores(clip, drawn, texts).diagonal() for drawn in pictures])
        counts = [count for count in COUNTS if count <= most]
        found[kind] = {
            str(count): {
                "CLIP": _share(chosen(right, fits, count)),
                "likelihood": _share(chosen(right, likely, count)),
                "any": _share(right[:count].any(0)),
            }
            for count in counts
        }
        for place, at in (("best", fits.argmax()), ("worst", fits.argmin())):
            which, text = divmod(int(at), len(texts))
            found["gallery"].append(
                {
                    "kind": kind,
                    "place": place,
                    "text": texts[text].tolist(),
                    "right": bool(right[which, text]),
                    "picture": to_hex(pictures[which][text]),
                }
            )
    return found


def _share(which: Bool[Tensor, " n"]) -> float:
    return float(which.float().mean())
