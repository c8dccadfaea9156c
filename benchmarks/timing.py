"""Measuring one way against another."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.work import check_sum

Pair = tuple[int, int]
Way = Callable[[int, int], Awaitable[object]]

# Each round goes back and forth between the ways so often: the machine's load changes within a round too.
TURNS = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """How thoroughly to measure.

    Attributes:
        rounds: Of each figure that is taken in rounds.
        quick: Whether to do less in each, for a first impression.
    """

    rounds: int
    quick: bool

    def amount(self, full: int, quick: int) -> int:
        """Chooses an amount of work."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured.

    Attributes:
        values: The figure in each round; where it was taken as a whole, one value.
        details: The absolute numbers behind it, by name and unit.
    """

    values: Sequence[float]
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """The figure."""
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float] | None:
        """The quartiles; None where there are fewer than three rounds."""
        if len(self.values) < 3:
            return None
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


def in_turn(first: str, second: str, round_number: int) -> Sequence[str]:
    """Orders two names so that neither always comes first."""
    return (first, second) if round_number % 2 else (second, first)


async def each_call(way: Way, pairs: Iterator[Pair], number: int) -> list[float]:
    """Makes calls one after another and returns the seconds of each."""
    seconds = []
    for _ in range(number):
        a, b = next(pairs)
        start = time.perf_counter()
        answer = await way(a, b)
        seconds.append(time.perf_counter() - start)
        check_sum(a, b, answer)
    return seconds


async def compare_calls(bridge: Way, bare: Way, pairs: Iterator[Pair], plan: Plan, *, calls: int) -> Sample:
    """Compares the median time of one call, in rounds.

    Args:
        bridge: The way that is measured.
        bare: Its peer.
        pairs: The arguments.
        plan: How many rounds.
        calls: Of each way in a round.

    Returns:
        The bridge's median / the peer's.
    """
    ways = {"bridge": bridge, "bare": bare}
    for way in ways.values():
        await each_call(way, pairs, calls // 2)
    medians: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(plan.rounds):
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(TURNS):
            for name in in_turn("bridge", "bare", round_number + turn):
                seconds[name] += await each_call(ways[name], pairs, calls // TURNS)
        for name, taken in seconds.items():
            medians[name].append(statistics.median(taken))
    return Sample(
        [ours / theirs for ours, theirs in zip(medians["bridge"], medians["bare"], strict=True)],
        {f"{name} p50, µs": statistics.median(taken) * 1e6 for name, taken in medians.items()},
    )


async def at_once(ways: Iterator[Way], pairs: Iterator[Pair], number: int, *, width: int) -> float:
    """Makes calls, ``width`` of them at once.

    Args:
        ways: The next for each call.
        pairs: The arguments.
        number: Of calls.
        width: How many callers there are; each waits for its answer before it calls again.

    Returns:
        The seconds that all took.
    """
    work = itertools.islice(zip(ways, pairs, strict=False), number)

    async def caller() -> None:
        for way, (a, b) in work:
            check_sum(a, b, await way(a, b))

    start = time.perf_counter()
    async with asyncio.TaskGroup() as callers:
        for _ in range(width):
            callers.create_task(caller())
    return time.perf_counter() - start
