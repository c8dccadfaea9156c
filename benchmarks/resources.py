"""Figures of memory, processor time and size."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.processes import plain_bridge, running
from benchmarks.server import resident_bytes, session_name
from benchmarks.timing import TURNS, Plan, Sample, Way, at_once, in_turn
from benchmarks.work import check_sum, pairs
from grpc_tool_bridge import AsyncGRPCProxyTool, ToolBridge, ToolSpec
from grpc_tool_bridge.proto.dspex_bridge_pb2 import InitializeSessionRequest

SESSIONS = 10_000
TOOLS = 1_000
WIDTH = 50


async def session_memory(plan: Plan) -> dict[str, Sample]:
    """Memory of the hub for each session that was opened over plain RPC and idles since; and after a call of each.

    They come on top of as many others, opened before within the hub: the first sessions go where starting up left
    memory free, and seem to take none.
    """
    idle, used = [], []
    for _ in range(plan.amount(3, 1)):
        async with running("hub") as hub, plain_bridge(hub.address) as bridge:
            # What the first RPCs make the process allocate belongs to no session.
            await at_once(itertools.repeat(bridge.tools["add"]), pairs(), 2_000, width=WIDTH)
            await hub.ask("open sessions", SESSIONS)
            before = await hub.ask("rss")
            await _for_each(SESSIONS, lambda index: _open(bridge, SESSIONS + index))
            opened = await hub.ask("rss")
            await _for_each(SESSIONS, lambda index: _call(bridge, SESSIONS + index))
            idle.append((opened - before) / SESSIONS / 1024)
            used.append((await hub.ask("rss") - before) / SESSIONS / 1024)
    return {"session-memory": Sample(idle, {"after a call of each, KiB": statistics.median(used)})}


async def growth(plan: Plan) -> dict[str, Sample]:
    """How much the hub and its client grow over many calls, in MB; the larger of the two."""
    calls = plan.amount(100_000, 10_000)
    arguments = pairs()
    async with running("hub") as hub, plain_bridge(hub.address) as bridge:
        ways = itertools.repeat(bridge.tools["add"])
        await at_once(ways, arguments, calls // 10, width=WIDTH)
        before = await hub.ask("rss"), resident_bytes()
        seconds = await at_once(ways, arguments, calls, width=WIDTH)
        after = await hub.ask("rss"), resident_bytes()
    hub_grew, client_grew = ((end - start) / 1e6 for start, end in zip(before, after, strict=True))
    details = {"calls": float(calls), "hub, MB": hub_grew, "client, MB": client_grew, "calls/s": calls / seconds}
    return {"growth": Sample([max(hub_grew, client_grew)], details)}


async def scale(plan: Plan) -> dict[str, Sample]:
    """Throughput of a hub with 1,000 tools and 10,000 sessions, the calls spread over them, against one of each."""
    number = plan.amount(1_000, 300)
    arguments = pairs()
    rates: dict[str, list[float]] = {"many": [], "one": []}
    async with running("hub", tools=TOOLS) as many, running("hub") as one:
        await many.ask("open sessions", SESSIONS)
        await one.ask("open sessions", 1)
        async with plain_bridge(many.address) as many_bridge, plain_bridge(one.address) as one_bridge:
            ways = {"many": _spread(many_bridge, SESSIONS, TOOLS), "one": _spread(one_bridge, 1, 1)}
            for round_number in range(-1, plan.rounds):
                seconds = dict.fromkeys(ways, 0.0)
                for turn in range(TURNS):
                    for name in in_turn("many", "one", round_number + turn):
                        seconds[name] += await at_once(ways[name], arguments, number, width=WIDTH)
                if round_number >= 0:
                    for name, rate in rates.items():
                        rate.append(TURNS * number / seconds[name])
    ratios = [large / small for large, small in zip(rates["many"], rates["one"], strict=True)]
    return {"scale": Sample(ratios, {f"{name}, calls/s": statistics.median(rate) for name, rate in rates.items()})}


async def idle_hub(plan: Plan) -> dict[str, Sample]:
    """Processor time of a hub that idles, with one client connected, in percent of one core."""
    seconds = plan.amount(20, 5)
    async with running("hub") as hub, plain_bridge(hub.address) as bridge:
        check_sum(1, 2, await bridge.tools["add"](1, 2))
        before = await hub.ask("cpu"), time.process_time()
        await asyncio.sleep(seconds)
        after = await hub.ask("cpu"), time.process_time()
    hub_used, client_used = ((end - start) / seconds * 100 for start, end in zip(before, after, strict=True))
    return {"idle-cpu": Sample([hub_used], {"client, %": client_used, "seconds": float(seconds)})}


@dataclass(frozen=True, slots=True)
class _Caller:
    """What a proxy needs of its session."""

    session_id: str
    stub: Any


def _spread(bridge: ToolBridge, sessions: int, tools: int) -> Iterator[Way]:
    """Makes 10,000 ways to add, over so many sessions and tools, that take turns without end."""
    names = ["add", *(f"add_{index}" for index in range(1, tools))]
    # The sessions come in a stride, so that no two neighbours are called after one another.
    return itertools.cycle(
        [
            AsyncGRPCProxyTool(
                ToolSpec(name=names[index % tools]), _Caller(session_name(index * 7 % sessions), bridge.client.stub)
            )
            for index in range(SESSIONS)
        ]
    )


async def _open(bridge: ToolBridge, index: int) -> None:
    await bridge.client.call("InitializeSession", InitializeSessionRequest(session_id=session_name(index)))


async def _call(bridge: ToolBridge, index: int) -> None:
    proxy = AsyncGRPCProxyTool(ToolSpec(name="add"), _Caller(session_name(index), bridge.client.stub))
    check_sum(index, 1, await proxy(index, 1))


async def _for_each(number: int, do: Any) -> None:
    """Does something for each number below ``number``, 50 at once."""
    indices = itertools.count()

    async def worker() -> None:
        while (index := next(indices)) < number:
            await do(index)

    async with asyncio.TaskGroup() as workers:
        for _ in range(WIDTH):
            workers.create_task(worker())
