"""Parses the requests of untrusted peers: the cost of parsing is checked first."""

from typing import Any

from grpc_tool_bridge.errors import MessageTooLargeError, SerializationError
from grpc_tool_bridge.rpc.buffers import Payload, joined
from grpc_tool_bridge.rpc.methods import Method
from grpc_tool_bridge.rpc.nodes import UNCOUNTED_BYTES, check_message

# Requests with values, or with all tools of a worker, may be as large as a message; all others only need this much.
CONTROL_BYTES = 1024 * 1024
# Smaller requests need no check before they are parsed.
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
        # The link checks its frames itself.
        "Link",
    }
)


def read_request(method: Method, payload: Payload) -> Any:
    """Parses a request.

    Args:
        method: Its method.
        payload: Its bytes.

    Returns:
        The message.

    Raises:
        MessageTooLargeError: It carries no values and is larger than 1 MiB, or it has too many nodes.
        SerializationError: It cannot be read.
    """
    data = joined(payload)
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
