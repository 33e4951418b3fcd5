"""Checks for the labs: right answers pass in any form, wrong ones are told why they are wrong.

Each lab is a module here, with its exercises, and a notebook in the book. Nothing that a lab needs
imports torch, so that a browser's Python can run it.
"""

from importlib import import_module

from llmbook.labs.attention import (
    check_masked,
    check_output,
    check_scaled,
    check_scores,
    check_weights,
    no_later,
)
from llmbook.labs.grader import Exercise, Mistake, WrongAnswer, exercise

__all__ = [
    "LABS",
    "Exercise",
    "Mistake",
    "WrongAnswer",
    "check_masked",
    "check_output",
    "check_scaled",
    "check_scores",
    "check_weights",
    "exercise",
    "exercises",
    "no_later",
]

LABS = (
    "word_vectors",
    "tokenizer",
    "positions",
    "block",
    "kv_cache",
    "masking",
    "ngrams",
    "t5_spans",
    "counting",
    "scaling_law",
    "contrastive",
    "codes",
    "canary",
    "private_step",
    "group_fairness",
    "patching",
    "emissions",
)
"""The labs whose exercises are in `exercises`, in the order of the book."""


def exercises(lab: str) -> dict[str, Exercise]:
    """The exercises of a lab by their names, in its order.

    Args:
        lab: One of `LABS`.

    Returns:
        Each with its solution, its cases and its mistakes.

    Raises:
        ValueError: If there is no such lab.

    Examples:
        >>> list(exercises("tokenizer"))[:2]
        ['count_pairs', 'merge']
    """
    if lab not in LABS:
        raise ValueError(f"lab must be one of {LABS}, got {lab!r}")
    names = vars(import_module(f"llmbook.labs.{lab}"))
    return {name: each for name, each in names.items() if isinstance(each, Exercise)}
