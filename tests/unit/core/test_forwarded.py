"""What the hub reads of what it only passes on."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpc_tool_bridge.core import forwarded as module
from grpc_tool_bridge.core.forwarded import SCANNED_BYTES, ForwardedChunk, ForwardedResponse, call_bytes
from grpc_tool_bridge.errors import ProtocolError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    CompleteSignal,
    ErrorInfo,
    StreamMetadata,
    ToolCallItem,
    ToolCallRequest,
    ToolCallResponse,
    ToolCallResult,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.buffers import joined
from grpc_tool_bridge.runner.runner import set_duration
from grpc_tool_bridge.values.serialization import serialize_value

LARGE = "x" * SCANNED_BYTES
ERROR = ErrorInfo(type="ValueError", message="no", stacktrace="Traceback …")


def answer(data: bytes, *, show_traceback: bool = True) -> ForwardedResponse:
    return ForwardedResponse(data, "t", show_traceback=show_traceback)


def chunk(data: bytes, sequence: int = 0, *, show_traceback: bool = True) -> ForwardedChunk:
    return ForwardedChunk(data, "t", sequence, show_traceback=show_traceback)


def test_an_item_of_a_batch_becomes_a_call_of_its_session() -> None:
    item = ToolCallItem(tool_id="t", args=[serialize_value(1)], kwargs={"k": serialize_value(2)}, index=5)
    request = ToolCallRequest.FromString(call_bytes(item, "s"))
    assert request == ToolCallRequest(session_id="s", tool_id="t", args=item.args, kwargs=item.kwargs)


def test_a_call_is_written_as_it_is() -> None:
    request = ToolCallRequest(session_id="s", tool_id="t", request_id="r")
    assert ToolCallRequest.FromString(call_bytes(request, "other")) == request


def test_the_request_of_a_stream_is_written_as_it_is() -> None:
    request = ToolStreamRequest(session_id="s", tool_id="t", stream_id="id")
    assert ToolStreamRequest.FromString(call_bytes(request, "other")) == request


def seen(data: bytes) -> Any:
    """Returns what is made of an answer."""
    try:
        response = answer(data, show_traceback=False)
        given = ToolCallResponse()
        response.put_into(given)
    except ProtocolError as error:
        return str(error)
    return response.success, response.data, given


class TestAnswers:
    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        value=st.one_of(st.integers(), st.text(max_size=200), st.lists(st.integers(), max_size=3), st.none()),
        duration_us=st.integers(0, 2**40),
        change=st.one_of(st.none(), st.tuples(st.floats(0, 1), st.binary(max_size=2))),
        shape=st.sampled_from(["success", "no metrics", "request id", "error", "both"]),
    )
    def test_what_is_seen_to_be_a_success_is_one_when_it_is_parsed(
        self, monkeypatch: pytest.MonkeyPatch, value: Any, duration_us: int, change: Any, shape: str
    ) -> None:
        response = ToolCallResponse(success=shape != "error")
        if shape != "error":
            response.result.CopyFrom(serialize_value(value))
        if shape != "no metrics":
            set_duration(response.metrics, duration_us)
        if shape == "request id":
            response.request_id = "r"
        if shape in ("error", "both"):
            response.error.CopyFrom(ERROR)
        data = response.SerializeToString()
        if change is not None:
            place = int(change[0] * len(data))
            data = data[:place] + change[1] + data[place + 1 :]
        short = seen(data)
        with monkeypatch.context() as patch:
            patch.setattr(module, "is_success", lambda _: False)
            assert seen(data) == short

    @pytest.mark.parametrize("value", [1, LARGE])
    @pytest.mark.parametrize("into", [ToolCallResponse, ToolCallResult])
    def test_a_result_is_passed_on_as_it_came(self, value: Any, into: Any) -> None:
        response = ToolCallResponse(success=True, result=serialize_value(value))
        response.metrics.duration_us = 7
        data = response.SerializeToString()
        passed = answer(data, show_traceback=False)
        assert passed.success
        assert passed.data is data
        given = into()
        passed.put_into(given)
        assert (given.success, given.result, given.metrics.duration_us) == (True, response.result, 7)

    @pytest.mark.parametrize("text", ["no", LARGE])
    def test_an_error_is_passed_on_with_its_traceback_only_where_that_may_be_seen(self, text: str) -> None:
        response = ToolCallResponse(error=ERROR)
        response.error.message = text
        data = response.SerializeToString()
        shown = answer(data)
        assert (shown.success, shown.data) == (False, data)
        hidden = answer(data, show_traceback=False)
        error = ToolCallResponse.FromString(joined(hidden.data)).error
        assert (error.type, error.message, error.stacktrace) == ("ValueError", text, "")
        given = ToolCallResponse()
        hidden.put_into(given)
        assert (given.success, given.error) == (False, error)

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"\xff\xff", "the answer to t, which a worker sent, cannot be read"),
            (b"\xff" * (SCANNED_BYTES + 1), "cannot be read"),
            (b"", "neither a result nor an error"),
            (ToolCallResponse(request_id=LARGE).SerializeToString(), "neither a result nor an error"),
            (ToolCallResponse(success=True).SerializeToString(), "has no result"),
            (ToolCallResponse(success=True, request_id=LARGE).SerializeToString(), "has no result"),
        ],
    )
    def test_what_is_no_answer_is_an_error_of_the_worker(self, data: bytes, text: str) -> None:
        with pytest.raises(ProtocolError, match=text):
            answer(data)

    def test_a_result_that_cannot_be_read_is_an_error_where_it_is_read(self) -> None:
        result = serialize_value(LARGE)
        data = ToolCallResponse(success=True, result=result).SerializeToString()
        broken = data.replace(result.SerializeToString(), b"\xff" * result.ByteSize())
        passed = answer(broken)
        with pytest.raises(ProtocolError, match="cannot be read"):
            passed.put_into(ToolCallResponse())


class TestChunks:
    def test_a_value_is_passed_on_as_it_came(self) -> None:
        for value in (1, LARGE):
            message = ToolStreamChunk(stream_id="s", sequence=3, data=serialize_value(value))
            passed = chunk(message.SerializeToString(), 3)
            assert (passed.is_last, passed.error, passed.data) == (False, None, message.SerializeToString())
            assert passed.message() == message

    def test_what_a_tool_tells_is_passed_on(self) -> None:
        message = ToolStreamChunk(metadata=StreamMetadata(key="progress"))
        assert not chunk(message.SerializeToString()).is_last

    def test_the_end_is_the_last(self) -> None:
        passed = chunk(ToolStreamChunk(sequence=1, complete=CompleteSignal()).SerializeToString(), 1)
        assert passed.is_last
        assert passed.error is None

    def test_an_error_is_the_last_and_shows_its_traceback_only_where_that_may_be_seen(self) -> None:
        data = ToolStreamChunk(error=ERROR).SerializeToString()
        shown = chunk(data)
        assert (shown.is_last, shown.error, shown.data) == (True, ERROR, data)
        hidden = chunk(data, show_traceback=False)
        assert hidden.error is not None
        assert not hidden.error.stacktrace
        assert not hidden.message().error.stacktrace

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"\xff\xff", "a chunk of t, which a worker sent, cannot be read"),
            (ToolStreamChunk(sequence=1, data=serialize_value(1)).SerializeToString(), "chunk 1 came where 0 was due"),
            (ToolStreamChunk(sequence=-1, data=serialize_value(1)).SerializeToString(), "has a gap"),
            (ToolStreamChunk(stream_id="s").SerializeToString(), "chunk 0 of the worker's stream of t is empty"),
        ],
    )
    def test_what_is_no_chunk_is_an_error_of_the_worker(self, data: bytes, text: str) -> None:
        with pytest.raises(ProtocolError, match=text):
            chunk(data)

    def test_an_error_that_cannot_be_read_is_one_of_the_worker(self) -> None:
        tag = ToolStreamChunk(error=ErrorInfo()).SerializeToString()[:1]
        with pytest.raises(ProtocolError, match="cannot be read"):
            chunk(tag + b"\x02\xff\xff")
