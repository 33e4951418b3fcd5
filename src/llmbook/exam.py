"""An examination from a seed: numbers that the package computes, and the answers of known mistakes.

`python -m llmbook.exam --seed 7` writes a page to print, `--key` the same with the answers.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

from llmbook.architectures.costs import block_parameters
from llmbook.emissions import emissions_kg, energy_kwh
from llmbook.fairness import implied_fpr
from llmbook.numpy_attention import softmax
from llmbook.quantization import q8_0

Random = np.random.Generator
CHOICES: Final = 4


@dataclass(frozen=True)
class Question:
    """A question with one right choice.

    Attributes:
        page: The chapter that teaches it, as a path of the site.
        text: The question.
        answer: The right choice, as it is printed.
        wrong: Other choices, each with the mistake that leads to it.
    """

    page: str
    text: str
    answer: str
    wrong: Mapping[str, str]


def attention_weight(random: Random) -> Question:
    """How much of the attention a key gets."""
    d = int(random.choice([4, 16, 64]))
    a, b = (int(n) for n in random.choice(np.arange(1, 9), 2, replace=False) * int(d**0.5))

    def weight(first: float | int, second: float | int) -> float:
        return float(softmax(np.array([first, second], dtype=np.float64))[0])

    return _asked(
        "transformer/self-attention/",
        f"A query of {d} numbers has the products {a} and {b} with two keys. "
        "How much of its attention does the first key get?",
        weight(a / d**0.5, b / d**0.5),
        {
            "divides by the width and not by its root": weight(a / d, b / d),
            "does not divide": weight(a, b),
            "shares by the products themselves": a / (a + b),
            "gives the other key's weight": weight(b / d**0.5, a / d**0.5),
        },
        "{:.3f}",
    )


def block_size(random: Random) -> Question:
    """Parameters of a block."""
    d = int(random.choice([64, 96, 128, 256, 512]))
    right = block_parameters(d, 4 * d)
    return _asked(
        "transformer/block/",
        f"A block of width {d} with a feed-forward network of four times that width, biases "
        "everywhere and two norms: how many parameters does it have?",
        right,
        {
            "forgets biases and norms": 12 * d * d,
            "forgets attention's output matrix": right - d * d - d,
            "leaves out one matrix of the feed-forward network": right - 4 * d * d,
            "counts one norm": right - 2 * d,
        },
        "{:,.0f}",
    )


def cache_size(random: Random) -> Question:
    """Bytes of keys and values."""
    layers, kv, d, tokens = (
        int(random.choice(options))
        for options in ([12, 24, 32], [2, 4, 8], [64, 128], [1024, 4096, 8192])
    )
    heads = 4 * kv
    right = 2 * layers * kv * d * tokens * 2
    return _asked(
        "models/since/",
        f"A model of {layers} layers has {heads} query heads, {kv} heads for keys and values, of "
        f"{d} numbers each. How many megabytes do the keys and values of {tokens:,} tokens take in "
        "16 bits?",
        right / 1e6,
        {
            "counts the query heads": right * heads / kv / 1e6,
            "forgets the values": right / 2 / 1e6,
            "takes four bytes a number": right * 2 / 1e6,
            "counts one layer": right / layers / 1e6,
        },
        "{:,.1f}",
    )


def causal_pairs(random: Random) -> Question:
    """Pairs under a causal mask."""
    n = int(random.integers(20, 200))
    return _asked(
        "transformer/self-attention/",
        f"How many pairs of a query and a key does a causal mask leave in a text of {n} tokens, "
        "each of which may look at itself?",
        n * (n + 1) // 2,
        {
            "masks nothing": n * n,
            "hides each token from itself": n * (n - 1) // 2,
            "takes half of all": n * n / 2,
            "counts one for each token": n,
        },
        "{:,.0f}",
    )


def perplexity(random: Random) -> Question:
    """From a loss in nats."""
    loss = round(float(random.uniform(1.5, 4.5)), 2)
    return _asked(
        "models/gpt/",
        f"A model has a loss of {loss} nats a token. What is its perplexity?",
        math.exp(loss),
        {
            "takes two to the power": 2**loss,
            "turns it into bits and takes e to that power": math.exp(loss / math.log(2)),
            "gives the probability of a token": math.exp(-loss),
            "squares": loss**2,
        },
        "{:.3g}",
    )


def training_operations(random: Random) -> Question:
    """Operations of a training run."""
    billions, trillions = int(random.choice([1, 3, 7, 13, 70])), int(random.choice([1, 2, 5, 15]))
    right = 6 * billions * 1e9 * trillions * 1e12
    return _asked(
        "models/scaling/",
        f"About how many floating-point operations does it take to train {billions} billion "
        f"parameters on {trillions} trillion tokens?",
        right,
        {
            "counts the forward pass alone": right / 3,
            "counts one operation a parameter and token": right / 6,
            "counts the backward pass alone": right * 2 / 3,
            "counts forward and backward twice": right * 2,
        },
        "{:.2e}",
    )


def emitted(random: Random) -> Question:
    """Kilograms of a training run."""
    gpus, hours = int(random.choice([8, 64, 512])), int(random.choice([24, 72, 240]))
    pue, grams = float(random.choice([1.1, 1.2, 1.5])), int(random.choice([57, 380, 475]))
    kwh = energy_kwh(gpus * hours, 400, pue)
    return _asked(
        "challenges/carbon/",
        f"{gpus} accelerators of 400 W run for {hours} hours in a building with a PUE of {pue}, on "
        f"a grid of {grams} g a kilowatt-hour. How many kilograms are emitted?",
        emissions_kg(kwh, grams),
        {
            "leaves the building out": emissions_kg(kwh / pue, grams),
            "divides by the PUE": emissions_kg(kwh / pue**2, grams),
            "counts one accelerator": emissions_kg(kwh / gpus, grams),
            "takes grams for kilograms": emissions_kg(kwh, grams) * 1000,
        },
        "{:,.1f}",
    )


def sharpened(random: Random) -> Question:
    """A share after a temperature."""
    share, heat = float(random.choice([0.6, 0.7, 0.8])), float(random.choice([0.5, 0.25, 2.0]))
    powered = share ** (1 / heat)
    right = powered / (powered + (1 - share) ** (1 / heat))
    turned = share**heat / (share**heat + (1 - share) ** heat)
    return _asked(
        "challenges/bias/",
        f"Of two words, and there is no third, one has the probability {share}. What does it have "
        f"at temperature {heat}?",
        right,
        {
            "takes the power and not its inverse": turned,
            "does not divide by the sum": powered,
            "leaves it as it is": share,
            "divides the probability": min(1.0, share / heat),
        },
        "{:.3f}",
    )


def fourth_rate(random: Random) -> Question:
    """The false positive rate that the others leave."""
    base, ppv, fnr = (
        float(random.choice(o)) for o in ([0.2, 0.3, 0.4], [0.5, 0.6, 0.8], [0.2, 0.3, 0.4])
    )
    right = implied_fpr(base, ppv, fnr)
    return _asked(
        "challenges/fairness/",
        f"In a group {base:.0%} have the label. Of those predicted to have it {ppv:.0%} do, and "
        f"{fnr:.0%} of those who have it are missed. What is the false positive rate?",
        right,
        {
            "takes the share of the predicted that lack it": 1 - ppv,
            "divides by those who have it, so the base rate drops out": (1 - ppv) / ppv * (1 - fnr),
            "takes the missed for the found": right / (1 - fnr) * fnr,
            "forgets the missed": implied_fpr(base, ppv, 0),
            "gives the share that is predicted to have it": base * (1 - fnr) / ppv,
        },
        "{:.1%}",
    )


def secret_exposure(random: Random) -> Question:
    """Bits of exposure of a rank."""
    digits, rank = int(random.choice([3, 4, 6])), int(random.choice([1, 2, 8, 50]))
    right = math.log2(10**digits) - math.log2(rank)
    return _asked(
        "challenges/privacy/",
        f"Of all numbers with {digits} digits, a model puts the true one at rank {rank}. How many "
        "bits of exposure has it?",
        right,
        {
            "takes ten as base": digits - math.log10(rank),
            "takes natural logarithms": right * math.log(2),
            "forgets the rank": math.log2(10**digits),
            "adds the rank itself": math.log2(10**digits) + rank,
        },
        "{:.2f}",
    )


def eight_bits(random: Random) -> Question:
    """Bytes of weights in Q8_0."""
    millions = int(random.choice([32, 64, 96, 128]))
    per_group = len(q8_0(np.zeros(32, dtype=np.float32)))
    right = millions * per_group / 32
    return _asked(
        "challenges/efficient/",
        f"How many megabytes do {millions} million weights take in Q8_0, in groups of 32?",
        right,
        {
            "forgets the scale of each group": millions,
            "takes scales of 32 bits": millions * (per_group + 2) / 32,
            "takes a scale for each weight": millions * 3,
            "takes 16 bits a weight": millions * 2,
        },
        "{:.1f}",
    )


TEMPLATES: Final[tuple[Callable[[Random], Question], ...]] = (
    attention_weight, block_size, cache_size, causal_pairs, perplexity, training_operations,
    emitted, sharpened, fourth_rate, secret_exposure, eight_bits,
)  # fmt: skip
"""What can be asked; each draws its own numbers."""


def exam(seed: int, count: int = 10) -> list[Question]:
    """Draw questions, no kind twice.

    Args:
        seed: The same seed gives the same examination.
        count: How many.

    Raises:
        ValueError: If `count` is not from 1 to the number of `TEMPLATES`.

    Examples:
        >>> [first] = exam(seed=7, count=1)
        >>> len({first.answer, *first.wrong.values()})
        4
    """
    if not 1 <= count <= len(TEMPLATES):
        raise ValueError(f"count must be from 1 to {len(TEMPLATES)}, got {count}")
    random = np.random.default_rng(seed)
    return [TEMPLATES[kind](random) for kind in random.permutation(len(TEMPLATES))[:count]]


def as_page(questions: list[Question], seed: int, *, key: bool = False) -> str:
    """An examination as an HTML page to print.

    Args:
        questions: In their order.
        seed: Of the order of choices; it stands on the page.
        key: Mark the right choices, name the mistake behind each other one, and the chapter.

    Examples:
        >>> page = as_page(exam(seed=7, count=2), seed=7)
        >>> page.count("<li>"), "mistake" in page
        (8, False)
    """
    random = np.random.default_rng([seed, 1])
    parts = []
    for number, question in enumerate(questions, 1):
        choices = [(question.answer, "")] + [(c, m) for m, c in question.wrong.items()]
        lines = []
        for place in random.permutation(len(choices)):
            text, mistake = choices[place]
            note = f" <em>mistake: {escape(mistake)}</em>" if mistake else " <strong>right</strong>"
            lines.append(f"<li>{escape(text)}{note if key else ''}</li>")
        source = f"<p><small>{escape(question.page)}</small></p>" if key else ""
        parts.append(
            f"<section><h2>{number}</h2><p>{escape(question.text)}</p>"
            f'<ol type="a">{"".join(lines)}</ol>{source}</section>'
        )
    title = f"Examination {seed}" + (", key" if key else "")
    style = "body{font:12pt/1.5 serif;max-width:40em;margin:2em auto}section{break-inside:avoid}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style></head><body><h1>{title}</h1>{''.join(parts)}</body></html>\n"
    )


def main(arguments: list[str] | None = None) -> None:
    """Write an examination to the standard output."""
    about = "An examination to print, from a seed."
    parser = argparse.ArgumentParser(prog="python -m llmbook.exam", description=about)
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same page")
    parser.add_argument("--count", type=int, default=10, help="how many questions")
    parser.add_argument("--key", action="store_true", help="with the answers")
    chosen = parser.parse_args(arguments)
    try:
        questions = exam(chosen.seed, chosen.count)
    except ValueError as error:
        parser.error(str(error))
    print(as_page(questions, chosen.seed, key=chosen.key), end="")


def _asked(
    page: str,
    text: str,
    right: float | int,
    mistakes: Mapping[str, float | int],
    form: str,
) -> Question:
    """Keep three mistakes whose choices differ from the right one and from each other."""
    answer = form.format(right)
    wrong: dict[str, str] = {}
    for mistake, value in mistakes.items():
        choice = form.format(value)
        if choice != answer and choice not in wrong.values() and len(wrong) < CHOICES - 1:
            wrong[mistake] = choice
    return Question(page, text, answer, wrong)


if __name__ == "__main__":
    main()
