"""At which noun a head looks from *it*: sixty sentences in five forms, made from the same words.

One sentence cannot tell a head that finds the subject from one that finds the first noun, the
nearest, or the first token. Sentences in which these are different words can.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

import torch

from llmbook.llama import Llama
from llmbook.tokenizers import ByteLevelBPE

EVENTS: Final = (
    "dog ball chased", "cat mouse watched", "horse cart pulled", "bird seed found",
    "fox hen followed", "robot cup dropped", "truck wall passed", "ship island reached",
    "car tree hit", "bear fish caught", "train bridge crossed", "storm house damaged",
)  # fmt: skip
"""Who does something, to what, and what is done."""

FORMS: Final = {
    "plain": "The {who} {did} the {what}",
    "place first": "In the garden the {who} {did} the {what}",
    "time first": "After the war the {who} {did} the {what}",
    "said": "The man said that the {who} {did} the {what}",
    "passive": "The {what} was {did} by the {who}",
}
"""Each is followed by `because it`."""


class Sentence(NamedTuple):
    """A sentence that ends in *it*, and three of its nouns.

    Attributes:
        form: A key of `FORMS`.
        text: The words.
        subject: The noun with which the verb before *because* agrees.
        first: The noun that comes first.
        nearest: The noun that comes last.
    """

    form: str
    text: str
    subject: str
    first: str
    nearest: str


def sentences() -> Iterator[Sentence]:
    """All events in all forms.

    Examples:
        >>> next(sentences()).text
        'The dog chased the ball because it'
    """
    fronted = {"place first": "garden", "time first": "war", "said": "man"}
    for form, frame in FORMS.items():
        for event in EVENTS:
            who, what, did = event.split()
            text = frame.format(who=who, what=what, did=did) + " because it"
            subject, nearest = (what, who) if form == "passive" else (who, what)
            yield Sentence(form, text, subject, fronted.get(form, subject), nearest)


def looks(model: Llama, tokenizer: ByteLevelBPE, layer: int, head: int) -> dict[str, Counter[str]]:
    """Which token gets most of a head's attention from *it*, by the form of the sentence.

    Args:
        model: A decoder.
        tokenizer: Its tokenizer.
        layer: Counted from 0.
        head: Counted from 0.

    Returns:
        For each form how often it is the "subject", the "first noun" (where that is not the
        subject), the "nearest noun", the "first token", or an "other".
    """
    found: dict[str, Counter[str]] = {form: Counter() for form in FORMS}
    by_length: dict[int, list[tuple[Sentence, list[int]]]] = {}
    for sentence in sentences():
        token_ids = tokenizer.encode(sentence.text)
        by_length.setdefault(len(token_ids), []).append((sentence, token_ids))
    for group in by_length.values():  # texts of one length are read side by side
        with torch.no_grad():
            read = model.attention_weights(torch.tensor([token_ids for _, token_ids in group]))
        places = read[layer, :, head, -1].argmax(dim=-1).tolist()
        for (sentence, token_ids), place in zip(group, places, strict=True):
            names = {
                sentence.nearest: "nearest noun",
                sentence.first: "first noun",
                sentence.subject: "subject",
            }
            token = tokenizer.decode([token_ids[place]]).strip()
            other = "first token" if place == 0 else "other"
            found[sentence.form][names.get(token, other)] += 1
    return found
