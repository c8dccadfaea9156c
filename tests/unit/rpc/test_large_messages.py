"""Requests and answers with large values are the messages that they stand for."""

import random

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    ToolCallRequest,
    ToolCallResponse,
    ToolStreamChunk,
)
from grpc_tool_bridge.rpc.buffers import Buffers
from grpc_tool_bridge.rpc.large_messages import (
    LargeMessage,
    LargeToolCall,
    LargeValue,
    encoded_arguments,
    read_large_call,
    read_large_message,
    whole,
    with_value,
)
from grpc_tool_bridge.values.serialization import deserialize_value, serialize_value

CONTENT = random.Random(1).randbytes(100_000)
REQUEST = ToolCallRequest(
    session_id="s",
    tool_id="t",
    args=[serialize_value(CONTENT), serialize_value(1), AnyMessage()],
    kwargs={"text": serialize_value("ü" * 50_000), "items": serialize_value([CONTENT.hex()])},
    timeout_ms=500,
    context={"a": "b"},
)


def in_buffers(data: bytes, size: int) -> Buffers:
    return Buffers(memoryview(data)[place : place + size] for place in range(0, len(data), size))


@pytest.mark.parametrize("size", [1_000_000, 4_096, 7])
def test_a_request_is_read_and_written_as_it_was(size: int) -> None:
    call = read_large_call(in_buffers(REQUEST.SerializeToString(), size))
    assert call is not None
    assert (call.session_id, call.tool_id, call.timeout_ms, dict(call.context)) == ("s", "t", 500, {"a": "b"})
    assert [deserialize_value(value) for value in call.args[:2]] == [CONTENT, 1]
    assert deserialize_value(call.kwargs["text"]) == "ü" * 50_000
    assert deserialize_value(call.kwargs["items"]) == [CONTENT.hex()]
    assert call.message() == whole(call) == REQUEST
    assert call.ByteSize() == len(call.SerializeToString())
    assert ToolCallRequest.FromString(bytes(call.SerializeToString())) == REQUEST
    assert encoded_arguments(call) == (list(REQUEST.args), dict(REQUEST.kwargs))


def test_a_message_stands_for_itself() -> None:
    assert whole(REQUEST) is REQUEST
    assert encoded_arguments(REQUEST) == (list(REQUEST.args), dict(REQUEST.kwargs))


def test_only_types_that_are_read_from_buffers_stay_in_them() -> None:
    call = read_large_call(in_buffers(REQUEST.SerializeToString(), 4_096))
    assert call is not None
    assert isinstance(call.args[0].value, Buffers)
    assert isinstance(call.kwargs["items"].value, bytes)


def test_a_value_has_the_size_and_the_bytes_of_its_message() -> None:
    value = LargeValue("type.googleapis.com/x", Buffers((CONTENT, CONTENT)))
    message = AnyMessage(type_url="type.googleapis.com/x", value=CONTENT + CONTENT)
    assert value.message() == message
    assert value.ByteSize() == message.ByteSize()
    assert AnyMessage.FromString(b"".join(value.buffers())) == message


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100_000,
        REQUEST.SerializeToString()[:-1],
        ToolCallRequest(session_id="s" * 100_000).SerializeToString(),
        ToolCallRequest(args=[AnyMessage()] * 2_000).SerializeToString(),
        # An Any whose value comes twice, so that it is left to protobuf.
        bytes((ToolCallRequest.ARGS_FIELD_NUMBER << 3 | 2, 6)) + b"\x12\x01a\x12\x01b",
    ],
)
def test_what_is_unusual_is_left_to_protobuf(data: bytes) -> None:
    assert read_large_call(Buffers((data,))) is None


def test_an_answer_is_read_and_written_as_it_was() -> None:
    response = ToolCallResponse(success=True, result=serialize_value(CONTENT), request_id="r")
    answer = read_large_message(ToolCallResponse, "result", in_buffers(response.SerializeToString(), 5_000))
    assert isinstance(answer, LargeMessage)
    assert answer.success is True
    assert answer.request_id == "r"
    assert answer.HasField("result")
    assert not answer.HasField("error")
    assert deserialize_value(answer.result) == CONTENT
    assert answer.message() == response
    assert ToolCallResponse.FromString(bytes(answer.SerializeToString())) == response


def test_a_chunk_says_that_it_has_data() -> None:
    head = ToolStreamChunk(stream_id="s", sequence=3)
    data = with_value(head, "data", LargeValue(serialize_value(CONTENT).type_url, serialize_value(CONTENT).value))
    chunk = read_large_message(ToolStreamChunk, "data", data)
    assert chunk is not None
    assert chunk.WhichOneof("content") == "data"
    assert (chunk.stream_id, chunk.sequence) == ("s", 3)
    assert deserialize_value(chunk.data) == CONTENT


@pytest.mark.parametrize(
    "response",
    [
        ToolCallResponse(error=ErrorInfo(type="E", message="m")),
        ToolCallResponse(error=ErrorInfo(type="E", message="m" * 100_000), result=serialize_value(1)),
    ],
)
def test_an_answer_without_a_large_value_is_left_to_protobuf(response: ToolCallResponse) -> None:
    assert read_large_message(ToolCallResponse, "result", Buffers((response.SerializeToString(),))) is None


def test_an_answer_with_two_results_is_left_to_protobuf() -> None:
    twice = ToolCallResponse(success=True, result=serialize_value(CONTENT)).SerializeToString() * 2
    assert read_large_message(ToolCallResponse, "result", Buffers((twice,))) is None


def test_a_call_is_made_of_a_head_and_values() -> None:
    call = LargeToolCall(ToolCallRequest(tool_id="t"), [LargeValue("u", CONTENT)], {"k": LargeValue("v", b"")})
    assert call.message() == ToolCallRequest(
        tool_id="t", args=[AnyMessage(type_url="u", value=CONTENT)], kwargs={"k": AnyMessage(type_url="v")}
    )
