"""`llmbook.experiments.subjects`: the sentences, and which token a head is said to look at."""

from collections import Counter

import pytest
import torch

from llmbook.experiments.subjects import EVENTS, FORMS, looks, sentences
from llmbook.llama import Llama
from llmbook.pretrained import load_smollm2
from llmbook.tokenizers import ByteLevelBPE


def test_sentences_differ_and_hold_their_nouns_in_order() -> None:
    """The first noun stands before all others, the nearest after them."""
    found = list(sentences())
    assert len({sentence.text for sentence in found}) == len(EVENTS) * len(FORMS) == 60
    nouns = {word for event in EVENTS for word in event.split()[:2]} | {"garden", "war", "man"}
    for sentence in found:
        inside = [word for word in sentence.text.split() if word in nouns]
        assert (sentence.first, sentence.nearest) == (inside[0], inside[-1])
        assert sentence.subject in inside
        assert sentence.subject != sentence.nearest
        assert sentence.text.split()[-2:] == ["because", "it"]


class Fixed(Llama):
    """Attention that is said beforehand: a share for each position."""

    def __init__(self, place: int) -> None:
        torch.nn.Module.__init__(self)
        self.place = place

    def attention_weights(self, token_ids: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """All on one position."""
        batch, seq = token_ids.shape
        weights = torch.zeros(2, batch, 3, seq, seq)
        weights[1, :, 2, :, self.place] = 1
        return weights


@pytest.fixture(scope="module")
def tokenizer() -> ByteLevelBPE:
    """The one of the book."""
    return load_smollm2()[1]


@pytest.mark.parametrize(
    ("place", "plain", "place_first"),
    [
        (0, "first token", "first token"),
        (1, "subject", "other"),
        (2, "other", "first noun"),
        (4, "nearest noun", "subject"),
        (-3, "nearest noun", "nearest noun"),
    ],
)
def test_what_stands_at_a_place_is_named(
    tokenizer: ByteLevelBPE, place: int, plain: str, place_first: str
) -> None:
    """`The dog chased the ball because it`, and `In the garden the dog …`; all nouns are a token."""
    found = looks(Fixed(place), tokenizer, 1, 2)
    assert found["plain"] == Counter({plain: 12})
    assert found["place first"] == Counter({place_first: 12})
    assert all(counts.total() == 12 for counts in found.values())
