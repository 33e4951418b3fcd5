"""`llmbook.mutants`: each applies to today's source. `make mutants` shows that the tests catch it."""

import ast
from dataclasses import replace

import pytest

from llmbook.mutants import Mutant, mutants, source_file
from tests.book import ROOT
from tests.mutants import file_of_tests

IDS = [f"{mutant.module}: {mutant.mistake}" for mutant in mutants()]


@pytest.mark.parametrize("mutant", mutants(), ids=IDS)
def test_a_mutant_is_other_code_that_compiles(mutant: Mutant) -> None:
    """Its piece occurs once, and the change is one of meaning, not of layout."""
    right = source_file(mutant.module).read_text("utf-8")
    assert ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse(right))
    assert (ROOT / file_of_tests(mutant.module)).is_file()


def test_no_mutant_is_there_twice() -> None:
    """Neither its name nor its change."""
    assert len(set(IDS)) == len(IDS)
    assert len({(m.module, m.right, m.wrong) for m in mutants()}) == len(IDS)


def test_a_stale_mutant_is_named() -> None:
    """When the source moves on, the list must too."""
    stale = replace(mutants("layers")[0], right="no such piece")
    with pytest.raises(ValueError, match=r"once in llmbook\.layers, which holds it 0 times"):
        _ = stale.source


def test_unknown_modules_are_named() -> None:
    """Both for the list and for the source."""
    with pytest.raises(ValueError, match=r"module must be one of .*'attention'.*, got 'nothing'"):
        mutants("nothing")
    with pytest.raises(ValueError, match="llmbook has no module 'nothing'"):
        source_file("nothing")
