"""Three tasks in one model: a T5 learns to turn a text around, to sort it, and to judge it.

Each item is two texts, and nothing but the first word of the input tells the tasks apart:

| input | output |
| --- | --- |
| `reverse : c a k b` | `b k a c` |
| `sort : c a k b` | `a b c k` |
| `sentiment : the film was not very good .` | `negative` |
"""

import math
import operator
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from llmbook.t5 import T5, T5Config
from llmbook.training import Recipe, train

Item = tuple[str, str]
Adjectives = Mapping[str, Sequence[str]]

TASKS = ("reverse", "sort", "sentiment")
LETTERS, NOUNS, ADVERBS, GOOD, BAD = (
    words.split()
    for words in (
        "a b c d e f g h i j k l",
        "film book play song story meal match speech room trip",
        "really very quite rather so",
        "good great lovely superb brilliant charming funny clever bold fresh",
        "bad awful dreadful boring dull clumsy silly stale ugly weak",
    )
)
SEEN: Adjectives = {"positive": GOOD, "negative": BAD}
UNSEEN: Adjectives = {  # known as words, but in no text of the training
    "positive": ["delightful", "splendid", "witty", "warm", "graceful"],
    "negative": ["tedious", "dismal", "bleak", "shoddy", "crude"],
}
WORDS = [
    *("<pad>", "</s>", ":", *TASKS, *LETTERS, "the", "was", "not", ".", "positive", "negative"),
    *(*NOUNS, *ADVERBS, *GOOD, *BAD, *UNSEEN["positive"], *UNSEEN["negative"]),
]
IDS = {word: number for number, word in enumerate(WORDS)}
PAD, END = 0, 1
READ, WRITTEN = 10, 8  # tokens of the longest input and the longest output, with their end
EXAMPLES = (
    *("reverse : c a k b", "sort : c a k b", "c a k b"),
    *("sentiment : the film was very good .", "sentiment : the film was not very good ."),
)


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        pool: Items to train on, of all tasks together.
        tested: Items of each task in the test.
        batch: Items in a step.
        steps: Changes of the weights, over which the rates fall to 0.
        lr: Highest rate of AdamW.
        muon_lr: Highest rate of Muon; without one, AdamW trains alone.
        every: Steps from one test to the next.
    """

    pool: int = 24_000
    tested: int = 300
    batch: int = 64
    steps: int = 480
    lr: float = 4e-3
    muon_lr: float | None = 0.03
    every: int = 80


def item(task: str, dice: random.Random, adjectives: Adjectives = SEEN) -> Item:
    """Draw an input of a task, without its prefix, and the output.

    A text is three to seven letters, which can come again, or a sentence with an adjective. Half
    of the sentences have a "not" that turns their sense, so no single word tells it.

    Args:
        task: One of `TASKS`.
        dice: Where the randomness comes from.
        adjectives: Of the sentences.

    Raises:
        ValueError: If there is no such task.

    Examples:
        >>> for task in TASKS:
        ...     print(item(task, random.Random(2)))
        ('b e c', 'c e b')
        ('b e c', 'b c e')
        ('the meal was not very brilliant .', 'negative')
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
    if task == "sentiment":
        sense, turned = dice.choice(("positive", "negative")), dice.random() < 0.5
        words = ["the", dice.choice(NOUNS), "was", *["not"] * turned, dice.choice(ADVERBS)]
        words += [dice.choice(adjectives[sense]), "."]
        contrary = {"positive": "negative", "negative": "positive"}
        return " ".join(words), contrary[sense] if turned else sense
    letters = dice.choices(LETTERS, k=dice.randint(3, 7))
    return " ".join(letters), " ".join(sorted(letters) if task == "sort" else letters[::-1])


def draw_items(
    task: str, count: int, dice: random.Random, adjectives: Adjectives = SEEN
) -> dict[str, str]:
    """So many items of a task, each input once."""
    items: dict[str, str] = {}
    while len(items) < count:
        items.update([item(task, dice, adjectives)])
    return items


def make_items(
    seed: int, setup: Setup = Setup()
) -> tuple[dict[str, dict[str, str]], list[Item], dict[str, str]]:
    """The items of a test for each task, those to train on, and sentences with unseen adjectives.

    No input of the test, nor one of `EXAMPLES`, is in the training under any prefix.

    Args:
        seed: Of all randomness.
        setup: How many items there are.

    Returns:
        Inputs with their outputs; those to train on have their prefixes.
    """
    dice = random.Random(seed)  # noqa: S311
    tests = {task: draw_items(task, setup.tested, dice) for task in TASKS}
    taken = {text for items in tests.values() for text in items}
    taken |= {text.partition(" : ")[2] or text for text in EXAMPLES}
    pool: list[Item] = []
    while len(pool) < setup.pool:
        task = TASKS[len(pool) % len(TASKS)]
        text, output = item(task, dice)
        if text not in taken:
            pool.append((f"{task} : {text}", output))
    return tests, pool, draw_items("sentiment", setup.tested, dice, UNSEEN)


def encode(texts: Iterable[str], size: int) -> Int[Tensor, "texts {size}"]:
    """Token ids of texts whose words are all known: one a word, then the end and padding.

    Raises:
        ValueError: If a text is longer, or has another word.

    Examples:
        >>> encode(["sort : b a"], 6)
        tensor([[4, 2, 7, 6, 1, 0]])
    """
    rows = []
    for text in texts:
        words = text.split()
        if len(words) >= size or not set(words) <= set(IDS):
            raise ValueError(f"texts must have at most {size - 1} known words, got {text!r}")
        rows.append([*(IDS[word] for word in words), END] + [PAD] * (size - 1 - len(words)))
    return torch.tensor(rows, dtype=torch.long).view(-1, size)


def answers(model: T5, texts: Sequence[str]) -> list[str]:
    """What a model writes, word by word the likeliest, up to the end token."""
    source = encode(texts, READ)
    rows = model.generate(source, WRITTEN, source != PAD).tolist()
    ended = (row[: row.index(END)] if END in row else row for row in rows)
    return [" ".join(WORDS[token] for token in row) for row in ended]


def label_loss(model: Any, batch: tuple[Tensor, Tensor]) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats, of each token of the outputs, padding left out."""
    source, target = batch
    logits = model(source, model.shift_right(target), source != PAD)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten().long(), ignore_index=PAD)


def train_t5(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """Train a T5 of 235,000 parameters on three tasks at once, then ask it what it has not seen.

    None of the test's items is in the training, see `make_items`. An answer is right if it is the
    output, word for word.

    Args:
        seed: For items, initial weights and batches; the same seed gives the same result.
        setup: All other settings.

    Returns:
        "right" answers of "asked" by task; the same by "step", as "curve"; right
        answers that "chance" would give on average, with the right letters in random order, or a
        coin; those of a "rule": to say the input again, or to go by the adjective alone; right
        answers for sentences with "unseen" adjectives, of which the training had none; for the
        texts of the first task what the "prefix" does: how many are right as "both" reverse and
        sort, how many without a prefix are what "reverse" and "sort" would be, of how many texts
        for which these differ; "examples", and "parameters".

    Raises:
        ValueError: If the number of steps is not positive.
    """
    tests, pool, unseen = make_items(seed, setup)
    source, target = encode([x for x, _ in pool], READ), encode([y for _, y in pool], WRITTEN)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5(
            T5Config(
                vocab_size=len(WORDS),
                d_model=64,
                d_head=16,
                num_heads=4,
                d_ff=256,
                num_layers=2,
                num_buckets=16,
                max_distance=20,
            )
        )

    def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(setup.pool, (setup.batch,), generator=generator)
        return source[rows], target[rows]

    curve: dict[str, list[int]] = {"step": [], **{task: [] for task in TASKS}}

    def test(step: int, _: float) -> None:
        if step % setup.every == 0 or step == setup.steps:
            curve["step"].append(step)
            for task, items in tests.items():
                curve[task].append(_right(model, task, items))

    recipe = Recipe(
        steps=setup.steps,
        lr=setup.lr,
        muon_lr=setup.muon_lr,
        warmup=min(30, setup.steps),
        betas=(0.9, 0.98),
    )
    generator = torch.Generator().manual_seed(seed)
    train(model, draw, recipe, generator=generator, loss=label_loss, on_step=test)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "asked": setup.tested,
        "right": {task: curve[task][-1] for task in TASKS},
        "curve": curve,
        "chance": {task: sum(map(_chance, items.values())) for task, items in tests.items()},
        "rule": {
            task: sum(_rule(*pair) for pair in items.items()) for task, items in tests.items()
        },
        "unseen": _right(model, "sentiment", unseen),
        "prefix": _prefixes(model, list(tests["reverse"])),
        "examples": dict(zip(EXAMPLES, answers(model, EXAMPLES), strict=True)),
    }


def compare_optimizers(seed: int) -> dict[str, Any]:
    """`train_t5` as it is, and with AdamW alone for as many steps."""
    return {**train_t5(seed), "adamw": train_t5(seed, Setup(muon_lr=None))["curve"]}


def _right(model: T5, task: str, items: dict[str, str]) -> int:
    given = answers(model, [f"{task} : {text}" for text in items])
    return sum(map(operator.eq, given, items.values()))


def _prefixes(model: T5, texts: list[str]) -> dict[str, int]:
    """What a prefix changes, on texts of letters whose two outputs are not the same."""
    back = {text: text[::-1] for text in texts}
    order = {text: " ".join(sorted(text.split())) for text in texts}
    texts = [text for text in texts if back[text] != order[text]]
    reverse, ordered, bare = (
        dict(zip(texts, answers(model, [prefix + text for text in texts]), strict=True))
        for prefix in ("reverse : ", "sort : ", "")
    )
    return {
        "asked": len(texts),
        "both": sum(reverse[t] == back[t] and ordered[t] == order[t] for t in texts),
        "same": sum(reverse[t] == ordered[t] for t in texts),
        "reverse": sum(bare[t] == back[t] for t in texts),
        "sort": sum(bare[t] == order[t] for t in texts),
    }


def _chance(output: str) -> float:
    """Of a coin, or of the right letters in random order."""
    words = output.split()
    if len(words) == 1:
        return 1 / 2
    return math.prod(map(math.factorial, Counter(words).values())) / math.factorial(len(words))


def _rule(text: str, output: str) -> bool:
    """Whether the simplest rule is right: to say it again, or to trust the adjective."""
    *_, adjective, last = text.split()
    if last != ".":
        return output == text
    return output == ("positive" if adjective in GOOD else "negative")
