"""What goes on in the hub, for whoever runs it."""

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from grpc_tool_bridge.aio.loops import LoopStream
from grpc_tool_bridge.aio.portal import AsyncApi
from grpc_tool_bridge.client.caller import Caller, HasCaller, stream_ended
from grpc_tool_bridge.client.resume import is_lost, reach, resumed
from grpc_tool_bridge.config import CALL_TIMEOUT
from grpc_tool_bridge.config.argument_checks import check_flag, check_text, list_of, refuse_plain, refuse_value
from grpc_tool_bridge.errors import ProtocolError, ToolBridgeError, ToolCommunicationError, UnavailableError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    AdminEvent,
    CallInfo,
    CancelCallRequest,
    ErrorInfo,
    HealthCheckRequest,
    ListCallsRequest,
    ListRunsRequest,
    ListSessionsRequest,
    ListWorkersRequest,
    LogRecord,
    Progress,
    RunInfo,
    SessionInfo,
    WatchEventsRequest,
    WorkerInfo,
)
from grpc_tool_bridge.rpc.methods import EVENT_KINDS
from grpc_tool_bridge.values.offload import read_value

# The most that a hub gives; fewer requests for long lists.
PAGE_SIZE = 1_000

_AN_ID = "the id of a session, or None for all"
_KINDS = f"a list of kinds, of {', '.join(map(repr, EVENT_KINDS))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatus:
    """What a hub tells of a call.

    Attributes:
        call_id: The hub's id of the call, as ``cancel_call`` takes it.
        session_id, tool_id: Whose call of what.
        request_id: As its caller gave it, of a stream its id; may be empty.
        parent_id: Of the call, or the run of an agent, whose tool made this one; empty for a call from outside.
        worker_id: Who runs it; empty: the hub itself, or nobody.
        state: "waiting", "running", "done", "failed" or "cancelled".
        started_at: In UTC.
        time_left: Seconds until its deadline.
        progress: The last that its tool reported; None: it reported none.
        args, kwargs: Its arguments, where they were asked for and the hub has them.
        duration: Seconds that it took; None while it has not ended.
        error: What it failed with; None: nothing. Its text only with the arguments.
    """

    call_id: str
    session_id: str
    tool_id: str
    request_id: str
    parent_id: str
    worker_id: str
    state: str
    started_at: datetime
    time_left: float
    progress: Progress | None
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    duration: float | None
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HubEvent:
    """Something that has happened in a hub.

    Attributes:
        kind: "call", "worker", "session" or "log".
        operation: Of a call "started", "moved" (it began to wait or to run, went to a worker, or reported progress) or
            "ended"; of a worker "connected", "draining", "changed" (its tools) or "disconnected"; of a session
            "started" or "ended"; empty for a line of the log.
        subject: What it has happened to; of a line of the log the line.
        timestamp: When, in UTC.
        sequence: Rises by one for each event of one watch, those that were dropped included.
        dropped: Events between the one before and this one that this watcher was too slow for.
        result: Of a call that succeeded, where arguments were asked for and it is not large; else None.
    """

    kind: str
    operation: str
    subject: CallStatus | WorkerInfo | SessionInfo | LogRecord
    timestamp: datetime
    sequence: int
    dropped: int
    result: Any


class Admin(AsyncApi):
    """What goes on in the hub that a client is connected to. It needs no session.

    A hub that does not offer it answers UnimplementedError, over plain RPC ToolCommunicationError (UNIMPLEMENTED).

    Args:
        client: Makes the calls.

    Attributes:
        caller: The client's.
    """

    def __init__(self, client: HasCaller) -> None:
        refuse_plain("client", client, "a ToolBridgeClient")
        self.caller: Caller = client.caller

    def sessions(self) -> AsyncGenerator[SessionInfo, None]:
        """Iterates over the sessions, the oldest first; those that come and go meanwhile may be left out.

        Raises:
            ToolCommunicationError: Nobody answered.
        """
        return self._entries("ListSessions", ListSessionsRequest(), "sessions")

    def workers(self) -> AsyncGenerator[WorkerInfo, None]:
        """Iterates over the workers that are connected; order and errors as of ``sessions``."""
        return self._entries("ListWorkers", ListWorkersRequest(), "workers")

    def calls(
        self, session_id: str | None = None, *, include_arguments: bool = False
    ) -> AsyncGenerator[CallStatus, None]:
        """Iterates over the calls that wait or run, nested ones included, the oldest first.

        Args:
            session_id: The session whose calls they are; None: all.
            include_arguments: Tell the arguments too, where the hub still holds them.

        Raises:
            SessionError: There is no such session.
            ToolCommunicationError: Nobody answered.
        """
        check_flag("include_arguments", include_arguments)
        request = ListCallsRequest(session_id=_session_of(session_id), include_arguments=include_arguments)
        return self._calls(request)

    async def _calls(self, request: ListCallsRequest) -> AsyncGenerator[CallStatus, None]:
        async for info in self._entries("ListCalls", request, "calls"):
            yield await _call_status(info, self.caller.options.max_message_nodes)

    def runs(self, session_id: str | None = None) -> AsyncGenerator[RunInfo, None]:
        """Iterates over the runs of agents, those that are over but kept included; as of ``calls``."""
        return self._entries("ListRuns", ListRunsRequest(session_id=_session_of(session_id)), "runs")

    async def cancel_call(self, call_id: str, reason: str = "") -> None:
        """Cancels a call, with those that its tool has made; its caller gets the error Cancelled.

        Args:
            call_id: As in ``CallStatus``.
            reason: For its caller and the hub's log.

        Raises:
            NotFoundError: No such call waits or runs.
            ToolCommunicationError: Nobody answered.
        """
        check_text("call_id", call_id, "the id of a call, as calls() and watch() give it")
        check_text("reason", reason, may_be_empty=True)
        await self.caller.call("CancelCall", CancelCallRequest(call_id=call_id, reason=reason))

    def watch(
        self, session_id: str | None = None, kinds: Iterable[str] = (), *, include_arguments: bool = False
    ) -> AsyncGenerator[HubEvent, None]:
        """Iterates over what happens from now on: calls as they start, move and end, workers, sessions, log lines.

        Over a link it goes on when the link is lost and there is another, or when the hub drains and comes back. What
        happens in between is missed, and ``sequence`` begins at 1 again. Whoever reads too slowly loses the oldest
        events and is told how many, in ``dropped``.

        Args:
            session_id: The session that is watched; None: all.
            kinds: Of "call", "worker", "session" and "log"; none: all.
            include_arguments: Tell arguments, results and the texts of errors too.

        Raises:
            ResourceExhaustedError: Too many watch already.
            UnavailableError: The hub is shutting down; over a link, only where it does not come back.
            ToolCommunicationError: The connection broke; over a link, only where there was no other within 30 s.
        """
        check_flag("include_arguments", include_arguments)
        wanted = list_of("kinds", kinds, _KINDS)
        for kind in wanted:
            check_text("one of kinds", kind, _KINDS)
            if kind not in EVENT_KINDS:
                refuse_value("one of kinds", kind, _KINDS)
        request = WatchEventsRequest(
            session_id=_session_of(session_id), kinds=wanted, include_arguments=include_arguments
        )
        watch = _Watch(self.caller, request)
        return LoopStream(
            resumed(self.caller, watch),
            what="the watch of the hub",
            ended=lambda: stream_ended(watch.method),
            resume=lambda: resumed(self.caller, watch, again=True) if self.caller.transport.resumes else None,
        )

    async def _entries(self, method: str, request: Any, field: str) -> AsyncGenerator[Any, None]:
        request.page_size = PAGE_SIZE
        while True:
            page = await self.caller.call(method, request)
            for entry in getattr(page, field):
                yield entry
            if not page.next_page_token:
                return
            if page.next_page_token == request.page_token:
                raise ProtocolError(f"the answer to {method} asks for the page that it is")
            request.page_token = page.next_page_token


def _session_of(session_id: str | None) -> str:
    if session_id is None:
        return ""
    check_text("session_id", session_id, _AN_ID)
    return session_id


class _Watch:
    """A watch of a hub, for ``resumed``.

    Args:
        caller: Makes the calls.
        asked: What is asked for.
    """

    method = "WatchEvents"
    # A hub that ends each watch at once is not asked for ever.
    keeps_trying = False

    def __init__(self, caller: Caller, asked: WatchEventsRequest) -> None:
        self._asked = asked
        self._caller = caller
        self._has_begun = False
        # Whether anything came of the last stream.
        self._came = False

    async def request(self, *, again: bool) -> WatchEventsRequest:
        """Asks for the same as before; first it waits until the hub is there."""
        if again:
            try:
                await reach(lambda _: self._caller.call("HealthCheck", HealthCheckRequest()), CALL_TIMEOUT, self._pause)
            except ToolCommunicationError as error:
                raise ToolCommunicationError(self.method, error.code, error.details) from error
        self._has_begun, self._came = True, False
        return self._asked

    async def _pause(self, seconds: float) -> None:
        await self._caller.pause(seconds, self.method)

    async def take(self, message: AdminEvent) -> HubEvent:
        """Reads an event."""
        self._came = True
        return await _event(message, self._caller.options.max_message_nodes)

    def resumes_after(self, error: ToolBridgeError) -> bool:
        lost = is_lost(error) or isinstance(error, UnavailableError)
        return lost and self._has_begun and self._caller.transport.resumes

    def has_progressed(self, seconds: float) -> bool:
        return self._came or seconds > CALL_TIMEOUT


async def _call_status(info: CallInfo, max_nodes: int) -> CallStatus:
    has_ended = info.state not in ("waiting", "running")
    return CallStatus(
        call_id=info.call_id,
        session_id=info.session_id,
        tool_id=info.tool_id,
        request_id=info.request_id,
        parent_id=info.parent_id,
        worker_id=info.worker_id,
        state=info.state,
        started_at=_time(info.started_at),
        time_left=info.time_left_ms / 1_000,
        progress=info.progress if info.HasField("progress") else None,
        args=tuple([await read_value(value, max_nodes=max_nodes) for value in info.args]),
        kwargs={name: await read_value(value, max_nodes=max_nodes) for name, value in info.kwargs.items()},
        duration=info.duration_us / 1_000_000 if has_ended else None,
        error=info.error if info.HasField("error") else None,
    )


async def _event(message: AdminEvent, max_nodes: int) -> HubEvent:
    kind = message.WhichOneof("subject")
    if kind is None:
        raise ProtocolError("an event of the hub says nothing of what has happened")
    subject = getattr(message, kind)
    return HubEvent(
        kind=kind,
        operation=message.operation,
        subject=await _call_status(subject, max_nodes) if isinstance(subject, CallInfo) else subject,
        timestamp=_time(message.timestamp),
        sequence=message.sequence,
        dropped=message.dropped,
        result=await read_value(message.result, max_nodes=max_nodes) if message.HasField("result") else None,
    )


def _time(timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"the hub has sent a time that is none: {str(error)[:100]}") from None
