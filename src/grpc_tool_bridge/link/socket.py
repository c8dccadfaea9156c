"""Frames over a socket, each after its length in four bytes, little-endian.

Both ends use it. The dialler's hello has what gRPC has in metadata: its token and, over a local socket, the hub's
address. If the hub ends a link, its last frame is one envelope without an id, whose ``end`` is the reason.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

from google.protobuf.message import DecodeError

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.aio.loop_internals import close_stranded
from grpc_tool_bridge.errors import MessageTooLargeError, ProtocolError, ToolBridgeError, error_from_info
from grpc_tool_bridge.link.envelopes import split_frame, whole
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.link.streams import PushStream, Receiver
from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope, LinkFrame, LinkHello, LinkStatus
from grpc_tool_bridge.rpc.authentication import Authenticator, PeerInfo, Principal

# A larger frame ends the link.
MAX_FRAME_BYTES = 1024 * 1024

# Read at most so much in one turn of the event loop: a frame is hardly ever larger.
READ_BYTES = 512 * 1024

# Of a frame that arrives in smaller pieces, these are joined as they come: each piece has an overhead.
PIECE_BYTES = 4 * 1024

# A local socket keeps so much, if the system allows it, so that a whole frame is sent and received at once.
BUFFER_BYTES = 512 * 1024

# How long the peer may take to read why its link has ended, and to close.
LINGER_SECONDS = 1.0

# A TCP connection is probed after so long without traffic, and lost if that is not answered for so long; as over gRPC.
PROBE_SECONDS = 30.0
LOST_SECONDS = 10.0
PROBES = 3

_LENGTH = struct.Struct("<I")
HEADER_BYTES = _LENGTH.size

# The first bytes of an envelope that has an end and no id.
_END_TAG = 0x2A
_MAX_VARINT_BYTES = 3


class SocketStream(asyncio.BufferedProtocol, PushStream):
    """One end of a stream over a connected socket.

    Args:
        scratch: Where bytes are received; shared by all streams of one owner in one event loop. What is left of it
            after a read is copied.
        metadata: Of this end's hello.
        admit: Checks the peer's hello; None: there is nothing to check.
        authenticator: Decides with the peer's hello who the peer is; None: this end does not authenticate.
        accepted: Whether this end accepted the socket.
        peer: The name of the other end.
        uid: The user whose process is there; None: not known.

    Attributes:
        status: Why the peer ended the stream; None if it gave no reason.
    """

    frame_head = _LENGTH.pack

    def __init__(
        self,
        scratch: memoryview,
        *,
        metadata: Mapping[str, str],
        admit: Callable[[LinkHello], None] | None = None,
        authenticator: Authenticator | None = None,
        accepted: bool = False,
        peer: str = "",
        uid: int | None = None,
    ) -> None:
        self.peer = peer
        self.over = "a local socket"
        self.hello_metadata = metadata
        self.speaks_first = not accepted
        self.is_writable = True
        self.status: LinkStatus | None = None
        self._admit = admit
        self._authenticator = authenticator
        self._uid = uid
        self._scratch = scratch
        # Of a frame that has arrived in part: its length, if that is not complete, its pieces, and what is missing.
        self._length = b""
        self._pieces: list[bytes | bytearray] = []
        self._size = self._missing = 0
        # Whether the receiver knows of it.
        self._told = False
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        # What arrived before there was a receiver, and how the stream ended then.
        self._early: list[bytes] = []
        self._end: tuple[Exception | None] | None = None
        self._sending_all = self._paused = self._closed = False
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        forks.watch(self)

    # ------------------------------------------------------------------------------------------------ the link's

    def admit(self, hello: LinkHello) -> Principal | None:
        """See ``Stream``."""
        principal = None
        if self._authenticator is not None:
            peer = PeerInfo(tuple(hello.metadata.items()), self.peer, self._certificate(), self._uid)
            principal = self._authenticator.authenticate(peer)
            self.renew = partial(self._authenticator.authenticate, peer)
        if self._admit is not None:
            self._admit(hello)
        return principal

    def _certificate(self) -> bytes | None:
        """Returns the peer's certificate in DER; None: it has shown none."""
        transport = self._transport
        tls = None if transport is None else transport.get_extra_info("ssl_object")
        return None if tls is None else cast("bytes | None", tls.getpeercert(binary_form=True))

    def attach(self, receiver: Receiver) -> None:
        """See ``PushStream``."""
        self._receiver = receiver
        if self._early:
            early, self._early = self._early, []
            receiver.on_frames(early)
        self._tell_partial(complete=False)
        if self._end is not None:
            receiver.on_end(*self._end)

    def send(self, frame: bytes) -> None:
        """See ``PushStream``."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if len(frame) - HEADER_BYTES <= MAX_FRAME_BYTES:
            transport.write(frame)
        else:
            self._send_in_parts(frame[HEADER_BYTES:])

    def _send_in_parts(self, frame: bytes) -> None:
        """Sends a frame that is too large, because of some odd envelope, as several."""
        for part in split_frame(frame, 1):
            if len(part) > MAX_FRAME_BYTES:
                what = f"an envelope of {len(part):,} bytes cannot be sent: a frame has at most {MAX_FRAME_BYTES:,}"
                raise MessageTooLargeError(what)
            self.send(_LENGTH.pack(len(part)) + part)

    def is_sent(self) -> bool:
        """See ``PushStream``."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return True
        if not self._sending_all:
            self._sending_all = True
            # ``resume_writing`` is called once nothing is left.
            transport.set_write_buffer_limits(0)
        return transport.get_write_buffer_size() == 0

    def pause(self) -> None:
        """See ``PushStream``."""
        transport = self._transport
        if transport is not None and not self._paused and not transport.is_closing():
            self._paused = True
            transport.pause_reading()

    def resume(self) -> None:
        """See ``PushStream``."""
        transport = self._transport
        if transport is not None and self._paused and not transport.is_closing():
            self._paused = False
            transport.resume_reading()

    def close(self) -> None:
        """See ``Stream``; the end that accepted it still has to tell why, with ``finish``."""
        self._receiver, self._closed = None, True
        self._pieces.clear()
        self._early.clear()
        if self.speaks_first:
            self.strand()

    async def failure(self, error: Exception | None) -> ToolBridgeError:
        """See ``Stream``."""
        status = self.status
        if status is None:
            return await super().failure(error)
        if status.error.type:
            return error_from_info(status.error)
        code = Code(status.code) if status.code in Code.__members__.values() else Code.UNKNOWN
        return link_error(code, status.message)

    async def finish(self, status: LinkStatus | None) -> None:
        """Closes the stream, after the peer was told why.

        Args:
            status: Why it ends; None: for no reason.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if status is not None:
            last = whole(Envelope(end=status))
            self.send(_LENGTH.pack(len(last)) + last)
        self.resume()
        if transport.can_write_eof():
            # If it were closed while the peer still sends, the peer might never read what was sent.
            transport.write_eof()
        else:
            transport.close()
        await asyncio.wait([self._lost], timeout=LINGER_SECONDS)

    def strand(self) -> None:
        """Closes the connection without a wait, even if its event loop has ended."""
        transport = self._transport
        if transport is None or self._lost.done():
            return
        try:
            transport.abort()
        except RuntimeError:
            # Its event loop has ended, and asyncio closes nothing more by itself.
            self._receiver = None
            close_stranded(transport)

    def forked(self) -> None:
        """Closes the connection in a forked process; otherwise the peer would not see that its parent has gone."""
        if self._transport is not None and not self._transport.is_closing():
            forks.drop_descriptor(self._transport.get_extra_info("socket").fileno())

    # --------------------------------------------------------------------------------------------- the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        # Of a socket it can be read and written, whatever its class says.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        if not self._lost.done():
            self._lost.set_result(None)
        self._ended(exc)

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self.is_writable = True
        if self._receiver is not None:
            self._receiver.on_room()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See ``asyncio.BufferedProtocol``."""
        del sizehint
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        if self._closed or self._end is not None:
            # After a length that no frame has, nothing tells where a frame begins.
            return
        frames: list[bytes] = []
        try:
            place = self._continue(nbytes, frames) if self._missing or self._length else 0
            self._split(place, nbytes, frames)
        except ProtocolError as error:
            self._pieces.clear()
            if frames:
                self._pass_on(frames)
            self._ended(error)
        else:
            if self._missing or self._told:
                self._tell_partial(complete=bool(frames))
            if frames:
                self._pass_on(frames)

    def _continue(self, end: int, frames: list[bytes]) -> int:
        """Continues the frame that has arrived in part; returns how much of what was received belongs to it."""
        data, place = self._scratch, 0
        if self._length:
            place = min(HEADER_BYTES - len(self._length), end)
            self._length += bytes(data[:place])
            if len(self._length) < HEADER_BYTES:
                return end
            self._size = self._missing = _checked_length(self._length, 0)
            self._length = b""
        stop = min(place + self._missing, end)
        self._keep(place, stop)
        if not self._missing:
            frames.append(b"".join(self._pieces))
            self._pieces.clear()
        return stop

    def _split(self, place: int, end: int, frames: list[bytes]) -> None:
        """Cuts what was received into frames; keeps the beginning of one that is not complete."""
        data = self._scratch
        while end - place >= HEADER_BYTES:
            size = _checked_length(data, place)
            place += HEADER_BYTES
            if place + size > end:
                # Only what has arrived takes memory, not what the peer announces.
                self._size = self._missing = size
                self._keep(place, end)
                return
            frames.append(bytes(data[place : place + size]))
            place += size
        if place < end:
            self._length = bytes(data[place:end])

    def _keep(self, place: int, stop: int) -> None:
        piece = self._scratch[place:stop]
        self._missing -= len(piece)
        if len(piece) >= PIECE_BYTES:
            self._pieces.append(bytes(piece))
        elif self._pieces and isinstance(self._pieces[-1], bytearray):
            self._pieces[-1] += piece
        else:
            self._pieces.append(bytearray(piece))

    def _tell_partial(self, *, complete: bool) -> None:
        """Tells the receiver how much is held of a frame; ``complete``: the one that it knows of has arrived whole."""
        receiver = self._receiver
        if receiver is None:
            return
        if complete and self._told:
            receiver.on_partial(0)
        self._told = self._missing > 0
        if self._told:
            receiver.on_partial(self._size - self._missing)

    def _pass_on(self, frames: list[bytes]) -> None:
        if self.speaks_first and (status := _status_in(frames[-1])) is not None:
            self.status = status
            frames.pop()
        if frames:
            if self._receiver is None:
                self._early += frames
            else:
                self._receiver.on_frames(frames)
        if self.status is not None:
            self._ended(None)

    def _ended(self, error: Exception | None) -> None:
        if self._end is None:
            self._end = (error,)
            if self._receiver is not None:
                self._receiver.on_end(error)


def enlarge_buffer(connected: socket.socket) -> None:
    """Lets a local socket keep a whole frame, as far as the system allows."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)


def keep_alive(connected: socket.socket) -> None:
    """Lets the system notice that the machine at the other end of a TCP connection has gone."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", PROBE_SECONDS), ("TCP_KEEPINTVL", LOST_SECONDS / PROBES)):
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), max(1, int(seconds)))
    if hasattr(socket, "TCP_KEEPCNT"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # What was sent and is not acknowledged stops the probes.
        milliseconds = int((PROBE_SECONDS + LOST_SECONDS) * 1000)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def _checked_length(data: memoryview | bytes, place: int) -> int:
    size: int = _LENGTH.unpack_from(data, place)[0]
    if not 0 < size <= MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {size:,} bytes came; a frame has 1 to {MAX_FRAME_BYTES:,}")
    return size


def _status_in(frame: bytes) -> LinkStatus | None:
    """Returns the status in the hub's last frame; None if the frame is another one."""
    # After the tag, the envelope's length.
    place = 1
    while place < min(len(frame), 1 + _MAX_VARINT_BYTES) and frame[place] & 0x80:
        place += 1
    if frame[place + 1 : place + 2] != bytes((_END_TAG,)):
        return None
    try:
        envelopes = LinkFrame.FromString(frame).envelopes
    except DecodeError:
        return None
    if len(envelopes) != 1 or envelopes[0].id or not envelopes[0].HasField("end"):
        return None
    status = LinkStatus()
    status.CopyFrom(envelopes[0].end)
    return status
