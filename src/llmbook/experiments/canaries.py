"""Secrets planted in the text of small GPTs: what is kept of them, and what holds it back.

A line is a record. Most are sentences of a grammar in which every word is drawn, so that the lowest
loss is known: `the old miller sold a red horse near the bridge.` Between them stand canaries, such
as `the pin of bako is 4711.`, some once and some many times.
"""

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor, nn

from llmbook.gpt import GPT, GPTConfig
from llmbook.memorization import (
    auc,
    deduplicate,
    exposure,
    log_likelihoods,
    secret_log_probs,
    tpr_at,
    verbatim,
)
from llmbook.privacy import (
    Guarantee,
    audit_epsilon,
    audit_guesses,
    clipped_sum,
    gradient_norms,
    noise_for,
    per_sample_gradients,
    train_privately,
)
from llmbook.training import Recipe, evaluating, train

SLOTS = (
    "old young tall quiet proud clever lonely tired".split(),
    "miller baker sailor farmer teacher painter doctor weaver".split(),
    "sold bought found lost drew carried hid cleaned".split(),
    "red blue green white black brown grey golden".split(),
    "horse cart table lamp coat boat chair drum".split(),
    "bridge river market church station garden harbour forest".split(),
)
FRAME = "the {} {} {} a {} {} near the {}."
PIN = "the pin of {} is {}"
DIGITS = 4
LENGTH = len(FRAME.format(*(max(slot, key=len) for slot in SLOTS)))  # of the longest sentence
COPIES = (1, 2, 4, 8, 16, 32, 64)
FALSE_ALARMS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
ALPHABET = "\n abcdefghijklmnopqrstuvwxyz.0123456789"
_ID = {letter: i for i, letter in enumerate(ALPHABET)}  # "\n" begins a line, and fills it up


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The settings of the experiment.

    Attributes:
        sentences: Of the grammar, that are read.
        tested: That are not.
        canaries: Secrets for each number of copies.
        coins: Canaries that are read once or not at all, as a coin says.
        d_model: Width of the GPT, which has two layers.
        epochs: How often it reads each line.
        batch: Lines in a step.
        lr: Highest learning rate.
        private_steps: Steps of private training.
        private_batch: Lines in such a step, on average.
        private_lr: Its learning rate, which does not fall.
        clip: Longest gradient of a line.
        delta: Of the guarantee.
    """

    sentences: int = 1500
    tested: int = 2000
    canaries: int = 3
    coins: int = 500
    d_model: int = 64
    epochs: int = 15
    batch: int = 32
    lr: float = 3e-3
    private_steps: int = 150
    private_batch: int = 128
    private_lr: float = 5e-3
    clip: float = 1.0
    delta: float = 1e-5


@dataclass(frozen=True)
class Canary:
    """A secret, and how it stands in the text.

    Attributes:
        name: Whose.
        pin: The secret.
        copies: How often it is read.
        near: Whether each copy ends otherwise.
    """

    name: str
    pin: str
    copies: int
    near: bool = False

    @property
    def prompt(self) -> str:
        """What stands before the secret."""
        return PIN.format(self.name, "")


class World:
    """The lines of one seed: sentences, canaries, coins.

    Args:
        seed: Another one gives other lines.
        setup: How many of each.
    """

    def __init__(self, seed: int, setup: Setup = Setup()) -> None:
        rng = self.rng = np.random.default_rng(seed)
        self.setup = setup
        names = [
            a + b + c + d for a in "bdfgklmnprst" for b in "aeiou" for c in "bdkl" for d in "aeo"
        ]
        rng.shuffle(names)
        unused = iter(names)
        self.canaries = [
            Canary(next(unused), self._pin(), copies, near)
            for copies, near in [*((c, False) for c in (0, 0, *COPIES)), (32, True)]
            for _ in range(setup.canaries)
        ]
        self.sentences = [self._sentence() for _ in range(setup.sentences)]
        self.unseen = [self._sentence() for _ in range(setup.tested)]
        self.coins = [PIN.format(next(unused), self._pin()) + "." for _ in range(setup.coins)]
        self.included: Bool[Tensor, " coins"] = torch.tensor(rng.random(setup.coins) < 0.5)
        lines = [*self.sentences, *(c for c, i in zip(self.coins, self.included, strict=True) if i)]
        for canary in self.canaries:
            lines += [self._line(canary) for _ in range(canary.copies)]
        self.lines = [lines[i] for i in rng.permutation(len(lines))]

    def _pin(self) -> str:
        return "".join(str(digit) for digit in self.rng.integers(10, size=DIGITS))

    def _sentence(self) -> str:
        return FRAME.format(*(slot[int(self.rng.integers(len(slot)))] for slot in SLOTS))

    def _line(self, canary: Canary) -> str:
        tail = "".join(self.rng.choice([*"abcdefghijklmnopqrstuvwxyz"], 3)) if canary.near else ""
        return canary.prompt + canary.pin + (f" {tail}." if tail else ".")

    @cached_property
    def entropy(self) -> float:
        """The least possible loss on sentences that were not read, in nats a character."""
        drawn = math.log(math.prod(len(slot) for slot in SLOTS))
        return drawn / float(np.mean([len(line) for line in self.unseen]))


def encode(lines: Iterable[str]) -> Int[Tensor, "lines seq"]:
    """Lines as token ids, each with a newline in front, filled up with newlines.

    Examples:
        >>> encode(["ab."])[0, :6].tolist()
        [0, 2, 3, 28, 0, 0]
    """
    return torch.tensor([[_ID[c] for c in f"\n{line}".ljust(LENGTH + 1, "\n")] for line in lines])


def line_loss(model: nn.Module, token_ids: Int[Tensor, "lines seq"]) -> Tensor:
    """Mean cross-entropy of the characters of the lines, in nats; what fills up does not count."""
    logits = model(token_ids[:, :-1])
    return F.cross_entropy(logits.transpose(1, 2), token_ids[:, 1:], ignore_index=0)


def young(seed: int, d_model: int) -> GPT:
    """A GPT that has read nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = GPTConfig(
            vocab_size=len(ALPHABET),
            d_model=d_model,
            num_layers=2,
            num_heads=max(1, d_model // 16),
            max_len=LENGTH,
        )
        return GPT(config)


def train_plainly(lines: list[str], seed: int, setup: Setup) -> GPT:
    """Read each line as often as there are epochs, without any protection."""
    model, token_ids = young(seed, setup.d_model), encode(lines)
    generator = torch.Generator().manual_seed(seed)
    epochs = [torch.randperm(len(lines), generator=generator) for _ in range(setup.epochs)]
    batches: Iterator[Tensor] = iter(torch.cat(epochs).split(setup.batch))
    steps = setup.epochs * len(lines) // setup.batch
    recipe = Recipe(steps=steps, lr=setup.lr, warmup=steps // 10, decay="cosine", weight_decay=0.0)
    train(model, lambda _: token_ids[next(batches)], recipe, generator=generator, loss=line_loss)
    return model


def guarantee_for(epsilon_at_most: float, records: int, setup: Setup) -> Guarantee:
    """Sampling, steps, and the noise that they need."""
    rate = setup.private_batch / records
    noise = noise_for(epsilon_at_most, rate, setup.private_steps, setup.delta)
    return Guarantee(
        sampling_rate=rate, noise_multiplier=noise, steps=setup.private_steps, clip=setup.clip
    )


def train_with_noise(lines: list[str], seed: int, guarantee: Guarantee, setup: Setup) -> GPT:
    """DP-SGD, whose noisy gradients Adam takes."""
    model = young(seed, setup.d_model)
    optimizer = torch.optim.Adam(model.parameters(), setup.private_lr)
    generator = torch.Generator().manual_seed(seed)
    train_privately(model, encode(lines), optimizer, guarantee, generator=generator, loss=line_loss)
    return model


def train_to_loss(lines: list[str], seed: int, loss: float, world: World) -> GPT:
    """The control: the same optimizer and batches, neither clip nor noise, until a loss is reached.

    Args:
        lines: What is read.
        seed: Of weights and batches.
        loss: On sentences that are not read; training ends as soon as it is not above.
        world: Where these are.
    """
    setup = world.setup
    model, token_ids = young(seed, setup.d_model), encode(lines)
    optimizer = torch.optim.Adam(model.parameters(), setup.private_lr)
    generator = torch.Generator().manual_seed(seed)
    for step in range(10 * setup.private_steps):
        chosen = torch.rand(len(lines), generator=generator) < setup.private_batch / len(lines)
        optimizer.zero_grad()
        line_loss(model, token_ids[chosen]).backward()
        optimizer.step()
        if step % 3 == 0 and unseen_loss(model, world) <= loss:
            break
    return model


@torch.no_grad()
def unseen_loss(model: nn.Module, world: World) -> float:
    """On 500 sentences that were not read, in nats a character."""
    with evaluating(model):
        return line_loss(model, encode(world.unseen[:500])).item()


def scores(model: nn.Module, lines: list[str]) -> Tensor:
    """The log-probability of each line."""
    token_ids = encode(lines)
    return log_likelihoods(model, token_ids, token_ids != 0)


def exposures(model: nn.Module, canaries: Iterable[Canary]) -> list[float]:
    """Of each canary, in bits."""
    digits = torch.tensor([_ID[digit] for digit in "0123456789"])
    found = []
    for canary in canaries:
        prompt = torch.tensor([_ID[letter] for letter in f"\n{canary.prompt}"])
        found.append(exposure(secret_log_probs(model, prompt, digits, DIGITS), int(canary.pin)))
    return found


def extracted(model: nn.Module, canary: Canary) -> bool:
    """Whether the likeliest continuation of the prompt is the secret."""
    text = torch.tensor([_ID[letter] for letter in f"\n{canary.prompt}{canary.pin}"])
    return verbatim(model, text, len(text) - DIGITS) == DIGITS


def measure(model: nn.Module, world: World) -> dict[str, Any]:
    """All that is measured of a model.

    Returns:
        "loss" on unseen sentences; by number of copies the mean "exposure" in bits and the share
        "extracted", with those whose copies differ under "near"; "members", how well sentences
        and coins that were read are told from others: "auc", and the share found, "tpr", at each
        rate of false alarms; "audit", right guesses about the coins and the bound that follows.
    """
    bits = exposures(model, world.canaries)
    groups: dict[str, list[tuple[float, bool]]] = {}
    for canary, found in zip(world.canaries, bits, strict=True):
        name = "near" if canary.near else str(canary.copies)
        groups.setdefault(name, []).append((found, extracted(model, canary)))
    read, unread = scores(model, world.sentences), scores(model, world.unseen)
    coins = scores(model, world.coins)
    inside, outside = coins[world.included], coins[~world.included]
    guesses = 2 * (len(coins) // 10)
    right = audit_guesses(coins, world.included, guesses)
    return {
        "loss": unseen_loss(model, world),
        "exposure": {name: float(np.mean([b for b, _ in g])) for name, g in groups.items()},
        "extracted": {name: float(np.mean([e for _, e in g])) for name, g in groups.items()},
        "members": {
            name: {"auc": auc(*both), "tpr": {str(f): tpr_at(*both, f) for f in FALSE_ALARMS}}
            for name, both in (("sentences", (read, unread)), ("coins", (inside, outside)))
        },
        "audit": {
            "right": right,
            "guesses": guesses,
            "bound": audit_epsilon(right, guesses, len(coins), world.setup.delta),
        },
    }


def clipping(model: nn.Module, world: World) -> dict[str, float]:
    """What clipping does to the mean gradient of a model, over all lines.

    Returns:
        "cosine" of the mean of the clipped gradients with the mean gradient; their "length", as a
        share of it; the share of lines that are "cut", and the longest gradient in units of the
        clip, "longest".
    """
    plain: Any = 0.0
    cut: Any = 0.0
    norms = []
    for batch in encode(world.lines).split(128):
        gradients = per_sample_gradients(model, batch, line_loss)
        norms.append(gradient_norms(gradients))
        plain += torch.cat([g.sum(0).flatten() for g in gradients.values()])
        shortened = clipped_sum(gradients, world.setup.clip)
        cut += torch.cat([g.flatten() for g in shortened.values()])
    lengths = torch.cat(norms)
    return {
        "cosine": F.cosine_similarity(plain, cut, dim=0).item(),
        "length": (cut.norm() / plain.norm()).item(),
        "cut": (lengths > world.setup.clip).double().mean().item(),
        "longest": lengths.max().item() / world.setup.clip,
    }


def unlearn(model: GPT, world: World, lr: float = 1e-4) -> dict[str, Any]:
    """Make a model forget a canary by climbing its loss, until it no longer writes it.

    Returns:
        "steps" taken; "exposure" and "rank" of the secret "before", when it is "silent", and after
        twice as many steps, "later"; the loss on unseen sentences and the mean exposure of the
        other canaries with as many copies, before and when it is silent.
    """
    model = copy.deepcopy(model)
    told = [canary for canary in world.canaries if canary.copies == COPIES[-1]]
    target, others = told[0], told[1:]
    line = encode([f"{target.prompt}{target.pin}."])
    optimizer = torch.optim.Adam(model.parameters(), lr)

    def state() -> dict[str, float]:
        bits = exposures(model, [target])[0]
        return {
            "exposure": bits,
            "rank": 10**DIGITS / 2**bits,
            "loss": unseen_loss(model, world),
            "others": float(np.mean(exposures(model, others))),
        }

    def climb() -> None:
        optimizer.zero_grad()
        (-line_loss(model, line)).backward()
        optimizer.step()

    found: dict[str, Any] = {"before": state()}
    steps = 0
    while extracted(model, target) and steps < 200:
        climb()
        steps += 1
    found |= {"steps": steps, "silent": state()}
    for _ in range(steps):
        climb()
    return {**found, "later": state()}


def small(seed: int, width: int = 16) -> dict[str, Any]:
    """One of the smaller GPTs, trained plainly and measured, as in the record."""
    setup = Setup(d_model=width)
    world = World(seed, setup)
    return measure(train_plainly(world.lines, seed, setup), world)


def longer(seed: int, width: int = 32, times: int = 2) -> dict[str, Any]:
    """A GPT of half the width that reads everything twice as often, measured as all others."""
    setup = Setup(d_model=width, epochs=times * Setup.epochs)
    world = World(seed, setup)
    return measure(train_plainly(world.lines, seed, setup), world)


def cut_alone(seed: int, steps: int = 60) -> dict[str, Any]:
    """The strict training without its noise, for so many steps that the loss is about the same."""
    setup = Setup()
    world = World(seed, setup)
    rate = setup.private_batch / len(world.lines)
    cut = Guarantee(sampling_rate=rate, noise_multiplier=0, steps=steps, clip=setup.clip)
    return measure(train_with_noise(world.lines, seed, cut, setup), world)


def audit(seed: int, guarantee: Guarantee, canaries: int = 1000, guesses: int = 200) -> int:
    """Guess which of many canaries a private training has read: the best case for who guesses.

    The model is linear, and each canary pulls a weight of its own, always as far as the clip lets
    it; nothing else is in the data. All noise goes through `train_privately`.

    Args:
        seed: Of the coins, the batches and the noise.
        guarantee: What is audited.
        canaries: Each is put in by a coin.
        guesses: Half of them "in", half "out".

    Returns:
        How many guesses are right.
    """
    generator = torch.Generator().manual_seed(seed)
    included = torch.rand(canaries, generator=generator) < 0.5
    model = nn.Linear(canaries, 1, bias=False)
    nn.init.zeros_(model.weight)
    pulls = 10 * guarantee.clip * torch.eye(canaries)[included]  # cut to the clip
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    train_privately(
        model,
        pulls,
        optimizer,
        guarantee,
        generator=generator,
        loss=lambda model, x: model(x).sum(),
    )
    return audit_guesses(-model.weight.detach()[0], included, guesses)


SIZES = (8, 16, 32, 64)
EPSILONS = {"strict": 8.0, "loose": 50.0}


def run(seed: int, setup: Setup = Setup()) -> dict[str, Any]:
    """All of it with one seed, as it is recorded.

    Returns:
        "floor", the least possible loss; "lines" read; "sizes" by width of the GPT; "young", a
        GPT that has read nothing; "exact" and "near", after the duplicates are taken out; for
        each guarantee, "strict" and "loose", its numbers, what is "measured", and the "control"
        of as low a loss without noise; "clipping" of a fresh and of the strictly trained GPT;
        "unlearning".
    """
    from dataclasses import replace

    world = World(seed, setup)
    lines = world.lines
    found: dict[str, Any] = {"floor": world.entropy, "lines": len(lines), "sizes": {}}
    found["young"] = measure(young(seed, setup.d_model), world)
    for width in SIZES:
        model = train_plainly(lines, seed, replace(setup, d_model=width))
        found["sizes"][str(width)] = measure(model, world)
        if width == setup.d_model:
            found["unlearning"] = unlearn(model, world)
    for name, similarity in (("exact", 1.0), ("near", 0.6)):
        kept = deduplicate(lines, similarity)
        model = train_plainly(kept, seed, setup)
        found[name] = {"lines": len(kept), **measure(model, world)}
    found["clipping"] = {"fresh": clipping(young(seed, setup.d_model), world)}
    for name, bound in EPSILONS.items():
        guarantee = guarantee_for(bound, len(lines), setup)
        model = train_with_noise(lines, seed, guarantee, setup)
        measured = measure(model, world)
        control = train_to_loss(lines, seed, measured["loss"], world)
        found[name] = {
            "epsilon": guarantee.epsilon(setup.delta),
            "noise": guarantee.noise_multiplier,
            "rate": guarantee.sampling_rate,
            "measured": measured,
            "control": measure(control, world),
        }
        if name == "strict":
            found["clipping"]["trained"] = clipping(model, world)
    return found
