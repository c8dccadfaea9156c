"""A file that is read again when it has changed."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from grpc_tool_bridge.errors.throttled_log import ThrottledLog

# How often the file is looked at, at most.
LOOK_SECONDS = 1.0

T = TypeVar("T")

_log = logging.getLogger(__name__)
_throttled = ThrottledLog(_log)


class WatchedFile(Generic[T]):
    """The content of a file, which is read again after it has changed.

    It is looked at when it is asked for, so that it needs neither a task nor a thread. If it cannot be read any more,
    what it had stays in force, so that a slip of the pen locks nobody out; the log says so.

    Args:
        path: The file.
        read: Reads it; raises ValueError or OSError.
        named: The setting that names it, for the log.

    Raises:
        ValueError: The file cannot be used.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path, read: Callable[[Path], T], *, named: str) -> None:
        self._path = path
        self._read = read
        self._named = named
        self._seen = _identity(path)
        self._content = read(path)
        self._looked = time.monotonic()

    def content(self) -> T:
        """Returns what is in the file; it may be a second behind."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look()
        return self._content

    def _look(self) -> None:
        try:
            seen = _identity(self._path)
            if seen == self._seen:
                return
            self._content = self._read(self._path)
            self._seen = seen
            _log.info("%s %s has changed and was read again", self._named, self._path)
        except (OSError, ValueError) as error:
            _throttled.warning("%s cannot be read again, and what it had before stays in force: %s", self._named, error)


def _identity(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    # A file that replaces another one may have its time and size.
    return found.st_ino, found.st_mtime_ns, found.st_size
