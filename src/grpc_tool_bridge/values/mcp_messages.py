"""The service ``model_context_protocol.Mcp`` and its messages: MCP over gRPC, an experiment of the extra ``mcp-grpc``.

Its proto is Google's, in the package ``mcp-grpc-transport-proto``, and may change.
"""

import re

from google.protobuf.runtime_version import VersionError

from grpc_tool_bridge.optional import missing

try:
    # Not the stubs beside them: those refuse every grpcio that is older than the one that they were made with.
    from mcp_grpc_transport_proto import mcp_messages_pb2 as messages
    from mcp_grpc_transport_proto import mcp_pb2
except ImportError as _error:
    raise missing(_error, "mcp_grpc_transport_proto", extra="mcp-grpc") from None
except VersionError as _error:
    raise ImportError(f"MCP over gRPC needs a newer protobuf: {_error}") from None

__all__ = [
    "CALL_TOOL",
    "LIST_TOOLS",
    "METHODS",
    "RESULT_COMPLETE",
    "SERVICE_NAME",
    "TOOL_KEY",
    "VERSIONS",
    "VERSION_KEY",
    "messages",
    "path_of",
]

_service = mcp_pb2.DESCRIPTOR.services_by_name["Mcp"]
SERVICE_NAME: str = _service.full_name
LIST_TOOLS, CALL_TOOL = "ListTools", "CallTool"
# All methods of the service.
METHODS: tuple[str, ...] = tuple(method.name for method in _service.methods)

# The keys of gRPC metadata by which a request names the tool that it calls, for proxies, and both sides the version of
# the protocol.
TOOL_KEY = "mcp_tool"
VERSION_KEY = "mcp-protocol-version"

RESULT_COMPLETE: int = messages.RESULT_TYPE_COMPLETE

# The versions of the protocol that the messages are for, as MCP writes them, the oldest first.
VERSIONS: tuple[str, ...] = tuple(
    re.sub(r"VERSION_(\d{4})(\d\d)(\d\d)", r"\1-\2-\3", name)
    for name in messages.ProtocolVersion.keys()  # noqa: SIM118 - no dict
    if re.fullmatch(r"VERSION_\d{8}", name)
)


def path_of(method: str) -> str:
    """Returns the path of a method of the service."""
    return f"/{SERVICE_NAME}/{method}"
