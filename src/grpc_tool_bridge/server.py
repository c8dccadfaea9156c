"""BridgeServer, a hub that serves clients, and LocalToolBridge, a bridge with a hub in the same process."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import TracebackType
from typing import Any, Self

from grpc_tool_bridge.aio.loops import has_ended, lives_elsewhere
from grpc_tool_bridge.auth.approvals.pending import Approvals
from grpc_tool_bridge.auth.guarding import guarding_of
from grpc_tool_bridge.auth.identity.identities import Identities, methods_of
from grpc_tool_bridge.client.answering import OnAsk
from grpc_tool_bridge.client.bridge import ToolBridge
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.client.local import LocalTransport
from grpc_tool_bridge.client.options import CallOptions, checked_metadata
from grpc_tool_bridge.client.tools import Tools
from grpc_tool_bridge.config import DEFAULT_CAPACITY, Settings
from grpc_tool_bridge.config.argument_checks import (
    A_LIST_OF_TOOLS,
    check_flag,
    check_seconds,
    list_of,
    refuse_type,
    settings_of,
)
from grpc_tool_bridge.core.chaos.reading import ChaosSource, read_chaos
from grpc_tool_bridge.core.guards import Audit
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.interfaces import DurableStore, Recorder, ValueSealer
from grpc_tool_bridge.core.sources import HubSources
from grpc_tool_bridge.errors import ProtocolError, ToolBridgeError, ValidationError
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.link.listener import LinkServer
from grpc_tool_bridge.link.memory import MemoryConnection
from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionConfig
from grpc_tool_bridge.rpc.authentication import Authenticator
from grpc_tool_bridge.rpc.tracing import process
from grpc_tool_bridge.runner.lifespans import Lifespans
from grpc_tool_bridge.runner.surroundings import Surrounded
from grpc_tool_bridge.stores.urls import A_STORE, is_nats, make_store
from grpc_tool_bridge.tools.middleware import Middleware
from grpc_tool_bridge.tools.sources import ToolSource, sources_of
from grpc_tool_bridge.transport.addresses import check_address
from grpc_tool_bridge.transport.server import GrpcServer
from grpc_tool_bridge.worker.agents import agent_settings
from grpc_tool_bridge.worker.worker import ToolWorker

_log = logging.getLogger(__name__)

# Seconds for answers to reach their callers after the calls have ended.
_DELIVERY_SECONDS = 1.0


class BridgeServer(Surrounded):
    """A hub that serves clients.

    ``async with BridgeServer(tools=[add]) as server:`` serves inside the block, at ``server.address``.

    Args:
        address: ``host:port`` (port 0: any free port), ``[ipv6]:port`` or ``unix:path``.
        tools: Functions, tools and toolsets that every session sees.
        agents: Runs agents in this process. True: configured by ``settings``; or ``{"model": …, "api_base": …}`` or
            AgentSettings. None (the default): only connected agent runtimes run agents.
        http_address: ``host:port`` of the HTTP gateway, which needs the extra ``http``. None: there is none.
        mcp_agents: Agents that every client of MCP sees as tools, at ``/mcp`` of ``http_address``: signatures by name,
            such as ``{"ask": "question -> answer"}``. They run where ``agents`` says, or on a runtime that is
            connected. None: only the agents of a client's own session.
        mcp_grpc: Serves MCP over gRPC at ``address``, too, which needs the extra ``mcp-grpc``; an experiment. None: the
            setting ``mcp_grpc``, which by default does not.
        settings: Limits, and who may connect. None: the defaults.
        chaos: Faults to inject on purpose: the path of a TOML file, or a dict of the same form. None: none.
        sources: Offer tools that come and go, such as ``import_mcp(...)``. They are started with the server, and ended
            with it.
        store: Keeps sessions, variables, kept answers, agents and runs beyond the life of the process: a URL such as
            ``sqlite:////absolute/path/hub.db``, or a DurableStore. None: the setting ``store``, which by default keeps
            nothing.
        recorder: Records what clients and the hub say to one another, such as ``grpc_tool_bridge.testing.Recorder``.
            None: nothing is recorded.
        lifespan: What is set up before anything is served, and taken down after the last call has ended: an async
            context manager function that takes this server and yields a dict, whose values tools read as
            ``ctx.lifespan["db"]``, or None; or a list of them, entered in order.
        middleware: Runs around each call that the hub gets, of its own and of workers' tools: async functions that are
            called with ``(call, call_next)``, the first one outermost. See ``ToolCall``.
        authenticator: Decides who callers are, over all transports, in place of the settings for that. None: the
            settings say how callers prove who they are.

    Attributes:
        hub: The hub.

    Raises:
        AlreadyExistsError: Two tools share a name and a version.
        ValidationError: The address, a tool, ``agents`` or ``chaos`` is not valid.
        OSError: The file of ``chaos`` or ``secrets_key_file`` cannot be read.
        ValueError: What the setting ``secrets_key`` or ``secrets_key_file`` names are no keys.
        ImportError: ``agents``, ``http_address`` or ``mcp_grpc`` is set, and what it needs is not installed.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:0",
        tools: Iterable[Any] = (),
        *,
        agents: Any = None,
        http_address: str | None = None,
        mcp_agents: Mapping[str, str] | None = None,
        mcp_grpc: bool | None = None,
        settings: Settings | None = None,
        chaos: ChaosSource | None = None,
        recorder: Recorder | None = None,
        sources: Iterable[ToolSource] = (),
        store: DurableStore | str | None = None,
        lifespan: Any = None,
        middleware: Iterable[Middleware] = (),
        authenticator: Authenticator | None = None,
    ) -> None:
        self.settings = settings_of(settings)
        check_address(address, listening=True)
        self._identities = _make_identities(authenticator, self.settings)
        self._methods = ("an authenticator of its own",) if authenticator is not None else methods_of(self.settings)
        injects = None if chaos is None else read_chaos(chaos)
        self._cluster = _make_cluster(store, self.settings)
        durable = _make_store(store, self.settings) if self._cluster is None else self._cluster.store
        offered = list_of("tools", tools, A_LIST_OF_TOOLS)
        audit = _make_audit(self.settings)
        who = _audited_authenticator(self._identities if authenticator is None else authenticator, audit)
        self.hub = Hub(self.settings, offered, chaos=injects, durable=durable, middleware=middleware, audit=audit)
        self.hub.wrappers.approver = Approvals(self.settings)
        self._surroundings = self.hub.executor.surroundings
        _live_in(lifespan, self.hub)
        self._sources = HubSources(self.hub.registry, sources_of(sources))
        self._recorder = recorder
        # Only a hub that is guarded or audited has a front of its own.
        self._guarding = guarding_of(self.hub, self.settings, authenticator)
        front = _audited_hub(self.hub if self._guarding is None else self._guarding.front, audit)
        served: Any = front if self._cluster is None else self._cluster.attach(self.hub, front)
        self._served: Any = served if recorder is None else recorder.attach(served)
        self._mcp_grpc = _make_mcp_grpc(self._served, mcp_grpc, mcp_agents)
        services = () if self._mcp_grpc is None else (self._mcp_grpc,)
        self._server = GrpcServer(self._served, address, self.settings, services, authenticator=who)
        if injects is not None:
            injects.drop_links = self._server.drop_links
        # Like any other runtime it has its own link, but without a socket and a token.
        self._own_links = LinkServer(self._served, self.settings, self._server.peers)
        self._runtime = _make_runtime(self._own_links, agents, self.settings)
        of_mcp = None if services and http_address is None else mcp_agents
        self._http = _make_http(self._served, http_address, of_mcp, who)
        self._started = self._running = False
        self._end_metrics: Callable[[], None] | None = None

    def __repr__(self) -> str:
        state = "serving" if self._running else "stopped" if self._started else "not started"
        return f"<{type(self).__name__} at {self.address}, {state}>"

    @property
    def address(self) -> str:
        """The address of the hub; after ``start`` with the actual port."""
        return self._server.address

    @property
    def link_address(self) -> str | None:
        """Where links are taken over TCP, as the setting says, after ``start`` with the actual port; None: nowhere."""
        return self._server.link_address

    @property
    def cluster_name(self) -> str | None:
        """The URL of the cluster of hubs that it belongs to, without its secrets; None: it belongs to none."""
        return None if self._cluster is None else str(self._cluster.store.address.shown)

    @property
    def hub_name(self) -> str | None:
        """Its name among the hubs of that cluster; None: it belongs to none."""
        return None if self._cluster is None else str(self._cluster.name)

    @property
    def http_address(self) -> str | None:
        """Where the HTTP gateway listens; None where there is none."""
        return None if self._http is None else str(self._http.address)

    @property
    def identity_methods(self) -> tuple[str, ...]:
        """How callers may prove who they are, for people, such as "a token"; empty: they need not."""
        return self._methods

    async def start(self) -> None:
        """Starts to serve. A server can be started only once.

        Raises:
            ProtocolError: It was started before.
            ValidationError: The address is not loopback, and TLS and a token are not set.
            OSError: The address is in use, or a TLS file cannot be read.
            StoreError: The store cannot be used.
            ToolBridgeError: A source can never offer any tools.
            BaseException: What a lifespan raises.
        """
        if self._started:
            raise ProtocolError("this BridgeServer was started before, and can be started only once; make another")
        # First: who connects sees what was kept, and the tools of the sources, at once.
        await self._restore()
        try:
            if self._cluster is not None:
                await self._cluster.start(self._server)
            await self.lifespans.start(self)
            await self._sources.start()
            await self._server.start()
        except BaseException:
            await self._sources.aclose()
            if self._cluster is not None:
                await self._cluster.aclose(0)
            await self.hub.aclose()
            await self._close_identities()
            await _left_after_failure(self.lifespans)
            raise
        self._started = self._running = True
        if self._guarding is not None:
            self._guarding.start()
        self.hub.address, self.hub.identities = self._server.address, ", ".join(self._methods)
        await self.hub.start()
        try:
            await self._open()
        except BaseException:
            await self.stop(0)
            raise

    async def _restore(self) -> None:
        """Prepares to know callers, and takes over what was kept."""
        try:
            if self._identities is not None:
                await self._identities.start()
            await self.hub.restore()
        except BaseException:
            await self._close_identities()
            raise

    async def _open(self) -> None:
        """Opens what needs a hub that serves."""
        if self._http is not None:
            await self._http.start()
            self.hub.http_url = self._http.url
        self._end_metrics = _export_metrics(self.hub, self._http)
        if self._cluster is not None:
            await self._cluster.announce(address=self.hub.address, http_address=self.hub.http_url)
        if self._runtime is not None:
            await self._runtime.start()

    async def stop(self, grace: float | None = None) -> None:
        """Refuses new calls, waits for those in flight, and closes.

        Args:
            grace: Seconds for calls in flight to finish; None: the setting ``shutdown_grace``.

        Raises:
            ProtocolError: It serves in another event loop, which still runs. If that loop has ended, the server closes
                immediately.
            BaseException: What a lifespan raises at its end; everything is closed.
        """
        if grace is not None:
            check_seconds("grace", grace)
        if not self._running:
            return
        home = self.hub.loop
        if home is not None and home is not asyncio.get_running_loop():
            if not has_ended(home):
                raise ProtocolError("this BridgeServer serves in another event loop, which still runs; stop it there")
            # The loop has ended, so no call can finish.
            self._running = False
            self._server.abandon()
            if self._identities is not None:
                self._identities.abandon()
            if self._cluster is not None:
                self._cluster.abandon()
            if self._guarding is not None:
                self._guarding.abandon()
            self.hub.abandon()
            await self._end_recording()
            return
        self._running = False
        try:
            await self._close(self.settings.shutdown_grace if grace is None else grace)
        finally:
            await self.lifespans.aclose()

    async def _close(self, grace: float) -> None:
        if self._end_metrics is not None:
            self._end_metrics()
        self._server.drain(grace)
        await self.hub.drain(grace)
        if self._cluster is not None:
            # Its sessions are served by the others from now on.
            await self._cluster.hand_over()
        if self._http is not None:
            await self._http.stop(_DELIVERY_SECONDS)
        if self._runtime is not None:
            await self._runtime.drain(_DELIVERY_SECONDS)
        await self._sources.aclose()
        await self._server.stop(_DELIVERY_SECONDS)
        if self._mcp_grpc is not None:
            await self._mcp_grpc.aclose()
        if self._cluster is not None:
            await self._cluster.aclose(_DELIVERY_SECONDS)
        await self._close_identities()
        if self._guarding is not None:
            await self._guarding.aclose()
        await self.hub.aclose()
        await self._end_recording()

    async def _close_identities(self) -> None:
        if self._identities is not None:
            await self._identities.aclose()

    async def _end_recording(self) -> None:
        if self._recorder is not None:
            await self._recorder.aclose()

    def bridge(
        self,
        *,
        keep_session: bool = False,
        retry_if: Callable[[ToolBridgeError], bool] | None = None,
        follow_tools: bool = True,
        on_tools_changed: Callable[[str, str], None] | None = None,
        on_ask: OnAsk | None = None,
        metadata: Mapping[str, str] | None = None,
        middleware: Iterable[Middleware] = (),
    ) -> ToolBridge:
        """Returns a bridge to this hub without a socket; arguments as for ``ToolBridge`` and ``GRPCToolBridge``."""
        return ToolBridge(
            _local_client(self._served, on_ask, metadata, middleware),
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


class LocalToolBridge(Surrounded, ToolBridge):
    """A bridge with its own hub in the same process, without a socket.

    Args:
        tools: Functions, tools and toolsets.
        settings: Limits. None: the defaults.
        store: As for ``BridgeServer``.
        keep_session: As for ``ToolBridge``.
        follow_tools: As for ``ToolBridge``.
        on_tools_changed: As for ``ToolBridge``.
        on_ask: As for ``GRPCToolBridge``.
        lifespan: As for ``BridgeServer``; it is given this bridge.
        metadata: As for ``GRPCToolBridge``.
        middleware: As for ``BridgeServer``.
        sources: As for ``BridgeServer``.

    Raises:
        AlreadyExistsError: Two tools share a name and a version.
        ValidationError: A tool is not valid.
    """

    def __init__(
        self,
        tools: Iterable[Any] = (),
        *,
        settings: Settings | None = None,
        store: DurableStore | str | None = None,
        keep_session: bool = False,
        follow_tools: bool = True,
        on_tools_changed: Callable[[str, str], None] | None = None,
        on_ask: OnAsk | None = None,
        lifespan: Any = None,
        metadata: Mapping[str, str] | None = None,
        middleware: Iterable[Middleware] = (),
        sources: Iterable[ToolSource] = (),
    ) -> None:
        given = settings_of(settings)
        offered = list_of("tools", tools, A_LIST_OF_TOOLS)
        durable = _make_store(store, given)
        self.hub = Hub(given, offered, durable=durable, middleware=middleware, audit=_make_audit(given))
        self.hub.wrappers.approver = Approvals(given)
        self._surroundings = self.hub.executor.surroundings
        _live_in(lifespan, self.hub)
        self._sources = HubSources(self.hub.registry, sources_of(sources))
        self._beginning = asyncio.Lock()
        self._has_begun = False
        super().__init__(
            _local_client(self.hub, on_ask, metadata),
            keep_session=keep_session,
            follow_tools=follow_tools,
            on_tools_changed=on_tools_changed,
        )

    async def initialize(
        self,
        session_id: str | None = None,
        *,
        metadata: Mapping[str, str] | None = None,
        config: SessionConfig | None = None,
        connect_timeout: float = 5.0,
    ) -> Tools:
        """Opens the session, as for ``ToolBridge``, of a hub that has its store, its lifespans and its sources.

        Raises:
            StoreError: The store cannot be used.
            ToolBridgeError: A source can never offer any tools.
            BaseException: What a lifespan raises.
        """
        await self._begin()
        return await super().initialize(session_id, metadata=metadata, config=config, connect_timeout=connect_timeout)

    async def __aenter__(self) -> Self:
        await self._begin()
        await self.hub.start()
        return await super().__aenter__()

    async def _begin(self) -> None:
        await self.hub.restore()
        async with self._beginning:
            if self._has_begun:
                return
            try:
                await self.lifespans.start(self)
                await self._sources.start()
            except BaseException:
                await self._sources.aclose()
                await self.hub.aclose()
                await _left_after_failure(self.lifespans)
                raise
            self._has_begun = True

    async def close(self) -> None:
        """Ends the session and the hub.

        Raises:
            BaseException: What a lifespan raises at its end; everything is closed.
        """
        try:
            await super().close()
            await self._end()
        finally:
            await self.lifespans.aclose()

    async def _end(self) -> None:
        home = self.hub.loop
        if home is not None and home is not asyncio.get_running_loop():
            if not has_ended(home):
                raise lives_elsewhere("the hub of this bridge")
            self.hub.abandon()
            return
        await self.hub.drain(0)
        await self._sources.aclose()
        await self.hub.aclose()


def _live_in(lifespan: Any, hub: Hub) -> None:
    """Sets the lifespans of a hub, which its tools see."""
    tools = [registered.tool for registered in hub.registry.own("").values()]
    hub.executor.surroundings.live_in(lifespan, (tool for tool in tools if tool is not None))


async def _left_after_failure(lifespans: Lifespans) -> None:
    """Leaves the lifespans of a hub that could not start, whose own error is the one to raise."""
    try:
        await lifespans.aclose()
    except Exception as error:  # noqa: BLE001 - it is logged
        lifespans.failed = ""
        log_fault(_log, "a lifespan failed at its end", error=error)


def _make_runtime(links: LinkServer, agents: Any, settings: Settings) -> ToolWorker | None:
    if agents is None or agents is False:
        return None
    capacity = DEFAULT_CAPACITY if callable(agents) else agent_settings(agents, settings).max_runs
    return ToolWorker(MemoryConnection(links.serve), agents=agents, capacity=capacity, settings=settings)


def _make_identities(given: Authenticator | None, settings: Settings) -> Identities | None:
    """Returns what authenticates callers as the settings say; None: they do not, or another authenticator was given."""
    methods = methods_of(settings)
    if given is None:
        return Identities(settings) if methods else None
    if isinstance(given, type) or not isinstance(given, Authenticator):
        refuse_type("authenticator", given, "an object with a method authenticate(peer) that returns a Principal")
    if methods:
        raise ValidationError(
            f"an authenticator was given, and the settings name {' and '.join(methods)}, too; leave one of them out"
        )
    return None


def _make_http(
    hub: Hub, address: str | None, mcp_agents: Mapping[str, str] | None, authenticator: Authenticator | None
) -> Any:
    if address is None:
        if mcp_agents:
            raise ValidationError("mcp_agents are served over HTTP; set http_address as well, or mcp_grpc")
        return None
    try:
        gateway = import_module("grpc_tool_bridge.gateway.server")
    except ImportError as error:
        raise ImportError(f'the HTTP gateway needs pip install "grpc-tool-bridge[http]": {error}') from None
    return gateway.HttpServer(hub, address, mcp_agents=mcp_agents, authenticator=authenticator)


def _export_metrics(hub: Hub, http: Any) -> Callable[[], None] | None:
    """Exports the metrics of a hub, if the process exports any; returns what ends that."""
    if process.export_metrics is None:
        return None
    try:
        gateway = import_module("grpc_tool_bridge.gateway.server")
    except ImportError as error:
        _log.warning('metrics are not exported: they need pip install "grpc-tool-bridge[http]": %s', error)
        return None
    return process.export_metrics((http or gateway.HttpServer(hub, "127.0.0.1:0")).metrics)


def _make_mcp_grpc(hub: Hub, wanted: bool | None, agents: Mapping[str, str] | None) -> Any:
    if wanted is not None:
        check_flag("mcp_grpc", wanted)
    if not (hub.settings.mcp_grpc if wanted is None else wanted):
        return None
    try:
        gateway = import_module("grpc_tool_bridge.gateway.mcp_grpc.service")
    except ImportError as error:
        raise ImportError(f'MCP over gRPC needs pip install "grpc-tool-bridge[mcp-grpc]": {error}') from None
    return gateway.McpGrpcService(hub, agents)


def _make_cluster(store: DurableStore | str | None, settings: Settings) -> Any:
    """Returns the hub's part in a cluster; None if its store is not in NATS."""
    url = settings.store if store is None else store
    if not isinstance(url, str) or not is_nats(url):
        return None
    try:
        cluster = import_module("grpc_tool_bridge.cluster.cluster")
    except ImportError as error:
        raise ImportError(f'a store in NATS needs pip install "grpc-tool-bridge[cluster]": {error}') from None
    return cluster.Cluster(url, settings, _make_sealer(settings))


def _make_audit(settings: Settings) -> Audit | None:
    """Returns the audit trail that the settings ask for; None: nothing is audited."""
    if settings.audit is None:
        return None
    trail: Audit = import_module("grpc_tool_bridge.auth.audit.trail").make_trail(settings)
    return trail


def _audited_authenticator(authenticator: Authenticator | None, audit: Audit | None) -> Authenticator | None:
    if authenticator is None or audit is None:
        return authenticator
    room = import_module("grpc_tool_bridge.auth.audit.audited_authenticator")
    audited: Authenticator = room.AuditedAuthenticator(authenticator, audit)
    return audited


def _audited_hub(hub: Any, audit: Audit | None) -> Any:
    if audit is None:
        return hub
    return import_module("grpc_tool_bridge.auth.audit.audited_hub").AuditedHub(hub, audit)


def _make_store(store: DurableStore | str | None, settings: Settings) -> DurableStore | None:
    if store is None or isinstance(store, str):
        return make_store(settings.store if store is None else store, _make_sealer(settings))
    if isinstance(store, type) or not isinstance(store, DurableStore):
        refuse_type("store", store, A_STORE)
    return store


def _make_sealer(settings: Settings) -> ValueSealer | None:
    """Returns what seals values in the store; None if the settings have no keys."""
    if settings.secrets_key is None and settings.secrets_key_file is None:
        return None
    sealer: ValueSealer = import_module("grpc_tool_bridge.auth.secrets.sealer").sealer_of(settings)
    return sealer


def _local_client(
    hub: Hub,
    on_ask: OnAsk | None,
    metadata: Mapping[str, str] | None,
    middleware: Iterable[Middleware] = (),
) -> ToolBridgeClient:
    transport = LocalTransport(hub)
    options = CallOptions(
        max_message_bytes=hub.settings.max_message_bytes,
        max_message_nodes=hub.settings.max_message_nodes,
        default_metadata=checked_metadata(metadata),
    )
    return ToolBridgeClient(transport, options=options, on_ask=on_ask, middleware=middleware)
