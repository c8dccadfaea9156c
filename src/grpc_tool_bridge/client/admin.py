"""What happens in the hub, for its operators."""

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
from grpc_tool_bridge.config.argument_checks import (
    check_count,
    check_flag,
    check_text,
    list_of,
    refuse_plain,
    refuse_value,
)
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
from grpc_tool_bridge.rpc.event_kinds import EVENT_KINDS
from grpc_tool_bridge.values.offload import read_value

# The largest page that a hub returns, so that long lists take few requests.
PAGE_SIZE = 1_000

_AN_ID = "the id of a session, or None for all"
_KINDS = f"a list of kinds, of {', '.join(map(repr, EVENT_KINDS))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStatus:
    """The state of a call, as its hub reports it.

    Attributes:
        call_id: The hub's id of the call, for ``cancel_call``.
        session_id, tool_id: The session and the tool of the call.
        request_id: The id that the caller gave it; the stream's id for a stream; may be empty.
        parent_id: The id of the call or agent run that made this call; empty for a call from outside.
        worker_id: The worker that runs it; empty if the hub runs it, or nobody yet.
        state: "waiting", "running", "done", "failed" or "cancelled".
        started_at: In UTC.
        time_left: Seconds until its deadline.
        progress: The last progress that its tool reported, or None.
        args, kwargs: Its arguments, if they were requested and the hub still has them.
        duration: Seconds that it took; None if it has not ended.
        error: Its error, or None. The error's text is only included with the arguments.
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
    """An event in a hub.

    Attributes:
        kind: "call", "worker", "session" or "log".
        operation: For a call "started", "moved" (it began to wait or to run, went to a worker, or reported progress) or
            "ended"; for a worker "connected", "draining", "changed" (its tools) or "disconnected"; for a session
            "started" or "ended"; empty for a log line.
        subject: The call, worker, session or log line.
        timestamp: When it happened, in UTC.
        sequence: Rises by one with each event of a watch, including dropped ones.
        dropped: Events before this one that were dropped because the watcher was too slow.
        result: The result of a successful call, if arguments were requested and it is not large; else None.
        omitted_calls: Calls since the event before that are not in the sample that was asked for.
    """

    kind: str
    operation: str
    subject: CallStatus | WorkerInfo | SessionInfo | LogRecord
    timestamp: datetime
    sequence: int
    dropped: int
    result: Any
    omitted_calls: int = 0


class Admin(AsyncApi):
    """Shows what happens in the hub that a client is connected to. It needs no session.

    A hub without the admin service raises UnimplementedError; over plain RPCs, ToolCommunicationError (UNIMPLEMENTED).

    Args:
        client: Makes the calls.

    Attributes:
        caller: The client's.
    """

    def __init__(self, client: HasCaller) -> None:
        refuse_plain("client", client, "a ToolBridgeClient")
        self.caller: Caller = client.caller

    def sessions(self) -> AsyncGenerator[SessionInfo, None]:
        """Iterates over the sessions, oldest first; sessions that start or end meanwhile may be left out.

        Raises:
            ToolCommunicationError: Nobody answered.
        """
        return self._entries("ListSessions", ListSessionsRequest(), "sessions")

    def workers(self) -> AsyncGenerator[WorkerInfo, None]:
        """Iterates over the connected workers; order and errors as for ``sessions``."""
        return self._entries("ListWorkers", ListWorkersRequest(), "workers")

    def calls(
        self, session_id: str | None = None, *, include_arguments: bool = False
    ) -> AsyncGenerator[CallStatus, None]:
        """Iterates over the waiting and running calls, including nested ones, oldest first.

        Args:
            session_id: Only calls of this session; None: all.
            include_arguments: Include the arguments, if the hub still has them.

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
        """Iterates over agent runs, including ended ones that are kept; otherwise as ``calls``."""
        return self._entries("ListRuns", ListRunsRequest(session_id=_session_of(session_id)), "runs")

    async def cancel_call(self, call_id: str, reason: str = "") -> None:
        """Cancels a call and the calls that its tool has made; the caller gets the error Cancelled.

        Args:
            call_id: As in ``CallStatus``.
            reason: For its caller and the hub's log.

        Raises:
            NotFoundError: No such call is waiting or running.
            ToolCommunicationError: Nobody answered.
        """
        check_text("call_id", call_id, "the id of a call, as calls() and watch() report it")
        check_text("reason", reason, may_be_empty=True)
        await self.caller.call("CancelCall", CancelCallRequest(call_id=call_id, reason=reason))

    def watch(
        self,
        session_id: str | None = None,
        kinds: Iterable[str] = (),
        *,
        include_arguments: bool = False,
        calls_per_second: int | None = None,
    ) -> AsyncGenerator[HubEvent, None]:
        """Iterates over events from now on: calls as they start, move and end, workers, sessions, log lines.

        Over a link it resumes after a reconnect, also after the hub has drained and restarted. Events in between are
        missed, and ``sequence`` starts at 1 again. A slow reader loses the oldest events; ``dropped`` counts them.

        Args:
            session_id: Only events of this session; None: all.
            kinds: Any of "call", "worker", "session" and "log"; empty: all.
            include_arguments: Include arguments, results and the texts of errors.
            calls_per_second: Only a sample of about this many new calls a second, in bursts of up to ten times as many,
                and besides the end of calls that failed or were slow; ``omitted_calls`` counts the others, which cost
                the hub next to nothing. None: all calls.

        Raises:
            ResourceExhaustedError: The hub has too many watches.
            UnavailableError: The hub is shutting down; over a link, only if it does not come back.
            ToolCommunicationError: The connection was lost; over a link, only if there was no other within 30 s.
        """
        check_flag("include_arguments", include_arguments)
        if calls_per_second is not None:
            check_count("calls_per_second", calls_per_second, least=1)
        wanted = list_of("kinds", kinds, _KINDS)
        for kind in wanted:
            check_text("one of kinds", kind, _KINDS)
            if kind not in EVENT_KINDS:
                refuse_value("one of kinds", kind, _KINDS)
        request = WatchEventsRequest(
            session_id=_session_of(session_id),
            kinds=wanted,
            include_arguments=include_arguments,
            calls_per_second=calls_per_second or 0,
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
                raise ProtocolError(f"the answer to {method} names its own page as the next one")
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
        asked: The request.
    """

    method = "WatchEvents"
    # Gives up on a hub that ends each watch immediately.
    keeps_trying = False

    def __init__(self, caller: Caller, asked: WatchEventsRequest) -> None:
        self._asked = asked
        self._caller = caller
        self._has_begun = False
        # Whether the last stream delivered anything.
        self._came = False

    async def request(self, *, again: bool) -> WatchEventsRequest:
        """Returns the same request each time; after a loss it waits until the hub is reachable."""
        if again:
            try:
                pause = self._caller.pauses(self.method)
                await reach(lambda _: self._caller.call("HealthCheck", HealthCheckRequest()), CALL_TIMEOUT, pause)
            except ToolCommunicationError as error:
                raise ToolCommunicationError(self.method, error.code, error.details) from error
        self._has_begun, self._came = True, False
        return self._asked

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
        raise ProtocolError("an event of the hub has no subject")
    subject = getattr(message, kind)
    return HubEvent(
        kind=kind,
        operation=message.operation,
        subject=await _call_status(subject, max_nodes) if isinstance(subject, CallInfo) else subject,
        timestamp=_time(message.timestamp),
        sequence=message.sequence,
        dropped=message.dropped,
        omitted_calls=message.omitted_calls,
        result=await read_value(message.result, max_nodes=max_nodes) if message.HasField("result") else None,
    )


def _time(timestamp: Timestamp) -> datetime:
    try:
        return timestamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise ProtocolError(f"the hub has sent an invalid timestamp: {str(error)[:100]}") from None
