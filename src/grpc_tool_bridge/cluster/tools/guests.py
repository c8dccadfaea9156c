"""The calls that other hubs send for their sessions: run here, by what this hub itself has.

The session of such a call is a guest. The hub that owns it has admitted the call and counts it; here it waits for the
permits of its tool only, and it goes to no further hub. What its tool asks of the session goes back to that hub.
"""

import sys
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing
from typing import Any

from grpc_tool_bridge.aio.eager import Done
from grpc_tool_bridge.client.linked_runtime import LinkedRuntime
from grpc_tool_bridge.cluster.tools.nested import OriginLink
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.executor import Executor
from grpc_tool_bridge.core.forwarded import with_id
from grpc_tool_bridge.core.forwarder import MAX_BYTES, Forwarded
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.core.limits import ConcurrencyLimiter
from grpc_tool_bridge.core.registered_tool import RegisteredTool
from grpc_tool_bridge.core.session import Session
from grpc_tool_bridge.core.workers.backend import WorkerBackend, is_local
from grpc_tool_bridge.errors import UnavailableError
from grpc_tool_bridge.link.calls import LOST_DETAIL, MAY_HAVE_BEGUN, NOT_BEGUN
from grpc_tool_bridge.link.connection import CallOrigin
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    LogRecord,
    Progress,
    ToolCallRequest,
    ToolCallResponse,
    ToolStreamChunk,
    ToolStreamRequest,
)
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.methods import ABOVE_KEY, ORIGIN_KEY
from grpc_tool_bridge.rpc.request_ids import request_id_of
from grpc_tool_bridge.values.call_bytes import UNREADABLE, read_names, read_types

# Guests that are remembered between their calls.
MAX_GUESTS = 10_000
# How many of the least recently used ones are looked at for one that can be forgotten.
MAX_LOOKS = 16

# For error texts: the link does not say which hub it leads to.
_WHERE = "the hub of its session"

# Digits of a call's number in metadata.
MAX_DIGITS = 20


class Guests:
    """Runs the calls that other hubs send; the links to them serve it.

    Args:
        hub: This hub.
        called_in_vain: Called with the ids of the session and of the tool of a call that this hub cannot run, so that
            the other hubs learn what it runs.

    Attributes:
        begun: Calls that it has run or runs.
    """

    # See ``served_methods``.
    takes_large_calls = True

    def __init__(self, hub: Hub, called_in_vain: Callable[[str, str], None]) -> None:
        self._called_in_vain = called_in_vain
        self._store = hub.store
        self._executor: Executor = hub.executor
        self._settings = hub.settings
        # Without those whose tools workers of this hub offer, which the store has.
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        # The calls that run, by the link that they came over and their number there.
        self._calls: dict[tuple[Any, int], HubCall] = {}
        self._executor.runtime_of_guest = self._runtime_of
        # Middleware and the access log see every call.
        self._is_plain = hub.try_begin_tool is not None
        self.begun = 0

    def __len__(self) -> int:
        return len(self._calls)

    # ------------------------------------------------------------------------------------------- the usual calls

    def try_begin_tool(self, context: IncomingCall, done: Done) -> Generator[Any, Any, Any] | Forwarded | None:
        """Begins a usual call, as ``DirectCalls.begin`` does; returns None for any other, and nothing was done."""
        data, admission = context.payload, self._executor.admission
        if type(data) is not bytes or len(data) > MAX_BYTES or not self._is_plain or not admission.is_plain:
            return None
        if admission.traces(context):
            return None
        try:
            session_id, tool_id, place = read_names(data)
            session = self.session_of(session_id)
            tool = self._store.tool_of(session, tool_id)
            if tool is None or tool.rate is not None:
                return None
            if tool.backend is None:
                direct = self._executor.run_directly(session, tool, context, data, place)
                self.begun += direct is not None
                return direct
            if type(tool.backend) is not WorkerBackend or not tool.backend.workers:
                return None
            # A call of the usual form has no id of its own.
            read_types(data, place)
        except UNREADABLE:
            return None
        return self._forwarded(session, tool, context, data, done)

    def _forwarded(
        self, session: Session, tool: RegisteredTool, context: IncomingCall, data: bytes, done: Done
    ) -> Forwarded | None:
        admission = self._executor.admission
        deadline, backend = context.deadline, tool.backend
        if backend is None or deadline is None or deadline <= time.monotonic():
            return None
        origin = CallOrigin(context.peer, context.id, 0)
        call = admission.make_guest(session, tool, deadline, origin)
        call.made_for(context)
        call.request_id = request_id_of(origin.link.link_id, origin.number)
        if admission.sample is not None and not admission.sample.wants(session.id):
            call.watched = False

        def ended(answer: Any, error: BaseException | None) -> None:
            self._close(call)
            try:
                self._raise_lost(call)
            except UnavailableError as lost:
                answer, error = None, lost
            done(answer, error)

        if call.request_id:
            context.payload = with_id(call.request_id, data)
        begun = self._executor.forward(call, backend, None, context, ended)
        if begun is None:
            context.payload = data
        else:
            self.begun += 1
            self._calls[origin.link, origin.number] = call
        return begun

    # ---------------------------------------------------------------------------------------------- other calls

    async def execute_tool(self, request: ToolCallRequest, context: IncomingCall) -> ToolCallResponse | Payload:
        """Runs a call and returns its answer, even if it fails.

        Raises:
            UnavailableError: This hub cannot run it, and the other one has to choose again; see ``LOST_DETAIL``.
        """
        call = self._open(request.session_id, request.tool_id, request.request_id, context, self._settings.call_timeout)
        response = ToolCallResponse(request_id=call.request_id)
        if call.request_id and not request.request_id and context.payload:
            # So that all who see the call know it by one id.
            context.payload = with_id(call.request_id, context.payload)
        try:
            answer: ToolCallResponse | Payload = await self._executor.run(
                request, response, context, call.session.id, call, call.request_id
            )
        finally:
            self._close(call)
        self._raise_lost(call)
        return answer

    async def stream_tool(
        self, request: ToolStreamRequest, context: IncomingCall
    ) -> AsyncGenerator[ToolStreamChunk | Payload, None]:
        """Runs a stream; raises as ``execute_tool``."""
        timeout = self._settings.stream_timeout
        call = self._open(request.session_id, request.tool_id, request.stream_id, context, timeout)
        if call.request_id and not request.stream_id:
            request.stream_id = call.request_id
            if context.payload:
                context.payload = with_id(call.request_id, context.payload)
        try:
            async with aclosing(self._executor.stream(request, context, call)) as chunks:
                async for chunk in chunks:
                    self._raise_lost(call)
                    yield chunk
        finally:
            self._close(call)

    def _open(self, session_id: str, tool_id: str, request_id: str, context: IncomingCall, timeout: float) -> HubCall:
        origin: CallOrigin = context.parent
        session = self.session_of(session_id)
        tool = self._store.tool_of(session, tool_id)
        if tool is None or not is_local(tool):
            self._called_in_vain(session_id, tool_id)
            raise _cannot_run(f"this hub runs no tool {tool_id[:100]!r} itself", NOT_BEGUN)
        deadline = context.deadline if context.deadline is not None else time.monotonic() + timeout
        above = self._above(origin, context.metadata)
        call = self._executor.admission.make_guest(session, tool, deadline, origin, above)
        call.made_for(context)
        call.request_id = request_id or request_id_of(origin.link.link_id, origin.number)
        if context.asker is not None:
            call.asker = context.asker
        self.begun += 1
        self._calls[origin.link, origin.number] = call
        return call

    def _raise_lost(self, call: HubCall) -> None:
        """Raises an error that makes the other hub choose again, if this one has lost the worker of a call."""
        if call.lost is not None:
            self._called_in_vain(call.session.id, call.tool.id)
            raise _cannot_run(call.lost.message, MAY_HAVE_BEGUN if call.lost.began else NOT_BEGUN)

    def _close(self, call: HubCall) -> None:
        if call.origin is not None:
            self._calls.pop((call.origin.link, call.origin.number), None)

    def _above(self, origin: CallOrigin, metadata: Mapping[str, str]) -> HubCall | None:
        """Returns the nearest call above one that runs here, as the other hub says; None if there is none."""
        number = metadata.get(ABOVE_KEY, "") if metadata else ""
        if not number.isdecimal() or len(number) > MAX_DIGITS:
            return None
        return self._calls.get((origin.link, int(number)))

    def _runtime_of(self, call: HubCall) -> "GuestRuntime":
        return GuestRuntime(call, self._executor)

    # ------------------------------------------------------------------------------------------------- sessions

    def session_of(self, session_id: str) -> Session:
        """Returns the guest for a session of another hub; makes one if there is none."""
        guest = self._store.guests.get(session_id) or self._sessions.get(session_id)
        if guest is None:
            guest = self._sessions[session_id] = new_guest(session_id)
            self._evict()
        elif session_id in self._sessions:
            self._sessions.move_to_end(session_id)
        return guest

    def keep(self, session_id: str) -> Session:
        """Returns the guest for a session that workers of this hub offer tools to; it is kept until ``release``."""
        guest = self._store.guests[session_id] = self.session_of(session_id)
        self._sessions.pop(session_id, None)
        return guest

    def release(self, session_id: str) -> None:
        """Keeps a guest no longer: it has no tools."""
        guest = self._store.guests.pop(session_id, None)
        if guest is not None:
            self._sessions[session_id] = guest
            self._evict()

    def _evict(self) -> None:
        looks = MAX_LOOKS
        while len(self._sessions) > MAX_GUESTS and looks:
            looks -= 1
            session_id, oldest = next(iter(self._sessions.items()))
            if oldest.active:
                self._sessions.move_to_end(session_id)
            else:
                del self._sessions[session_id]
                free(oldest)

    # ------------------------------------------------------------------------------------------- nested calls

    def way_of(self, parent: Any) -> tuple[OriginLink, Mapping[str, str]] | None:
        """Returns how a nested call of a guest's call reaches the hub that made it; None if the call is no guest's.

        Args:
            parent: ``RequestContext.parent`` of the nested call.

        Returns:
            The hub that made the call, and the metadata that names it there.
        """
        origin = parent.origin if isinstance(parent, HubCall) else None
        if origin is None:
            return None
        return OriginLink(origin.link, _WHERE), {ORIGIN_KEY: str(origin.number)}


class GuestRuntime(LinkedRuntime):
    """The runtime of a function of this hub that runs for another hub.

    Args:
        call: The call.
        executor: Is told what the tool reports.
    """

    def __init__(self, call: HubCall, executor: Executor) -> None:
        super().__init__(call, _WHERE)
        self._own = call
        self._executor = executor

    def told(self, event: Progress | LogRecord) -> None:
        """Sends progress and log records to the other hub, and shows them here; from any thread."""
        super().told(event)
        self._executor.told(self._own, event)


def new_guest(session_id: str) -> Session:
    """Makes the guest for a session of another hub: that one counts its permits, so here it has any number."""
    guest = Session(session_id, {}, None)
    guest.limiter = ConcurrencyLimiter(sys.maxsize, 0, f"session {session_id!r}")
    return guest


def free(guest: Session) -> None:
    """Frees the memory of a guest that is forgotten."""
    if guest.memory is not None:
        guest.memory.close()


def _cannot_run(text: str, began: str) -> UnavailableError:
    return UnavailableError(text, details={LOST_DETAIL: began})
