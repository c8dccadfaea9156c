"""The process that fills a hub: ``python -m benchmarks.load_process LOAD ADDRESS``.

It prints a line once the hub answers, and then its count and the time with each line on its standard input. It ends
when that ends, so it never outlives its parent.
"""

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.callers import at_once
from benchmarks.loads import LOADS
from benchmarks.peers import client_of
from benchmarks.processes import link_bridge
from benchmarks.raw_link import RawLink
from benchmarks.work import WrongAnswerError, check_sum, pairs
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb

_BRIDGE_WIDTH = 100
_BRIDGE_CALLS = 1_000
_HTTP_WIDTH = 25
_EVENTS = 1_000
_CONNECTING = 4


class Count:
    """How much was done."""

    def __init__(self) -> None:
        self.count = 0


# Fills a hub until it is cancelled. Its last argument has the counts; it adds those of its own.
Source = Callable[[str, str, list[Any]], Awaitable[None]]


async def fill_link(address: str, name: str, counts: list[Any], *, kind: str) -> None:
    """Keeps a load on one link."""
    load = LOADS[kind]()
    counts.append(load)
    async with RawLink.open(address) as link:
        await link.ask("InitializeSession", pb.InitializeSessionRequest(session_id=name))
        await load.begin(link, name)
        while True:
            await link.flush()
            for envelope in await link.receive():
                load.take(link, envelope)


async def call_by_bridge(address: str, name: str, counts: list[Any]) -> None:
    """Makes calls as a program does, by the package's own client."""
    del name
    counts.append(count := Count())
    async with link_bridge(address) as bridge:
        add = bridge.tools["add"]
        arguments = pairs()
        while True:
            await at_once(itertools.repeat(add), arguments, _BRIDGE_CALLS, width=_BRIDGE_WIDTH)
            count.count += _BRIDGE_CALLS


async def connect(address: str, name: str, counts: list[Any]) -> None:
    """Opens links with a session, and closes them."""
    counts.append(count := Count())

    async def one_after_another(prefix: str) -> None:
        for number in itertools.count():
            session_id = f"{prefix}-{number}"
            async with RawLink.open(address) as link:
                await link.ask("InitializeSession", pb.InitializeSessionRequest(session_id=session_id))
                await link.ask("CleanupSession", pb.CleanupSessionRequest(session_id=session_id))
            count.count += 1

    async with asyncio.TaskGroup() as group:
        for index in range(_CONNECTING):
            group.create_task(one_after_another(f"{name}-{index}"))


async def post(address: str, name: str, counts: list[Any]) -> None:
    """Makes calls by POST."""
    del name
    counts.append(count := Count())
    arguments = pairs()

    async with client_of("http")(address) as client:

        async def caller() -> None:
            for a, b in arguments:
                check_sum(a, b, await client.add(a, b))
                count.count += 1

        async with asyncio.TaskGroup() as callers:
            for _ in range(_HTTP_WIDTH):
                callers.create_task(caller())


async def read_events(address: str, name: str, counts: list[Any]) -> None:
    """Reads streams of small server-sent events."""
    del name
    counts.append(count := Count())
    async with client_of("http")(address) as client:
        while True:
            found = await client.count(_EVENTS)
            if found != _EVENTS:
                raise WrongAnswerError(f"a stream had {found} events instead of {_EVENTS}")
            count.count += found


SOURCES: dict[str, Source] = {
    "client-calls": call_by_bridge,
    "connections": connect,
    "http-calls": post,
    "http-events": read_events,
}


async def main(kind: str, address: str, sources: int) -> None:
    """Fills a hub, and says how much was done."""
    counts: list[Any] = []

    async def answer() -> None:
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while not any(each.count for each in counts):  # noqa: ASYNC110 - to count must cost nothing more
            await asyncio.sleep(0.01)
        print(json.dumps("ready"), flush=True)
        while await reader.readline():
            done = sum(each.count for each in counts)
            print(json.dumps([done, time.perf_counter(), time.process_time()]), flush=True)
        transport.close()

    async with asyncio.TaskGroup() as group:
        filling = [group.create_task(_source(kind, address, index, counts)) for index in range(sources)]
        await answer()
        for each in filling:
            each.cancel()


async def _source(kind: str, address: str, index: int, counts: list[Any]) -> None:
    name = f"{os.getpid()}-{index}"
    if kind in LOADS:
        await fill_link(address, name, counts, kind=kind)
    else:
        await SOURCES[kind](address, name, counts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fill a hub until the standard input ends.")
    parser.add_argument("load", choices=[*LOADS, *SOURCES])
    parser.add_argument("address")
    parser.add_argument("--sources", type=int, default=2)
    options = parser.parse_args()
    asyncio.run(main(options.load, options.address, options.sources))
