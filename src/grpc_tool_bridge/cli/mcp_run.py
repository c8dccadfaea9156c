"""What ``mcp`` does: serves MCP over stdin and stdout until its client leaves, or a signal.

Applications wait for it to start, so a hub in this process is imported only where there are tools for it.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from grpc_tool_bridge.cli import garbage, interrupts
from grpc_tool_bridge.cli.connection import await_hub, make_bridge
from grpc_tool_bridge.cli.event_loop import run_in_loop
from grpc_tool_bridge.cli.failures import CommandError
from grpc_tool_bridge.cli.log import log_to_stderr
from grpc_tool_bridge.cli.mcp_options import McpOptions
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.signals import ending_signals, exit_code
from grpc_tool_bridge.cli.streams import taken_streams
from grpc_tool_bridge.client.bridge import ToolBridge
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.config.argument_checks import MAX_SECONDS
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.optional import missing

if TYPE_CHECKING:
    from grpc_tool_bridge.tools.tool import Tool

# Seconds for the session to end at the hub.
_GRACE_SECONDS = 2.0
# JSON of a payload may be longer than the payload itself.
_LINE_FACTOR = 2


def run(sources: list[str], options: McpOptions, hub: HubOptions, settings: Settings) -> int:
    """Serves until the client leaves, or a signal; returns the exit code.

    Args:
        sources: Where the tools are; empty: those of the hub.
        options: Those of the command.
        hub: How the hub is reached.
        settings: Limits.

    Raises:
        ArgumentError: A source or an option cannot be used.
        CommandError: The SDK of MCP is not installed, the hub cannot be reached, or it refuses access.
        OutputError: stdin or stdout is closed.
    """
    log_to_stderr(options.log_level)
    with taken_streams() as (reads, writes):
        offered = _load(sources)
        _import_sdk()
        interrupts.loaded()
        garbage.resume()
        try:
            return run_in_loop(_serve(offered, options, hub, settings, (reads, writes)), options.loop)
        finally:
            if offered is not None:
                from grpc_tool_bridge.cli.serving import end_children

                end_children()


def _load(sources: list[str]) -> "list[Tool] | None":
    """Imports the tools of files; None: the hub has them."""
    if not sources:
        return None
    from grpc_tool_bridge.cli.tool_sources import load_tools

    return load_tools(sources)


def _import_sdk() -> None:
    """Imports what needs the SDK, before the work begins."""
    for name in ("server", "sessions", "stdio"):
        try:
            import_module(f"grpc_tool_bridge.gateway.mcp.{name}")
        except ImportError as error:
            raise CommandError(f"mcp: {missing(error, 'mcp', extra='mcp')}") from None


async def _serve(
    offered: "list[Tool] | None",
    options: McpOptions,
    hub: HubOptions,
    settings: Settings,
    streams: tuple[int, int],
) -> int:
    """Serves the tools that are offered here, or those of the hub; returns the exit code."""
    with ending_signals() as signals:
        told = asyncio.ensure_future(signals.get())
        reached: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        async with _bridge(offered, hub, settings) as bridge, _server(bridge, options, hub, settings) as server:
            from grpc_tool_bridge.gateway.mcp.stdio import serve_descriptors

            limit = _LINE_FACTOR * settings.max_message_bytes
            serving_client = asyncio.ensure_future(serve_descriptors(server, *streams, max_line=limit))
            if offered is None:
                # The client need not wait for the hub until it asks for its tools.
                reached = asyncio.ensure_future(await_hub(hub, bridge))
            try:
                await asyncio.wait((serving_client, told, reached), return_when=asyncio.FIRST_COMPLETED)
                if reached.done():
                    await reached
                    await asyncio.wait((serving_client, told), return_when=asyncio.FIRST_COMPLETED)
                if serving_client.done():
                    await serving_client
                    return 0
                return exit_code(await told)
            finally:
                for future in (serving_client, told, reached):
                    future.cancel()
                await asyncio.wait((serving_client,))


@asynccontextmanager
async def _bridge(offered: "list[Tool] | None", hub: HubOptions, settings: Settings) -> AsyncIterator[Any]:
    """Makes the bridge to the tools, and ends it."""
    if offered is None:
        bridge: ToolBridge = make_bridge(hub, transport="link", max_message_bytes=settings.max_message_bytes)
    else:
        from grpc_tool_bridge.cli.serving import construction
        from grpc_tool_bridge.server import LocalToolBridge

        # The session lasts as long as the process.
        lasting = settings.model_copy(update={"session_idle_timeout": MAX_SECONDS})
        with construction("mcp"):
            bridge = LocalToolBridge(offered, settings=lasting)
    async with bridge:
        yield bridge


@asynccontextmanager
async def _server(bridge: ToolBridge, options: McpOptions, hub: HubOptions, settings: Settings) -> AsyncIterator[Any]:
    """Makes the MCP server, and ends its session."""
    from grpc_tool_bridge.gateway.mcp.server import make_server
    from grpc_tool_bridge.gateway.mcp.sessions import SessionClients, SessionKey

    key = SessionKey(options.session) if options.session else SessionKey(f"mcp-{uuid.uuid4().hex}", is_own=True)
    sessions = SessionClients(
        lambda: bridge.client,
        key,
        idle_timeout=MAX_SECONDS,
        most=settings.max_sessions,
        connect_timeout=hub.connect_timeout,
    )
    try:
        yield make_server(sessions, version("grpc-tool-bridge"))
    finally:
        with contextlib.suppress(ToolBridgeError, TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await sessions.aclose()
