"""Benchmarks that say how the bridge compares with a peer in the same run.

``pytest tests/performance --benchmark-only --benchmark-json=FILE`` measures, and
``scripts/check_performance_regression.py`` compares the ratios in the file with ``baseline.json``. In several
processes, as in ``make test``, each benchmark runs once and is a test of what it calls.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from support.parallel import runs_tests

# Enough for an interval of the median, and few enough for a minute in all.
ROUNDS = int(os.environ.get("BENCHMARK_ROUNDS", "50"))

Work = Callable[[], Coroutine[Any, Any, Any]]


class Comparison:
    """A benchmark whose every round has a round of its peer beside it.

    Args:
        benchmark: Measures.
        runner: Runs both.
    """

    def __init__(self, benchmark: BenchmarkFixture, runner: asyncio.Runner) -> None:
        # Its methods have no types.
        self._benchmark: Any = benchmark
        self._runner = runner

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Runs what is not measured."""
        return self._runner.run(coroutine)

    def times(self, ours: Work, peer: Work, *, than: str) -> tuple[Any, Any]:
        """Measures ``ours``, in turns with ``peer``, and puts how many times as long it took into the report.

        The machine's load is nearly the same for the two halves of a round, so their ratio says something about the
        code on a busy machine too, which the seconds of neither do.

        Args:
            ours: What the benchmark is about.
            peer: The same work done otherwise.
            than: What the peer is, for the report.

        Returns:
            What each returned in its last round.
        """
        seconds, answers = [], []

        def round_of_peer() -> None:
            start = time.perf_counter()
            answers.append(self._runner.run(peer()))
            seconds.append(time.perf_counter() - start)

        def round_of_ours() -> Any:
            return self._runner.run(ours())

        result = self._benchmark.pedantic(round_of_ours, setup=round_of_peer, rounds=ROUNDS, warmup_rounds=1)
        if self._benchmark.enabled:
            counted = zip(self._benchmark.stats.stats.data, seconds[1:], strict=True)
            self._benchmark.extra_info.update(peer=than, ratios=[one / other for one, other in counted])
        return result, answers[-1]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Lets a run in one process measure; ``--dist`` of pyproject.toml means nothing there, but would forbid it."""
    if runs_tests(config) and not hasattr(config, "workerinput"):
        config.option.dist = "no"
    elif not config.option.benchmark_only:
        # It would disable itself, with a warning.
        config.option.benchmark_disable = True


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def comparison(benchmark: BenchmarkFixture, runner: asyncio.Runner) -> Comparison:
    """Compares with a peer."""
    return Comparison(benchmark, runner)
