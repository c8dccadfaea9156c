"""A link whose frames are NATS messages.

A message is a head (its kind, its number, and the number up to which the peer's messages were taken), a seal over both
of them and the payload, and the payload. NATS may lose messages without a word, whenever a connection breaks or a
reader is slow. So each has a number, and a number that is missing ends the link: what depends on it is not known.

A sender has at most a window of frames that the peer has not taken. They are acknowledged in the head of whatever is
sent; a message of its own says so only after a quarter of the window, or with the next beat. While something is not
acknowledged, or nobody has said anything for long, the peer must be heard within some beats, or the link ends.
"""

import struct
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from google.protobuf.message import DecodeError

from grpc_tool_bridge.cluster.links.sealing import SEAL_BYTES, LinkSeals
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ToolBridgeError, error_from_info
from grpc_tool_bridge.link.envelopes import split_frame
from grpc_tool_bridge.link.socket import MAX_FRAME_BYTES
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.link.streams import PushStream, Receiver
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LinkStatus

HEAD = struct.Struct("<BQQ")
OVERHEAD_BYTES = HEAD.size + SEAL_BYTES

# Kinds of messages.
FRAME, PART, ACK, END = 1, 2, 3, 4

# Bytes and messages that the peer may have to take; a frame may exceed it.
WINDOW_BYTES = 2 * 1024 * 1024
WINDOW_MESSAGES = 1024

BEAT_SECONDS = 1.0
# Beats that a peer may be silent while it has something to acknowledge, and otherwise.
WAITING_BEATS = 5
SILENT_BEATS = 30
# Whoever has sent nothing for so many beats says that it is there.
IDLE_BEATS = 10

# A peer that accepts a dial is there already.
GREETING_SECONDS = 10.0


class LinkLostError(ConnectionError):
    """A link was lost: a message did not arrive, the other hub is gone, or NATS cannot be reached."""


class Outlet(Protocol):
    """Where the messages of all links of a hub are sent.

    Attributes:
        is_full: Whether more waits for NATS than should; ``on_drained`` of each stream is called when it does not.
        part_bytes: The largest payload of one message.
    """

    is_full: bool

    @property
    def part_bytes(self) -> int:
        """The largest payload of one message."""

    def post(self, subject: str, message: bytes) -> None:
        """Sends a message; raises LinkLostError if NATS cannot be reached."""

    def post_last(self, subject: str, message: bytes) -> None:
        """Sends the last message of a link, once NATS can be reached."""

    def drop(self, stream: "NatsStream") -> None:
        """Forgets a stream that has ended."""

    def note(self, what: str) -> None:
        """Counts a message that was not taken, or a link that was lost."""


class NatsStream(PushStream):
    """One end of a link over a pair of subjects.

    Args:
        outlet: Sends its messages.
        subject: Where the other end receives.
        seals: Of this end.
        token: By which this end receives.
        incarnation: Of the other hub.
        peer: The name of the other end.
        accepted: Whether this end was dialled.

    Attributes:
        token, incarnation: As given.
        status: Why the peer ended the link; None if it gave no reason.
        on_confirmed: Called with the first genuine message, if set: who dialled has the key of this link.
    """

    over = "NATS"
    greeting_seconds = GREETING_SECONDS
    hello_metadata: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        outlet: Outlet,
        subject: str,
        seals: LinkSeals,
        *,
        token: str,
        incarnation: str,
        peer: str,
        accepted: bool,
    ) -> None:
        self.token = token
        self.incarnation = incarnation
        self.peer = peer
        self.speaks_first = not accepted
        self.is_writable = True
        self.on_confirmed: Callable[[], None] | None = None
        self.status: LinkStatus | None = None
        self._outlet = outlet
        self._subject = subject
        self._seals = seals
        self._receiver: Receiver | None = None
        self._paused = self._passing_on = self._closed = False
        # How it ended; the frames that came before are passed on first.
        self._end: tuple[Exception | None] | None = None
        self._end_told = False
        # The numbers of the last messages that were sent, received, and taken with all before them.
        self._sent = self._received = self._taken = 0
        # Messages that the peer has not taken: number and size.
        self._unacked: deque[tuple[int, int]] = deque()
        self._unacked_bytes = 0
        # Frames that wait for the receiver, each with the number and the sizes of its messages.
        self._waiting: deque[tuple[bytes, int, int]] = deque()
        self._waiting_bytes = 0
        # Of a frame that has come in part.
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        # What was taken since this end last said so.
        self._owed_bytes = self._owed_messages = 0
        self._beats_silent = self._beats_waiting = self._beats_idle = 0

    # ----------------------------------------------------------------------------------------------- the link's

    def attach(self, receiver: Receiver) -> None:
        """See ``PushStream``."""
        self._receiver = receiver
        if self._parts:
            receiver.on_partial(self._parts_bytes)
        self._pass_on()

    def send(self, frame: bytes) -> None:
        """See ``PushStream``."""
        if self._end is not None or self._closed:
            return
        if len(frame) <= self._outlet.part_bytes:
            self._post(FRAME, frame)
        elif len(frame) <= MAX_FRAME_BYTES:
            self._send_in_parts(frame)
        else:
            for piece in split_frame(frame, 1):
                if len(piece) > MAX_FRAME_BYTES:
                    raise MessageTooLargeError(
                        f"an envelope of {len(piece):,} bytes cannot be sent: a frame has at most {MAX_FRAME_BYTES:,}"
                    )
                self.send(piece)
        if self.is_writable:
            self.is_writable = self._has_room()

    def _send_in_parts(self, frame: bytes) -> None:
        whole, most = memoryview(frame), self._outlet.part_bytes
        for start in range(0, len(frame), most):
            is_last = start + most >= len(frame)
            self._post(FRAME if is_last else PART, whole[start : start + most])

    def is_sent(self) -> bool:
        """See ``PushStream``; what waits for NATS is sent in order, before the end of the link."""
        return True

    def pause(self) -> None:
        """See ``PushStream``; what the peer may still send is bounded by its window."""
        self._paused = True

    def resume(self) -> None:
        """See ``PushStream``."""
        if self._paused:
            self._paused = False
            self._pass_on()

    def close(self) -> None:
        """See ``Stream``; the end that accepted it still has to tell why, with ``finish``."""
        self._receiver, self._closed = None, True
        self._parts.clear()
        self._waiting.clear()
        if self.speaks_first:
            self.finish(None)

    def finish(self, status: LinkStatus | None) -> None:
        """Tells the peer that the link has ended, and why, unless the peer knows.

        Args:
            status: Why; None: for no reason.
        """
        self._closed, self._receiver = True, None
        if self._end is None:
            self._end = (None,)
            self._say_end(b"" if status is None else status.SerializeToString())
        self._outlet.drop(self)

    async def failure(self, error: Exception | None) -> ToolBridgeError:
        """See ``Stream``."""
        status = self.status
        if status is None:
            return await super().failure(error)
        if status.error.type:
            return error_from_info(status.error)
        code = Code(status.code) if status.code in Code.__members__.values() else Code.UNKNOWN
        return link_error(code, status.message)

    # -------------------------------------------------------------------------------------------- the mailbox's

    def receive(self, message: bytes) -> None:
        """Takes a message that came for this end."""
        head, payload = message[: HEAD.size], message[OVERHEAD_BYTES:]
        if not self._seals.incoming.fits(message[HEAD.size : OVERHEAD_BYTES], head, payload):
            # Whoever forges messages must not be able to end links.
            self._outlet.note("forged")
            return
        kind, number, taken = HEAD.unpack(head)
        if number <= self._received:
            self._outlet.note("repeated")
            return
        if self._end is not None:
            return
        if number != self._received + 1:
            self._outlet.note("gaps")
            missing = number - self._received - 1
            self.lose(LinkLostError(f"{missing:,} of its messages did not arrive over NATS"))
            return
        self._received = number
        self._beats_silent = self._beats_waiting = 0
        confirmed, self.on_confirmed = self.on_confirmed, None
        if confirmed is not None:
            confirmed()
        try:
            if self._unacked and taken >= self._unacked[0][0]:
                self._on_taken(taken)
            if kind == FRAME and self._is_idle() and 0 < len(payload) <= MAX_FRAME_BYTES:
                self._pass(payload)
            else:
                self._on_message(kind, payload)
        except ProtocolError as error:
            self.lose(error)

    def beat(self) -> None:
        """Called every ``BEAT_SECONDS``: says what is owed, and ends the link if its peer is not heard."""
        if self._end is not None or self._closed:
            return
        self._beats_silent += 1
        self._beats_idle += 1
        self._beats_waiting = self._beats_waiting + 1 if self._unacked else 0
        if self._beats_waiting > WAITING_BEATS or self._beats_silent > SILENT_BEATS:
            self._outlet.note("silent")
            beats = WAITING_BEATS if self._unacked else SILENT_BEATS
            self.lose(LinkLostError(f"the other hub was not heard for {beats * BEAT_SECONDS:g} s"))
        elif self._owed_messages or self._waiting or self._parts or self._beats_idle >= IDLE_BEATS:
            self._post(ACK, b"")

    def lose(self, error: Exception) -> None:
        """Ends the link, after what was received was passed on.

        Args:
            error: Why.
        """
        if self._end is None:
            self._ended(error)
            # The peer may still be there.
            self._say_end(LinkStatus(code=Code.UNAVAILABLE, message=str(error)).SerializeToString())

    def on_drained(self) -> None:
        """Notes that the outlet takes further messages, or does not."""
        self._look_for_room()

    # -------------------------------------------------------------------------------------------------- its steps

    def _post(self, kind: int, payload: bytes | memoryview) -> None:
        message = self._sealed(kind, payload)
        if kind != ACK:
            self._unacked.append((self._sent, len(payload)))
            self._unacked_bytes += len(payload)
        self._owed_bytes = self._owed_messages = self._beats_idle = 0
        try:
            self._outlet.post(self._subject, message)
        except LinkLostError as error:
            self._ended(error)

    def _say_end(self, payload: bytes) -> None:
        self._outlet.post_last(self._subject, self._sealed(END, payload))

    def _sealed(self, kind: int, payload: bytes | memoryview) -> bytes:
        """Returns the next message."""
        self._sent += 1
        head = HEAD.pack(kind, self._sent, self._taken)
        return b"".join((head, self._seals.outgoing.of(head, payload), payload))

    def _on_message(self, kind: int, payload: bytes) -> None:
        if kind == FRAME:
            size = self._parts_bytes + len(payload)
            if self._parts:
                self._parts.append(payload)
                payload = b"".join(self._parts)
                self._parts.clear()
                self._parts_bytes = 0
                if self._receiver is not None:
                    self._receiver.on_partial(0)
            self._check_size(size)
            if not self._closed:
                self._waiting.append((payload, self._received, size))
                self._waiting_bytes += size
                self._pass_on()
        elif kind == PART:
            self._parts.append(payload)
            self._parts_bytes += len(payload)
            self._check_size(self._parts_bytes)
            if self._receiver is not None:
                self._receiver.on_partial(self._parts_bytes)
        elif kind == END:
            self.status = _status_in(payload)
            self._ended(None)
        elif kind != ACK:
            raise ProtocolError(f"a message of the unknown kind {kind} came; both hubs need versions that fit together")

    def _check_size(self, size: int) -> None:
        if not 0 < size <= MAX_FRAME_BYTES:
            raise ProtocolError(f"a frame of {size:,} bytes came; a frame has 1 to {MAX_FRAME_BYTES:,}")
        if self._waiting_bytes > WINDOW_BYTES + MAX_FRAME_BYTES or len(self._waiting) > 2 * WINDOW_MESSAGES:
            raise ProtocolError("the other hub sent more than the window of the link allows")

    def _on_taken(self, taken: int) -> None:
        """Notes that the peer has taken all messages up to a number."""
        unacked = self._unacked
        if taken > self._sent:
            raise ProtocolError(f"the other hub took message {taken:,} before it was sent")
        while unacked and unacked[0][0] <= taken:
            self._unacked_bytes -= unacked.popleft()[1]
        if not self.is_writable:
            self._look_for_room()

    def _look_for_room(self) -> None:
        was, self.is_writable = self.is_writable, self._has_room()
        if self.is_writable and not was and self._receiver is not None:
            self._receiver.on_room()

    def _has_room(self) -> bool:
        if self._end is not None or self._outlet.is_full:
            return False
        return self._unacked_bytes < WINDOW_BYTES and len(self._unacked) < WINDOW_MESSAGES

    def _is_idle(self) -> bool:
        """Returns whether a frame that comes now is the receiver's at once."""
        return not (self._waiting or self._parts or self._paused or self._passing_on or self._receiver is None)

    def _pass(self, frame: bytes) -> None:
        """Passes on the frame that has just arrived; ``_is_idle`` said that it may be."""
        assert self._receiver is not None  # noqa: S101 - it is idle
        self._owed_bytes += len(frame)
        self._owed_messages += self._received - self._taken
        self._taken = self._received
        self._passing_on = True
        try:
            self._receiver.on_frames((frame,))
        finally:
            self._passing_on = False
        if self._waiting:
            self._pass_on()
        else:
            self._passed_on()

    def _pass_on(self) -> None:
        """Passes on what has arrived, while the receiver takes it."""
        if self._passing_on:
            return
        self._passing_on = True
        try:
            while self._waiting and not self._paused and self._receiver is not None:
                frame, number, size = self._waiting.popleft()
                self._waiting_bytes -= size
                self._owed_bytes += size
                self._owed_messages += number - self._taken
                self._taken = number
                self._receiver.on_frames((frame,))
        finally:
            self._passing_on = False
        self._passed_on()

    def _passed_on(self) -> None:
        if self._owed_bytes >= WINDOW_BYTES // 4 or self._owed_messages >= WINDOW_MESSAGES // 4:
            self._acknowledge()
        if self._end is not None and not self._waiting and self._receiver is not None and not self._end_told:
            self._end_told = True
            self._receiver.on_end(*self._end)

    def _acknowledge(self) -> None:
        if self._end is None and not self._closed:
            self._post(ACK, b"")

    def _ended(self, error: Exception | None) -> None:
        if self._end is None:
            self._end = (error,)
            self.is_writable = False
            self._outlet.drop(self)
            self._pass_on()


def _status_in(payload: bytes) -> LinkStatus | None:
    if not payload:
        return None
    try:
        return LinkStatus.FromString(payload)
    except DecodeError:
        return None
