"""`llmbook.experiments.text_to_text`: right outputs, no leak from training to test, and fair scores."""

import itertools
import json
import random
import re
from typing import Any

import pytest
import torch
from torch import Tensor

import llmbook.experiments.text_to_text as book
from llmbook.experiments.results import RESULTS
from llmbook.experiments.text_to_text import (
    EXAMPLES,
    IDS,
    READ,
    TASKS,
    UNSEEN,
    WORDS,
    WRITTEN,
    Setup,
    answers,
    draw_items,
    encode,
    item,
    label_loss,
    make_items,
    train_t5,
)
from llmbook.t5 import T5, T5Config


class Oracle(T5):
    """Not trained at all: it does what the prefix says, and without one turns texts around."""

    def __init__(self) -> None:
        super().__init__(
            T5Config(vocab_size=len(WORDS), d_model=8, d_head=4, num_heads=2, d_ff=8, num_layers=1)
        )

    def generate(
        self, token_ids: Tensor, max_new_tokens: int, mask: Tensor | None = None
    ) -> Tensor:
        """Solve each text by rule."""
        assert mask is not None
        solved = []
        for row, visible in zip(token_ids.tolist(), mask.sum(-1).tolist(), strict=True):
            words = [WORDS[token] for token in row[: visible - 1]]
            task, text = (words[0], words[2:]) if ":" in words else ("reverse", words)
            output = sorted(text) if task == "sort" else text[::-1]
            if task == "sentiment":
                good = text[-2] in book.GOOD
                output = ["positive" if good != ("not" in text) else "negative"]
            solved.append(" ".join(output))
        return encode(solved, max_new_tokens)


def test_items_are_what_they_say() -> None:
    """Lengths and shares by their distribution, outputs by another way to find them."""
    dice = random.Random(0)
    lengths = set()
    for _ in range(200):
        text, output = item("reverse", dice)
        assert list(reversed(output.split())) == text.split()
        lengths.add(len(text.split()))
        text, output = item("sort", dice)
        assert sorted(text) == sorted(output)
        assert all(a <= b for a, b in itertools.pairwise(output.split()))
    assert lengths == {3, 4, 5, 6, 7}
    sentences = [item("sentiment", dice) for _ in range(2000)]
    by_kind = {
        (any(word in text.split() for word in book.GOOD), "not" in text.split(), output)
        for text, output in sentences
    }
    assert by_kind == {
        (good, turned, "positive" if good != turned else "negative")
        for good in (True, False)
        for turned in (True, False)
    }
    for share in (
        sum(output == "positive" for _, output in sentences),
        sum("not" in text for text, _ in sentences),
    ):
        assert abs(share - 1000) < 5 * 2000**0.5 / 2


@pytest.mark.parametrize("seed", range(3))
def test_nothing_of_the_test_is_trained_on(seed: int) -> None:
    """Not under another prefix either; and the adjectives of the last part occur nowhere."""
    tests, pool, unseen = make_items(seed)
    assert {task: len(items) for task, items in tests.items()} == dict.fromkeys(TASKS, 300)
    trained = {text.partition(" : ")[2] for text, _ in pool}
    assert len(pool) == 24_000
    assert not trained & {text for items in tests.values() for text in items}
    assert not trained & {text.partition(" : ")[2] or text for text in EXAMPLES}
    words = {word for text, _ in pool for word in text.split()}
    adjectives = {word for words in UNSEEN.values() for word in words}
    assert not words & adjectives
    assert all(text.split()[-2] in adjectives for text in unseen)
    assert [text.split()[0] for text, _ in pool[:3]] == list(TASKS)


def test_all_inputs_and_outputs_fit() -> None:
    """The longest of each, with its end."""
    dice = random.Random(0)
    for task in TASKS:
        items = draw_items(task, 500, dice)
        read, written = (encode(x, n) for x, n in ((items, READ - 2), (items.values(), WRITTEN)))
        assert (read == 1).sum() == (written == 1).sum() == 500
        assert encode([f"{task} : {text}" for text in items], READ).shape == (500, READ)
    assert len(IDS) == len(WORDS)


def test_an_oracle_has_everything_right() -> None:
    """And different answers to the same text under the two prefixes."""
    oracle, (tests, _, _) = Oracle(), make_items(0)
    for task, items in tests.items():
        assert book._right(oracle, task, items) == 300
    found = book._prefixes(oracle, list(tests["reverse"]))
    same = sum(text[::-1] == " ".join(sorted(text.split())) for text in tests["reverse"])
    asked = 300 - same
    assert found == {"asked": asked, "both": asked, "same": 0, "reverse": asked, "sort": 0}
    assert answers(oracle, ["sort : c a b", "c a b"]) == ["a b c", "b a c"]


@pytest.mark.parametrize("output", ["a b c", "a a b", "a a b b", "c c c", "positive"])
def test_chance_is_the_share_of_orders_that_are_right(output: str) -> None:
    """Counted one by one; a word of two is a coin's."""
    orders = list(itertools.permutations(output.split()))
    share = sum(" ".join(order) == output for order in orders) / len(orders)
    assert book._chance(output) == pytest.approx(0.5 if output == "positive" else share)


def test_the_rules_are_the_simplest() -> None:
    """The text again, or the adjective's sense whatever stands before it."""
    assert book._rule("a b a", "a b a")
    assert not book._rule("a b c", "c b a")
    assert book._rule("the film was very good .", "positive")
    assert not book._rule("the film was not very good .", "negative")


def test_padding_of_outputs_does_not_count() -> None:
    """The mean is over the tokens of the outputs and their ends."""
    torch.manual_seed(0)
    model = Oracle()
    source = encode(["sort : b a", "sort : c b a"], READ)
    target = encode(["a b", "a b c"], WRITTEN)
    wider = torch.nn.functional.pad(target, (0, 3))
    torch.testing.assert_close(
        label_loss(model, (source, target)), label_loss(model, (source, wider))
    )
    logits = model(source, model.shift_right(target), source != 0).log_softmax(-1)
    picked = logits.gather(-1, target[..., None])[..., 0]
    torch.testing.assert_close(label_loss(model, (source, target)), -picked[target != 0].mean())


def test_a_short_training_is_the_same_again() -> None:
    """Same seed, same numbers; the random state outside is left alone."""
    state = torch.get_rng_state()
    first, again, other, adamw = (
        train_t5(seed, Setup(pool=600, tested=20, steps=6, muon_lr=muon)) for seed, muon in ((0, 0.03), (0, 0.03), (1, 0.03), (0, None))
    )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again
    assert first["examples"] != other["examples"]
    assert first["examples"] != adamw["examples"]
    assert first["curve"]["step"] == [6]
    assert first["asked"] == 20
    assert set(first["right"]) == set(first["chance"]) == set(first["rule"]) == set(TASKS)


def test_the_record_is_of_these_items() -> None:
    """What it says of chance and rule follows from the seeds alone, for each of five."""
    runs = json.loads((RESULTS / "text-to-text.json").read_text(encoding="utf-8"))["runs"]
    assert [run["seed"] for run in runs] == list(range(5))
    for run in runs:
        tests, _, _ = make_items(run["seed"])
        for task, items in tests.items():
            assert run["rule"][task] == sum(book._rule(*pair) for pair in items.items())
            assert run["chance"][task] == pytest.approx(sum(map(book._chance, items.values())))
            assert run["right"][task] == run["curve"][task][-1] <= run["asked"] == Setup().tested
        assert run["curve"]["step"][-1] == run["adamw"]["step"][-1] == Setup().steps


@pytest.mark.plain
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: item("add", random.Random(0)), "task must be one of reverse, sort, sentiment, got 'add'"),
        (lambda: encode(["a b c"], 3), "texts must have at most 2 known words, got 'a b c'"),
        (lambda: encode(["hamburger"], 3), "got 'hamburger'"),
        (lambda: train_t5(0, Setup(pool=6, tested=2, steps=0)), "steps must be positive, got 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(call: Any, message: str) -> None:
    """The argument, what came and what was expected."""
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
