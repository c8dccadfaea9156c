"""What a worker logs while it waits for its hub."""

import logging
import time
from typing import Any, Protocol

from grpc_tool_bridge.aio.backoff import RETRY_LAST_SECONDS
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.status import code_of

# Seconds after which a worker logs again that it is waiting for its hub.
REMINDER_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Where(Protocol):
    """How the hub is reached.

    Attributes:
        where: Its address, for error texts.
    """

    where: str


class Reminders:
    """Logs why the hub cannot be reached: once, and then as a reminder, not on each attempt.

    Args:
        hub: How the hub is reached.
    """

    def __init__(self, hub: Where) -> None:
        self._hub = hub
        self._waits_for: Any = None
        self._waits_since = self._told_at = 0.0

    def remind(self, error: ToolBridgeError) -> None:
        """Called after each attempt that has failed."""
        now, where, why = time.monotonic(), self._hub.where, error.message
        if self._waits_for != code_of(error):
            self._waits_for = code_of(error)
            self._waits_since = self._told_at = now
            _log.warning(
                "waiting for the hub at %s: %s; dialling again with growing pauses of up to %g s",
                where,
                why,
                RETRY_LAST_SECONDS,
            )
        elif now - self._told_at >= REMINDER_SECONDS:
            self._told_at = now
            _log.warning("still waiting for the hub at %s after %.0f s: %s", where, now - self._waits_since, why)

    def is_over(self) -> None:
        """Called when the hub was reached."""
        self._waits_for = None
