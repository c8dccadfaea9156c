"""What ``mcp`` does: serves MCP over stdin and stdout until its client leaves, or a signal.

Applications wait for it to start, so a hub in this process is imported only where there are tools for it.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

from grpc_tool_bridge.cli import garbage, interrupts
from grpc_tool_bridge.cli.connection import first_answer, make_bridge
from grpc_tool_bridge.cli.event_loop import run_in_loop
from grpc_tool_bridge.cli.failures import ArgumentError, CommandError
from grpc_tool_bridge.cli.grpc_options import GrpcOptions, grpc_sources
from grpc_tool_bridge.cli.log import log_to_stderr
from grpc_tool_bridge.cli.mcp_stdio_options import McpOptions
from grpc_tool_bridge.cli.options import HubOptions
from grpc_tool_bridge.cli.signals import ending_signals, exit_code
from grpc_tool_bridge.cli.streams import taken_streams
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.config.argument_checks import MAX_SECONDS
from grpc_tool_bridge.config.defaults import MEMORY_STORE
from grpc_tool_bridge.errors import ToolBridgeError, ValidationError
from grpc_tool_bridge.optional import missing

if TYPE_CHECKING:
    from grpc_tool_bridge.cli.tool_sources import Offered
    from grpc_tool_bridge.gateway.mcp.sessions import SessionClients, SessionKey
    from grpc_tool_bridge.server import LocalToolBridge
    from grpc_tool_bridge.tools.sources import ToolSource

# Seconds that a call waits for a hub that is away: its caller is a model, which can do something else.
_LINK_SECONDS = 5.0
# Seconds for the session to end at the hub.
_GRACE_SECONDS = 2.0
# JSON of a payload may be longer than the payload itself.
_LINE_FACTOR = 2


def run(sources: list[str], options: McpOptions, services: GrpcOptions, hub: HubOptions, settings: Settings) -> int:
    """Serves until the client leaves, or a signal; returns the exit code.

    Args:
        sources: Files and modules with tools.
        options: Those of the command.
        services: gRPC services that are tools; without them and ``sources``, the tools are those of the hub.
        hub: How the hub is reached.
        settings: Limits.

    Raises:
        ArgumentError: A source or an option cannot be used.
        CommandError: The SDK of MCP is not installed, the hub cannot be reached, or it refuses access.
        OutputError: stdin or stdout is closed.
    """
    log_to_stderr(options.log_level)
    with taken_streams() as (reads, writes):
        # Before the tools: a file beside theirs may be called mcp.py as well.
        _import_sdk()
        offered = _load(sources, services)
        taken_in = grpc_sources(services)
        interrupts.loaded()
        garbage.resume()
        try:
            return run_in_loop(_serve(offered, taken_in, options, hub, settings, (reads, writes)), options.loop)
        finally:
            if offered is not None:
                from grpc_tool_bridge.cli.serving import end_children

                end_children()


def _load(sources: list[str], services: GrpcOptions) -> "Offered | None":
    """Imports the tools of files, and their lifespans; None: the hub has them."""
    if not sources and not services.names_some:
        return None
    from grpc_tool_bridge.cli.tool_sources import load

    return load(sources)


def _import_sdk() -> None:
    """Imports what needs the SDK, before the work begins."""
    for name in ("server", "stdio", "tools"):
        try:
            import_module(f"grpc_tool_bridge.gateway.mcp.{name}")
        except ImportError as error:
            raise CommandError(f"mcp: {missing(error, 'mcp', extra='mcp')}") from None


async def _serve(
    offered: "Offered | None",
    sources: "Sequence[ToolSource]",
    options: McpOptions,
    hub: HubOptions,
    settings: Settings,
    streams: tuple[int, int],
) -> int:
    """Serves the tools that are offered here, or those of the hub; returns the exit code."""
    from grpc_tool_bridge.gateway.mcp.agents import AgentTools
    from grpc_tool_bridge.gateway.mcp.server import make_server
    from grpc_tool_bridge.gateway.mcp.stdio import serve_descriptors
    from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers

    agents = AgentTools(_checked_agents(options), None)
    with ending_signals() as signals:
        told = asyncio.ensure_future(signals.get())
        link_timeout = _LINK_SECONDS if offered is None else None
        async with (
            _clients(offered, sources, hub, settings) as make_client,
            _sessions(make_client, options, hub, link_timeout) as (sessions, key),
        ):
            handlers = ToolHandlers(sessions, ",".join(options.tool_filter or ()), agents=agents)
            server = make_server(sessions, version("grpc-tool-bridge"), handlers)
            limit = _LINE_FACTOR * settings.max_message_bytes
            serving_client = asyncio.ensure_future(serve_descriptors(server, handlers, *streams, max_line=limit))
            # The client need not wait for the hub until it asks for its tools.
            opened = asyncio.ensure_future(_open(sessions, key, hub))
            try:
                await asyncio.wait((serving_client, told, opened), return_when=asyncio.FIRST_COMPLETED)
                if opened.done():
                    await opened
                    await asyncio.wait((serving_client, told), return_when=asyncio.FIRST_COMPLETED)
                if serving_client.done():
                    await serving_client
                    return 0
                return exit_code(await told)
            finally:
                for future in (serving_client, told, opened):
                    future.cancel()
                await asyncio.wait((serving_client, opened))


def _checked_agents(options: McpOptions) -> dict[str, str]:
    from grpc_tool_bridge.gateway.declared_agents import check_declared

    try:
        return check_declared(options.declared_agents())
    except ValidationError as error:
        raise ArgumentError(f"--mcp-agent: {error.message}") from None


async def _open(sessions: "SessionClients", key: "SessionKey", hub: HubOptions) -> None:
    async with first_answer(hub, hub.address):
        await sessions.opened(key)


@asynccontextmanager
async def _clients(
    offered: "Offered | None", sources: "Sequence[ToolSource]", hub: HubOptions, settings: Settings
) -> AsyncIterator[Callable[[], ToolBridgeClient]]:
    """Gives what makes clients of the hub, or of one in this process that has the tools and ends here."""
    if offered is None:

        def make_client() -> ToolBridgeClient:
            return make_bridge(hub, transport="link", max_message_bytes=settings.max_message_bytes).client

        # What is wrong with the options is an error before anything is served.
        await make_client().close()
        yield make_client
        return
    from grpc_tool_bridge.cli.serving import construction, lifespan_errors
    from grpc_tool_bridge.server import LocalToolBridge

    # The session lasts as long as the process.
    # A store in the environment is that of a hub.
    lasting = settings.model_copy(update={"session_idle_timeout": MAX_SECONDS, "store": MEMORY_STORE})
    with construction("mcp"):
        bridge = LocalToolBridge(offered.tools, settings=lasting, lifespan=offered.lifespans, sources=sources)
    with lifespan_errors(bridge):
        async with contextlib.AsyncExitStack() as stack:
            await _enter(stack, bridge)
            yield lambda: bridge.client


async def _enter(stack: contextlib.AsyncExitStack, bridge: "LocalToolBridge") -> None:
    """Starts the bridge, and what its tools come from."""
    try:
        await stack.enter_async_context(bridge)
    except ToolBridgeError as error:
        if bridge.lifespans.failed:
            raise
        if isinstance(error, ValidationError):
            raise ArgumentError(error.message) from None
        raise CommandError(error.message, error_type=error.error_type) from None


@asynccontextmanager
async def _sessions(
    make_client: Callable[[], ToolBridgeClient], options: McpOptions, hub: HubOptions, link_timeout: float | None
) -> "AsyncIterator[tuple[SessionClients, SessionKey]]":
    """Gives the one session that is served, and ends it."""
    from grpc_tool_bridge.gateway.mcp.sessions import SessionClients, SessionKey

    key = SessionKey(options.session) if options.session else SessionKey(f"mcp-{uuid.uuid4().hex}", is_own=True)
    sessions = SessionClients(
        lambda _: make_client(),
        key,
        idle_timeout=MAX_SECONDS,
        most=1,
        connect_timeout=hub.connect_timeout,
        link_timeout=link_timeout,
    )
    try:
        yield sessions, key
    finally:
        with contextlib.suppress(ToolBridgeError, TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await sessions.aclose()
