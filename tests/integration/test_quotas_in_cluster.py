"""What quotas count of calls that go from one hub to another."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from grpc_tool_bridge import BridgeServer, tool
from grpc_tool_bridge.auth.quotas.quotas import Quotas
from grpc_tool_bridge.auth.quotas.rules import QuotaRule
from grpc_tool_bridge.errors import ToolBridgeError
from support.callers import bridge, hub, worker
from support.nats_nodes import one_node
from support.waiting import soon, until


@tool
async def add(a: int, b: int) -> int:
    return a + b


@tool
async def add_at_worker(a: int, b: int) -> int:
    return a + b


@pytest.fixture
async def two() -> AsyncIterator[tuple[BridgeServer, BridgeServer]]:
    """Two hubs of a cluster, each with a quota of three calls a minute; only the second one runs tools."""
    with one_node() as node:
        url = f"{node.url}/t{secrets.token_hex(4)}"
        async with AsyncExitStack() as stack:
            servers = []
            for name, tools in (("a", []), ("b", [add])):
                settings = {"hub_name": name, "shutdown_grace": 0}
                server = await stack.enter_async_context(hub(tools, settings=settings, store=url))
                server.hub.admission.payers.quotas = Quotas([QuotaRule(("*",), calls_per_minute=3)], 10)
                servers.append(server)
            yield servers[0], servers[1]


@pytest.mark.parametrize("name", ["add", "add_at_worker"])
async def test_a_call_that_runs_at_another_hub_is_counted_by_the_hub_of_its_session_alone(
    two: tuple[BridgeServer, BridgeServer], name: str
) -> None:
    a, b = two
    async with worker(b, add_at_worker), bridge(a, "ada") as client, bridge(b, "ada") as other:
        await client.initialize()
        await until(lambda: {"add", "add_at_worker"} <= client.tools.keys(), "for the tools of the other hub")
        for _ in range(3):
            assert await soon(client.call_tool(name, 1, 2)) == 3
        with pytest.raises(ToolBridgeError, match="3 calls a minute") as refused:
            await soon(client.call_tool(name, 1, 2))
        assert refused.value.error_type == "RateLimitExceeded"
        # The hub that ran them has counted none.
        await other.initialize()
        for _ in range(3):
            assert await soon(other.call_tool("add", 1, 2)) == 3
