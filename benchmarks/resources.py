"""Figures of memory and processor time."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from benchmarks.callers import at_once, of_session, spread
from benchmarks.processes import ServerProcess, link_bridge, plain_bridge, running
from benchmarks.server import peak_bytes, resident_bytes, session_name
from benchmarks.timing import Plan, Sample
from benchmarks.work import check_chunk, check_sum, pairs
from grpc_tool_bridge import ToolBridge
from grpc_tool_bridge.proto.dspex_bridge_pb2 import InitializeSessionRequest

SESSIONS = 10_000
WIDTH = 50
WAITING = 10_000
# The hub's limit of concurrent calls in one session.
WAITING_IN_SESSION = 100
# More than a stream could carry in the time that it is left unread: 1 GB.
UNREAD_CHUNKS = 16_000


async def session_memory(plan: Plan) -> dict[str, Sample]:
    """Memory of the hub for each session that was opened over the link and idles since; and after a call of each.

    They come on top of as many others, opened before within the hub: the first sessions go where starting up left
    memory free, and seem to take none.
    """
    idle, used = [], []
    for _ in range(plan.amount(3, 1)):
        async with running("hub") as hub, link_bridge(hub.address) as bridge:
            await _warm_up(bridge)
            await hub.ask("open sessions", SESSIONS)
            before = await hub.ask("rss")
            await for_each(SESSIONS, lambda index: open_session(bridge, SESSIONS + index))
            opened = await hub.ask("rss")
            await for_each(SESSIONS, lambda index: _call(bridge, SESSIONS + index))
            idle.append((opened - before) / SESSIONS / 1024)
            used.append((await hub.ask("rss") - before) / SESSIONS / 1024)
    return {"session-memory": Sample(idle, {"after a call of each, KiB": statistics.median(used)})}


async def link_growth(plan: Plan) -> dict[str, Sample]:
    """How much the hub and its client grow over many calls over the link, in MB; the larger of the two."""
    return {"growth": await _growth(plan.amount(100_000, 20_000), link_bridge)}


async def plain_growth(plan: Plan) -> dict[str, Sample]:
    """The same over plain RPC."""
    return {"plain-growth": await _growth(plan.amount(100_000, 5_000), plain_bridge)}


async def _growth(calls: int, connect: Callable[[str], AbstractAsyncContextManager[ToolBridge]]) -> Sample:
    arguments = pairs()
    async with running("hub") as hub, connect(hub.address) as bridge:
        ways = itertools.repeat(bridge.tools["add"])
        await at_once(ways, arguments, calls // 10, width=WIDTH)
        before = await hub.ask("rss"), resident_bytes()
        seconds = await at_once(ways, arguments, calls, width=WIDTH)
        after = await hub.ask("rss"), resident_bytes()
    sample = _larger(before, after)
    return Sample(sample.values, {"calls": float(calls), **sample.details, "calls/s": calls / seconds})


async def idle(plan: Plan) -> dict[str, Sample]:
    """Processor time of a hub and a client that idle with an open link, in percent of one core; the larger of both."""
    seconds = plan.amount(20, 5)
    async with running("hub") as hub, link_bridge(hub.address) as bridge:
        check_sum(1, 2, await bridge.tools["add"](1, 2))
        before = await hub.ask("cpu"), time.process_time()
        await asyncio.sleep(seconds)
        after = await hub.ask("cpu"), time.process_time()
    hub_used, client_used = ((end - start) / seconds * 100 for start, end in zip(before, after, strict=True))
    details = {"hub, %": hub_used, "client, %": client_used, "seconds": float(seconds)}
    return {"idle-cpu": Sample([max(hub_used, client_used)], details)}


async def waiting(plan: Plan) -> dict[str, Sample]:
    """How much the hub and its client grow at most by 10,000 calls at once over the link, whose tool waits, in MB."""
    del plan  # the amount is what the figure says
    sessions = WAITING // WAITING_IN_SESSION
    async with running("hub") as hub, link_bridge(hub.address) as bridge:
        await hub.ask("open sessions", sessions)
        await _warm_up(bridge)
        ways = spread(bridge, ways=WAITING, sessions=sessions, tools=["wait"])
        before = await hub.ask("rss"), resident_bytes()
        async with asyncio.TaskGroup() as calls:
            calls.create_task(at_once(iter(ways), pairs(), WAITING, width=WAITING))
            inside = await _settled(hub)
            await hub.ask("let out")
        after = await hub.ask("peak"), peak_bytes()
    sample = _larger(before, after)
    return {"waiting-memory": Sample(sample.values, {**sample.details, "inside the tool": float(inside)})}


async def unread(plan: Plan) -> dict[str, Sample]:
    """How much the hub and its client grow at most by a stream over the link that nobody reads, in MB."""
    calls = plan.amount(20_000, 5_000)
    async with running("hub") as hub, link_bridge(hub.address) as bridge:
        await _warm_up(bridge)
        before = await hub.ask("rss"), resident_bytes()
        stream = bridge.tools["chunks"].stream(1, UNREAD_CHUNKS)
        check_chunk(await anext(stream), 1, 0)
        # Other calls continue meanwhile, and give it the time to grow.
        seconds = await at_once(itertools.repeat(bridge.tools["add"]), pairs(), calls, width=WIDTH)
        after = await hub.ask("peak"), peak_bytes()
        await stream.aclose()
    sample = _larger(before, after)
    return {"unread-memory": Sample(sample.values, {**sample.details, "meanwhile, calls/s": calls / seconds})}


async def _settled(hub: ServerProcess) -> int:
    """Waits until the number of waiting calls in the hub no longer grows, and returns it."""
    inside, before = 0, -1
    while inside != before or not inside:
        await asyncio.sleep(0.5)
        inside, before = await hub.ask("inside"), inside
    return inside


def _larger(before: tuple[int, int], after: tuple[int, int]) -> Sample:
    """Returns how much the hub and the client have grown."""
    hub, client = ((end - start) / 1e6 for start, end in zip(before, after, strict=True))
    return Sample([max(hub, client)], {"hub, MB": hub, "client, MB": client})


async def _warm_up(bridge: ToolBridge) -> None:
    """Makes warm-up calls, so that one-time allocations are not counted."""
    await at_once(itertools.repeat(bridge.tools["add"]), pairs(), 2_000, width=WIDTH)


async def open_session(bridge: ToolBridge, index: int) -> None:
    """Opens a session over the link."""
    await bridge.client.call("InitializeSession", InitializeSessionRequest(session_id=session_name(index)))


async def _call(bridge: ToolBridge, index: int) -> None:
    check_sum(index, 1, await of_session(bridge, session_name(index))(index, 1))


async def for_each(number: int, do: Any) -> None:
    """Does something for each number below ``number``, 50 concurrently."""
    indices = itertools.count()

    async def worker() -> None:
        while (index := next(indices)) < number:
            await do(index)

    async with asyncio.TaskGroup() as workers:
        for _ in range(WIDTH):
            workers.create_task(worker())
