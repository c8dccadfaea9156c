"""A hub for the tests of the Elixir SDK: Python tools, and agents whose model answers from a script."""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator

from grpc_tool_bridge import BridgeServer, ToolContext, tool


async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


def echo(value: object) -> object:
    """Returns its argument."""
    return value


@tool(idempotent=True)
async def count(n: int) -> AsyncIterator[int]:
    """Counts from 0."""
    for number in range(n):
        yield number


async def fails(message: str) -> None:
    """Raises."""
    raise LookupError(message)


async def hang(context: ToolContext) -> None:
    """Waits until it is cancelled; tells so in a variable."""
    await context.set_variable("hanging", True)
    try:
        await asyncio.Event().wait()
    finally:
        HUNG.append(context.session_id)


async def hung() -> int:
    """How many calls of ``hang`` were cancelled."""
    return len(HUNG)


HUNG: list[str] = []


async def fetch(context: ToolContext) -> dict[str, str]:
    """Returns the metadata of its call."""
    return dict(context.metadata)


async def chunks(size: int, n: int) -> AsyncIterator[bytes]:
    """Yields n chunks of bytes."""
    chunk = bytes(size)
    for _ in range(n):
        yield chunk


async def ask_name(message: str, context: ToolContext) -> object:
    """Returns the name that its caller answers."""
    answer = await context.ask(message, {"type": "object", "properties": {"name": {"type": "string"}}})
    return answer.content["name"]


TOOLS = [add, echo, count, fails, hang, hung, fetch, chunks, ask_name]


async def serve(address: str, *, agents: bool, offers: bool) -> None:
    """Serves until SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runtime = None
    if agents:
        # DSPy takes seconds to import.
        from grpc_tool_bridge.testing import ScriptedLM  # noqa: PLC0415

        runtime = {"lm": ScriptedLM()}
    async with BridgeServer(address=address, tools=TOOLS if offers else (), agents=runtime) as server:
        sys.stdout.write(json.dumps({"address": server.address, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", default="127.0.0.1:0")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--agents", action="store_true")
    parser.add_argument("--no-tools", action="store_true")
    parser.add_argument("--stubborn", action="store_true", help="ignore SIGTERM")
    options = parser.parse_args()
    if options.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.stdout.write(json.dumps({"address": "127.0.0.1:1", "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        while True:
            time.sleep(3600)
    asyncio.run(serve(options.address, agents=options.agents, offers=not options.no_tools))


if __name__ == "__main__":
    main()
