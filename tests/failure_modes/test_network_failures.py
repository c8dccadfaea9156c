"""The failure tests of the testing strategy: each runs against a real hub, and the stub of one bridge fails."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import grpc
import pytest

from grpc_tool_bridge import (
    BridgeServer,
    GRPCToolBridge,
    ProtocolError,
    ToolCommunicationError,
    ToolExecutionError,
    serialize_value,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CleanupSessionRequest, ErrorInfo, ToolCallResponse
from integration.connections import RemoteBridge
from support.waits import waits as waits  # noqa: PLC0414 - a fixture


def large_data_processor(items: list[int]) -> Iterator[int]:
    yield from items


def flaky_tool() -> str:
    return "from the hub"


def rate_limited_tool() -> str:
    return "from the hub"


def any_tool(text: str) -> str:
    return text


@pytest.fixture
async def server() -> AsyncIterator[BridgeServer]:
    tools: list[Any] = [large_data_processor, flaky_tool, rate_limited_tool, any_tool]
    async with BridgeServer(tools=tools) as running:
        yield running


@pytest.fixture
async def bridge(server: BridgeServer, remote_bridge: RemoteBridge) -> AsyncIterator[GRPCToolBridge]:
    async with remote_bridge(server.address) as made:
        yield made


class TestFailureModes:
    """Test various failure scenarios."""

    async def test_connection_drop_during_stream(self, bridge: GRPCToolBridge) -> None:
        """Test handling of connection drop during streaming."""
        await bridge.initialize("failure_test")
        original_stream = bridge.client.stub.StreamTool
        chunks_sent = 0

        async def failing_stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            nonlocal chunks_sent
            async for chunk in original_stream(*args, **kwargs):
                chunks_sent += 1
                if chunks_sent > 2:
                    raise grpc.aio.AioRpcError(
                        grpc.StatusCode.UNAVAILABLE,
                        grpc.aio.Metadata(),
                        grpc.aio.Metadata(),
                        details="Connection lost",
                    )
                yield chunk

        bridge.client.stub.StreamTool = failing_stream
        tool = bridge.tools["large_data_processor"]
        results = []

        async def read() -> None:
            async for chunk in tool.stream(range(1000)):
                results.append(chunk)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(ToolCommunicationError) as exc_info:
            await read()

        assert results == [0, 1]
        assert exc_info.value.code == grpc.StatusCode.UNAVAILABLE
        assert "Connection lost" in str(exc_info.value)

    async def test_timeout_recovery(self, server: BridgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Test timeout and retry mechanism."""
        monkeypatch.setattr("grpc_tool_bridge.client.caller.CLIENT_SLACK", 0.0)
        monkeypatch.setattr("grpc_tool_bridge.aio.backoff.RETRY_FIRST_SECONDS", 0.0)
        call_count = 0
        cancelled = asyncio.Event()

        async def slow_then_fast(*args: Any, **kwargs: Any) -> ToolCallResponse:
            nonlocal call_count
            call_count += 1
            if call_count == 1:
                try:
                    await asyncio.Event().wait()  # Longer than any time-out
                finally:
                    cancelled.set()
            return ToolCallResponse(success=True, result=serialize_value("success"))

        async with GRPCToolBridge(server.address, timeout=0.02) as bridge:
            await bridge.initialize("timeout_test")
            bridge.client.stub.ExecuteTool = slow_then_fast

            result = await bridge.execute_with_retry("flaky_tool", max_retries=2)

        assert result == "success"
        assert call_count == 2
        assert cancelled.is_set()

    async def test_elixir_crash_recovery(self, bridge: GRPCToolBridge) -> None:
        """Test handling when the session is gone at the hub."""
        session_id = "crash_test"
        await bridge.initialize(session_id)
        await bridge.client.stub.CleanupSession(CleanupSessionRequest(session_id=session_id, force=True))
        tool = bridge.tools["any_tool"]

        with pytest.raises(ToolExecutionError) as exc_info:
            await tool("input")

        assert exc_info.value.error_type == "SessionExpired"

        # Nothing else is lost: the same bridge goes on with a new session.
        tools = await bridge.initialize("after_the_crash")
        assert await tools["any_tool"]("input") == "input"

    async def test_malformed_protobuf(self, bridge: GRPCToolBridge) -> None:
        """Test handling of malformed protobuf messages."""

        async def bad_response(*args: Any, **kwargs: Any) -> MagicMock:
            # Return object missing required fields
            return MagicMock(spec=ToolCallResponse)

        bridge.client.stub.ExecuteTool = bad_response

        with pytest.raises(ProtocolError):
            await bridge.call_tool("any_tool", "input")

        await bridge.initialize("malformed_test")
        with pytest.raises(ProtocolError, match="neither success nor failure"):
            await bridge.call_tool("any_tool", "input")

    async def test_rate_limit_handling(self, bridge: GRPCToolBridge, waits: list[float]) -> None:
        """Test rate limit error handling."""
        await bridge.initialize("rate_limit_test")
        bridge.client.stub.ExecuteTool = AsyncMock(
            return_value=ToolCallResponse(
                success=False,
                error=ErrorInfo(type="RateLimitExceeded", message="Too many requests", details={"retry_after": "10"}),
            )
        )

        with pytest.raises(ToolExecutionError) as exc_info:
            await bridge.execute_with_retry("rate_limited_tool", max_retries=1)

        assert waits == [10.0]
        assert bridge.client.stub.ExecuteTool.await_count == 2
        assert exc_info.value.error_type == "RateLimitExceeded"
