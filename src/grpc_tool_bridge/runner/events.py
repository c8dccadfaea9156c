"""Merges a stream's values with the events of its tool."""

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress, StreamMetadata

Event = Progress | LogRecord

# With more unread events, the oldest is dropped; values never are.
MAX_EVENTS = 1_000


class EventStream:
    """Merges the events that a tool emits, from any thread, with the values that it yields.

    Args:
        buffer: Values that may wait for the reader before the tool is paused.
    """

    def __init__(self, buffer: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        # Numbered, so that events and values are read in the order of their arrival.
        self._events: deque[tuple[int, Event]] = deque(maxlen=MAX_EVENTS)
        self._values: deque[tuple[int, Any]] = deque()
        self._number = itertools.count()
        self._room = asyncio.Semaphore(buffer)
        self._something = asyncio.Event()

    def emit(self, event: Event) -> None:
        """Adds an event, from any thread, without blocking."""
        # Here and not in the loop: a thread that ends can be awaited before its callbacks have run.
        self._events.append((next(self._number), event))
        if threading.get_ident() == self._thread:
            self._something.set()
        else:
            self._loop.call_soon_threadsafe(self._something.set)

    async def merge(
        self, values: AsyncGenerator[Any, None], tasks: TaskSet
    ) -> AsyncGenerator[tuple[Event | None, Any], None]:
        """Yields ``(event, None)`` and ``(None, value)`` in the order of their arrival.

        Args:
            values: What the tool yields. It is read and closed in its own task, so that events need not wait for the
                next value.
            tasks: Owner of that task.
        """
        pump = tasks.spawn(self._pump(values), "tool stream")
        try:
            while True:
                await self._something.wait()
                self._something.clear()
                while self._events or self._values:
                    if self._events and (not self._values or self._events[0][0] < self._values[0][0]):
                        yield self._events.popleft()[1], None
                    else:
                        _, value = self._values.popleft()
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

    async def _pump(self, values: AsyncGenerator[Any, None]) -> BaseException | None:
        """Returns the stream's error instead of raising it, so that the reader can raise it."""
        try:
            async for value in values:
                await self._room.acquire()
                self._values.append((next(self._number), value))
                self._something.set()
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - handed to the reader
            return error
        finally:
            try:
                await values.aclose()
            finally:
                # Runs after this task has ended, so that the reader finds it done.
                self._loop.call_soon(self._something.set)
        return None


def event_metadata(event: Event) -> StreamMetadata:
    """Returns an event as a stream carries it."""
    metadata = StreamMetadata(key="progress" if isinstance(event, Progress) else "log")
    metadata.value.Pack(event)
    return metadata
