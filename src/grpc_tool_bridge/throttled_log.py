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

    def warning(self, text: str, *args: Any, **options: Any) -> None:
        """As of a logger."""
        self._write(logging.WARNING, text, args, options)

    def error(self, text: str, *args: Any, **options: Any) -> None:
        """As of a logger."""
        self._write(logging.ERROR, text, args, options)

    def _write(self, level: int, text: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
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
            self._log.log(level, "%d further lines like the next were left out", omitted, stacklevel=3)
        if count <= MAX_LINES:
            self._log.log(level, text, *args, **{"stacklevel": 3, **options})
            if count == MAX_LINES:
                self._log.log(level, "further lines like the last are left out for %g s", PERIOD_SECONDS, stacklevel=3)
