"""The policy of a running hub: read at the start, and read again when its file changes."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.auth.policy.decisions import Decisions
from grpc_tool_bridge.auth.policy.reading import read_policy
from grpc_tool_bridge.errors import ValidationError

# Seconds between two looks at the file.
LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)

# What tells a file from one that it was before: device, inode, size and time of the last change.
_Mark = tuple[int, int, int, int]


class PolicyFile:
    """The policy in a file.

    A file that changes to what is not valid leaves the policy as it was, with an error in the log.

    Args:
        path: The file.
        look_seconds: Seconds between two looks at it.

    Attributes:
        decisions: What the policy decides now.
        on_change: Called after another policy has begun to hold; None: nobody is.

    Raises:
        ValidationError: It is not valid.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path, *, look_seconds: float = LOOK_SECONDS) -> None:
        self.path = path
        self._look_seconds = look_seconds
        self._mark = _mark_of(path)
        self.decisions = Decisions(read_policy(path))
        self.on_change: Callable[[], None] | None = None
        self._tasks = TaskSet()

    def start(self) -> None:
        """Begins to follow the file."""
        self._tasks.spawn(self._follow(), "follow the policy file")

    async def aclose(self) -> None:
        """Ends following it."""
        await self._tasks.aclose()

    def abandon(self) -> None:
        """Gives it up in an event loop that has ended."""
        self._tasks.abandon()

    async def look(self) -> bool:
        """Reads the file again if it has changed; returns whether another policy holds now."""
        mark = await asyncio.to_thread(_mark_of, self.path)
        if mark == self._mark:
            return False
        # Noted first: what is wrong with a file is reported once, and one that changes while it is read is read again.
        self._mark = mark
        try:
            policy = await asyncio.to_thread(read_policy, self.path)
        except (ValidationError, OSError) as error:
            _log.error("the policy stays as it was: %s", error)
            return False
        self.decisions = Decisions(policy)
        _log.info("%s was read again: %d rules", self.path, len(policy.rules))
        if self.on_change is not None:
            self.on_change()
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
