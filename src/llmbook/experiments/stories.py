"""Stories whose truth is known: each is drawn anew, and some of its words follow from others.

`kim is a girl . kim has two red balls . the dogs near the cat behind the blue box are hungry .
she finds three more . now she has five red balls . the film was dull . she frowned .`

Whoever has read on to such a word can know it, if he keeps apart what matters and what does not:
the verb's number from a subject eight words before, the pronoun from a name that says nothing by
itself, a sum, and what was told long ago.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

NAMES = "kim lee max pat sam jo alex robin dana noa".split()
PEOPLE = {"girl": "she", "boy": "he"}
NUMBERS = "two three four five six seven eight nine ten eleven twelve".split()
COLOURS = "red blue green white black brown pink grey".split()
THINGS = "balls cups hats coins books shells cards keys".split()
ANIMALS = "dog cat horse bird goat duck frog sheepdog".split()
STATES = "hungry tired quiet small old wet".split()
FILMS = {
    "smiled": "funny bright warm clever sweet lovely witty charming gentle superb".split(),
    "frowned": "dull cold slow empty grim silly boring clumsy bitter awful".split(),
}
FRAME = (
    "NAME is a PERSON .",
    "NAME has FIRST COLOUR THING .",
    "PRONOUN finds SECOND more .",
    "now PRONOUN has SUM COLOUR THING .",
    "the film was FILM .",
    "PRONOUN FACE .",
)
ASIDE = "the SUBJECT near the OTHER behind the SHADE BOX VERB STATE ."
PLANS = [" ".join((*FRAME[:k], ASIDE, *FRAME[k:])).split() for k in (1, 2, 3)]
SKILLS = {  # what can be known, and the words among which it is to be chosen
    "pronoun": [*PEOPLE.values()],
    "agreement": ["is", "are"],
    "sum": NUMBERS[2:],
    "colour": COLOURS,
    "thing": THINGS,
    "mood": [*FILMS],
}
BEGIN = "<bos>"
LENGTH = len(PLANS[0])  # of a story without it
WORDS = sorted(
    {word for word in PLANS[0] if word.islower() or word == "."}
    | {"is", "are", "box", "boxes", *NAMES, *PEOPLE, *PEOPLE.values(), *NUMBERS, *COLOURS}
    | {*THINGS, *STATES, *ANIMALS, *FILMS, *(a + "s" for a in ANIMALS)}
    | {film for films in FILMS.values() for film in films}
)
VOCABULARY = [BEGIN, *WORDS]
_ID = {word: i for i, word in enumerate(VOCABULARY)}
_FEW = 5  # two to six balls, and two to six more


def draw_story(rng: np.random.Generator) -> list[str]:
    """Draw one story.

    Args:
        rng: Where the randomness comes from.

    Returns:
        Its words, of which there are as many in every story.

    Examples:
        >>> " ".join(draw_story(np.random.default_rng(0))[:11])
        'kim is a boy . kim has four blue cards .'
    """

    def one_of(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    person, face = one_of([*PEOPLE]), one_of([*FILMS])
    first, second = (int(rng.integers(_FEW)) for _ in range(2))
    many, others, boxes = (bool(rng.integers(2)) for _ in range(3))
    words = {
        "NAME": one_of(NAMES),
        "PERSON": person,
        "FIRST": NUMBERS[first],
        "COLOUR": one_of(COLOURS),
        "THING": one_of(THINGS),
        "SUBJECT": one_of(ANIMALS) + "s" * many,
        "OTHER": one_of(ANIMALS) + "s" * others,
        "SHADE": one_of(COLOURS),
        "BOX": "boxes" if boxes else "box",
        "VERB": "are" if many else "is",
        "STATE": one_of(STATES),
        "PRONOUN": PEOPLE[person],
        "SECOND": NUMBERS[second],
        "SUM": NUMBERS[first + second + 2],
        "FILM": one_of(FILMS[face]),
        "FACE": face,
    }
    plan = PLANS[int(rng.integers(len(PLANS)))]
    return [words.get(word, word) for word in plan]


def draw_stories(count: int, seed: int) -> Int[Tensor, "count seq"]:
    """Draw stories as token ids, each with `<bos>` in front.

    Args:
        count: How many.
        seed: Another one gives other stories.

    Examples:
        >>> ids = draw_stories(2, seed=0)
        >>> tuple(ids.shape), words(ids[0])[:6]
        ((2, 44), ['<bos>', 'kim', 'is', 'a', 'boy', '.'])
    """
    rng = np.random.default_rng(seed)
    return torch.tensor([[_ID[word] for word in (BEGIN, *draw_story(rng))] for _ in range(count)])


def words(token_ids: Int[Tensor, " seq"]) -> list[str]:
    """The words of token ids."""
    return [VOCABULARY[i] for i in token_ids.tolist()]


def token_ids(text: str) -> Int[Tensor, " seq"]:
    """The token ids of words with spaces between them.

    Raises:
        ValueError: If a word is in no story.
    """
    unknown = [word for word in text.split() if word not in _ID]
    if unknown:
        raise ValueError(f"no story has the words {', '.join(unknown)}")
    return torch.tensor([_ID[word] for word in text.split()])


def consistent(ids: Int[Tensor, " seq"]) -> bool:
    """Whether a story, `<bos>` included, keeps to a plan and to itself: all that follows is right.

    Examples:
        >>> begin = "<bos> kim is a boy . kim has two red hats . he finds two more ."
        >>> aside = "the dogs near the cat behind the blue box are wet ."
        >>> end = "red hats . the film was dull . he frowned ."
        >>> for number in ("four", "five"):
        ...     consistent(token_ids(f"{begin} {aside} now he has {number} {end}"))
        True
        False
    """
    slots = read_slots(ids)
    return slots is not None and _follows(slots)


def read_slots(ids: Int[Tensor, " seq"]) -> dict[str, str] | None:
    """What a story, `<bos>` included, has in the slots of its plan; `None` if it keeps to no plan.

    Examples:
        >>> slots = read_slots(draw_stories(1, seed=0)[0])
        >>> slots["NAME"], slots["COLOUR"], slots["THING"]
        ('kim', 'blue', 'cards')
    """
    text = words(ids)
    for plan in PLANS:
        slots: dict[str, str] = {}
        pairs = list(zip(plan, text[1:], strict=False))
        same = [word == slots.setdefault(slot, word) for slot, word in pairs if slot.isupper()]
        fixed = [word == slot for slot, word in pairs if not slot.isupper()]
        if len(text) == len(plan) + 1 and all(same) and all(fixed):
            return slots
    return None


def _follows(slots: dict[str, str]) -> bool:
    """Whether what can be known is right, in a story's words by their slots."""
    options = [(NAMES, "NAME"), (COLOURS, "COLOUR"), (COLOURS, "SHADE"), (THINGS, "THING")]
    animals = [*ANIMALS, *(animal + "s" for animal in ANIMALS)]
    options += [(animals, "SUBJECT"), (animals, "OTHER"), (["box", "boxes"], "BOX")]
    options += [(STATES, "STATE"), (NUMBERS[:_FEW], "FIRST"), (NUMBERS[:_FEW], "SECOND")]
    return (
        all(slots[slot] in words for words, slot in options)
        and slots["PRONOUN"] == PEOPLE.get(slots["PERSON"])
        and slots["VERB"] == ("is" if slots["SUBJECT"] in ANIMALS else "are")
        and slots["SUM"]
        == NUMBERS[NUMBERS.index(slots["FIRST"]) + NUMBERS.index(slots["SECOND"]) + 2]
        and slots["FILM"] in FILMS.get(slots["FACE"], ())
    )


def entropy() -> float:
    r"""The loss, in nats a token, of one who knows how the stories are made.

    What is drawn costs the logarithm of the number of options, and all else nothing. No model can
    do better on stories that it has not seen.

    Examples:
        >>> round(entropy(), 4)
        0.5716
    """
    drawn = [NAMES, PEOPLE, COLOURS, THINGS, ANIMALS, ANIMALS, COLOURS, STATES]
    options = [len(some) for some in drawn] + [_FEW] * 2 + [2] * 3 + [len(PLANS)]
    films = [film for some in FILMS.values() for film in some]
    return float(np.log([*options, len(films)]).sum() / LENGTH)


def places(ids: Int[Tensor, "count seq"]) -> dict[str, Int[Tensor, " count"]]:
    """Where in each story the words stand that can be known, by skill.

    The aside comes after the first, the second or the third sentence, so a word that others refer
    to is not always as far away.

    Examples:
        >>> ids = draw_stories(1, seed=0)
        >>> [VOCABULARY[ids[0, place]] for place, in places(ids).values()]
        ['he', 'is', 'seven', 'blue', 'cards', 'frowned']
    """
    which = (ids == _ID["near"]).int().argmax(1)
    found = torch.full((len(SKILLS), len(ids)), -1)
    for plan in PLANS:
        summed = 1 + plan.index("SUM")
        there = (plan.index("PRONOUN"), plan.index("VERB"), summed - 1, summed, summed + 1)
        all_places = torch.tensor([1 + p for p in (*there, plan.index("FACE"))])
        rows = which == 1 + plan.index("near")
        found[:, rows] = all_places[:, None]
    return dict(zip(SKILLS, found, strict=True))


def score(
    logits: Float[Tensor, "count guessed vocab"], ids: Int[Tensor, "count seq"]
) -> dict[str, float]:
    """How often the right word is the most probable of those that fit, by skill.

    Args:
        logits: For each word but `<bos>`, a number for each word of the vocabulary.
        ids: The stories. Agreement counts only where the word before the verb has the other
            number, and misleads.
    """
    row, shares = torch.arange(len(ids)), {}
    for skill, place in places(ids).items():
        options = torch.tensor([_ID[word] for word in SKILLS[skill]])
        chosen = options[logits[row, place - 1][:, options].argmax(-1)]
        right = chosen == ids[row, place]
        if skill == "agreement":
            right = right[(ids[row, place] == _ID["are"]) != (ids[row, place - 1] == _ID["boxes"])]
        shares[skill] = right.double().mean().item()
    return shares
