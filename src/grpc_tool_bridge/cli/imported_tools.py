"""``tools --from mcp:…`` and ``grpc:…``: what would be imported from MCP servers and gRPC services."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.grpc_options import GrpcServiceOptions, configs_of_file
from grpc_tool_bridge.cli.mcp_options import mcp_sources
from grpc_tool_bridge.cli.output import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec
    from grpc_tool_bridge.tools.sources import Refusal
    from grpc_tool_bridge.tools.tool import Tool

_MCP, _GRPC, _GRPCS = "mcp:", "grpc:", "grpcs:"
# Of the metadata of a tool that is a method of a gRPC service.
_KIND = "grpc.kind"


class Imported(AbstractAsyncContextManager[Any], Protocol):
    """What tools are imported from: an MCP server, or a gRPC service."""

    tools: "list[Tool]"
    refused: "list[Refusal]"

    @property
    def name(self) -> str:
        """What texts call it."""

    @property
    def away(self) -> str:
        """Why it cannot be called; empty if it can."""


def check_from(source: str | None, service: GrpcServiceOptions) -> None:
    """Checks the value of ``--from``.

    Raises:
        ArgumentError: It does not begin with ``mcp:`` or ``grpc:``, or options for a gRPC service are given without
            one.
    """
    scheme = "" if source is None else next((each for each in (_MCP, _GRPC, _GRPCS) if source.startswith(each)), "")
    if source is not None and (not scheme or not source.removeprefix(scheme).strip()):
        raise ArgumentError(
            "--from: it must be mcp: and a command, an address or a file, such as --from 'mcp:uvx mcp-server-time'; or "
            "grpc: and the address of a gRPC service, such as --from grpc:127.0.0.1:5000"
        )
    if scheme in ("", _MCP):
        service.refuse_without("--from grpc:ADDRESS")


async def show_imported(source: str, name: str | None, service: GrpcServiceOptions, *, as_json: bool) -> None:
    """Starts the servers, and prints the tools that they would offer, and those that are refused.

    Raises:
        ArgumentError: The source is not valid, or its program was not found.
        CommandError: A server cannot be started or reached, or does not have the tool.
    """
    from grpc_tool_bridge.cli import tool_text
    from grpc_tool_bridge.cli.consoles import console
    from grpc_tool_bridge.cli.find_tool import find_tool
    from grpc_tool_bridge.errors import ToolBridgeError, ValidationError

    servers = _servers(source, service)
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
            # Those of a service that files describe are known without it.
            if server.away and not server.tools:
                what = "MCP server" if source.startswith(_MCP) else "gRPC service"
                raise CommandError(f"{what} {server.name}: {server.away}")
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
        console().print(_table(specs) if specs else "No tools would be imported")
        _show_refused(refused)


def _servers(source: str, service: GrpcServiceOptions) -> "Sequence[Imported]":
    if source.startswith(_MCP):
        return _mcp_servers(source.removeprefix(_MCP).strip())
    from grpc_tool_bridge.adapters.grpc import import_grpc
    from grpc_tool_bridge.adapters.grpc.config import names_file

    tls = source.startswith(_GRPCS)
    named = source.partition(":")[2].strip()
    if names_file(named):
        service.refuse_without("an address in place of the file")
        return [import_grpc(config) for config in configs_of_file(Path(named), "--from")]
    # What follows may be written as an address with its scheme, too.
    return [import_grpc(service.config_of(named.removeprefix("//"), "--from", tls=tls))]


def _table(specs: "Sequence[ToolSpec]") -> "Table":
    from grpc_tool_bridge.cli import tool_text

    kinds = [spec.metadata.get(_KIND, "") for spec in specs]
    return tool_text.table(specs, {}, {"method": kinds} if any(kinds) else {})


def _mcp_servers(named: str) -> "Sequence[Imported]":
    try:
        from grpc_tool_bridge.adapters.mcp.config import names_file
    except ImportError as error:
        raise CommandError(str(error)) from None
    named_here = ([], [named]) if names_file(named) else ([named], [])
    return mcp_sources(*named_here, None, option="--from")


def _show_refused(refused: "Sequence[tuple[Imported, Refusal]]") -> None:
    from rich.text import Text

    from grpc_tool_bridge.cli.consoles import console

    for server, refusal in refused:
        text = Text(f"{refusal.name} of {server.name}", style="bold red")
        console().print(
            text.append(f" would not be offered: {refusal.reason}", style="not bold default"), soft_wrap=True
        )
