"""What a hub does while it is cut off: it tries other nodes of NATS, and sends its clients and workers away."""

import asyncio
import time
from typing import Protocol

from grpc_tool_bridge.cluster.members.certainty import Certainty

# A stream that has lost its leader has the next one within some seconds; the other hubs are no better off meanwhile.
PATIENCE_SECONDS = 12.0
# Without a connection to NATS, this hub alone may be cut off.
UNCONNECTED_SECONDS = 3.0
# Nor can it tell from within whether the node that it is connected to is cut off from the other nodes: then it answers,
# but stores nothing. So long a node is tried before the next one; an election that goes on for longer loses nothing.
NODE_SECONDS = 3.0

# Calls that are open have that long to end.
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.1


class Links(Protocol):
    """The links of clients and workers; the server has them."""

    def pause_links(self, why: str, grace: float) -> None:
        """Refuses new links, and tells all peers to make no new calls; ``grace`` in seconds."""

    def resume_links(self) -> None:
        """Takes new links again."""


class Connected(Protocol):
    """The connection to NATS."""

    @property
    def is_connected(self) -> bool:
        """Whether it is up."""

    async def leave_node(self) -> None:
        """Connects to another node, if there is one."""


class CutOff:
    """Tries other nodes of NATS while a hub is cut off, and sends clients and workers away.

    Args:
        certainty: Says whether the hub owns what it has.
        connection: To NATS.
        links: Of clients and workers.

    Attributes:
        is_paused: Whether they are sent away.
    """

    def __init__(self, certainty: Certainty, connection: Connected, links: Links) -> None:
        self.is_paused = False
        self._certainty = certainty
        self._connection = connection
        self._links = links
        self._since: float | None = None
        self._node_since = 0.0

    async def look_always(self) -> None:
        """Looks whether the hub is cut off."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Does what is due if the hub is cut off; takes clients and workers again if it is back."""
        if self._certainty.is_certain():
            self._since = None
            if self.is_paused:
                self.is_paused = False
                self._links.resume_links()
            return
        now = time.monotonic()
        if self._since is None:
            self._since = self._node_since = now
        await self._try_node(now)
        patience = PATIENCE_SECONDS if self._connection.is_connected else UNCONNECTED_SECONDS
        if not self.is_paused and now - self._since > patience:
            self.is_paused = True
            self._links.pause_links(self._certainty.refusal().message, _GRACE_SECONDS)

    async def _try_node(self, now: float) -> None:
        if not self._connection.is_connected:
            self._node_since = now
        elif now - self._node_since > NODE_SECONDS:
            self._node_since = now
            await self._connection.leave_node()
