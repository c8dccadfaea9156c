"""Limits log lines that a peer can cause at will: the first ones are written, the rest are counted."""

import logging
import threading
import time
from typing import Any

# Lines with the same format string that are written in each period, and the period in seconds.
MAX_LINES = 10
PERIOD_SECONDS = 60.0


class ThrottledLog:
    """Writes at most ``MAX_LINES`` lines of one text in ``PERIOD_SECONDS``, then reports how many were dropped.

    Texts are compared before formatting, so they must be literals.

    Args:
        log: The logger.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = threading.Lock()
        # For each text, when its period began, and the lines in it.
        self._counts: dict[str, tuple[float, int]] = {}

    def warning(self, text: str, *args: Any) -> None:
        """Logs a warning, unless there were too many like it."""
        if self.admits(text):
            self._log.warning(text, *args, stacklevel=2)

    def admits(self, text: str) -> bool:
        """Counts a line and returns whether to write it; logs a note when lines are dropped.

        Args:
            text: Identifies this kind of line.
        """
        now = time.monotonic()
        with self._lock:
            begun, count = self._counts.get(text, (now, 0))
            omitted = 0
            if now - begun >= PERIOD_SECONDS:
                omitted = max(0, count - MAX_LINES)
                begun, count = now, 0
            count += 1
            self._counts[text] = begun, count
        if omitted:
            self._log.warning("%d lines like the next were left out", omitted, stacklevel=3)
        elif count == MAX_LINES:
            self._log.warning("the next line is the last of its kind for %g s", PERIOD_SECONDS, stacklevel=3)
        return count <= MAX_LINES
