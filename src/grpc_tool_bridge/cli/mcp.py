"""``mcp``: an MCP server over stdin and stdout."""

import os
from typing import Annotated

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.grpc_options import GrpcOptions
from grpc_tool_bridge.cli.mcp_stdio_options import McpOptions
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.parameters import Option
from grpc_tool_bridge.cli.serving_options import SOURCE_HELP
from grpc_tool_bridge.config.defaults import DEFAULT_ADDRESS


def mcp(
    *,
    tools: Annotated[
        list[str] | None,
        Option(metavar="SOURCE", help=f"Serve these tools from this process, without a hub. {SOURCE_HELP} Repeatable."),
    ] = None,
    options: McpOptions,
    services: GrpcOptions,
    hub: HubOptions,
) -> int:
    """Serve the tools of a hub, of files or of gRPC services to an MCP client over stdin and stdout.

    For applications that start it, such as Claude Desktop, Cursor and VS Code; --print-config prints what their
    settings need. It ends when stdin is closed, and at Ctrl-C or SIGTERM; calls in flight are cancelled then.
    """
    if tools or services.names_some:
        _check_local(options, hub)
    else:
        options.check_remote()
    if options.print_config is not None:
        from grpc_tool_bridge.cli import mcp_config

        return mcp_config.run(tools or [], options, services, hub)
    settings = options.read_settings()
    from grpc_tool_bridge.cli import mcp_run

    return mcp_run.run(tools or [], options, services, hub, settings)


def _check_local(options: McpOptions, hub: HubOptions) -> None:
    """Refuses options that are for a hub."""
    if options.session is not None:
        raise ArgumentError(
            "--session: for the session of a hub; the tools of --tools and --grpc need none, so leave it out"
        )
    if options.mcp_agent:
        raise ArgumentError("--mcp-agent: agents run at a hub; serve the tools with one, and give its --address")
    if hub.address not in (DEFAULT_ADDRESS, os.environ.get("TOOL_BRIDGE_ADDRESS")):
        raise ArgumentError(
            "--tools and --address exclude each other, and so do --grpc and --address: give the tools of a hub, or "
            "those of files and services"
        )
