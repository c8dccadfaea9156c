"""What waits to be sent over a link, and the order in which it goes out.

Control envelopes go first. Then come small payloads, in the order in which they were given. What is large or belongs to
a stream waits in a lane of its call; the lanes take turns of one fragment each, so that none holds up another for
longer than that.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError
from grpc_tool_bridge.link.envelopes import PART_TAG, call_header, payload_header

# A payload of a unary call up to this size goes out whole, in its turn among the others.
SMALL_BYTES = 16 * 1024
# A larger payload goes out in pieces of this size: a chunk of 64 KiB and what is wrapped around it in one.
FRAGMENT_BYTES = 128 * 1024
# A frame is closed once it has so much; the last turn may take it past that by two fragments.
FRAME_BYTES = 256 * 1024
# Of a stream, payloads beyond so many bytes that wait hold up whoever makes them.
LANE_BYTES = 256 * 1024
# Past so many bytes of streams whose readers stall, each stream has room for one message only.
STALLED_BYTES = 64 * 1024 * 1024
# What a caller takes of a stream before it grants more, where it says nothing else.
INITIAL_CREDIT = 1024 * 1024
# Of payloads of which the peer has some pieces, but not all.
REASSEMBLY_BYTES = 64 * 1024 * 1024


class Sending(Protocol):
    """What has a payload to send: a call that begins, or an answer."""

    def header(self, size: int) -> bytes:
        """Writes what stands before a payload, or before the last ``size`` bytes of one that went out in pieces."""

    def part_header(self, size: int) -> bytes:
        """Writes what stands before a piece that is not the last."""


class Lane:
    """Payloads of one call, in order.

    Args:
        credit: Bytes that the peer takes of a stream; None: of what is no stream it takes all.

    Attributes:
        size: Bytes that wait here.
    """

    __slots__ = ("_offset", "_queue", "begun", "credit", "dropped", "last", "listed", "on_empty", "on_room", "size")

    def __init__(self, credit: int | None = None) -> None:
        self.credit = credit
        self.size = 0
        # Whether the lane is among those that take turns.
        self.listed = False
        self.dropped = False
        # Bytes that the peer has to keep room for: the payload in front, where some of it was sent.
        self.begun = 0
        # Control that goes out once the lane is empty.
        self.last: bytes | None = None
        # Called when something was sent of what waits here.
        self.on_room: Callable[[], None] | None = None
        # Called when the lane has nothing more to send; set once nothing more will come.
        self.on_empty: Callable[[], None] | None = None
        self._queue: deque[tuple[Sending, bytes]] = deque()
        self._offset = 0

    def add(self, sending: Sending, payload: bytes) -> None:
        """Adds a payload."""
        self._queue.append((sending, payload))
        self.size += len(payload)

    def ready(self) -> bool:
        """Tells whether something may go out now."""
        if self._offset:
            return True
        if self._queue:
            return self.credit is None or self.credit > 0
        return self.last is not None

    def is_empty(self) -> bool:
        """Tells whether nothing waits here."""
        return not self._queue and self.last is None

    def unsent(self) -> Iterator[tuple[Sending, bytes]]:
        """Yields the payloads of which nothing was sent."""
        yield from itertools.islice(self._queue, bool(self._offset), None)

    def next_size(self) -> int:
        """Returns the size of the payload that goes next, if it needs pieces and none was sent; else 0."""
        if self._offset or not self._queue:
            return 0
        size = len(self._queue[0][1])
        return size if size > FRAGMENT_BYTES else 0

    def take_turn(self, pieces: list[bytes | memoryview]) -> int:
        """Moves about a fragment of what waits to ``pieces``; returns the bytes, with those of headers."""
        sent = 0
        while sent < FRAGMENT_BYTES and self.ready():
            if not self._queue:
                assert self.last is not None  # noqa: S101 - ready() said so
                pieces.append(self.last)
                self.last = None
                break
            sending, payload = self._queue[0]
            size = len(payload)
            left = size - self._offset
            if not self._offset:
                if sent and size > FRAGMENT_BYTES:
                    # Whether it may begin is asked before a turn.
                    break
                if self.credit is not None:
                    self.credit -= size
            if left > FRAGMENT_BYTES:
                pieces.append(sending.part_header(FRAGMENT_BYTES))
                pieces.append(memoryview(payload)[self._offset : self._offset + FRAGMENT_BYTES])
                self._offset += FRAGMENT_BYTES
                self.begun = size
                self.size -= FRAGMENT_BYTES
                return FRAGMENT_BYTES
            header = sending.header(left)
            pieces.append(header)
            pieces.append(memoryview(payload)[self._offset :] if self._offset else payload)
            self._queue.popleft()
            self._offset = self.begun = 0
            self.size -= left
            sent += left + len(header)
        return sent


class OutgoingCall:
    """A call that this end makes. Whoever waits for its answer derives from it.

    Args:
        prefix: What ``call_prefix`` made of its method.

    Attributes:
        id: On its link; 0 until it is sent.
        streaming: Whether the answer is a stream.
        window: Bytes of a stream that the peer may send ahead.
        given_up: Whether this end wants it no more.
        can_answer: Whether its tool may ask, where not every call of the link may be asked.
    """

    # A call that goes its usual way never sets most of these; as defaults they cost it nothing.
    id = 0
    streaming = False
    given_up = False
    can_answer = False
    window = INITIAL_CREDIT
    # The Link that it was given to, and the Parts of its answer that came.
    _link: Any = None
    _lane: Lane | None = None
    _parts: Any = None
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
        return call_header(self.prefix, self.id or self._assign_id(), size)

    def part_header(self, size: int) -> bytes:
        """As of ``Sending``."""
        return payload_header(PART_TAG, self.id or self._assign_id(), size)

    def check_credit(self) -> None:
        """Raises ProtocolError where the peer has sent all of a stream that it was granted."""
        if self._credit <= 0:
            raise ProtocolError(f"the peer sent more of the stream {self.id} than it was granted")

    def _assign_id(self) -> int:
        # Only now, so that ids rise in the order in which they are sent: a large call may be overtaken by a small one.
        number: int = self._link.issue(self)
        return number


def check_size(what: str, payload: bytes) -> None:
    """Raises MessageTooLargeError where a payload is over what a link carries."""
    if len(payload) > REASSEMBLY_BYTES:
        raise MessageTooLargeError.of(what, len(payload), REASSEMBLY_BYTES)


class Outbox:
    """Everything that waits for the next frames.

    Attributes:
        size: Bytes of payload that may go out.
        stalled: Bytes of streams that wait for credit.
        control_size: Bytes of control that wait.
    """

    def __init__(self) -> None:
        self.size = 0
        self.stalled = 0
        self.control_size = 0
        self._control: deque[bytes] = deque()
        self._small: deque[tuple[Sending, bytes]] = deque()
        self._lanes: deque[Lane] = deque()
        self._begun = 0
        # The lane whose payload the peer has no room for yet: none that is in pieces may begin before it.
        self._next: Lane | None = None

    def __bool__(self) -> bool:
        return bool(self._control or self._small or self._lanes)

    def add_control(self, envelope: bytes) -> None:
        """Adds an envelope that overtakes payloads."""
        self._control.append(envelope)
        self.control_size += len(envelope)

    def add_small(self, sending: Sending, payload: bytes) -> None:
        """Adds a payload that goes out whole."""
        self._small.append((sending, payload))
        self.size += len(payload)

    def remove_small(self, sending: Sending) -> bool:
        """Takes back what has not been sent; tells whether it was there."""
        for entry in self._small:
            if entry[0] is sending:
                self._small.remove(entry)
                self.size -= len(entry[1])
                return True
        return False

    def add(self, lane: Lane, sending: Sending, payload: bytes) -> None:
        """Adds a payload to a lane."""
        lane.add(sending, payload)
        if lane.listed:
            self.size += len(payload)
        else:
            self.stalled += len(payload)
            self.schedule(lane)

    def schedule(self, lane: Lane) -> None:
        """Gives a lane its turns, where it has something that may go out."""
        if not lane.listed and not lane.dropped and lane.ready():
            lane.listed = True
            self._lanes.append(lane)
            self.stalled -= lane.size
            self.size += lane.size

    def has_room(self, lane: Lane) -> bool:
        """Tells whether a stream may have another message."""
        if lane.dropped or not lane.size:
            return True
        return lane.size < LANE_BYTES and self.stalled < STALLED_BYTES

    def drop(self, lane: Lane) -> None:
        """Forgets what waits in a lane."""
        if lane.dropped:
            return
        lane.dropped = True
        self._begun -= lane.begun
        if lane is self._next:
            self._next = None
        if lane.listed:
            self._lanes.remove(lane)
            lane.listed = False
            self.size -= lane.size
        else:
            self.stalled -= lane.size

    def unsent(self) -> Iterator[tuple[Sending, bytes]]:
        """Yields what waits and of which nothing was sent."""
        yield from self._small
        for lane in self._lanes:
            yield from lane.unsent()

    def next_frame(self) -> bytes:
        """Takes the next frame; there is one where the outbox is true."""
        pieces: list[bytes | memoryview] = []
        size = 0
        control = self._control
        while control and size < FRAME_BYTES:
            envelope = control.popleft()
            pieces.append(envelope)
            size += len(envelope)
        self.control_size -= size
        if control:
            # What is told of a call comes before its answer, and a cancel before what takes the place of the call.
            return b"".join(pieces)
        small = self._small
        taken = 0
        while small and size + taken < FRAME_BYTES:
            sending, payload = small.popleft()
            header = sending.header(len(payload))
            pieces.append(header)
            pieces.append(payload)
            size += len(header)
            taken += len(payload)
        self.size -= taken
        size += taken
        # However many payloads are ahead of them, the lanes get a turn in each frame.
        for turn in range(len(self._lanes)):
            if turn and size >= FRAME_BYTES:
                break
            size += self._turn(pieces)
        # Streams fill what is left; a large payload of a unary call does not, since small calls wait for that.
        while size < FRAME_BYTES and self._lanes and self._lanes[0].credit is not None:
            sent = self._turn(pieces)
            if not sent:
                break
            size += sent
        return b"".join(pieces)

    def _turn(self, pieces: list[bytes | memoryview]) -> int:
        lane = self._lanes.popleft()
        begun, size = lane.begun, lane.size
        needed = lane.next_size()
        if needed:
            if self._next not in (None, lane) or self._begun + needed > REASSEMBLY_BYTES:
                self._next = self._next or lane
                self._lanes.append(lane)
                return 0
            self._next = None
        sent = lane.take_turn(pieces)
        self._begun += lane.begun - begun
        self.size -= size - lane.size
        if lane.ready():
            self._lanes.append(lane)
        else:
            lane.listed = False
            self.size -= lane.size
            self.stalled += lane.size
            if lane.on_empty is not None and lane.is_empty():
                lane.on_empty()
        if lane.on_room is not None:
            lane.on_room()
        return sent
