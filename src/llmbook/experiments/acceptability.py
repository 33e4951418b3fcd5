"""What pre-training is worth: a small BERT reads stories, then learns to judge a sentence.

The judgement is whether the verb has the right number, in sentences whose last noun misleads:
`the dogs near the cat behind the blue box are hungry .` is right, and with `is` it is wrong.
"""

import copy
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.bert import Bert, BertConfig
from llmbook.experiments.stories import (
    ANIMALS,
    ASIDE,
    COLOURS,
    FILMS,
    NAMES,
    PEOPLE,
    STATES,
    THINGS,
    WORDS,
    draw_story,
)
from llmbook.objectives import mask_tokens, next_sentence_pairs
from llmbook.training import Recipe, evaluating, train

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = [*SPECIAL, *WORDS]
PAD, CLS, SEP, MASK = range(len(SPECIAL))
MAX_LEN = 27  # the longest pair: [CLS], twelve words, [SEP], twelve, [SEP]
_ID = {word: i for i, word in enumerate(VOCABULARY)}

Sentence = Sequence[int]


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        stories: How many are read in pre-training.
        batch: Pairs of sentences in a step of it.
        pretraining: How it goes.
        examined: Other stories, on which it is examined what was learned.
        labelled: Numbers of judged sentences to learn from, one after the other.
        tuning: How a pre-trained model learns from them.
        scratch: How models learn from them that know nothing, of which the best one counts.
        tested: Other sentences, on which all are tested.
    """

    stories: int = 20_000
    batch: int = 64
    pretraining: Recipe = Recipe(steps=800, muon_lr=0.02, warmup=25)
    examined: int = 500
    labelled: tuple[int, ...] = (8, 16, 32, 64, 128)
    tuning: Recipe = Recipe(steps=150, lr=5e-4, warmup=15)
    scratch: tuple[Recipe, ...] = (
        Recipe(steps=150, lr=1e-3, warmup=15),
        Recipe(steps=150, lr=3e-3, warmup=15),
        Recipe(steps=150, lr=3e-3, muon_lr=0.02, warmup=15),
    )
    tested: int = 400


def encode(text: str) -> Sentence:
    """The token ids of words with spaces between them."""
    return [_ID[word] for word in text.split()]


def stories(count: int, seed: int) -> list[list[Sentence]]:
    """Draw stories as lists of sentences, as BERT's second objective needs them."""
    rng = np.random.default_rng(seed)
    told = []
    for _ in range(count):
        text = " ".join(draw_story(rng))
        told.append([encode(sentence + ".") for sentence in text.split(".")[:-1]])
    return told


def packed(pairs: Sequence[Sequence[Sentence]]) -> tuple[Tensor, Tensor]:
    """Lay out one or two sentences as BERT reads them: `[CLS] A [SEP] B [SEP]`, then padding.

    Returns:
        Token ids, and 0 for what belongs to the first sentence, 1 for the second.

    Examples:
        >>> ids, segments = packed([[encode("she smiled ."), encode("kim is a girl .")]])
        >>> print(*(VOCABULARY[i] for i in ids[0, :11]))
        [CLS] she smiled . [SEP] kim is a girl . [SEP]
        >>> segments[0, :11].tolist()
        [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    """
    ids, segments = [], []
    for sentences in pairs:
        row, kinds = [CLS], [0]
        for kind, sentence in enumerate(sentences):
            row += [*sentence, SEP]
            kinds += [kind] * (len(sentence) + 1)
        ids.append(row + [PAD] * (MAX_LEN - len(row)))
        segments.append(kinds + [0] * (MAX_LEN - len(kinds)))
    return torch.tensor(ids), torch.tensor(segments)


def new_model(seed: int) -> Bert:
    """A BERT of about a hundred thousand parameters that knows the stories' words."""
    torch.manual_seed(seed)
    return Bert(
        BertConfig(
            vocab_size=len(VOCABULARY),
            d_model=64,
            num_layers=2,
            num_heads=4,
            d_ff=256,
            max_len=MAX_LEN,
        )
    )


def draw_pairs(
    pairs: tuple[Tensor, Tensor, Tensor], batch: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Take some of the pairs and hide some of their words."""
    ids, segments, follows = pairs
    rows = torch.randint(len(ids), (batch,), generator=generator)
    corrupted, labels = mask_tokens(
        ids[rows], MASK, len(VOCABULARY), generator=generator, special_ids=(PAD, CLS, SEP)
    )
    return corrupted, segments[rows], labels, follows[rows]


def pretraining_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Float[Tensor, ""]:
    """Of the hidden words, and of whether the second sentence follows, in nats."""
    ids, segments, labels, follows = batch
    mlm_logits, nsp_logits = model(ids, segments, ids != PAD)
    hidden = labels != -100
    return F.cross_entropy(mlm_logits[hidden], labels[hidden]) + F.cross_entropy(
        nsp_logits, follows
    )


def pairs_of(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of sentences, half of them neighbours, out of so many stories."""
    generator = torch.Generator().manual_seed(seed)
    pairs, labels = next_sentence_pairs(stories(count, seed), generator=generator)
    return *packed(pairs), labels


def pretrain(seed: int, *, until: int | None = None, setup: Setup = Setup()) -> Bert:
    """Train a BERT on both objectives.

    Args:
        seed: Of the weights, the order of the pairs and what is hidden of them.
        until: Stop after this step.
        setup: All other settings.
    """
    model = new_model(seed)
    train(
        model,
        partial(draw_pairs, pairs_of(setup.stories, seed=1), setup.batch),
        setup.pretraining,
        generator=torch.Generator().manual_seed(seed),
        loss=pretraining_loss,
        until=until,
    )
    return model


@torch.no_grad()
def examine(model: Bert, setup: Setup = Setup()) -> dict[str, float]:
    """Both objectives on other stories.

    Returns:
        "masked_loss" in nats and "masked_accuracy" of hidden words, and "next_accuracy": how often
        it is right whether the second sentence follows.
    """
    ids, segments, follows = pairs_of(setup.examined, seed=2)
    generator = torch.Generator().manual_seed(3)
    corrupted, labels = mask_tokens(
        ids, MASK, len(VOCABULARY), generator=generator, special_ids=(PAD, CLS, SEP)
    )
    with evaluating(model):
        mlm_logits, _ = model(corrupted, segments, corrupted != PAD)
        clear = model(ids, segments, ids != PAD)[1]
    hidden = labels != -100
    return {
        "masked_loss": F.cross_entropy(mlm_logits[hidden], labels[hidden]).item(),
        "masked_accuracy": _share(mlm_logits[hidden].argmax(-1) == labels[hidden]),
        "next_accuracy": _share(clear.argmax(-1) == follows),
    }


_MARKS = {"near": "aside", "film": "film", "now": "sum", "finds": "finds", "has": "has"}
_MARKS |= dict.fromkeys(FILMS, "face")  # of each kind of sentence, a word that no other has
_MEANS = {
    "name": {name: name for name in NAMES},
    "pronoun": PEOPLE | {pronoun: pronoun for pronoun in PEOPLE.values()},
    "mood": {film: face for face, films in FILMS.items() for film in (face, *films)},
    "thing": {thing: thing for thing in THINGS},
}


def _facts(words: Sequence[str]) -> dict[str, str]:
    """What a sentence says that its neighbour may say again, by what it is about."""
    return {
        what: meaning[word] for what, meaning in _MEANS.items() for word in words if word in meaning
    }


def clues(ids: Int[Tensor, " seq"], *, words: bool) -> tuple[object, ...]:
    """What can be told of two sentences by rule: of which kinds they are, and what they share.

    Args:
        ids: A pair as `packed` lays it out.
        words: Look at the words too: whether both have the same person, pronoun, mood or thing,
            and which two numbers stand before and after a sum.

    Examples:
        >>> ids, _ = packed([[encode("kim is a girl ."), encode("lee has two red hats .")]])
        >>> clues(ids[0], words=False), clues(ids[0], words=True)
        (('is', 'has'), ('is', 'has', ('name', False)))
    """
    text = " ".join(VOCABULARY[i] for i in ids.tolist())
    first, second = (sentence.split() for sentence in text.split(" [SEP]")[:2])
    kinds = tuple(
        next((kind for word, kind in _MARKS.items() if word in sentence), "is")
        for sentence in (first, second)
    )
    if not words:
        return kinds
    before, after = _facts(first), _facts(second)
    same = tuple((what, before[what] == after[what]) for what in before if what in after)
    numbers = (first[-3], second[3]) if kinds == ("finds", "sum") else ()
    return (*kinds, *same, *numbers)


def next_by_rule(setup: Setup = Setup()) -> dict[str, float]:
    """How often rules are right whether the second sentence follows, on the pairs of `examine`.

    A rule answers what was the more frequent one, in the pairs of pre-training, after the same
    `clues`.

    Returns:
        The shares by "kinds" alone, and by "kinds and words": as much as can be known of two
        sentences, but for the errors of counting.
    """
    read, _, truth = pairs_of(setup.stories, seed=1)
    asked, _, follows = pairs_of(setup.examined, seed=2)
    shares = {}
    for name, words in (("kinds", False), ("kinds and words", True)):
        seen: dict[tuple[object, ...], Counter[int]] = defaultdict(Counter)
        for ids, label in zip(read, truth.tolist(), strict=True):
            seen[clues(ids, words=words)][label] += 1
        likely = [seen[clues(ids, words=words)].most_common(1) for ids in asked]
        answers = torch.tensor([found[0][0] if found else 0 for found in likely])
        shares[name] = _share(answers == follows)
    return shares


def judgements(count: int, seed: int) -> tuple[list[Sentence], Int[Tensor, " count"]]:
    """Sentences whose last noun has another number than the subject; half have a wrong verb.

    Args:
        count: How many, an even number.
        seed: Another one gives other sentences.

    Returns:
        The sentences, and 1 for each that is right.

    Examples:
        >>> (first, *_), labels = judgements(2, seed=0)
        >>> print(*(VOCABULARY[i] for i in first), labels[0].item())
        the horses near the horses behind the red box is hungry . 0
    """
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.permutation(np.arange(count) % 2))
    sentences = []
    for right in labels.tolist():
        many, others = (bool(rng.integers(2)) for _ in range(2))
        subject, other = (ANIMALS[i] for i in rng.integers(len(ANIMALS), size=2))
        words = {
            "SUBJECT": subject + "s" * many,
            "OTHER": other + "s" * others,
            "SHADE": COLOURS[rng.integers(len(COLOURS))],
            "BOX": "box" if many else "boxes",
            "VERB": "are" if many == right else "is",
            "STATE": STATES[rng.integers(len(STATES))],
        }
        sentences.append(encode(" ".join(words.get(word, word) for word in ASIDE.split())))
    return sentences, labels


class Judge(nn.Module):
    """A BERT and one layer more, from the vector of [CLS] to "wrong" and "right".

    Args:
        bert: Trained before, or not; it is copied.
    """

    def __init__(self, bert: Bert) -> None:
        super().__init__()
        self.bert = copy.deepcopy(bert)
        self.head = nn.Linear(bert.config.d_model, 2)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch 2"]:
        """Judge sentences as `packed` lays them out."""
        hidden = self.bert.hidden_states(ids, None, ids != PAD)
        logits: Tensor = self.head(self.bert.pool(hidden))
        return logits


def _draw_rows(data: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
    rows = torch.randint(len(data[0]), (min(32, len(data[0])),), generator=generator)
    return tuple(tensor[rows] for tensor in data)


def _judge_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Float[Tensor, ""]:
    ids, labels = batch
    return F.cross_entropy(model(ids), labels)


def fine_tune(
    bert: Bert,
    labelled: int,
    seed: int,
    recipe: Recipe | None = None,
    setup: Setup = Setup(),
) -> float:
    """Train all of a model on a few judged sentences, and test it on others.

    Args:
        bert: Where it begins; it is left as it is.
        labelled: How many sentences are judged.
        seed: Of these, and of the new layer.
        recipe: How; as a pre-trained model learns, if none is given.
        setup: All other settings.

    Returns:
        The share of right judgements, of which a half are right by guessing.
    """
    torch.manual_seed(seed)
    judge = Judge(bert)
    sentences, labels = judgements(labelled, seed=100 + seed)
    ids, _ = packed([[sentence] for sentence in sentences])
    train(
        judge,
        partial(_draw_rows, (ids, labels)),
        recipe or setup.tuning,
        generator=torch.Generator().manual_seed(seed),
        loss=_judge_loss,
    )
    sentences, labels = judgements(setup.tested, seed=99)
    ids, _ = packed([[sentence] for sentence in sentences])
    with torch.no_grad(), evaluating(judge):
        guesses = judge(ids).argmax(-1)
    return _share(guesses == labels)


def number_of(model: Bert, sentence: str) -> float:
    """The probability that a hidden animal is more than one, given the words on both sides.

    Args:
        model: A pre-trained model.
        sentence: Words of stories with one `[MASK]` among them.

    Raises:
        ValueError: If there is no `[MASK]`, or more than one.
    """
    words = sentence.split()
    if words.count("[MASK]") != 1:
        raise ValueError(f"sentence must have one [MASK], got {sentence!r}")
    ids, segments = packed([[encode(sentence)]])
    with torch.no_grad(), evaluating(model):
        logits = model(ids, segments, ids != PAD)[0][0, 1 + words.index("[MASK]")]
    p = logits.softmax(-1)
    one, many = (p[[_ID[animal + ending] for animal in ANIMALS]].sum() for ending in ("", "s"))
    return float(many / (one + many))


def compare(bert: Bert, labelled: int, seed: int, setup: Setup = Setup()) -> dict[str, int | float]:
    """Fine-tune a pre-trained model, and models that know nothing, on the same judgements.

    Returns:
        "labelled", "pretrained", and "scratch", which has three settings and here the best one's
        share of right judgements *on the test*: more than anyone could have, who must choose.
    """
    fresh = new_model(1_000 + seed)
    return {
        "labelled": labelled,
        "pretrained": fine_tune(bert, labelled, seed, setup=setup),
        "scratch": max(fine_tune(fresh, labelled, seed, how, setup) for how in setup.scratch),
    }


def run(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """What is recorded: how pre-training went, and what it was worth after it."""
    bert = pretrain(seed, setup=setup)
    rows = [compare(bert, labelled, seed, setup) for labelled in setup.labelled]
    longer = replace(setup.scratch[1], steps=4 * setup.scratch[1].steps)
    many = fine_tune(new_model(1_000 + seed), 1_000, seed, longer, setup)
    return {"pretraining": examine(bert, setup), "judgements": rows, "scratch_with_1000": many}


def _share(right: Tensor) -> float:
    return right.double().mean().item()
