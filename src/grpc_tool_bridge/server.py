"""A hub with its transports, and a hub as a bridge in the same process."""

import asyncio
from collections.abc import Callable, Iterable
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from grpc_tool_bridge.aio.loops import has_ended, lives_elsewhere
from grpc_tool_bridge.client.answering import OnAsk
from grpc_tool_bridge.client.bridge import ToolBridge
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.client.local import LocalTransport
from grpc_tool_bridge.client.options import CallOptions
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.config.argument_checks import A_LIST_OF_TOOLS, check_seconds, list_of, settings_of
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ProtocolError, ToolBridgeError
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.memory import MemoryConnection
from grpc_tool_bridge.transport.addresses import check_address
from grpc_tool_bridge.transport.server import GrpcServer
from grpc_tool_bridge.worker.agents import agent_settings
from grpc_tool_bridge.worker.worker import DEFAULT_CAPACITY, ToolWorker

# Answers that are ready have so many seconds to reach their callers once the calls have ended.
_DELIVERY_SECONDS = 1.0


class BridgeServer:
    """A hub that listens for clients.

    ``async with BridgeServer(tools=[add]) as server`` serves while inside; ``server.address`` is where.

    Args:
        address: ``host:port`` (port 0: any that is free), ``[ipv6]:port`` or ``unix:path``.
        tools: Functions and tools that every session sees.
        agents: Runs agents in this process: True as the settings say, ``{"model": …, "api_base": …}`` or AgentSettings
            with these. None: only runtimes that dial in run agents.
        http_address: ``host:port`` of the HTTP gateway; None: there is none. It needs the extra ``http``.
        settings: Limits and who may connect; the defaults where not given.

    Attributes:
        hub: The hub.

    Raises:
        AlreadyExistsError: Two tools share a name.
        ValidationError: A tool's name cannot be used, or ``agents`` sets what there is not.
        ImportError: Agents or the HTTP gateway are asked for, and what they need is not installed.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:0",
        tools: Iterable[Any] = (),
        *,
        agents: Any = None,
        http_address: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings_of(settings)
        check_address(address, listening=True)
        self.hub = Hub(self.settings, list_of("tools", tools, A_LIST_OF_TOOLS))
        self._server = GrpcServer(self.hub, address, self.settings)
        # As any other runtime it has a link of its own, which no socket and no token lies between.
        self._own_links = LinkServer(self.hub, self.settings, self._server.peers)
        self._runtime = _make_runtime(self._own_links, agents, self.settings)
        self._http = _make_http(self.hub, http_address)
        self._started = self._running = False

    @property
    def address(self) -> str:
        """Where the hub listens; once started with the port that it got."""
        return self._server.address

    @property
    def http_address(self) -> str | None:
        """Where the HTTP gateway listens; None where there is none."""
        return None if self._http is None else str(self._http.address)

    async def start(self) -> None:
        """Begins to serve; once only.

        Raises:
            ProtocolError: It has been started before.
            ValidationError: The address is none, or lies beyond loopback without TLS and token.
            OSError: The address is in use, or a file of the TLS settings cannot be read.
        """
        if self._started:
            raise ProtocolError("this BridgeServer has been started before, and serves once only; make another")
        await self._server.start()
        self._started = self._running = True
        await self.hub.start()
        try:
            if self._http is not None:
                await self._http.start()
            if self._runtime is not None:
                await self._runtime.start()
        except BaseException:
            await self.stop(0)
            raise

    async def stop(self, grace: float | None = None) -> None:
        """Takes no new calls, lets those in flight finish, and closes.

        Args:
            grace: Seconds that calls in flight have; None: as the settings say.

        Raises:
            ProtocolError: It serves in another event loop, which still runs. Where that has ended, all is closed at
                once.
        """
        if grace is not None:
            check_seconds("grace", grace)
        if not self._running:
            return
        home = self.hub.loop
        if home is not None and home is not asyncio.get_running_loop():
            if not has_ended(home):
                raise ProtocolError("this BridgeServer serves in another event loop, which still runs; stop it there")
            # Nobody is left who could finish anything.
            self._running = False
            self._server.abandon()
            self.hub.abandon()
            return
        self._running = False
        grace = self.settings.shutdown_grace if grace is None else grace
        self._server.drain(grace)
        await self.hub.drain(grace)
        if self._http is not None:
            await self._http.stop(_DELIVERY_SECONDS)
        if self._runtime is not None:
            await self._runtime.drain(_DELIVERY_SECONDS)
        await self._server.stop(_DELIVERY_SECONDS)
        await self.hub.aclose()

    def bridge(
        self,
        *,
        keep_session: bool = False,
        retry_if: Callable[[ToolBridgeError], bool] | None = None,
        follow_tools: bool = True,
        on_tools_changed: Callable[[str, str], None] | None = None,
        on_ask: OnAsk | None = None,
    ) -> ToolBridge:
        """Makes a bridge to this hub that needs no socket; arguments as of ``ToolBridge`` and ``GRPCToolBridge``."""
        return ToolBridge(
            _local_client(self.hub, on_ask),
            keep_session=keep_session,
            retry_if=retry_if,
            follow_tools=follow_tools,
            on_tools_changed=on_tools_changed,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class LocalToolBridge(ToolBridge):
    """Tools and variables of a hub of its own, in the same process, with no socket.

    Args:
        tools: Functions and tools.
        settings: Limits; the defaults where not given.
        follow_tools, on_tools_changed: As of ``ToolBridge``.
        on_ask: As of ``GRPCToolBridge``.
    """

    def __init__(
        self,
        tools: Iterable[Any] = (),
        *,
        settings: Settings | None = None,
        follow_tools: bool = True,
        on_tools_changed: Callable[[str, str], None] | None = None,
        on_ask: OnAsk | None = None,
    ) -> None:
        self.hub = Hub(settings_of(settings), list_of("tools", tools, A_LIST_OF_TOOLS))
        super().__init__(_local_client(self.hub, on_ask), follow_tools=follow_tools, on_tools_changed=on_tools_changed)

    async def __aenter__(self) -> Self:
        await self.hub.start()
        return await super().__aenter__()

    async def close(self) -> None:
        """Ends the session and the hub."""
        await super().close()
        home = self.hub.loop
        if home is not None and home is not asyncio.get_running_loop():
            if not has_ended(home):
                raise lives_elsewhere("the hub of this bridge")
            self.hub.abandon()
            return
        await self.hub.drain(0)
        await self.hub.aclose()


def _make_runtime(links: LinkServer, agents: Any, settings: Settings) -> ToolWorker | None:
    if agents is None or agents is False:
        return None
    capacity = DEFAULT_CAPACITY if callable(agents) else agent_settings(agents, settings).max_runs
    return ToolWorker(MemoryConnection(links.serve), agents=agents, capacity=capacity, settings=settings)


def _make_http(hub: Hub, address: str | None) -> Any:
    if address is None:
        return None
    try:
        gateway = import_module("grpc_tool_bridge.gateway.server")
    except ImportError as error:
        raise ImportError(f'the HTTP gateway needs pip install "grpc-tool-bridge[http]": {error}') from None
    return gateway.HttpServer(hub, address)


def _local_client(hub: Hub, on_ask: OnAsk | None) -> ToolBridgeClient:
    transport = LocalTransport(hub)
    options = CallOptions(
        max_message_bytes=hub.settings.max_message_bytes,
        max_message_nodes=hub.settings.max_message_nodes,
    )
    return ToolBridgeClient(transport, options=options, on_ask=on_ask)
