"""Says in the log that a worker waits for its hub: once for each reason and then as a reminder, not at each attempt."""

import logging
import time

from grpc_tool_bridge.aio.backoff import RETRY_LAST_SECONDS
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.link.status import code_of

# Seconds after which it is logged again.
REMINDER_SECONDS = 60.0

_log = logging.getLogger(__name__)


class WaitLog:
    """Logs that a worker waits for its hub."""

    def __init__(self) -> None:
        # The code of the last error; None while it does not wait.
        self._reason: object = None
        self._since = self._told_at = 0.0

    def note(self, error: ToolBridgeError, where: str) -> None:
        """Notes a failed attempt to reach the hub, and logs it if that was not said yet, or long ago.

        Args:
            error: Why it failed.
            where: The hub's address, for the log.
        """
        now, code = time.monotonic(), code_of(error)
        if self._reason != code:
            self._reason = code
            self._since = self._told_at = now
            _log.warning(
                "waiting for the hub at %s: %s; dialling again with growing pauses of up to %g s",
                where,
                error.message,
                RETRY_LAST_SECONDS,
            )
        elif now - self._told_at >= REMINDER_SECONDS:
            self._told_at = now
            _log.warning("still waiting for the hub at %s after %.0f s: %s", where, now - self._since, error.message)

    def end(self) -> None:
        """Notes that the hub was reached."""
        self._reason = None
