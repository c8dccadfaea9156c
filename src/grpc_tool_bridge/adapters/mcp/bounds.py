"""What an MCP server may do at most."""

import re
import time
from dataclasses import dataclass

MIB = 1024 * 1024

# Begins the text of an error for a message over the limit, by which it is known again.
TOO_LARGE = "message too large"


# What could move the cursor of a terminal, or begin another line of a log.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_NAME_CHARS = 128


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits on one server.

    Attributes:
        message_bytes: Bytes of one message from it; base64 takes a third more than what it carries.
        containers: Lists and objects in one message.
        tools: Tools that it may list.
        pages: Pages of that list.
        list_bytes: Bytes of that list.
        start_seconds: From its start to the list of its tools.
        request_seconds: For a request that is no call.
        notifications: Progress, log lines and other notifications for each second; more are dropped.
        burst: Notifications that may come at once.
        requests: Requests of the server for each second, such as questions; more are dropped, after as many at once as
            in ten seconds.
        input_seconds: For the server to read its input while it is full.
    """

    message_bytes: int = 16 * MIB
    containers: int = 1_000_000
    tools: int = 10_000
    pages: int = 1_000
    list_bytes: int = 64 * MIB
    start_seconds: float = 60.0
    request_seconds: float = 30.0
    notifications: float = 1_000.0
    burst: int = 1_000
    requests: float = 100.0
    input_seconds: float = 300.0


class Bucket:
    """Limits how often something happens.

    Args:
        rate: Times for each second.
        burst: Times at once.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._at = time.monotonic()

    @property
    def is_empty(self) -> bool:
        """Whether it may not happen now."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        return self._left < 1.0

    def take(self) -> bool:
        """Counts one time; returns whether it may happen."""
        if self.is_empty:
            return False
        self._left -= 1.0
        return True


def one_line(text: str) -> str:
    """Returns a server's text as one line that can be logged: without control characters."""
    return _CONTROL.sub("", text)


def shown_name(name: str) -> str:
    """Returns a name that a server gives, as one short line."""
    return one_line(name if len(name) <= _NAME_CHARS else f"{name[:_NAME_CHARS]}…")


def too_large_text(size: int, limit: int, *, at_least: bool = False) -> str:
    """Returns the text of the error for a message of ``size`` bytes."""
    return f"{TOO_LARGE}: the answer takes {'over ' if at_least else ''}{size:,} bytes, the limit is {limit:,}"
