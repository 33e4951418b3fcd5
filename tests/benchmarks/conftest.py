"""Ours against someone else's in alternating pairs, so that both meet the same machine."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, Protocol

import pytest
from pytest_benchmark.fixture import BenchmarkFixture


class Compare(Protocol):
    """Times two functions in alternating pairs; gives how many times as fast the first is."""

    def __call__(self, ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int = 7) -> float:
        """Time them."""


RATIOS = pytest.StashKey[dict[str, list[float]]]()


@pytest.fixture
def compare(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Compare:
    """Time two functions in pairs, after one to warm up; the summary shows the ratio."""

    def compare(ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int = 7) -> float:
        ratios: list[float] = []

        def pair() -> None:
            times = []
            for function in (ours, theirs):
                start = time.perf_counter()
                function()
                times.append(time.perf_counter() - start)
            ratios.append(times[1] / times[0])

        benchmark.pedantic(pair, rounds=pairs, warmup_rounds=1)
        request.config.stash.setdefault(RATIOS, {})[request.node.name] = ratios[-pairs:]
        return median(ratios[-pairs:])

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
