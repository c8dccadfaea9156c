"""The hub's usual calls, read from their bytes and run without the general way's layers.

``Executor`` takes the same steps for every other call. Nothing is changed before it is sure that a call is usual, so
that any doubt leaves it to the executor.
"""

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from time import monotonic
from typing import Any

from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.core.admission import Admission
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.forwarder import Forwarded, Forwarder
from grpc_tool_bridge.core.limits import Permits
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.sessions import SessionStore
from grpc_tool_bridge.core.workers.backend import WorkerBackend
from grpc_tool_bridge.rpc.buffers import SERIALIZED
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.runner.direct import MAX_BYTES, Answer, Bound, DirectRunner, runs_directly
from grpc_tool_bridge.runner.runner import ToolRunner
from grpc_tool_bridge.tools.spec_checks import SpecCheck
from grpc_tool_bridge.values.call_bytes import UNREADABLE, read_arguments, read_names, read_types

Begun = Generator[Any, Any, Answer] | Forwarded


class DirectCalls:
    """Begins the usual calls of a hub.

    Args:
        store: The sessions.
        admission: Admits calls.
        runner: Runs the tools of this process.
        forwarder: Forwards calls to workers.
    """

    def __init__(self, store: SessionStore, admission: Admission, runner: ToolRunner, forwarder: Forwarder) -> None:
        self._store = store
        self._forwarder = forwarder
        self._admission = admission
        # See ``Owner``; bound here, to save a call for each call.
        self.enter = admission.enter_directly
        self._orphaned = runner.tasks
        self._most_bytes = min(MAX_BYTES, runner.settings.max_message_bytes)
        self._runner: DirectRunner[Session, RegisteredTool, Permits] = DirectRunner(runner, self)

    def begin(self, context: RequestContext, done: Done) -> Begun | None:
        """Begins a call from outside.

        Args:
            context: The context of the request, with its bytes.
            done: As for ``Executor.begin``.

        Returns:
            What ``Executor.begin`` returns; None if it is no usual call, and nothing was done.
        """
        data = context.payload
        admission = self._admission
        if type(data) is not bytes or len(data) > self._most_bytes or not admission.is_plain:
            return None
        tracer = admission.tracer
        traced = tracer is not None and tracer.follows(context)
        try:
            session_id, tool_id, place = read_names(data)
            session = self._store.find_open(session_id)
            if session is None or session.caching:
                return None
            tool = self._store.tool_of(session, tool_id)
            access = admission.access
            if (
                tool is None
                or tool.rate is not None
                or (access is not None and not access.allows(session, tool.name, context.principal))
            ):
                return None
            if admission.payers.quotas is not None:
                context.quota = admission.payers.quota_of(context)
            if tool.backend is None:
                return self.run(session, tool, context, data, place, traced=traced)
            if traced:
                # Its span begins before it is sent, which is not the usual order.
                return None
            call = self._call_for_worker(session, tool, context, data, place)
        except UNREADABLE:
            # The executor says what is wrong with the request.
            return None
        if call is None:
            return None
        return self._forwarder.start(call, tool.backend, None, context, done)

    def run(
        self,
        session: Session,
        tool: RegisteredTool,
        context: RequestContext,
        data: bytes,
        place: int,
        *,
        traced: bool = False,
    ) -> Generator[Any, Any, Answer] | None:
        """Returns the coroutine of a call of this process, whose arguments begin at ``place``."""
        function = tool.tool
        if function is None or not runs_directly(function):
            return None
        args, kwargs, timeout_ms = read_arguments(data, place)
        # Binding is part of the call: a validator may be slow.
        opened_at, deadline = self._times(session, tool, context, timeout_ms)
        if deadline <= opened_at:
            return None
        bound = function.try_bind(args, kwargs)
        if bound is None:
            return None
        if context.quota is not None and not context.quota.try_take(len(data), opened_at):
            # The executor says why.
            return None
        context.payload = b""
        sample = self._admission.sample
        is_noted = self._admission.audit is not None or context.principal is not None
        note = (context, session.id, tool, data, place) if is_noted else None
        announce = None
        if sample is not None and not sample.leaves_out(session.id, opened_at):
            announce = partial(self._announce, session, tool, bound, deadline, opened_at, data, note)
        if traced:
            opens = announce or partial(self._unwatched, session, tool, bound, deadline, opened_at, note)
            announce = partial(self._traced, opens, context)
        return self._runner.run(session, tool, bound, deadline, opened_at, announce, note)

    def _announce(
        self,
        session: Session,
        tool: RegisteredTool,
        bound: Bound,
        deadline: float,
        opened_at: float,
        data: bytes,
        note: Any,
    ) -> HubCall:
        """Makes the Call of a call that may be in the sample, and tells the observer that it starts."""
        call = self.make_call(session, tool, deadline, opened_at, note)
        call.prepared = bound
        if self._admission.observer is not None:
            self._admission.observer.started(call, data)
        return call

    def _unwatched(
        self, session: Session, tool: RegisteredTool, bound: Bound, deadline: float, opened_at: float, note: Any
    ) -> HubCall:
        """Makes the Call of a call that is not in the sample, if there is one."""
        call = self.make_call(session, tool, deadline, opened_at, note)
        call.prepared = bound
        call.watched = False
        return call

    def _traced(self, opens: Callable[[], HubCall], context: RequestContext) -> HubCall:
        """Makes the Call of a call that is traced, and begins its span."""
        call = opens()
        if self._admission.tracer is not None:
            self._admission.tracer.begin(call, context)
        return call

    def _call_for_worker(
        self, session: Session, tool: RegisteredTool, context: RequestContext, data: bytes, place: int
    ) -> HubCall | None:
        """Returns a call whose arguments, which begin at ``place``, were checked by their types."""
        if type(tool.backend) is not WorkerBackend or type(tool.check) is not SpecCheck:
            return None
        types, named, timeout_ms = read_types(data, place)
        if not tool.check.passes(types, named):
            return None
        opened_at, deadline = self._times(session, tool, context, timeout_ms)
        if deadline <= opened_at:
            return None
        call = self.make_call(session, tool, deadline, opened_at)
        if context.principal is not None:
            call.made_for(context)
            call.quota = context.quota
        if context.asker is not None:
            call.asker = context.asker
        sample = self._admission.sample
        if sample is not None and not sample.wants(session.id):
            call.watched = False
        return call

    def _times(
        self, session: Session, tool: RegisteredTool, context: RequestContext, timeout_ms: int
    ) -> tuple[float, float]:
        """Returns when a call is opened and its deadline, on the monotonic clock."""
        now = monotonic()
        deadline = now + self._admission.seconds_for(session, tool, timeout_ms)
        if context.deadline is not None and context.deadline < deadline:
            deadline = context.deadline
        return now, deadline

    def make_call(
        self, session: Session, tool: RegisteredTool, deadline: float, opened_at: float, note: Any = None
    ) -> HubCall:
        """See ``Owner``; ``note`` has the arguments of ``Audit.opened_directly``, of which the first is the context."""
        call = HubCall(session, tool, deadline, parent=None, orphaned=self._orphaned, opened_at=opened_at)
        if note is not None:
            call.made_for(note[0])
            call.quota = note[0].quota
            if self._admission.audit is not None:
                call.audited = self._admission.audit.opened_directly(*note)
        return call

    def acquire(self, call: HubCall) -> Awaitable[Permits]:
        """See ``Owner``."""
        return self._admission.acquire(call)

    def end(
        self,
        session: Session,
        tool: RegisteredTool,
        opened_at: float,
        held: Permits | None,
        call: HubCall | None,
        answer: Answer | None,
        note: Any = None,
    ) -> None:
        """See ``Owner``."""
        if call is None:
            if self._admission.end_directly(session, tool, held or (), opened_at, note, answer):
                return
            call = self.make_call(session, tool, opened_at, opened_at, note)
        self._admission.end(call, held or (), ok=type(answer) in SERIALIZED, outcome=answer)
