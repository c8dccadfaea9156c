"""What a status of a gRPC service means, as an error of the tool."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2 as rpc
from google.rpc import status_pb2

from grpc_tool_bridge.adapters.grpc.methods import Method
from grpc_tool_bridge.errors import MAX_DETAILS, ExternalToolError, MessageTooLargeError, wire_text

_STATUS_KEY = "grpc-status-details-bin"
_MAX_TEXT_CHARS = 8_192
_MAX_DETAIL_CHARS = 2_048

Code = grpc.StatusCode

# The type of the error for each code, and whether it is one of the bridge's table, so that it has the same meaning.
_TYPES: Mapping[grpc.StatusCode, tuple[str, bool]] = {
    Code.CANCELLED: ("Cancelled", True),
    Code.UNKNOWN: ("UnknownError", False),
    Code.INVALID_ARGUMENT: ("ValidationError", True),
    Code.DEADLINE_EXCEEDED: ("TimeoutError", True),
    Code.NOT_FOUND: ("NotFoundError", False),
    Code.ALREADY_EXISTS: ("AlreadyExists", True),
    Code.PERMISSION_DENIED: ("PermissionDenied", True),
    Code.RESOURCE_EXHAUSTED: ("ResourceExhausted", True),
    Code.FAILED_PRECONDITION: ("FailedPrecondition", False),
    Code.ABORTED: ("Aborted", False),
    Code.OUT_OF_RANGE: ("OutOfRange", False),
    Code.UNIMPLEMENTED: ("Unimplemented", True),
    Code.INTERNAL: ("InternalError", False),
    Code.UNAVAILABLE: ("WorkerUnavailable", True),
    Code.DATA_LOSS: ("DataLoss", False),
    Code.UNAUTHENTICATED: ("Unauthenticated", True),
}
# What gRPC itself says of a response over the limit: its size, and the limit.
_TOO_LARGE = re.compile(r"CLIENT: Received message larger than max \((\d+) vs\. (\d+)\)")

# Details of our own, which those of a service must not replace.
_OWN = frozenset({"origin", "service", "method", "status"})


def failure_of(error: grpc.RpcError, method: Method, service: str) -> ExternalToolError:
    """Returns the error of a call that ended with a status.

    Args:
        error: What grpc.aio has raised.
        method: The method that was called.
        service: What texts call its service.
    """
    code = error.code() if isinstance(error, grpc.aio.AioRpcError) else Code.UNKNOWN
    said = (error.details() if isinstance(error, grpc.aio.AioRpcError) else "") or ""
    if code == Code.RESOURCE_EXHAUSTED and (sizes := _TOO_LARGE.search(said)):
        told = MessageTooLargeError.of("its response", int(sizes[1]), int(sizes[2]))
        return error_for(method, service, told.error_type, told.message, status=code.name, **told.details)
    kind, of_table = _TYPES.get(code, ("UnknownError", False))
    facts: dict[str, str] = {}
    trailing = error.trailing_metadata() if isinstance(error, grpc.aio.AioRpcError) else None
    for key, value in trailing or ():
        if key == _STATUS_KEY and isinstance(value, bytes):
            facts.update(_details_in(value))
    text = said or facts.get("localized_message") or f"it ended with {code.name}, and says no more"
    retryable = True if of_table and code == Code.UNAVAILABLE else None
    return error_for(
        method,
        service,
        kind,
        text,
        origin="bridge" if of_table else "tool",
        retryable=retryable,
        status=code.name,
        **facts,
    )


def error_for(
    method: Method,
    service: str,
    kind: str,
    text: str,
    *,
    origin: str = "bridge",
    retryable: bool | None = None,
    **details: str,
) -> ExternalToolError:
    """Returns an error of a call whose text names the method and the service."""
    facts = {"origin": origin, "service": service, "method": method.full_name, **details}
    message = f"{method.full_name} of the gRPC service {service}: {wire_text(text, _MAX_TEXT_CHARS)}"
    return ExternalToolError(method.tool, kind, message, facts, retryable=retryable)


def unavailable(method: Method, service: str, why: str) -> ExternalToolError:
    """Returns the error for a call while the service is away."""
    text = f"the service is not there: {why}; call again later"
    return error_for(method, service, "WorkerUnavailable", text, retryable=True, status=Code.UNAVAILABLE.name)


def _details_in(data: bytes) -> dict[str, str]:
    """Reads what a status carries beside its text: messages of google.rpc."""
    try:
        status = status_pb2.Status.FromString(data)
    except DecodeError:
        return {}
    found: dict[str, str] = {}
    others: list[str] = []
    for item in status.details:
        reading = _READINGS.get(item.type_url.rpartition("/")[2])
        if reading is None:
            others.append(item.type_url.rpartition("/")[2] or item.type_url)
            continue
        message = reading[0]()
        try:
            message.ParseFromString(item.value)
        except DecodeError:
            others.append(item.type_url)
            continue
        for key, value in reading[1](message):
            name = f"field.{key}" if key in _OWN else key
            if value and name not in found and len(found) < MAX_DETAILS - len(_OWN) - 1:
                found[wire_text(name, 256)] = wire_text(value, _MAX_DETAIL_CHARS)
    if others:
        found["other_details"] = wire_text(", ".join(others), _MAX_DETAIL_CHARS)
    return found


Facts = Iterable[tuple[str, str]]


def _retry(info: rpc.RetryInfo) -> Facts:
    delay = info.retry_delay
    seconds = delay.seconds + delay.nanos / 1e9
    if info.HasField("retry_delay") and seconds >= 0:
        yield "retry_after", f"{seconds:g}"


def _bad_request(bad: rpc.BadRequest) -> Facts:
    for item in bad.field_violations:
        yield item.field or "request", item.description or item.reason or "is not valid"


def _error_info(info: rpc.ErrorInfo) -> Facts:
    yield "reason", info.reason
    yield "domain", info.domain
    for key, value in sorted(info.metadata.items()):
        yield f"metadata.{key}", value


def _quota(failure: rpc.QuotaFailure) -> Facts:
    yield "quota", "; ".join(f"{item.subject}: {item.description}" for item in failure.violations)


def _precondition(failure: rpc.PreconditionFailure) -> Facts:
    yield (
        "precondition",
        "; ".join(f"{item.type} {item.subject}: {item.description}".strip() for item in failure.violations),
    )


def _resource(info: rpc.ResourceInfo) -> Facts:
    yield "resource_type", info.resource_type
    yield "resource_name", info.resource_name
    yield "resource_owner", info.owner
    yield "resource_description", info.description


def _help(links: rpc.Help) -> Facts:
    yield "help", "; ".join(f"{item.description} {item.url}".strip() for item in links.links)


def _localized(message: rpc.LocalizedMessage) -> Facts:
    yield "localized_message", message.message
    yield "locale", message.locale


def _request(info: rpc.RequestInfo) -> Facts:
    yield "service_request_id", info.request_id


def _nothing(_: Any) -> Facts:
    """Leaves out what is for the developers of the service alone."""
    return ()


_READINGS: Mapping[str, tuple[type[Message], Callable[[Any], Facts]]] = {
    kind.DESCRIPTOR.full_name: (kind, reading)
    for kind, reading in (
        (rpc.RetryInfo, _retry),
        (rpc.BadRequest, _bad_request),
        (rpc.ErrorInfo, _error_info),
        (rpc.QuotaFailure, _quota),
        (rpc.PreconditionFailure, _precondition),
        (rpc.ResourceInfo, _resource),
        (rpc.Help, _help),
        (rpc.LocalizedMessage, _localized),
        (rpc.RequestInfo, _request),
        (rpc.DebugInfo, _nothing),
    )
}
