"""What the client in tests/peers/mcp/client.mjs calls, and a hub that offers it.

Run as a program, this prints the addresses of the hub as JSON, and serves until it is terminated.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from grpc_tool_bridge import BridgeServer, Settings, ToolContext, ToolWorker, tool
from grpc_tool_bridge.tools.media import Image

# A tool whose worker leaves is gone at once.
SETTINGS = Settings(worker_grace_period=0)
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(32))


@dataclass
class Measurement:
    """What was measured."""

    name: str
    size: float
    tags: list[str]


@tool(idempotent=True)
async def add(a: int, b: int = 0) -> int:
    """Adds two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


async def measure(name: str) -> Measurement:
    """Measures something."""
    return Measurement(name, 2.5, ["long", "thin"])


async def picture() -> Image:
    """Draws something."""
    return Image(PICTURE)


async def count(to: int) -> AsyncIterator[int]:
    """Counts."""
    for number in range(to):
        yield number


async def fail() -> str:
    """Fails."""
    raise LookupError("there is no such thing")


async def confirm(what: str, ctx: ToolContext) -> str:
    """Asks first."""
    sizes = [{"const": "s", "title": "Small"}, {"const": "l", "title": "Large"}]
    fields = {"sure": {"type": "boolean"}, "size": {"type": "string", "oneOf": sizes}}
    answer = await ctx.ask(f"Do {what}?", {"type": "object", "properties": fields, "required": ["sure"]})
    return f"{answer.action} {json.dumps(answer.content, sort_keys=True)}"


async def remember(name: str, value: str, ctx: ToolContext) -> None:
    """Sets a variable of the session."""
    await ctx.set_variable(name, value)


class Pairs:
    """Tools of which one waits for another.

    Args:
        address: Returns the hub's address.
    """

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address
        self._heard, self._cancelled, self._finishing = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._growth = AsyncExitStack()

    async def work(self, steps: int, ctx: ToolContext) -> str:
        """Works, and tells about it, until the client has heard of it."""
        self._heard.clear()
        for done in range(1, steps + 1):
            ctx.progress(done, steps, f"step {done}")
            ctx.log(f"did step {done}", level="warning" if done == steps else "info", step=done)
        await self._heard.wait()
        return "worked"

    async def was_heard(self) -> None:
        """Says that the client has heard what the other tool told."""
        self._heard.set()

    async def wait(self, ctx: ToolContext) -> str:
        """Waits until it is cancelled."""
        ctx.progress(0)
        try:
            return str(await asyncio.Event().wait())
        except asyncio.CancelledError:
            self._cancelled.set()
            raise

    async def was_cancelled(self) -> bool:
        """Waits until the other tool was cancelled."""
        await self._cancelled.wait()
        self._cancelled.clear()
        return True

    async def finish_later(self, ctx: ToolContext) -> str:
        """Waits for the other tool."""
        ctx.progress(0)
        await self._finishing.wait()
        return "finished"

    async def let_finish(self) -> None:
        """Lets the other tool finish."""
        self._finishing.set()

    async def grow(self) -> None:
        """Offers another tool."""
        await self._growth.enter_async_context(ToolWorker(self._address(), tools=[grown]))

    async def shrink(self) -> None:
        """Takes it away."""
        await self._growth.aclose()


async def grown() -> str:
    """Is there sometimes."""
    return "grown"


def all_tools(address: Callable[[], str]) -> list[Any]:
    """Returns all tools of a hub at an address."""
    pairs = Pairs(address)
    own = [pairs.work, pairs.was_heard, pairs.wait, pairs.was_cancelled, pairs.finish_later, pairs.let_finish]
    return [add, measure, picture, count, fail, confirm, remember, *own, pairs.grow, pairs.shrink]


async def serve() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = BridgeServer(tools=all_tools(lambda: server.address), http_address="127.0.0.1:0", settings=SETTINGS)
    async with server:
        sys.stdout.write(json.dumps({"address": server.address, "http_address": server.http_address}) + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve())
