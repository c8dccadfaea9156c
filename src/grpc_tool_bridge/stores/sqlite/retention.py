"""How much of what is over an SQLite store keeps."""

import sqlite3
import time
from collections import Counter
from collections.abc import Sequence

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.stores.sqlite.writer import Change

# Expired answers are forgotten at least so often while something is written.
SWEEP_SECONDS = 10.0

# Rows that one transaction removes at most, so that no caller has to wait for long.
MAX_ROWS = 2_000


class Retention:
    """Removes what the settings no longer keep, between commits in the writer's thread.

    Args:
        connection: The writer's.
        settings: ``watch_history``, ``watch_history_bytes``, ``max_session_answers``, ``max_session_answer_bytes``.
    """

    def __init__(self, connection: sqlite3.Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        # Changes of variables and kept answers by session since it was last looked at.
        self._changes: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        self._swept_at = time.monotonic()

    def tidy(self, batch: Sequence[Change]) -> None:
        """Looks at what was committed, and removes what is no longer kept."""
        del batch
