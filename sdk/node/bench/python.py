"""The Python side of the figures: ``python python.py hub``, ``worker ADDRESS`` or ``client ADDRESS``.

A hub and a worker print their address as a line of JSON. A client answers each line of JSON on stdin with what it has
measured: calls or MB a second.
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[3]))

from benchmarks.callers import at_once
from benchmarks.peers.bare import BareClient
from benchmarks.work import pairs

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, Settings, ToolWorker, tool

CHUNK = bytes(64 * 1024)
SETTINGS = Settings(session_idle_timeout=3_600.0)


async def add(a: int, b: int) -> int:
    """Adds two integers."""
    return a + b


async def chunks(number: int) -> AsyncIterator[bytes]:
    """Yields chunks of 64 KiB."""
    for _ in range(number):
        yield CHUNK


async def until_the_end() -> None:
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def hub() -> None:
    async with BridgeServer(tools=[add, chunks], settings=SETTINGS) as server:
        print(json.dumps(server.address), flush=True)
        await until_the_end()


async def worker(address: str) -> None:
    tools = [tool(name="py_add")(add), tool(name="py_chunks")(chunks)]
    async with ToolWorker(address, tools=tools):
        print(json.dumps(address), flush=True)
        await until_the_end()


async def client(address: str) -> None:
    async with GRPCToolBridge(address) as bridge:
        await bridge.initialize()
        print(json.dumps(address), flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            request = json.loads(line)
            print(json.dumps(await measured(bridge, request)), flush=True)


async def measured(bridge: GRPCToolBridge, request: dict[str, Any]) -> float:
    if "stream" in request:
        number = request["number"]
        start = time.perf_counter()
        size = 0
        async for chunk in bridge.client.stream_tool(request["stream"], number=number):
            size += len(chunk)
        assert size == number * len(CHUNK)
        return size / 1e6 / (time.perf_counter() - start)
    number, width = request["number"], request["width"]
    if "bare" in request:
        async with BareClient(request["bare"]) as bare:
            return await rate(bare.add, number, width)
    return await rate(bridge.client.tool(request["tool"]), number, width)


async def rate(way: Callable[[int, int], Any], number: int, width: int) -> float:
    return number / await at_once(itertools.repeat(way), pairs(), number, width=width)


MAIN: dict[str, Callable[..., Any]] = {"hub": hub, "worker": worker, "client": client}
asyncio.run(MAIN[sys.argv[1]](*sys.argv[2:]))
