"""Sends log records of a tool's process to its parent, which logs them with their level and logger."""

import asyncio
import logging
import os
import time
from collections.abc import Callable

from grpc_tool_bridge.errors import MAX_DETAIL_CHARS, MAX_MESSAGE_CHARS, wire_text
from grpc_tool_bridge.proto.dspex_bridge_pb2 import LogRecord

# Lines of one process: a burst, then a number per second. Nobody reads more, and they are written in the event loop.
MAX_BURST = 500
MAX_PER_SECOND = 100

_MAX_NAME_CHARS = 256
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
_TRACEBACK = "traceback"


class PipeHandler(logging.Handler):
    """Sends this process's log records to its parent.

    Args:
        loop: The event loop that sends them.
        post: Sends one record; called in the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, post: Callable[[LogRecord], None]) -> None:
        super().__init__()
        self._loop = loop
        self._post = post
        self._process = os.getpid()
        self._formatter = logging.Formatter()
        self._left = float(MAX_BURST)
        self._filled_at = time.monotonic()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Sends a record, or counts it if there are too many."""
        if os.getpid() != self._process:
            # A fork of the tool has no thread that sends it.
            if logging.lastResort is not None:
                logging.lastResort.handle(record)
            return
        if not self._may_send():
            return
        try:
            message = LogRecord(
                level=_level_name(record.levelno),
                logger=wire_text(record.name, _MAX_NAME_CHARS),
                message=wire_text(record.getMessage(), MAX_DETAIL_CHARS),
            )
            if record.exc_info:
                text = self._formatter.formatException(record.exc_info)
                message.fields[_TRACEBACK] = wire_text(text, MAX_MESSAGE_CHARS)
        except Exception:  # noqa: BLE001 - like every handler: a record that cannot be formatted ends nothing
            self.handleError(record)
            return
        self._loop.call_soon_threadsafe(self._post, message)

    def _may_send(self) -> bool:
        now = time.monotonic()
        self._left = min(MAX_BURST, self._left + (now - self._filled_at) * MAX_PER_SECOND)
        self._filled_at = now
        if self._left >= 1:
            self._left -= 1
            return True
        if not self._dropped:
            self._loop.call_soon_threadsafe(self._loop.call_later, 1.0, self._tell_dropped)
        self._dropped += 1
        return False

    def _tell_dropped(self) -> None:
        count, self._dropped = self._dropped, 0
        why = f"it logs more than {MAX_PER_SECOND} a second"
        text = f"{count:,} log lines of the process {self._process} were dropped: {why}"
        self._post(LogRecord(level="warning", logger=__name__, message=text))


def send_logs(handler: PipeHandler, level: int) -> None:
    """Sends all records that this process's loggers pass.

    Args:
        handler: Sends them.
        level: The parent's root level.
    """
    root = logging.getLogger()
    root.setLevel(level)
    root.addHandler(handler)


def log_here(message: LogRecord, process: int) -> None:
    """Logs a record from another process, as if its logger were in this process."""
    # Only an existing logger: a new one would stay forever, and the tool chooses the names.
    known = logging.root.manager.loggerDict.get(message.logger)
    logger = known if isinstance(known, logging.Logger) else logging.getLogger()
    level = _LEVELS.get(message.level, logging.INFO)
    if not logger.isEnabledFor(level):
        return
    record = logger.makeRecord(message.logger, level, "", 0, message.message, (), None)
    record.process = process
    record.exc_text = message.fields.get(_TRACEBACK)
    logger.handle(record)


def _level_name(level: int) -> str:
    return next((name for name, number in reversed(_LEVELS.items()) if level >= number), "debug")
