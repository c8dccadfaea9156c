"""Maps an error of the bridge to a gRPC status, and back."""

from typing import Any

import grpc
from grpc.aio import AioRpcError, Metadata

from grpc_tool_bridge.errors import (
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    error_from_info,
    error_info,
    error_rule,
    wire_text,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo, LinkStatus

# The client's modules use gRPC's errors by these names only.
RpcError = grpc.RpcError
CANCELLED = grpc.StatusCode.CANCELLED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED

_CODES = {code.value[0]: code for code in grpc.StatusCode}

ERROR_KEY = "tool-bridge-error-bin"

# Headers must be small: many peers refuse more than 8 KiB of metadata in total.
MAX_TRAILER_BYTES = 4_096
# Of the status text; a character that is not ASCII takes up to nine times its bytes there.
MAX_TEXT_CHARS = 256

# gRPC's own error texts for a message that is larger than a channel's limit.
_TOO_LARGE = ("larger than max", "message too large")
# gRPC's own texts for an RPC that the other end has cancelled: a hub that stops, or a proxy. One that is cancelled here
# is an asyncio.CancelledError.
_ENDED_THERE = ("", "CANCELLED", "Received RST_STREAM with error code 8")


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Returns the status for an exception.

    Returns:
        The code, the text in at most 1 KiB or so, and the trailing metadata with the whole error in at most 4 KiB.
    """
    info = error_info(error)
    return _code_of(info), wire_text(info.message, MAX_TEXT_CHARS), ((ERROR_KEY, _trailer(info)),)


def from_link_status(status: LinkStatus) -> AioRpcError:
    """Returns the error that gRPC would have raised for the status of a link's call."""
    trailing = ((ERROR_KEY, status.error.SerializeToString()),) if status.HasField("error") else ()
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return AioRpcError(code, Metadata(), Metadata(*trailing), details=status.message)


def rpc_error(code: grpc.StatusCode, details: str) -> AioRpcError:
    """Returns an error as gRPC would have raised it."""
    return AioRpcError(code, Metadata(), Metadata(), details=details)


def as_rpc_error(error: Exception) -> AioRpcError:
    """Returns the error that gRPC would have raised for a link's call or dial; always a new object."""
    if isinstance(error, AioRpcError):
        return AioRpcError(error.code(), error.initial_metadata(), error.trailing_metadata(), error.details())
    if isinstance(error, ToolCommunicationError):
        return rpc_error(grpc.StatusCode[error.code_name], error.details)
    code, text, trailer = status_of(error)
    return AioRpcError(code, Metadata(), Metadata(*trailer), details=text)


def from_rpc_error(error: Any, *, tool_name: str | None = None, method: str = "", where: str = "") -> ToolBridgeError:
    """Returns the exception for a failed RPC.

    Args:
        error: A ``grpc.RpcError``.
        tool_name: Name of the tool that was called; None if the call is not of a tool.
        method: Name of the method, if the call is not of a tool.
        where: The hub's address, for the error text if it does not answer.

    Returns:
        The hub's own error if the status contains one, else a ToolCommunicationError.
    """
    info = _error_in(error)
    if info is not None:
        return error_from_info(info, tool_name)
    code = error.code() if callable(getattr(error, "code", None)) else grpc.StatusCode.UNKNOWN
    details = (error.details() if callable(getattr(error, "details", None)) else None) or ""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and any(text in details for text in _TOO_LARGE):
        message = f"message too large: {details}"
        if tool_name is not None:
            return ToolExecutionError(tool_name, "MessageTooLarge", message, {"origin": "bridge"})
        return error_from_info(ErrorInfo(type="MessageTooLarge", message=message))
    if code is grpc.StatusCode.CANCELLED and details in _ENDED_THERE:
        code, details = grpc.StatusCode.UNAVAILABLE, "the call was ended before its answer, as by a hub that stops"
    if code is grpc.StatusCode.UNAVAILABLE and where:
        details = f"no answer from the hub at {where}: {details}"
    return ToolCommunicationError(tool_name or method, code, details)


def _code_of(info: ErrorInfo) -> grpc.StatusCode:
    return grpc.StatusCode[error_rule(info.type, origin=info.details.get("origin", "bridge")).status]


def _error_in(error: Any) -> ErrorInfo | None:
    trailing = error.trailing_metadata() if callable(getattr(error, "trailing_metadata", None)) else None
    for key, value in trailing or ():
        if key == ERROR_KEY:
            try:
                info = ErrorInfo.FromString(value)
            except Exception:  # noqa: BLE001 - protobuf's DecodeError, or whatever a proxy made of the header
                return None
            return info if info.type else None
    return None


def _trailer(info: ErrorInfo) -> bytes:
    """Serializes an error for a header; drops the traceback first, then details, then the end of the message."""
    data = info.SerializeToString()
    if len(data) <= MAX_TRAILER_BYTES:
        return data
    info.stacktrace = ""
    if len(data := info.SerializeToString()) <= MAX_TRAILER_BYTES:
        return data
    kept = {name: info.details[name][:32] for name in ("origin", "retry_after") if name in info.details}
    info.details.clear()
    info.details.update(kept)
    # A character takes at most four bytes.
    info.type, info.message = info.type[:128], info.message[: (MAX_TRAILER_BYTES - 1_024) // 4]
    return info.SerializeToString()
