"""Ours against someone else's in alternating pairs, so that both meet the same machine."""

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, Protocol

import pytest
from pytest_benchmark.fixture import BenchmarkFixture


class Compare(Protocol):
    """Times two functions in alternating pairs; gives how many times as fast the first is."""

    def __call__(self, ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int = 7) -> float:
        """Time them."""


class CompareEach(Protocol):
    """Times several functions in turn with one; for each, how many times as fast it is."""

    def __call__(
        self, ours: Mapping[str, Callable[[], Any]], theirs: Callable[[], Any], rounds: int = 7
    ) -> dict[str, float]:
        """Time them."""


RATIOS = pytest.StashKey[dict[str, list[float]]]()


@pytest.fixture
def compare_each(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> CompareEach:
    """Time all of them in each round, after one to warm up; the summary shows the ratios."""

    def seconds(function: Callable[[], Any]) -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    def compare_each(
        ours: Mapping[str, Callable[[], Any]], theirs: Callable[[], Any], rounds: int = 7
    ) -> dict[str, float]:
        taken: list[tuple[dict[str, float], float]] = []

        def turn() -> None:
            taken.append(({name: seconds(ours[name]) for name in ours}, seconds(theirs)))

        benchmark.pedantic(turn, rounds=rounds, warmup_rounds=1)
        ratios = {name: [other / own[name] for own, other in taken[-rounds:]] for name in ours}
        found = {f"{request.node.name} {name}".strip(): ratios[name] for name in ours}
        request.config.stash.setdefault(RATIOS, {}).update(found)
        return {name: median(ratios[name]) for name in ours}

    return compare_each


@pytest.fixture
def compare(compare_each: CompareEach) -> Compare:
    """Time two functions in pairs, after one to warm up; the summary shows the ratio."""

    def compare(ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int = 7) -> float:
        return compare_each({"": ours}, theirs, pairs)[""]

    return compare


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many times as fast ours is, with the interval that holds all pairs but the extremes."""
    config = terminalreporter.config
    if not (found := config.stash.get(RATIOS, {})) or not config.getoption("benchmark_enable"):
        return
    terminalreporter.section("ours against theirs, times as fast")
    for name, ratios in found.items():
        inner = sorted(ratios)[1:-1]
        terminalreporter.write_line(
            f"{name:40} {median(ratios):.2f}  [{inner[0]:.2f}, {inner[-1]:.2f}]"
        )
