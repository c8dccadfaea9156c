"""Variables as resources of MCP clients, over real HTTP, in both generations of the protocol."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    BlobResourceContents,
    ResourceListChangedNotification,
    ResourceUpdatedNotification,
    TextResourceContents,
)

from grpc_tool_bridge import BridgeServer, GRPCToolBridge
from grpc_tool_bridge.client.variables import SessionContext
from grpc_tool_bridge.gateway.mcp import resources
from grpc_tool_bridge.tools.media import Resource, media_dict
from integration.mcp_clients import NEW, OLD, mcp_client, without_deprecations
from support.waiting import soon, until

SESSION = "?session=work"
LISTED = "list"


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    async with BridgeServer(http_address="127.0.0.1:0") as server:
        yield server


@pytest.fixture
async def variables(server: BridgeServer) -> AsyncIterator[SessionContext]:
    """The variables of the session ``work``, as a program beside the client sees them."""
    async with GRPCToolBridge(server.address) as bridge:
        await bridge.initialize("work")
        yield bridge.session_context


@pytest.fixture(params=[OLD, NEW])
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def uris(client: Client) -> list[str]:
    return [entry.uri for entry in (await soon(client.list_resources())).resources]


async def test_variables_are_listed_and_read(server: BridgeServer, variables: SessionContext, version: str) -> None:
    await variables.set_variable("b/c d", {"x": [1, 2]})
    await variables.set_variable("a", "héllo")
    await variables.set_variable("data", b"\0\xff")
    await variables.set_variable("hidden", "s3cret", {"secret": True})
    document = media_dict(Resource("docs://guide", "# Guide", "text/markdown"))
    await variables.set_variable("docs://guide", document, {"tags": {"title": "The guide", "description": "All of it"}})
    async with mcp_client(server, version, SESSION) as client:
        listed = (await soon(client.list_resources())).resources
        assert [(r.uri, r.name, r.title, r.description, r.mime_type, r.size) for r in listed] == [
            ("variable:///a", "a", None, None, "text/plain", 6),
            ("variable:///b%2Fc%20d", "b/c d", None, None, None, None),
            ("variable:///data", "data", None, None, "application/octet-stream", 2),
            ("docs://guide", "docs://guide", "The guide", "All of it", None, None),
        ]
        contents = [(await soon(client.read_resource(entry.uri))).contents for entry in listed]
        assert contents == [
            [TextResourceContents(uri="variable:///a", text="héllo", mime_type="text/plain")],
            [TextResourceContents(uri="variable:///b%2Fc%20d", text='{"x":[1,2]}', mime_type="application/json")],
            [BlobResourceContents(uri="variable:///data", blob="AP8=", mime_type="application/octet-stream")],
            [TextResourceContents(uri="docs://guide", text="# Guide", mime_type="text/markdown")],
        ]
        (template,) = (await soon(client.list_resource_templates())).resource_templates
        assert template.uri_template == "variable:///{name}"


@pytest.mark.parametrize("uri", ["variable:///missing", "variable:///hidden", "test://nonexistent", "no uri"])
async def test_what_is_not_there_or_secret_is_not_found(
    server: BridgeServer, variables: SessionContext, version: str, uri: str
) -> None:
    await variables.set_variable("hidden", "s3cret", {"secret": True})
    async with mcp_client(server, version, SESSION) as client:
        with pytest.raises(MCPError, match="there is no resource") as caught:
            await soon(client.read_resource(uri))
    assert caught.value.error.code == (INVALID_PARAMS if version == NEW else -32002)
    assert caught.value.error.data == {"uri": uri}


async def test_long_lists_come_in_pages(
    server: BridgeServer, variables: SessionContext, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "PAGE_RESOURCES", 3)
    names = ["a", "a1", "a10", "a2", "b", "ä", "ab"]
    for name in names:
        await variables.set_variable(name, 1)
    async with mcp_client(server, version, SESSION) as client:
        found: list[str] = []
        page = await soon(client.list_resources())
        found += [entry.name for entry in page.resources]
        # What comes and goes meanwhile does not move the others.
        await variables.set_variable("a0", 1)
        await variables.delete_variable("a10")
        while page.next_cursor is not None:
            assert len(page.resources) == 3
            page = await soon(client.list_resources(cursor=page.next_cursor))
            found += [entry.name for entry in page.resources]
        assert found == sorted(names)
        with pytest.raises(MCPError, match="the cursor 'a' is not one that a page has named") as caught:
            await soon(client.list_resources(cursor="a"))
        assert caught.value.error.code == INVALID_PARAMS


class Told:
    """The changes that a client is told."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            self.waiting.put_nowait(message.params.uri)
        elif isinstance(message, ResourceListChangedNotification):
            self.waiting.put_nowait(LISTED)

    async def these(self, *expected: str) -> None:
        assert {await soon(self.waiting.get()) for _ in expected} == set(expected)


async def test_a_client_of_the_old_protocol_is_told_of_what_it_has_subscribed_to(
    server: BridgeServer, variables: SessionContext
) -> None:
    await variables.set_variable("note", 1)
    await variables.set_variable("other", 1)
    told = Told()
    async with mcp_client(server, OLD, SESSION, message_handler=told) as client, without_deprecations():
        assert client.server_capabilities.resources is not None
        assert client.server_capabilities.resources.subscribe
        assert client.server_capabilities.resources.list_changed
        for uri in ("variable:///note", "docs://later", "test://unknown", "variable:///note"):
            await soon(client.session.subscribe_resource(uri))
        await variables.set_variable("other", 2)
        await variables.set_variable("note", 2)
        await told.these("variable:///note")
        await variables.set_variable("docs://later", 1)
        await told.these("docs://later", LISTED)
        await variables.delete_variable("note")
        await told.these("variable:///note", LISTED)
        await soon(client.session.unsubscribe_resource("variable:///note"))
        await soon(client.session.unsubscribe_resource("variable:///note"))
        await variables.set_variable("note", 3)
        await told.these(LISTED)
        await variables.set_variable("docs://later", 2)
        await told.these("docs://later")


async def test_a_client_of_the_old_protocol_that_has_listed_is_told_of_the_list(
    server: BridgeServer, variables: SessionContext
) -> None:
    told = Told()
    async with mcp_client(server, OLD, SESSION, message_handler=told) as client:
        assert await uris(client) == []
        await variables.set_variable("new", 1)
        await told.these(LISTED)
        assert await uris(client) == ["variable:///new"]


async def test_a_client_of_the_new_protocol_is_told_of_what_it_listens_to(
    server: BridgeServer, variables: SessionContext
) -> None:
    await variables.set_variable("note", 1)
    async with mcp_client(server, NEW, SESSION) as client:
        wanted = ["variable:///note", "docs://later"]
        async with (
            client.listen(resource_subscriptions=wanted) as updates,
            client.listen(resources_list_changed=True) as lists,
        ):
            of_updates, of_lists = aiter(updates), aiter(lists)
            await variables.set_variable("note", 2)
            assert (await soon(anext(of_updates))).uri == "variable:///note"
            await variables.set_variable("docs://later", 1)
            assert (await soon(anext(of_updates))).uri == "docs://later"
            assert type(await soon(anext(of_lists))).__name__ == "ResourcesListChanged"


@pytest.mark.parametrize("listens", [True, False])
async def test_a_client_may_subscribe_to_so_many(
    server: BridgeServer, variables: SessionContext, monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    monkeypatch.setattr(resources, "MAX_SUBSCRIPTIONS", 2)
    many = [f"variable:///{number}" for number in range(4)]

    async def subscribe(client: Client) -> None:
        if listens:
            async with client.listen(resource_subscriptions=many):
                return
        for uri in many:
            await soon(client.session.subscribe_resource(uri))

    async with mcp_client(server, NEW if listens else OLD, SESSION) as client, without_deprecations():
        with pytest.raises(MCPError, match="may subscribe to 2 resources"):
            await subscribe(client)


async def test_each_client_sees_the_variables_of_its_own_session(server: BridgeServer) -> None:
    async with mcp_client(server, OLD) as one, mcp_client(server, NEW, "?session=other") as other:
        assert await uris(one) == await uris(other) == []
        async with GRPCToolBridge(server.address) as bridge:
            await bridge.initialize("other")
            await bridge.session_context.set_variable("note", [1])
            assert await uris(one) == []
            assert await uris(other) == ["variable:///note"]
            (contents,) = (await soon(other.read_resource("variable:///note"))).contents
            assert isinstance(contents, TextResourceContents)
            assert json.loads(contents.text) == [1]


async def test_a_watch_ends_with_the_client(server: BridgeServer, variables: SessionContext) -> None:
    def watches() -> int:
        return server.hub.store.find("work").watches

    before = watches()
    async with mcp_client(server, OLD, SESSION) as client, without_deprecations():
        await soon(client.session.subscribe_resource("variable:///note"))
        await until(lambda: watches() > before)
    await until(lambda: watches() <= before)
