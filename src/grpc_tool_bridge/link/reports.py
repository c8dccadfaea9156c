"""Progress and log records of tools, on their way to the hub whose call they run for."""

import asyncio
import threading
from collections import deque
from typing import Any

from grpc_tool_bridge.aio.loops import running_loop
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress

# Of one call, records from threads that wait for the event loop; beyond this, the oldest are dropped.
MAX_WAITING = 1_000


class Reports:
    """Sends the records of one call to the hub.

    Args:
        origin: The hub's call, as the transport knows it.
    """

    def __init__(self, origin: Any) -> None:
        self._origin = origin
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Progress | LogRecord] = deque(maxlen=MAX_WAITING)
        self._scheduled = threading.Event()

    def send(self, event: Progress | LogRecord) -> None:
        """Sends a record; from any thread, without blocking. It is dropped if the call is over or nobody reads."""
        if running_loop() is self._loop and not self._waiting:
            self._origin.link.report(self._origin.number, event)
            return
        self._waiting.append(event)
        if not self._scheduled.is_set():
            self._scheduled.set()
            try:
                self._loop.call_soon_threadsafe(self._send_waiting)
            except RuntimeError:
                # The loop is closed, and the call over.
                self._waiting.clear()

    def _send_waiting(self) -> None:
        self._scheduled.clear()
        # Those that arrive meanwhile are sent in another turn.
        for _ in range(len(self._waiting)):
            self._origin.link.report(self._origin.number, self._waiting.popleft())
