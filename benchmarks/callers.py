"""Callers of ``add``: one after another, or many concurrently."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.server import session_name
from benchmarks.timing import TURNS, Plan, Stretch, in_rounds
from benchmarks.work import check_sum, pairs
from grpc_tool_bridge import AsyncGRPCProxyTool, ToolBridge, ToolSpec

# Adds two integers somewhere.
Way = Callable[[int, int], Awaitable[object]]
Pair = tuple[int, int]
# Ways by name: those that the callers take one after another, and how many calls they make in a turn.
Crowds = Mapping[str, tuple[Iterator[Way], int]]


async def each_call(way: Way, arguments: Iterator[Pair], number: int) -> list[float]:
    """Makes calls one after another and returns the seconds of each."""
    seconds = []
    for a, b in itertools.islice(arguments, number):
        start = time.perf_counter()
        answer = await way(a, b)
        seconds.append(time.perf_counter() - start)
        check_sum(a, b, answer)
    return seconds


async def at_once(ways: Iterator[Way], arguments: Iterator[Pair], number: int, *, width: int) -> float:
    """Makes calls, ``width`` of them concurrently.

    Args:
        ways: Each call uses the next one.
        arguments: Each call uses the next ones.
        number: Number of calls.
        width: Number of callers; each waits for its answer before it calls again.

    Returns:
        The seconds that all took.
    """
    work = itertools.islice(zip(ways, arguments, strict=False), number)

    async def caller() -> None:
        for way, (a, b) in work:
            check_sum(a, b, await way(a, b))

    start = time.perf_counter()
    async with asyncio.TaskGroup() as callers:
        for _ in range(width):
            callers.create_task(caller())
    return time.perf_counter() - start


async def p50s(plan: Plan, ways: Mapping[str, tuple[Way, int]]) -> dict[str, list[float]]:
    """Measures one call at a time.

    Args:
        plan: Number of rounds.
        ways: By name, each with its number of calls in a round.

    Returns:
        For each way and round, the median of the calls, in seconds.
    """
    arguments = pairs()

    def stretch(way: Way, calls: int) -> Stretch:
        return lambda: each_call(way, arguments, calls // TURNS)

    taken = await in_rounds(plan, {name: stretch(*way) for name, way in ways.items()})
    return {name: [statistics.median(seconds) for seconds in rounds] for name, rounds in taken.items()}


async def rates(plan: Plan, ways: Crowds, *, width: int, turns: int = TURNS) -> dict[str, list[float]]:
    """Measures many concurrent calls.

    Args:
        plan: How many rounds.
        ways: The ways. Those that are fast make more calls, so that all take long enough to be measured and none holds
            up the others.
        width: How many callers there are.
        turns: Of each way in a round.

    Returns:
        For each way and round, calls per second.
    """
    arguments = pairs()

    def stretch(way: Iterator[Way], calls: int) -> Stretch:
        async def measure() -> Sequence[float]:
            return [await at_once(way, arguments, calls, width=width)]

        return measure

    taken = await in_rounds(plan, {name: stretch(*way) for name, way in ways.items()}, turns=turns)
    return {name: [turns * ways[name][1] / sum(seconds) for seconds in rounds] for name, rounds in taken.items()}


def in_microseconds(p50s: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Returns the medians over the rounds as details of a sample."""
    return {f"{name} p50, µs": statistics.median(seconds) * 1e6 for name, seconds in p50s.items()}


def per_second(rates: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Returns the medians over the rounds as details of a sample."""
    return {f"{name}, calls/s": statistics.median(rate) for name, rate in rates.items()}


@dataclass(frozen=True, slots=True)
class _Caller:
    """What a proxy needs of its session."""

    session_id: str
    stub: Any


def of_session(bridge: ToolBridge, session: str, tool: str = "add") -> AsyncGRPCProxyTool:
    """Makes a proxy for another session than the bridge's own."""
    return AsyncGRPCProxyTool(ToolSpec(name=tool), _Caller(session, bridge.client.stub))


def spread(bridge: ToolBridge, *, ways: int, sessions: int, tools: Sequence[str]) -> list[AsyncGRPCProxyTool]:
    """Makes the given number of ways, spread over sessions that the hub opened itself, and over tools."""
    # The sessions come in a stride, so that no two neighbours are called after one another.
    return [of_session(bridge, session_name(index * 7 % sessions), tools[index % len(tools)]) for index in range(ways)]
