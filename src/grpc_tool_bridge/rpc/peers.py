"""The connections of a hub's peers, and what each of them holds."""

import asyncio
from collections import deque

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.rpc.budgets import Budget


class Peer:
    """One connection.

    Args:
        name: As gRPC calls it. All connections over one unix socket share a name, and so a budget.
        budget: What it may hold.

    Attributes:
        name, budget: As given.
        rpcs: RPCs and links that are open.
        reading: Requests that are being read.
        turns: Those that wait to be read.
        begun: Large requests that are worked on.
        links: Links.
        pending_links: Those of them without a hello.
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
        # Those who wait for something of the connection to be given back.
        self.room: list[asyncio.Future[None]] = []

    @property
    def is_one(self) -> bool:
        """Whether it is one connection, and not all those over a unix socket or of this process."""
        return self.name.startswith(("ipv4:", "ipv6:"))

    def gave_back(self) -> None:
        """Wakes who waits for room."""
        if self.room:
            waiting, self.room = self.room, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)


class Peers:
    """The connections that have something open.

    Args:
        memory: The hub's budget.
        limit: Bytes that one connection may hold.
        owner: What one is called in a refusal.
        setting: The setting that bounds it.
    """

    def __init__(self, memory: Budget, limit: int, *, owner: str, setting: str) -> None:
        self.memory = memory
        self._limit = limit
        self._owner = owner
        self._setting = setting
        self._peers: dict[str, Peer] = {}
        # Of all of them that have gone.
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
        """Bytes that all of them hold."""
        return sum(peer.budget.used for peer in self._peers.values())

    @property
    def most_used(self) -> int:
        """Bytes that the largest holds."""
        return max((peer.budget.used for peer in self._peers.values()), default=0)

    @property
    def refused(self) -> int:
        """Charges that were refused for want of room of one connection."""
        return self._refused + sum(peer.budget.refused for peer in self._peers.values())

    def enter(self, name: str) -> Peer:
        """Counts an RPC or a link of a connection; ``leave`` takes it back."""
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


def peers_of(memory: Budget, settings: Settings) -> Peers:
    """Makes the connections of a hub, as its settings bound them."""
    return Peers(memory, settings.max_peer_bytes, owner="this connection", setting="max_peer_bytes")
