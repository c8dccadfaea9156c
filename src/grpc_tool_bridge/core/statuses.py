"""The answers of methods that only succeed or fail."""

from grpc_tool_bridge.errors import ToolBridgeError, error_info
from grpc_tool_bridge.proto.dspex_bridge_pb2 import StatusResponse


def failed_status(error: ToolBridgeError) -> StatusResponse:
    """Returns the answer that says why a method failed."""
    info = error_info(error)
    return StatusResponse(message=info.message, error=info)
