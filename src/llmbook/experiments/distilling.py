"""Does a teacher help? A small GPT reads little text, alone or with a larger one's probabilities.

The teacher is the ladder's GPT, which has read all of the addresses. The student reads a small
part of them. Alone it learns from the tokens that came; with a teacher it learns from the
probabilities of all that might have come. A third student learns from smoothed tokens: if that
helped as much, it would not be the teacher's knowledge that helps. And a second teacher, as large
as the first, has read no more than the student: what it brings is not knowledge of other text.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.distillation import distillation_loss
from llmbook.experiments.ladder import VARIANTS, Variant, config, fit, measure, read
from llmbook.gpt import GPT
from llmbook.training import Recipe, evaluating, next_token_batch, next_token_loss, train

KINDS: Final = ("alone", "smoothed", "taught")

STUDENT: Final = Variant(d_model=32, lr=1e-2, muon_lr=0.02)


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        share: Of the tokens, which the student reads.
        student: Its sizes, and its rates, which are those at which the teacher learned.
        steps: How long students learn; each length is a training of its own.
        longer: How long the taught learn too, who are not at their best before.
        few: How long a teacher may learn that has read no more than the student.
        batch: Pieces of text in a step.
        seq: Tokens of a piece.
        temperature: At which teacher and student are compared.
        mixed: Weight of that loss; the rest is for the tokens that came.
        smoothing: Share of a smoothed token that goes to all others.
    """

    share: float = 0.02
    student: Variant = STUDENT
    steps: tuple[int, ...] = (75, 150, 300, 600)
    longer: tuple[int, ...] = (1200,)
    few: tuple[int, ...] = (40, 75, 150)
    batch: int = 16
    seq: int = 64
    temperature: float | int = 2.0
    mixed: float | int = 0.9
    smoothing: float | int = 0.1


def few_tokens(setup: Setup = Setup()) -> Int[Tensor, " tokens"]:
    """What the student reads: the last of the addresses from which the teacher learned."""
    tokens = torch.from_numpy(read().learned.token_ids)
    return tokens[-int(setup.share * len(tokens)) :]


def mixed_loss(
    student: nn.Module, token_ids: Int[Tensor, "batch seq"], teacher: nn.Module, setup: Setup
) -> Float[Tensor, ""]:
    """The loss of a student with a teacher: on its probabilities, and on the tokens that came."""
    logits = student(token_ids[:, :-1])
    with torch.no_grad():
        theirs = teacher(token_ids[:, :-1])
    hard = F.cross_entropy(logits.flatten(0, 1), token_ids[:, 1:].flatten().long())
    soft = distillation_loss(logits, theirs, setup.temperature)
    return setup.mixed * soft + (1 - setup.mixed) * hard


def smoothed_loss(
    student: nn.Module, token_ids: Int[Tensor, "batch seq"], setup: Setup
) -> Float[Tensor, ""]:
    """Cross-entropy against tokens of which all others get a share."""
    logits, given = student(token_ids[:, :-1]), token_ids[:, 1:]
    return F.cross_entropy(
        logits.flatten(0, 1), given.flatten().long(), label_smoothing=setup.smoothing
    )


def study(kind: str, steps: int, seed: int, teacher: GPT | None, setup: Setup = Setup()) -> GPT:
    """Train a student.

    Args:
        kind: One of `KINDS`.
        steps: How long.
        seed: Of its first weights, and of what it reads when.
        teacher: For the taught.
        setup: All other settings.

    Raises:
        ValueError: If there is no such kind, or a taught student has no teacher.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "taught" and teacher is None:
        raise ValueError("a taught student needs a teacher")
    torch.manual_seed(seed)
    student = GPT(config(setup.student))
    losses: dict[str, Any] = {
        "alone": next_token_loss,
        "smoothed": partial(smoothed_loss, setup=setup),
        "taught": partial(mixed_loss, teacher=teacher or student, setup=setup),
    }
    recipe = Recipe(
        steps=steps, lr=setup.student.lr, muon_lr=setup.student.muon_lr, warmup=steps // 20
    )
    draw = partial(next_token_batch, few_tokens(setup), setup.batch, setup.seq)
    generator = torch.Generator().manual_seed(seed)
    train(student, draw, recipe, generator=generator, loss=losses[kind])
    return student


def teacher_of_few(seed: int, setup: Setup = Setup()) -> tuple[int, GPT]:
    """A model as large as the teacher that has read only what the student reads.

    Args:
        seed: Of its first weights, and of what it reads when.
        setup: All other settings.

    Returns:
        How long it learned, which was best on the validation text, and the model.
    """
    alike = replace(setup, student=VARIANTS["Muon"])
    tried = {steps: study("alone", steps, seed, None, alike) for steps in setup.few}
    return min(tried.items(), key=lambda one: measure(one[1], read().validation))


def run(seed: int) -> dict[str, Any]:
    """What is recorded: bits per byte of the teachers, and of students by kind and steps."""
    setup, corpus = Setup(), read()
    teacher, _ = fit(VARIANTS["Muon"], seed)
    steps, few = teacher_of_few(seed, setup)

    def judged(model: GPT) -> dict[str, float]:
        parts = {"validation": corpus.validation, "test": corpus.test}
        return {name: measure(model, part) for name, part in parts.items()}

    found: dict[str, Any] = {
        "teacher": {"parameters": _size(teacher), **judged(teacher)},
        "few": {"steps": steps, **judged(few)},
        "student": _size(GPT(config(setup.student))),
        "tokens": len(few_tokens(setup)),
    }
    for name, kind, master, lengths in (
        ("alone", "alone", None, setup.steps),
        ("smoothed", "smoothed", None, setup.steps),
        ("taught", "taught", teacher, (*setup.steps, *setup.longer)),
        ("taught by few", "taught", few, setup.steps),
    ):
        with evaluating(master or teacher):
            found[name] = {
                str(steps): judged(study(kind, steps, seed, master, setup)) for steps in lengths
            }
    return found


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
