"""A file of an audit trail, which goes on in another one when it is large or old."""

import errno
import os
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

from grpc_tool_bridge.auth.audit.outlets import Outlet
from grpc_tool_bridge.auth.audit.tails import Tail, read_tail
from grpc_tool_bridge.errors import StoreError

if sys.platform != "win32":
    import fcntl

_MODE = 0o600
_DIGITS = 8


class Rotation(NamedTuple):
    """When a file begins anew.

    Attributes:
        most_bytes: Size at which it does; 0: any.
        seconds: Age at which it does; 0: any.
        keep: How many files that are over are kept; 0: all.
    """

    most_bytes: int = 0
    seconds: float = 0
    keep: int = 0


class AuditFile(Outlet):
    """Writes lines to a file. Files that are over have its name and a number, which rises.

    Args:
        path: The file that is written.
        rotation: When it is over.
    """

    def __init__(self, path: str | Path, rotation: Rotation) -> None:
        super().__init__()
        self._path = Path(path)
        self._rotation = rotation
        self._size = 0
        self._began = 0.0
        self._lock: int | None = None

    def open(self) -> Tail | None:
        """See ``Sink``."""
        self._lock = _locked(self._path)
        try:
            tail = read_tail(self._path)
            earlier = self._earlier()
            if tail is None and earlier:
                tail = read_tail(earlier[-1])
            elif tail is not None and tail.torn:
                # What is left of a line stays as it is, on a line of its own.
                self._left = b"\n"
            self._began = time.time()
            self._opened()
        except BaseException:
            self.close()
            raise
        return tail

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
            self._size = os.fstat(self._descriptor).st_size
        return self._descriptor

    def _wrote(self, size: int) -> None:
        self._size += size

    @property
    def is_due(self) -> bool:
        """See ``Sink``."""
        most, seconds, _ = self._rotation
        return bool(most and self._size >= most) or bool(seconds and time.time() - self._began >= seconds)

    def rotate(self) -> str:
        """See ``Sink``."""
        self.sync()
        name = f"{self._path.name}.{self._next_number():0{_DIGITS}}"
        self._path.rename(self._path.with_name(name))
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
        self._began = time.time()
        self._size = 0
        _sync_folder(self._path.parent)
        return name

    def expired(self) -> list[tuple[str, Tail | None]]:
        """See ``Sink``."""
        keep = self._rotation.keep
        return [(path.name, read_tail(path)) for path in self._earlier()[:-keep]] if keep else []

    def remove(self, name: str) -> None:
        """See ``Sink``."""
        self._path.with_name(name).unlink(missing_ok=True)

    def sync(self) -> None:
        """See ``Sink``."""
        os.fsync(self._opened())

    def close(self) -> None:
        """See ``Sink``."""
        super().close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _next_number(self) -> int:
        earlier = self._earlier()
        return int(earlier[-1].suffix[1:]) + 1 if earlier else 1

    def _earlier(self) -> list[Path]:
        return files_of(self._path)[:-1]


def files_of(path: Path) -> list[Path]:
    """Returns the files of a trail by the name of the one that is written: those that are over, in order, and it."""
    is_one = re.compile(rf"{re.escape(path.name)}\.[0-9]{{{_DIGITS},}}").fullmatch
    over = [each for each in path.parent.iterdir() if is_one(each.name)]
    return [*sorted(over, key=lambda each: int(each.suffix[1:])), path]


def _locked(path: Path) -> int:
    """Returns the descriptor of a lock that no other process has.

    Raises:
        StoreError: Another process writes this trail.
    """
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, _MODE)
    try:
        if sys.platform != "win32":
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        raise StoreError(
            f"the audit trail {path} is written by another process; give each hub a file of its own"
        ) from None
    return lock


def _sync_folder(folder: Path) -> None:
    """Makes a rename last."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
