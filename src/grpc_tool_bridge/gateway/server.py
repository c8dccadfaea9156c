"""The HTTP server, in the hub's own event loop."""

import asyncio
import errno
import os
import socket
from collections.abc import Iterable, Mapping
from typing import Any

import uvicorn

from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.gateway.app import Gateway
from grpc_tool_bridge.gateway.connection import connection_class
from grpc_tool_bridge.gateway.declared_agents import check_declared
from grpc_tool_bridge.gateway.metrics import HttpCounts, MetricsRoute
from grpc_tool_bridge.gateway.quiet_server import QuietServer
from grpc_tool_bridge.llm.mcp_names import SEARCH_ALONE
from grpc_tool_bridge.llm.tool_filter import filter_of
from grpc_tool_bridge.rpc.authentication import Authenticator
from grpc_tool_bridge.transport.addresses import NAMED_SCHEMES, join_address, shown_address, split_address
from grpc_tool_bridge.transport.open_files import connection_limit
from grpc_tool_bridge.transport.server import check_exposure
from grpc_tool_bridge.transport.server_tls import TlsFiles

# A connection that nobody uses is closed after so many seconds.
KEEP_ALIVE_SECONDS = 30
MAX_HEADER_BYTES = 64 * 1024
# Connections that wait to be accepted.
BACKLOG = 2_048


class HttpServer:
    """Serves a hub over HTTP.

    Args:
        hub: The hub.
        address: ``host:port``; port 0: any that is free.
        mcp_agents: Agents that every client of MCP sees as tools: signatures by name.
        authenticator: Decides who callers are; None: they need nothing.

    Raises:
        ValidationError: The address, or an agent, cannot be used.
    """

    def __init__(
        self,
        hub: Hub,
        address: str,
        *,
        mcp_agents: Mapping[str, str] | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._mcp_agents = check_declared(mcp_agents)
        patterns = [pattern for pattern in hub.settings.mcp_tools if pattern != SEARCH_ALONE]
        if patterns:
            # Else the first client would be told what is wrong with it.
            filter_of(patterns)
        if address.startswith(NAMED_SCHEMES):
            raise ValidationError(
                f"the HTTP gateway listens at host:port, such as 127.0.0.1:8080, not at {shown_address(address)!r}"
            )
        try:
            self._host, self._port = split_address(address)
        except ValueError as error:
            raise ValidationError(f"http_address: {error}") from None
        self._hub = hub
        self._gateway: Gateway | None = None
        self._server: QuietServer | None = None
        self._serving: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Where it listens; once started with the port that it got."""
        return join_address(self._host, self._port)

    @property
    def url(self) -> str:
        """The same with the scheme, such as ``http://127.0.0.1:8080``."""
        return f"{'https' if self._hub.settings.tls_cert else 'http'}://{self.address}"

    async def start(self) -> None:
        """Begins to serve.

        Raises:
            ValidationError: Others can connect there, and nothing is set that would keep them out.
            OSError: The address is in use.
        """
        settings = self._hub.settings
        check_exposure(self.address, settings, authenticates=self._authenticator is not None)
        tls = TlsFiles.of(settings)
        if tls is not None:
            tls.check()
        listener = self._listen()
        # What is accepted inherits it; else the body of a response waits for the acknowledgement of its head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = listener.getsockname()[1]
        self._gateway = Gateway(self._hub, self._authenticator, self._counts, mcp_agents=self._mcp_agents)
        config = uvicorn.Config(
            self._gateway.app,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            http=connection_class(settings.hello_timeout, settings.request_timeout),
            server_header=False,
            # Any client could name an address that is not its own.
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            limit_concurrency=connection_limit(settings.max_connections),
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            ssl_context_factory=None if tls is None else lambda *_: tls.context(),
        )
        server = self._server = QuietServer(config)
        self._serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        await server.listening.wait()
        self._gateway.start()

    async def stop(self, grace: float) -> None:
        """Takes no new connections, and ends those that are open after ``grace`` seconds at most."""
        if self._server is None or self._serving is None:
            return
        self._server.config.timeout_graceful_shutdown = max(1, int(grace))
        if self._gateway is not None:
            await self._gateway.end_streams()
        self._server.should_exit = True
        await self._serving
        if self._gateway is not None:
            await self._gateway.aclose()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self._port), family=family, backlog=BACKLOG)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen at {self.address}: {_why_not(error)}") from error

    async def metrics(self) -> Iterable[Any]:
        """Returns what ``/metrics`` has, without what it says of the process."""
        return await MetricsRoute(self._hub, self._counts).families()

    def _counts(self) -> HttpCounts:
        if self._server is None:
            return HttpCounts(0, 0)
        state = self._server.server_state
        return HttpCounts(len(state.connections), len(state.tasks))


def _why_not(error: OSError) -> str:
    """Returns why the address cannot be used."""
    if error.errno == errno.EADDRINUSE:
        return "the address is in use; choose another"
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
