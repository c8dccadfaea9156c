"""Between an error of the bridge and the status that ends a call of a link, in both directions.

A call that its peer ended has an error of the tree, by its type or by its status. One that the link itself could not
bring an answer for has a ToolCommunicationError, whose code names a status: so the two are never taken for one another.
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
    """The statuses of gRPC, which a link's are."""

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


# Statuses with which a peer may end a call although it tells no more of it.
_ERROR_OF_CODE: dict[int, type[ToolBridgeError]] = {
    Code.CANCELLED: CallCancelledError,
    Code.DEADLINE_EXCEEDED: DeadlineExceededError,
    Code.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    Code.UNAVAILABLE: UnavailableError,
}

# What a dial ends with that another one would not mend.
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
    """Maps an exception to the status that ends a call, with the whole error in it."""
    info = error_info(error)
    rule = error_rule(info.type, origin=info.details.get("origin", "bridge"))
    return LinkStatus(code=Code[rule.status], message=info.message, error=info)


def error_of_status(status: LinkStatus) -> ToolBridgeError:
    """Maps the status that a worker ended a call with to its error."""
    if status.error.type:
        return error_from_info(status.error)
    kind = _ERROR_OF_CODE.get(status.code)
    if kind is not None:
        return kind(status.message or "the worker gave no reason")
    return ProtocolError(f"the worker ended the call with status {status.code}: {status.message}")


def link_error(code: Code, text: str) -> ToolCommunicationError:
    """Makes the error of a call or a dial that a link could not bring an answer for."""
    return ToolCommunicationError("Link", code.name, text)


def code_of(error: ToolBridgeError) -> Code:
    """Tells the status of an error that a dial ended with."""
    if isinstance(error, ToolCommunicationError):
        return Code[error.code_name]
    return Code[error_rule(error.error_type).status]


def is_transient(error: ToolBridgeError) -> bool:
    """Tells whether a peer that could not be linked to may be in a while; a wrong token stays wrong."""
    return code_of(error) not in PERMANENT_CODES
