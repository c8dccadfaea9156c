"""The client's tests of the testing strategy, against a server that gives set answers."""

import pytest

from grpc_tool_bridge import ToolBridgeClient, deserialize_value, serialize_value
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CompleteSignal,
    ExecutionMetrics,
    InitializeSessionResponse,
    ToolCallResponse,
    ToolStreamChunk,
)
from grpc_tool_bridge.testing import MockBridgeServer


class TestGRPCIntegration:
    """Test gRPC communication with mock server."""

    @pytest.fixture
    def mock_grpc_server(self) -> MockBridgeServer:
        """Create mock gRPC server for testing."""
        return MockBridgeServer()

    async def test_session_initialization(self, mock_grpc_server: MockBridgeServer) -> None:
        """Test session initialization flow."""
        with mock_grpc_server as server:
            channel = server.channel()
            client = ToolBridgeClient(channel)
            server.set_response(
                "InitializeSession",
                InitializeSessionResponse(success=True, tool_count=3, capabilities=["streaming", "variables"]),
            )

            result = await client.initialize_session("test_session")

            assert result is True
            assert client.session_id == "test_session"
            requests = server.requests_for("InitializeSession")
            assert len(requests) == 1
            assert requests[0].session_id == "test_session"

    async def test_tool_execution_success(self, mock_grpc_server: MockBridgeServer) -> None:
        """Test successful tool execution."""
        with mock_grpc_server as server:
            channel = server.channel()
            client = ToolBridgeClient(channel)
            client.session_id = "test_session"
            server.set_response(
                "ExecuteTool",
                ToolCallResponse(
                    success=True, result=serialize_value({"answer": 42}), metrics=ExecutionMetrics(duration_ms=15)
                ),
            )

            result = await client.execute_tool("calculate", 40, 2)

            assert result == {"answer": 42}

    async def test_streaming_tool(self, mock_grpc_server: MockBridgeServer) -> None:
        """Test streaming tool execution."""
        with mock_grpc_server as server:
            channel = server.channel()
            client = ToolBridgeClient(channel)
            client.session_id = "test_session"
            chunks = [
                ToolStreamChunk(stream_id="stream_1", sequence=0, data=serialize_value("chunk_1")),
                ToolStreamChunk(stream_id="stream_1", sequence=1, data=serialize_value("chunk_2")),
                ToolStreamChunk(stream_id="stream_1", sequence=2, complete=CompleteSignal(total_chunks=2)),
            ]
            server.set_streaming_response("StreamTool", chunks)

            results = [chunk async for chunk in client.stream_tool("process_data", [1, 2, 3])]

            assert results == ["chunk_1", "chunk_2"]
            (request,) = server.requests_for("StreamTool")
            assert [deserialize_value(arg) for arg in request.args] == [[1, 2, 3]]
