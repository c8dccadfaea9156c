"""A stream's values together with what its tool tells on the way."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress
from grpc_tool_bridge.tasks import TaskSet

Event = Progress | LogRecord

# Past so many events that the reader has not taken, the oldest is dropped: news, not results.
MAX_EVENTS = 1_000


class EventStream:
    """Merges the events that a tool emits, from any thread, with the values that it yields.

    Args:
        buffer: Values that may wait for the reader before the tool is held up.
    """

    def __init__(self, buffer: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._values: deque[Any] = deque()
        self._room = asyncio.Semaphore(buffer)
        self._something = asyncio.Event()

    def emit(self, event: Event) -> None:
        """Adds an event; from any thread, never blocking."""
        if threading.get_ident() == self._thread:
            self._add(event)
        else:
            self._loop.call_soon_threadsafe(self._add, event)

    def _add(self, event: Event) -> None:
        self._events.append(event)
        self._something.set()

    async def merge(self, values: AsyncIterator[Any], tasks: TaskSet) -> AsyncGenerator[tuple[Event | None, Any], None]:
        """Yields ``(event, None)`` and ``(None, value)`` in the order in which they come.

        Args:
            values: What the tool yields; read in a task of its own, so that events need not wait for the next value.
            tasks: Owner of that task.
        """
        pump = tasks.spawn(self._pump(values), "tool stream")
        try:
            while True:
                await self._something.wait()
                self._something.clear()
                while self._events or self._values:
                    if self._events:
                        yield self._events.popleft(), None
                    else:
                        value = self._values.popleft()
                        self._room.release()
                        yield None, value
                if pump.done():
                    pump_error = pump.result()
                    if pump_error is not None:
                        raise pump_error
                    return
        finally:
            if not pump.done():
                pump.cancel()
                await asyncio.wait([pump])

    async def _pump(self, values: AsyncIterator[Any]) -> BaseException | None:
        """Returns the stream's error instead of raising it: the reader raises it in its own place."""
        try:
            async for value in values:
                await self._room.acquire()
                self._values.append(value)
                self._something.set()
        except Exception as error:  # noqa: BLE001 - handed to the reader
            return error
        finally:
            # After this task has ended, so that the reader finds it done.
            self._loop.call_soon(self._something.set)
        return None
