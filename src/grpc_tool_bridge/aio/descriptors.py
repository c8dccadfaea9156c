"""File descriptors of any kind, read and written in the event loop.

A standard stream may be a pipe, a socket, a terminal or a file, and its mode is shared with other processes. So none is
made non-blocking here: it is read when the system says that it can be, and written in pieces that fit then.
"""

import asyncio
import contextlib
import os
import select
import threading
from collections import deque

# Bytes of one read.
READ_BYTES = 256 * 1024
# Bytes that are read ahead; the writer waits then.
MAX_AHEAD = 1024 * 1024

_PIECE: int = getattr(select, "PIPE_BUF", 512)


class DescriptorReader:
    """Reads a descriptor, which is not closed here. Made in the event loop.

    Args:
        descriptor: A pipe, a socket, a terminal or a file. Nothing else reads it.
    """

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None
        self._wanted = threading.Event()
        self._is_polled = self._try_to_poll()
        self._listens = self._is_polled
        if not self._is_polled:
            self._wanted.set()
            threading.Thread(target=self._read_blocking, name="reader of a file", daemon=True).start()

    async def read(self) -> bytes:
        """Waits for data and returns what there is; empty at the end."""
        if not self._parts and not self._ended:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._listen()
        return data

    def close(self) -> None:
        """Reads no more: what is read from here on is the end."""
        self._feed(b"")

    def _try_to_poll(self) -> bool:
        try:
            self._loop.add_reader(self._descriptor, self._read)
        except (OSError, NotImplementedError):
            # Files cannot be polled, some systems cannot poll a terminal, and Windows only sockets.
            return False
        return True

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            # The peer has gone.
            data = b""
        self._feed(data)

    def _read_blocking(self) -> None:
        while self._wanted.wait() and not self._ended:
            try:
                data = os.read(self._descriptor, READ_BYTES)
            except OSError:
                data = b""
            if len(data) + self._size >= MAX_AHEAD:
                self._wanted.clear()
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._feed, data)
            if not data:
                return

    def _feed(self, data: bytes) -> None:
        if self._ended:
            return
        if data:
            self._parts.append(data)
            self._size += len(data)
        else:
            self._ended = True
        self._listen()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _listen(self) -> None:
        """Reads further if there is room."""
        wants = not self._ended and self._size < MAX_AHEAD
        if not self._is_polled:
            if wants or self._ended:
                self._wanted.set()
        elif wants is not self._listens:
            self._listens = wants
            if wants:
                self._loop.add_reader(self._descriptor, self._read)
            else:
                self._loop.remove_reader(self._descriptor)


class DescriptorWriter:
    """Writes a descriptor, which is not closed here. Made in the event loop.

    What is written in one turn of the loop leaves together. An error of the descriptor is raised by the next ``write``
    or ``drain``.

    Args:
        descriptor: A pipe, a socket, a terminal or a file. Nothing else writes it.
        high_water: Bytes that may wait before ``drain`` waits.
    """

    def __init__(self, descriptor: int, high_water: int = 1024 * 1024) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._high_water = high_water
        self._waiting: deque[bytes | memoryview] = deque()
        self._size = 0
        self._scheduled = False
        self._blocked = False
        self._error: OSError | None = None
        self._drained: set[asyncio.Future[None]] = set()
        self._poll = select.poll() if hasattr(select, "poll") else None
        if self._poll is not None:
            self._poll.register(descriptor, select.POLLOUT)

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._size

    def write(self, data: bytes) -> None:
        """Takes data to be written.

        Raises:
            OSError: Writing has failed; BrokenPipeError: nobody reads any more.
        """
        if self._error is not None:
            raise self._error
        self._waiting.append(data)
        self._size += len(data)
        if not self._scheduled and not self._blocked:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    async def drain(self, most: int | None = None) -> None:
        """Waits until at most so many bytes wait; None: until there is room to write more. Raises as ``write``."""
        most = self._high_water if most is None else most
        while self._size > most and self._error is None:
            future = self._loop.create_future()
            self._drained.add(future)
            try:
                await future
            finally:
                self._drained.discard(future)
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Writes no more; what waits is dropped."""
        self._fail(BrokenPipeError("the stream was closed"))

    def _flush(self) -> None:
        self._scheduled = False
        try:
            while self._waiting and self._is_writable():
                piece = self._next_piece()
                self._waiting.appendleft(piece)
                written = os.write(self._descriptor, piece)
                self._size -= written
                self._waiting.popleft()
                if written < len(piece):
                    self._waiting.appendleft(memoryview(piece)[written:])
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            self._fail(error)
            return
        self._watch(blocked=bool(self._waiting))
        self._wake()

    def _next_piece(self) -> bytes | memoryview:
        """Takes what is written at once: a pipe that is writable takes this much without blocking."""
        first = self._waiting.popleft()
        if len(first) > _PIECE:
            self._waiting.appendleft(memoryview(first)[_PIECE:])
            return memoryview(first)[:_PIECE]
        pieces, size = [first], len(first)
        while self._waiting and size + len(self._waiting[0]) <= _PIECE:
            pieces.append(self._waiting.popleft())
            size += len(pieces[-1])
        return first if len(pieces) == 1 else b"".join(pieces)

    def _is_writable(self) -> bool:
        return self._poll is None or bool(self._poll.poll(0))

    def _watch(self, *, blocked: bool) -> None:
        if blocked is self._blocked:
            return
        self._blocked = blocked
        if blocked:
            self._loop.add_writer(self._descriptor, self._flush)
        else:
            self._loop.remove_writer(self._descriptor)

    def _fail(self, error: OSError) -> None:
        self._error = self._error or error
        self._waiting.clear()
        self._size = 0
        self._watch(blocked=False)
        self._wake()

    def _wake(self) -> None:
        for future in self._drained:
            if not future.done():
                future.set_result(None)
