from typing import Any

import pytest

from grpc_tool_bridge import Answer, BridgeServer, GRPCToolBridge, Question, ToolExecutionError
from grpc_tool_bridge.adapters.mcp import Bounds, connection, import_mcp
from grpc_tool_bridge.server import LocalToolBridge
from support.waiting import soon, until
from unit.adapters.mcp.http_server import http_site


@pytest.mark.parametrize("json_response", [True, False], ids=["json", "events"])
async def test_an_answer_over_the_limit_is_refused_and_the_server_stays(json_response: bool) -> None:
    bounds = Bounds(message_bytes=100_000)
    async with (
        http_site(json_response=json_response) as site,
        import_mcp(site.url, name="s", bounds=bounds) as server,
        LocalToolBridge(server.tools) as bridge,
    ):
        await bridge.initialize()
        assert len(await soon(bridge.tools["s.huge"](size=20_000))) == 20_000
        with pytest.raises(ToolExecutionError, match="message too large") as caught:
            await soon(bridge.tools["s.huge"](size=5_000_000))
        assert caught.value.error_type == "MessageTooLarge"
        assert await soon(bridge.tools["s.add"](a=1)) == 2


async def test_a_compressed_answer_over_the_limit_is_refused() -> None:
    async with http_site(json_response=True, compressed=True) as site:
        bounds = Bounds(message_bytes=100_000)
        async with import_mcp(site.url, name="s", bounds=bounds) as server, LocalToolBridge(server.tools) as bridge:
            await bridge.initialize()
            assert len(await soon(bridge.tools["s.huge"](size=20_000))) == 20_000
            with pytest.raises(ToolExecutionError, match="message too large"):
                await soon(bridge.tools["s.huge"](size=5_000_000))


@pytest.mark.filterwarnings("ignore:The logging capability is deprecated")
async def test_an_older_server_tells_and_asks_in_the_name_of_its_call() -> None:
    async def on_ask(question: Question) -> Answer:
        return Answer("accept", {"sure": True}) if question.message == "Sure?" else Answer("cancel")

    told: list[Any] = []
    async with http_site(older=True) as site:
        server = BridgeServer(sources=[import_mcp(site.url, name="s")])
        async with server, GRPCToolBridge(server.address, on_ask=on_ask) as one, GRPCToolBridge(server.address) as two:
            tools, others = await one.initialize(), await two.initialize()
            tell = tools["s.tell"].with_options(on_progress=told.append, on_log=told.append)
            assert await soon(tell()) == "done"
            assert [event.message for event in told] == ["half", "a line"]
            assert await soon(tools["s.ask"]()) == "accept"
            with pytest.raises(ToolExecutionError, match=r"Error executing|could not be answered"):
                await soon(others["s.ask"]())


async def test_an_older_server_that_goes_away_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PING_SECONDS", 0.01)
    async with http_site(older=True) as site:
        source = import_mcp(site.url, name="s")
        async with BridgeServer(sources=[source]):
            assert source.tools
            site.older = False
            site.guarded = True
            await until(lambda: not source.tools, "for the server to be gone")
