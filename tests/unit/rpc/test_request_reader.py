"""A request is read only once it is known what that takes."""

import pytest

from grpc_tool_bridge import SerializationError
from grpc_tool_bridge.errors import MessageTooLargeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.methods import METHODS
from grpc_tool_bridge.rpc.request_reader import CONTROL_BYTES, read_request

CARRYING = {
    "ExecuteTool",
    "StreamTool",
    "BatchExecuteTools",
    "SetSessionVariable",
    "ExecuteAgent",
    "CreateReActAgent",
    "RegisterTools",
    "Link",
}


@pytest.mark.parametrize("name", sorted(METHODS.keys() - CARRYING))
def test_a_request_without_values_is_refused_over_a_mebibyte(name: str) -> None:
    with pytest.raises(MessageTooLargeError, match=f"the request of {name} takes .* the limit is 1,048,576"):
        read_request(METHODS[name], b"\xf2\x07\x80\x80\x40" + b"x" * CONTROL_BYTES)


@pytest.mark.parametrize("name", sorted(CARRYING))
def test_a_request_with_values_may_be_larger(name: str) -> None:
    message = read_request(METHODS[name], b"\xf2\x07\x80\x80\x40" + b"x" * CONTROL_BYTES)
    assert type(message) is METHODS[name].request


@pytest.mark.parametrize("name", sorted(METHODS))
def test_too_many_parts_are_refused_unread(name: str) -> None:
    with pytest.raises(MessageTooLargeError, match=f"the request of {name} has more than 250,000 nodes"):
        read_request(METHODS[name], b"\x1a\x00" * 300_000)


def test_a_small_request_is_read() -> None:
    request = pb.ToolCallRequest(session_id="s", tool_id="t")
    assert read_request(METHODS["ExecuteTool"], request.SerializeToString()) == request


def test_bytes_that_are_no_request_are_refused() -> None:
    with pytest.raises(SerializationError, match="the request of ExecuteTool cannot be read"):
        read_request(METHODS["ExecuteTool"], b"\xff")
