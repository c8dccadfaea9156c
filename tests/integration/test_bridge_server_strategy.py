"""The bridge server's tests of the testing strategy: the hub's methods, called with request messages."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from grpc_tool_bridge import BridgeServer, deserialize_value, serialize_value
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallRequest, ToolStreamRequest


def add_numbers(a: int, b: int) -> int:
    return a + b


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """A running server's hub with a session that has a tool of its own."""
    async with BridgeServer() as server:
        await server.hub.store.create_session("test_session", {})
        server.hub.registry.register_batch("test_session", [add_numbers])
        yield server.hub


class TestToolExecution:
    async def test_executes_tool_successfully(self, hub: Hub) -> None:
        request = ToolCallRequest(
            session_id="test_session",
            tool_id="add_numbers",
            args=[serialize_value(5), serialize_value(3)],
            request_id="req_123",
        )

        response = await hub.execute_tool(request)

        assert response.success is True
        assert deserialize_value(response.result) == 8
        assert response.request_id == "req_123"
        assert response.metrics.duration_ms > 0

    async def test_handles_tool_not_found(self, hub: Hub) -> None:
        response = await hub.execute_tool(ToolCallRequest(session_id="test_session", tool_id="missing_tool"))

        assert response.success is False
        assert response.error.type == "ToolNotFound"
        assert "missing_tool" in response.error.message

    async def test_handles_invalid_arguments(self, hub: Hub) -> None:
        request = ToolCallRequest(
            session_id="test_session", tool_id="add_numbers", args=[serialize_value("not_a_number")]
        )

        response = await hub.execute_tool(request)

        assert response.success is False
        assert response.error.type == "ValidationError"
        assert {"a", "b"} <= set(response.error.details)


class TestStreamingExecution:
    async def test_streams_results_progressively(self, hub: Hub) -> None:
        go_on = asyncio.Semaphore(1)

        async def count_to_n(n: int) -> AsyncIterator[int]:
            for number in range(1, n + 1):
                # The next number is made only once the reader has seen the one before it.
                await go_on.acquire()
                yield number

        hub.registry.register_batch("test_session", [count_to_n])
        request = ToolStreamRequest(
            session_id="test_session", tool_id="count_to_n", args=[serialize_value(3)], stream_id="stream_123"
        )

        chunks = []
        async for chunk in hub.stream_tool(request):
            chunks.append(chunk)
            go_on.release()

        assert len(chunks) == 4  # 3 data + 1 complete
        data_chunks = [chunk for chunk in chunks if chunk.WhichOneof("content") == "data"]
        assert [deserialize_value(chunk.data) for chunk in data_chunks] == [1, 2, 3]
        assert chunks[-1].WhichOneof("content") == "complete"
        assert chunks[-1].complete.total_chunks == 3
        assert [chunk.sequence for chunk in chunks] == [0, 1, 2, 3]
        assert {chunk.stream_id for chunk in chunks} == {"stream_123"}
