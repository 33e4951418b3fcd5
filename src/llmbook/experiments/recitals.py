"""Famous openings, and what SmolLM2 makes of them, against sentences that it cannot have read.

Each opening has a companion of the same build, written for this book in November 2026, years after
the model was trained. The originals are in the public domain.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmbook.tokenizers import ByteLevelBPE


@dataclass(frozen=True)
class Opening:
    """A famous text, and one of the same build that nobody had read.

    Attributes:
        source: Where it is from.
        famous: How it begins.
        companion: How ours begins.
    """

    source: str
    famous: str
    companion: str


OPENINGS = (
    Opening(
        "Declaration of Independence, 1776",
        "We hold these truths to be self-evident, that all men are created equal, that they are "
        "endowed by their Creator with certain unalienable Rights, that among these are Life, "
        "Liberty and the pursuit of Happiness.",
        "We leave these windows to the night cleaner, that no two panes are polished alike, that "
        "they are lent by their landlord with certain scratched corners, that among these are the "
        "attic, the pantry and the turn of the stairs.",
    ),
    Opening(
        "Constitution of the United States, 1787",
        "We the People of the United States, in Order to form a more perfect Union, establish "
        "Justice, insure domestic Tranquility, provide for the common defence, promote the general "
        "Welfare, and secure the Blessings of Liberty to ourselves and our Posterity",
        "We the Tenants of the Corner House, in Order to keep a more peaceful Stair, appoint "
        "Caretakers, insure decent Lanterns, provide for the shared wheelbarrow, promote the late "
        "Breakfast, and secure the Keys of the Cellar to ourselves and our Cousins",
    ),
    Opening(
        "Abraham Lincoln at Gettysburg, 1863",
        "Four score and seven years ago our fathers brought forth on this continent, a new nation, "
        "conceived in Liberty, and dedicated to the proposition that all men are created equal.",
        "Nine crates and eleven jars ago our neighbours rolled out across this courtyard, a "
        "borrowed carpet, knotted in Bergen, and surrendered to the opinion that most moths are "
        "brought up badly.",
    ),
    Opening(
        "Genesis, King James Version, 1611",
        "In the beginning God created the heaven and the earth. And the earth was without form, "
        "and void; and darkness was upon the face of the deep. And the Spirit of God moved upon "
        "the face of the waters.",
        "In the afternoon Marta repaired the kettle and the radio. And the radio was without knob, "
        "and mute; and sawdust was upon the lid of the drum. And the cousin of Marta leaned upon "
        "the handle of the door.",
    ),
    Opening(
        "Psalm 23, King James Version, 1611",
        "The LORD is my shepherd; I shall not want. He maketh me to lie down in green pastures: he "
        "leadeth me beside the still waters. He restoreth my soul",
        "The clockmaker is my lodger; I do not wind. He asketh me to sit down on blue cushions: he "
        "sendeth me among the noisy pigeons. He mendeth my zip",
    ),
    Opening(
        "William Shakespeare, Hamlet, 1603",
        "To be, or not to be, that is the question: Whether 'tis nobler in the mind to suffer The "
        "slings and arrows of outrageous fortune, Or to take arms against a sea of troubles",
        "To knit, or not to knit, that is the schedule: Whether the shed is drier for the goats to "
        "borrow The ribbons and buckets of a generous aunt, Or to send notes against a row of "
        "chimneys",
    ),
    Opening(
        "Jane Austen, Pride and Prejudice, 1813",
        "It is a truth universally acknowledged, that a single man in possession of a good "
        "fortune, must be in want of a wife. However little known the feelings or views of such a "
        "man may be",
        "It is a rumour locally tolerated, that a tall widow in charge of a small orchard, must be "
        "in debt to a beekeeper. However poorly mended the ladders or gates of such a widow may be",
    ),
    Opening(
        "Herman Melville, Moby-Dick, 1851",
        "Call me Ishmael. Some years ago - never mind how long precisely - having little or no "
        "money in my purse, and nothing particular to interest me on shore, I thought I would sail "
        "about a little and see the watery part of the world.",
        "Call the plumber Osvald. Two winters back - do not ask me which of them - having a "
        "cracked boiler and no cousin in the trade, and a cellar that smelled of onions, I decided "
        "I would row about the quarry and count the empty bottles.",
    ),
    Opening(
        "Charles Dickens, A Tale of Two Cities, 1859",
        "It was the best of times, it was the worst of times, it was the age of wisdom, it was the "
        "age of foolishness, it was the epoch of belief, it was the epoch of incredulity",
        "It was the driest of cellars, it was the wettest of lofts, it was the month of rhubarb, "
        "it was the month of unpaid lamps, it was the hour of the ferry, it was the hour of "
        "borrowed bicycles",
    ),
    Opening(
        "Lewis Carroll, Alice's Adventures in Wonderland, 1865",
        "Alice was beginning to get very tired of sitting by her sister on the bank, and of having "
        "nothing to do: once or twice she had peeped into the book her sister was reading, but it "
        "had no pictures or conversations in it",
        "Ingrid was starting to feel rather proud of standing by her uncle in the queue, and of "
        "having a number to hold: now and then she had nodded at the clerk her uncle was watching, "
        "but he had no stamps or envelopes on him",
    ),
)
PROMPTS = (4, 6, 8, 12, 16)


@dataclass(frozen=True)
class Recital:
    """What a model makes of a text.

    Attributes:
        copied: The most tokens that it continues word for word, after any of the prompts.
        text: These tokens.
        nats: Its loss on the text, in nats a token.
    """

    copied: int
    text: str
    nats: float


def recite(model: nn.Module, tokenizer: ByteLevelBPE, text: str) -> Recital:
    """Give a model beginnings of a text of several lengths, and see how far it goes on.

    Args:
        model: Gives logits for token ids, such as SmolLM2.
        tokenizer: Its own.
        text: Read as the beginning of a document.

    Returns:
        What `llmbook.memorization.verbatim` finds, for all prompts from one pass over the text.
    """
    start = tokenizer.special_tokens["<|endoftext|>"]  # what stood before each in training
    ids = torch.tensor([start, *tokenizer.encode(text)])
    with torch.inference_mode():
        logits: Tensor = model(ids[None, :-1])[0]
    nats = F.cross_entropy(logits, ids[1:]).item()
    same = (logits.argmax(-1) == ids[1:]).long()
    runs = [(int(same[prompt:].cumprod(0).sum()), prompt) for prompt in PROMPTS]
    copied, prompt = max(runs, key=lambda run: run[0])
    begin = 1 + prompt
    return Recital(copied, tokenizer.decode(ids[begin : begin + copied].tolist()), nats)
