"""What a status of a gRPC service means: as an error of a tool, or as why the service could not be read."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc.aio
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2 as rpc
from google.rpc import status_pb2

from grpc_tool_bridge.adapters.grpc.bounds import Bounds, one_line
from grpc_tool_bridge.adapters.grpc.methods import Method
from grpc_tool_bridge.errors import (
    MAX_DETAILS,
    ExternalToolError,
    MessageTooLargeError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
    wire_text,
)

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

_MAX_REASON_CHARS = 500
# What no restart of the service changes: the certificate or the settings are wrong.
_OF_TLS = re.compile(r"CERTIFICATE_VERIFY_FAILED|WRONG_VERSION_NUMBER|Hostname Verification|certificate", re.IGNORECASE)
_TLS_HINTS = (
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted; name its authority as tls_ca"),
    ("Hostname Verification", "its certificate is for another name; give that as tls_server_name"),
    ("WRONG_VERSION_NUMBER", "it does not use TLS at this port"),
)
_LAST_ERROR = re.compile(r"failed to connect to all addresses; last error: (?:\w+: )?")

# What helps against a status of a reading.
_HINTS = {
    Code.UNAUTHENTICATED: "give it a token as metadata",
    Code.PERMISSION_DENIED: "its metadata does not admit this",
    Code.RESOURCE_EXHAUSTED: "raise max_message_bytes, or describe it by a descriptor set",
}

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


# ------------------------------------------------------------------------------------------------------------- readings


@dataclass(frozen=True, slots=True)
class ReadingFailure:
    """Why a service could not be read.

    Attributes:
        text: Why, for people.
        is_away: Whether it is not there, so that its calls fail, too.
        is_final: Whether it makes no sense to try again, where it has never been read.
        error: The error of the bridge that says so, if there is one.
    """

    text: str
    is_away: bool = False
    is_final: bool = True
    error: ToolBridgeError | None = None

    def error_of(self, service: str) -> ToolBridgeError:
        """Returns the error for ``start``."""
        text = f"gRPC service {service}: {self.text}"
        return ValidationError(text) if isinstance(self.error, ValidationError) else UnavailableError(text)


def reading_failure(error: Exception, bounds: Bounds, *, is_connected: bool) -> ReadingFailure:
    """Reads what a reading has raised.

    Args:
        error: The error.
        bounds: Those of the service.
        is_connected: Whether the connection is there.
    """
    if isinstance(error, ToolBridgeError):
        return ReadingFailure(one_line(error.message, _MAX_REASON_CHARS), error=error)
    if isinstance(error, ImportError):
        return ReadingFailure(str(error))
    is_late = isinstance(error, TimeoutError)
    if isinstance(error, grpc.aio.AioRpcError):
        code, said = error.code(), one_line(error.details() or "", _MAX_REASON_CHARS)
        is_late = code == grpc.StatusCode.DEADLINE_EXCEEDED
        if code == grpc.StatusCode.UNAVAILABLE:
            text = _LAST_ERROR.sub("", said) or "the connection was lost"
            hint = next((f"{hint} ({text})" for what, hint in _TLS_HINTS if what.lower() in said.lower()), text)
            return ReadingFailure(hint, is_away=True, is_final=bool(_OF_TLS.search(said)))
        if not is_late:
            hint = f"; {_HINTS[code]}" if code in _HINTS else ""
            return ReadingFailure(f"it answers {code.name}: {said}{hint}")
    if is_late and not is_connected:
        return ReadingFailure(f"no connection within {bounds.start_seconds:g} s", is_away=True, is_final=False)
    if is_late:
        return ReadingFailure(f"it did not describe itself within {bounds.start_seconds:g} s")
    return ReadingFailure(f"it cannot be read: {type(error).__name__}: {one_line(str(error), _MAX_REASON_CHARS)}")


async def probe(channel: grpc.aio.Channel, bounds: Bounds) -> None:
    """Finds out whether anybody answers at the end of a channel, and be it that there is no health service.

    Raises:
        grpc.aio.AioRpcError: Nobody does; its code is UNAVAILABLE or DEADLINE_EXCEEDED.
    """
    try:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        await check(b"", timeout=bounds.start_seconds)
    except grpc.aio.AioRpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            raise
