"""A mock server that injects faults into its prepared answers."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    InitializeSessionRequest,
    InitializeSessionResponse,
    ToolCallRequest,
    ToolCallResponse,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2_grpc import SnakepitBridgeStub
from grpc_tool_bridge.testing import MockBridgeServer
from grpc_tool_bridge.values.serialization import serialize_value
from support.patience import PATIENCE

CHUNKS = [ToolStreamChunk(sequence=number, data=serialize_value(number)) for number in range(3)]


class Caller:
    """Calls the tool of a mock server."""

    def __init__(self, server: MockBridgeServer, channel: grpc.Channel) -> None:
        self.server = server
        self.stub: Any = SnakepitBridgeStub(channel)

    def call(self, session: str = "ann", **options: Any) -> ToolCallResponse:
        response: ToolCallResponse = self.stub.ExecuteTool(
            ToolCallRequest(session_id=session, tool_id="add"), timeout=PATIENCE, **options
        )
        return response

    def stream(self) -> list[ToolStreamChunk]:
        return list(self.stub.StreamTool(ToolStreamRequest(session_id="ann", tool_id="add", stream_id="s")))


@pytest.fixture
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    with MockBridgeServer(chaos={"rules": request.param}) as server, grpc.insecure_channel(server.address) as channel:
        server.set_response("ExecuteTool", ToolCallResponse(success=True))
        server.set_response("InitializeSession", InitializeSessionResponse(success=True))
        server.set_streaming_response("StreamTool", CHUNKS)
        yield Caller(server, channel)


def rules(*given: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("caller", [list(given)], indirect=True)


@rules({"error": "RateLimitExceeded", "details": {"retry_after": "2"}, "last_call": 1, "latency": 0.001})
def test_an_error_replaces_an_answer(caller: Caller) -> None:
    failed = caller.call()
    assert (failed.success, failed.error.type, failed.error.details["retry_after"]) == (False, "RateLimitExceeded", "2")
    assert caller.call().success
    assert len(caller.server.requests_for("ExecuteTool")) == 2


@rules({"error": "OSError", "origin": "tool", "when": "after"})
def test_an_exception_of_the_tool_has_its_class(caller: Caller) -> None:
    failed = caller.call()
    assert (failed.error.type, failed.error.details["origin"]) == ("OSError", "tool")
    assert [chunk.WhichOneof("content") for chunk in caller.stream()] == ["data"] * 3 + ["error"]


@rules({"drop": True})
def test_a_connection_that_is_dropped_ends_the_call(caller: Caller) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        caller.call()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@rules({"truncate_after": 2, "chunk_latency": 0.001}, {"error": "Cancelled", "first_call": 2})
def test_a_stream_is_cut_off(caller: Caller) -> None:
    assert [chunk.error.type for chunk in caller.stream()] == ["", "", "WorkerUnavailable"]
    (only,) = caller.stream()
    assert (only.error.type, only.sequence, only.stream_id) == ("Cancelled", 0, "s")


@rules({"metadata": {"team": "blue"}, "error": "TimeoutError", "last_call": 1})
def test_a_session_has_the_metadata_that_it_was_opened_with_and_starts_again_when_it_is_opened_again(
    caller: Caller,
) -> None:
    assert caller.call().success
    for _ in range(2):
        request = InitializeSessionRequest(session_id="ann", metadata={"team": "blue"})
        assert caller.stub.InitializeSession(request).success
        assert caller.call().error.type == "TimeoutError"
        assert caller.call().success


@rules({"tool": "other", "drop": True})
def test_other_calls_are_answered_as_prepared(caller: Caller) -> None:
    assert caller.call().success
    assert [chunk.sequence for chunk in caller.stream()] == [0, 1, 2]


def test_a_wrong_rule_is_refused_at_once() -> None:
    with pytest.raises(ValidationError, match="chaos: rule 1 does nothing"):
        MockBridgeServer(chaos={"rules": [{}]})
