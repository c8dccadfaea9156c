"""What happens in the hub, for its operators."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterable
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
    ApprovalInfo,
    CallInfo,
    CancelCallRequest,
    DecideApprovalRequest,
    ErrorInfo,
    HealthCheckRequest,
    HubInfo,
    ListApprovalsRequest,
    ListCallsRequest,
    ListHubsRequest,
    ListOffersRequest,
    ListRunsRequest,
    ListSessionsRequest,
    ListWorkersRequest,
    LogRecord,
    Progress,
    RunInfo,
    SessionInfo,
    ToolOffer,
    WatchEventsRequest,
    WorkerInfo,
)
from grpc_tool_bridge.rpc.bounds import shown
from grpc_tool_bridge.rpc.event_kinds import EVENT_KINDS
from grpc_tool_bridge.values.offload import read_value

_log = logging.getLogger(__name__)

# Called with the name of a hub that did not answer.
OnMissing = Callable[[str], object]

# The largest page that a hub returns, so that long lists take few requests.
PAGE_SIZE = 1_000

_A_HUB = "the name or the incarnation of a hub, or None for all"
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
        hub: The name of the hub that owns its session; empty without a cluster, and in events.
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
    hub: str = ""


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

    In a cluster the lists are of all its hubs, oldest first; a long list has one hub after the other. Hubs that did not
    answer are told to ``on_missing``, once each, or else logged: what they have is missing. Events are those of the hub
    that the client is connected to.

    Args:
        client: Makes the calls.

    Attributes:
        caller: The client's.
    """

    def __init__(self, client: HasCaller) -> None:
        refuse_plain("client", client, "a ToolBridgeClient")
        self.caller: Caller = client.caller

    async def hubs(self, *, on_missing: OnMissing | None = None) -> list[HubInfo]:
        """Returns the hubs of the cluster by name, with their state; a hub without a cluster is the only one.

        Args:
            on_missing: Called with the name of each hub that should have answered, and of which only the rest is known.

        Raises:
            ToolCommunicationError: Nobody answered.
        """
        answer = await self.caller.call("ListHubs", ListHubsRequest())
        _tell_missing(answer.missing_hubs, set(), on_missing)
        return list(answer.hubs)

    def offers(
        self, tool: str | None = None, *, hub: str | None = None, on_missing: OnMissing | None = None
    ) -> AsyncGenerator[ToolOffer, None]:
        """Iterates over where tools are run: at which hub, and by which worker; tools of one session are left out.

        Args:
            tool: Only the tool with this name; None: all.
            hub: As for ``sessions``, and so is the rest.
            on_missing: Likewise.
        """
        if tool is not None:
            check_text("tool", tool, "the name of a tool, or None for all")
        request = ListOffersRequest(tool=tool or "", hub=_hub_of(hub))
        return self._entries("ListOffers", request, "offers", on_missing)

    def sessions(
        self, *, hub: str | None = None, on_missing: OnMissing | None = None
    ) -> AsyncGenerator[SessionInfo, None]:
        """Iterates over the sessions, oldest first; sessions that start or end meanwhile may be left out.

        Args:
            hub: Only those of this hub, by its name or incarnation; None: of all hubs of the cluster.
            on_missing: Called with the name of each hub that did not answer; None: it is logged.

        Raises:
            NotFoundError: There is no such hub.
            ToolCommunicationError: Nobody answered.
            UnavailableError: The hub that was named did not answer.
        """
        return self._entries("ListSessions", ListSessionsRequest(hub=_hub_of(hub)), "sessions", on_missing)

    def workers(
        self, *, hub: str | None = None, on_missing: OnMissing | None = None
    ) -> AsyncGenerator[WorkerInfo, None]:
        """Iterates over the connected workers; arguments, order and errors as for ``sessions``."""
        return self._entries("ListWorkers", ListWorkersRequest(hub=_hub_of(hub)), "workers", on_missing)

    def calls(
        self,
        session_id: str | None = None,
        *,
        include_arguments: bool = False,
        hub: str | None = None,
        on_missing: OnMissing | None = None,
    ) -> AsyncGenerator[CallStatus, None]:
        """Iterates over the waiting and running calls, including nested ones, oldest first.

        Args:
            session_id: Only calls of this session; None: all.
            include_arguments: Include the arguments, if the hub still has them.
            hub: As for ``sessions``.
            on_missing: Likewise.

        Raises:
            SessionError: There is no such session.
            NotFoundError, ToolCommunicationError, UnavailableError: As for ``sessions``.
        """
        check_flag("include_arguments", include_arguments)
        request = ListCallsRequest(
            session_id=_session_of(session_id), include_arguments=include_arguments, hub=_hub_of(hub)
        )
        return self._calls(request, on_missing)

    async def _calls(self, request: ListCallsRequest, on_missing: OnMissing | None) -> AsyncGenerator[CallStatus, None]:
        async for info in self._entries("ListCalls", request, "calls", on_missing):
            yield await _call_status(info, self.caller.options.max_message_nodes)

    def runs(
        self, session_id: str | None = None, *, hub: str | None = None, on_missing: OnMissing | None = None
    ) -> AsyncGenerator[RunInfo, None]:
        """Iterates over agent runs, including ended ones that are kept; otherwise as ``calls``."""
        request = ListRunsRequest(session_id=_session_of(session_id), hub=_hub_of(hub))
        return self._entries("ListRuns", request, "runs", on_missing)

    async def cancel_call(self, call_id: str, reason: str = "", *, hub: str | None = None) -> None:
        """Cancels a call and the calls that its tool has made; the caller gets the error Cancelled.

        Args:
            call_id: As in ``CallStatus``.
            reason: For its caller and the hub's log.
            hub: The hub that has it, as in ``CallStatus``; None: any, first the one that the client is connected to.

        Raises:
            NotFoundError: No such call is waiting or running.
            ToolCommunicationError: Nobody answered.
        """
        check_text("call_id", call_id, "the id of a call, as calls() and watch() report it")
        check_text("reason", reason, may_be_empty=True)
        await self.caller.call("CancelCall", CancelCallRequest(call_id=call_id, reason=reason, hub=_hub_of(hub)))

    def approvals(
        self, *, include_arguments: bool = False, hub: str | None = None, on_missing: OnMissing | None = None
    ) -> AsyncGenerator[ApprovalInfo, None]:
        """Iterates over the calls that wait for approval and that the client may approve, oldest first.

        Args:
            include_arguments: Include the arguments, as JSON and without secrets.
            hub: As for ``sessions``.
            on_missing: As for ``sessions``.
        """
        check_flag("include_arguments", include_arguments)
        request = ListApprovalsRequest(include_arguments=include_arguments, hub=_hub_of(hub))
        return self._entries("ListApprovals", request, "approvals", on_missing)

    async def grant(self, approval_id: str, digest: str, *, hub: str | None = None) -> None:
        """Lets a call run that waits for approval.

        Args:
            approval_id: As in ``ApprovalInfo``.
            digest: That of the arguments that were seen, as in ``ApprovalInfo``.
            hub: The hub where the call waits, as in ``ApprovalInfo``; None: any.

        Raises:
            NotFoundError: No such call waits.
            ConflictError: The digest is that of another call, or it is decided already.
            AccessError: The client may not approve calls of the tool, or it made the call itself.
        """
        await self._decide(approval_id, digest, "", hub, granted=True)

    async def deny(self, approval_id: str, digest: str, reason: str = "", *, hub: str | None = None) -> None:
        """Ends a call that waits for approval with PermissionDenied; ``reason`` is told to its caller.

        Otherwise as ``grant``.
        """
        check_text("reason", reason, may_be_empty=True)
        await self._decide(approval_id, digest, reason, hub, granted=False)

    async def _decide(self, approval_id: str, digest: str, reason: str, hub: str | None, *, granted: bool) -> None:
        check_text("approval_id", approval_id, "the id of an approval, as approvals() reports it")
        check_text("digest", digest, "the digest of the arguments, as approvals() reports it")
        request = DecideApprovalRequest(
            approval_id=approval_id, digest=digest, grant=granted, reason=reason, hub=_hub_of(hub)
        )
        await self.caller.call("DecideApproval", request)

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

    async def _entries(
        self, method: str, request: Any, field: str, on_missing: OnMissing | None
    ) -> AsyncGenerator[Any, None]:
        request.page_size = PAGE_SIZE
        missing: set[str] = set()
        while True:
            page = await self.caller.call(method, request)
            _tell_missing(page.missing_hubs, missing, on_missing)
            for entry in getattr(page, field):
                yield entry
            if not page.next_page_token:
                return
            if page.next_page_token == request.page_token:
                raise ProtocolError(f"the answer to {method} names its own page as the next one")
            request.page_token = page.next_page_token


def _tell_missing(names: Iterable[str], told: set[str], on_missing: OnMissing | None) -> None:
    """Tells of the hubs that did not answer, once each."""
    for name in names:
        if name in told:
            continue
        told.add(name)
        if on_missing is None:
            _log.warning("hub %s did not answer; what it has is missing from the list", shown(name))
        else:
            on_missing(name)


def _hub_of(hub: str | None) -> str:
    if hub is None:
        return ""
    check_text("hub", hub, _A_HUB)
    return hub


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
        hub=info.hub,
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
