"""The vectors of errors: ErrorInfo, gRPC statuses that carry one, and the table of error types."""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from conformance.payloads import write_bytes
from grpc_tool_bridge.errors import ERROR_TABLE, TOOL_RAISED, ToolBridgeError, ToolCommunicationError, error_from_info
from grpc_tool_bridge.link.status import Code
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, LinkStatus
from grpc_tool_bridge.transport.status import ERROR_KEY, from_link_status, from_rpc_error

Entry = dict[str, Any]

# 2026-03-01T12:30:00.123456789Z
_MOMENT = Timestamp(seconds=1_772_368_200, nanos=123_456_789)


def error_table() -> list[Entry]:
    """Returns the row of each error type of the bridge, and one for whatever a tool raises."""
    rules = {**ERROR_TABLE, "<ExceptionClass>": TOOL_RAISED}
    return [
        {
            "error_type": name,
            "code": int(Code[rule.status]),
            "status": rule.status,
            "http": rule.http,
            "retryable": rule.retryable,
        }
        for name, rule in rules.items()
    ]


def error_vectors() -> list[Entry]:
    """Returns every vector of an error: what carries it, and what it means."""
    return [*_infos(), *_statuses()]


def meaning_of(error: ToolBridgeError) -> Entry:
    """Returns what an error says, whatever carried it."""
    if isinstance(error, ToolCommunicationError):
        # No ErrorInfo came: all that is known is the status.
        return {"status": error.code_name, "message": error.message, "retryable": error.retryable}
    return {
        "type": error.error_type,
        "message": error.message,
        "details": dict(sorted(error.details.items())),
        "origin": error.details.get("origin", "bridge"),
        "stacktrace": error.remote_traceback,
        "retryable": error.retryable,
    }


def read_info(payload: bytes) -> ToolBridgeError:
    """Reads an error from an ErrorInfo."""
    return error_from_info(ErrorInfo.FromString(payload))


def read_status(code: int, message: str, trailer: bytes | None) -> ToolBridgeError:
    """Reads an error from a gRPC status and its trailing metadata."""
    carrier = from_link_status(LinkStatus(code=code, message=message))
    trailing = ((ERROR_KEY, trailer),) if trailer is not None else ()
    found = SimpleNamespace(code=carrier.code, details=carrier.details, trailing_metadata=lambda: trailing)
    return from_rpc_error(found, method="ExecuteTool")


def _infos() -> Iterator[Entry]:
    for name, info in _errors().items():
        # Maps have no order on the wire; sorted, the file is always the same.
        payload = info.SerializeToString(deterministic=True)
        rule = ERROR_TABLE.get(info.type, TOOL_RAISED) if info.details.get("origin") != "tool" else TOOL_RAISED
        yield {
            "name": f"info: {name}",
            "info": write_bytes(payload),
            "code": int(Code[rule.status]),
            "meaning": meaning_of(read_info(payload)),
            # An error without a text is read, but nobody writes one.
            **({"timestamp": _timestamp(info)} if info.message else {}),
        }


def _timestamp(info: ErrorInfo) -> Entry:
    return {"seconds": str(info.timestamp.seconds), "nanos": info.timestamp.nanos}


def _errors() -> Mapping[str, ErrorInfo]:
    rows = {
        name: ErrorInfo(
            type=name,
            message=f"what {name} says",
            details={"origin": "bridge"},
            timestamp=_MOMENT,
            retryable=rule.retryable,
        )
        for name, rule in ERROR_TABLE.items()
    }
    return rows | {
        "raised by a tool": ErrorInfo(
            type="KeyError",
            message="'name'",
            details={"origin": "tool"},
            stacktrace="Traceback (most recent call last):\n  File \"tools.py\", line 3, in look\nKeyError: 'name'\n",
            timestamp=_MOMENT,
        ),
        "raised by a tool under a name of the bridge": ErrorInfo(
            type="TimeoutError", message="the tool's own", details={"origin": "tool"}, timestamp=_MOMENT
        ),
        "retry_after": ErrorInfo(
            type="ResourceExhausted",
            message="too many calls",
            details={"origin": "bridge", "retry_after": "0.1"},
            timestamp=_MOMENT,
            retryable=True,
        ),
        "a retryable type without the flag": ErrorInfo(
            type="WorkerUnavailable", message="gone", details={"origin": "bridge"}
        ),
        "without details": ErrorInfo(type="ValidationError", message="wrong"),
        "without a message": ErrorInfo(type="ValueError", details={"origin": "tool"}),
        "a text in every script": ErrorInfo(
            type="Ошибка", message="日本 😀\n\x00", details={"origin": "tool", "é": "ü"}
        ),
        "an unknown type of the bridge": ErrorInfo(type="NewInVersion9", message="later", details={"origin": "bridge"}),
    }


def _statuses() -> Iterator[Entry]:
    info = ErrorInfo(
        type="SessionExpired", message="session 's' has ended", details={"origin": "bridge"}, timestamp=_MOMENT
    ).SerializeToString()
    cases: Mapping[str, tuple[Code, str, bytes | None]] = {
        "with its error": (Code.FAILED_PRECONDITION, "session 's' has ended", info),
        "of another code than its error": (Code.INTERNAL, "something else", info),
        "UNAVAILABLE without an error": (Code.UNAVAILABLE, "connection refused", None),
        "DEADLINE_EXCEEDED without an error": (Code.DEADLINE_EXCEEDED, "too late", None),
        "UNIMPLEMENTED without an error": (Code.UNIMPLEMENTED, "no such method", None),
        "with an error that cannot be read": (Code.NOT_FOUND, "no such thing", b"\x0a\x7fx"),
        "with an error without a type": (Code.NOT_FOUND, "no such thing", b""),
        "of a message that gRPC found too large": (
            Code.RESOURCE_EXHAUSTED,
            "Received message larger than max (5 vs. 4)",
            None,
        ),
    }
    for name, (code, message, trailer) in cases.items():
        yield {
            "name": f"status: {name}",
            "status": {"code": int(code), "message": message},
            "trailers": {} if trailer is None else {ERROR_KEY: write_bytes(trailer)},
            "meaning": meaning_of(read_status(code, message, trailer)),
        }
