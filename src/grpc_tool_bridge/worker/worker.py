"""A worker: a process that offers tools over a connection that it dials itself."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.backoff import back_off
from grpc_tool_bridge.aio.loop_internals import note_thread
from grpc_tool_bridge.aio.loops import ended_with, has_ended
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.timeouts import ExpiredError, was_cancelled
from grpc_tool_bridge.client.client import ToolBridgeClient
from grpc_tool_bridge.client.linked_runtime import LinkedRuntime, LinkedSession
from grpc_tool_bridge.client.resume import reach
from grpc_tool_bridge.config import CALL_TIMEOUT, DEFAULT_ADDRESS, DEFAULT_CAPACITY, Settings
from grpc_tool_bridge.config.argument_checks import (
    A_LIST_OF_TOOLS,
    check_count,
    check_seconds,
    check_text,
    instance_of,
    list_of,
    path_of,
    settings_of,
    token_of,
)
from grpc_tool_bridge.errors import (
    CallCancelledError,
    ProtocolError,
    SessionExpiredError,
    ToolBridgeError,
    ToolCommunicationError,
    error_from_info,
)
from grpc_tool_bridge.link.memory import MemoryConnection
from grpc_tool_bridge.link.status import is_transient
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    GetSessionToolsRequest,
    HeartbeatRequest,
    RegisterToolsRequest,
    ToolSpec,
    UnregisterToolsRequest,
)
from grpc_tool_bridge.rpc.allocator import keep_freed_memory
from grpc_tool_bridge.rpc.bounds import spec_pages
from grpc_tool_bridge.rpc.callers import PRINCIPAL_FEATURE
from grpc_tool_bridge.rpc.methods import AGENTS_FEATURE
from grpc_tool_bridge.runner.surroundings import Surrounded
from grpc_tool_bridge.tools.middleware import Middleware, chain_of
from grpc_tool_bridge.tools.sources import RunningSources, ToolSource, sources_of
from grpc_tool_bridge.tools.tool import Tool, as_tool
from grpc_tool_bridge.tools.tool_versions import exact_id
from grpc_tool_bridge.tools.toolset import check_prefix, flat, prefixed
from grpc_tool_bridge.transport.channel import Connection
from grpc_tool_bridge.transport.link_stub import LinkTransport
from grpc_tool_bridge.worker.agents import AgentMethods, make_agents
from grpc_tool_bridge.worker.lifetime import WorkerLifetime
from grpc_tool_bridge.worker.offers import WorkerOffers
from grpc_tool_bridge.worker.service import ServedCall, ToolService
from grpc_tool_bridge.worker.wait_log import WaitLog

# Seconds that cancelled calls have to clean up and to be answered.
_DELIVERY_SECONDS = 3.0

_log = logging.getLogger(__name__)


class ToolWorker(Surrounded):
    """Offers tools to a hub over a connection that it opens itself, so it needs no open port.

    ``async with ToolWorker(address, tools=[add])`` serves inside the block; ``await worker.run()`` serves until it is
    cancelled or drained. If the connection is lost, the worker reconnects with growing pauses and registers its tools
    again.

    Args:
        address: The hub's ``host:port``, ``[ipv6]:port`` or ``unix:path``; or several with commas between them: the
            first one that answers gets the tools, and the next one when that is gone; or a connection to a hub in this
            process.
        tools: Functions, tools and toolsets.
        session_id: Only this session sees the tools; it is created if it does not exist. None: every session.
        worker_id: 1 to 256 printable characters; a later worker with the same id replaces this one. None: generate an
            id.
        capacity: Maximum concurrent calls; the hub sends further calls to other workers, or queues them.
        token: As for ``GRPCToolBridge``.
        token_file: As for ``GRPCToolBridge``.
        tls: As for ``GRPCToolBridge``.
        tls_ca: As for ``GRPCToolBridge``.
        proxy: As for ``GRPCToolBridge``.
        allow_insecure: As for ``GRPCToolBridge``.
        link_address: As for ``GRPCToolBridge``.
        transport: As for ``GRPCToolBridge``, but a worker always has a link.
        agents: Also run agents: True uses ``settings``; a mapping or AgentSettings overrides them. None: only run
            tools.
        settings: Threads, processes, models and message sizes of this process; None: the defaults. Limits of sessions
            and links are set at the hub.
        sources: Offer tools that come and go, such as ``import_mcp(...)``. They are started with the worker, and ended
            with it.
        lifespan: What is set up before the worker connects, and taken down after its last call has ended: an async
            context manager function that takes this worker and yields a dict, whose values tools read as
            ``ctx.lifespan["db"]``, or None; or a list of them. Connections that are lost do not end it.
        lifetime: Counts its calls, so that it can be replaced after some; None: they are not counted.
        prefix: Comes before the names of ``tools``, with its separator, such as ``"orders."``; those of ``sources``
            have prefixes of their own.
        middleware: Runs around each call that this worker gets, inside of the hub's: async functions that are called
            with (call, call_next), the first one outermost.

    Raises:
        ImportError: ``agents`` is set, but DSPy is not installed.
        ValidationError: An argument or a setting in ``agents`` is not valid.
        TypeError: An item of ``tools`` cannot be a tool.
        AlreadyExistsError: Two tools have the same name and version.
    """

    def __init__(
        self,
        address: str | MemoryConnection = DEFAULT_ADDRESS,
        tools: Iterable[Any] = (),
        *,
        session_id: str | None = None,
        worker_id: str | None = None,
        capacity: int = DEFAULT_CAPACITY,
        token: str | None = None,
        token_file: Path | None = None,
        tls: bool = False,
        tls_ca: Path | None = None,
        proxy: str | None = None,
        allow_insecure: bool = False,
        transport: Literal["link", "socket"] = "link",
        link_address: str | None = None,
        agents: Any = None,
        settings: Settings | None = None,
        lifetime: WorkerLifetime | None = None,
        sources: Iterable[ToolSource] = (),
        lifespan: Any = None,
        prefix: str = "",
        middleware: Iterable[Middleware] = (),
    ) -> None:
        self.settings = settings_of(settings)
        check_count("capacity", capacity, least=1, called="1 or more")
        _check_ids(session_id=session_id, worker_id=worker_id)
        self.session_id, self.capacity = session_id, capacity
        self.worker_id = worker_id or uuid.uuid4().hex
        chain = chain_of(middleware)
        self._service = ToolService(_offered(tools, prefix), self.settings, self._runtime_of, chain=chain)
        self._surroundings = self._service.surroundings
        self._surroundings.live_in(lifespan, self._service.tools)
        self._specs = [tool.spec for tool in self._service.tools]
        self._offers = WorkerOffers(self._service, self, self._stub_of_sources)
        self._sources = RunningSources([(source, self._offers.make()) for source in sources_of(sources)])
        self._agents = make_agents(agents, self.settings, self._session_of)
        token = token_of(token, token_file)
        how = {"token": token, "tls": tls, "tls_ca": tls_ca, "proxy": proxy, "link_address": link_address}
        connection = _connection_to(address, self.settings, allow_insecure=allow_insecure, **how)
        self._address = _only_address(connection)
        self._transport = LinkTransport(
            connection,
            kind=transport,
            dial_again=self._dial_again,
            serves=_Served(self._service, self._agents, lifetime),
            features=(PRINCIPAL_FEATURE,) if self._agents is None else (PRINCIPAL_FEATURE, AGENTS_FEATURE),
        )
        self._client = ToolBridgeClient(self._transport)
        self._rejoin, self._transport.on_relinked = self._transport.on_relinked, self._relinked
        self._tasks = TaskSet()
        self._starting: asyncio.Task[None] | None = None
        self._registering: asyncio.Task[None] | None = None
        self._registered = self._leaving = False
        # The event loop that it serves in, once started.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = WaitLog()
        self._left = asyncio.Event()
        self._failure: ToolBridgeError | None = None
        forks.watch(self)

    def forked(self) -> None:
        """Ends a process that a tool has forked in the event loop, so that it does not use this process's link."""
        if not self._left.is_set():
            forks.end_with_step(self._loop)

    def __repr__(self) -> str:
        state = "closed" if self._left.is_set() else "registered" if self._registered else "not registered"
        return f"<{type(self).__name__} {self.worker_id!r} of {self.address}, tools: {len(self.tools)}, {state}>"

    @property
    def address(self) -> str:
        """The hub's address; of several, the one in use, or all while there is none."""
        return self._address or self._transport.where

    @property
    def tools(self) -> list[str]:
        """Names of the offered tools."""
        return [tool.spec.name for tool in self._service.tools]

    # ------------------------------------------------------------------------------------------------- lifetime

    async def start(self, *, connect_timeout: float = 10.0) -> None:
        """Connects to the hub and registers the tools; returns when they can be called.

        Args:
            connect_timeout: Seconds to keep trying to reach the hub.

        Raises:
            ToolCommunicationError: The hub cannot be reached, or does not support Link.
            AccessError: The hub does not admit this worker.
            AlreadyExistsError: The name of a tool is taken.
            ToolBridgeError: The hub refused the tools for another reason, a source can never offer any tools, or the
                worker was closed meanwhile.
            BaseException: What a lifespan raises.
        """
        check_seconds("connect_timeout", connect_timeout, may_be_endless=True)
        if self._starting is not None:
            raise ProtocolError("this ToolWorker has been started before and serves only once; create another")
        if self._left.is_set():
            raise ProtocolError("this ToolWorker was closed before it was started; create another")
        self._loop = asyncio.get_running_loop()
        note_thread(self._loop)
        keep_freed_memory()
        self._starting = asyncio.create_task(self._start(connect_timeout), name="start worker")
        try:
            await self._starting
            self._registered = True
        except BaseException as error:
            closed = self._left.is_set()
            await self.close()
            if closed and isinstance(error, asyncio.CancelledError) and not was_cancelled():
                raise ToolCommunicationError("Link", "CANCELLED", "the worker was closed while it started") from None
            raise

    async def _start(self, connect_timeout: float) -> None:
        await self.lifespans.start(self)
        await self._sources.start()
        # A hub that goes away before it answers is dialled again, like one that is not running.
        await reach(self._offer, connect_timeout, self._client.caller.pauses(), self._transport.move_on)

    async def _offer(self, seconds: float) -> None:
        await self._client.connect(seconds)
        if not self._client.is_linked:
            raise ToolCommunicationError("Link", "UNIMPLEMENTED", f"the hub at {self.address} does not support Link")
        if self.session_id is not None:
            await self._client.initialize_session(self.session_id, connect_timeout=seconds)
        await self._register(self._transport.stub)

    async def run(self, *, connect_timeout: float = 10.0) -> None:
        """Serves until it is cancelled, or until ``drain`` has finished; starts the worker if necessary.

        Args:
            connect_timeout: Seconds to keep trying to reach the hub, if it has to be started.

        Raises:
            ToolBridgeError: As for ``start``; or the session of the tools has ended at the hub.
        """
        if self._starting is None:
            await self.start(connect_timeout=connect_timeout)
        if self._is_stranded():
            raise ended_with("this ToolWorker", "create another one in the loop that runs here")
        try:
            await self._left.wait()
        finally:
            await self.close()
        if self._failure is not None:
            raise self._failure

    async def drain(self, grace: float | None = None, *, on_leave: Callable[[], None] | None = None) -> bool:
        """Takes no new calls, finishes calls in flight, and disconnects.

        Args:
            grace: Seconds until calls in flight are cancelled; None: ``shutdown_grace`` of the settings.
            on_leave: Called when the hub sends no more new calls to this worker, while calls in flight may continue.
                Another worker with the same id may then register.

        Returns:
            Whether all calls finished.
        """
        if grace is not None:
            check_seconds("grace", grace)
        if self._is_stranded():
            await self.close()
            return False
        finished = True
        offers_none = self._registering is not None and not self._registering.done()
        self._leaving = True
        # Tools that are registered now would never be removed.
        await self._tasks.aclose()
        try:
            if not offers_none:
                draining = self._transport.drain(self.settings.shutdown_grace if grace is None else grace)
                await (draining if on_leave is None else self._told_of(draining, on_leave))
        except ExpiredError:
            finished = False
            self._service.cancel_all(CallCancelledError("the call was cancelled: its worker leaves"))
            if self._agents is not None:
                self._agents.cancel_all(CallCancelledError("the run was cancelled: its worker leaves"))
            with contextlib.suppress(ExpiredError):
                # Gives the callers time to receive the reason.
                await self._transport.drain(_DELIVERY_SECONDS)
        await self.close()
        return finished

    async def _told_of(self, draining: Coroutine[Any, Any, None], on_leave: Callable[[], None]) -> None:
        """Drains, and calls ``on_leave`` when the hub has answered a request that follows the drain."""
        drained = asyncio.ensure_future(draining)
        # Its first step sends the drain.
        await asyncio.sleep(0)
        request = HeartbeatRequest(session_id=self.session_id or self.worker_id)
        answered = asyncio.ensure_future(self._client.call("Heartbeat", request))
        try:
            await asyncio.wait((drained, answered), return_when=asyncio.FIRST_COMPLETED)
            on_leave()
            await drained
        finally:
            drained.cancel()
            answered.cancel()
            await asyncio.gather(answered, return_exceptions=True)

    async def close(self) -> None:
        """Disconnects immediately; calls in flight are cancelled.

        Raises:
            ProtocolError: The worker serves in another event loop, which still runs.
            BaseException: What a lifespan raises at its end; everything is closed.
        """
        stranded = self._is_stranded()
        if self._starting is not None and not stranded and not self._starting.done():
            # Each of its steps would open another link.
            self._left.set()
            self._starting.cancel()
            await asyncio.wait([self._starting])
        try:
            await self._tasks.aclose()
            await self._client.close()
            await self._sources.aclose()
            await self._service.aclose()
            if self._agents is not None:
                await self._agents.aclose()
        finally:
            await self._leave(stranded=stranded)

    async def _leave(self, *, stranded: bool) -> None:
        """Leaves the lifespans, and lets those go who wait for the end."""
        try:
            await self.lifespans.aclose()
        finally:
            if stranded:
                # Tasks that waited for it have ended with their loop.
                self._left = asyncio.Event()
            self._left.set()

    def _is_stranded(self) -> bool:
        """Returns whether it was started in an event loop that has ended."""
        if self._loop is None or self._loop is asyncio.get_running_loop():
            return False
        if not has_ended(self._loop):
            raise ProtocolError("this ToolWorker serves in another event loop, which still runs; await it there")
        return True

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._left.is_set():
            await self.drain()

    # ------------------------------------------------------------------------------------------------ the tools

    async def _register(self, stub: Any) -> None:
        async with self._offers.lock:
            await self.register(stub, self._specs)
            await self._offers.register_all(stub)
        self._waiting.end()

    def _stub_of_sources(self) -> Any:
        """Returns the stub over which tools of sources are registered; None while there is none, or none any more."""
        return self._transport.stub if self._registered and not self._leaving else None

    async def register(self, stub: Any, specs: Sequence[ToolSpec]) -> None:
        """Registers tools over a link; see ``Registrar``."""
        for some in spec_pages(specs, self.settings.max_message_bytes):
            await self._register_some(stub, some)

    async def unregister(self, stub: Any, specs: Sequence[ToolSpec]) -> None:
        """Unregisters tools over a link; see ``Registrar``."""
        tool_ids = [exact_id(spec.tool_id, spec.version) for spec in specs]
        request = UnregisterToolsRequest(session_id=self.session_id or "", tool_ids=tool_ids, worker_id=self.worker_id)
        response = await self._client.caller.over(stub).unary("UnregisterTools", request, CALL_TIMEOUT)
        if response.HasField("error") and response.error.type != "ToolNotFound":
            raise error_from_info(response.error)

    async def _register_some(self, stub: Any, specs: Sequence[ToolSpec]) -> None:
        request = RegisterToolsRequest(
            session_id=self.session_id or "", tools=specs, worker_id=self.worker_id, capacity=self.capacity
        )
        response = await self._client.caller.over(stub).unary("RegisterTools", request, CALL_TIMEOUT)
        if response.HasField("error"):
            raise error_from_info(response.error)

    async def seen(self, stub: Any) -> set[str]:
        """Returns the names of the tools that its session sees; none without a session; see ``Registrar``."""
        found: set[str] = set()
        if self.session_id is None:
            return found
        request = GetSessionToolsRequest(session_id=self.session_id)
        while True:
            page = await self._client.caller.over(stub).unary("GetSessionTools", request, CALL_TIMEOUT)
            found.update(spec.name for spec in page.tools)
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def _dial_again(self, error: ToolBridgeError) -> bool:
        # A hub that refuses it may admit it later: tokens are changed first on one side, then on the other.
        again = self._registered or is_transient(error)
        if again:
            self._waiting.note(error, self._transport.where)
        return again

    async def _relinked(self, stub: Any) -> None:
        """Registers the tools over another link."""
        if self._leaving:
            return
        self._offers.relinked()
        if self._registering is not None:
            self._registering.cancel()
        self._registering = self._tasks.spawn(self._register_again(stub), "register tools")

    async def _register_again(self, stub: Any) -> None:
        for wait in back_off():
            try:
                if self.session_id is not None and self._rejoin is not None:
                    await self._rejoin(stub)
                await self._register(stub)
            except SessionExpiredError as error:
                # The worker was only for this session.
                self._failure = error
                self._left.set()
                return
            except ToolBridgeError as error:
                where = self.address
                if self._transport.move_on(error):
                    _log.warning("the tools were not registered at %s: %s; trying the next hub", where, error)
                    return
                _log.warning("the tools were not registered at %s: %s; trying again", where, error)
            else:
                _log.info("the tools are registered at %s again", self.address)
                return
            await asyncio.sleep(wait)

    def _runtime_of(self, call: ServedCall) -> LinkedRuntime:
        return LinkedRuntime(call, self.address)

    def _session_of(
        self, session_id: str, origin: Any, deadline: float, metadata: Mapping[str, str] | None = None
    ) -> LinkedSession:
        return LinkedSession(session_id, origin, deadline, where=self.address, who="the agent", metadata=metadata)


def _offered(tools: Iterable[Any], prefix: str) -> Sequence[Tool]:
    return prefixed(map(as_tool, flat(list_of("tools", tools, A_LIST_OF_TOOLS))), check_prefix(prefix))


def _connection_to(
    address: str | MemoryConnection, settings: Settings, *, tls_ca: Any, allow_insecure: bool, **how: Any
) -> Connection | MemoryConnection:
    if isinstance(address, MemoryConnection):
        return address
    return Connection(
        address=address,
        tls_ca=path_of("tls_ca", tls_ca),
        allow_insecure=allow_insecure or settings.allow_insecure,
        max_message_bytes=settings.max_message_bytes,
        **how,
    )


def _only_address(connection: Connection | MemoryConnection) -> str:
    """Returns the address of a connection; empty: it has several."""
    return "" if isinstance(connection, Connection) and len(connection.addresses) > 1 else connection.address


def _check_ids(**ids: str | None) -> None:
    for name, given in ids.items():
        if given is not None:
            check_text(name, given, "a text of 1 to 256 characters, or None")


class _Served:
    """The methods that a worker serves to the hub: for tools and, if it has a runtime, for agents."""

    def __init__(self, service: ToolService, agents: AgentMethods | None, lifetime: WorkerLifetime | None) -> None:
        self.execute_tool: Any = service.execute_tool
        self.try_begin_tool: Any = service.try_begin_tool
        self.stream_tool: Any = service.stream_tool
        if agents is not None:
            self.create_react_agent: Any = agents.create_react_agent
            self.execute_agent: Any = agents.execute_agent
        if lifetime is not None:
            instance_of(
                "lifetime", lifetime, WorkerLifetime, "a WorkerLifetime, such as WorkerLifetime(max_calls=1000)"
            )
            self.execute_tool = lifetime.counted(self.execute_tool)
            # Each call is counted there.
            self.try_begin_tool = None
            self.stream_tool = lifetime.counted(self.stream_tool)
            if agents is not None:
                self.execute_agent = lifetime.counted(self.execute_agent)
