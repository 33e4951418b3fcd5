"""The templates of the pronoun experiment can be asked, and a few of them agree with the whole."""

import numpy as np

from llmbook.bias import pronoun_gaps
from llmbook.datasets import women_at_work
from llmbook.experiments.pronouns import TEMPLATES


def test_templates_differ_and_each_has_one_place_for_the_job() -> None:
    assert len(set(TEMPLATES)) == 16
    assert all(template.count("{}") == 1 for template in TEMPLATES)


def test_in_each_of_three_templates_extreme_jobs_are_in_the_order_of_the_survey() -> None:
    shares = women_at_work()
    few, many = ("carpenter", "laborer", "farmer"), ("nurse", "librarian", "secretary")
    assert max(shares[job] for job in few) < min(shares[job] for job in many)
    gaps = pronoun_gaps([*few, *many], TEMPLATES[:3]).gaps
    assert (gaps[:3].min(0) > gaps[3:].max(0)).all()
    assert np.isfinite(gaps).all()
