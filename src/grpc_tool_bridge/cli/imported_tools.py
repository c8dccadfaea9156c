"""``tools --from mcp:…``: what would be imported from MCP servers."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.mcp_options import mcp_sources
from grpc_tool_bridge.cli.output import print_json

if TYPE_CHECKING:
    from grpc_tool_bridge.adapters.mcp import McpServer

_SCHEME = "mcp:"


def check_from(source: str | None) -> None:
    """Checks the value of ``--from``.

    Raises:
        ArgumentError: It does not begin with ``mcp:``.
    """
    if source is not None and (not source.startswith(_SCHEME) or not source.removeprefix(_SCHEME).strip()):
        raise ArgumentError(
            "--from: it must be mcp: and a command, an address or a file, such as --from 'mcp:uvx mcp-server-time'"
        )


async def show_imported(source: str, name: str | None, *, as_json: bool) -> None:
    """Starts the servers, and prints the tools that they would offer, and those that are refused.

    Raises:
        ArgumentError: The source is not valid, or its program was not found.
        CommandError: A server cannot be started or reached, or does not have the tool.
    """
    from grpc_tool_bridge.cli import tool_text
    from grpc_tool_bridge.cli.consoles import console
    from grpc_tool_bridge.cli.find_tool import find_tool
    from grpc_tool_bridge.errors import ToolBridgeError, ValidationError

    servers = _servers(source.removeprefix(_SCHEME).strip())
    async with AsyncExitStack() as stack:
        try:
            # One after another: the stack ends them in the task that has started them.
            for server in servers:
                await stack.enter_async_context(server)
        except ValidationError as error:
            raise ArgumentError(error.message) from None
        except ToolBridgeError as error:
            raise CommandError(error.message, error_type=error.error_type) from None
        for server in servers:
            if server.away:
                raise CommandError(f"MCP server {server.name}: {server.away}")
        specs = [tool.spec for server in servers for tool in server.tools]
        refused = [(server, refusal) for server in servers for refusal in server.refused]
    specs.sort(key=lambda spec: spec.name)
    if name is not None:
        spec = find_tool(specs, name, "it")
        print_json(tool_text.facts(spec, {})) if as_json else tool_text.show(spec, {})
    elif as_json:
        told = [{"server": server.name, "name": item.name, "reason": item.reason} for server, item in refused]
        print_json({"tools": [tool_text.facts(spec, {}) for spec in specs], "refused": told})
    else:
        console().print(tool_text.table(specs, {}) if specs else "No tools would be imported")
        _show_refused(refused)


def _servers(named: str) -> "list[McpServer]":
    try:
        from grpc_tool_bridge.adapters.mcp.config import names_file
    except ImportError as error:
        raise CommandError(str(error)) from None
    named_here = ([], [named]) if names_file(named) else ([named], [])
    return mcp_sources(*named_here, None, option="--from")


def _show_refused(refused: "Sequence[tuple[McpServer, Any]]") -> None:
    from rich.text import Text

    from grpc_tool_bridge.cli.consoles import console

    for server, refusal in refused:
        text = Text(f"{refusal.name} of {server.name}", style="bold red")
        console().print(
            text.append(f" would not be offered: {refusal.reason}", style="not bold default"), soft_wrap=True
        )
