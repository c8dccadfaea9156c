"""An MCP server whose tools are imported: it is started, watched, and started again."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self

import httpx2
from mcp.shared.exceptions import MCPError
from mcp_types import Tool as McpTool

from grpc_tool_bridge.adapters.mcp.arguments import json_arguments
from grpc_tool_bridge.adapters.mcp.bounds import Bounds, one_line, shown_name
from grpc_tool_bridge.adapters.mcp.config import ServerConfig
from grpc_tool_bridge.adapters.mcp.connection import McpConnection, UnreachableError
from grpc_tool_bridge.adapters.mcp.hidden import hide_secrets_of
from grpc_tool_bridge.adapters.mcp.http import Refusals
from grpc_tool_bridge.adapters.mcp.imports import Importer
from grpc_tool_bridge.adapters.mcp.oauth import auth_of, close_auth
from grpc_tool_bridge.adapters.mcp.pins import PinFile
from grpc_tool_bridge.adapters.mcp.results import Shape, unavailable
from grpc_tool_bridge.adapters.mcp.stdio import ProcessConnection
from grpc_tool_bridge.adapters.naming import Naming
from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ProtocolError, ToolBridgeError, UnavailableError
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.tools.sources import Offer, Refusal
from grpc_tool_bridge.tools.tool import Tool

_log = logging.getLogger(__name__)

# A server that lasted this long is started again at once, with the first pause of a new row.
_LASTED_SECONDS = 30.0
# A cancellation that was not heeded is repeated after so long; ending a process may take longer, and heeds none.
_CANCEL_AGAIN_SECONDS = 1.0
# Between two readings of the list of tools: a server may say a thousand times a second that it has changed.
_READ_AGAIN_SECONDS = 0.2
# How often the file of pins is looked at while a tool waits to be approved.
_APPROVAL_SECONDS = 1.0


class Connection(Protocol):
    """One connection to a server: from its start to its loss.

    Attributes:
        changed: Set when the tools of the server may have changed.
        lost: Set when the connection is lost.
        process: The process that runs the server; None for an address.
        refusals: With which status of HTTP it refused requests.
    """

    changed: asyncio.Event
    lost: asyncio.Event
    process: ProcessConnection | None
    refusals: Refusals

    def __init__(self, config: ServerConfig, bounds: Bounds) -> None:
        """Takes the server and its limits."""

    def opened(self, auth: httpx2.Auth | None) -> AbstractAsyncContextManager[Any]:
        """Connects, and disconnects at the end."""
        ...

    async def list_tools(self) -> list[McpTool]:
        """Lists the tools of the server."""
        ...

    async def call(self, shape: Shape, arguments: dict[str, Any], context: ToolContext) -> Any:
        """Calls a tool and returns its result as a value."""

    async def why(self) -> str:
        """Says why the connection was lost."""
        ...


class McpServer:
    """The tools of one MCP server; made by ``import_mcp``.

    As ``sources=[server]`` of a BridgeServer or a ToolWorker, its tools come and go with it. ``async with server:``
    starts it alone; ``tools`` are then tools for ``tools=`` of anything, and their calls fail while it is away.

    Args:
        config: The server.
        naming: Which tools are imported, and as what.
        pins: Digests of tools; None: changes are not noticed.
        bounds: Its limits.

    Attributes:
        tools: The tools that can be called; empty while the server is away.
        refused: Those of its tools that are not offered, with the reason.
    """

    def __init__(self, config: ServerConfig, naming: Naming, pins: PinFile | None, bounds: Bounds) -> None:
        self.config = config
        self.tools: list[Tool] = []
        self.refused: list[Refusal] = []
        self._pins = pins
        self._bounds = bounds
        self._importer = Importer(naming, self._call)
        self._auth: httpx2.Auth | None = None
        self._offer: Offer | None = None
        self._connection: Connection | None = None
        self._connect = _connection_class(config)
        self._tasks = TaskSet()
        self._first: asyncio.Future[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing = False
        self._away = "it has not been started"
        self._told: set[Refusal] = set()

    @property
    def name(self) -> str:
        """The server's name."""
        return self.config.name

    @property
    def away(self) -> str:
        """Why the server cannot be called now; empty if it can."""
        return self._away if self._connection is None else ""

    def __repr__(self) -> str:
        return f"<McpServer {self.name} ({self.config.where})>"

    # ------------------------------------------------------------------------------------------------- lifetime

    async def start(self, offer: Offer) -> None:
        """Starts the server and offers its tools.

        Raises:
            ProtocolError: It was started before.
            ValidationError: Its program was not found.
            UnavailableError: Its process ended or hung before its tools were known, or the address refuses access.
        """
        self._offer = offer
        await self._start()

    async def _start(self) -> None:
        if self._first is not None:
            raise ProtocolError(f"the MCP server {self.name} was started before, and can be started only once")
        hide_secrets_of(self.config)
        self._auth = auth_of(self.config)
        self._first = asyncio.get_running_loop().create_future()
        self._running = self._tasks.spawn(self._run(), f"MCP server {self.name}")
        try:
            await asyncio.shield(self._first)
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Ends the server, with all that its process has started."""
        self._away = "it has been stopped"
        self._closing = True
        while self._running is not None and not self._running.done():
            # The client may take a cancellation for the end of something of its own.
            self._running.cancel()
            await asyncio.wait([self._running], timeout=_CANCEL_AGAIN_SECONDS)
        await self._tasks.aclose()
        await close_auth(self._auth)
        self.tools = []
        if self._first is not None and not self._first.done():
            self._first.cancel()

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self) -> None:
        """Connects again and again, until it is cancelled or can never connect."""
        pauses = back_off()
        while not self._closing:
            began = time.monotonic()
            try:
                why = await self._serve()
            except Exception as error:  # noqa: BLE001 - whatever the client raises, the connection is gone
                if self._closing:
                    return
                failure = self._failure_of(error)
                if not self._first_done and self._is_final(error):
                    self._settle(failure)
                    return
                why = failure.message.removeprefix(f"MCP server {self.name}: ")
            finally:
                self._connection = None
            self._away = why
            await self._withdraw()
            self._settle(None)
            if time.monotonic() - began > _LASTED_SECONDS:
                pauses = back_off()
            pause = next(pauses)
            _log.warning("MCP server %s: %s; its tools are gone until it is back", self.name, why)
            await asyncio.sleep(pause)

    async def _serve(self) -> str:
        """Connects, and offers the tools until the connection is lost; returns why it was."""
        connection = self._connect(self.config, self._bounds)
        try:
            async with connection.opened(self._auth):
                await self._read_tools(connection)
                self._connection = connection
                if self._first_done:
                    _log.info("MCP server %s is back with %d tools", self.name, len(self.tools))
                self._settle(None)
                await self._follow(connection)
                # Before its process is ended, which may take seconds.
                await self._withdraw()
                return await connection.why()
        except BaseException as error:
            connection.lost.set()
            if isinstance(error, Exception) and connection.process is not None and _is_closed(error):
                raise UnavailableError(await connection.why()) from error
            if isinstance(error, Exception) and connection.refusals.status:
                raise _refused(connection.refusals.status) from error
            raise

    async def _follow(self, connection: Connection) -> None:
        """Reads the tools again whenever they have changed, until the connection is lost."""
        waiting = None if self._pins is None else asyncio.ensure_future(self._approved(connection))
        lost = asyncio.ensure_future(connection.lost.wait())
        try:
            while not lost.done():
                changed = asyncio.ensure_future(connection.changed.wait())
                await asyncio.wait((lost, changed), return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
                if lost.done():
                    return
                connection.changed.clear()
                await self._read_tools(connection)
                await asyncio.wait((lost,), timeout=_READ_AGAIN_SECONDS)
        finally:
            lost.cancel()
            if waiting is not None:
                waiting.cancel()

    async def _approved(self, connection: Connection) -> None:
        """Has the tools read again when the file of pins changes while some wait to be approved."""
        assert self._pins is not None  # noqa: S101 - it is started with pins only
        stamp = self._pins.stamp()
        while True:
            await asyncio.sleep(_APPROVAL_SECONDS)
            now = self._pins.stamp()
            if now != stamp:
                stamp = now
                if any(refusal.reason.startswith(_CHANGED) for refusal in self.refused):
                    connection.changed.set()

    # --------------------------------------------------------------------------------------------------- tools

    async def _read_tools(self, connection: Connection) -> None:
        async with asyncio.timeout(self._bounds.start_seconds):
            listed = await connection.list_tools()
        refused: list[Refusal] = []
        if self._pins is not None:
            listed, changed = await asyncio.to_thread(self._pins.check, self.name, listed)
            refused = [
                Refusal(
                    shown_name(item.tool),
                    f"{_CHANGED} ({', '.join(item.changed)}) since it was pinned in {self._pins.path}, and is "
                    f"disabled; approve it with grpc-tool-bridge approve --pin {self._pins.path} "
                    f"{shown_name(item.name)}",
                )
                for item in changed
            ]
        # Ten thousand schemas take seconds to be checked.
        found = await asyncio.to_thread(self._importer.read, listed)
        refused += found.refused
        offered = found.tools
        if self._offer is not None:
            late = await self._offer.replace(found.tools)
            refused += late
            names = {refusal.name for refusal in late}
            offered = [tool for tool in found.tools if tool.spec.name not in names]
        self.tools, self.refused = offered, refused
        self._tell(refused)

    def _tell(self, refused: Sequence[Refusal]) -> None:
        for refusal in refused:
            if refusal not in self._told:
                _log.warning("MCP server %s: the tool %s is not offered: %s", self.name, refusal.name, refusal.reason)
        self._told = set(refused)

    async def _withdraw(self) -> None:
        self.tools = []
        if self._offer is not None:
            try:
                await self._offer.replace([])
            except ToolBridgeError as error:
                _log.warning("MCP server %s: its tools could not be withdrawn: %s", self.name, error)

    async def _call(self, shape: Shape, arguments: dict[str, Any], context: ToolContext) -> Any:
        connection = self._connection
        if connection is None or connection.lost.is_set():
            raise unavailable(shape.tool, self.name, self._away if connection is None else await connection.why())
        return await connection.call(shape, json_arguments(shape.tool, arguments), context)

    # -------------------------------------------------------------------------------------------------- failures

    @property
    def _first_done(self) -> bool:
        return self._first is not None and self._first.done()

    def _settle(self, error: ToolBridgeError | None) -> None:
        """Ends the wait of ``start``."""
        if self._first is not None and not self._first.done():
            self._first.set_result(None) if error is None else self._first.set_exception(error)

    def _is_final(self, error: BaseException) -> bool:
        """Returns whether a failure of the first start will not go away by itself."""
        return not isinstance(_first(error), _TRIED_AGAIN)

    def _failure_of(self, error: Exception) -> ToolBridgeError:
        first = _first(error)
        if isinstance(first, ToolBridgeError):
            text = f"MCP server {self.name}: {first.message.removeprefix(f'MCP server {self.name}: ')}"
            return first if text == first.message else UnavailableError(text)
        if isinstance(first, TimeoutError):
            what = f"it did not give its tools within {self._bounds.start_seconds:g} s"
        elif isinstance(first, _TRIED_AGAIN):
            what = f"{self.config.where} cannot be reached: {str(first) or type(first).__name__}"
        elif isinstance(first, MCPError):
            what = f"it refused to begin: {one_line(first.message[:500])}"
        else:
            lines = [line.strip() for line in str(first).splitlines()[:3]]
            what = f"what it says is not valid: {type(first).__name__}: {one_line(' '.join(lines))[:500]}"
        return UnavailableError(f"MCP server {self.name}: {what}")


_CHANGED = "it has changed"
_TRIED_AGAIN = (httpx2.TransportError, UnreachableError)


def _connection_class(config: ServerConfig) -> type[Connection]:
    """Returns what connects to a server.

    Raises:
        ImportError: It is one over gRPC, and the extra ``mcp-grpc`` is not installed.
    """
    if config.kind != "grpc":
        return McpConnection
    found: type[Connection] = import_module("grpc_tool_bridge.adapters.mcp.grpc_connection").GrpcConnection
    return found


def _refused(status: int) -> UnavailableError:
    """Returns the error for a server that refuses access by a status of HTTP."""
    hint = {
        401: "give a token as a header, or let it be obtained by OAuth",
        403: "its token does not admit this",
        404: "there is no MCP server at this path",
    }.get(status, "see its log")
    return UnavailableError(f"the address answers with the HTTP status {status}; {hint}")


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_closed(error: BaseException) -> bool:
    first = _first(error)
    return isinstance(first, MCPError) and first.message == "Connection closed"
