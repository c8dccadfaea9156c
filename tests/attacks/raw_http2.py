"""A peer that speaks HTTP/2 by hand: it sends requests in part, and reads no more than it wants."""

import asyncio
import struct
from types import TracebackType
from typing import Self

import h2.config
import h2.connection
import h2.events


class RawPeer:
    """One connection.

    Args:
        address: The hub's, ``host:port``.
        token: Sent with each request.

    Attributes:
        ended: Streams that the hub ended or reset.
        received: Bytes of answers that came.
        closed: Whether the hub closed the connection.
    """

    def __init__(self, address: str, token: str | None = None) -> None:
        self._address = address
        self._token = token
        config = h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        self._http2 = h2.connection.H2Connection(config)
        self._changed = asyncio.Condition()
        self.ended: set[int] = set()
        self.received = 0
        self.closed = False

    async def __aenter__(self) -> Self:
        host, _, port = self._address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        self._http2.initiate_connection()
        self._flush()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        await asyncio.wait((self._reading,))
        self._writer.close()

    def begin(self, path: str) -> int:
        """Begins a request; returns its stream."""
        stream = self._http2.get_next_available_stream_id()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", self._address),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        if self._token is not None:
            headers.append(("authorization", f"Bearer {self._token}"))
        self._http2.send_headers(stream, headers)
        self._flush()
        return stream

    async def send(self, stream: int, message: bytes, *, stated: int | None = None) -> None:
        """Sends a message, or the beginning of one of ``stated`` bytes, as the hub gives way to it."""
        data = memoryview(struct.pack(">BI", 0, len(message) if stated is None else stated) + message)
        while data and stream not in self.ended and not self.closed:
            room = min(self._http2.local_flow_control_window(stream), self._http2.max_outbound_frame_size, len(data))
            if not room:
                async with self._changed:
                    await self._changed.wait()
                continue
            self._http2.send_data(stream, bytes(data[:room]))
            data = data[room:]
            self._flush()
            await self._writer.drain()
        if stated is None and stream not in self.ended and not self.closed:
            self._http2.end_stream(stream)
            self._flush()

    async def until_ended(self, count: int) -> None:
        """Waits until the hub has ended so many streams, or all."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.closed or len(self.ended) >= count)

    def _flush(self) -> None:
        self._writer.write(self._http2.data_to_send())

    async def _read(self) -> None:
        while data := await self._reader.read(65_536):
            for event in self._http2.receive_data(data):
                if isinstance(event, h2.events.DataReceived):
                    # It is not acknowledged: the hub may send no more than the first window.
                    self.received += len(event.data)
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    self.ended.add(event.stream_id or 0)
            self._flush()
            async with self._changed:
                self._changed.notify_all()
        self.closed = True
        async with self._changed:
            self._changed.notify_all()
