import pytest

from grpc_tool_bridge import ToolExecutionError
from grpc_tool_bridge.adapters.mcp import Bounds, import_mcp
from grpc_tool_bridge.server import LocalToolBridge
from support.waiting import soon
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
