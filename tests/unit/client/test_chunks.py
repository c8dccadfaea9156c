"""The chunks of a stream: what each is, and what of them is refused."""

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage

from grpc_tool_bridge.client.chunks import ChunkReader
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ToolExecutionError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CompleteSignal,
    ErrorInfo,
    LogRecord,
    Progress,
    StreamMetadata,
    ToolStreamChunk,
)


def data(sequence: int, value: bytes = b"v") -> ToolStreamChunk:
    return ToolStreamChunk(sequence=sequence, data=AnyMessage(value=value))


def event(sequence: int, key: str, message: Progress | LogRecord | None) -> ToolStreamChunk:
    packed = AnyMessage()
    if message is None:
        packed.value = b"\xff"
    else:
        packed.Pack(message)
    return ToolStreamChunk(sequence=sequence, metadata=StreamMetadata(key=key, value=packed))


def test_values_are_returned_events_told_and_the_end_noted() -> None:
    told: list[object] = []
    chunks = ChunkReader("t", on_progress=told.append, on_log=told.append)
    assert chunks.value_of(event(0, "progress", Progress(current=1))) is None
    assert chunks.value_of(event(1, "log", LogRecord(message="m"))) is None
    assert chunks.value_of(event(2, "of a later version", Progress())) is None
    value = chunks.value_of(data(3))
    assert (value is not None and value.value, chunks.is_complete) == (b"v", False)
    assert chunks.value_of(ToolStreamChunk(sequence=4, complete=CompleteSignal())) is None
    assert chunks.is_complete
    assert told == [Progress(current=1), LogRecord(message="m")]


def test_events_that_nobody_wants_are_not_read() -> None:
    chunks = ChunkReader("t")
    assert chunks.value_of(event(0, "progress", None)) is None
    assert chunks.value_of(event(1, "log", None)) is None


@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        (data(1), "the stream of t has a gap: chunk 1 came where 0 was due"),
        (ToolStreamChunk(), "chunk 0 of the stream of t is empty"),
        (event(0, "progress", LogRecord()), "the stream of t has an invalid 'progress' event"),
        (event(0, "log", None), "the stream of t has an invalid 'log' event"),
    ],
)
def test_a_chunk_that_breaks_the_protocol_is_refused(chunk: ToolStreamChunk, text: str) -> None:
    with pytest.raises(ProtocolError, match=text):
        ChunkReader("t", on_progress=print, on_log=print).value_of(chunk)


def test_an_error_is_raised_with_the_id_of_the_call() -> None:
    chunk = ToolStreamChunk(stream_id="r", error=ErrorInfo(type="KeyError", message="gone"))
    with pytest.raises(ToolExecutionError, match="gone") as caught:
        ChunkReader("t").value_of(chunk)
    assert caught.value.request_id == "r"


def test_values_that_together_take_too_much_are_refused() -> None:
    chunks = ChunkReader("t", most=3)
    assert chunks.value_of(data(0, b"123")) is not None
    with pytest.raises(MessageTooLargeError, match="the list of what t yields"):
        chunks.value_of(data(1, b"4"))
