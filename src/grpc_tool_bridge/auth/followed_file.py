"""A file of rules that a running hub follows: it is read at the start, and again when it has changed."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ValidationError

# Seconds between two looks at the file.
LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)

# What tells a file from one that it was before: device, inode, size and time of the last change.
_Mark = tuple[int, int, int, int]

T = TypeVar("T")


class FollowedFile(Generic[T]):
    """Follows a file. One that changes to what is not valid leaves all as it was, with an error in the log.

    Args:
        path: The file.
        stays: What is logged with the error of a change, such as "the policy stays as it was".
        read: Reads it; called in a thread, but for the first time.
        take: Called with what was read, each time.
        look_seconds: Seconds between two looks at it.

    Raises:
        ValidationError: It is not valid.
        OSError: It cannot be read.
    """

    def __init__(
        self,
        path: Path,
        stays: str,
        read: Callable[[Path], T],
        take: Callable[[T], None],
        *,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.path = path
        self._stays = stays
        self._read = read
        self._take = take
        self._look_seconds = look_seconds
        self._mark = _mark_of(path)
        take(read(path))
        self._tasks = TaskSet()

    def start(self) -> None:
        """Begins to follow the file."""
        self._tasks.spawn(self._follow(), f"follow {self.path}")

    async def aclose(self) -> None:
        """Ends following it."""
        await self._tasks.aclose()

    def abandon(self) -> None:
        """Gives it up in an event loop that has ended."""
        self._tasks.abandon()

    async def look(self) -> bool:
        """Reads the file again if it has changed; returns whether it was taken."""
        mark = await asyncio.to_thread(_mark_of, self.path)
        if mark == self._mark:
            return False
        # Noted first: what is wrong with a file is reported once, and one that changes while it is read is read again.
        self._mark = mark
        try:
            found = await asyncio.to_thread(self._read, self.path)
        except (ValidationError, OSError) as error:
            _log.error("%s: %s", self._stays, error)
            return False
        self._take(found)
        _log.info("%s has changed and was read again", self.path)
        return True

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            await self.look()


def _mark_of(path: Path) -> _Mark | None:
    """Returns the mark of a file; None: it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
