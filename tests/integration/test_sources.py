"""Sources of tools at a worker, while its hub comes and goes."""

import asyncio
from collections.abc import Sequence
from typing import Any

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolWorker
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.external import external_tool
from grpc_tool_bridge.tools.sources import Offer
from grpc_tool_bridge.tools.tool import Tool
from support.waiting import soon, until


async def run(given: dict[str, Any], context: ToolContext) -> str:
    return context.tool_name


def named(*names: str) -> list[Tool]:
    return [external_tool(name, "", run, input_schema={}) for name in names]


class Source:
    """Offers what it is told to."""

    offer: Offer

    def __init__(self, tools: Sequence[Tool]) -> None:
        self.tools = tools

    async def start(self, offer: Offer) -> None:
        self.offer = offer
        assert await offer.replace(self.tools) == []

    async def aclose(self) -> None:
        """Has nothing to end."""


async def test_what_changes_while_the_hub_is_away_is_there_when_it_is_back(unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    source = Source(named("old", "stays"))
    hub = BridgeServer(address)
    await hub.start()
    async with ToolWorker(address, tools=named("own"), sources=[source]):
        await hub.stop(0)
        changing = asyncio.ensure_future(source.offer.replace([source.tools[1], *named("new")]))
        async with BridgeServer(address), GRPCToolBridge(address) as bridge:
            await bridge.initialize()
            assert await soon(changing) == []
            await until(lambda: sorted(bridge.tools) == ["new", "own", "stays"], "for the tools")
            assert await soon(bridge.tools["new"]()) == "new"
            await source.offer.replace(named("own", "last"))
            await until(lambda: sorted(bridge.tools) == ["last", "own"], "for the change")


async def test_what_a_source_offers_is_gone_with_its_server() -> None:
    source = Source(named("a", "b"))
    async with BridgeServer(sources=[source]) as hub, GRPCToolBridge(hub.address) as bridge:
        await bridge.initialize()
        calls = [bridge.tools["a"]() for _ in range(20)]
        await source.offer.replace([])
        results = await soon(asyncio.gather(*calls, return_exceptions=True))
        assert all(result == "a" or getattr(result, "error_type", "") == "ToolNotFound" for result in results)
        await until(lambda: not bridge.tools, "for the tools to be gone")
