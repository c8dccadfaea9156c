"""The pipe between this process and one that runs a tool; it carries length-prefixed envelopes.

The envelopes are those of a link, with five exceptions: an ``end`` without an error ends a stream successfully,
``credit`` counts values, a call's metadata names the function, the process first sends an envelope without an ``id``
when it is ready, and an event without an ``id`` is a log record.
"""

import asyncio
import socket

from google.protobuf.message import DecodeError

from grpc_tool_bridge.proto.dspex_bridge_pb2 import Envelope

_LENGTH_BYTES = 4
# Bytes that may be buffered unread; a larger envelope is still read whole.
_READ_AHEAD = 1024 * 1024


class Pipe:
    """One end of a pipe, on an event loop. Created with ``open``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> "Pipe":
        """Takes over one end of a pair of stream sockets."""
        return cls(*await asyncio.open_connection(sock=end, limit=_READ_AHEAD))

    @property
    def backlog(self) -> int:
        """Bytes that the peer has not read yet."""
        return self._writer.transport.get_write_buffer_size()

    async def receive(self) -> Envelope | None:
        """Returns the next envelope; None if the pipe was closed or the data is not an envelope."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            return Envelope.FromString(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError, DecodeError):
            return None

    def post(self, envelope: Envelope) -> None:
        """Sends an envelope without waiting; drops it if the peer has gone."""
        if self._writer.is_closing():
            return
        data = envelope.SerializeToString()
        self._writer.write(len(data).to_bytes(_LENGTH_BYTES, "big"))
        self._writer.write(data)

    async def send(self, envelope: Envelope) -> None:
        """Sends an envelope, and waits while the peer is slow.

        Raises:
            ConnectionError: The peer has gone.
        """
        self.post(envelope)
        await self._writer.drain()

    def close(self) -> None:
        """Closes this end, even if the peer has not read everything."""
        self._writer.transport.abort()
