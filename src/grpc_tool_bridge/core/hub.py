"""The hub: all methods of the services, with messages as requests and responses."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge.aio.loop_internals import note_thread
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.turns import Turns, in_slices
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.admin import Admin
from grpc_tool_bridge.core.agents.agents import Agents
from grpc_tool_bridge.core.agents.runs import RunReader
from grpc_tool_bridge.core.batch import Batch
from grpc_tool_bridge.core.calls import session_ended
from grpc_tool_bridge.core.chaos.injections import Chaos
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.expiry import expire_forever
from grpc_tool_bridge.core.feed import Feed
from grpc_tool_bridge.core.guards import Audit, SessionEntry
from grpc_tool_bridge.core.hubs import NOT_SERVING, SERVING, Hubs
from grpc_tool_bridge.core.infos import is_hub, runs_here, session_info, set_time
from grpc_tool_bridge.core.interfaces import DurableStore, HubDirectory, PeerMemory
from grpc_tool_bridge.core.metrics import Metrics
from grpc_tool_bridge.core.names import clip
from grpc_tool_bridge.core.registered_tool import ToolSource
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.restoring import Restored, restore
from grpc_tool_bridge.core.session import Session, SessionHold
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.statuses import failed_status
from grpc_tool_bridge.core.stored import StoredSession
from grpc_tool_bridge.core.tool_methods import ToolMethods, put_specs
from grpc_tool_bridge.core.tool_views import ToolFilter
from grpc_tool_bridge.core.variable_methods import VariableMethods
from grpc_tool_bridge.core.workers.pool import WorkerPool
from grpc_tool_bridge.core.wrappers import BackendWrappers
from grpc_tool_bridge.errors import (
    CallCancelledError,
    SessionError,
    StoreError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
    error_info,
)
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.allocator import keep_freed_memory, trim_forever
from grpc_tool_bridge.rpc.bounds import check_request
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.rpc.methods import AGENTS_FEATURE, SERVICE_NAMES
from grpc_tool_bridge.rpc.tracing import process
from grpc_tool_bridge.tools.middleware import CallNext, Middleware, chain_of
from grpc_tool_bridge.tools.toolset import Toolset

# Seconds for calls that were cancelled to end.
_SETTLE_SECONDS = 1.0

CAPABILITIES = ("streaming", "batch", "variables", "link")

_log = logging.getLogger(__name__)


class Hub:
    """Sessions, tools, variables and agents behind one interface for all transports.

    A method takes the request and, if it needs it, the context of the request. Methods whose response has an ErrorInfo
    return their errors in it; the others raise a ToolBridgeError.

    Args:
        settings: Limits; None: the defaults.
        tools: Tools and toolsets that every session sees.
        chaos: The faults to inject; None: none.
        durable: Keeps its state beyond the life of the process; None: it ends with it.
        middleware: Runs around each call, the first one outermost.
        audit: Keeps a line of each call; None: nothing is audited.

    Attributes:
        get_session_variable, set_session_variable, delete_session_variable, list_session_variables,
            watch_session_variables: As in ``VariableMethods``.
        get_session_tools, watch_session_tools, register_tools, unregister_tools: As in ``ToolMethods``.
        execute_tool, begin_tool, try_begin_tool, stream_tool: As in ``Executor``.
        hubs: The hubs of its cluster; it is the only one without.
        list_hubs: As in ``Hubs``.
        list_sessions, list_workers, list_calls, list_runs, list_offers, cancel_call, list_approvals,
            decide_approval: As in ``Admin``.
        watch_events: As in ``Feed``.
        notable_calls: As in ``NotableCalls.calls``.
        event_watches: Returns how many watches of events are open; ``count`` of ``Feed``.
        observe: Sets another observer of calls; ``share`` of ``Feed``.
        started_at: When it was made, on the monotonic clock.
    """

    # See ``served_methods``.
    takes_large_calls = True

    def __init__(
        self,
        settings: Settings | None = None,
        tools: Iterable[ToolSource | Toolset] = (),
        *,
        chaos: Chaos | None = None,
        durable: DurableStore | None = None,
        middleware: Iterable[Middleware] = (),
        audit: Audit | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.metrics = Metrics()
        self.memory = Budget(self.settings.max_hub_bytes, owner="the hub", setting="max_hub_bytes")
        self.store = SessionStore(self.settings, on_end=self._session_ended, memory=self.memory)
        self.registry = ToolRegistry(self.store, self.metrics)
        self.workers = WorkerPool(self.registry)
        self.executor = Executor(self.store, self.registry)
        self.admission = self.executor.admission
        self.admission.audit = audit
        self.chaos = chaos
        self.durable = durable
        self._restoring = asyncio.Lock()
        self.wrappers = BackendWrappers(self.executor.local, self.settings, chaos, self.admission.note_moved)
        self.registry.wrap = self.wrappers.wrap
        self.registry.register_batch("", tools)
        # Bound here, to save a call of a method per request.
        self.execute_tool, self.stream_tool = self.executor.execute, self.executor.stream
        self.begin_tool, self.try_begin_tool = self._fast_ways(chain_of(middleware))
        self.agents = Agents(self.store, self.registry, self.workers, self.executor)
        of_variables = VariableMethods(self.store, self.admission)
        self.get_session_variable, self.set_session_variable = of_variables.get, of_variables.set
        self.delete_session_variable, self.list_session_variables = of_variables.delete, of_variables.select
        self.watch_session_variables = of_variables.watch
        of_tools = ToolMethods(self.store, self.registry, self.workers, self.admission)
        self.get_session_tools, self.watch_session_tools = of_tools.page, of_tools.watch
        self.register_tools, self.unregister_tools = of_tools.register, of_tools.unregister
        ids = self.admission.ids
        self.hubs = Hubs(self._describe)
        admin = Admin(self.registry, self.workers, self.agents, ids, self.hubs, self.wrappers)
        self.list_hubs, self.list_offers = self.hubs.list_hubs, admin.list_offers
        self.list_sessions, self.list_workers = admin.list_sessions, admin.list_workers
        self.list_calls, self.list_runs, self.cancel_call = admin.list_calls, admin.list_runs, admin.cancel_call
        self.list_approvals, self.decide_approval = admin.list_approvals, admin.decide_approval
        self._feed = Feed(self.admission, self.registry, self.workers, ids)
        self.watch_events, self.observe = self._feed.watch_events, self._feed.share
        self.notable_calls = self.admission.notable.calls
        self.event_watches = self._feed.count
        # Set by its server: where it listens for clients and workers, and serves HTTP (empty: it does not).
        self.address = self.http_url = self.identities = ""
        # Likewise.
        self.peer_memory: PeerMemory | None = None
        self._tasks = TaskSet()
        self.started_at = time.monotonic()
        self._on_serving: list[Callable[[bool], None]] = []
        self._has_started = False
        # What was kept of an earlier life; None: nothing is kept.
        self.restored: Restored | None = None
        # The event loop that it was started in.
        self.loop: asyncio.AbstractEventLoop | None = None

    def _fast_ways(self, chain: CallNext | None) -> tuple[Any, Any]:
        """Returns ``begin_tool`` and ``try_begin_tool``; None for a way that cannot do what every call needs."""
        if chain is not None:
            self.executor.wrap(chain)
            return None, None
        return self.executor.begin, None if self.settings.access_log else self.executor.try_begin

    async def restore(self) -> None:
        """Takes over what the durable store has kept, if there is one and it was not done; before ``start``.

        Raises:
            StoreError: The store cannot be used.
        """
        async with self._restoring:
            audit = self.admission.audit
            if audit is not None:
                await audit.open()
            if self.durable is None or self.store.durable is not None:
                return
            began = time.monotonic()
            try:
                state = await self.durable.open(self.settings)
            except BaseException:
                if audit is not None:
                    await audit.aclose()
                raise
            try:
                restore(state, self.durable, self.store, self.registry, self.agents)
                # A store that is full serves what it has, and is told again later.
                with contextlib.suppress(ToolBridgeError):
                    await self.store.revisions.reservation
            except BaseException:
                await self.durable.aclose()
                raise
            self.durable.watch_failure(self._tell_serving)
            is_new = not (state.revision or state.sessions or state.ended)
            self.restored = Restored(len(state.sessions), time.monotonic() - began, is_new)

    def adopt(self, stored: StoredSession) -> Session:
        """Takes over a session that another hub had, with its agents and runs; runs that were going on have ended.

        Raises:
            StoreError: What the store has kept of it cannot be read.
        """
        assert self.store.durable is not None  # noqa: S101 - it has kept the session
        session = self.store.adopt(stored)
        try:
            self.agents.restore((stored,), self.store.durable)
        except DecodeError:
            error = StoreError(f"session {stored.session_id!r} is damaged: the end of a run cannot be read")
            self.store.forget(stored.session_id, error)
            raise error from None
        return session

    def forget(self, session_id: str, error: ToolBridgeError) -> None:
        """Lets go of a session that another hub has; its calls and watches end with ``error``."""
        self.store.forget(session_id, error)

    async def start(self) -> None:
        """Starts to serve."""
        self.loop = asyncio.get_running_loop()
        note_thread(self.loop)
        if self.admission.tracer is None:
            self.admission.tracer = process.tracing
        if self.chaos is not None:
            _log.warning("this hub injects faults on purpose (%s): never use it in production", self.chaos)
        self._tasks.spawn(expire_forever(self.store), "expire idle sessions")
        keep_freed_memory()
        self._tasks.spawn(trim_forever(self.memory), "give memory back")
        self._has_started = True
        self._tell_serving()

    async def drain(self, grace: float) -> None:
        """Refuses new calls, ends all watches, and cancels the calls that do not finish within ``grace`` seconds."""
        self.admission.draining = True
        self._has_started = False
        self._tell_serving()
        gone = UnavailableError("the hub is shutting down; watch again when it is back")
        self.store.close(gone)
        self.registry.close(gone)
        self._feed.close(gone)
        try:
            async with asyncio.timeout(grace):
                await self.admission.idle()
        except TimeoutError:
            _log.warning("cancelling %d calls that did not finish within %g s", self.admission.active, grace)
        cause = CallCancelledError("the call was cancelled: the hub is shutting down")
        turns = Turns()
        for call in [call for session in self.store.sessions() for call in session.calls or ()]:
            call.cancel(cause)
            if turns.due:
                await turns.give()

    async def aclose(self) -> None:
        """Ends the tasks of the hub."""
        await self._tasks.aclose()
        await self.agents.aclose()
        await self.executor.aclose()
        await self.workers.aclose()
        # It may be another hub's store, which this one could not take.
        if (durable := self.store.durable) is not None:
            await self.settle_keys()
            self.store.revisions.release()
            await durable.aclose()
        if self.admission.audit is not None:
            await self.admission.audit.aclose()

    async def settle_keys(self) -> None:
        """Waits until the calls with an idempotency key that were cancelled have said what became of them."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_SECONDS):
                for session in self.store.sessions():
                    if session.keyed is not None:
                        await session.keyed.settle()

    def abandon(self) -> None:
        """Frees what was left in an event loop that has ended."""
        self.admission.draining = True
        self._has_started = False
        self._tasks.abandon()
        self._feed.abandon()
        self.executor.abandon()
        if self.store.durable is not None:
            self.store.durable.abandon()
        if self.admission.audit is not None:
            self.admission.audit.abandon()

    def on_serving(self, callback: Callable[[bool], None]) -> None:
        """Calls ``callback`` when the hub starts or stops serving."""
        self._on_serving.append(callback)

    @property
    def serving(self) -> bool:
        """Whether it serves: it takes calls, and its durable store, if there is one, does not fail."""
        return self._has_started and (self.durable is None or not self.durable.is_failing)

    @property
    def not_serving_reason(self) -> str:
        """Why it does not serve; empty if it does."""
        if not self._has_started:
            return "the hub is starting or shutting down"
        return self.durable.failure if self.durable is not None and self.durable.is_failing else ""

    @property
    def directory(self) -> HubDirectory | None:
        """The hubs of its cluster; None: it has none. Set before it starts."""
        return self.hubs.directory

    @directory.setter
    def directory(self, directory: HubDirectory | None) -> None:
        self.hubs.directory = directory
        # Other hubs number their calls too.
        self.admission.ids.prefix = f"{secrets.token_hex(3)}-" if directory is not None else ""

    def _describe(self, row: pb.HubInfo) -> None:
        """Fills in what the hub knows of itself."""
        row.address, row.http_url = row.address or self.address, row.http_url or self.http_url
        if row.state == SERVING and not self.serving:
            row.state, row.reason = NOT_SERVING, self.not_serving_reason
        set_time(row.started_at, time.time() - (time.monotonic() - self.started_at))
        row.sessions, row.active_calls = len(self.store), self.admission.active
        row.workers = sum(not is_hub(worker) for worker in self.workers.workers())
        row.tools = sum(map(runs_here, self.registry.by_name(None).values()))

    # ------------------------------------------------------------------------------------------------ sessions

    async def initialize_session(
        self, request: pb.InitializeSessionRequest, entry: SessionEntry | None = None
    ) -> pb.InitializeSessionResponse:
        """Creates a session, or attaches to an existing one; ``entry`` decides for whom. None: for everybody."""
        try:
            check_request(request)
            self.admission.refuse_while_draining()
            session, resumed = await self._open(request, entry)
        except ToolBridgeError as error:
            return pb.InitializeSessionResponse(session_id=clip(request.session_id), error=error_info(error))
        only = None if entry is None else entry.tools_of(session)
        page = self.registry.page(session, only=only)
        response = pb.InitializeSessionResponse(
            success=True,
            session_id=session.id,
            resumed=resumed,
            tool_count=self.registry.count(session, only),
            capabilities=(*CAPABILITIES, AGENTS_FEATURE) if self.agents.available else CAPABILITIES,
            more_tools=bool(page.next_token),
        )
        await put_specs(page.tools, response.tools)
        return response

    async def _open(self, request: pb.InitializeSessionRequest, entry: SessionEntry | None) -> tuple[Session, bool]:
        if self.durable is not None and self.store.durable is None:
            raise UnavailableError("the hub has not opened its store; start it first")
        if request.session_id:
            # Another client may be creating or removing it.
            await self.store.settle(request.session_id)
            if entry is not None and request.session_id in self.store:
                entry.attach(self.store.peek(request.session_id))
            known = self.store.find_or_none(request.session_id)
            if known is not None:
                return known, True
            # A new id, or that of a session that has ended.
        metadata = dict(request.metadata)
        if request.callback_address:
            if metadata.get("callback_address", request.callback_address) != request.callback_address:
                raise ValidationError("callback_address is given twice, in its field and in metadata; remove one")
            metadata["callback_address"] = request.callback_address
        access = None if entry is None else entry.begin(request.session_id)
        return await self.store.create_session(request.session_id, metadata, request.config, access), False

    def session_defaults(self, session_id: str) -> dict[str, int]:
        """Returns the defaults for clients of the session, in milliseconds."""
        try:
            session = self.store.peek(session_id)
        except (SessionError, UnavailableError):
            return {}
        settings = self.settings
        seconds = {
            "idle-timeout": settings.session_idle_timeout,
            "call-timeout": session.call_timeout or settings.call_timeout,
            "stream-timeout": settings.stream_timeout,
        }
        return {f"{name}-ms": max(1, int(value * 1000)) for name, value in seconds.items()}

    async def find_session(self, session_id: str) -> Session:
        """Returns a session with the tools that it sees, to read only; counts as its activity.

        Raises:
            SessionError: There is no such session.
        """
        return self.store.find(session_id)

    async def spec_of(self, session_id: str, tool_id: str) -> pb.ToolSpec | None:
        """Returns the spec of a tool that a session sees; None if there is none, and the call will fail."""
        return self.executor.spec_of(session_id, tool_id)

    def hold_session(self, session_id: str) -> SessionHold:
        """Counts an open link as activity of a session, until the hold is released."""
        return self.store.hold(session_id)

    async def cleanup_session(self, request: pb.CleanupSessionRequest) -> pb.StatusResponse:
        """Ends a session; without ``force``, after its calls in flight have finished."""
        try:
            check_request(request)
            await self.store.settle(request.session_id)
            session = self.store.find(request.session_id)
            if not request.force:
                session.closing += 1
                try:
                    await self.admission.session_idle(session)
                finally:
                    # The caller may have gone before the last call ended.
                    session.closing -= 1
            await self.store.cleanup_session(request.session_id)
        except ToolBridgeError as error:
            return failed_status(error)
        return pb.StatusResponse(success=True, message=f"session {request.session_id!r} has ended")

    def _session_ended(self, session: Session, error: ToolBridgeError) -> None:
        cause = session_ended(error)
        in_slices(lambda call: call.cancel(cause), list(session.calls or ()))
        self.agents.session_ended(session, error)
        self.workers.session_ended(session)
        self.registry.session_ended(session)

    async def get_session_info(self, request: pb.GetSessionInfoRequest) -> pb.SessionInfo:
        """Describes a session without counting as its activity; of one whose end is being stored, says that it ended.

        A client that comes back asks this before it opens the session, which would otherwise begin it anew.
        """
        check_request(request)
        await self.store.settle(request.session_id)
        info = session_info(self.store.peek(request.session_id), self.registry)
        info.hub = self.hubs.name
        return info

    async def heartbeat(self, request: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        """Keeps a session alive."""
        check_request(request)
        response = pb.HeartbeatResponse()
        response.server_time.GetCurrentTime()
        with contextlib.suppress(SessionError):
            self.store.touch(self.store.peek(request.session_id))
            response.session_valid = True
        return response

    # ----------------------------------------------------------------------------------------------- execution

    async def batch_execute_tools(
        self, request: pb.BatchToolCallRequest, context: RequestContext = LOCAL
    ) -> pb.BatchToolCallResponse:
        """Runs a batch of calls."""
        return await Batch(self.executor, request, context).run()

    # -------------------------------------------------------------------------------------------------- agents

    async def create_react_agent(
        self, request: pb.CreateReActAgentRequest, context: RequestContext = LOCAL, only: ToolFilter | None = None
    ) -> pb.CreateReActAgentResponse:
        """Creates an agent in a session; ``only`` as for ``Agents.create``."""
        try:
            return await self.agents.create(request, context, only)
        except ToolBridgeError as error:
            return pb.CreateReActAgentResponse(error=error_info(error))

    def execute_agent(self, request: pb.ExecuteAgentRequest, context: RequestContext = LOCAL) -> RunReader:
        """Starts a run of an agent, or attaches to one; arguments and chunks as for ``Agents.execute``."""
        return self.agents.execute(request, context)

    async def cancel_agent_run(self, request: pb.CancelAgentRunRequest) -> pb.StatusResponse:
        """Cancels a run, with the model request and the tool that it waits for."""
        return _status(request, lambda: self.agents.cancel(request))

    # --------------------------------------------------------------------------------------------- the hub itself

    async def health_check(self, request: pb.HealthCheckRequest) -> pb.HealthCheckResponse:
        """Reports whether the hub serves."""
        check_request(request)
        if request.service not in {"", *SERVICE_NAMES}:
            return pb.HealthCheckResponse(status=pb.HealthCheckResponse.UNKNOWN)
        status = _health(ok=self.serving)
        if self.durable is None:
            return pb.HealthCheckResponse(status=status)
        return pb.HealthCheckResponse(status=status, dependencies={"store": _health(ok=not self.durable.is_failing)})

    async def get_metrics(self, request: pb.GetMetricsRequest) -> pb.MetricsResponse:
        """Returns the metrics of the hub and its tools."""
        check_request(request)
        now = time.time()
        if request.HasField("start_time") and _seconds("start_time", request.start_time) > now:
            return pb.MetricsResponse()
        if request.HasField("end_time") and _seconds("end_time", request.end_time) < now:
            return pb.MetricsResponse()
        return await self.metrics.snapshot(self.counts(), request.metric_names)

    def counts(self) -> dict[str, int | float | str]:
        """Returns the hub's own metrics, by name."""
        return {
            "hub.epoch": self.store.revisions.epoch,
            **({"hub.http_url": self.http_url} if self.http_url else {}),
            **({"hub.identities": self.identities} if self.identities else {}),
            "hub.uptime_seconds": time.monotonic() - self.started_at,
            "hub.sessions": len(self.store),
            "hub.active_calls": self.admission.active,
            "hub.agent_runs": self.agents.active,
            "hub.agent_run_bytes": self.agents.held_bytes,
            "hub.memory_bytes": self.memory.used,
            "hub.memory_limit_bytes": self.memory.limit,
            "hub.memory_refused": self.memory.refused,
            **self._memory_of_holders(),
            "hub.threads_busy": self.executor.threads_busy,
            "hub.processes_busy": self.executor.processes_busy,
            "hub.processes_replaced": self.executor.processes_replaced,
            "hub.tool_bytes": self.store.tool_bytes,
            "hub.workers": len(self.workers),
            "hub.workers_suspect": sum(worker.suspect for worker in self.workers.workers()),
            **self.wrappers.counts(),
            **self._store_counts(),
            **({"hub.quota_refused": quotas.refused()} if (quotas := self.admission.payers.quotas) is not None else {}),
            **self._counts_of(self.admission.audit),
            **self._counts_of(self.directory),
        }

    def _counts_of(self, part: Audit | HubDirectory | None) -> dict[str, int | float | str]:
        """Returns the metrics of the audit trail, or of the cluster; none if there is none."""
        return {} if part is None else {f"hub.{name}": value for name, value in part.counts().items()}

    def _store_counts(self) -> dict[str, int | float | str]:
        """Returns the metrics of the durable store; none if there is none."""
        if self.durable is None:
            return {}
        found: dict[str, int | float | str] = {f"hub.{name}": value for name, value in self.durable.counts().items()}
        if self.durable.failure:
            found["hub.store_failure"] = self.durable.failure
        if self.restored is not None:
            found["hub.store_restored_sessions"] = self.restored.sessions
            found["hub.store_restore_seconds"] = self.restored.seconds
        return found

    def _memory_of_holders(self) -> dict[str, int]:
        """Returns the memory metrics of sessions and connections."""
        found = {
            "hub.session_memory_limit_bytes": self.settings.max_session_bytes,
            "hub.session_memory_most_bytes": self.store.most_memory,
            "hub.session_memory_refused": self.store.memory_refused,
        }
        if self.peer_memory is not None:
            found.update(
                {
                    "hub.connections": len(self.peer_memory),
                    "hub.links": self.peer_memory.links,
                    "hub.peer_memory_bytes": self.peer_memory.used,
                    "hub.peer_memory_limit_bytes": self.peer_memory.limit,
                    "hub.peer_memory_most_bytes": self.peer_memory.most_used,
                    "hub.peer_memory_refused": self.peer_memory.refused,
                }
            )
        return found

    def _tell_serving(self) -> None:
        serving = self.serving
        for callback in self._on_serving:
            callback(serving)


def _health(*, ok: bool) -> Any:
    return pb.HealthCheckResponse.SERVING if ok else pb.HealthCheckResponse.NOT_SERVING


def _status(request: Message, action: Callable[[], str]) -> pb.StatusResponse:
    try:
        check_request(request)
        return pb.StatusResponse(success=True, message=action())
    except ToolBridgeError as error:
        return failed_status(error)


def _seconds(name: str, moment: Timestamp) -> float:
    try:
        return moment.ToMicroseconds() / 1e6
    except ValueError as error:
        raise ValidationError(f"{name} is not a valid time: {str(error)[:100]}") from None
