"""Whether a hub may act for the sessions that it has."""

import asyncio
import time
from typing import Protocol

from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.errors import UnavailableError

# A stream of NATS that has lost its leader has the next one within some seconds, in which no hub is certain.
MAX_WAIT_SECONDS = 10.0

# It is looked at so often while somebody waits, should a change not be told.
_LOOK_SECONDS = 0.1


class Certain(Protocol):
    """What knows whether the hub is certain; ``NatsStore`` does."""

    def is_certain(self) -> bool:
        """Whether this hub is certain that it owns what it owns; quick."""

    @property
    def failure(self) -> str:
        """Why it is not certain; empty if it is."""


class Certainty:
    """Waits until a hub is certain that it owns its sessions.

    Args:
        source: Knows whether it is.

    Attributes:
        is_certain: Returns whether it is; quick.
    """

    def __init__(self, source: Certain) -> None:
        self.is_certain = source.is_certain
        self._source = source
        self._changed = Notifier()
        # When it was first seen that the hub is not certain; None: it is.
        self._since: float | None = None

    def changed(self, serving: bool) -> None:
        """Wakes those who wait: the hub begins to serve, or no longer does."""
        if serving:
            self._since = None
        self._changed.notify_all()

    async def wait(self, deadline: float | None = None) -> None:
        """Waits until the hub is certain, but no longer than MAX_WAIT_SECONDS from when it was not.

        Args:
            deadline: When the caller stops waiting, on the monotonic clock; None: later.

        Raises:
            UnavailableError: The hub is cut off from the store.
        """
        if not self.is_certain() and self._since is None:
            self._since = time.monotonic()
        end = (self._since or 0.0) + MAX_WAIT_SECONDS
        if deadline is not None:
            end = min(end, deadline)
        while not self.is_certain():
            left = end - time.monotonic()
            if left <= 0:
                raise self.refusal()
            try:
                async with asyncio.timeout(min(left, _LOOK_SECONDS)):
                    await self._changed.wait()
            except TimeoutError:
                pass
        self._since = None

    def refusal(self) -> UnavailableError:
        """Returns the error for who needs a session while the hub is not certain."""
        why = self._source.failure or "its lease in NATS has run out"
        return UnavailableError(
            f"this hub is cut off from the sessions of its cluster ({why}); call again, or call another hub",
            details={"retry_after": "1"},
        )
