"""A link within one process: the same frames, without a socket."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import InternalError, ToolBridgeError
from grpc_tool_bridge.link.status import Code, link_error
from grpc_tool_bridge.link.streams import Dialable, FrameStream

# Frames in one direction that wait to be read; then the writer waits.
MAX_FRAMES = 16

# Serves the accepted end, as ``LinkServer.serve`` does.
Serve = Callable[[FrameStream], Awaitable[None]]


class MemoryConnection:
    """The endpoint of a hub in the same process.

    Args:
        serve: Serves one link of the hub.
    """

    address = where = "this process"

    def __init__(self, serve: Serve) -> None:
        self._serve = serve

    def open(self) -> "_MemoryWay":
        """See ``Endpoint``."""
        return _MemoryWay(self._serve)


class _MemoryWay(Dialable):
    """The way to a hub in the same process."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._tasks = TaskSet()

    async def dial(self) -> FrameStream:
        return _DialledStream(self._serve, self._tasks)

    async def close(self, *, stranded: bool = False) -> None:
        if stranded:
            self._tasks.abandon()
        else:
            await self._tasks.aclose()


class _AcceptedStream(FrameStream):
    """The hub's end of a stream."""

    peer = "this process"
    read: Any
    write: Any

    def __init__(self, incoming: "_Frames", outgoing: "_Frames") -> None:
        self.read, self.write = incoming.read, outgoing.write

    def close(self) -> None:
        """Does nothing: the stream ends with the task that serves it."""


class _DialledStream(FrameStream):
    """The dialer's end of a stream; the hub's end runs in a task beside it."""

    peer = over = "this process"
    read: Any
    write: Any

    def __init__(self, serve: Serve, tasks: TaskSet) -> None:
        self._to_hub, self._to_dialer = _Frames(), _Frames()
        self._error: ToolBridgeError | None = None
        self._serving = tasks.spawn(self._serve(serve), "link of this process")
        self.read, self.write = self._to_dialer.read, self._to_hub.write

    async def _serve(self, serve: Serve) -> None:
        try:
            await serve(_AcceptedStream(self._to_hub, self._to_dialer))
        except ToolBridgeError as error:
            self._error = error
        except Exception:  # noqa: BLE001 - every failure ends the stream
            self._error = InternalError.new()
        except asyncio.CancelledError:
            self._error = link_error(Code.CANCELLED, "the link was cancelled")
            raise
        finally:
            self._to_dialer.close()
            self._to_hub.close()

    def close(self) -> None:
        self._serving.cancel()

    async def failure(self, error: Exception | None) -> ToolBridgeError:
        if error is not None and not isinstance(error, ConnectionError):
            raise error
        await asyncio.wait((self._serving,))
        return self._error or await super().failure(None)


class _Frames:
    """Frames in one direction."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(MAX_FRAMES)
        self._closed = False

    async def write(self, frame: bytes) -> None:
        await self._room.acquire()
        if self._closed:
            raise ConnectionResetError("the stream has ended")
        self._waiting.put_nowait(frame)

    async def read(self) -> bytes | None:
        frame = await self._waiting.get()
        if frame is None:
            # For the next read.
            self._waiting.put_nowait(None)
        else:
            self._room.release()
        return frame

    def close(self) -> None:
        self._closed = True
        self._waiting.put_nowait(None)
        # Wakes a writer that waits for room.
        self._room.release()
