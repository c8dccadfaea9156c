"""Keeps the file of an SQLite store tidy, between the commits of its writer."""

import sqlite3
from collections.abc import Sequence

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.stores.sqlite.log import WriteAheadLog
from grpc_tool_bridge.stores.sqlite.retention import Retention
from grpc_tool_bridge.stores.sqlite.room import Room
from grpc_tool_bridge.stores.sqlite.writer import Change


class FileUpkeep:
    """Carries the log over into the file, removes what is no longer kept, and watches the room that is left.

    Args:
        connection: The writer's.
        settings: What is kept, and how large the file may become.
        log: The file's log.
    """

    def __init__(self, connection: sqlite3.Connection, settings: Settings, log: WriteAheadLog) -> None:
        self._log = log
        self._room = Room(connection, settings.max_store_bytes)
        self._retention = Retention(connection, settings)
        self._retention.begin()
        self._has_news = False

    @property
    def limit(self) -> int:
        """See ``Upkeep``."""
        return self._room.limit

    def refuses(self, change: Change) -> bool:
        """See ``Upkeep``."""
        return self._room.left is not None and self._room.refuses(change.size)

    @property
    def is_short(self) -> bool:
        """See ``Upkeep``."""
        return self._room.is_short

    def is_over_limit(self, size: int) -> bool:
        """See ``Upkeep``."""
        return self._room.is_over_limit(size)

    def note(self, batch: Sequence[Change]) -> None:
        """See ``Upkeep``."""
        self._has_news = True
        self._retention.note(batch)

    def step(self) -> float | None:
        """See ``Upkeep``."""
        if self._has_news:
            self._has_news = False
            self._room.look_if_due()
            if self._log.is_long():
                self._log.turn_over()
                return 0.0
        seconds = self._retention.step(give_up=self._room.is_short)
        if seconds == 0.0:
            # It has written, too, and freed room.
            self._has_news = True
        return seconds
