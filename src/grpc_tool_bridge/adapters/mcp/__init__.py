"""Tools of MCP servers as tools of the bridge."""

import os
from collections.abc import Mapping, Sequence

from grpc_tool_bridge.optional import missing

try:
    import mcp as _mcp  # noqa: F401 - the error must name the extra
except ImportError as _error:
    raise missing(_error, "mcp", extra="mcp") from None

from grpc_tool_bridge.adapters.mcp.bounds import Bounds
from grpc_tool_bridge.adapters.mcp.config import OAuthOptions, ServerConfig, config_of, distinct, read_config_file
from grpc_tool_bridge.adapters.mcp.pins import PinFile
from grpc_tool_bridge.adapters.mcp.server import McpServer
from grpc_tool_bridge.adapters.naming import Naming

__all__ = ["Bounds", "McpServer", "OAuthOptions", "PinFile", "import_mcp", "import_mcp_config"]


def import_mcp(
    source: str | os.PathLike[str] | Sequence[str] | ServerConfig,
    *,
    name: str | None = None,
    prefix: str | None = None,
    pin: str | os.PathLike[str] | PinFile | None = None,
    env: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    oauth: OAuthOptions | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    bounds: Bounds | None = None,
) -> McpServer:
    """Imports the tools of an MCP server.

    ``async with import_mcp("uvx mcp-server-time") as server:`` starts it, and ``server.tools`` are its tools. Without
    ``async with``, it is a source: ``BridgeServer(sources=[import_mcp("uvx mcp-server-time")])``.

    Args:
        source: A command line, which is split without a shell; a list of a program and its arguments; or an address,
            ``https://…``, or ``grpcs://host:port`` (``grpc://`` without TLS) of a server over gRPC.
        name: What texts and the pin file call it; default: a name that the command or the address suggests.
        prefix: Begins the name of each tool, followed by a dot; default: ``name``. Empty: nothing does.
        pin: A file with digests of the tools; one that changes is disabled until it is approved.
        env: Variables that the process gets in addition to a few such as PATH and HOME.
        headers: Sent with each request to an address; over gRPC as its metadata.
        cwd: Working directory of the process.
        oauth: How tokens for an address are obtained.
        include: Patterns of the names of tools at the server, such as ``get_*``; empty: all of them.
        exclude: Patterns of those that are left out.
        bounds: Limits; None: the defaults.

    Raises:
        ValidationError: The source is neither, or an option is not valid.
        ImportError: The extra ``mcp`` is not installed, or ``mcp-grpc`` for a server over gRPC.
    """
    config = source
    if not isinstance(config, ServerConfig):
        config = config_of(config, name=name, env=env, headers=headers, cwd=cwd, oauth=oauth)
    naming = Naming(config.name, config.name if prefix is None else prefix, tuple(include), tuple(exclude))
    pins = pin if pin is None or isinstance(pin, PinFile) else PinFile(pin)
    return McpServer(config, naming, pins, bounds or Bounds())


def import_mcp_config(
    path: str | os.PathLike[str],
    *,
    pin: str | os.PathLike[str] | PinFile | None = None,
    bounds: Bounds | None = None,
) -> list[McpServer]:
    """Imports the tools of all servers in a file with ``mcpServers``; their keys are their names and prefixes.

    Args:
        path: The file, as Claude Desktop, Cursor and VS Code have it.
        pin: As for ``import_mcp``.
        bounds: Likewise.

    Raises:
        ValidationError: The file is not valid.
        OSError: It cannot be read.
    """
    return [import_mcp(config, pin=pin, bounds=bounds) for config in distinct(read_config_file(path))]
