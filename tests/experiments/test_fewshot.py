"""`llmbook.experiments.fewshot` against the same texts read whole, one by one, and by hand."""

import itertools
import json
import math
import statistics
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbook.experiments.fewshot import (
    Task,
    _read,
    answer_logits,
    few_shot,
    mean_and_error,
    tasks,
    zero_shot,
)
from llmbook.llama import Llama, LlamaConfig
from llmbook.tokenizers import ByteLevelBPE

Language = tuple[Llama, ByteLevelBPE]
SUMS = Task(
    tuple((f"{n} and {n}", "even" if n % 2 else "odd") for n in range(12)),
    "{} is",
    0.5,
    ("even", "odd"),
)


@pytest.fixture(scope="module")
def language() -> Language:
    """A model with random weights in float64, large enough that each token matters."""
    words = ByteLevelBPE.train(
        ["Input: even and odd\nOutput: even odd\n"] * 2, 280, ["<|endoftext|>"]
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=words.vocab_size,
        d_model=32,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        d_ff=48,
        max_len=400,
    )
    model = Llama(config).double().eval()
    for parameter in model.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model, words


def by_hand(
    task: Task, shots: int, language: Language, *, shuffled: bool = False, words: bool = False
) -> list[tuple[float, float]]:
    """Each question's text whole, from scratch: the share right and the log-likelihood of a set."""
    model, tokens = language
    results = []
    for examples, items in task.sets(4, shuffled=shuffled):
        right, likely = 0, 0.0
        for question, answer in items:
            text = "".join(f"Input: {x}\nOutput: {y}\n" for x, y in examples[:shots])
            text += f"Input: {question}\nOutput:"
            space = "" if words and task.sentence.endswith('"') else " "
            if words:
                text = task.sentence.format(question)
            prompt = [tokens.special_tokens["<|endoftext|>"], *tokens.encode(text)]
            wanted = tokens.encode(space + answer)
            with torch.inference_mode():
                logits = model(torch.tensor([prompt + wanted]))[0, len(prompt) - 1 :]
            said = logits.argmax(-1).tolist()
            ended = said[-1] in {*tokens.encode("\n"), *tokens.special_tokens.values()}
            right += said[:-1] == wanted and (words or ended)
            log_p = logits.log_softmax(-1)
            likely += sum(float(log_p[i, t]) for i, t in enumerate(wanted)) / len(wanted)
        results.append((right / len(items), likely / len(items)))
    return results


def same(result: dict[str, Any], expected: list[tuple[float, float]], tolerance: float) -> None:
    """The shares are equal, the log-likelihoods to rounding."""
    assert result["exact"] == [exact for exact, _ in expected]
    likely = [likely for _, likely in expected]
    assert result["log_likelihood"] == pytest.approx(likely, abs=tolerance)


def test_texts_that_begin_alike_have_the_logits_that_they_have_alone(language: Language) -> None:
    """Whatever is beside them, however long, and however much of the beginning counts."""
    model, _ = language
    dice = torch.Generator().manual_seed(1)

    def some(count: int) -> list[int]:
        return torch.randint(200, (count,), generator=dice).tolist()

    beginning = some(20)
    cache = _read(model, beginning)
    questions, answers = [some(n) for n in (1, 7, 3, 3)], [some(n) for n in (2, 1, 4, 1)]
    for length in (0, 5, 20):
        together = answer_logits(model, cache, length, questions, answers)
        for question, answer, logits in zip(questions, answers, together, strict=True):
            whole = torch.tensor([[*beginning[:length], *question, *answer]])
            with torch.inference_mode():
                alone = model(whole)[0, -len(answer) - 1 :]
            torch.testing.assert_close(logits, alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("shuffled", [False, True])
def test_few_shot_equals_each_text_read_whole(language: Language, shuffled: bool) -> None:
    """For several numbers of examples at once; the first of them are the same."""
    results = few_shot(SUMS, [0, 1, 4], shuffled=shuffled, language=language)
    for shots, result in zip((0, 1, 4), results, strict=True):
        assert (result["shots"], result["items"]) == (shots, 12)
        same(result, by_hand(SUMS, shots, language, shuffled=shuffled), 1e-10)
    assert json.loads(json.dumps(results)) == results


@pytest.mark.parametrize("sentence", ["{} is", 'Two of "{}" is "'])
def test_zero_shot_equals_each_sentence_read_whole(language: Language, sentence: str) -> None:
    """After an opening quotation mark, the answer comes without a space."""
    task = replace(SUMS, sentence=sentence)
    same(zero_shot(task, language=language), by_hand(task, 0, language, words=True), 1e-10)


def test_a_model_that_knows_nothing_is_scored_as_that(language: Language) -> None:
    """All logits zero: the first token wins, and each token has one part of the vocabulary."""
    model, tokens = language
    blank = Llama(model.config).double()
    torch.nn.init.zeros_(blank.norm.weight)
    (result,) = few_shot(SUMS, [2], language=(blank, tokens))
    assert result["exact"] == [0.0] * 5
    assert result["log_likelihood"] == pytest.approx([-math.log(tokens.vocab_size)] * 5)
    evens = [sum(y == "even" for _, y in items) / len(items) for _, items in SUMS.sets(2)]
    assert result["choice"] == evens


def speaker(tokens: ByteLevelBPE, follows: dict[str, str]) -> Llama:
    """A model that looks at the last token alone, and knows what follows it."""
    size = tokens.vocab_size
    config = LlamaConfig(
        vocab_size=size, d_model=size, num_layers=1, num_heads=1, num_kv_heads=1, d_ff=2,
        max_len=400, d_head=2, tied=False,
    )  # fmt: skip
    model = Llama(config).eval()
    assert model.head is not None
    with torch.no_grad():
        model.embedding.weight.copy_(torch.eye(size))
        for parameter in (*model.blocks.parameters(), model.head.weight):
            parameter.zero_()
        for before, after in follows.items():
            ids = [tokens.encode(text, allow_special=True) for text in (before, after)]
            model.head.weight[ids[1][0], ids[0][-1]] = 1
    return model


@pytest.mark.parametrize(
    ("after", "ends"), [("\n", True), ("<|endoftext|>", True), (" odd", False)]
)
def test_an_answer_has_to_end(language: Language, after: str, ends: bool) -> None:
    """With the line or a special token; a sentence may go on."""
    _, tokens = language
    assert len(tokens.encode(" even")) == 1
    spoken = (speaker(tokens, {":": " even", " even": after}), tokens)
    evens = [sum(y == "even" for _, y in items) / len(items) for _, items in SUMS.sets(2)]
    (result,) = few_shot(SUMS, [2], language=spoken)
    assert result["exact"] == (evens if ends else [0.0] * 5)
    assert result["choice"] == evens
    assert zero_shot(replace(SUMS, sentence="{}:"), language=spoken)["exact"] == evens


@given(st.integers(5, 60), st.data())
def test_sets_share_no_item_and_show_none(count: int, data: st.DataObject) -> None:
    """Each pair is an item once, and never an example of its own set."""
    shots = data.draw(st.integers(0, count - -(-count // 5)))
    task = Task(tuple((str(n), str(-n)) for n in range(count)), "{}", 0.0)
    sets = task.sets(shots, seed=data.draw(st.integers(0, 9)))
    assert Counter(item for _, items in sets for item in items) == Counter(task.pairs)
    for examples, items in sets:
        assert len(set(examples)) == shots
        assert not set(examples) & set(items)
        assert set(examples) <= set(task.pairs)
    if shots <= count // 5:
        assert len({pair for examples, _ in sets for pair in examples}) == 5 * shots


@given(st.integers(2, 12), st.integers(0, 9))
def test_shuffling_gives_each_example_the_answer_of_another(shots: int, seed: int) -> None:
    """The inputs, the items and the answers as a whole stay."""
    task = Task(tuple((str(n), str(-n)) for n in range(1, 41)), "{}", 0.0)
    plain, shuffled = task.sets(shots, seed=seed), task.sets(shots, shuffled=True, seed=seed)
    for (right, items), (wrong, same_items) in zip(plain, shuffled, strict=True):
        assert items == same_items
        assert [x for x, _ in right] == [x for x, _ in wrong]
        assert sorted(y for _, y in right) == sorted(y for _, y in wrong)
        assert all(y != z for (_, y), (_, z) in zip(right, wrong, strict=True))


def test_the_books_tasks_are_large_and_clean() -> None:
    """90 to 100 items, no answer empty, and of the labels, as many of each."""
    for task in tasks().values():
        assert 90 <= len(task.pairs) <= 100
        assert all(x == x.strip() and y == y.strip() and x and y for x, y in task.pairs)
        assert task.sentence.count("{}") == 1
        if task.labels:
            counts = Counter(answer for _, answer in task.pairs)
            assert set(counts) == set(task.labels)
            assert set(counts.values()) == {len(task.pairs) / len(task.labels)}
    category, colour = tasks()["category"], tasks()["colour"]
    assert [x for x, _ in category.pairs] == [x for x, _ in colour.pairs]
    assert len({(a, b) for (_, a), (_, b) in zip(category.pairs, colour.pairs, strict=True)}) == 4
    assert dict(tasks()["number"].pairs)["forty-two"] == "42"
    assert all(answer == row.split()[0] for row, answer in tasks()["first word"].pairs)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_an_error_is_that_of_a_mean(values: list[float]) -> None:
    """As the standard library computes it."""
    mean, error = mean_and_error(values)
    assert mean == pytest.approx(sum(values) / len(values))
    assert error == pytest.approx(statistics.stdev(values) / len(values) ** 0.5, abs=1e-9)


def test_smollm2_equals_each_text_read_whole(smollm2: Language) -> None:
    """The real model, on ten plurals; there too the pieces of a text have the whole's tokens."""
    task = replace(tasks()["plural"], pairs=tasks()["plural"].pairs[:10])
    (result,) = few_shot(task, [4], language=smollm2)
    same(result, by_hand(task, 4, smollm2), 1e-4)
    same(zero_shot(task, language=smollm2), by_hand(task, 0, smollm2, words=True), 1e-4)
    _, tokens = smollm2
    for task in tasks().values():
        x, y = task.pairs[-1]
        pieces = ["Input:", f" {x}\nOutput:", f" {y}", "\n", "Input:"]
        begins, _, goes_on = task.sentence.partition("{}")
        halves = [begins.rstrip(), begins[len(begins.rstrip()) :] + x + goes_on]
        assert [t for half in halves for t in tokens.encode(half)] == tokens.encode(
            task.sentence.format(x)
        )
        assert list(itertools.chain(*map(tokens.encode, pieces))) == tokens.encode("".join(pieces))


def test_smollm2_takes_a_mapping_from_examples(smollm2: Language) -> None:
    """Of 20 past tenses, most after eight examples, and fewer after eight wrong ones."""
    task = replace(tasks()["past"], pairs=tasks()["past"].pairs[:20])
    right, wrong = (
        mean_and_error(few_shot(task, [8], shuffled=shuffled, language=smollm2)[0]["exact"])[0]
        for shuffled in (False, True)
    )
    assert right > 0.6
    assert right > wrong + 0.15


@pytest.mark.plain
def test_what_is_wrong_is_named(language: Language) -> None:
    """Before the model has read anything."""
    with pytest.raises(ValueError, match=r"pairs must have each input once, got twice: a, b"):
        Task((("a", "x"), ("b", "x"), ("b", "y"), ("a", "y"), ("c", "z")), "{}", 0.0)
    with pytest.raises(
        ValueError, match=r"shots must be from 0 to 9 for 12 pairs in 5 sets, got 10"
    ):
        SUMS.sets(10)
    with pytest.raises(ValueError, match=r"shots must be from 0 to 0 for 1 pairs in 5 sets, got 0"):
        Task((("a", "b"),), "{}", 0.0).sets(0)
    with pytest.raises(ValueError, match=r"task must be one of first word, .*, got 'sums'"):
        few_shot("sums", language=language)
    for shots in ([], [1, -1]):
        with pytest.raises(ValueError, match=r"shots must be numbers of examples, 0 or more, got"):
            few_shot(SUMS, shots, language=language)
    with pytest.raises(ValueError, match=r"labels must begin with different tokens, got a b, a c"):
        few_shot(replace(SUMS, labels=("a b", "a c")), [0], language=language)
    model, _ = language
    cache = _read(model, [1, 2])
    with pytest.raises(ValueError, match=r"questions and answers must have at least one token"):
        answer_logits(model, cache, 2, [[]], [[1]])
    with pytest.raises(ValueError, match=r"length must be from 0 to the cache's 2, got 3"):
        answer_logits(model, cache, 3, [[1]], [[1]])
    with pytest.raises(ValueError, match=r"max_len"):
        few_shot(Task(tuple((f"{n} " * 99, "x") for n in range(12)), "{}", 0.0), [8],
                 language=language)  # fmt: skip
