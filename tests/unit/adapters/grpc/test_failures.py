"""What a status means, as an error of the tool, and for a service that is read."""

from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2

from grpc_tool_bridge.adapters.grpc.bounds import Bounds
from grpc_tool_bridge.adapters.grpc.descriptors import Descriptors
from grpc_tool_bridge.adapters.grpc.failures import error_for, failure_of, probe, reading_failure, unavailable
from grpc_tool_bridge.adapters.grpc.methods import Method, methods_of
from grpc_tool_bridge.adapters.naming import Naming
from grpc_tool_bridge.errors import (
    MAX_DETAILS,
    ExternalToolError,
    ProtocolError,
    UnavailableError,
    ValidationError,
    error_info,
)
from support.grpc_services.lying import file_of
from support.grpc_services.serving import serving
from support.waiting import soon


@pytest.fixture(scope="module")
def method() -> Method:
    return methods_of(Descriptors.of([file_of("a.proto", package="a", service="S")]), Naming("w", "w"))[0][0]


def failure(method: Method, code: grpc.StatusCode, said: str = "no", *details: Any) -> ExternalToolError:
    status = status_pb2.Status()
    for detail in details:
        status.details.add().Pack(detail)
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()), ("x", "y"))
    return failure_of(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, said), method, "weather")


@pytest.mark.parametrize("code", list(grpc.StatusCode)[1:])
def test_every_code_has_a_type_that_reaches_the_caller(method: Method, code: grpc.StatusCode) -> None:
    error = failure(method, code)
    info = error_info(error)
    assert (info.type, info.details["status"]) == (error.error_type, code.name)
    assert error.message == "a.S.Do of the gRPC service weather: no"
    assert info.retryable is (code.name in {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"})


def test_a_status_without_a_text_has_one(method: Method) -> None:
    assert "ended with ABORTED" in failure(method, grpc.StatusCode.ABORTED, "").message
    localized = error_details_pb2.LocalizedMessage(locale="de", message="nein")
    assert failure(method, grpc.StatusCode.ABORTED, "", localized).message.endswith(": nein")


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        (duration_pb2.Duration(seconds=90), 90.0),
        (duration_pb2.Duration(nanos=1), 1e-9),
        (duration_pb2.Duration(), 0.0),
        (duration_pb2.Duration(seconds=-3), None),
        (None, None),
    ],
)
def test_the_pause_before_the_next_try(method: Method, delay: Any, expected: float | None) -> None:
    info = error_details_pb2.RetryInfo(retry_delay=delay)
    assert failure(method, grpc.StatusCode.RESOURCE_EXHAUSTED, "no", info).retry_after == expected


def test_a_service_cannot_replace_our_own_details_or_give_too_many(method: Method) -> None:
    names = ["origin", "service", "method", "status", *(f"f{number}" for number in range(200))]
    violations = [error_details_pb2.BadRequest.FieldViolation(field=name, description="bad") for name in names]
    error = failure(method, grpc.StatusCode.NOT_FOUND, "no", error_details_pb2.BadRequest(field_violations=violations))
    assert (error.details["origin"], error.details["service"], error.details["method"]) == ("tool", "weather", "a.S.Do")
    assert error.details["field.origin"] == "bad"
    assert len(error.details) <= MAX_DETAILS


def test_the_first_of_two_details_counts(method: Method) -> None:
    one, two = (error_details_pb2.ErrorInfo(reason=reason) for reason in ("ONE", "TWO"))
    assert failure(method, grpc.StatusCode.ABORTED, "no", one, two).details["reason"] == "ONE"


def test_a_field_without_a_name_or_a_text(method: Method) -> None:
    bad = error_details_pb2.BadRequest(field_violations=[error_details_pb2.BadRequest.FieldViolation(reason="R")])
    assert failure(method, grpc.StatusCode.INVALID_ARGUMENT, "no", bad).details["request"] == "R"


def test_a_detail_that_cannot_be_read_is_named(method: Method) -> None:
    status = status_pb2.Status()
    status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff")
    status.details.add(type_url="x/unknown.T")
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    raised = grpc.aio.AioRpcError(grpc.StatusCode.ABORTED, grpc.aio.Metadata(), trailing, "no")
    error = failure_of(raised, method, "weather")
    assert error.details["other_details"] == "type.googleapis.com/google.rpc.RetryInfo, unknown.T"


def test_a_response_over_the_limit_is_too_large(method: Method) -> None:
    said = "CLIENT: Received message larger than max (2000 vs. 1000)"
    error = failure(method, grpc.StatusCode.RESOURCE_EXHAUSTED, said)
    assert (error.error_type, error.details["size"], error.details["limit"]) == ("MessageTooLarge", "2000", "1000")
    assert "message too large: its response takes 2,000 bytes" in error.message
    assert not error.retryable


def test_a_foreign_error_is_one_too(method: Method) -> None:
    assert failure_of(grpc.RpcError(), method, "weather").error_type == "UnknownError"


def test_errors_of_our_own(method: Method) -> None:
    away = unavailable(method, "weather", "it is closed")
    assert (away.error_type, away.retryable, away.tool_name) == ("WorkerUnavailable", True, "w.Do")
    assert "the service is not there: it is closed; call again later" in away.message
    assert error_for(method, "weather", "ProtocolError", "odd", more="x").details["more"] == "x"


Code = grpc.StatusCode
REFUSED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused"
BAD_CERTIFICATE = (
    "failed to connect to all addresses; last error: UNKNOWN: Ssl handshake failed: CERTIFICATE_VERIFY_FAILED"
)


def status(code: grpc.StatusCode, said: str = "") -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), said)


@pytest.mark.parametrize(
    ("error", "connected", "text", "is_away", "is_final"),
    [
        (status(Code.UNAVAILABLE, REFUSED), False, "ipv4:127.0.0.1:1: Connection refused", True, False),
        (status(Code.UNAVAILABLE), True, "the connection was lost", True, False),
        (status(Code.UNAVAILABLE, BAD_CERTIFICATE), False, "CERTIFICATE_VERIFY_FAILED", True, True),
        (status(Code.UNAUTHENTICATED, "who?"), True, "UNAUTHENTICATED: who?; give it a token as metadata", False, True),
        (status(Code.RESOURCE_EXHAUSTED, "big"), True, "raise max_message_bytes", False, True),
        (status(Code.INTERNAL, "a\nb"), True, "it answers INTERNAL: a b", False, True),
        (status(Code.DEADLINE_EXCEEDED), False, "no connection within 20 s", True, False),
        (status(Code.DEADLINE_EXCEEDED), True, "it did not describe itself within 20 s", False, True),
        (TimeoutError(), False, "no connection within 20 s", True, False),
        (TimeoutError(), True, "it did not describe itself within 20 s", False, True),
        (ProtocolError("it lies"), True, "it lies", False, True),
        (RuntimeError("odd"), True, "RuntimeError: odd", False, True),
    ],
)
def test_each_failure_says_why_and_whether_it_passes(
    error: Exception, connected: bool, text: str, is_away: bool, is_final: bool
) -> None:
    failure = reading_failure(error, Bounds(), is_connected=connected)
    assert text in failure.text
    assert (failure.is_away, failure.is_final) == (is_away, is_final)


def test_the_error_names_the_service() -> None:
    wrong = reading_failure(ValidationError("no such file"), Bounds(), is_connected=False).error_of("w")
    assert isinstance(wrong, ValidationError)
    assert wrong.message == "gRPC service w: no such file"
    other = reading_failure(ProtocolError("it lies"), Bounds(), is_connected=False).error_of("w")
    assert isinstance(other, UnavailableError)


async def test_a_probe_is_content_with_any_answer(unused_tcp_port: int) -> None:
    async with serving() as address, grpc.aio.insecure_channel(address) as channel:
        await soon(probe(channel, Bounds()))
    absent: Any = grpc.aio.insecure_channel(f"127.0.0.1:{unused_tcp_port}")
    async with absent as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await soon(probe(channel, Bounds()))
