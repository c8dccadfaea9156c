"""Between an error of the bridge and a gRPC status."""

from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpc_tool_bridge.errors import (
    ERROR_TABLE,
    MessageTooLargeError,
    NotFoundError,
    ResourceExhaustedError,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    ToolTimeoutError,
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo
from grpc_tool_bridge.transport.status import ERROR_KEY, MAX_TRAILER_BYTES, from_rpc_error, status_of


class Failed(grpc.RpcError):
    """A failed RPC, as a stub raises it."""

    def __init__(self, code: grpc.StatusCode, details: str | None = "", trailer: Any = ()) -> None:
        super().__init__()
        self._parts = code, details, trailer

    def code(self) -> grpc.StatusCode:
        return self._parts[0]

    def details(self) -> str | None:
        return self._parts[1]

    def trailing_metadata(self) -> Any:
        return self._parts[2]


def failed(error: BaseException) -> Failed:
    return Failed(*status_of(error))


@pytest.mark.parametrize("error_type", ERROR_TABLE)
def test_every_type_of_the_table_has_its_status_and_comes_back_whole(error_type: str) -> None:
    rpc = failed(ToolBridgeError("it went wrong", error_type=error_type, details={"k": "v"}))
    assert rpc.code().name == ERROR_TABLE[error_type].status
    assert rpc.details() == "it went wrong"
    back = from_rpc_error(rpc)
    assert (back.error_type, back.message, back.details["k"]) == (error_type, "it went wrong", "v")


def test_an_error_that_is_not_the_bridges_is_internal_and_tells_nothing() -> None:
    code, text, trailer = status_of(LookupError("secret"))
    assert code is grpc.StatusCode.INTERNAL
    assert "secret" not in text
    assert b"secret" not in trailer[0][1]


def test_what_a_tool_raised_is_unknown() -> None:
    error = ToolBridgeError("m", error_type="TimeoutError", details={"origin": "tool"})
    assert status_of(error)[0] is grpc.StatusCode.UNKNOWN


def test_of_a_tools_call_a_tool_error_comes_back() -> None:
    error = from_rpc_error(failed(NotFoundError("no such tool")), tool_name="add")
    assert isinstance(error, ToolExecutionError)
    assert (error.tool_name, error.error_type) == ("add", "ToolNotFound")
    timed_out = failed(ToolBridgeError("m", error_type="TimeoutError"))
    assert isinstance(from_rpc_error(timed_out, tool_name="add"), ToolTimeoutError)


def test_a_long_error_loses_its_traceback_first() -> None:
    error = ValidationError("m", details={"a": "is missing"}, remote_traceback="x" * 10_000)
    back = from_rpc_error(failed(error))
    assert (back.message, back.details["a"], back.remote_traceback) == ("m", "is missing", "")


def test_a_longer_error_keeps_its_beginning_and_when_to_come_back() -> None:
    error = ResourceExhaustedError("m" * 10_000, details={"retry_after": "2", "more": "x" * 4_000})
    back = from_rpc_error(failed(error))
    assert back.message.startswith("mmm")
    assert (back.retry_after, "more" in back.details) == (2, False)


@given(
    st.text(max_size=20).map(lambda text: text * 300),
    st.text(min_size=1, max_size=10).map(lambda text: text * 30),
    st.dictionaries(st.sampled_from(["origin", "retry_after", "a", "b"]), st.text(max_size=9).map(lambda t: t * 500)),
    st.sampled_from(["", "trace" * 5_000]),
)
def test_whatever_the_error_the_status_fits_in_headers(
    message: str, error_type: str, details: dict[str, str], trace: str
) -> None:
    error = ToolBridgeError(message, error_type=error_type, details=details, remote_traceback=trace)
    _, text, ((key, data),) = status_of(error)
    assert len(data) <= MAX_TRAILER_BYTES
    # In the header a byte takes three, where it is not printable ASCII.
    assert 3 * len(text.encode()) <= 4_096
    assert ErrorInfo.FromString(data).type
    assert key == ERROR_KEY


@pytest.mark.parametrize("tool_name", [None, "add"])
def test_a_status_without_an_error_was_not_answered(tool_name: str | None) -> None:
    error = from_rpc_error(Failed(grpc.StatusCode.CANCELLED, "gone"), tool_name=tool_name, method="Heartbeat")
    assert isinstance(error, ToolCommunicationError)
    assert (error.code, error.details) == (grpc.StatusCode.CANCELLED, "gone")
    assert error.tool_name == (tool_name or "Heartbeat")


@pytest.mark.parametrize("details", ["", "CANCELLED", "Received RST_STREAM with error code 8"])
def test_a_call_that_the_other_end_has_cancelled_may_be_tried_again(details: str) -> None:
    error = from_rpc_error(Failed(grpc.StatusCode.CANCELLED, details), method="Heartbeat", where="far:1")
    assert isinstance(error, ToolCommunicationError)
    assert error.retryable
    ended = "the call was ended before its answer, as by a hub that stops"
    assert str(error) == f"Heartbeat: UNAVAILABLE: no answer from the hub at far:1: {ended}"


def test_where_nobody_answers_the_address_is_named() -> None:
    error = from_rpc_error(Failed(grpc.StatusCode.UNAVAILABLE, "refused"), method="Heartbeat", where="far:1")
    assert error.message == "no answer from the hub at far:1: refused"


@pytest.mark.parametrize(
    "details",
    ["Received message larger than max (5 vs. 4)", "SERVER: Sent message larger than max", "message too large: 5"],
)
def test_grpcs_own_limit_is_a_message_too_large(details: str) -> None:
    rpc = Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, details)
    error = from_rpc_error(rpc)
    assert isinstance(error, MessageTooLargeError)
    assert details in error.message
    of_tool = from_rpc_error(rpc, tool_name="add")
    assert isinstance(of_tool, ToolExecutionError)
    assert (of_tool.error_type, of_tool.retryable) == ("MessageTooLarge", False)


def test_another_exhaustion_was_not_answered() -> None:
    error = from_rpc_error(Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many pings"), method="Heartbeat")
    assert isinstance(error, ToolCommunicationError)


@pytest.mark.parametrize("trailer", [None, (), ((ERROR_KEY, b"\xff\xff"),), ((ERROR_KEY, b""),), (("other", "x"),)])
def test_a_trailer_that_cannot_be_read_counts_as_none(trailer: Any) -> None:
    error = from_rpc_error(Failed(grpc.StatusCode.ABORTED, "text", trailer), method="Heartbeat")
    assert isinstance(error, ToolCommunicationError)
    assert error.details == "text"


def test_an_rpc_error_that_tells_nothing_is_unknown() -> None:
    error = from_rpc_error(grpc.RpcError(), method="Heartbeat")
    assert isinstance(error, ToolCommunicationError)
    assert error.code is grpc.StatusCode.UNKNOWN
    assert isinstance(from_rpc_error(Failed(grpc.StatusCode.ABORTED, None), method="X"), ToolCommunicationError)
