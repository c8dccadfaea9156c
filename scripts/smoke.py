"""Calls a tool through a hub: what ``scripts/check_wheel.sh`` runs with the package that was built."""

import asyncio

from grpc_tool_bridge import BridgeServer, GRPCToolBridge


async def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def main() -> None:
    """Prints the answer of the tool."""
    async with BridgeServer(tools=[add]) as server, GRPCToolBridge(server.address) as bridge:
        tools = await bridge.initialize()
        print(await tools["add"](1, 2))


asyncio.run(main())
