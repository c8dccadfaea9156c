"""What a node of NATS sends, cut into messages in the turn of the event loop that it arrives in.

nats-py has a task read, which costs each message a turn of the loop and a parser made of regular expressions. Here a
message of a direct subscription is taken as the socket is read. All else, complete and in its place in the order, goes
to the library's parser, in the library's own task.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from nats.errors import ProtocolError

# Takes a message of a direct subscription: its subject, the subject for answers (empty: none), and its payload.
Take = Callable[[bytes, bytes, bytes], None]

# What a message is read into; a larger one gets a buffer of its own.
BUFFER_BYTES = 64 * 1024
# Of one read there is room for so much at least.
_LEAST_BYTES = 4 * 1024
# A larger buffer is given up once it is empty.
_KEPT_BYTES = 1024 * 1024
# NATS carries no larger message, and no longer line that it tells of itself.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 1024 * 1024

_END = b"\r\n"
_END_BYTES = len(_END)
_MESSAGE, _MESSAGE_WITH_HEADERS = b"MSG ", b"HMSG "
_OP_BYTES = len(_MESSAGE)
# Words of a message's first line, without and with a subject for answers.
_WORDS, _WORDS_WITH_REPLY = 3, 4


class NodeReader(asyncio.BufferedProtocol):
    """Reads one connection, in place of the protocol that asyncio's streams have.

    Args:
        transport: The connection.
        stream: The library's reader, which has what came so far.
        takes: What takes the messages of each direct subscription, by its number.
    """

    def __init__(self, transport: asyncio.Transport, stream: asyncio.StreamReader, takes: Mapping[int, Take]) -> None:
        self._transport = transport
        # It still knows when writing waits, and when the connection is closed.
        self._former: Any = transport.get_protocol()
        self._stream: Any = stream
        self._takes = takes
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        # What is received and not processed is between these places.
        self._start = self._stop = 0
        # What the message in front needs; 0: it is not known.
        self._needed = 0
        # What the library's task has to do before anything else is processed.
        self._held: bytes | Exception | None = None
        self._end: tuple[Exception | None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused = self._detached = False

    def attach(self) -> None:
        """Begins to read, with what came so far."""
        self._transport.pause_reading()
        early = bytes(self._stream._buffer)  # noqa: SLF001 - asyncio offers no read that does not wait
        self._stream._buffer.clear()  # noqa: SLF001
        if (error := self._stream.exception()) is not None:
            self._end = (error,)
        elif self._stream.at_eof():
            self._end = (None,)
        while early:
            room = self.get_buffer(len(early))
            size = min(len(room), len(early))
            room[:size] = early[:size]
            self._stop += size
            early = early[size:]
        self._process()
        self._transport.set_protocol(self)
        self._transport.resume_reading()

    def detach(self) -> None:
        """Processes nothing more."""
        self._detached = True

    async def next(self) -> bytes | Exception:
        """Waits for something that the library has to do; ``go_on`` is called once it has done that.

        Returns:
            A complete command, or the error of who failed to take a message.

        Raises:
            EOFError: The node has ended the connection.
            Exception: The connection was lost, or cannot be read.
        """
        while self._held is None:
            if self._end is not None:
                raise self._end[0] or EOFError
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._held

    def go_on(self) -> None:
        """Processes what came while the library had something to do."""
        self._held = None
        self._process()
        if self._paused and self._held is None:
            self._paused = False
            self._transport.resume_reading()

    # ---------------------------------------------------------------------------------------------- the transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """See ``asyncio.BufferedProtocol``."""
        del sizehint
        if self._start == self._stop and len(self._buffer) <= _KEPT_BYTES:
            self._start = self._stop = 0
        elif len(self._buffer) - self._stop < _LEAST_BYTES or self._start == self._stop:
            self._make_room()
        return self._view[self._stop :]

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        self._stop += nbytes
        if self._held is None:
            if self._start or not self._take_usual():
                self._process()
        elif self._stop - self._start > BUFFER_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool | None:
        """See ``asyncio.BufferedProtocol``."""
        self._finish(None)
        kept: bool | None = self._former.eof_received()
        return kept

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._finish(exc)
        self._former.connection_lost(exc)

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._former.pause_writing()

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._former.resume_writing()

    # ------------------------------------------------------------------------------------------------- its steps

    def _make_room(self) -> None:
        """Moves what is not processed to the front, of a larger buffer if it needs one."""
        left = self._stop - self._start
        size = BUFFER_BYTES
        if left + _LEAST_BYTES > size:
            # Twice what has come, and not what a message announces.
            size = max(left + _LEAST_BYTES, min(left * 2, self._needed or left * 2))
        if size != len(self._buffer):
            buffer = bytearray(size)
            buffer[:left] = self._view[self._start : self._stop]
            self._buffer, self._view = buffer, memoryview(buffer)
        else:
            self._view[:left] = bytes(self._view[self._start : self._stop])
        self._start, self._stop = 0, left

    def _take_usual(self) -> bool:
        """Takes a message that came alone and whole, as most do; returns False if this is another case."""
        buffer, stop = self._buffer, self._stop
        if not buffer.startswith(_MESSAGE) or self._detached:
            return False
        line_end = buffer.find(_END)
        words = buffer[_OP_BYTES:line_end].split()
        payload = line_end + _END_BYTES
        try:
            take = self._takes[int(words[1])]
            if payload + int(words[-1]) + _END_BYTES != stop or len(words) != _WORDS:
                return False
        except (KeyError, IndexError, ValueError):
            return False
        self._stop = self._needed = 0
        try:
            take(bytes(words[0]), b"", bytes(self._view[payload : stop - _END_BYTES]))
        except Exception as error:  # noqa: BLE001 - as below
            self._hand(error)
        return True

    def _process(self) -> None:
        """Takes messages up to the first command that is the library's."""
        try:
            while self._held is None and not self._detached and self._start < self._stop:
                if not self._take_next():
                    return
        except (ValueError, ProtocolError):
            self._finish(ProtocolError())

    def _take_next(self) -> bool:
        """Takes what is in front; returns False if it is not complete.

        Raises:
            ValueError, ProtocolError: It is nothing that a node sends.
        """
        buffer, start, stop = self._buffer, self._start, self._stop
        if self._needed and stop - start < self._needed:
            return False
        line_end = buffer.find(_END, start, stop)
        if line_end < 0:
            if stop - start > MAX_LINE_BYTES:
                raise ProtocolError
            return False
        payload = line_end + _END_BYTES
        if buffer.startswith(_MESSAGE, start):
            words = bytes(self._view[start + _OP_BYTES : line_end]).split()
            end = payload + _size_of(words, _WORDS, _WORDS_WITH_REPLY)
            take = self._takes.get(int(words[1]))
            if end + _END_BYTES > stop or take is None:
                return self._hold(end + _END_BYTES)
            data = bytes(self._view[payload:end])
            self._start, self._needed = end + _END_BYTES, 0
            try:
                take(words[0], words[2] if len(words) == _WORDS_WITH_REPLY else b"", data)
            except Exception as error:  # noqa: BLE001 - as the library does for a callback, so that reading goes on
                self._hand(error)
            return True
        if buffer.startswith(_MESSAGE_WITH_HEADERS, start):
            words = bytes(self._view[start + len(_MESSAGE_WITH_HEADERS) : line_end]).split()
            return self._hold(payload + _size_of(words, _WORDS + 1, _WORDS_WITH_REPLY + 1) + _END_BYTES)
        return self._hold(payload)

    def _hold(self, end: int) -> bool:
        """Hands a command to the library if it is complete; returns whether it is."""
        start = self._start
        if end > self._stop:
            self._needed = end - start
            return False
        self._start, self._needed = end, 0
        self._hand(bytes(self._view[start:end]))
        return True

    def _hand(self, held: bytes | Exception) -> None:
        self._held = held
        self._wake()

    def _finish(self, error: Exception | None) -> None:
        if self._end is None:
            self._end = (error,)
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _size_of(words: list[bytes], least: int, most: int) -> int:
    """Returns the size of a message's payload and headers from the words of its first line.

    Raises:
        ValueError, ProtocolError: They are none.
    """
    if not least <= len(words) <= most:
        raise ProtocolError
    size = int(words[-1])
    if not 0 <= size <= MAX_MESSAGE_BYTES:
        raise ProtocolError
    return size
