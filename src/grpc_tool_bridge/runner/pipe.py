"""The pipe between this process and one that runs a tool: envelopes, each with its length before it.

The envelopes are those of a link, and mean the same, with five exceptions: an ``end`` without an error is the good end
of a stream, ``credit`` counts values, a call's metadata names the function, the one without an ``id`` that a process
sends first says that it is ready, and an event without an ``id`` is a line of its log.
"""

import asyncio
import socket

from google.protobuf.message import DecodeError

from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope

_LENGTH_BYTES = 4
# Of the peer's bytes, what may lie here unread; a larger envelope is taken whole.
_READ_AHEAD = 1024 * 1024


class Pipe:
    """One end of a pipe, on an event loop. Made by ``open``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> "Pipe":
        """Takes over one end of a pair of stream sockets."""
        return cls(*await asyncio.open_connection(sock=end, limit=_READ_AHEAD))

    @property
    def backlog(self) -> int:
        """Bytes that the peer has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    async def receive(self) -> Envelope | None:
        """Returns the next envelope; None where the pipe has ended, or what comes is none."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            return Envelope.FromString(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError, DecodeError):
            return None

    def post(self, envelope: Envelope) -> None:
        """Sends an envelope without waiting; one that the peer is not there to take is dropped."""
        if self._writer.is_closing():
            return
        data = envelope.SerializeToString()
        self._writer.write(len(data).to_bytes(_LENGTH_BYTES, "big"))
        self._writer.write(data)

    async def send(self, envelope: Envelope) -> None:
        """Sends an envelope, and waits while the peer is behind.

        Raises:
            ConnectionError: The peer has gone.
        """
        self.post(envelope)
        await self._writer.drain()

    def close(self) -> None:
        """Closes this end, whatever the peer has not taken."""
        self._writer.transport.abort()
