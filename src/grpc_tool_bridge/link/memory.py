"""A link between a worker and a hub of the same process: the same frames, with no socket between."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.transport.status import status_of

# Frames in one direction that wait to be read; more hold up who writes.
MAX_FRAMES = 16

# Serves the hub's end, as ``LinkServer.serve`` does.
Serve = Callable[[Any, Any], Awaitable[None]]


class MemoryConnection:
    """Reaches a hub of the same process, as a ``Connection`` reaches one elsewhere.

    Args:
        serve: Serves a link for the hub.
    """

    address = where = "this process"
    token = None

    def __init__(self, serve: Serve) -> None:
        self._serve = serve

    def open(self) -> "_MemoryChannel":
        """Makes the channel."""
        return _MemoryChannel(self._serve)


class _MemoryChannel:
    """Has of a channel what a link needs."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._tasks = TaskSet()

    def stream_stream(self, _: str) -> Callable[[], "_MemoryStream"]:
        return lambda: _MemoryStream(self._serve, self._tasks)

    async def close(self) -> None:
        await self._tasks.aclose()


class _MemoryStream:
    """The dialler's end of a stream; the hub's end runs in a task beside it."""

    def __init__(self, serve: Serve, tasks: TaskSet) -> None:
        self._to_hub, self._to_dialler = _Frames(), _Frames()
        self._code: grpc.StatusCode = grpc.StatusCode.OK
        self._details = ""
        self._serving = tasks.spawn(self._serve(serve), "link of this process")
        self.read, self.write = self._to_dialler.read, self._to_hub.write

    async def _serve(self, serve: Serve) -> None:
        try:
            await serve(None, _HubEnd(self._to_hub, self._to_dialler))
        except Exception as error:  # noqa: BLE001 - every failure is a status
            self._code, self._details, _ = status_of(error)
        except asyncio.CancelledError:
            self._code, self._details = grpc.StatusCode.CANCELLED, "the link was cancelled"
            raise
        finally:
            self._to_dialler.close()
            self._to_hub.close()

    def cancel(self) -> None:
        self._serving.cancel()

    async def code(self) -> grpc.StatusCode:
        await asyncio.wait((self._serving,))
        return self._code

    async def details(self) -> str:
        await asyncio.wait((self._serving,))
        return self._details


class _HubEnd:
    """The hub's end of a stream."""

    def __init__(self, incoming: "_Frames", outgoing: "_Frames") -> None:
        self.read, self.write = incoming.read, outgoing.write


class _Frames:
    """Frames in one direction."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Any] = asyncio.Queue()
        self._room = asyncio.Semaphore(MAX_FRAMES)
        self._closed = False

    async def write(self, frame: bytes) -> None:
        await self._room.acquire()
        if self._closed:
            raise asyncio.InvalidStateError("the stream has ended")
        self._waiting.put_nowait(frame)

    async def read(self) -> Any:
        frame = await self._waiting.get()
        if frame is grpc.aio.EOF:
            # For whoever reads on.
            self._waiting.put_nowait(frame)
        else:
            self._room.release()
        return frame

    def close(self) -> None:
        self._closed = True
        self._waiting.put_nowait(grpc.aio.EOF)
        # Who waits for room learns of it.
        self._room.release()
