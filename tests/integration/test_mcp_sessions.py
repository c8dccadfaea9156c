"""The sessions of the bridge that MCP clients use."""

import asyncio
from typing import Any

import pytest

from grpc_tool_bridge import BridgeServer, Settings, ToolContext
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.gateway.mcp.connections import CONNECTION_BYTES
from grpc_tool_bridge.gateway.mcp.sessions import SessionClients
from integration.mcp_clients import NEW, OLD, RawClient, answer_of, sdk_client
from support.waiting import soon, until


async def where(ctx: ToolContext) -> str:
    """Says where it runs."""
    return ctx.session_id


async def remember(value: str, ctx: ToolContext) -> str:
    """Remembers a value, and returns the one before."""
    before = await ctx.get_variable("value", "")
    await ctx.set_variable("value", value)
    return str(before)


def _server(**settings: Any) -> BridgeServer:
    return BridgeServer(tools=[where, remember], http_address="127.0.0.1:0", settings=Settings(**settings))


def _sessions(server: BridgeServer) -> set[str]:
    return {session.id for session in server.hub.store.from_oldest()}


def _endpoint(server: BridgeServer) -> Any:
    return server._http._gateway._mcp._endpoint


async def _remove(server: BridgeServer, session_id: str) -> None:
    await server.hub.store.cleanup_session(session_id)


async def test_a_client_of_the_old_protocol_has_a_session_that_ends_with_it() -> None:
    async with _server() as server:
        async with sdk_client(server, OLD) as client, sdk_client(server, OLD) as other:
            mine = (await soon(client.call_tool("where"))).content[0].text
            assert mine != (await soon(other.call_tool("where"))).content[0].text
            assert mine in _sessions(server)
        await until(lambda: not _sessions(server))


async def test_clients_share_the_session_that_their_addresses_name() -> None:
    async with _server() as server:
        async with (
            sdk_client(server, OLD, "?session=team") as client,
            sdk_client(server, NEW, "?session=team") as other,
        ):
            await soon(client.call_tool("remember", {"value": "a"}))
            assert (await soon(other.call_tool("remember", {"value": "b"}))).content[0].text == "a"
        # It is nobody's own.
        assert _sessions(server) == {"team"}


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_a_name_that_no_session_can_have_is_a_clear_error(version: str) -> None:
    async with _server() as server, RawClient(server, "?session=" + "x" * 300) as client:
        if version == OLD:
            await client.connect()
        for method, params in (("tools/list", {}), ("tools/call", {"name": "where"})):
            ask = client.old if version == OLD else client.new
            error = answer_of(await soon(ask(method, params)))["error"]
            assert error["code"] == -32602
            assert "session" in error["message"]
            assert error["data"]["type"] == "ValidationError"


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_a_session_that_was_removed_is_opened_again(version: str) -> None:
    async with _server() as server, RawClient(server) as client:
        await client.connect()
        call = client.call_old if version == OLD else client.call_new
        name = (await soon(call("where")))["content"][0]["text"]
        for _ in range(2):
            await _remove(server, name)
            assert (await soon(call("where")))["content"][0]["text"] == name
        await _remove(server, name)
        listed = answer_of(await soon((client.old if version == OLD else client.new)("tools/list")))
        assert len(listed["result"]["tools"]) == 2


@pytest.mark.parametrize("version", [OLD, NEW])
async def test_a_call_finds_out_by_itself_that_its_session_is_gone(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def looks_away(*_: object) -> None: ...

    monkeypatch.setattr(SessionClients, "_check", looks_away)
    async with _server() as server, RawClient(server) as client:
        await client.connect()
        call = client.call_old if version == OLD else client.call_new
        name = (await soon(call("where")))["content"][0]["text"]
        await _remove(server, name)
        assert (await soon(call("where")))["content"][0]["text"] == name


async def test_first_requests_at_the_same_time_open_a_session_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _server() as server, RawClient(server, "?session=many") as client:
        opened = 0
        create = server.hub.store.create_session

        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal opened
            opened += 1
            await asyncio.sleep(0)
            return await create(*args, **kwargs)

        monkeypatch.setattr(server.hub.store, "create_session", counted)
        results = await soon(asyncio.gather(*(client.call_new("where") for _ in range(10))))
        assert {result["content"][0]["text"] for result in results} == {"many"}
        assert opened == 1


async def test_a_failed_opening_is_tried_again_by_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _server() as server, RawClient(server, "?session=s") as client:
        create = server.hub.store.create_session

        async def fails(*_: Any, **__: Any) -> Any:
            raise UnavailableError("not now")

        monkeypatch.setattr(server.hub.store, "create_session", fails)
        error = answer_of(await soon(client.new("tools/call", {"name": "where"})))["error"]
        assert "not now" in error["message"]
        assert error["data"]["retryable"]
        monkeypatch.setattr(server.hub.store, "create_session", create)
        assert (await soon(client.call_new("where")))["content"][0]["text"] == "s"


async def test_a_session_that_nobody_uses_is_closed_and_one_in_use_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    check = SessionClients._check

    async def noted(self: SessionClients, session: Any) -> None:
        await check(self, session)
        checked.append(session.key.session_id)

    monkeypatch.setattr(SessionClients, "_check", noted)
    async with _server(session_idle_timeout=0.3) as server, RawClient(server) as client:
        await soon(client.call_new("where"))
        assert "mcp" in _sessions(server)
        await until(lambda: "mcp" not in _sessions(server))
        await until(lambda: not _endpoint(server)._sessions._open)
        # A client that listens uses its session.
        await client.connect()
        async with client.stream() as frames:
            (own,) = _sessions(server)
            # Three times as long as an idle one lasts.
            await until(lambda: checked.count(own) >= 9)
            assert _sessions(server) == {own}
            assert frames.response.status_code == 200
        await until(lambda: not _sessions(server))


async def test_sessions_are_bounded_and_idle_ones_make_room() -> None:
    async with _server(max_sessions=2) as server, RawClient(server) as client:
        for name in ("a", "b", "c"):
            client.url = f"http://{server.http_address}/mcp?session={name}"
            answer = answer_of(await soon(client.new("tools/call", {"name": "where"})))
            if name == "c":
                # Room here, but the hub still has both.
                assert answer["error"]["data"]["type"] == "ResourceExhausted"
            else:
                assert answer["result"]["content"][0]["text"] == name
        assert len(_endpoint(server)._sessions._open) == 1


async def test_connections_are_bounded() -> None:
    async with _server(max_sessions=1) as server, RawClient(server) as client, RawClient(server) as other:
        await client.connect()
        params = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        refused = await soon(other.old("initialize", params))
        assert refused.status_code == 503
        await client.leave()
        await other.connect()


async def test_what_clients_hold_is_charged_and_given_back() -> None:
    async with _server() as server, RawClient(server) as client:
        before = server.hub.memory.used
        await client.connect()
        await soon(client.call_old("where"))
        assert server.hub.memory.used > before + 64 * 1024
        await client.leave()
        await until(lambda: server.hub.memory.used == before)


async def test_the_header_of_the_old_protocol_means_nothing_in_the_new_one() -> None:
    async with _server() as server, RawClient(server) as client:
        client.http.headers["mcp-session-id"] = "made-up"
        assert (await soon(client.call_new("where")))["content"][0]["text"] == "mcp"


async def test_a_handshake_that_fails_leaves_no_session() -> None:
    async with _server() as server, RawClient(server) as raw:
        for method, params in (("ping", None), ("initialize", {}), ("initialize", {"protocolVersion": 1})):
            assert "error" in answer_of(await soon(raw.old(method, params)))
        await until(lambda: not _endpoint(server)._manager._server_instances)
        await soon(raw.connect())
        assert len(_endpoint(server)._manager._server_instances) == 1
        assert "result" in answer_of(await soon(raw.old("ping")))


async def test_a_handshake_that_is_repeated_is_charged_once() -> None:
    async with _server() as server, RawClient(server) as raw:
        await soon(raw.connect())
        opened = dict(_endpoint(server)._connections._open)
        before = server.hub.memory.used
        for _ in range(3):
            params = {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
            await soon(raw.old("initialize", params))
        assert _endpoint(server)._connections._open == opened
        # Events of the answers are kept.
        assert server.hub.memory.used - before < CONNECTION_BYTES
