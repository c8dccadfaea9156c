"""The last changes of a session's variables, for watches that catch up."""

import itertools
from collections import deque
from dataclasses import replace

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.variable import Change

# Memory of a change besides its value.
CHANGE_BYTES = 256


class VariableHistory:
    """The last changes, bounded by number and by the bytes that their values hold."""

    __slots__ = ("_bytes", "_changes", "_max_bytes", "_max_changes", "floor", "lost_delete")

    def __init__(self, settings: Settings, floor: int, lost_delete: int) -> None:
        self._max_changes = settings.watch_history
        self._max_bytes = settings.watch_history_bytes
        self._changes: deque[Change] = deque()
        self._bytes = 0
        # Every change after this revision is in the history.
        self.floor = floor
        # Revision of the last deletion before it.
        self.lost_delete = lost_delete

    @property
    def size(self) -> int:
        """Bytes that the changes hold."""
        return self._bytes + CHANGE_BYTES * len(self._changes)

    def add(self, change: Change) -> None:
        """Adds a change, and drops the oldest beyond the limits."""
        self._changes.append(change)
        self._bytes += change.size
        while len(self._changes) > self._max_changes or (self._bytes > self._max_bytes and len(self._changes) > 1):
            dropped = self._changes.popleft()
            self._bytes -= dropped.size
            self.floor = dropped.revision
            if dropped.operation == "delete":
                self.lost_delete = dropped.revision

    def hide(self, name: str) -> None:
        """Marks the changes of a variable as those of a secret one."""
        for index, change in enumerate(self._changes):
            if change.name == name:
                self._changes[index] = replace(change, secret=True)

    def reaches(self, revision: int) -> bool:
        """Returns whether it has every change after a revision."""
        return revision >= self.floor

    def after(self, revision: int) -> list[Change]:
        """Returns the changes after ``revision``, oldest first; searches from the end, where most watches are."""
        newer = list(itertools.takewhile(lambda change: change.revision > revision, reversed(self._changes)))
        newer.reverse()
        return newer

    def first_previous(self) -> dict[str, int]:
        """Returns, for each changed variable, its revision before the first change in the history."""
        return {change.name: change.previous for change in reversed(self._changes)}
