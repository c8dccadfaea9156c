"""One link, at either end: sends calls, receives their answers, and serves the calls of the peer.

``DialledLink`` in ``dialer`` and ``AcceptedLink`` in ``listener`` derive from it.

A connection ends a call when its answer or the peer's status is received, or when the link ends. It also enforces
``LinkCall.set_timeout`` for all its calls. That timeout is a second longer than the call's own deadline, which the peer
enforces.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from grpc_tool_bridge.config import REQUEST_TIMEOUT
from grpc_tool_bridge.errors import CallCancelledError, MessageTooLargeError, ResourceExhaustedError
from grpc_tool_bridge.link.asks import LinkAsker
from grpc_tool_bridge.link.calls import LinkCall
from grpc_tool_bridge.link.events import (
    CallReceived,
    Cancelled,
    Draining,
    Ended,
    Event,
    EventReceived,
    HelloReceived,
    MessageReceived,
    PongReceived,
    Replied,
)
from grpc_tool_bridge.link.flushing import FlushPolicy
from grpc_tool_bridge.link.inbox import IncomingCall
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.push_io import io_of
from grpc_tool_bridge.link.server import CallServer, ServedMethod
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.link.streams import FrameStream, PushStream
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Answer, Ask, LinkEvent, LogRecord, Progress
from grpc_tool_bridge.rpc.authentication import Principal
from grpc_tool_bridge.rpc.buffers import Payload
from grpc_tool_bridge.rpc.callers import PRINCIPAL_KEY, read_caller
from grpc_tool_bridge.rpc.methods import DEPTH_KEY
from grpc_tool_bridge.rpc.request_ids import LINK_ID_KEY
from grpc_tool_bridge.rpc.tracing import TRACE_FEATURE

# How often a link looks for calls that have timed out.
SWEEP_INTERVAL = 0.25


# If more control waits for a peer, no further questions or contents of answers are sent to it.
MAX_ASK_BACKLOG = 8 * 1024 * 1024
# What tools report is dropped if more control than this would wait; it also fits into a frame.
MAX_REPORT_BACKLOG = 256 * 1024

# Digits of a call's depth in its metadata.
MAX_DIGITS = 4


@dataclass(frozen=True, slots=True)
class CallOrigin:
    """Where a call of the hub came from.

    Attributes:
        link: The link that it came over; nested calls of its tool go over the same link.
        number: Its number on that link.
        depth: How many calls are above it.
    """

    link: "LinkConnection"
    number: int
    depth: int


class LinkConnection:
    """One link.

    Args:
        link: The protocol.
        stream: Where the frames go.
        methods: What is served to the peer, by name.
        who: The name of this end, for error texts.
        write_timeout: Seconds that a frame, or a message of a stream, waits for a peer that does not read.
        room_timeout: Seconds that a large request of the peer waits for room in memory, and that a frame may take to
            arrive if it is carried by a socket.
        policy: When frames are sent; shared by the links of one end.

    Attributes:
        enforces_timeouts: See ``Carrier``.
        names_calls, peer_answers, principal: See ``CallOwner``.
        overflow: Takes the calls that ``try_send_request`` cannot send.
        on_writable: Called after each frame that was read or written: the link may take further calls.
        link_id: The id that the hub gave the link; empty: none, or its hello has not arrived.
        source: As in ``RequestContext``, of all calls of the peer.
        peer_samples: Whether the peer decides which of its calls are traced, and says so in their metadata.
    """

    enforces_timeouts = True
    names_calls = True
    peer_answers = False
    principal: Principal | None = None
    link_id = ""
    source = ""
    peer_samples = False

    def __init__(
        self,
        link: Link,
        stream: FrameStream | PushStream,
        *,
        methods: Mapping[str, ServedMethod],
        who: str,
        write_timeout: float,
        room_timeout: float = REQUEST_TIMEOUT,
        policy: FlushPolicy | None = None,
    ) -> None:
        self.overflow: Callable[[LinkCall, Any], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self._link = link
        self._stream = stream
        self._io = io_of(
            link,
            stream,
            on_event=self._take,
            on_writable=self._resume,
            write_timeout=write_timeout,
            read_timeout=room_timeout,
            policy=policy,
        )
        self.flush, self.schedule_flush = self._io.flush, self._io.schedule_flush
        self._server = CallServer(link, self, methods, who=who, write_timeout=write_timeout, room_timeout=room_timeout)
        self._loop = asyncio.get_running_loop()
        self._ended = False
        self._quiet: asyncio.Event | None = None
        self._sweep: asyncio.TimerHandle | None = None
        # Why this end aborted it, and the error text of later calls.
        self._aborted = ""
        self._lost = "the link was lost"

    # ---------------------------------------------------------------------------------------- this end's calls

    @property
    def features(self) -> Collection[str]:
        """The features in the peer's hello."""
        return self._link.peer.features if self._link.peer is not None else ()

    @property
    def open_calls(self) -> int:
        """How many calls have not ended, including cancelled ones."""
        return self._link.open_calls

    @property
    def takes_calls(self) -> bool:
        """Whether a call may be made now."""
        return self._link.takes_calls

    def calls(self) -> list[Any]:
        """Returns the calls that somebody waits for."""
        unsent = [call for call, _ in self._link.unsent()]
        return [call for call in (*self._link.calls.values(), *unsent) if not call.given_up]

    def has_sent(self, call: LinkCall) -> bool:
        """Returns whether all of a call has been sent."""
        return self._link.has_sent(call)

    def send(self, call: LinkCall, payload: Payload) -> None:
        """Sends a call; raises MessageTooLargeError."""
        call.carrier = self
        alone = not self._link.awaits_answers
        self._link.call(call, payload)
        self._io.schedule_flush(alone=alone)

    def send_or_fail(self, call: LinkCall, payload: Payload) -> None:
        """Sends a call and enforces its timeout; the call fails if it is too large."""
        try:
            self.send(call, payload)
        except MessageTooLargeError as error:
            call.fail(link_error(Code.RESOURCE_EXHAUSTED, error.message))
            return
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_INTERVAL, self._end_expired)

    def send_request(self, call: LinkCall, request: Any) -> None:
        """Sends a call even if the link takes no calls now; the call fails immediately if the link has ended."""
        if self._ended:
            call.fail(link_error(Code.UNAVAILABLE, self._lost))
        else:
            self.send_or_fail(call, request.SerializeToString())

    def try_send_request(self, call: LinkCall, request: Any) -> None:
        """Sends a call if the link takes one now and belongs to this event loop; else passes it to ``overflow``."""
        if self._link.takes_calls and not self._ended and asyncio.get_running_loop() is self._loop:
            self.send_or_fail(call, request.SerializeToString())
        elif self.overflow is not None:
            self.overflow(call, request)

    def try_send_bytes(self, call: LinkCall, payload: bytes) -> bool:
        """Sends a call if the link takes one now and belongs to this event loop; returns whether it did."""
        link = self._link
        if not link.takes_calls or self._ended or asyncio.get_running_loop() is not self._loop:
            return False
        call.carrier = self
        alone = not link.awaits_answers
        link.call(call, payload)
        self.schedule_flush(alone=alone)
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_INTERVAL, self._end_expired)
        return True

    def cancel(self, call: LinkCall) -> None:
        """Tells the peer to cancel a call."""
        if self._ended:
            return
        self._link.cancel(call)
        self._io.schedule_flush()
        if not call.id and self.on_writable is not None:
            # It was never sent, so there is room for another one.
            self._loop.call_soon(self.on_writable)

    def grant(self, call: LinkCall, size: int) -> None:
        """Tells the peer that ``size`` bytes of a stream were consumed."""
        if self._ended:
            return
        self._link.grant(call, size)
        if self._link.has_output:
            self._io.schedule_flush()

    def _end_expired(self) -> None:
        """Expires the calls that have timed out; runs again while there are others."""
        self._sweep = None
        now = time.monotonic()
        # Calls stay unsent if the peer does not read.
        unsent = [call for call, _ in self._link.unsent()]
        for call in (*self._link.calls.values(), *unsent):
            if call.expires_at < now:
                call.expire()
        if self._link.calls or self._link.has_output:
            self._sweep = self._loop.call_later(SWEEP_INTERVAL, self._end_expired)

    # ------------------------------------------------------------------------------------------------ the link

    def ping(self) -> None:
        """Sends a ping; ``on_pong`` is called with the answer."""
        self._link.ping()
        self._io.schedule_flush()

    @property
    def received(self) -> int:
        """A number that changes whenever something was received."""
        return self._io.received

    def drain(self, grace: float) -> None:
        """Tells the peer to make no new calls: the link ends in ``grace`` seconds."""
        self._link.drain(int(grace * 1000))
        self._io.schedule_flush()

    async def answered(self) -> None:
        """Waits until no call of the peer is open, or the link has ended."""
        quiet = self._quiet = asyncio.Event()
        while self._link.incoming and not self._ended:
            quiet.clear()
            await quiet.wait()

    def finish(self) -> None:
        """Ends the link once everything was sent."""
        self._io.finish()

    def abort(self, why: str) -> None:
        """Ends the link without sending what waits."""
        self._aborted = why
        self._io.abort()

    async def _close(self) -> None:
        """Cancels the calls of the peer and releases the link's memory."""
        self._ended = True
        if self._quiet is not None:
            self._quiet.set()
        if self._sweep is not None:
            self._sweep.cancel()
        try:
            await self._server.aclose()
        finally:
            self._link.release()

    def _take(self, event: Event) -> None:
        if isinstance(event, CallReceived):
            self._server.take(event[0])
        elif isinstance(event, Replied):
            event[0].on_reply(event[1])
        elif isinstance(event, MessageReceived):
            event.call.on_message(event.payload)
        elif isinstance(event, Ended):
            event.call.on_end(event.status)
        elif isinstance(event, Cancelled):
            self._server.cancel(event.call)
        elif isinstance(event, EventReceived):
            self._tell(event.call, event.event)
        elif isinstance(event, HelloReceived):
            # It raises an error, which ends the link, if the peer may not use it.
            self.principal = self._stream.admit(event.hello) or self.principal
            self.peer_samples = TRACE_FEATURE in event.hello.features
            self.link_id = self.link_id or event.hello.metadata.get(LINK_ID_KEY, "")
            self.on_hello()
        elif isinstance(event, PongReceived):
            self.on_pong()
        elif isinstance(event, Draining):
            self.on_drain()

    def _tell(self, call: Any, event: LinkEvent) -> None:
        if event.HasField("ask"):
            call.on_ask(event.ask, partial(self._answer, call))
        else:
            call.on_event(event)

    def _ask(self, call: IncomingCall, ask: Ask) -> None:
        if self._ended or not self._link.is_under_way(call):
            raise CallCancelledError("the call is over, and its caller can be asked nothing more")
        if self._link.control_bytes > MAX_ASK_BACKLOG:
            raise ResourceExhaustedError("the caller does not read what it is asked; ask again later")
        self._link.tell(call, LinkEvent(ask=ask))
        self._io.schedule_flush()

    def _answer(self, call: LinkCall, answer: Answer) -> None:
        if not self._ended:
            if self._link.control_bytes > MAX_ASK_BACKLOG:
                # The peer does not read: what waits for it must have a bound.
                answer = Answer(id=answer.id, action="cancel")
            self._link.tell(call, LinkEvent(answer=answer))
            self._io.schedule_flush()

    def _resume(self) -> None:
        """Resumes what waited until a frame was read or written."""
        if self._server.has_pending:
            self._server.resume_pending()
        if self._quiet is not None and not self._link.incoming:
            self._quiet.set()
        if self.on_writable is not None:
            self.on_writable()

    # ------------------------------------------------------------------------ overridden by the two ends

    def on_hello(self) -> None:
        """Called when the peer's hello was received."""

    def on_pong(self) -> None:
        """Called when the peer has answered a ping."""

    def on_drain(self) -> None:
        """Called when the peer drains: it takes no new calls and will end the link."""

    def parent_of(self, call: IncomingCall) -> Any:
        """Returns the parent of a call, see ``RequestContext``; raises ToolBridgeError.

        Unless overridden, it identifies the call in the nested calls of its tool.
        """
        depth = call.metadata.get(DEPTH_KEY, "") if call.metadata else ""
        return CallOrigin(self, call.id, int(depth) if depth.isdecimal() and len(depth) <= MAX_DIGITS else 0)

    def identify(self, call: IncomingCall, request: Any = None) -> None:
        """Sets the principal and the delegation of a call with metadata, if the peer makes it on behalf of another.

        Unless overridden, the peer is a hub, and is believed.

        Args:
            call: The call.
            request: Its request, if it was read.

        Raises:
            ProtocolError: The peer says so in a way that cannot be read.
        """
        del request
        text = call.metadata.get(PRINCIPAL_KEY)
        if text is not None:
            call.principal, call.via = read_caller(text)

    def asker_of(self, call: IncomingCall) -> LinkAsker | None:
        """Returns the asker for a call of the peer; None if the peer cannot answer."""
        return LinkAsker(partial(self._ask, call))

    def tell(self, call: IncomingCall, record: LogRecord) -> None:
        """Sends the peer a log record of one of its calls."""
        self._link.tell(call, LinkEvent(log=record))
        self._io.schedule_flush()

    def report(self, number: int, event: Progress | LogRecord) -> None:
        """Tells the peer what the tool of one of its calls reports, unless the call is over, or the peer does not read.

        Args:
            number: The call's number on this link.
            event: The report; one of more than 256 KiB is dropped.
        """
        call = self._link.incoming.get(number)
        if call is None or self._ended or self._link.control_bytes + event.ByteSize() > MAX_REPORT_BACKLOG:
            return
        self._link.tell(call, LinkEvent(progress=event) if isinstance(event, Progress) else LinkEvent(log=event))
        self._io.schedule_flush()

    def on_session(self, call: IncomingCall, response: Any) -> None:
        """Called with the response to each InitializeSession, before it is sent."""
