"""How every call enters and leaves the hub: find, open, acquire, end.

Calls, streams, items of batches, forwarded calls and agent runs all take these steps, and nothing else decides what
runs. An authorizer, a tracer and an audit trail hook in here.
"""

import time
from typing import Any

from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.core.access_checks import check_entry, check_tool, unseen
from grpc_tool_bridge.core.call_log import CallLog
from grpc_tool_bridge.core.calls import CHARGED_BYTES, HubCall
from grpc_tool_bridge.core.deprecated_calls import DeprecatedCalls
from grpc_tool_bridge.core.guards import Access, Audit
from grpc_tool_bridge.core.infos import CallIds
from grpc_tool_bridge.core.interfaces import Authorizer, CallObserver, Tracer
from grpc_tool_bridge.core.limits import ConcurrencyLimiter, Permits, release
from grpc_tool_bridge.core.nesting import check_parent, count_descendant, is_called_above
from grpc_tool_bridge.core.notable_calls import NotableCalls
from grpc_tool_bridge.core.payers import Payers, count_answer, take
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.registry import ToolRegistry
from grpc_tool_bridge.core.sample import Sample
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.workers.worker import Worker
from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    ResourceExhaustedError,
    SessionExpiredError,
    ToolBridgeError,
    UnavailableError,
    ValidationError,
)
from grpc_tool_bridge.link.connection import CallOrigin
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    ErrorInfo,
    ToolCallItem,
    ToolCallRequest,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS, check_request
from grpc_tool_bridge.rpc.context import LOCAL, RequestContext
from grpc_tool_bridge.runner.blocking import BLOCKED_SECONDS

BLOCKED_US = int(BLOCKED_SECONDS * 1_000_000)


class Admission:
    """Admits calls.

    Args:
        store: The sessions.
        registry: The tools.
        orphaned: Owns tools that still run after their calls were cancelled.

    Attributes:
        authorizer: Decides whether a call is allowed; None: every call is.
        access: Decides who may call which tools in which sessions; None: everybody may.
        payers: Finds the quotas that calls use.
        tracer: Observes calls, if set.
        audit: Keeps a line of each call, if set.
        observer: Receives events of calls while the hub is watched; otherwise None.
        sample: Which calls the observer needs to be told of, besides the ends of failed and of slow ones; None: all.
        ids: The ids of calls.
        notable: The slowest and the failed calls of the last minutes.
        log: Logs the calls that failed, or every call.
        draining: Whether new calls from outside are refused; running calls may still make nested ones.
        active: Calls, streams and batches that run or wait.
    """

    def __init__(self, store: SessionStore, registry: ToolRegistry, orphaned: TaskSet) -> None:
        self.draining = False
        self.active = 0
        self._store = store
        self._registry = registry
        self._orphaned = orphaned
        self.authorizer: Authorizer | None = None
        self.access: Access | None = None
        self.payers = Payers()
        self.tracer: Tracer | None = None
        self.audit: Audit | None = None
        self.observer: CallObserver | None = None
        self.sample: Sample | None = None
        self.ids = CallIds()
        self.notable = NotableCalls(self.ids)
        self._settings = store.settings
        self.log = CallLog(every=self._settings.access_log)
        self._deprecated = DeprecatedCalls()
        self._idle: Notifier | None = None

    # ----------------------------------------------------------------------------------------------------- find

    def require_session(self, session_id: str, context: RequestContext = LOCAL) -> Session:
        """Returns the session of a call from outside.

        Raises:
            UnavailableError: The hub is shutting down.
            SessionError: There is no such session for the caller, or it is being removed.
        """
        if self.access is not None:
            check_entry(self.access, self._store, session_id, context)
        if self.draining:
            raise UnavailableError("the hub is shutting down and takes no new calls; call again when it is back")
        session = self._store.find(session_id)
        if session.closing:
            raise SessionExpiredError(
                f"session {session_id!r} is being removed and takes no new calls; start a new one"
            )
        return session

    def session_to_watch(self, session_id: str) -> Session:
        """Returns a session for a watch.

        Raises:
            UnavailableError: The hub is shutting down.
            SessionError: There is no such session.
        """
        self.refuse_while_draining()
        return self._store.find(session_id)

    def check_watches(self, session: Session, watches: int) -> None:
        """Refuses a further watch of a session that has as many as it may have; raises ResourceExhaustedError."""
        if watches >= self._settings.max_session_watches:
            raise ResourceExhaustedError(
                f"session {session.id!r} has {watches} watches open, which is its limit; end one first"
            )

    def refuse_while_draining(self) -> None:
        """Raises UnavailableError if the hub is shutting down."""
        if self.draining:
            raise UnavailableError("the hub is shutting down; connect again when it is back")

    def find(
        self,
        session_id: str,
        request: ToolCallRequest | ToolCallItem | ToolStreamRequest,
        context: RequestContext,
        size: int,
    ) -> tuple[Session, RegisteredTool]:
        """Returns the session and the tool of a request of ``size`` bytes (0: not known).

        Raises:
            UnavailableError, SessionError: As for ``require_session``.
            NotFoundError: The session does not see a tool with this id.
            MessageTooLargeError: The request is larger than a message may be.
            ValidationError: A text or a list of the request is too long.
        """
        if context.parent is not None or context.admitted:
            session = self._store.find(session_id)
        else:
            session = self.require_session(session_id, context)
        tool = self._store.tool_of(session, request.tool_id)
        if self.access is not None:
            streams = isinstance(request, ToolStreamRequest)
            check_tool(self.access, self._registry, session, tool, request.tool_id, context, streams=streams)
        if tool is None:
            raise unseen(self.access, self._registry, session, request.tool_id, context)
        size = size or request.ByteSize()
        # In a smaller request no text or list can be over its limit.
        if size > MAX_NAME_CHARS:
            check_request(request)
            # The size of a batch was checked as a whole.
            if size > self._settings.max_message_bytes and type(request) is not ToolCallItem:
                raise MessageTooLargeError.of(f"the call of {tool.name}", size, self._settings.max_message_bytes)
        return session, tool

    def check_keyed(
        self, session: Session, tool: RegisteredTool | None, request: ToolCallRequest, context: RequestContext
    ) -> None:
        """Refuses a call with an idempotency key, whose answer may be there already, as ``find`` refuses others.

        Raises:
            SessionError, NotFoundError, AccessError: As for ``find``.
        """
        if self.access is not None:
            if context.parent is None:
                check_entry(self.access, self._store, session.id, context)
            check_tool(self.access, self._registry, session, tool, request.tool_id, context)

    # ----------------------------------------------------------------------------------------------------- open

    def open(
        self,
        session: Session,
        tool: RegisteredTool,
        context: RequestContext,
        *,
        timeout_ms: int = 0,
        size: int = 0,
        default: float | None = None,
    ) -> HubCall:
        """Makes a call and counts it; arguments and errors as for ``make`` and ``enter``."""
        call = self.make(session, tool, context, timeout_ms=timeout_ms, default=default)
        self.enter(call, context, size)
        return call

    def make(
        self,
        session: Session,
        tool: RegisteredTool,
        context: RequestContext,
        *,
        timeout_ms: int = 0,
        default: float | None = None,
    ) -> HubCall:
        """Makes a call that is not counted yet, and sets its deadline.

        The timeout is the caller's, else the tool's, the session's, ``default`` or the hub's, and never more than the
        tool's own limit. The deadline is never later than that of the request or of the parent call.

        Raises:
            AccessError: The authorizer refuses the call.
            DeadlineExceededError: Its deadline has passed.
            StoreError: It must be audited, and the audit trail cannot be written.
            ToolBridgeError: The parent call may not make this call.
        """
        try:
            if self.audit is not None and self.audit.refuses:
                raise self.audit.refusal()
            call = self._made(session, tool, context, timeout_ms, default)
            if self.authorizer is not None:
                self.authorizer.authorize(call, context)
        except ToolBridgeError:
            tool.metrics.record(0, ok=False)
            raise
        return call

    def make_guest(
        self, session: Session, tool: RegisteredTool, deadline: float, origin: CallOrigin, parent: HubCall | None = None
    ) -> HubCall:
        """Makes a call that another hub sends, which has admitted it: here it waits for the permits of its tool only.

        Args:
            session: A guest, whose limiter is not the session's.
            tool: The tool.
            deadline: On the monotonic clock.
            origin: The other hub's call.
            parent: The nearest call above it that runs here for the other hub; None: there is none.

        Raises:
            DeadlineExceededError: Its deadline has passed.
        """
        call = HubCall(session, tool, deadline, parent=parent, orphaned=self._orphaned)
        call.origin, call.depth, call.adds_metadata = origin, origin.depth, False
        if self.audit is not None and self.audit.refuses:
            raise self.audit.refusal()
        if deadline <= call.opened_at:
            tool.metrics.record(0, ok=False)
            raise call.timeout_error()
        return call

    def enter(self, call: HubCall, context: RequestContext, size: int = 0, request: Any = None) -> None:
        """Counts a call and charges its request to its session; ``end`` must be called later.

        Args:
            call: The call, from ``make``.
            context: The context of its request.
            size: Bytes of the request; 0: not known.
            request: The request, for the observer and the audit trail.

        Raises:
            ResourceExhaustedError: The session has no memory left for the request, or too many nested calls of its
                outermost call are running, or the quota of its principal is used up.
        """
        metrics = call.tool.metrics
        try:
            if call.quota is not None:
                take(call.quota, request, size)
            if size > CHARGED_BYTES:
                call.charge(self._store.memory_of(call.session), size)
            if call.parent is not None:
                count_descendant(call, call.parent.root or call.parent)
                if call.tool.deprecated:
                    self._deprecated.note(call)
        except ToolBridgeError:
            metrics.record(0, ok=False)
            raise
        if self.audit is not None:
            call.audited = self.audit.opened(call, context, request)
        self.active += 1
        metrics.active += 1
        if self.tracer is not None:
            self.tracer.begin(call, context)
        if self.observer is not None:
            self.observer.started(call, request)

    def _made(
        self,
        session: Session,
        tool: RegisteredTool,
        context: RequestContext,
        timeout_ms: int,
        default: float | None,
    ) -> HubCall:
        parent: HubCall | None = context.parent
        if parent is not None:
            check_parent(parent, session, tool)
        if timeout_ms < 0:
            raise ValidationError(f"{tool.name}: timeout_ms must be 0 (the default) or more, not {timeout_ms}")
        now = time.monotonic()
        end = now + self.seconds_for(session, tool, timeout_ms, default)
        if context.deadline is not None and context.deadline < end:
            end = context.deadline
        if parent is not None and parent.deadline < end:
            end = parent.deadline
        call = HubCall(session, tool, end, parent=parent, orphaned=self._orphaned, opened_at=now)
        if parent is None:
            if context.principal is not None:
                self.payers.note(call, context)
        elif parent.principal is not None:
            call.principal, call.via = parent.principal, parent.delegation
        asker = context.asker if parent is None else parent.asker
        if asker is not None:
            call.asker = asker
        if end <= now:
            raise call.timeout_error()
        return call

    def seconds_for(
        self, session: Session, tool: RegisteredTool, timeout_ms: int, default: float | None = None
    ) -> float:
        """Returns the timeout of a call; arguments as for ``make``."""
        if timeout_ms:
            seconds = timeout_ms / 1000
        else:
            seconds = tool.timeout or session.call_timeout or default or self._settings.call_timeout
        return tool.timeout if tool.timeout is not None and tool.timeout < seconds else seconds

    # --------------------------------------------------------------------------------------------- without a Call

    @property
    def is_plain(self) -> bool:
        """Whether every call from outside is admitted, and nobody observes it unless it is in the sample.

        Whether one is traced, ``traces`` says.
        """
        return (
            self.authorizer is None
            and (self.observer is None or self.sample is not None)
            and not self.draining
            and not (self.audit is not None and self.audit.refuses)
        )

    def traces(self, context: RequestContext) -> bool:
        """Returns whether a call from outside is traced, and so takes the general way."""
        return self.tracer is not None and self.tracer.follows(context)

    def enter_directly(self, session: Session, tool: RegisteredTool, note: Any) -> Permits | None:
        """Counts a call from outside that has no Call, and acquires its permits; returns None if it has to wait.

        Args:
            session: Its session.
            tool: Its tool.
            note: As for ``end_directly``.
        """
        self.active += 1
        tool.metrics.active += 1
        limiter, own = session.limiter or self._limiter_of(session), tool.limiter
        most = None if note is None or note[0].quota is None else note[0].quota.limiter
        # As ``ConcurrencyLimiter.try_acquire`` does, without a call for each call.
        if (
            limiter.used >= limiter.capacity
            or limiter.queue
            or (own is not None and (own.used >= own.capacity or own.queue))
            or (most is not None and (most.used >= most.capacity or most.queue))
        ):
            return None
        limiter.used += 1
        if own is not None:
            own.used += 1
        if most is None:
            return (limiter,) if own is None else (limiter, own)
        most.used += 1
        return (most, limiter) if own is None else (most, limiter, own)

    def end_directly(
        self,
        session: Session,
        tool: RegisteredTool,
        permits: Permits,
        opened_at: float,
        note: Any = None,
        answer: Any = None,
    ) -> bool:
        """Ends a call that has no Call and succeeded; returns False, and does nothing, if ``end`` has to tell of it.

        Args:
            session: Its session.
            tool: Its tool.
            permits: The permits that it acquired.
            opened_at: When it was opened, on the monotonic clock.
            note: The arguments of ``Audit.opened_directly``; None: there is no audit trail.
            answer: Its answer.
        """
        now, metrics = time.monotonic(), tool.metrics
        duration_us = int((now - opened_at) * 1_000_000)
        if duration_us > metrics.noted_us or now >= self.notable.turns_at:
            # Such a call may be kept, and few are.
            return False
        if duration_us > BLOCKED_US or (self.observer is not None and self.sample is None):
            return False
        for limiter in permits:
            if limiter.queue:
                limiter.release()
            else:
                limiter.used -= 1
        if session.idle is not None and not session.active:
            session.idle.notify_all()
        metrics.active -= 1
        metrics.record(duration_us, ok=True)
        if note is not None and note[0].quota is not None:
            note[0].quota.use_bytes(len(answer), now)
        if note is not None and self.audit is not None:
            self.audit.ended_directly(note, duration_us, answer)
        self.active -= 1
        if self._idle is not None:
            self._idle.notify_all()
        return True

    # -------------------------------------------------------------------------------------------------- acquire

    def try_acquire(self, call: HubCall) -> Permits | None:
        """Acquires the permits of a call if all of them are free, and returns them; otherwise returns None."""
        permits: list[ConcurrencyLimiter] = []
        for limiter in self._limiters(call):
            if not limiter.try_acquire():
                release(permits)
                return None
            permits.append(limiter)
        return permits

    async def acquire(self, call: HubCall) -> Permits:
        """Waits for the permits of a call, and returns them.

        Raises:
            ResourceExhaustedError: The rate limit is exceeded, or too many calls wait already.
            ToolBridgeError: The call ended while it waited.
        """
        if call.tool.rate is not None:
            call.tool.rate.take(call.tool.name)
        permits: list[ConcurrencyLimiter] = []
        try:
            for limiter in self._limiters(call):
                if limiter.try_acquire():
                    permits.append(limiter)
                    continue
                call.wait_for(limiter)
                self.note_moved(call)
                if call.trace is not None:
                    call.trace.waits()
                await call.step(limiter.acquire(call.payer))
                call.stop_waiting()
                if call.trace is not None:
                    call.trace.waited()
                permits.append(limiter)
                call.refuse_ended()
                self.note_moved(call)
        except BaseException:
            release(permits)
            raise
        return permits

    def note_moved(self, call: HubCall) -> None:
        """Tells the observer that a call begins to wait, or stops."""
        if self.observer is not None:
            self.observer.moved(call)

    def _limiters(self, call: HubCall) -> list[ConcurrencyLimiter]:
        tool, session = call.tool, call.session
        limiters: list[ConcurrencyLimiter] = []
        if call.quota is not None and call.quota.limiter is not None:
            limiters.append(call.quota.limiter)
        if call.parent is None:
            limiters.append(session.limiter or self._limiter_of(session))
        if tool.limiter is not None and not is_called_above(call):
            limiters.append(tool.limiter)
        return limiters

    def _limiter_of(self, session: Session) -> ConcurrencyLimiter:
        if session.limiter is None:
            session.limiter = ConcurrencyLimiter(
                session.max_calls or self._settings.max_session_calls,
                self._settings.max_session_waiting,
                f"session {session.id!r}",
            )
        return session.limiter

    # ------------------------------------------------------------------------------------------------------ end

    def end(self, call: HubCall, permits: Permits, *, ok: bool, streamed: bool = False, outcome: Any = None) -> int:
        """Releases what a call holds, and returns its duration in microseconds.

        Args:
            call: The call.
            permits: The permits that it acquired.
            ok: Whether it succeeded.
            streamed: Whether it ran only when its reader took a chunk, or in another process.
            outcome: As for ``CallObserver.ended``.
        """
        now = time.monotonic()
        duration_us = int((now - call.opened_at) * 1_000_000)
        if duration_us > BLOCKED_US and not streamed and not call.armed:
            # It never waited, so all of it was one step.
            call.note_step(call.opened_at)
        call.disarm()
        if call.charged is not None:
            call.uncharge()
        if call.quota is not None:
            count_answer(call.quota, outcome, now)
        if call.root is not None:
            call.root.descendants -= 1
        release(permits)
        session, metrics = call.session, call.tool.metrics
        if session.idle is not None and not session.active:
            session.idle.notify_all()
        metrics.active -= 1
        metrics.record(duration_us, ok=ok)
        if type(call.worker) is Worker:
            call.worker.metrics.record(duration_us, ok=ok)
        if not ok or self.log.every:
            self.log.ended(call, ok=ok, duration_us=duration_us, outcome=outcome)
        if not ok or duration_us > metrics.noted_us or now >= self.notable.turns_at:
            call.notable = self.notable.note(call, ok=ok, duration_us=duration_us, outcome=outcome)
        if call.audited is not None or self.tracer is not None or self.observer is not None:
            self._tell_ended(call, ok=ok, duration_us=duration_us, outcome=outcome)
        self.ended()
        return duration_us

    def _tell_ended(self, call: HubCall, *, ok: bool, duration_us: int, outcome: Any) -> None:
        if call.audited is not None and self.audit is not None:
            self.audit.ended(call, ok=ok, duration_us=duration_us, outcome=outcome)
        if self.tracer is not None:
            self.tracer.end(call, ok=ok, duration_us=duration_us, outcome=outcome)
        if self.observer is not None:
            self.observer.ended(call, ok=ok, duration_us=duration_us, outcome=outcome)

    def refused(
        self,
        request: Any,
        context: RequestContext | None,
        session_id: str,
        request_id: str,
        error: ErrorInfo,
        duration_us: int = 0,
        *,
        logs: bool = True,
    ) -> None:
        """Tells of a request that was refused before its call was counted.

        Args:
            request: The request.
            context: Its context; None: it is audited already.
            session_id: As in the request.
            request_id: The id of the call, if it has one.
            error: Why it was refused.
            duration_us: How long that took.
            logs: Whether it is logged.
        """
        if logs:
            self.log.refused(request.tool_id, session_id, request_id, error, duration_us)
        if self.audit is not None and context is not None:
            self.audit.unopened(
                request,
                context,
                session_id=session_id,
                request_id=request_id,
                error=error,
                duration_us=duration_us,
            )

    def ended(self) -> None:
        """Counts the end of a call or a batch."""
        self.active -= 1
        if self._idle is not None:
            self._idle.notify_all()

    async def idle(self) -> None:
        """Waits until nothing is active."""
        if self._idle is None:
            self._idle = Notifier()
        while self.active:
            await self._idle.wait()

    async def session_idle(self, session: Session) -> None:
        """Waits until no call of ``session`` runs or waits for a permit."""
        if session.idle is None:
            session.idle = Notifier()
        while session.active:
            await session.idle.wait()
