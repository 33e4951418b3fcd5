"""`llmbook.experiments.ladder`: all models are judged on the same tokens, and its record is whole."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from llmbook.datasets import DATA, Address
from llmbook.experiments import ladder
from llmbook.experiments.ladder import (
    RATES,
    VARIANTS,
    Setup,
    Variant,
    begin,
    climb,
    config,
    count,
    fit,
    flops,
    measure,
    read,
    steps_for,
)
from llmbook.gpt import GPT
from llmbook.ngrams import KneserNey

SMALL = Setup(
    since=2016, vocab_size=600, context=16, stride=8, batch=2, steps=6, warmup=1, checked=3
)  # fmt: skip


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / "results" / f"{name}.json").read_text("utf-8"))
    assert content["command"] == f"python -m llmbook.experiments.results {name}"
    return content


def test_the_parts_are_every_tenth_and_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address is in two; each stands behind an end of text, which has no bytes."""
    addresses = [Address(1900 + i, "", "", f"naïve {i:02}" * 9) for i in range(20)]
    monkeypatch.setattr(ladder, "sotu", lambda since: addresses)
    corpus = read.__wrapped__(1900, 300)
    texts = {}
    for name, size in {"learned": 16, "validation": 2, "test": 2}.items():
        part = getattr(corpus, name)
        assert part.token_ids[0] == 0
        assert (part.token_ids == 0).sum() == size
        assert part.num_bytes == size * 9 * len("naïve 00".encode())
        texts[name] = part.token_ids
    assert corpus.vocab_size == 300
    assert texts["learned"].max() < 300
    assert not np.array_equal(texts["validation"], texts["test"])


def test_too_few_addresses_are_named() -> None:
    """Of which there would be none to test on."""
    with pytest.raises(ValueError, match="since must leave at least 6 addresses, got 3 since 2019"):
        read(2019, 300)


class Bigrams(nn.Module):
    """Gives the logits of a table: what a model that counts pairs would say."""

    def __init__(self, counted: KneserNey) -> None:
        super().__init__()
        rows = [counted.distribution(np.array([token])) for token in range(counted.vocab_size)]
        self.logits = nn.Parameter(torch.from_numpy(np.log(rows)))

    def forward(self, token_ids: Tensor) -> Tensor:
        """The row of each token."""
        return self.logits[token_ids]


def test_counting_and_networks_are_judged_on_the_same_tokens() -> None:
    """The same probabilities give the same bits, by either way."""
    corpus = read(SMALL.since, SMALL.vocab_size)
    counted = KneserNey(corpus.learned.token_ids, 600, 2)
    bits = count(SMALL)
    assert measure(Bigrams(counted), corpus.test, SMALL) == pytest.approx(bits["bigram"], rel=1e-12)
    unigram = KneserNey(corpus.learned.token_ids, 600, 1).distribution(np.array([], dtype=int))
    by_hand = -np.log2(unigram[corpus.test.token_ids[1:]]).sum() / corpus.test.num_bytes
    assert bits["unigram"] == pytest.approx(by_hand, rel=1e-12)


def test_the_first_steps_are_those_of_the_whole() -> None:
    """Bit by bit, of one seed; another begins elsewhere."""
    _, whole = fit(VARIANTS["Muon"], 0, setup=SMALL)
    assert len(whole) == 6
    assert begin("Muon", 0, SMALL) == whole[:3]
    assert begin("Muon", 1, SMALL)[0] != whole[0]
    adamw = begin("AdamW", 0, SMALL)
    assert adamw[0] == whole[0]
    assert adamw[2] != whole[2]


def test_sizes_are_compared_at_the_same_cost() -> None:
    """To half a step; the rule counts the parameters that there are."""
    usual = flops(config(Variant()), Setup().steps)
    for variant in (VARIANTS["small"], VARIANTS["large"]):
        sizes = config(variant)
        assert abs(flops(sizes, steps_for(variant)) - usual) <= flops(sizes, 1) / 2 + 1
        parameters = sum(p.numel() for p in GPT(sizes).parameters())
        assert flops(sizes, 7) == 6 * parameters * 7


def test_a_run_has_the_form_of_the_record() -> None:
    """All variants, with all that is said of them."""
    run = climb(0, SMALL)
    for run_recorded in recorded("ladder")["runs"]:
        assert run_recorded.keys() - {"seed"} == run.keys() == VARIANTS.keys()
        for name, values in run.items():
            assert run_recorded[name].keys() == values.keys()
    muon: dict[str, Any] = run["Muon"]
    assert len(muon["first"]) == 3
    assert muon["losses"] == []
    assert muon["steps"] == 6


def test_the_record_is_whole() -> None:
    """Three seeds, of the sizes and steps that the module has; all finite."""
    runs = recorded("ladder")["runs"]
    assert [run["seed"] for run in runs] == [0, 1, 2]
    for run in runs:
        for name, variant in VARIANTS.items():
            values = run[name]
            parameters = sum(p.numel() for p in GPT(config(variant)).parameters())
            assert (values["parameters"], values["steps"]) == (parameters, steps_for(variant))
            assert len(values["first"]) == Setup().checked
            assert len(values["losses"]) == steps_for(variant) // 50
            numbers = [values["test"], *values["first"], *values["losses"]]
            assert all(math.isfinite(number) and number > 0 for number in numbers)
            early = sum(values["first"][:50]) / 50
            assert values["losses"][0] == pytest.approx(early, abs=1e-4)
    tests = {run["Muon"]["test"] for run in runs}
    assert len(tests) == len(runs)


def test_the_rates_are_the_best_of_those_tried() -> None:
    """On the validation part, and of both optimisers."""
    (run,) = recorded("ladder-rates")["runs"]
    tried = {name: run[name] for name in RATES}
    for name in ("Muon", "AdamW"):
        best = min((bits, rate) for rate, bits in tried.items() if rate.startswith(name))
        assert RATES[best[1]] == VARIANTS[name]
    assert {VARIANTS[name].lr for name in ("small", "large")} == {VARIANTS["Muon"].lr}
