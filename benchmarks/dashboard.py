"""What it costs a hub that somebody watches its calls over HTTP."""

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncGenerator

from benchmarks.processes import ServerProcess, link_bridge, running
from benchmarks.timing import Plan, Sample, Stretch, in_rounds, ratios
from benchmarks.work import check_sum
from grpc_tool_bridge import AsyncGRPCProxyTool

CALLS_PER_SECOND = 2_000
# A client sends what is due in one go.
_TICK_SECONDS = 0.001
# By then the burst of a new watch is used up, at this rate.
_WARM_UP_SECONDS = 0.75
_POLL_SECONDS = 3.0
_EVENTS = "/api/events?kinds=call,worker,session&calls_per_second=25&arguments=true"
_LONG = "/api/calls?page_size=200&arguments=true"
_READ_BYTES = 256 * 1024
_TURNS = 2


async def cpu(plan: Plan) -> dict[str, Sample]:
    """Processor time of a hub for each call, while a page watches a sample of its calls, against without.

    The calls come at a steady pace over the link. The page reads events, and asks every three
    seconds which calls go on for long, as the view of calls does.
    """
    seconds = plan.amount(3, 2)
    async with running("exposed") as hub, link_bridge(hub.address) as bridge:
        add = bridge.tools["add"]
        address = await hub.ask("http address")

        def stretch(*, watched: bool) -> Stretch:
            async def measure() -> list[float]:
                async with _page(address) if watched else contextlib.nullcontext():
                    await call_steadily(add, _WARM_UP_SECONDS)
                    before = await _busy(hub)
                    number = await call_steadily(add, seconds)
                    return [(await _busy(hub) - before) / number]

            return measure

        ways = {"watched": stretch(watched=True), "alone": stretch(watched=False)}
        taken = await in_rounds(plan, ways, turns=_TURNS)
    each = {name: [statistics.mean(turns) for turns in rounds] for name, rounds in taken.items()}
    details = {f"{name}, us/call": statistics.median(found) * 1e6 for name, found in each.items()}
    return {"dashboard-cpu": Sample(ratios(each["watched"], each["alone"]), details)}


async def _busy(hub: ServerProcess) -> float:
    """Returns the processor time of a hub until now, in seconds."""
    return float((await hub.ask("times"))[1])


async def call_steadily(add: AsyncGRPCProxyTool, seconds: float) -> int:
    """Makes calls at a steady pace for some time; returns how many."""
    made = 0
    start = time.perf_counter()
    async with asyncio.TaskGroup() as calls:
        while (elapsed := time.perf_counter() - start) < seconds:
            due = int(elapsed * CALLS_PER_SECOND)
            for number in range(made, due):
                calls.create_task(_one(add, number))
            made = due
            await asyncio.sleep(_TICK_SECONDS)
    return made


async def _one(add: AsyncGRPCProxyTool, number: int) -> None:
    check_sum(number, 1, await add(number, 1))


@contextlib.asynccontextmanager
async def _page(address: str) -> AsyncGenerator[None, None]:
    """Does what a page that shows the calls does, until the context ends."""
    host, _, port = address.rpartition(":")
    readers = [await asyncio.open_connection(host, int(port), limit=_READ_BYTES) for _ in range(2)]
    (events, asking), (answers, polling) = readers
    asking.write(_get(_EVENTS))
    await events.readuntil(b"\r\n\r\n")
    tasks = [asyncio.create_task(_read(events)), asyncio.create_task(_poll(answers, polling))]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        for _, writer in readers:
            writer.close()
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def _read(events: asyncio.StreamReader) -> None:
    while await events.read(_READ_BYTES):
        pass
    raise ConnectionError("the hub has ended the watch")


async def _poll(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Asks for the calls in flight again and again."""
    while True:
        writer.write(_get(_LONG))
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        await reader.readexactly(length)
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise ConnectionError(f"the hub answers {head[:40]!r}")
        await asyncio.sleep(_POLL_SECONDS)


def _get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
