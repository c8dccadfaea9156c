"""The file of a recording while the hub records: a thread of its own appends lines in the order of time."""

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.testing.recording.entries import Entry
from grpc_tool_bridge.testing.recording.lines import FORMAT, MAX_FILE_BYTES, encode, header, values_of
from grpc_tool_bridge.testing.recording.settling import settle
from grpc_tool_bridge.values.redaction import TooManySecretsError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment] # as above

# Bytes of entries that wait to be written. Beyond, the disk is too slow, and the recording ends.
MAX_WAITING_BYTES = 256 * 1024 * 1024

_log = logging.getLogger(__name__)
_throttled = ThrottledLog(_log)


class Journal:
    """Writes entries to a file.

    A failure, such as a full disk, ends the recording with a line in the log, and nothing else.

    Args:
        path: The file. A recording that is there is replaced; any other file is not.
        max_bytes: Size of the whole recording, large values included; beyond, it ends.

    Raises:
        OSError: The file cannot be written.
        FileExistsError: It is there, and is not a recording; or another hub records in it.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_bytes: int = MAX_FILE_BYTES) -> None:
        self.path = os.fspath(path)
        _check_replaceable(self.path)
        self._max_bytes = max_bytes
        # A recording that is there is replaced by the first event: the hub may not even start.
        self._file = open(self.path, "ab", buffering=0, opener=_private)  # noqa: SIM115 - closed by the thread
        _lock(self._file, self.path)
        self._is_begun = False
        self._began = time.monotonic()
        self._bytes = 0
        self._failed = self._closed = False
        self._waiting = 0
        self._lock = threading.Lock()
        self._entries: queue.SimpleQueue[Callable[[], dict[str, Any] | None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    @property
    def failed(self) -> bool:
        """Whether the recording has ended early."""
        return self._failed

    def now(self) -> int:
        """Returns the microseconds since the recording began."""
        return int((time.monotonic() - self._began) * 1_000_000)

    def put(self, entry: Entry, line_of: Callable[[Entry], dict[str, Any]]) -> None:
        """Has a line written; from any thread, without waiting.

        Args:
            entry: The event.
            line_of: Makes its line, in the journal's thread.
        """
        if self._failed or self._closed:
            return
        size = entry.size
        with self._lock:
            self._waiting += size
            too_slow = self._waiting > MAX_WAITING_BYTES
        if too_slow:
            self._fail(f"the disk is too slow: {self._waiting:,} bytes wait to be written")
            return

        def make() -> dict[str, Any]:
            with self._lock:
                self._waiting -= size
            return line_of(entry)

        self._entries.put(make)

    def run(self, function: Callable[[], None]) -> None:
        """Calls a function in the journal's thread, in order with the lines."""
        self._entries.put(function)

    def store(self, name: str, data: bytes) -> None:
        """Stores a large value beside the file; called in the journal's thread."""
        directory = Path(values_of(self.path))
        directory.mkdir(mode=0o700, exist_ok=True)
        file = directory / f"{name}.json"
        if not file.exists():
            self._count(len(data))
            # Written whole or not at all, whatever happens.
            partial = file.with_suffix(".part")
            partial.write_bytes(data)
            partial.replace(file)

    def close(self) -> None:
        """Writes what waits, and puts the recording in order. Does nothing if it is closed."""
        self._closed = True
        self._entries.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (make := self._entries.get()) is not None:
            if not self._failed:
                self._add(make)
        if not self._is_begun and not self._file.tell():
            # Nothing has happened, and no recording was there before.
            self._add(lambda: None)
        self._file.close()
        if self._is_begun and not self._failed:
            try:
                settle(self.path)
            except (OSError, ValueError) as error:
                _log.warning("the recording %s stays in the order of time: %s", self.path, error)

    def _add(self, make: Callable[[], dict[str, Any] | None]) -> None:
        try:
            if not self._is_begun:
                self._begin()
            line = make()
            if line is not None:
                self._write(line)
        except OSError as error:
            self._fail(error.strerror or str(error))
        except TooManySecretsError as error:
            self._fail(str(error))
        except Exception:  # noqa: BLE001 - an event that cannot be written must not end the recording
            if _throttled.admits("lacks an event"):
                _log.exception("the recording %s lacks an event that could not be written", self.path)

    def _begin(self) -> None:
        self._is_begun = True
        _remove_values(self.path)
        self._file.truncate(0)
        self._write({**header(is_open=True), "began": time.time()})

    def _write(self, line: dict[str, Any]) -> None:
        data = encode(line).encode() + b"\n"
        self._count(len(data))
        left = memoryview(data)
        while left:
            left = left[self._file.write(left) :]

    def _count(self, size: int) -> None:
        self._bytes += size
        if self._bytes > self._max_bytes:
            raise OSError(0, f"it would be larger than {self._max_bytes:,} bytes")

    def _fail(self, why: str) -> None:
        if not self._failed:
            self._failed = True
            _log.warning("the recording %s has ended early: %s; calls go on as before", self.path, why)


def _check_replaceable(path: str) -> None:
    try:
        with Path(path).open("rb") as file:
            first = file.readline(1_000)
    except FileNotFoundError:
        return
    try:
        known = not first or json.loads(first)["format"] == FORMAT
    except (ValueError, TypeError, KeyError):
        known = False
    if not known:
        raise FileExistsError(0, "the file is there and is not a recording, so it is not replaced", path)


def _lock(file: Any, path: str) -> None:
    """Keeps others from recording in the same file, where the system can."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise FileExistsError(0, "another hub records in this file", path) from None


def _remove_values(path: str) -> None:
    """Removes the large values of an earlier recording."""
    for file in Path(values_of(path)).glob("*.json"):
        file.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
