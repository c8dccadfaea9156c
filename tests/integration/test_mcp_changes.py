"""MCP clients are told when their tools have changed."""

import asyncio
from typing import Any

import pytest
from mcp.client.subscriptions import listen
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.subscriptions import ToolsListChanged

from grpc_tool_bridge import BridgeServer, ToolWorker, tool
from integration.mcp_clients import NEW, Frames, RawClient, answer_of, new_request, sdk_client
from support.waiting import soon

CHANGED = "notifications/tools/list_changed"


@tool
async def first() -> str:
    """The first."""
    return "1"


@tool
async def second() -> str:
    """The second."""
    return "2"


def _server() -> BridgeServer:
    return BridgeServer("127.0.0.1:0", tools=[first], http_address="127.0.0.1:0")


async def test_capabilities_say_that_changes_are_told() -> None:
    async with _server() as server, RawClient(server) as client:
        old = answer_of(await client.connect())["result"]["capabilities"]
        new = answer_of(await soon(client.new("server/discover")))["result"]["capabilities"]
        for capabilities in (old, new):
            assert capabilities["tools"] == {"listChanged": True}
            assert "prompts" not in capabilities


async def test_a_client_of_the_old_protocol_is_told_on_its_own_stream() -> None:
    async with _server() as server, RawClient(server) as client:
        await client.connect()
        async with client.stream() as frames:
            async with ToolWorker(server.address, tools=[second]):
                assert (await soon(frames.message()))["method"] == CHANGED
                listed = answer_of(await soon(client.old("tools/list")))["result"]["tools"]
                assert [item["name"] for item in listed] == ["first", "second"]
            assert (await soon(frames.message()))["method"] == CHANGED


async def test_a_client_of_the_new_protocol_is_told_what_it_asked_for() -> None:
    async with _server() as server, RawClient(server) as client:
        headers, body = new_request("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        async with client.http.stream("POST", client.url, headers=headers, json=body) as response:
            frames = Frames(response)
            assert (await soon(frames.message()))["method"] == "notifications/subscriptions/acknowledged"
            server.hub.registry.register_batch("", [second])
            told = await soon(frames.message())
            assert told["method"] == CHANGED
            assert told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == body["id"]


async def test_the_client_of_the_sdk_is_told() -> None:
    async with (
        _server() as server,
        sdk_client(server, NEW) as client,
        listen(client.session, tools_list_changed=True) as events,
    ):
        server.hub.registry.register_batch("", [second])
        assert await soon(anext(aiter(events))) == ToolsListChanged()


async def test_many_changes_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    published = 0
    publish = InMemorySubscriptionBus.publish

    async def counted(bus: InMemorySubscriptionBus, event: Any) -> None:
        nonlocal published
        published += 1
        await publish(bus, event)

    monkeypatch.setattr(InMemorySubscriptionBus, "publish", counted)
    async with _server() as server, RawClient(server) as client:
        await client.connect()
        async with client.stream() as frames:
            await soon(client.old("tools/list"))
            for number in range(200):
                server.hub.registry.register_batch("", [tool(name=f"t{number}")(_anything)])
                await asyncio.sleep(0)
            assert (await soon(frames.message()))["method"] == CHANGED
            assert (await soon(frames.message()))["method"] == CHANGED
            listed = answer_of(await soon(client.old("tools/list")))["result"]["tools"]
            assert len(listed) == 203  # with the search
            assert published < 20


async def _anything() -> str:
    return "x"


async def test_changes_are_told_after_the_session_was_removed() -> None:
    async with _server() as server, RawClient(server) as client:
        await client.connect()
        async with client.stream() as frames:
            await soon(client.old("tools/list"))
            (own,) = [session.id for session in server.hub.store.from_oldest()]
            await server.hub.store.cleanup_session(own)
            # It may have had tools of its own.
            assert (await soon(frames.message()))["method"] == CHANGED
            server.hub.registry.register_batch("", [second])
            assert (await soon(frames.message()))["method"] == CHANGED


async def test_streams_of_changes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_tool_bridge.gateway.mcp.changes.MAX_STREAMS", 0)
    async with _server() as server, RawClient(server) as client:
        answer: Any = answer_of(await soon(client.new("subscriptions/listen", {"notifications": {}})))
        assert "limit" in answer["error"]["message"]
