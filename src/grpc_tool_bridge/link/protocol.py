"""The protocol of a link, without any I/O.

A link carries calls in both directions over one stream of frames. This is one end of it: fed the frames that came, it
gives back what happened, and whenever there is something to send, the next frame. The same code is at both ends; only
the numbers that calls get differ. Who moves the frames, runs the calls and waits for answers is not its concern.

The rules are those of the messages ``LinkFrame`` and ``Envelope`` in ``proto/dspex_bridge.proto``.
"""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from grpc_tool_bridge.errors import (
    MessageTooLargeError,
    ProtocolError,
    ResourceExhaustedError,
    SerializationError,
    ValidationError,
    error_info,
)
from grpc_tool_bridge.link.envelopes import CHUNK_TAG, PART_TAG, REPLY_TAG, call_header, payload_header, whole
from grpc_tool_bridge.link.outbox import REASSEMBLY_BYTES, SMALL_BYTES, Lane, Outbox
from grpc_tool_bridge.proto.dspex_bridge_pb2 import (
    Envelope,
    LinkCancel,
    LinkDrain,
    LinkEvent,
    LinkFrame,
    LinkHello,
    LinkStatus,
)
from grpc_tool_bridge.rpc.budgets import Budget, Lease
from grpc_tool_bridge.rpc.context import RequestContext
from grpc_tool_bridge.rpc.nodes import read_message

PROTOCOL = 1

# What a caller takes of a stream before it grants more, where it says nothing else.
INITIAL_CREDIT = 1024 * 1024

# Past so many bytes that wait, callers are held back; below half of it they may go on.
HIGH_WATER_BYTES = 1024 * 1024

# Of a stream, payloads beyond so many bytes that wait hold up whoever makes them.
LANE_BYTES = 256 * 1024

# Past so many bytes of streams whose readers stall, each stream has room for one message only.
STALLED_BYTES = 64 * 1024 * 1024

# Requests that wait for their answers; a peer that sends more is told to wait.
MAX_INCOMING_BYTES = 256 * 1024 * 1024

# Answers that wait to be sent, small ones aside; a peer that reads slower than it asks gets an error for the next.
MAX_ANSWER_BYTES = 256 * 1024 * 1024

# A peer that lets so much control pile up does not read what it asks for.
MAX_CONTROL_BYTES = 16 * 1024 * 1024

# Pieces of what is not whole yet, however small they are; each takes room of its own.
MAX_PIECES = 64 * 1024

# More than the name of any method; one that is cut is nobody's.
MAX_METHOD_CHARS = 128

# Entries and characters of the metadata of one call.
MAX_CALL_METADATA = 64
MAX_CALL_METADATA_CHARS = 8_192

# Cancelled calls that were answered nevertheless, of which a belated ``end`` may still come.
MAX_CROSSED = 1_000

# What a link and each call of its peer take by themselves: tasks, their stacks, what is known of them.
LINK_BYTES = 64 * 1024
CALL_BYTES = 4 * 1024
# What a piece takes besides its bytes.
PIECE_BYTES = 64

# Numbers of gRPC's statuses.
OK = 0
CANCELLED = 1
INVALID_ARGUMENT = 3
RESOURCE_EXHAUSTED = 8


class OutgoingCall:
    """A call that this end makes. Whoever waits for its answer derives from it.

    Args:
        prefix: What ``call_prefix`` made of its method.

    Attributes:
        id: On its link; 0 until it is sent.
        streaming: Whether the answer is a stream.
        window: Bytes of a stream that the peer may send ahead.
        given_up: Whether this end wants it no more.
    """

    # A call that goes its usual way never sets most of these; as defaults they cost it nothing.
    id = 0
    streaming = False
    given_up = False
    window = INITIAL_CREDIT
    _link: "Link | None" = None
    _lane: Lane | None = None
    _parts: "_Parts | None" = None
    _credit = INITIAL_CREDIT
    _consumed = 0

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix

    def open_window(self, window: int) -> None:
        """Makes it a stream of which the peer may send so many bytes ahead; as ``initial_credit`` says."""
        self.streaming = True
        self.window = self._credit = window or INITIAL_CREDIT

    def header(self, size: int) -> bytes:
        """As of ``Sending``."""
        return call_header(self.prefix, self.id or self._begin(), size)

    def part_header(self, size: int) -> bytes:
        """As of ``Sending``."""
        return payload_header(PART_TAG, self.id or self._begin(), size)

    def _begin(self) -> int:
        # Only now, so that ids rise in the order in which they are sent: a large call may be overtaken by a small one.
        assert self._link is not None  # noqa: S101 - it waits in the outbox of its link
        return self._link._issue(self)


class IncomingCall(RequestContext):
    """A call that the peer makes: the context of its request.

    Attributes:
        id: On its link.
        method: As in the service, such as "ExecuteTool".
        payload: The serialized request.
        timeout_ms: What is left of its time; 0: as the request says.
        metadata: By name.
        cancelled: Whether the peer wants it no more.
        answered: Whether its reply or its end was given.
        begun: Whether it is large and worked on.
        task: For whoever runs it.
    """

    cancelled = False
    answered = False
    task: Any = None
    begun = False
    _tag = REPLY_TAG
    _lane: Lane | None = None

    def __init__(
        self, call_id: int, method: str, payload: bytes, timeout_ms: int, metadata: Mapping[str, str], credit: int
    ) -> None:
        self.id = call_id
        self.method = method
        self.payload = payload
        self.size = self._held = len(payload)
        self.timeout_ms = timeout_ms
        self.metadata = metadata
        self._credit = credit

    def header(self, size: int) -> bytes:
        """As of ``Sending``."""
        return payload_header(self._tag, self.id, size)

    def part_header(self, size: int) -> bytes:
        """As of ``Sending``."""
        return payload_header(PART_TAG, self.id, size)


class Greeted(NamedTuple):
    """The peer said who it is; the first event of a link."""

    hello: LinkHello


class Called(NamedTuple):
    """The peer calls."""

    call: IncomingCall


class Cancelled(NamedTuple):
    """The peer wants one of its calls no more; it waits for the call's end."""

    call: IncomingCall
    reason: str


# Of the answers, ``call`` is the OutgoingCall that was given.


class Replied(NamedTuple):
    """A unary call was answered."""

    call: Any
    payload: bytes


class Arrived(NamedTuple):
    """A message of a stream came; ``Link.grant`` takes its size once it was used."""

    call: Any
    payload: bytes


class Ended(NamedTuple):
    """A call ended: a stream as its status says, a unary call with an error."""

    call: Any
    status: LinkStatus


class Told(NamedTuple):
    """The peer told something of a call on its way."""

    call: Any
    event: LinkEvent


class Ponged(NamedTuple):
    """A ping was answered."""

    number: int


class Draining(NamedTuple):
    """The peer takes no new calls and will end the link."""

    grace_ms: int


Event = Greeted | Called | Cancelled | Replied | Arrived | Ended | Told | Ponged | Draining


class _Parts:
    """The pieces of a payload that came so far."""

    __slots__ = ("pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0


class Link:
    """One end of a link.

    Args:
        dialler: Whether this end dialled: its calls get odd numbers, those of the hub even ones.
        hello: What the peer is told first; ``protocol`` is filled in. Calls past its ``capacity`` are refused.
        max_incoming_bytes: Of requests that wait for their answers, all together; a call past it is refused.
        max_answer_bytes: Of answers that wait to be sent; one past it that is not small is refused.
        budget: Charged with what the link holds; None: it is not counted.

    Attributes:
        peer: What the peer said of itself; None before it did.
        draining: Whether the peer takes no new calls.
        calls: Calls of this end that were sent and not answered, by id; those that were cancelled are among them until
            their end comes.
        incoming: Calls of the peer whose answers were not sent, by id.
    """

    def __init__(
        self,
        *,
        dialler: bool,
        hello: LinkHello,
        max_incoming_bytes: int = MAX_INCOMING_BYTES,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        budget: Budget | None = None,
    ) -> None:
        self.peer: LinkHello | None = None
        self.draining = False
        self.calls: dict[int, Any] = {}
        self.incoming: dict[int, IncomingCall] = {}
        self._outbox = Outbox()
        self._last_id = -1 if dialler else 0
        self._last_peer_id = 0 if dialler else -1
        self._capacity = hello.capacity
        self._max_incoming_bytes = max_incoming_bytes
        self._max_answer_bytes = max_answer_bytes
        self._incoming_bytes = 0
        self._budget = budget
        self._lease = Lease(budget, "a link") if budget is not None else None
        # Large requests that are worked on.
        self._begun = 0
        # The budget that had no room for more, when it was looked at last.
        self._full: Budget | None = None
        # Calls that were refused while they came in pieces, and whose other pieces may still come.
        self._cut: OrderedDict[int, None] = OrderedDict()
        # Calls of this end that were given and have not come to their end.
        self._open = 0
        self._open_streams = 0
        self._crossed: OrderedDict[int, None] = OrderedDict()
        # Payloads of calls that are coming in pieces.
        self._assembling: dict[int, _Parts] = {}
        self._assembled = 0
        self._pieces = 0
        self._pings = 0
        self._receivers: dict[str | None, Callable[[Envelope, list[Event]], None]] = {
            "hello": self._receive_hello,
            "call": self._receive_call,
            "reply": self._receive_reply,
            "chunk": self._receive_chunk,
            "end": self._receive_end,
            "cancel": self._receive_cancel,
            "credit": self._receive_credit,
            "ping": self._receive_ping,
            "pong": self._receive_pong,
            "drain": self._receive_drain,
            "part": self._receive_part,
            "event": self._receive_event,
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
        """Payload that may be sent; that of a stream which waits for credit is not among it."""
        return self._outbox.size

    @property
    def writable(self) -> bool:
        """Whether new answers may be given; they are taken anyway, but then they pile up."""
        return self._outbox.size + self._outbox.control_size < HIGH_WATER_BYTES

    @property
    def room(self) -> int:
        """How many more calls may be made now: what the peer takes at once, less those it has."""
        if self.peer is None or self.draining:
            return 0
        return self.peer.capacity - self._open if self.peer.capacity else sys.maxsize

    @property
    def open_calls(self) -> int:
        """Calls of this end that were given and have not come to their end, those that were cancelled included."""
        return self._open

    @property
    def awaits_answers(self) -> bool:
        """Whether a unary call of this end is open, whose answer may bring others to be made."""
        return self._open > self._open_streams

    @property
    def takes_calls(self) -> bool:
        """Whether a call may be made now, with all that bounds them."""
        return self._outbox.size < HIGH_WATER_BYTES and self.room > 0

    @property
    def held_bytes(self) -> int:
        """What the link holds: requests, answers, pieces of both, and what they take by themselves."""
        outbox = self._outbox
        waiting = outbox.size + outbox.stalled + outbox.control_size
        own = LINK_BYTES + CALL_BYTES * len(self.incoming) + PIECE_BYTES * self._pieces
        return self._incoming_bytes + self._assembled + waiting + own

    @property
    def is_budgeted(self) -> bool:
        """Whether a budget is charged with what the link holds."""
        return self._budget is not None

    def settle(self) -> None:
        """Charges the budget with what the link holds now; whoever moves frames does so after each."""
        if self._lease is not None and self._budget is not None:
            self._lease.set(self.held_bytes)
            self._full = self._budget.is_over()

    def release(self) -> None:
        """Gives back what was charged: the link is over."""
        if self._lease is not None:
            self._lease.release()
            self._lease = self._budget = None

    def begin(self, call: IncomingCall) -> bool:
        """Counts a large request as worked on, which takes its size once more; false where it has to wait for room."""
        budget = self._budget
        if budget is None or call.begun:
            return True
        self.settle()
        full = budget.is_full_for(call._held)
        if full is not None and (full is not budget or self._begun):
            return False
        self.begin_anyway(call)
        return True

    def begin_anyway(self, call: IncomingCall) -> None:
        """Counts it so where it may not wait: others would wait for it."""
        call.begun = True
        self._begun += 1
        self._incoming_bytes += call._held
        call._held *= 2
        self.settle()

    def refuse_for_room(self, call: IncomingCall) -> None:
        """Ends a call for which there was no room."""
        if self._budget is not None and not call.answered:
            full = self._budget.is_full_for(call._held) or self._budget
            self._refuse_with(call, self._budget.refusal(full, call._held, f"the request of {call.method[:100]}"))

    def unsent(self) -> list[tuple[Any, bytes]]:
        """Returns the calls that were given and not sent, with their payloads: what a lost link did not lose."""
        return [entry for entry in self._outbox.unsent() if isinstance(entry[0], OutgoingCall) and not entry[0].id]

    def has_sent(self, call: OutgoingCall) -> bool:
        """Tells whether all of a call was put into frames."""
        return bool(call.id) and (call._lane is None or call._lane.is_empty())

    def next_frame(self) -> bytes:
        """Takes the next frame to send; there is one where ``has_output`` says so."""
        return self._outbox.next_frame()

    def call(self, call: OutgoingCall, payload: bytes) -> None:
        """Makes a call.

        Raises:
            MessageTooLargeError: The payload is over what a link carries.
        """
        self._check_size("the request", payload)
        call._link = self
        self._open += 1
        if call.streaming:
            self._open_streams += 1
        if len(payload) <= SMALL_BYTES:
            self._outbox.add_small(call, payload)
            return
        lane = call._lane = Lane()
        self._outbox.add(lane, call, payload)

    def cancel(self, call: OutgoingCall, reason: str = "") -> None:
        """Gives up a call; one that was sent counts as active until its end comes."""
        if call.given_up or call._link is None:
            # Or it was too large to be given.
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
        """Tells that ``size`` bytes of a stream were used; the peer hears of it once it is half a window."""
        call._consumed += size
        if call._consumed * 2 >= call.window and not call.given_up and call.id in self.calls:
            call._credit += call._consumed
            self._control(Envelope(id=call.id, credit=call._consumed))
            call._consumed = 0

    def reply(self, call: IncomingCall, payload: bytes) -> None:
        """Answers a unary call.

        Raises:
            MessageTooLargeError: The payload is over what a link carries; the call still waits for its answer.
            ResourceExhaustedError: The peer reads too slowly; likewise.
        """
        if call.answered:
            return
        self._check_size("the answer", payload)
        self._drop_request(call)
        if len(payload) <= SMALL_BYTES:
            call.answered = True
            self._over(call)
            self._outbox.add_small(call, payload)
            return
        if self._outbox.size + len(payload) > self._max_answer_bytes and self._outbox.size:
            raise ResourceExhaustedError(
                f"the answers that wait for their reader would take {self._outbox.size + len(payload):,} bytes, the "
                f"link's limit is {self._max_answer_bytes:,}; read them, and make fewer calls at once"
            )
        self._check_room(payload, "the answer")
        call.answered = True
        call._lane = Lane()
        call._lane.on_empty = partial(self._over, call)
        self._outbox.add(call._lane, call, payload)
        self.settle()

    def chunk(self, call: IncomingCall, payload: bytes) -> None:
        """Sends a message of a stream, as soon as the peer's credit allows.

        Raises:
            MessageTooLargeError: The payload is over what a link carries.
        """
        if call.answered or call.cancelled:
            return
        self._check_size("a message of the stream", payload)
        if len(payload) > SMALL_BYTES:
            self._check_room(payload, "a message of the stream")
        call._tag = CHUNK_TAG
        if call._lane is None:
            call._lane = Lane(call._credit)
        self._outbox.add(call._lane, call, payload)

    def has_room(self, call: IncomingCall, on_room: Callable[[], None] | None = None) -> bool:
        """Tells whether a stream may have another message; where not, ``on_room`` is called once some was sent."""
        lane = call._lane
        if lane is None or lane.dropped or not lane.size:
            return True
        if lane.size < LANE_BYTES and self._outbox.stalled < STALLED_BYTES:
            return True
        lane.on_room = on_room
        return False

    def end(self, call: IncomingCall, status: LinkStatus) -> None:
        """Ends a call: a stream after its last message, a unary one with an error."""
        if call.answered:
            return
        call.answered = True
        self._drop_request(call)
        envelope = whole(Envelope(id=call.id, end=status))
        lane = call._lane
        if lane is None or lane.dropped or lane.is_empty():
            self._over(call)
            self._outbox.add_control(envelope)
            return
        lane.last = envelope
        lane.on_empty = partial(self._over, call)

    def tell(self, call: IncomingCall, event: LinkEvent) -> None:
        """Tells the caller something on the way; it comes before the answer."""
        if not call.answered and not call.cancelled:
            self._control(Envelope(id=call.id, event=event))

    def ping(self) -> int:
        """Asks for a sign of life; ``Ponged`` brings back the number."""
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

    def _issue(self, call: OutgoingCall) -> int:
        self._last_id += 2
        call.id = self._last_id
        self.calls[call.id] = call
        return call.id

    def _over(self, call: IncomingCall) -> None:
        if self.incoming.pop(call.id, None) is not None:
            self._drop_request(call)

    def _drop_request(self, call: IncomingCall) -> None:
        """Counts the request of a call no more: its answer is there."""
        call.payload = b""
        self._incoming_bytes -= call._held
        call._held = 0
        if call.begun:
            call.begun = False
            self._begun -= 1

    def _check_room(self, payload: bytes, what: str) -> None:
        """Raises ResourceExhaustedError where the budget has no room for what is to be sent."""
        budget = self._budget
        if budget is None:
            return
        self.settle()
        full = budget.is_full_for(len(payload))
        if full is not None and (full is not budget or self._outbox.size + self._outbox.stalled):
            raise budget.refusal(full, len(payload), what)

    def _control(self, envelope: Envelope) -> None:
        self._outbox.add_control(whole(envelope))

    @staticmethod
    def _check_size(what: str, payload: bytes) -> None:
        if len(payload) > REASSEMBLY_BYTES:
            raise MessageTooLargeError.of(what, len(payload), REASSEMBLY_BYTES)

    # ----------------------------------------------------------------------------------------------- receiving

    def receive(self, frame: bytes) -> list[Event]:
        """Takes a frame and returns what it says.

        Raises:
            ProtocolError: It breaks the protocol; the link is over. What stood before that is lost with it.
        """
        try:
            envelopes = read_message(LinkFrame, frame, "a frame").envelopes
        except (DecodeError, SerializationError, MessageTooLargeError) as error:
            raise ProtocolError(f"a frame of {len(frame):,} bytes cannot be read: {error}") from None
        events: list[Event] = []
        try:
            self._receive_all(envelopes, events)
        except ProtocolError:
            # Nobody hears of these answers: to whoever waits for them, the calls were lost with the link.
            self.calls.update((event.call.id, event.call) for event in events if isinstance(event, Replied | Ended))
            raise
        return events

    def _receive_all(self, envelopes: Iterable[Envelope], events: list[Event]) -> None:
        receivers = self._receivers
        for envelope in envelopes:
            kind = envelope.WhichOneof("kind")
            receiver = receivers.get(kind)
            if receiver is None:
                raise ProtocolError(f"an envelope of the call {envelope.id} has nothing in it that is known here")
            if self.peer is None and kind != "hello":
                raise ProtocolError(f"the first envelope is {kind!r}; it must be the peer's hello")
            receiver(envelope, events)
        if self._outbox.control_size > MAX_CONTROL_BYTES:
            raise ProtocolError("the peer sends on, but does not read what it is answered")

    def _receive_hello(self, envelope: Envelope, events: list[Event]) -> None:
        hello = envelope.hello
        if self.peer is not None:
            raise ProtocolError("a second hello came")
        if hello.protocol != PROTOCOL:
            raise ProtocolError(f"the peer speaks version {hello.protocol} of the link's protocol; this is {PROTOCOL}")
        self.peer = LinkHello()
        self.peer.CopyFrom(hello)
        events.append(Greeted(self.peer))

    def _receive_call(self, envelope: Envelope, events: list[Event]) -> None:
        call_id, message = envelope.id, envelope.call
        payload = message.payload
        if call_id in self._cut:
            del self._cut[call_id]
            return
        if call_id in self._assembling:
            payload = self._join(self._assembling.pop(call_id), payload)
        else:
            self._check_new(call_id)
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
        self._incoming_bytes += len(payload)
        if self._capacity and len(self.incoming) > self._capacity:
            self._refuse(call, f"{self._capacity:,} calls at once")
        elif self._incoming_bytes > self._max_incoming_bytes:
            self._refuse(call, f"{self._max_incoming_bytes:,} bytes of requests at once")
        elif metadata and not _is_short(metadata):
            call.metadata = _NO_METADATA
            error = ValidationError(
                f"the metadata of a call on a link has at most {MAX_CALL_METADATA} entries and "
                f"{MAX_CALL_METADATA_CHARS:,} characters; put what is larger into the context of the request"
            )
            self.end(call, LinkStatus(code=INVALID_ARGUMENT, message=error.message, error=error_info(error)))
        elif self._budget is not None and self._has_no_room_for(call):
            self.refuse_for_room(call)
        else:
            events.append(Called(call))

    def _has_no_room_for(self, call: IncomingCall) -> bool:
        # What is small is looked at with its frame, and what is large by itself.
        if call._held > SMALL_BYTES:
            self.settle()
            return self._full is not None
        return self._full is not None and self._full.is_full_for(0) is not None

    def _refuse(self, call: IncomingCall, limit: str) -> None:
        self._refuse_with(
            call,
            ResourceExhaustedError(
                f"the link takes {limit}; call again when some were answered", details={"retry_after": "0.1"}
            ),
        )

    def _refuse_with(self, call: IncomingCall, error: ResourceExhaustedError) -> None:
        self.end(call, LinkStatus(code=RESOURCE_EXHAUSTED, message=error.message, error=error_info(error)))

    def _receive_reply(self, envelope: Envelope, events: list[Event]) -> None:
        call = self.calls.pop(envelope.id, None)
        if call is None:
            raise self._unasked(envelope.id, "reply")
        self._open -= 1
        if call.streaming:
            self.calls[call.id] = call
            raise ProtocolError(f"the call {envelope.id} is a stream, but a reply came")
        if call.given_up:
            self._remember_crossed(call)
            return
        payload = envelope.reply
        if call._parts is not None:
            payload = self._join(call._parts, payload)
            call._parts = None
        events.append(Replied(call, payload))

    def _receive_chunk(self, envelope: Envelope, events: list[Event]) -> None:
        call = self.calls.get(envelope.id)
        if call is None:
            raise self._unasked(envelope.id, "chunk")
        if not call.streaming:
            raise ProtocolError(f"the call {envelope.id} is no stream, but a chunk came")
        if call.given_up:
            return
        payload = envelope.chunk
        if call._parts is not None:
            # Its first piece was within the credit.
            payload = self._join(call._parts, payload)
            call._parts = None
        else:
            self._check_credit(call)
        call._credit -= len(payload)
        events.append(Arrived(call, payload))

    def _receive_end(self, envelope: Envelope, events: list[Event]) -> None:
        call = self.calls.pop(envelope.id, None)
        if call is None:
            if envelope.id not in self._crossed:
                raise self._unasked(envelope.id, "end")
            del self._crossed[envelope.id]
            return
        self._close(call)
        if call._lane is not None:
            # It may have been refused before all of it was sent.
            self._outbox.drop(call._lane)
        self._forget_parts(call)
        if call.given_up:
            return
        status = LinkStatus()
        status.CopyFrom(envelope.end)
        if status.code == OK and not call.streaming:
            self.calls[call.id] = call
            raise ProtocolError(f"the call {envelope.id} ended well, but without its reply")
        events.append(Ended(call, status))

    def _receive_cancel(self, envelope: Envelope, events: list[Event]) -> None:
        call_id = envelope.id
        parts = self._assembling.pop(call_id, None)
        if parts is not None:
            self._forget(parts)
            self._control(Envelope(id=call_id, end=LinkStatus(code=CANCELLED, message="the call was cancelled")))
            return
        call = self.incoming.get(call_id)
        if call is None:
            # It was answered already, unless it never was.
            self._check_old(call_id, "cancel")
            return
        if call.cancelled:
            return
        call.cancelled = True
        if call._lane is not None:
            self._drop_lane(call._lane)
        if call.answered:
            # Some of its answer was still waiting.
            self._over(call)
            self._control(Envelope(id=call_id, end=LinkStatus(code=CANCELLED, message="the call was cancelled")))
            return
        events.append(Cancelled(call, envelope.cancel.reason))

    def _receive_credit(self, envelope: Envelope, _: list[Event]) -> None:
        call = self.incoming.get(envelope.id)
        if call is None:
            self._check_old(envelope.id, "credit")
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
        events.append(Ponged(envelope.pong))

    def _receive_drain(self, envelope: Envelope, events: list[Event]) -> None:
        self.draining = True
        events.append(Draining(envelope.drain.grace_ms))

    def _receive_part(self, envelope: Envelope, _: list[Event]) -> None:
        call_id, piece = envelope.id, envelope.part
        own = call_id % 2 == self._last_id % 2
        parts = self._parts_of_answer(call_id) if own else self._parts_of_call(call_id, len(piece))
        if parts is None:
            return
        parts.pieces.append(piece)
        parts.size += len(piece)
        self._assembled += len(piece)
        self._pieces += 1
        if self._assembled > REASSEMBLY_BYTES:
            raise ProtocolError(f"pieces of more than {REASSEMBLY_BYTES:,} bytes came before they made a whole")
        if self._pieces > MAX_PIECES:
            raise ProtocolError(f"more than {MAX_PIECES:,} pieces came before they made a whole; send larger ones")

    def _parts_of_answer(self, call_id: int) -> _Parts | None:
        call = self.calls.get(call_id)
        if call is None:
            raise self._unasked(call_id, "part")
        if call.given_up:
            return None
        if call._parts is None:
            if call.streaming:
                self._check_credit(call)
            call._parts = _Parts()
        parts: _Parts = call._parts
        return parts

    def _parts_of_call(self, call_id: int, size: int) -> _Parts | None:
        """Returns the pieces of a call that the peer makes; None where it is refused."""
        if call_id in self._cut:
            return None
        parts = self._assembling.get(call_id)
        if parts is None:
            self._check_new(call_id)
            parts = self._assembling[call_id] = _Parts()
        if self._full is not None:
            self._cut_off(call_id, size)
            return None
        return parts

    def _cut_off(self, call_id: int, size: int) -> None:
        """Refuses a call of which only pieces have come; its other pieces are dropped as they come."""
        assert self._budget is not None  # noqa: S101 - it is what has no room
        parts = self._assembling.pop(call_id)
        self._forget(parts)
        error = self._budget.refusal(self._full or self._budget, parts.size + size, "a request that came in pieces")
        status = LinkStatus(code=RESOURCE_EXHAUSTED, message=error.message, error=error_info(error))
        self._control(Envelope(id=call_id, end=status))
        self._cut[call_id] = None
        if len(self._cut) > MAX_CROSSED:
            self._cut.popitem(last=False)
        self.settle()

    def _receive_event(self, envelope: Envelope, events: list[Event]) -> None:
        call = self.calls.get(envelope.id)
        if call is None:
            raise self._unasked(envelope.id, "event")
        if not call.given_up:
            event = LinkEvent()
            event.CopyFrom(envelope.event)
            events.append(Told(call, event))

    def _join(self, parts: _Parts, last: bytes) -> bytes:
        self._forget(parts)
        return b"".join((*parts.pieces, last))

    def _forget(self, parts: _Parts) -> None:
        self._assembled -= parts.size
        self._pieces -= len(parts.pieces)

    def _forget_parts(self, call: OutgoingCall) -> None:
        if call._parts is not None:
            self._forget(call._parts)
            call._parts = None

    def _check_new(self, call_id: int) -> None:
        if call_id <= self._last_peer_id or call_id % 2 != self._last_peer_id % 2:
            raise ProtocolError(
                f"a call came with the number {call_id}; its side's last one was {max(self._last_peer_id, 0)}, "
                "and numbers rise by two"
            )
        self._last_peer_id = call_id

    def _check_old(self, call_id: int, what: str) -> None:
        if not 0 < call_id <= self._last_peer_id or call_id % 2 != self._last_peer_id % 2:
            raise ProtocolError(f"a {what} came for the call {call_id}, which the peer never made")

    def _check_credit(self, call: OutgoingCall) -> None:
        if call._credit <= 0:
            raise ProtocolError(f"the peer sent more of the stream {call.id} than it was granted")

    def _unasked(self, call_id: int, what: str) -> ProtocolError:
        if not 0 < call_id <= self._last_id or call_id % 2 != self._last_id % 2:
            return ProtocolError(f"a {what} came for the call {call_id}, which was never made")
        return ProtocolError(f"a {what} came for the call {call_id}, which was answered before")

    def _remember_crossed(self, call: OutgoingCall) -> None:
        self._crossed[call.id] = None
        if len(self._crossed) > MAX_CROSSED:
            self._crossed.popitem(last=False)

    def _drop_lane(self, lane: Lane) -> None:
        self._outbox.drop(lane)
        if lane.on_room is not None:
            lane.on_room()


def _is_short(metadata: Mapping[str, str]) -> bool:
    """Tells whether the metadata of a call may be kept for as long as the call takes."""
    if len(metadata) > MAX_CALL_METADATA:
        return False
    return sum(len(key) + len(text) for key, text in metadata.items()) <= MAX_CALL_METADATA_CHARS


_NO_METADATA: Mapping[str, str] = {}
