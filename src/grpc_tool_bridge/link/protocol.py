"""The protocol of a link, without any I/O.

A link carries calls in both directions over one stream of frames. This is one end of it: it takes the frames that were
received and returns events, and it returns the next frame to send. The same code is at both ends; only the ids of calls
differ. Reading and writing frames, running calls and waiting for answers are done elsewhere.

The rules are those of the messages ``LinkFrame`` and ``Envelope`` in ``proto/dspex_bridge.proto``.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ResourceExhaustedError, SerializationError
from grpc_tool_bridge.link.envelopes import CHUNK_TAG, whole
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
from grpc_tool_bridge.link.inbox import MAX_INCOMING_BYTES, Inbox, IncomingCall, Parts, RecentIds
from grpc_tool_bridge.link.large import AnyEnvelope, read_frame
from grpc_tool_bridge.link.outbox import INITIAL_CREDIT, SMALL_BYTES, Lane, Outbox, OutgoingCall, check_size
from grpc_tool_bridge.link.status import Code, link_status_of
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Envelope,
    LinkCancel,
    LinkDrain,
    LinkEvent,
    LinkFrame,
    LinkHello,
    LinkStatus,
)
from grpc_tool_bridge.rpc.asks import ASK_FEATURE
from grpc_tool_bridge.rpc.budgets import Budget
from grpc_tool_bridge.rpc.buffers import LARGE_BYTES, Payload
from grpc_tool_bridge.rpc.nodes import UNCOUNTED_BYTES, check_message

PROTOCOL = 1

# If more bytes wait to be sent, no further calls or answers are taken.
HIGH_WATER_BYTES = 1024 * 1024

# Of answers that wait to be sent, except small ones; a peer that calls faster than it reads gets errors.
MAX_ANSWER_BYTES = 256 * 1024 * 1024

# A peer that lets so much control pile up does not read the answers.
MAX_CONTROL_BYTES = 16 * 1024 * 1024

# Longer than the name of any method; one that is cut does not exist.
MAX_METHOD_CHARS = 128

_KINDS = tuple(field.name for field in Envelope.DESCRIPTOR.oneofs_by_name["kind"].fields)


class Link:
    """One end of a link.

    Args:
        dialer: Whether this end dialled: its calls have odd ids, those of the hub even ones.
        hello: Sent first; ``protocol`` is filled in. Calls beyond its ``capacity`` are refused.
        max_incoming_bytes: Of unanswered requests in total; calls beyond it are refused.
        max_answer_bytes: Of answers that wait to be sent; answers beyond it are refused unless they are small.
        budget: Charged with what the link holds; None: it is not counted.

    Attributes:
        peer: The peer's hello; None before it was received.
        draining: Whether the peer takes no new calls.
        calls: Unanswered calls of this end that were sent, by id; cancelled ones stay until their end is received.
        incoming: Unanswered calls of the peer, by id.
    """

    def __init__(
        self,
        *,
        dialer: bool,
        hello: LinkHello,
        max_incoming_bytes: int = MAX_INCOMING_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        budget: Budget | None = None,
    ) -> None:
        self.peer: LinkHello | None = None
        self.draining = False
        self.calls: dict[int, Any] = {}
        self._outbox = Outbox()
        self._inbox = inbox = Inbox(self._outbox, max_bytes=max_incoming_bytes, capacity=hello.capacity, budget=budget)
        inbox.last_id = 0 if dialer else -1
        self.incoming: dict[int, IncomingCall] = inbox.calls
        self.reserve, self.reserve_anyway = inbox.reserve, inbox.reserve_anyway
        self.settle, self.release, self.hold_partial = inbox.settle, inbox.release, inbox.hold_partial
        self._last_id = -1 if dialer else 0
        # Concurrent calls that the peer takes: 0 before its hello, and once it drains.
        self._peer_capacity = 0
        self._max_answer_bytes = max_answer_bytes
        self._answers = ASK_FEATURE in hello.features
        # Calls of this end that have not ended.
        self._open = 0
        self._open_streams = 0
        self._crossed = RecentIds()
        self._pings = 0
        self._receivers: dict[str | None, Callable[[Any, list[Event]], None]] = {
            kind: getattr(self, f"_receive_{kind}") for kind in _KINDS
        }
        greeting = LinkHello()
        greeting.CopyFrom(hello)
        greeting.protocol = PROTOCOL
        self._control(Envelope(hello=greeting))

    # ------------------------------------------------------------------------------------------------- sending

    @property
    def has_output(self) -> bool:
        """Whether there is a frame to send."""
        return bool(self._outbox)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of payload that may be sent; not those of streams that wait for credit."""
        return self._outbox.size

    @property
    def writable(self) -> bool:
        """Whether new answers should be sent; they are accepted even if not, but then they pile up."""
        return self._outbox.size + self._outbox.control_size < HIGH_WATER_BYTES

    @property
    def control_bytes(self) -> int:
        """Bytes of control that wait to be sent."""
        return self._outbox.control_size

    @property
    def room(self) -> int:
        """How many more calls the peer takes now."""
        return self._peer_capacity - self._open if self._peer_capacity else 0

    @property
    def open_calls(self) -> int:
        """How many calls of this end have not ended, including cancelled ones."""
        return self._open

    @property
    def awaits_answers(self) -> bool:
        """Whether a unary call of this end is open, whose answer may lead to further calls."""
        return self._open > self._open_streams

    @property
    def takes_calls(self) -> bool:
        """Whether a call may be made now, within all limits."""
        return self._outbox.size < HIGH_WATER_BYTES and self._open < self._peer_capacity

    @property
    def is_budgeted(self) -> bool:
        """Whether a budget is charged with what the link holds."""
        return self._inbox.budget is not None

    def refuse_for_room(self, call: IncomingCall) -> None:
        """Refuses a call for which there is no room."""
        if not call.answered and (error := self._inbox.refusal_for_room(call)) is not None:
            self.end(call, link_status_of(error))

    def unsent(self) -> list[tuple[Any, Payload]]:
        """Returns the unsent calls with their payloads; they can be sent over another link."""
        return [entry for entry in self._outbox.unsent() if isinstance(entry[0], OutgoingCall) and not entry[0].id]

    def has_sent(self, call: OutgoingCall) -> bool:
        """Returns whether all of a call has been sent."""
        return bool(call.id) and (call._lane is None or call._lane.is_empty())

    def next_frame(self, head: Callable[[int], bytes] | None = None) -> bytes:
        """Removes and returns the next frame to send, after its head; ``has_output`` must be true."""
        return self._outbox.next_frame(head)

    def call(self, call: OutgoingCall, payload: Payload) -> None:
        """Makes a call.

        Raises:
            MessageTooLargeError: The payload is larger than a link can carry.
        """
        size = len(payload)
        if size > SMALL_BYTES:
            check_size("the request", payload)
        call._link = self
        self._open += 1
        if call.streaming:
            self._open_streams += 1
        if size <= SMALL_BYTES:
            self._outbox.add_small(call, payload)
            return
        lane = call._lane = Lane()
        self._outbox.add(lane, call, payload)

    def cancel(self, call: OutgoingCall, reason: str = "") -> None:
        """Cancels a call; one that was sent counts as open until its end is received."""
        if call.given_up or call._link is None:
            # Also if it was too large to be sent.
            return
        call.given_up = True
        self._forget_parts(call)
        if call._lane is not None:
            self._outbox.drop(call._lane)
        if not call.id:
            self._close(call)
            self._outbox.remove_small(call)
        elif call.id in self.calls:
            self._control(Envelope(id=call.id, cancel=LinkCancel(reason=reason)))

    def grant(self, call: OutgoingCall, size: int) -> None:
        """Notes that ``size`` bytes of a stream were consumed; the credit is sent once it is half a window."""
        call._consumed += size
        if call._consumed * 2 >= call.window and not call.given_up and call.id in self.calls:
            call._credit += call._consumed
            self._control(Envelope(id=call.id, credit=call._consumed))
            call._consumed = 0

    def reply(self, call: IncomingCall, payload: Payload) -> None:
        """Answers a unary call.

        Raises:
            MessageTooLargeError: The payload is larger than a link can carry; the call still waits for its answer.
            ResourceExhaustedError: The peer reads too slowly; likewise.
        """
        if call.answered:
            return
        if len(payload) <= SMALL_BYTES:
            call.answered = True
            self._over(call)
            self._outbox.add_small(call, payload)
            return
        check_size("the answer", payload)
        self._inbox.drop(call)
        if self._outbox.size + len(payload) > self._max_answer_bytes and self._outbox.size:
            raise ResourceExhaustedError(
                f"the answers that wait for their reader would take {self._outbox.size + len(payload):,} bytes, the "
                f"link's limit is {self._max_answer_bytes:,}; read them, and make fewer concurrent calls"
            )
        self._inbox.check_room(payload, "the answer")
        call.answered = True
        call._lane = Lane()
        call._lane.on_empty = partial(self._over, call)
        self._outbox.add(call._lane, call, payload)
        self.settle()

    def chunk(self, call: IncomingCall, payload: Payload) -> None:
        """Sends a message of a stream as soon as the peer's credit allows.

        Raises:
            MessageTooLargeError: The payload is larger than a link can carry.
        """
        if call.answered or call.cancelled:
            return
        check_size("a message of the stream", payload)
        if len(payload) > SMALL_BYTES:
            self._inbox.check_room(payload, "a message of the stream")
        call._tag = CHUNK_TAG
        if call._lane is None:
            call._lane = Lane(call._credit)
        self._outbox.add(call._lane, call, payload)

    def has_room(self, call: IncomingCall, on_room: Callable[[], None] | None = None) -> bool:
        """Returns whether a stream may have another message; if not, ``on_room`` is called once some was sent."""
        lane = call._lane
        if lane is None or self._outbox.has_room(lane):
            return True
        lane.on_room = on_room
        return False

    def end(self, call: IncomingCall, status: LinkStatus) -> None:
        """Ends a call: a stream after its last message, a unary one with an error."""
        if call.answered:
            return
        call.answered = True
        self._inbox.drop(call)
        envelope = whole(Envelope(id=call.id, end=status))
        lane = call._lane
        if lane is None or lane.dropped or lane.is_empty():
            self._over(call)
            self._outbox.add_control(envelope)
            return
        lane.last = envelope
        lane.on_empty = partial(self._over, call)

    def tell(self, call: IncomingCall | OutgoingCall, event: LinkEvent) -> None:
        """Sends an event of a call to the peer; it arrives before the call's end."""
        if self.is_under_way(call):
            self._control(Envelope(id=call.id, event=event))

    def is_under_way(self, call: IncomingCall | OutgoingCall) -> bool:
        """Returns whether both ends know the call, and neither has ended or cancelled it."""
        if isinstance(call, IncomingCall):
            return not call.answered and not call.cancelled
        return not call.given_up and call.id in self.calls

    def ping(self) -> int:
        """Sends a ping; returns the number that ``PongReceived`` will have."""
        self._pings += 1
        self._control(Envelope(ping=self._pings))
        return self._pings

    def drain(self, grace_ms: int) -> None:
        """Tells the peer to make no new calls."""
        self._control(Envelope(drain=LinkDrain(grace_ms=grace_ms)))

    def _close(self, call: OutgoingCall) -> None:
        self._open -= 1
        if call.streaming:
            self._open_streams -= 1

    def issue(self, call: OutgoingCall) -> int:
        """Assigns a call its id: its first frame is being written."""
        self._last_id += 2
        call.id = self._last_id
        self.calls[call.id] = call
        return call.id

    def _over(self, call: IncomingCall) -> None:
        if self.incoming.pop(call.id, None) is None:
            return
        if call.begun:
            self._inbox.drop(call)
        else:
            # What ``drop`` does; calling it would slow down every call.
            self._inbox.bytes -= call.held
            call.payload, call.held = b"", 0

    def _control(self, envelope: Envelope) -> None:
        self._outbox.add_control(whole(envelope))

    # ----------------------------------------------------------------------------------------------- receiving

    def receive(self, frame: bytes | memoryview) -> list[Event]:
        """Returns the events of a frame.

        Raises:
            ProtocolError: The frame breaks the protocol; its earlier events are lost with the link.
        """
        try:
            if len(frame) > UNCOUNTED_BYTES:
                check_message(frame, LinkFrame, "a frame")
            envelopes = read_frame(frame) if len(frame) > LARGE_BYTES else LinkFrame.FromString(bytes(frame)).envelopes
        except (DecodeError, SerializationError, MessageTooLargeError) as error:
            raise ProtocolError(f"a frame of {len(frame):,} bytes cannot be read: {error}") from None
        events: list[Event] = []
        try:
            self._receive_all(envelopes, events)
        except ProtocolError:
            # These answers are dropped: their calls must fail with the link.
            self.calls.update((event.call.id, event.call) for event in events if isinstance(event, Replied | Ended))
            raise
        return events

    def _receive_all(self, envelopes: Iterable[AnyEnvelope], events: list[Event]) -> None:
        receivers = self._receivers
        for envelope in envelopes:
            kind = envelope.WhichOneof("kind")
            if kind not in receivers:
                raise ProtocolError(f"an envelope of the call {envelope.id} has nothing in it that is known here")
            if self.peer is None and kind != "hello":
                raise ProtocolError(f"the first envelope is {kind!r}; it must be the peer's hello")
            receivers[kind](envelope, events)
        if self._outbox.control_size > MAX_CONTROL_BYTES:
            raise ProtocolError("the peer keeps sending without reading the answers")

    def _receive_hello(self, envelope: Envelope, events: list[Event]) -> None:
        hello = envelope.hello
        if self.peer is not None:
            raise ProtocolError("a second hello came")
        if hello.protocol != PROTOCOL:
            raise ProtocolError(f"the peer speaks version {hello.protocol} of the link's protocol; this is {PROTOCOL}")
        self.peer = LinkHello()
        self.peer.CopyFrom(hello)
        self._peer_capacity = hello.capacity or sys.maxsize
        events.append(HelloReceived(self.peer))

    def _receive_call(self, envelope: AnyEnvelope, events: list[Event]) -> None:
        call_id, message, inbox = envelope.id, envelope.call, self._inbox
        payload = message.payload
        if inbox.cut and call_id in inbox.cut:
            del inbox.cut[call_id]
            return
        if inbox.assembling and call_id in inbox.assembling:
            payload = inbox.join(inbox.assembling.pop(call_id), payload)
        elif call_id == inbox.last_id + 2:
            # As ``check_new`` does; a call for each would take longer than the check.
            inbox.last_id = call_id
        else:
            inbox.check_new(call_id)
        metadata = dict(message.metadata) if message.metadata else _NO_METADATA
        call = IncomingCall(
            call_id,
            message.method[:MAX_METHOD_CHARS],
            payload,
            message.timeout_ms,
            metadata,
            message.initial_credit or INITIAL_CREDIT,
        )
        self.incoming[call_id] = call
        inbox.bytes += call.held
        if (
            metadata
            or call.held > SMALL_BYTES
            or inbox.full is not None
            or len(self.incoming) > inbox.capacity
            or inbox.bytes > inbox.max_bytes
        ):
            refusal = inbox.refusal(call)
            if refusal is not None:
                self.end(call, link_status_of(refusal))
                return
        events.append(_event(CallReceived, (call,)))

    def _receive_reply(self, envelope: AnyEnvelope, events: list[Event]) -> None:
        call = self.calls.pop(envelope.id, None)
        if call is None:
            raise self._unasked(envelope.id, "reply")
        self._open -= 1
        if call.streaming:
            self.calls[call.id] = call
            raise ProtocolError(f"the call {envelope.id} is a stream, but a reply came")
        if call.given_up:
            self._crossed.add(call.id)
            return
        payload = envelope.reply
        if call._parts is not None:
            payload = self._inbox.join(call._parts, payload)
            call._parts = None
        events.append(_event(Replied, (call, payload)))

    def _receive_chunk(self, envelope: AnyEnvelope, events: list[Event]) -> None:
        call = self.calls.get(envelope.id)
        if call is None:
            raise self._unasked(envelope.id, "chunk")
        if not call.streaming:
            raise ProtocolError(f"the call {envelope.id} is not a stream, but a chunk came")
        if call.given_up:
            return
        payload = envelope.chunk
        if call._parts is not None:
            # The credit was checked with the first piece.
            payload = self._inbox.join(call._parts, payload)
            call._parts = None
        else:
            call.check_credit()
        call._credit -= len(payload)
        events.append(MessageReceived(call, payload))

    def _receive_end(self, envelope: Envelope, events: list[Event]) -> None:
        call = self.calls.pop(envelope.id, None)
        if call is None:
            if envelope.id not in self._crossed:
                raise self._unasked(envelope.id, "end")
            del self._crossed[envelope.id]
            return
        self._close(call)
        if call._lane is not None:
            # The call may have been refused before all of it was sent.
            self._outbox.drop(call._lane)
        self._forget_parts(call)
        if call.given_up:
            return
        status = LinkStatus()
        status.CopyFrom(envelope.end)
        if status.code == Code.OK and not call.streaming:
            self.calls[call.id] = call
            raise ProtocolError(f"the call {envelope.id} ended successfully, but without its reply")
        events.append(Ended(call, status))

    def _receive_cancel(self, envelope: Envelope, events: list[Event]) -> None:
        call_id = envelope.id
        parts = self._inbox.assembling.pop(call_id, None)
        if parts is not None:
            self._inbox.forget(parts)
            self._end_cancelled(call_id)
            return
        call = self.incoming.get(call_id)
        if call is None:
            # It was answered already, or never made.
            self._inbox.check_old(call_id, "cancel")
            return
        if call.cancelled:
            return
        call.cancelled = True
        if call._lane is not None:
            self._drop_lane(call._lane)
        if call.answered:
            # Some of its answer was still waiting.
            self._over(call)
            self._end_cancelled(call_id)
            return
        events.append(Cancelled(call, envelope.cancel.reason))

    def _end_cancelled(self, call_id: int) -> None:
        self._control(Envelope(id=call_id, end=LinkStatus(code=Code.CANCELLED, message="the call was cancelled")))

    def _receive_credit(self, envelope: Envelope, _: list[Event]) -> None:
        call = self.incoming.get(envelope.id)
        if call is None:
            self._inbox.check_old(envelope.id, "credit")
            return
        lane = call._lane
        if lane is None:
            call._credit += envelope.credit
        elif lane.credit is not None:
            lane.credit += envelope.credit
            self._outbox.schedule(lane)

    def _receive_ping(self, envelope: Envelope, _: list[Event]) -> None:
        self._control(Envelope(pong=envelope.ping))

    def _receive_pong(self, envelope: Envelope, events: list[Event]) -> None:
        events.append(PongReceived(envelope.pong))

    def _receive_drain(self, envelope: Envelope, events: list[Event]) -> None:
        self.draining = True
        self._peer_capacity = 0
        events.append(Draining(envelope.drain.grace_ms))

    def _receive_part(self, envelope: AnyEnvelope, _: list[Event]) -> None:
        call_id, piece = envelope.id, envelope.part
        own = call_id % 2 == self._last_id % 2
        parts = self._parts_of_answer(call_id) if own else self._parts_of_call(call_id, len(piece))
        if parts is not None:
            self._inbox.add_piece(parts, piece)

    def _parts_of_answer(self, call_id: int) -> Parts | None:
        call = self.calls.get(call_id)
        if call is None:
            raise self._unasked(call_id, "part")
        if call.given_up:
            return None
        if call._parts is None:
            if call.streaming:
                call.check_credit()
            call._parts = Parts()
        parts: Parts = call._parts
        return parts

    def _parts_of_call(self, call_id: int, size: int) -> Parts | None:
        """Returns the pieces of a call that the peer makes; None if it is refused."""
        inbox = self._inbox
        if call_id in inbox.cut:
            return None
        parts = inbox.assembling.get(call_id)
        if parts is None:
            inbox.check_new(call_id)
            parts = inbox.assembling[call_id] = Parts()
        refusal = inbox.cut_off(call_id, size)
        if refusal is None:
            return parts
        self._control(Envelope(id=call_id, end=link_status_of(refusal)))
        self.settle()
        return None

    def _receive_event(self, envelope: Envelope, events: list[Event]) -> None:
        kind = envelope.event.WhichOneof("kind")
        call = self._inbox.asking_call(envelope.id) if kind == "answer" else self._told_call(envelope.id, kind)
        if call is not None:
            event = LinkEvent()
            event.CopyFrom(envelope.event)
            events.append(EventReceived(call, event))

    def _told_call(self, call_id: int, kind: str | None) -> OutgoingCall | None:
        """Returns the call of this end that an event belongs to; None if it was cancelled."""
        call: OutgoingCall | None = self.calls.get(call_id)
        if call is None:
            raise self._unasked(call_id, "event")
        if kind == "ask" and not (call.can_answer or self._answers):
            raise ProtocolError(f"a question came for the call {call_id}, whose caller cannot answer")
        return None if call.given_up else call

    def _forget_parts(self, call: OutgoingCall) -> None:
        self._inbox.forget(call._parts)
        call._parts = None

    def _unasked(self, call_id: int, what: str) -> ProtocolError:
        if not 0 < call_id <= self._last_id or call_id % 2 != self._last_id % 2:
            return ProtocolError(f"a {what} came for the call {call_id}, which was never made")
        return ProtocolError(f"a {what} came for the call {call_id}, which was answered before")

    def _drop_lane(self, lane: Lane) -> None:
        self._outbox.drop(lane)
        if lane.on_room is not None:
            lane.on_room()


_NO_METADATA: Mapping[str, str] = {}

# The constructor of a NamedTuple is written in Python, and takes three times as long.
_event: Callable[..., Any] = tuple.__new__
