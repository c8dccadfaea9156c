"""How long a search among 10,000 tools takes.

A session of a hub in this process has the tools, and its bridge searches them: names of some sixty programs, verbs and
nouns, descriptions and arguments of common words, so that most words of a query are those of hundreds or thousands of
tools. No two queries are the same. Every search is checked to find something, and one in ten is for a tool by its name,
which has to come first.
"""

import asyncio
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.timing import Plan, Sample
from grpc_tool_bridge import LocalToolBridge, Settings, ToolBridge, tool

TOOLS = 10_000

_FIRST, _SECOND = "git mail pay map chat work note form plan stock", "hub box ly desk flow stack"
_OPERATIONS = "get list create update delete search send fetch compute convert"
_THINGS = """
weather user invoice repository issue file email calendar event customer order product payment image document database
table row column city forecast route map location price account message channel ticket report
"""
_FILLERS = "the a of in for with this returns tool given by id and list value to use data from its name"
_PROGRAMS = [f"{first}{second}" for first in _FIRST.split() for second in _SECOND.split()]
_VERBS, _NOUNS, _COMMON = _OPERATIONS.split(), _THINGS.split(), _FILLERS.split()


def _tool(number: int, dice: random.Random) -> Callable[..., Any]:
    async def call(query: str, limit: int = 10) -> None: ...

    first, second = dice.sample(_NOUNS, 2)
    call.__name__ = f"{dice.choice(_PROGRAMS)}_{dice.choice(_VERBS)}_{first}_{second}_{number}"
    words = dice.choices(_COMMON, k=15) + dice.choices(_NOUNS, k=8) + dice.choices(_VERBS, k=3)
    dice.shuffle(words)
    about = " ".join(dice.choices(_NOUNS + _COMMON, k=8))
    call.__doc__ = f"{' '.join(words)}.\n\nArgs:\n    query: {about}.\n    limit: So many at most."
    return tool(call)


def _query(names: list[str], dice: random.Random) -> str:
    if dice.random() < 0.1:
        return dice.choice(names)
    return " ".join(dice.choices(_NOUNS + _VERBS + _COMMON + _PROGRAMS, k=dice.randint(2, 10)))


async def search(plan: Plan) -> dict[str, Sample]:
    """The p99 of each round, of searches one after the other."""
    dice = random.Random(1)
    tools = [_tool(number, dice) for number in range(TOOLS)]
    async with LocalToolBridge(tools, settings=Settings(max_tools=TOOLS)) as bridge:
        await bridge.initialize()
        indexing, longest = await _indexed(bridge)
        rounds = [await _searches(bridge, plan.amount(1_000, 200), dice) for _ in range(plan.rounds + 1)][1:]
    waited = [[seconds for seconds, _ in taken] for taken in rounds]
    details = {
        "p50, ms": statistics.median(map(statistics.median, waited)) * 1e3,
        "longest, ms": max(map(max, waited)) * 1e3,
        "p99 of processor time, ms": _p99([busy for taken in rounds for _, busy in taken]),
        "first search, which indexes all, ms": indexing * 1e3,
        "the event loop is held meanwhile at most, ms": longest * 1e3,
    }
    return {"search": Sample([_p99(taken) for taken in waited], details)}


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1] * 1e3


async def _indexed(bridge: ToolBridge) -> tuple[float, float]:
    """Searches for the first time; returns the seconds, and the longest that another task waited for its turn."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - began)

    watching = asyncio.create_task(watch())
    began = time.perf_counter()
    await bridge.search_tools("weather in a city")
    taken = time.perf_counter() - began
    watching.cancel()
    return taken, longest


async def _searches(bridge: ToolBridge, count: int, dice: random.Random) -> list[tuple[float, float]]:
    """Makes so many searches; returns the seconds of each, and those in which the processor worked on it."""
    names = list(bridge.tools)
    taken = []
    for _ in range(count):
        query = _query(names, dice)
        began, worked = time.perf_counter(), time.thread_time()
        found = await bridge.search_tools(query)
        taken.append((time.perf_counter() - began, time.thread_time() - worked))
        if not found or (query in bridge.tools and found[0].name != query):
            raise AssertionError(f"{query!r} found {[proxy.name for proxy in found]}")
    return taken
