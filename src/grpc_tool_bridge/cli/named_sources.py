"""What a command line names whose tools come and go: MCP servers and gRPC services."""

from typing import TYPE_CHECKING

from grpc_tool_bridge.cli.grpc_options import GrpcOptions, grpc_sources
from grpc_tool_bridge.cli.mcp_options import mcp_sources
from grpc_tool_bridge.cli.serving_options import ServingOptions

if TYPE_CHECKING:
    from grpc_tool_bridge.adapters.grpc import GrpcService
    from grpc_tool_bridge.adapters.mcp import McpServer


def named_sources(options: ServingOptions, services: GrpcOptions) -> "list[McpServer | GrpcService]":
    """Returns the MCP servers and gRPC services that a command line names; they are not started yet.

    Raises:
        ArgumentError: One is not valid, or a file cannot be read.
        CommandError: What it needs is not installed.
    """
    return [*mcp_sources(options.mcp, options.mcp_config, options.pin), *grpc_sources(services)]
