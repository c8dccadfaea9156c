"""Requests, read from the bytes of any peer: none is parsed before it is known what that may take."""

from typing import Any

from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError
from grpc_tool_bridge.rpc.methods import Method
from grpc_tool_bridge.rpc.nodes import UNCOUNTED_BYTES, check_message

# Requests that carry values, or all the tools of a worker, may be as large as a message; all others only say what is
# wanted, and no more than this is needed for that.
CONTROL_BYTES = 1024 * 1024
# What is smaller needs no look before it is read.
UNCHECKED_BYTES = min(CONTROL_BYTES, UNCOUNTED_BYTES)
_CARRY = frozenset(
    {
        "ExecuteTool",
        "StreamTool",
        "BatchExecuteTools",
        "SetSessionVariable",
        "ExecuteAgent",
        "CreateReActAgent",
        "RegisterTools",
        # Of frames, the link itself says what there may be.
        "Link",
    }
)


def read_request(method: Method, data: bytes) -> Any:
    """Reads a request.

    Args:
        method: Whose it is.
        data: Its bytes.

    Returns:
        The message.

    Raises:
        MessageTooLargeError: It is a request that carries no values, and over 1 MiB; or it holds too many nodes.
        SerializationError: The bytes are no such request.
    """
    if len(data) > UNCHECKED_BYTES:
        _check(method, data)
    try:
        return method.request.FromString(data)
    except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError, which is the peer's fault
        raise SerializationError(f"the request of {method.name} cannot be read: {str(failure)[:200]}") from None


def _check(method: Method, data: bytes) -> None:
    what = f"the request of {method.name}"
    if len(data) > CONTROL_BYTES and method.name not in _CARRY:
        raise MessageTooLargeError(
            f"message too large: {what} takes {len(data):,} bytes, the limit is {CONTROL_BYTES:,}, since it carries no "
            "values; send less in it",
            details={"size": str(len(data)), "limit": str(CONTROL_BYTES)},
        )
    check_message(data, method.request, what)
