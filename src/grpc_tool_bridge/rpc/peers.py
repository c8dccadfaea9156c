"""The connections of a hub's peers, and the memory that each of them holds."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from grpc_tool_bridge.rpc.budgets import Budget

if TYPE_CHECKING:
    from grpc_tool_bridge.config import Settings


class Peer:
    """One connection.

    Args:
        name: gRPC's name for it. All connections over one unix socket share a name, and so a budget.
        budget: What it may hold.

    Attributes:
        name, budget: As given.
        rpcs: Number of open RPCs and links.
        reading: Number of requests that are being read.
        turns: Requests that wait to be read.
        begun: Number of large requests that are being processed.
        links: Number of links.
        pending_links: Number of links without a hello.
    """

    __slots__ = ("begun", "budget", "links", "name", "pending_links", "reading", "room", "rpcs", "turns")

    def __init__(self, name: str, budget: Budget) -> None:
        self.name = name
        self.budget = budget
        self.rpcs = 0
        self.reading = 0
        self.turns: deque[asyncio.Future[None]] = deque()
        self.begun = 0
        self.links = 0
        self.pending_links = 0
        # Wait until the connection releases memory.
        self.room: list[asyncio.Future[None]] = []

    @property
    def is_one(self) -> bool:
        """Whether it is one connection, and not all connections over a unix socket or within this process."""
        return self.name.startswith(("ipv4:", "ipv6:"))

    def gave_back(self) -> None:
        """Wakes those that wait for memory."""
        if self.room:
            waiting, self.room = self.room, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)


class Peers:
    """The connections with open RPCs or links.

    Args:
        memory: The hub's budget.
        limit: Bytes that one connection may hold.
        owner: The name of a connection in error texts.
        setting: The setting that increases the limit.
    """

    def __init__(self, memory: Budget, limit: int, *, owner: str, setting: str) -> None:
        self.memory = memory
        self._limit = limit
        self._owner = owner
        self._setting = setting
        self._peers: dict[str, Peer] = {}
        # Of closed connections.
        self._refused = 0

    def __len__(self) -> int:
        return len(self._peers)

    @property
    def links(self) -> int:
        """Links that are open."""
        return sum(peer.links for peer in self._peers.values())

    @property
    def limit(self) -> int:
        """Bytes that one connection may hold."""
        return self._limit

    @property
    def used(self) -> int:
        """Bytes that all connections hold."""
        return sum(peer.budget.used for peer in self._peers.values())

    @property
    def most_used(self) -> int:
        """Bytes that the largest connection holds."""
        return max((peer.budget.used for peer in self._peers.values()), default=0)

    @property
    def refused(self) -> int:
        """Number of charges that were refused because a connection's budget was full."""
        return self._refused + sum(peer.budget.refused for peer in self._peers.values())

    def enter(self, name: str) -> Peer:
        """Counts an RPC or a link of a connection, until ``leave``."""
        peer = self._peers.get(name)
        if peer is None:
            budget = Budget(self._limit, owner=self._owner, setting=self._setting, parent=self.memory)
            peer = self._peers[name] = Peer(name, budget)
        peer.rpcs += 1
        return peer

    def leave(self, peer: Peer) -> None:
        """Counts the end of an RPC or a link."""
        peer.rpcs -= 1
        if not peer.rpcs:
            self._peers.pop(peer.name, None)
            self._refused += peer.budget.refused
            peer.budget.close()


def peers_of(memory: Budget, settings: "Settings") -> Peers:
    """Returns the connections of a hub, within the limits of its settings."""
    return Peers(memory, settings.max_peer_bytes, owner="this connection", setting="max_peer_bytes")
