"""Passes log records and reports of tools from any thread to the event loop of a hub."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from grpc_tool_bridge.aio.loops import running_loop
from grpc_tool_bridge.core.call_log import LOGGER as CALLS_LOGGER
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.errors import wire_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord, Progress
from grpc_tool_bridge.rpc.bounds import MAX_NAME_CHARS

LOGGER = "grpc_tool_bridge"
# Records of tools arrive through ``LogLines.take``, with their call, even if this process does not log them.
_OF_TOOLS = f"{LOGGER}.tool"
# Watchers are told of calls by events of their own.
_APART = frozenset((_OF_TOOLS, CALLS_LOGGER))

MAX_MESSAGE_CHARS = 4_096
# Records that wait for the event loop; beyond this, the oldest are dropped.
MAX_WAITING = 1_000


class Report(NamedTuple):
    """What is passed on.

    Attributes:
        of: A log record, or a call whose tool has reported progress.
        for_all: Whether it is for all watchers; if not, only for those that are told of every call.
    """

    of: LogRecord | HubCall
    for_all: bool = True


class LogLines:
    """Passes log records and reports to the event loop while the hub is watched.

    Args:
        take: Called in the event loop with each report.
        lose: Called there with the number of dropped ones.
    """

    def __init__(self, take: Callable[[Report], None], lose: Callable[[int], None]) -> None:
        self._take = take
        self._lose = lose
        self._handler = _Handler(lambda line: self._add(Report(line)))
        self._follows = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[Report] = deque(maxlen=MAX_WAITING)
        self._lost = 0
        self._scheduled = threading.Event()
        # Set in the thread that hands records on: what it logs itself is ignored, or that would never end.
        self._handing_on = threading.local()

    def follow(self, *, on: bool) -> None:
        """Starts or stops following the log; called in the event loop, or after it has ended."""
        self._loop = running_loop()
        if on is not self._follows:
            self._follows = on
            logger = logging.getLogger(LOGGER)
            (logger.addHandler if on else logger.removeHandler)(self._handler)

    def take(self, event: Progress | LogRecord, call: HubCall) -> None:
        """Takes a report of the tool of ``call``; from any thread, without blocking."""
        for_all = bool(call.watched)
        if isinstance(event, Progress):
            self._add(Report(call, for_all))
            return
        # The event itself may still be sent to the caller.
        line = LogRecord()
        line.CopyFrom(event)
        line.fields["session_id"] = call.session.id
        self._add(Report(line, for_all))

    def _add(self, report: Report) -> None:
        if getattr(self._handing_on, "now", False) or self._loop is None:
            return
        self._lost += len(self._waiting) == MAX_WAITING
        self._waiting.append(report)
        if not self._scheduled.is_set():
            self._scheduled.set()
            try:
                self._loop.call_soon_threadsafe(self._hand_on)
            except RuntimeError:
                # The loop is closed, so there is no watcher.
                self._waiting.clear()

    def _hand_on(self) -> None:
        self._scheduled.clear()
        self._handing_on.now = True
        lost, self._lost = self._lost, 0
        if lost:
            self._lose(lost)
        moved: set[HubCall] = set()
        try:
            # Those that arrive meanwhile are handed on in another turn.
            for _ in range(len(self._waiting)):
                report = self._waiting.popleft()
                if isinstance(report.of, LogRecord):
                    self._take(report)
                elif report.of not in moved:
                    # Once is enough, since its current state is reported.
                    moved.add(report.of)
                    self._take(report)
        finally:
            self._handing_on.now = False


class _Handler(logging.Handler):
    """Converts the records of the bridge's log to messages.

    Args:
        take: Called with each message.
    """

    def __init__(self, take: Callable[[LogRecord], None]) -> None:
        super().__init__(logging.INFO)
        self._take_line = take

    def emit(self, record: logging.LogRecord) -> None:
        """Converts a record."""
        if record.name in _APART:
            return
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - its arguments may raise anything; the log's own handlers report it
            message = "a line that cannot be formatted"
        line = LogRecord(
            level=_level(record.levelno),
            logger=wire_text(record.name, MAX_NAME_CHARS),
            message=wire_text(message, MAX_MESSAGE_CHARS),
        )
        session_id = getattr(record, "session_id", None)
        if isinstance(session_id, str):
            line.fields["session_id"] = wire_text(session_id, MAX_NAME_CHARS)
        line.timestamp.FromMicroseconds(int(record.created * 1e6))
        self._take_line(line)


def _level(number: int) -> str:
    return "error" if number >= logging.ERROR else "warning" if number >= logging.WARNING else "info"
