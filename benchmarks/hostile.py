"""How much longer other sessions' calls take beside a hostile peer whose rate is capped."""

import asyncio
import contextlib
import itertools
import statistics
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from functools import partial

from benchmarks.figures import Measure
from benchmarks.hostile_peers import HTTP1, RATES
from benchmarks.processes import link_bridge, running
from benchmarks.timing import Plan, Sample, in_rounds, ratios
from benchmarks.work import check_sum, pairs
from grpc_tool_bridge import ToolBridge

# Sessions that call, each over a connection of its own, and how long each waits between two calls.
_SESSIONS = 4
_PAUSE_SECONDS = 0.002
# There are two dozen kinds: more of each would take minutes.
_ROUNDS = 5
_TURNS = 2


class _Attacker:
    """A process that attacks, or pauses."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def turn(self) -> int:
        """Begins to attack, or pauses; returns what it has sent so far."""
        assert self._process.stdin is not None  # it was started with pipes
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        return int(await self._process.stdout.readline())


@contextlib.asynccontextmanager
async def _attacker(kind: str, address: str, rate: int) -> AsyncGenerator[_Attacker, None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.hostile_peers", kind, address, str(rate)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None  # it was started with a pipe
    try:
        yield _Attacker(process)
    finally:
        process.stdin.close()
        await process.wait()


async def _beside(kind: str, rate: int, plan: Plan) -> dict[str, Sample]:
    calls = plan.amount(100, 50)
    plan = Plan(min(plan.rounds, _ROUNDS), plan.quick)
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running("exposed"))
        address = await hub.ask("http address") if kind in HTTP1 else hub.address
        bridges = [await stack.enter_async_context(link_bridge(hub.address)) for _ in range(_SESSIONS)]
        attacker = await stack.enter_async_context(_attacker(kind, address, rate))
        sent = seconds = 0.0

        async def quiet() -> Sequence[float]:
            return await _calls(bridges, calls)

        async def attacked() -> Sequence[float]:
            nonlocal sent, seconds
            before, begun = await attacker.turn(), time.perf_counter()
            try:
                return await _calls(bridges, calls)
            finally:
                sent += await attacker.turn() - before
                seconds += time.perf_counter() - begun

        taken = await in_rounds(plan, {"quiet": quiet, "attacked": attacked}, turns=_TURNS)
    p99s = {name: [statistics.quantiles(waits, n=100)[-1] for waits in rounds] for name, rounds in taken.items()}
    details = {f"{name} p99, ms": statistics.median(values) * 1e3 for name, values in p99s.items()}
    details["sent, 1/s"] = sent / seconds
    return {f"hostile-{kind}": Sample(ratios(p99s["attacked"], p99s["quiet"]), details)}


async def _calls(bridges: Sequence[ToolBridge], number: int) -> list[float]:
    """Makes so many calls in each session, and returns the seconds of each."""
    seconds: list[float] = []

    async def caller(bridge: ToolBridge) -> None:
        add = bridge.tools["add"]
        for a, b in itertools.islice(pairs(), number):
            await asyncio.sleep(_PAUSE_SECONDS)
            start = time.perf_counter()
            check_sum(a, b, await add(a, b))
            seconds.append(time.perf_counter() - start)

    await asyncio.gather(*map(caller, bridges))
    return seconds


_MEASURES: dict[str, Measure] = {kind.replace("-", "_"): partial(_beside, kind, rate) for kind, rate in RATES.items()}


def __getattr__(name: str) -> Measure:
    if name not in _MEASURES:
        raise AttributeError(name)
    return _MEASURES[name]
