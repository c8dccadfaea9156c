"""A hub as a process of its own: prints its addresses, over gRPC and HTTP, and serves until its input ends.

Its argument is JSON: ``{"tools": ["module:attr", …], "settings": {…}}``; an attribute is a tool or a list of tools.
"""

import asyncio
import importlib
import json
import sys
from typing import Any

from grpc_tool_bridge import BridgeServer, Settings


def add(a: int, b: int = 0) -> int:
    """What other clients call while the hub is attacked."""
    return a + b


def _loaded(source: str) -> list[Any]:
    module, _, name = source.partition(":")
    found = getattr(importlib.import_module(module), name)
    return list(found) if isinstance(found, list) else [found]


async def serve(tools: list[str], settings: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    found = [tool for source in tools for tool in _loaded(source)]
    limits = Settings.model_validate(settings)
    async with BridgeServer(tools=[add, *found], http_address="127.0.0.1:0", settings=limits) as server:
        sys.stdout.write(f"{server.address} {server.http_address}\n")
        sys.stdout.flush()
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(**json.loads(sys.argv[1])))
