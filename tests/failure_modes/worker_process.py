"""A worker as a process of its own: says when it serves, and drains when it is terminated.

Its arguments: the hub's address, and what the worker calls itself.
"""

import asyncio
import ctypes
import signal
import sys
from pathlib import Path

from grpc_tool_bridge import Settings, ToolContext, ToolWorker, tool

ADDRESS, NAME = sys.argv[1:]


@tool(idempotent=True)
async def look_up(number: int, ctx: ToolContext) -> str:
    """Tells the hub that it runs, and waits until it may go on; may be repeated."""
    await ctx.call_tool("enter", NAME, number)
    return NAME


@tool
async def charge(number: int, ctx: ToolContext) -> str:
    """Does as ``look_up``, but must not be repeated."""
    await ctx.call_tool("enter", NAME, number)
    return NAME


@tool
async def name() -> str:
    """Tells who runs it."""
    return NAME


@tool
async def hold_the_gil(until: str) -> str:
    """Lets nothing else of its process run until there is such a file."""
    microseconds = ctypes.PyDLL(None).usleep
    while not Path(until).exists():  # noqa: ASYNC240 - it is to block
        microseconds(20_000)
    return NAME


async def serve() -> None:
    worker = ToolWorker(
        ADDRESS,
        tools=[look_up, charge, name, hold_the_gil],
        worker_id=NAME,
        settings=Settings(shutdown_grace=60),
    )
    await worker.start()
    draining: list[asyncio.Task[bool]] = []
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: draining.append(asyncio.create_task(worker.drain()))
    )
    sys.stdout.write("serves\n")
    sys.stdout.flush()
    await worker.run()
    await asyncio.gather(*draining)


if __name__ == "__main__":
    asyncio.run(serve())
