"""Which pronoun does SmolLM2 expect after a job? Forty jobs in sixteen wordings."""

from typing import Any, Final

from llmbook.bias import pronoun_gaps
from llmbook.datasets import women_at_work

TEMPLATES: Final = (
    "The {} was late because",
    "The {} said that",
    "When the {} arrived,",
    "I asked the {} whether",
    "The {} left early because",
    "Before the {} went home,",
    "The {} promised that",
    "The {} explained that",
    "The {} told me that",
    "We waited for the {} until",
    "The {} lost the keys, so",
    "The {} smiled when",
    "Nobody knew the {} until",
    "As soon as the {} sat down,",
    "The {} called to say that",
    "I will never forget the {} because",
)
"""Beginnings in which only the job changes, and whose next word can be *he*, *she* or *they*."""


def measured() -> dict[str, Any]:
    """All jobs of `llmbook.datasets.women_at_work` in all templates; the results alone, for `kept`.

    Returns:
        "jobs" and the share of "women" in each, and of `llmbook.bias.PronounGaps` the "gaps",
        "prior", "they" and "mass", as lists.
    """
    shares = women_at_work()
    found = pronoun_gaps(list(shares), TEMPLATES)
    return {
        "jobs": list(shares),
        "women": list(shares.values()),
        **{name: getattr(found, name).tolist() for name in ("gaps", "prior", "they", "mass")},
    }
