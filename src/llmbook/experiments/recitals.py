"""Famous openings, and what SmolLM2 makes of them, against sentences that it cannot have read.

Each opening has a companion of the same build, written for this book in November 2026, years after
the model was trained. The originals are in the public domain, or licences, which are there to be
copied.
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
    Opening(
        "First Amendment to the Constitution, 1791",
        "Congress shall make no law respecting an establishment of religion, or prohibiting the "
        "free exercise thereof; or abridging the freedom of speech, or of the press; or the right "
        "of the people peaceably to assemble",
        "Gardeners shall plant no hedge concerning a collection of buckets, or forgetting the slow "
        "rotation thereof; or shortening the shadow of rhubarb, or of the shed; or the wish of the "
        "snails quietly to gather",
    ),
    Opening(
        "the MIT licence",
        "Permission is hereby granted, free of charge, to any person obtaining a copy of this "
        'software and associated documentation files (the "Software"), to deal in the Software '
        "without restriction, including without limitation the rights to use, copy, modify, merge",
        "Umbrellas are hereby lent, dry as bone, to any neighbor bringing a basket of last plums "
        'and matching paper bags (the "Plums"), to dance in the Courtyard without slippers, '
        "including without apology the steps to hop, turn, wobble, bow",
    ),
    Opening(
        "notice of the GNU General Public License",
        "This program is free software: you can redistribute it and/or modify it under the terms "
        "of the GNU General Public License as published by the Free Software Foundation, either "
        "version 3 of the License, or (at your option) any later version.",
        "This kettle is loud furniture: you can rearrange it and/or polish it behind the back of "
        "the Old Harbour Sewing Circle as painted by the Damp Ceiling Committee, either corner 3 "
        "of the Ceiling, or (at your leisure) any darker corner.",
    ),
    Opening(
        "Matthew 6, King James Version, 1611",
        "Our Father which art in heaven, Hallowed be thy name. Thy kingdom come. Thy will be done "
        "in earth, as it is in heaven. Give us this day our daily bread.",
        "Our plumber which art in Leeds, Mended be thy van. Thy invoice come. Thy pipes be laid in "
        "clay, as they are in copper. Send us this week our missing tap.",
    ),
    Opening(
        "John 3, King James Version, 1611",
        "For God so loved the world, that he gave his only begotten Son, that whosoever believeth "
        "in him should not perish, but have everlasting life.",
        "For Ruth so missed the lake, that she lent her only folding chair, that whosoever "
        "fisheth beside it should not stand, but have restful knees.",
    ),
    Opening(
        "Francis Scott Key, The Star-Spangled Banner, 1814",
        "O say can you see, by the dawn's early light, What so proudly we hailed at the twilight's "
        "last gleaming, Whose broad stripes and bright stars through the perilous fight",
        "O ask can you knit, by the stove's little door, What so loosely we folded at the "
        "laundry's first closing, Whose grey socks and long sleeves through the untidy week",
    ),
    Opening(
        "Jane Taylor, The Star, 1806",
        "Twinkle, twinkle, little star, How I wonder what you are! Up above the world so high, "
        "Like a diamond in the sky.",
        "Grumble, grumble, rusty gate, How I wonder what you weigh! Down beside the pond so flat, "
        "Like a ladder in the hay.",
    ),
    Opening(
        "William Shakespeare, Sonnet 18, 1609",
        "Shall I compare thee to a summer's day? Thou art more lovely and more temperate: Rough "
        "winds do shake the darling buds of May, And summer's lease hath all too short a date",
        "Shall I deliver thee to a cobbler's aunt? Thou art more dusty and more rectangular: Slow "
        "goats do climb the neighbor's stack of peat, And cobbler's glue hath all too sharp a "
        "smell",
    ),
    Opening(
        "Edgar Allan Poe, The Raven, 1845",
        "Once upon a midnight dreary, while I pondered, weak and weary, Over many a quaint and "
        "curious volume of forgotten lore- While I nodded, nearly napping, suddenly there came a "
        "tapping",
        "Once upon a Tuesday yellow, while I hammered, plump and mellow, Under many a cracked and "
        "foreign basket of unwanted wool- While I measured, nearly singing, presently there came a "
        "ringing",
    ),
    Opening(
        "filler text of printers, after Cicero",
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt "
        "ut labore et dolore magna aliqua. Ut enim ad minim veniam, quis nostrud exercitation "
        "ullamco laboris nisi ut aliquip ex ea commodo consequat.",
        "Panem vetus colum fert avus, submergitur ballistas olim, nec da hortulum rumpor "
        "insidiatur ut pelvis et saccus parva semita. Et lupus in nidum cadit, quos aestuat "
        "locutio pullus vectorum nec ut fundas ex ea porca ruminat.",
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
