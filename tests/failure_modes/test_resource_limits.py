"""The resource tests of the testing strategy."""

import gc
import os
from collections.abc import Callable

import psutil
import pytest

from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ToolExecutionError

MB = 1024 * 1024


def echo_tool(text: str) -> str:
    return text


def make_text(size: int) -> str:
    return "x" * size


async def simple_tool(text: str) -> str:
    return text


@pytest.fixture
def bridge_tools() -> list[Callable[..., object]]:
    return [echo_tool, make_text, simple_tool]


class TestResourceLimits:
    """Test resource consumption and limits."""

    async def test_large_payload_handling(self, bridge: GRPCToolBridge) -> None:
        """Test handling of large payloads."""
        await bridge.initialize("large_payload_test")
        large_data = "x" * (9 * MB)
        tool = bridge.tools["echo_tool"]

        result = await tool(large_data)
        assert len(result) == len(large_data)

        too_large = "x" * (11 * MB)
        with pytest.raises(ToolExecutionError) as exc_info:
            await tool(too_large)
        assert "message too large" in str(exc_info.value).lower()

    async def test_a_result_over_the_limit_is_refused_and_nothing_is_lost(self, bridge: GRPCToolBridge) -> None:
        tools = await bridge.initialize("large_result_test")

        with pytest.raises(ToolExecutionError) as exc_info:
            await tools["make_text"](11 * MB)

        assert exc_info.value.error_type == "MessageTooLarge"
        assert "message too large" in str(exc_info.value).lower()
        assert len(await tools["make_text"](9 * MB)) == 9 * MB

    async def test_memory_leak_detection(self, bridge: GRPCToolBridge) -> None:
        """Test for memory leaks in long-running operations."""
        await bridge.initialize("memory_test")
        process = psutil.Process(os.getpid())
        initial_memory = process.memory_info().rss / MB
        tool = bridge.tools["simple_tool"]

        for i in range(1000):
            await tool(f"iteration_{i}")
            if i % 100 == 0:
                assert process.memory_info().rss / MB - initial_memory < 100

        gc.collect()
        assert process.memory_info().rss / MB - initial_memory < 50

    async def test_calls_leave_no_objects_behind(self, bridge: GRPCToolBridge, bridge_server: BridgeServer) -> None:
        tool = (await bridge.initialize("leak_test"))["simple_tool"]
        for i in range(50):
            await tool(f"warm-up {i}")

        gc.collect()
        before = len(gc.get_objects())
        for i in range(300):
            await tool(f"iteration_{i}")
        gc.collect()

        # Less than one object a call: the hub, the client and gRPC keep nothing of a call that has ended.
        assert len(gc.get_objects()) - before < 300
        (session,) = bridge_server.hub.store.sessions()
        assert session.active == 0
        assert not session.calls
