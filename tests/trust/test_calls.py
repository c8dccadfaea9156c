"""Calls that the policy allows and refuses, over a link and over RPCs."""

from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import GRPCToolBridge, ToolBridgeError, ToolContext, ToolExecutionError, tool
from grpc_tool_bridge.rpc.methods import METHODS
from support.waiting import soon
from trust.hubs import server_with, told_apart

POLICY = """
[[rules]]
name = "everybody"
allow = ["open", "read", "write"]
principals = ["*"]
resources = ["*"]

[[rules]]
name = "weather"
allow = ["call", "stream"]
groups = ["analysts"]
resources = ["weather_*", "twice"]

[[rules]]
name = "no secrets"
deny = ["call", "stream"]
principals = ["*"]
resources = ["*_secret"]

[[rules]]
name = "only streamed"
allow = ["stream"]
groups = ["analysts"]
resources = ["count", "plain"]
"""


@tool
async def weather_now(city: str) -> str:
    return f"rain in {city}"


@tool
async def weather_secret() -> str:
    return "no"


@tool
def blocking_secret() -> str:
    return "no"


@tool
async def count(most: int) -> Any:
    for number in range(most):
        yield number


@tool
async def plain() -> int:
    return 1


@tool
async def twice(ctx: ToolContext, name: str) -> Any:
    return await ctx.call_tool(name)


TOOLS = [weather_now, weather_secret, blocking_secret, count, plain, twice]


@pytest.fixture(params=["link", "rpc"])
def transport(request: pytest.FixtureRequest) -> Any:
    return request.param


async def test_only_what_a_rule_allows_is_called_and_listed(
    transport: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_apart(monkeypatch, {"ana": {"analysts"}, "bob": set()})
    async with server_with(POLICY, tmp_path / "policy.toml", TOOLS) as server:
        async with GRPCToolBridge(server.address, transport=transport, token="ana") as ana:
            await ana.initialize()
            assert await soon(ana.call_tool("weather_now", "Rome")) == "rain in Rome"
            assert await soon(ana.call_tool("weather_now", city="Rome")) == "rain in Rome"
            assert [number async for number in ana.stream_tool("count", 2)] == [0, 1]
            assert sorted(ana.tools) == ["count", "plain", "twice", "weather_now"]
            for name in ("weather_secret", "blocking_secret", "nothing"):
                with pytest.raises(ToolExecutionError) as caught:
                    await soon(ana.call_tool(name))
                assert caught.value.error_type == "ToolNotFound"
                assert "secret" not in str(caught.value).replace(name, "")
            # It is listed, since it may be streamed.
            with pytest.raises(ToolExecutionError) as caught:
                await soon(ana.call_tool("plain"))
            assert caught.value.error_type == "PermissionDenied"
            # Whoever makes the outermost call makes those within it.
            with pytest.raises(ToolExecutionError) as caught:
                await soon(ana.call_tool("twice", "weather_secret"))
            assert "sees no tool 'weather_secret'" in str(caught.value)
        async with GRPCToolBridge(server.address, transport=transport, token="bob") as bob:
            await bob.initialize()
            assert not bob.tools
            with pytest.raises(ToolExecutionError) as caught:
                await soon(bob.call_tool("weather_now", "Rome"))
            assert caught.value.error_type == "ToolNotFound"


async def test_a_session_is_there_for_its_owner_alone(
    transport: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_apart(monkeypatch, {"ana": {"analysts"}, "eve": {"analysts"}})
    async with (
        server_with(POLICY, tmp_path / "policy.toml", TOOLS) as server,
        GRPCToolBridge(server.address, transport=transport, token="ana") as ana,
        GRPCToolBridge(server.address, transport=transport, token="eve") as eve,
    ):
        await ana.initialize("of-ana")
        await ana.session_context.set_variable("plan", 1)
        with pytest.raises(Exception, match="another principal's"):
            await eve.initialize("of-ana")
        await eve.initialize("of-eve")
        for method in ("GetSessionInfo", "ListSessionVariables", "GetSessionTools"):
            await expect_no_session(eve, method, "of-ana")
        assert await ana.session_context.get_variable("plan") == 1


async def expect_no_session(bridge: Any, method: str, session_id: str) -> None:
    """Asks with the id of another's session; it is as if there were none."""
    with pytest.raises(ToolBridgeError, match="there is no session"):
        await soon(bridge.client.call(method, METHODS[method].request(session_id=session_id)))


async def test_a_changed_policy_holds_at_once_and_a_bad_one_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_apart(monkeypatch, {"ana": {"analysts"}})
    path = tmp_path / "policy.toml"
    async with (
        server_with(POLICY, path, TOOLS) as server,
        GRPCToolBridge(server.address, token="ana") as ana,
    ):
        await ana.initialize()
        guarding: Any = server._guarding
        policy = guarding._files[0]
        path.write_text(POLICY.replace("weather_*", "wheather"))
        assert await policy.look()
        with pytest.raises(ToolExecutionError):
            await soon(ana.call_tool("weather_now", "Rome"))
        path.write_text("[[rules]]\nalow = 1\n")
        assert not await policy.look()
        path.write_text(POLICY)
        assert await policy.look()
        assert await soon(ana.call_tool("weather_now", "Rome"))
