"""Maps an error of the bridge to the status that ends a call of a link, and back.

If the peer ended a call, the call has an error of the bridge, by its type or by its status. If the link failed, it has
a ToolCommunicationError, whose code names a status: so the two cannot be confused.
"""

from enum import IntEnum

from grpc_tool_bridge.errors import (
    CallCancelledError,
    DeadlineExceededError,
    ProtocolError,
    ResourceExhaustedError,
    ToolBridgeError,
    ToolCommunicationError,
    UnavailableError,
    error_from_info,
    error_info,
    error_rule,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkStatus


class Code(IntEnum):
    """The status codes of a link: those of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


# Of a whole status: it is sent in one piece, and a frame has at most 1 MiB. Only an odd error of a tool is larger.
MAX_STATUS_BYTES = 256 * 1024
_KEPT_DETAILS = ("origin", "retry_after")

# The errors for statuses that a peer may send without an error.
_ERROR_OF_CODE: dict[int, type[ToolBridgeError]] = {
    Code.CANCELLED: CallCancelledError,
    Code.DEADLINE_EXCEEDED: DeadlineExceededError,
    Code.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    Code.UNAVAILABLE: UnavailableError,
}

# Errors of a dial that dialling again would not fix.
PERMANENT_CODES = frozenset(
    {
        Code.UNAUTHENTICATED,
        Code.PERMISSION_DENIED,
        Code.INVALID_ARGUMENT,
        Code.FAILED_PRECONDITION,
        Code.NOT_FOUND,
    }
)


def link_status_of(error: BaseException) -> LinkStatus:
    """Returns the status for an exception; it contains the whole error, unless that is larger than MAX_STATUS_BYTES."""
    info = error_info(error)
    if info.ByteSize() > MAX_STATUS_BYTES:
        info.stacktrace = ""
        for name in [name for name in info.details if name not in _KEPT_DETAILS]:
            if info.ByteSize() > MAX_STATUS_BYTES:
                del info.details[name]
    rule = error_rule(info.type, origin=info.details.get("origin", "bridge"))
    return LinkStatus(code=Code[rule.status], message=info.message, error=info)


def error_of_status(status: LinkStatus) -> ToolBridgeError:
    """Returns the error for the status with which a worker ended a call."""
    if status.error.type:
        return error_from_info(status.error)
    kind = _ERROR_OF_CODE.get(status.code)
    if kind is not None:
        return kind(status.message or "the worker gave no reason")
    return ProtocolError(f"the worker ended the call with status {status.code}: {status.message}")


def link_error(code: Code, text: str) -> ToolCommunicationError:
    """Returns the error for a call or a dial that failed because of the link."""
    return ToolCommunicationError("Link", code.name, text)


def code_of(error: ToolBridgeError) -> Code:
    """Returns the status of a dial's error."""
    if isinstance(error, ToolCommunicationError):
        return Code[error.code_name]
    return Code[error_rule(error.error_type).status]


def is_transient(error: ToolBridgeError) -> bool:
    """Returns whether another dial may succeed: a hub may come back, but a wrong token stays wrong."""
    return code_of(error) not in PERMANENT_CODES
