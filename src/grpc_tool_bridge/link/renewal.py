"""Links whose peers are authenticated once more every few seconds, because a proof may expire or be revoked."""

import asyncio
from collections.abc import Collection
from typing import Protocol

from grpc_tool_bridge.aio.turns import in_slices

# How often the peer of a link is authenticated again, and how long a link drains whose peer no longer passes: together
# well under a minute.
CHECK_SECONDS = 15.0
DRAIN_SECONDS = 20.0


class Renewable(Protocol):
    """An open link."""

    def renew_principal(self, grace: float) -> None:
        """Authenticates its peer once more; if that fails, the link drains, and ends in ``grace`` seconds."""


class IdentityWatch:
    """Authenticates the peers of links again while there are links.

    Args:
        links: The open links.
    """

    def __init__(self, links: Collection[Renewable]) -> None:
        self._links = links
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Begins to watch: there is a link with a proof that may end."""
        loop = asyncio.get_running_loop()
        if self._timer is None:
            self._timer = loop.call_later(CHECK_SECONDS, self._check)

    def end(self) -> None:
        """Watches nothing more: there are no links."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._links:
            in_slices(lambda link: link.renew_principal(DRAIN_SECONDS), list(self._links))
            self.begin()
