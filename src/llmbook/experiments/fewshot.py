r"""Few-shot learning, measured: the same questions after none, one and several solved examples.

A task is a list of inputs with one right answer each. What is measured is always a next token:
the examples stand before the question in one text, and no weight changes.
"""

import functools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from llmbook.datasets import DATA, analogy_questions
from llmbook.generation import KVCache
from llmbook.llama import Llama
from llmbook.pretrained import smollm2
from llmbook.tokenizers import ByteLevelBPE

Language = tuple[Llama, ByteLevelBPE]

SETS = 5
START = "<|endoftext|>"  # what stood before each document when SmolLM2 was trained


@dataclass(frozen=True)
class Task:
    """Inputs and their answers, and what there is to compare a model with.

    Attributes:
        pairs: Input and answer, each input once.
        sentence: The question in words, `{}` where the input goes; the answer comes next.
        chance: How often a guess is right that knows the form of the answers and nothing else.
        labels: The possible answers, if they are a few and each begins with another token.

    Raises:
        ValueError: If an input comes twice, since one could be an example for the other.
    """

    pairs: tuple[tuple[str, str], ...]
    sentence: str
    chance: float
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        inputs = [question for question, _ in self.pairs]
        if twice := sorted({question for question in inputs if inputs.count(question) > 1}):
            raise ValueError(f"pairs must have each input once, got twice: {', '.join(twice)}")

    def sets(
        self, shots: int, *, shuffled: bool = False, seed: int = 0
    ) -> list[tuple[list[tuple[str, str]], list[tuple[str, str]]]]:
        """Five sets of items that share none, each with examples of its own.

        The pairs are put in a random order and cut in five; the examples of a piece are those that
        come after it, and at the end the first ones. So each pair is an item once. Two sets share
        examples only where there are fewer than five times as many pairs as shots.

        Args:
            shots: Examples for each set.
            shuffled: Give each example the answer of another one. With few labels it can be the
                same again.
            seed: Of the order.

        Returns:
            For each set its examples and its items.

        Raises:
            ValueError: If there are too few pairs for so many examples beside the items.

        Examples:
            >>> task = Task(tuple((str(n), str(-n)) for n in range(10)), "Minus {} is", 0.1)
            >>> [(len(examples), len(items)) for examples, items in task.sets(3)]
            [(3, 2), (3, 2), (3, 2), (3, 2), (3, 2)]
        """
        count = len(self.pairs)
        most = count - -(-count // SETS)
        if not 0 <= shots <= most or count < SETS:
            raise ValueError(
                f"shots must be from 0 to {max(most, 0)} for {count} pairs in {SETS} sets, "
                f"got {shots}"
            )
        dice = random.Random(seed)  # noqa: S311
        pairs = dice.sample(self.pairs, count)
        sets = []
        for number in range(SETS):
            start, end = number * count // SETS, (number + 1) * count // SETS
            examples = [pairs[(end + i) % count] for i in range(shots)]
            if shuffled:
                circle = dice.sample(range(shots), shots)  # each takes the answer of the one before
                answers = {now: examples[circle[i - 1]][1] for i, now in enumerate(circle)}
                examples = [(question, answers[i]) for i, (question, _) in enumerate(examples)]
            sets.append((examples, pairs[start:end]))
        return sets


@functools.cache
def tasks() -> Mapping[str, Task]:
    """The book's tasks, of 90 to 100 items each.

    Countries, plurals and past tenses are those of the
    [analogy questions][llmbook.datasets.analogy_questions], filled up to 90 by hand; the other
    words are all typed in. *category* and *colour* have the same inputs and differ in the labels
    alone: those of *colour* are arbitrary.

    Examples:
        >>> tasks()["plural"].pairs[:2]
        (('banana', 'bananas'), ('bird', 'birds'))
        >>> tasks()["colour"].pairs[0], tasks()["category"].pairs[0]
        (('bear', 'red'), ('bear', 'animal'))
    """
    words = json.loads((DATA / "fewshot.json").read_text(encoding="utf-8"))
    sorts = {name: words[name].split() for name in ("animal", "food", "vehicle", "clothing")}
    colours = dict(zip(sorts, ("red", "blue", "green", "white"), strict=True))
    countries = _pairs(words["adjective"], "gram6-nationality-adjective")
    opposites = _pairs(words["opposite"])
    firsts, dice = [first for first, _ in opposites], random.Random(0)  # noqa: S311
    rows = [
        (first, *dice.sample([word for word in firsts if word != first], 2)) for first in firsts
    ]
    ones, tens = words["ones"].split(), words["tens"].split()
    above = [f"{ten}-{one}" for ten in tens for one in ones[:10]]
    numbers = [*ones, *(number.removesuffix("-zero") for number in above)]
    return {
        "first word": Task(
            tuple((" ".join(row), row[0]) for row in rows), 'The first word of "{}" is "', 1 / 3
        ),
        "number": Task(
            tuple((word, str(number)) for number, word in enumerate(numbers)),
            "In digits, the number {} is written as",
            0.01,
        ),
        "plural": Task(_pairs(words["plural"], "gram8-plural"), 'The plural of "{}" is "', 0.0),
        "past": Task(_pairs(words["past"], "gram7-past-tense"), 'The past tense of "{}" is "', 0.0),
        "adjective": Task(
            tuple((country.title(), adjective.title()) for country, adjective in countries),
            'The adjective for the country {} is "',
            1 / len(countries),
        ),
        "opposite": Task(opposites, "The opposite of {} is", 1 / len(opposites)),
        "category": Task(
            tuple((word, name) for name, members in sorts.items() for word in members),
            "A {} is a kind of",
            1 / 4,
            tuple(sorts),
        ),
        "colour": Task(
            tuple((word, colours[name]) for name, members in sorts.items() for word in members),
            "The colour of {} is",
            1 / 4,
            tuple(colours.values()),
        ),
    }


def _pairs(typed: str, published: str = "") -> tuple[tuple[str, str], ...]:
    """The pairs of one kind of analogy question, then those typed in as `input:answer`."""
    questions = analogy_questions()[published] if published else []
    found = sorted({pair for a, b, c, d in questions for pair in ((a, b), (c, d))})
    ours = [pair.partition(":") for pair in typed.split()]
    return (*found, *((question, answer) for question, _, answer in ours))


def few_shot(
    task: str | Task,
    shots: Sequence[int] = (0, 1, 4, 8),
    *,
    shuffled: bool = False,
    seed: int = 0,
    language: Language | None = None,
) -> list[dict[str, Any]]:
    r"""Ask a task's questions after so many examples, each in the form `Input: …`, `Output: …`.

    An answer is right if each of its tokens is the likeliest, and then the end of the line or a
    special token: SmolLM2-Instruct sometimes ends an answer with its chat's `<|im_end|>`. The
    log-likelihood is the mean of $\ln p$ over the answer's own tokens: it sees progress before the
    likeliest token is the right one.

    The first `k` of a set's examples are its examples for `k` shots. They are read once, and all
    items of the set follow them as one batch.

    Args:
        task: One of `tasks()`, by name, or another.
        shots: Numbers of examples.
        shuffled: Give the examples each other's answers: what is then still right does not come
            from the mapping that they show.
        seed: Of the choice of examples.
        language: A model and its tokenizer; SmolLM2 if none is given.

    Returns:
        For each number of `shots` a dict with `"shots"`, `"items"`, and for each of the five sets
            the share of right answers, `"exact"`, and the mean `"log_likelihood"`. With labels,
            `"choice"` is the share of items where the right label's first token is the likeliest
            among the labels' first tokens, whatever else the model would rather say; else `None`.

    Raises:
        ValueError: If there is no such task, a number of shots does not fit the task, or the
            examples are too long for the model.

    Source:
        [Brown et al. 2020][brown2020language], section 2.
    """
    task = _find(task)
    if not shots or min(shots) < 0:
        raise ValueError(f"shots must be numbers of examples, 0 or more, got {list(shots)}")
    model, tokenizer = language or smollm2()
    rows = []
    for examples, items in task.sets(max(shots), shuffled=shuffled, seed=seed):
        texts = [f"Input: {x}\nOutput: {y}\n" for x, y in examples]
        parts = [[_start(tokenizer)], *map(tokenizer.encode, texts), tokenizer.encode("Input:")]
        cache = _read(model, [token for part in parts for token in part])
        ends = [sum(map(len, parts[: k + 1])) + len(parts[-1]) for k in shots]
        asked = [f" {question}\nOutput:" for question, _ in items]
        rows.append([_ask(model, tokenizer, cache, end, asked, items, task, True) for end in ends])
    columns = zip(*rows, strict=True)
    return [_joined(k, task, column) for k, column in zip(shots, columns, strict=True)]


def zero_shot(
    task: str | Task, *, seed: int = 0, language: Language | None = None
) -> dict[str, Any]:
    """Ask a task's questions in words, with no example.

    Right is an answer whose own tokens are each the likeliest; the sentence may go on after it.
    That is more generous than `few_shot`, which wants the answer to end there.

    Args:
        task: One of `tasks()`, by name, or another.
        seed: Of the five sets.
        language: A model and its tokenizer; SmolLM2 if none is given.

    Returns:
        The same dict as one of `few_shot`, with no shots.

    Raises:
        ValueError: If there is no such task.
    """
    task = _find(task)
    model, tokenizer = language or smollm2()
    begins, _, goes_on = task.sentence.partition("{}")
    space = begins[len(begins.rstrip()) :]  # belongs to the token of the word after it
    cache = _read(model, [_start(tokenizer), *tokenizer.encode(begins.rstrip())])
    column = []
    for _, items in task.sets(0, seed=seed):
        asked = [f"{space}{question}{goes_on}" for question, _ in items]
        column.append(_ask(model, tokenizer, cache, cache.length, asked, items, task, False))
    return _joined(0, task, column)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    r"""The mean, and its standard error $s / \sqrt{n}$.

    Examples:
        >>> mean, error = mean_and_error([0.5, 0.7, 0.6, 0.8, 0.9])
        >>> round(mean, 3), round(error, 3)
        (0.7, 0.071)
    """
    numbers = torch.tensor(values, dtype=torch.float64)
    return float(numbers.mean()), float(numbers.std() / len(values) ** 0.5)


@torch.inference_mode()
def answer_logits(
    model: Llama,
    cache: KVCache,
    length: int,
    questions: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
) -> list[Float[Tensor, "answer_and_next vocab"]]:
    """Logits at the answers of texts that begin alike: what begins them is read once, before.

    Shorter texts are filled up on the right, which no token of theirs can see. Only the answers'
    positions are turned into logits.

    Args:
        model: Speaks.
        cache: Has read the beginning.
        length: How many of its positions all texts begin with.
        questions: Token ids that come after those.
        answers: Token ids that come after the question.

    Returns:
        For each text the logits for each token of its answer, and for the token after it.

    Raises:
        ValueError: If a question or an answer is empty, or `length` is more than the cache has.
    """
    if not all(map(len, questions)) or not all(map(len, answers)):
        raise ValueError("questions and answers must have at least one token each")
    if not 0 <= length <= cache.length:
        raise ValueError(f"length must be from 0 to the cache's {cache.length}, got {length}")
    texts = [[*question, *answer] for question, answer in zip(questions, answers, strict=True)]
    width = max(map(len, texts))
    shared = model.new_cache(length + width, batch=len(texts))
    shared.storage[..., :length, :] = cache.storage[..., :length, :]
    shared.length = length
    token_ids = torch.tensor([text + [0] * (width - len(text)) for text in texts])
    hidden = model.hidden_states(token_ids.to(model.device), cache=shared)
    wanted = [
        hidden[row, len(question) - 1 : len(text)]
        for row, (question, text) in enumerate(zip(questions, texts, strict=True))
    ]
    logits = model.unembed(torch.cat(wanted)[None])[0]
    return list(logits.split([len(states) for states in wanted]))


def _ask(
    model: Llama,
    tokenizer: ByteLevelBPE,
    cache: KVCache,
    length: int,
    asked: Sequence[str],
    items: Sequence[tuple[str, str]],
    task: Task,
    must_end: bool,
) -> tuple[float, float, float | None]:
    """Score one set: the share right, the mean log-likelihood, the share of right choices."""
    space = "" if asked[0].endswith('"') else " "
    answers = [tokenizer.encode(space + answer) for _, answer in items]
    logits = answer_logits(model, cache, length, list(map(tokenizer.encode, asked)), answers)
    ends = {*tokenizer.encode("\n"), *tokenizer.special_tokens.values()}
    exact = likely = 0.0
    for answer, scores in zip(answers, logits, strict=True):
        *said, after = scores.argmax(-1).tolist()
        exact += said == answer and (after in ends or not must_end)
        likely += float(scores.log_softmax(-1)[range(len(answer)), answer].mean())
    exact, likely = exact / len(items), likely / len(items)
    if not task.labels:
        return exact, likely, None
    firsts = [tokenizer.encode(space + label)[0] for label in task.labels]
    if len(set(firsts)) < len(firsts):
        raise ValueError(f"labels must begin with different tokens, got {', '.join(task.labels)}")
    chosen = [task.labels[int(scores[0, firsts].argmax())] for scores in logits]
    choice = sum(label == answer for label, (_, answer) in zip(chosen, items, strict=True))
    return exact, likely, choice / len(items)


def _joined(shots: int, task: Task, column: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    exact, likely, choice = (list(values) for values in zip(*column, strict=True))
    return {
        "shots": shots,
        "items": len(task.pairs),
        "exact": exact,
        "log_likelihood": likely,
        "choice": choice if task.labels else None,
    }


def _find(task: str | Task) -> Task:
    if isinstance(task, Task):
        return task
    if task not in tasks():
        raise ValueError(f"task must be one of {', '.join(tasks())}, got {task!r}")
    return tasks()[task]


@torch.inference_mode()
def _read(model: Llama, token_ids: list[int]) -> KVCache:
    cache = model.new_cache(len(token_ids))
    model.hidden_states(torch.tensor([token_ids], device=model.device), cache=cache)
    return cache


def _start(tokenizer: ByteLevelBPE) -> int:
    return tokenizer.special_tokens[START]
