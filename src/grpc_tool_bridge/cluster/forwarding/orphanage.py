"""Takes sessions whose hub is gone and that nobody asks for, so that they become idle and their runs end."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Protocol

from grpc_tool_bridge.cluster.forwarding.owners import Owners
from grpc_tool_bridge.core.hub import Hub
from grpc_tool_bridge.errors import ToolBridgeError

# Those that somebody asks for are taken at once. The others can wait until their clients have chosen another hub, which
# is then the one that has them. At random, so that not all hubs look together.
GRACE_SECONDS = 10.0
# It is looked for them so often though no hub is gone: that reads the end of each session of the cluster.
_RARELY_SECONDS = 600.0
# Between two that are taken, so that others who use NATS are not held up.
_PAUSE_SECONDS = 0.005

_log = logging.getLogger(__name__)


class HasOrphans(Protocol):
    """Knows the sessions whose hub is gone; ``NatsStore`` does."""

    def is_certain(self) -> bool:
        """Whether this hub may take a session."""

    def orphans(self) -> AsyncIterator[str]:
        """Yields the sessions whose hub is gone; raises StoreError."""


class Orphanage:
    """Takes the sessions that nobody asks for.

    Args:
        store: Knows them.
        owners: Takes them.
        hub: The hub of this process.
    """

    def __init__(self, store: HasOrphans, owners: Owners, hub: Hub) -> None:
        self._store = store
        self._owners = owners
        self._hub = hub
        self._due = asyncio.Event()

    async def look_always(self) -> None:
        """Takes them, after the hub has begun and whenever a hub is gone."""
        while True:
            await asyncio.sleep(GRACE_SECONDS * random.uniform(1.0, 2.0))  # noqa: S311 - no secret
            self._due.clear()
            try:
                # Some may have been taken, and some not.
                is_done = not await self.look() and self._store.is_certain()
            except ToolBridgeError as error:
                _log.debug("the sessions without a hub could not be taken: %s", error)
                is_done = False
            if is_done:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RARELY_SECONDS):
                        await self._due.wait()

    def hub_gone(self) -> None:
        """Notes that a hub is gone, and may have left sessions."""
        self._due.set()

    async def look(self) -> int:
        """Takes all that are there now, and returns how many it found.

        Raises:
            StoreError: They cannot be read.
        """
        found = 0
        async with aclosing(self._store.orphans()) as orphans:  # type: ignore[type-var]  # a generator
            async for session_id in orphans:
                if not self._store.is_certain() or self._hub.admission.draining:
                    break
                found += 1
                try:
                    await self._owners.find(session_id)
                except ToolBridgeError as error:
                    _log.debug("session %s could not be taken: %s", session_id[:64], error)
                await asyncio.sleep(_PAUSE_SECONDS)
        return found
