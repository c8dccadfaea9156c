"""Log lines that a peer can cause as often as it likes: the first ones are written, the rest are counted."""

import logging
import threading
import time
from typing import Any

# Of lines with the same text before its arguments: so many are written in each period of so many seconds.
MAX_LINES = 10
PERIOD_SECONDS = 60.0


class ThrottledLog:
    """Writes at most ``MAX_LINES`` lines of one text in ``PERIOD_SECONDS``, then says how many were left out.

    Texts are told apart before their arguments are put in, so they must be literals.

    Args:
        log: Where they are written.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lock = threading.Lock()
        # Of each text: when its period began, and how many came in it.
        self._counts: dict[str, tuple[float, int]] = {}

    def warning(self, text: str, *args: Any) -> None:
        """As of a logger."""
        if self.admits(text):
            self._log.warning(text, *args, stacklevel=2)

    def admits(self, text: str) -> bool:
        """Counts a line, and tells whether it is to be written; says so itself where lines are left out.

        Args:
            text: What tells this kind of line from others.
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
