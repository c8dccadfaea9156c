"""The options that name MCP servers, and what they name."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError, file_error
from grpc_tool_bridge.cli.parameters import Option

if TYPE_CHECKING:
    from grpc_tool_bridge.adapters.mcp import McpServer
    from grpc_tool_bridge.adapters.mcp.config import ServerConfig

_PANEL = "MCP servers"

McpOption = Annotated[
    list[str] | None,
    Option(
        "--mcp",
        metavar="SERVER",
        help="Offer the tools of an MCP server: a command, which is split without a shell, or an address, https://…, "
        "or grpcs://HOST:PORT over gRPC. NAME= before it names it, which its tools' names begin with. Repeatable.",
        panel=_PANEL,
    ),
]
McpConfigOption = Annotated[
    list[str] | None,
    Option(
        "--mcp-config",
        metavar="FILE",
        help="Offer the tools of all MCP servers in a JSON file with mcpServers, which may have secrets: env and "
        "headers. Repeatable.",
        panel=_PANEL,
    ),
]
PinOption = Annotated[
    Path | None,
    Option(
        "--pin",
        metavar="FILE",
        help="Keep digests of the tools of MCP servers in this file; one that changes is disabled until it is "
        "approved.",
        panel=_PANEL,
    ),
]


def check_pin(servers: Sequence[str] | None, files: Sequence[str] | None, pin: Path | None) -> None:
    """Checks that there are MCP servers if their tools are to be pinned.

    Raises:
        ArgumentError: There are none.
    """
    if pin is not None and not servers and not files:
        raise ArgumentError("--pin: for MCP servers only; give --mcp or --mcp-config, too")


def mcp_sources(
    servers: Sequence[str] | None, files: Sequence[str] | None, pin: Path | None, *, option: str | None = None
) -> "list[McpServer]":
    """Returns the MCP servers that a command line names; they are not started yet.

    Args:
        servers: Commands and addresses.
        files: Files with ``mcpServers``.
        pin: Where digests of their tools are kept.
        option: What names them, for errors; default: ``--mcp`` and ``--mcp-config``.

    Raises:
        ArgumentError: One is not valid, or a file cannot be read.
        CommandError: The extra ``mcp`` is not installed, or ``mcp-grpc`` for a server over gRPC.
    """
    if not servers and not files:
        return []
    try:
        from grpc_tool_bridge.adapters.mcp import PinFile, import_mcp
    except ImportError as error:
        raise CommandError(str(error)) from None
    from grpc_tool_bridge.errors import ValidationError

    pins = None if pin is None else PinFile(pin)
    try:
        return [import_mcp(config, pin=pins) for config in _configs(servers or (), files or (), option)]
    except ValidationError as error:
        raise ArgumentError(error.message) from None
    except ImportError as error:
        # Of what only servers over gRPC need.
        raise CommandError(str(error)) from None


def _configs(servers: Sequence[str], files: Sequence[str], option: str | None) -> "list[ServerConfig]":
    from grpc_tool_bridge.adapters.mcp.config import config_of, distinct, read_config_file
    from grpc_tool_bridge.errors import ValidationError

    found: list[ServerConfig] = []
    for source in servers:
        try:
            found.append(config_of(source))
        except ValidationError as error:
            raise ArgumentError(f"{option or '--mcp'}: {error.message}") from None
    for file in files:
        try:
            found += read_config_file(file)
        except OSError as error:
            raise file_error(error, Path(file)) from None
        except ValidationError as error:
            raise ArgumentError(f"{option or '--mcp-config'} {error.message}") from None
    return distinct(found)
