"""What a shell or a debugger shows of a hub, a worker, a client and a bridge: where they are, and of which session."""

import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, LocalToolBridge, Settings, ToolBridgeClient, ToolWorker


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def test_each_shows_its_address_and_how_far_it_is() -> None:
    server = BridgeServer(tools=[add], settings=Settings(shutdown_grace=0.0))
    assert repr(server) == "<BridgeServer at 127.0.0.1:0, not started>"
    async with server:
        address = server.address
        assert repr(server) == f"<BridgeServer at {address}, serving>"
        worker = ToolWorker(address, tools=[], worker_id="w1")
        assert repr(worker) == f"<ToolWorker 'w1' of {address}, tools: 0, not registered>"
        async with worker:
            assert repr(worker) == f"<ToolWorker 'w1' of {address}, tools: 0, registered>"
        assert repr(worker) == f"<ToolWorker 'w1' of {address}, tools: 0, closed>"
        bridge = GRPCToolBridge(address)
        assert repr(bridge) == f"<GRPCToolBridge at {address}, not initialized>"
        assert repr(bridge.client) == f"<ToolBridgeClient at {address}, no session>"
        async with bridge:
            await bridge.initialize("s")
            assert repr(bridge) == f"<GRPCToolBridge at {address}, session 's', tools: 1>"
            assert repr(bridge.client) == f"<ToolBridgeClient at {address}, session 's'>"
    assert repr(server) == f"<BridgeServer at {address}, stopped>"


async def test_a_bridge_in_this_process_says_so() -> None:
    async with LocalToolBridge([add]) as bridge:
        await bridge.initialize("s")
        assert repr(bridge) == "<LocalToolBridge at this process, session 's', tools: 1>"


@pytest.mark.parametrize("kind", [GRPCToolBridge, ToolBridgeClient])
def test_the_password_of_a_proxy_is_not_shown(kind: type[GRPCToolBridge] | type[ToolBridgeClient]) -> None:
    assert "hunter2" not in repr(kind("hub.example:50051", proxy="http://me:hunter2@proxy.example:3128"))
