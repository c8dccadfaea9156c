"""Sessions that belong to who made them: sharing, workers, agents of MCP, and what a durable store keeps of it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from grpc_tool_bridge import AccessError, BridgeServer, GRPCToolBridge, ToolBridgeError, ToolContext, ToolWorker, tool
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.errors import NotFoundError, SessionNotFoundError, ToolExecutionError, ValidationError
from support.waiting import soon, until
from trust.hubs import server_with, told_apart

POLICY = """
[[rules]]
name = "everybody"
allow = ["open", "read", "write", "call"]
principals = ["*"]
resources = ["*"]

[[rules]]
name = "workers"
allow = ["register"]
groups = ["workers"]
resources = ["work.*"]
"""
GROUPS: dict[str, set[str]] = {
    "ana": set(), "bob": set(), "eve": {"team"}, "one": {"workers"}, "two": {"workers"},
}  # fmt: skip


@tool
async def add(a: int, b: int) -> int:
    return a + b


@tool(name="work.store")
async def store_it(ctx: ToolContext, name: str) -> Any:
    await ctx.set_variable(name, ctx.principal.name if ctx.principal is not None else None)
    return await ctx.get_variable(name)


@tool(name="other.tool")
async def other() -> int:
    return 1


@tool(name="work.else")
async def another() -> int:
    return 1


@pytest.fixture
def principals(monkeypatch: pytest.MonkeyPatch) -> Any:
    return told_apart(monkeypatch, GROUPS)


async def test_a_shared_session_is_used_as_far_as_it_is_shared(principals: Any, tmp_path: Path) -> None:
    async with (
        server_with(POLICY, tmp_path / "policy.toml", [add]) as server,
        GRPCToolBridge(server.address, token="ana") as ana,
        GRPCToolBridge(server.address, token="bob") as bob,
        GRPCToolBridge(server.address, token="eve") as eve,
    ):
        await ana.initialize("ours")
        await ana.session_context.set_variable("plan", 1)
        with pytest.raises(AccessError, match="another principal's"):
            await bob.initialize("ours")
        await ana.share_session("bob", rights=["read"])
        await ana.share_session("team", is_group=True)
        await bob.initialize("ours")
        assert not bob.tools
        assert await bob.session_context.get_variable("plan") == 1
        with pytest.raises(AccessError, match="may not write"):
            await bob.session_context.set_variable("plan", 2)
        with pytest.raises(AccessError, match="only who owns"):
            await bob.share_session("bob", rights=["write"])
        with pytest.raises(AccessError, match="only who owns"):
            await bob.client.cleanup_session()
        with pytest.raises(ToolExecutionError, match="sees no tool 'add'"):
            await bob.call_tool("add", 1, 2)
        await eve.initialize("ours")
        assert await soon(eve.call_tool("add", 1, 2)) == 3
        shares = (await ana.client.session_info()).access.shares
        assert [(share.principal, share.group, list(share.rights)) for share in shares] == [
            ("bob", "", ["read"]),
            ("", "team", ["call", "read", "run", "stream", "write"]),
        ]
        await ana.unshare_session("bob")
        with pytest.raises(SessionNotFoundError):
            await bob.session_context.get_variable("plan")
        with pytest.raises(NotFoundError, match="is not shared with 'bob'"):
            await ana.unshare_session("bob")
        with pytest.raises(ValidationError, match="'rite' is no right; did you mean write"):
            await ana.share_session("bob", rights=["rite"])


@pytest.mark.parametrize("takes_context", [False, True])
async def test_a_call_in_a_shared_session_is_cancelled_by_who_made_it_and_by_no_other_guest(
    principals: Any, tmp_path: Path, takes_context: bool
) -> None:
    runs = asyncio.Event()

    async def plain() -> None:
        runs.set()
        await asyncio.Event().wait()

    async def with_context(ctx: ToolContext) -> None:
        await plain()

    hangs = tool(with_context if takes_context else plain, name="hangs")
    async with (
        server_with(POLICY, tmp_path / "policy.toml", [hangs]) as server,
        GRPCToolBridge(server.address, token="ana") as ana,
        GRPCToolBridge(server.address, token="bob") as bob,
        GRPCToolBridge(server.address, token="eve") as eve,
    ):
        await ana.initialize("ours")
        for name in ("bob", "eve"):
            await ana.share_session(name)
        await bob.initialize("ours")
        await eve.initialize("ours")
        call = asyncio.create_task(eve.call_tool("hangs"))
        await soon(runs.wait())
        (info,) = [info async for info in ana.admin.calls()]
        with pytest.raises(NotFoundError):
            await bob.admin.cancel_call(info.call_id)
        await eve.admin.cancel_call(info.call_id)
        with pytest.raises(ToolExecutionError, match="cancelled"):
            await soon(call)


async def test_a_worker_registers_only_what_its_principal_may_and_nothing_of_anothers(
    principals: Any, tmp_path: Path
) -> None:
    async with server_with(POLICY, tmp_path / "policy.toml", [add]) as server:
        with pytest.raises(AccessError, match=r"may not register 'other\.tool'"):
            async with ToolWorker(server.address, tools=[other], token="one"):
                pass
        with pytest.raises(AccessError, match=r"may not register 'work\.store'"):
            async with ToolWorker(server.address, tools=[store_it], token="ana"):
                pass
        async with ToolWorker(server.address, tools=[store_it], token="one", worker_id="w"):
            with pytest.raises(AccessError, match="that is not 'two''s"):
                async with ToolWorker(server.address, tools=[store_it], token="two"):
                    pass
            with pytest.raises(AccessError, match="the worker 'w' is another principal's"):
                async with ToolWorker(server.address, tools=[another], token="two", worker_id="w"):
                    pass
            # It acts for whoever calls it, in that session.
            async with GRPCToolBridge(server.address, token="ana") as ana:
                await ana.initialize()
                await until(lambda: "work.store" in ana.tools)
                assert await soon(ana.call_tool("work.store", "who")) == "ana"


async def test_a_durable_store_keeps_whose_a_session_is(principals: Any, tmp_path: Path) -> None:
    def server() -> Any:
        return server_with(POLICY, tmp_path / "policy.toml", [add], store=f"sqlite:///{tmp_path / 'hub.db'}")

    async with server() as first, GRPCToolBridge(first.address, token="ana", keep_session=True) as ana:
        await ana.initialize("kept")
        await ana.share_session("bob", rights=["read"])
        await ana.share_session("eve")
        await ana.unshare_session("eve")
    async with (
        server() as second,
        GRPCToolBridge(second.address, token="bob", keep_session=True) as bob,
        GRPCToolBridge(second.address, token="eve") as eve,
    ):
        await bob.initialize("kept")
        info = await bob.client.session_info()
        assert info.access.owner == "ana"
        assert [share.principal for share in info.access.shares] == ["bob"]
        with pytest.raises(AccessError):
            await eve.initialize("kept")


async def test_lists_and_watches_show_only_what_may_be_read(principals: Any, tmp_path: Path) -> None:
    policy = POLICY + '[[rules]]\nname = "no keys"\ndeny = ["read"]\nprincipals = ["bob"]\nresources = ["key*"]\n'
    async with (
        server_with(policy, tmp_path / "policy.toml", [add]) as server,
        GRPCToolBridge(server.address, token="ana") as ana,
        GRPCToolBridge(server.address, token="bob") as bob,
    ):
        await ana.initialize("ours")
        await ana.share_session("bob")
        await bob.initialize("ours")
        watch = bob.session_context.watch_variables()
        first = asyncio.ensure_future(anext(watch))
        await until(lambda: server.hub.store.peek("ours").watches == 1)
        await ana.session_context.set_variable("key", "hush")
        await ana.session_context.set_variable("plan", 1)
        assert (await soon(first)).name == "plan"
        assert [info.name for info in await bob.session_context.list_variables()] == ["plan"]
        with pytest.raises(AccessError, match="may not read 'key'"):
            await bob.session_context.get_variable("key")
        await watch.aclose()
        assert [session.session_id for session in await sessions_of(bob)] == ["ours"]


async def sessions_of(bridge: GRPCToolBridge) -> list[Any]:
    return [session async for session in bridge.admin.sessions()]


async def test_a_policy_without_identities_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    with pytest.raises(ValidationError, match="nothing tells this hub who a caller is"):
        BridgeServer(settings=Settings(policy=path))


async def test_one_token_for_all_without_a_policy_changes_nothing() -> None:
    async with BridgeServer(tools=[add], settings=Settings(token=SecretStr("hush"))) as server:
        assert server.hub.admission.access is None
        async with GRPCToolBridge(server.address, token="hush") as bridge:
            await bridge.initialize()
            assert await soon(bridge.call_tool("add", 1, 2)) == 3
            assert not (await bridge.client.session_info()).HasField("access")
            with pytest.raises(ToolBridgeError, match="ShareSession"):
                await bridge.share_session("bob")


async def test_clients_of_mcp_do_what_their_principals_may(principals: Any, tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx")
    policy = POLICY + '[[rules]]\nname = "no adding"\ndeny = ["call"]\nprincipals = ["bob"]\nresources = ["add"]\n'
    initialize = {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }  # fmt: skip
    async with server_with(policy, tmp_path / "policy.toml", [add], http_address="127.0.0.1:0") as server:

        async def ask(who: str) -> tuple[list[str], Any]:
            headers = {"authorization": f"Bearer {who}", "accept": "application/json, text/event-stream"}
            async with httpx.AsyncClient(base_url=f"http://{server.http_address}", headers=headers) as web:

                async def send(method: str, params: Any = None, number: int | None = None) -> Any:
                    body = {"jsonrpc": "2.0", "method": method, "params": params or {}}
                    response = await soon(web.post("/mcp", json=body if number is None else {**body, "id": number}))
                    web.headers.update({k: v for k, v in response.headers.items() if k == "mcp-session-id"})
                    lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
                    return response.json() if response.text.startswith("{") else lines and json.loads(lines[-1])

                await send("initialize", initialize, 1)
                await send("notifications/initialized")
                listed = await send("tools/list", {}, 2)
                called = await send("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, 3)
                return [each["name"] for each in listed["result"]["tools"]], called

        names, called = await ask("ana")
        assert names == ["add"]
        assert called["result"]["content"][0]["text"] == "3"
        names, called = await ask("bob")
        assert names == []
        assert "result" not in called or called["result"].get("isError")
        owners = {session.access.owner for session in server.hub.store.sessions() if session.access is not None}
        assert owners <= {"ana", "bob"}
        assert all(session.access is not None for session in server.hub.store.sessions())
