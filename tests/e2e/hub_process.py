"""A hub as a process of its own: prints its address, serves until it is terminated."""

import asyncio
import pkgutil
import signal
import sys
from collections.abc import AsyncIterator

from simpleeval import simple_eval

from grpc_tool_bridge import BridgeServer


def search_web(query: str) -> list[dict[str, str]]:
    """Finds the modules of the standard library's packages that have a word of the query in their name, or all."""
    names = [module.name for module in pkgutil.iter_modules(asyncio.__path__)]
    words = query.lower().split()
    hits = [name for name in names if any(word in name for word in words)]
    return [{"title": name, "query": query} for name in hits or names]


def calculate(expression: str) -> float:
    """Calculates an arithmetic expression."""
    result: float = simple_eval(expression)
    return result


async def endless() -> AsyncIterator[int]:
    """Counts until nobody reads any more."""
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(0)


async def serve() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with BridgeServer(tools=[search_web, calculate, endless]) as server:
        sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve())
