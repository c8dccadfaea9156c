"""What MockBridgeServer refuses at once, and that each text names the right thing to do."""

from typing import Any

import grpc
import pytest

from grpc_tool_bridge import testing
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionInfo, ToolCallRequest, ToolCallResponse, ToolStreamChunk
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.testing import MockBridgeServer


@pytest.fixture
def server() -> MockBridgeServer:
    return MockBridgeServer()


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("ExecuteTol", "did you mean 'ExecuteTool'"),
        ("execute_tool", "did you mean 'ExecuteTool'"),
        ("create_react_agent", "did you mean 'CreateReActAgent'"),
        ("Nothing like it", "the methods are InitializeSession, CleanupSession"),
    ],
)
def test_an_unknown_method_is_refused_with_the_name_that_is_meant(
    server: MockBridgeServer, name: str, right: str
) -> None:
    for call in (
        lambda: server.set_response(name, ToolCallResponse()),
        lambda: server.set_streaming_response(name, []),
        lambda: server.set_error(name, grpc.StatusCode.UNAVAILABLE),
        lambda: server.requests_for(name),
    ):
        with pytest.raises(ValueError, match=right):
            call()


@pytest.mark.parametrize("wrong", [SessionInfo(), {"success": True}, None, ToolCallResponse])
def test_an_answer_of_the_wrong_type_is_refused_with_the_right_one(server: MockBridgeServer, wrong: Any) -> None:
    with pytest.raises(TypeError, match="ExecuteTool answers with ToolCallResponse, not with "):
        server.set_response("ExecuteTool", wrong)
    with pytest.raises(TypeError, match="StreamTool answers with ToolStreamChunk, not with "):
        server.set_streaming_response("StreamTool", [ToolStreamChunk(), wrong])


def test_one_wrong_answer_among_several_sets_none(server: MockBridgeServer) -> None:
    with pytest.raises(TypeError):
        server.set_response("ExecuteTool", ToolCallResponse(), SessionInfo())  # the first alone would be right
    with server, grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        SnakepitBridgeStub(channel).ExecuteTool(ToolCallRequest())

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_streaming_method_wants_a_stream_and_the_others_one_answer(server: MockBridgeServer) -> None:
    with pytest.raises(ValueError, match=r"use set_streaming_response\('StreamTool'"):
        server.set_response("StreamTool", ToolStreamChunk())
    with pytest.raises(ValueError, match=r"use set_response\('ExecuteTool'"):
        server.set_streaming_response("ExecuteTool", [ToolCallResponse()])
    with pytest.raises(ValueError, match="give a ToolCallResponse"):
        server.set_response("ExecuteTool")


def test_an_error_needs_a_status_code_that_is_one(server: MockBridgeServer) -> None:
    with pytest.raises(ValueError, match="OK is not an error"):
        server.set_error("ExecuteTool", grpc.StatusCode.OK)
    wrong: Any = "UNAVAILABLE"
    with pytest.raises(TypeError, match=r"grpc\.StatusCode\.UNAVAILABLE"):
        server.set_error("ExecuteTool", wrong)


def test_a_server_that_does_not_run_has_no_address(server: MockBridgeServer) -> None:
    with pytest.raises(RuntimeError, match="enter it with 'with' first"):
        _ = server.address
    server.stop()


async def test_a_server_that_does_not_run_gives_no_channel(server: MockBridgeServer) -> None:
    with pytest.raises(RuntimeError, match="enter it with 'with' first"):
        server.channel()


def test_a_channel_needs_an_event_loop(server: MockBridgeServer) -> None:
    with server, pytest.raises(RuntimeError, match="no running event loop"):
        server.channel()


def test_a_server_starts_once(server: MockBridgeServer) -> None:
    with server, pytest.raises(RuntimeError, match=f"is already running at {server.address}"):
        server.start()


def test_the_requests_of_a_method_that_nobody_called_are_none(server: MockBridgeServer) -> None:
    requests = server.requests_for("ExecuteTool")
    requests.append("mine")

    assert server.requests_for("ExecuteTool") == []


def test_the_kit_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="MockServer"):
        _ = testing.MockServer  # type: ignore[attr-defined]  # that is the point
