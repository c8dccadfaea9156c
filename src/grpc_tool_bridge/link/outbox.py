"""What waits to be sent over a link, and in which order it is sent.

Control envelopes go first, then small payloads in their order. Large payloads and those of streams wait in a lane of
their call; the lanes take turns of one fragment each, so that none delays another for longer than that.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError
from grpc_tool_bridge.link.envelopes import PART_TAG, call_header, payload_header
from grpc_tool_bridge.rpc.buffers import Payload, pieces_of

# A payload of a unary call up to this size is sent whole, in order.
SMALL_BYTES = 16 * 1024
# A larger payload is sent in pieces of this size, which fits a chunk of 64 KiB with its wrapping.
FRAGMENT_BYTES = 128 * 1024
# A frame is complete at this size; the last turn may exceed it by two fragments.
FRAME_BYTES = 256 * 1024
# If more bytes of a stream wait, its producer waits.
LANE_BYTES = 256 * 1024
# If more bytes wait for streams whose readers stall, each stream has room for one message only.
STALLED_BYTES = 64 * 1024 * 1024
# How much of a stream the peer may send before more is granted, by default.
INITIAL_CREDIT = 1024 * 1024
# Of incomplete payloads at the peer.
REASSEMBLY_BYTES = 64 * 1024 * 1024


class Sending(Protocol):
    """What has a payload to send: a call or an answer."""

    def header(self, size: int) -> bytes:
        """Returns the header of a payload, or of its last piece of ``size`` bytes."""

    def part_header(self, size: int) -> bytes:
        """Returns the header of a piece that is not the last."""


class Lane:
    """Payloads of one call, in order.

    Args:
        credit: Bytes of a stream that the peer has granted; None: not a stream, so no limit.

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
        # Size of the payload in front if some of it was sent: the peer has to keep room for it.
        self.begun = 0
        # Control that is sent once the lane is empty.
        self.last: bytes | None = None
        # Called when some of the lane was sent.
        self.on_room: Callable[[], None] | None = None
        # Called when the lane is empty; set once nothing more will be added.
        self.on_empty: Callable[[], None] | None = None
        self._queue: deque[tuple[Sending, Payload]] = deque()
        self._offset = 0

    def add(self, sending: Sending, payload: Payload) -> None:
        """Adds a payload."""
        self._queue.append((sending, payload))
        self.size += len(payload)

    def ready(self) -> bool:
        """Returns whether something may be sent now."""
        if self._offset:
            return True
        if self._queue:
            return self.credit is None or self.credit > 0
        return self.last is not None

    def is_empty(self) -> bool:
        """Returns whether nothing waits here."""
        return not self._queue and self.last is None

    def unsent(self) -> Iterator[tuple[Sending, Payload]]:
        """Yields the payloads of which nothing was sent."""
        yield from itertools.islice(self._queue, bool(self._offset), None)

    def next_size(self) -> int:
        """Returns the size of the next payload if it needs pieces and none was sent; else 0."""
        if self._offset or not self._queue:
            return 0
        size = len(self._queue[0][1])
        return size if size > FRAGMENT_BYTES else 0

    def take_turn(self, pieces: list[bytes | memoryview]) -> int:
        """Moves about one fragment to ``pieces``; returns its bytes, including headers."""
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
                    # Whether it may begin is checked before each turn.
                    break
                if self.credit is not None:
                    self.credit -= size
            if left > FRAGMENT_BYTES:
                pieces.append(sending.part_header(FRAGMENT_BYTES))
                pieces.extend(pieces_of(payload, self._offset, self._offset + FRAGMENT_BYTES))
                self._offset += FRAGMENT_BYTES
                self.begun = size
                self.size -= FRAGMENT_BYTES
                return FRAGMENT_BYTES
            header = sending.header(left)
            pieces.append(header)
            pieces.extend(pieces_of(payload, self._offset, size))
            self._queue.popleft()
            self._offset = self.begun = 0
            self.size -= left
            sent += left + len(header)
        return sent


class OutgoingCall:
    """A call that this end makes; base class of the calls that can be awaited.

    Args:
        prefix: Its method, written by ``call_prefix``.

    Attributes:
        id: On its link; 0 until it is sent.
        streaming: Whether the answer is a stream.
        window: Bytes of a stream that the peer may send ahead.
        given_up: Whether this end has cancelled it.
        can_answer: Whether its tool may ask, on a link that cannot answer for all its calls.
    """

    # Most calls never set most of these; class attributes cost them nothing.
    id = 0
    streaming = False
    given_up = False
    can_answer = False
    window = INITIAL_CREDIT
    # The Link that sends it, and the Parts of its incomplete answer.
    _link: Any = None
    _lane: Lane | None = None
    _parts: Any = None
    _credit = INITIAL_CREDIT
    _consumed = 0

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix

    def open_window(self, window: int) -> None:
        """Makes it a stream of which the peer may send ``window`` bytes ahead; 0: INITIAL_CREDIT."""
        self.streaming = True
        self.window = self._credit = window or INITIAL_CREDIT

    def header(self, size: int) -> bytes:
        """See ``Sending``."""
        return call_header(self.prefix, self.id or self._assign_id(), size)

    def part_header(self, size: int) -> bytes:
        """See ``Sending``."""
        return payload_header(PART_TAG, self.id or self._assign_id(), size)

    def check_credit(self) -> None:
        """Raises ProtocolError if the peer has used up the stream's credit."""
        if self._credit <= 0:
            raise ProtocolError(f"the peer sent more of the stream {self.id} than it was granted")

    def _assign_id(self) -> int:
        # Not earlier: ids rise in the order of sending, and a small call may overtake a large one.
        number: int = self._link.issue(self)
        return number


def check_size(what: str, payload: Payload) -> None:
    """Raises MessageTooLargeError if a payload is larger than a link can carry."""
    if len(payload) > REASSEMBLY_BYTES:
        raise MessageTooLargeError.of(what, len(payload), REASSEMBLY_BYTES)


class Outbox:
    """Everything that waits for the next frames.

    Attributes:
        size: Bytes of payload that may be sent.
        stalled: Bytes of streams that wait for credit.
        control_size: Bytes of control that wait.
    """

    def __init__(self) -> None:
        self.size = 0
        self.stalled = 0
        self.control_size = 0
        self._control: deque[bytes] = deque()
        # These payloads are bytes: only large ones are in several buffers.
        self._small: deque[tuple[Sending, Any]] = deque()
        self._lanes: deque[Lane] = deque()
        self._begun = 0
        # The lane whose payload the peer has no room for yet: no other payload in pieces may begin before it.
        self._next: Lane | None = None

    def __bool__(self) -> bool:
        return bool(self._control or self._small or self._lanes)

    def add_control(self, envelope: bytes) -> None:
        """Adds an envelope that overtakes payloads."""
        self._control.append(envelope)
        self.control_size += len(envelope)

    def add_small(self, sending: Sending, payload: Payload) -> None:
        """Adds a payload that is sent whole."""
        self._small.append((sending, payload))
        self.size += len(payload)

    def remove_small(self, sending: Sending) -> bool:
        """Removes an unsent payload; returns whether there was one."""
        for entry in self._small:
            if entry[0] is sending:
                self._small.remove(entry)
                self.size -= len(entry[1])
                return True
        return False

    def add(self, lane: Lane, sending: Sending, payload: Payload) -> None:
        """Adds a payload to a lane."""
        lane.add(sending, payload)
        if lane.listed:
            self.size += len(payload)
        else:
            self.stalled += len(payload)
            self.schedule(lane)

    def schedule(self, lane: Lane) -> None:
        """Lets a lane take turns if it has something that may be sent."""
        if not lane.listed and not lane.dropped and lane.ready():
            lane.listed = True
            self._lanes.append(lane)
            self.stalled -= lane.size
            self.size += lane.size

    def has_room(self, lane: Lane) -> bool:
        """Returns whether a stream may have another message."""
        if lane.dropped or not lane.size:
            return True
        return lane.size < LANE_BYTES and self.stalled < STALLED_BYTES

    def drop(self, lane: Lane) -> None:
        """Drops what waits in a lane."""
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

    def unsent(self) -> Iterator[tuple[Sending, Payload]]:
        """Yields the payloads of which nothing was sent."""
        yield from self._small
        for lane in self._lanes:
            yield from lane.unsent()

    def next_frame(self, head: Callable[[int], bytes] | None = None) -> bytes:
        """Removes and returns the next frame; the outbox must not be empty.

        Args:
            head: Returns what comes before a frame of so many bytes: joined with the frame, it costs no copy of it.
        """
        pieces: list[bytes | memoryview] = []
        self._take(pieces)
        if head is not None:
            pieces.insert(0, head(sum(map(len, pieces))))
        return b"".join(pieces)

    def _take(self, pieces: list[bytes | memoryview]) -> None:
        """Moves what the next frame consists of to ``pieces``."""
        size = 0
        control = self._control
        while control and size < FRAME_BYTES:
            envelope = control.popleft()
            pieces.append(envelope)
            size += len(envelope)
        self.control_size -= size
        if control:
            # A call's events come before its answer, and a cancel before the call that takes its place.
            return
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
        # The lanes get a turn in each frame, however many payloads are ahead of them.
        for turn in range(len(self._lanes)):
            if turn and size >= FRAME_BYTES:
                break
            size += self._turn(pieces)
        # Streams fill the rest; a large payload of a unary call does not, since it would delay small calls.
        while size < FRAME_BYTES and self._lanes and self._lanes[0].credit is not None:
            sent = self._turn(pieces)
            if not sent:
                break
            size += sent

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
