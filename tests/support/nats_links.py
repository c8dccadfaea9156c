"""Hubs that are linked over a real NATS server, and the parts of such links."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.links.endpoint import HubName
from grpc_tool_bridge.cluster.links.mailbox import Mailbox
from grpc_tool_bridge.cluster.links.peers import PeerLink, Peers
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.link.listener import LinkServer
from support.buses import open_bus
from support.hubs import SomeHub
from support.waiting import until


@dataclass(frozen=True)
class Member:
    """A hub in the book."""

    incarnation: str
    name: str
    closed: str = ""


class Book:
    """A book of leases that the test writes."""

    def __init__(self, *incarnations: str) -> None:
        self.members = {each: Member(each, f"hub-{each}") for each in incarnations}
        self._listeners: list[Callable[[Any, Any], None]] = []

    def hubs(self) -> list[Member]:
        return [each for each in self.members.values() if not each.closed]

    def get(self, incarnation: str, /) -> Member | None:
        return self.members.get(incarnation)

    def on_change(self, listener: Callable[[Any, Any], None], /) -> None:
        self._listeners.append(listener)

    def join(self, incarnation: str) -> None:
        self._tell(Member(incarnation, f"hub-{incarnation}"), "joined")

    def close(self, incarnation: str) -> None:
        self._tell(Member(incarnation, f"hub-{incarnation}", closed="the test closed it"), "closed")

    def _tell(self, member: Member, what: str) -> None:
        self.members[member.incarnation] = member
        for listener in self._listeners:
            listener(member, what)


class LinkedHub:
    """One hub of a cluster.

    Attributes:
        bus: Its connection to NATS.
        hub: What it serves.
        peers: Its links.
        serving: Serves the links that others dialled.
    """

    bus: Bus
    peers: Peers

    def __init__(self, incarnation: str, hub: Any, book: Book, *, secret: bytes = b"", serves: object = None) -> None:
        self.incarnation = incarnation
        self.hub = hub
        self.book = book
        self.serving = LinkServer(hub, Settings())
        self._secret, self._serves = secret, serves

    async def start(self, url: str, cluster: str) -> None:
        """Connects and dials those that the book has."""
        self.bus = await open_bus(url, cluster)
        self.peers = Peers(self.bus, self.book, serve=self.serving.serve, secret=self._secret, serves=self._serves)
        await self.peers.begin(HubName(self.incarnation, f"hub-{self.incarnation}"))

    async def linked(self, incarnation: str) -> PeerLink:
        """Waits for the link to another; returns it."""
        await until(lambda: (link := self.peers.get(incarnation)) is not None and link.is_linked)
        link = self.peers.get(incarnation)
        assert link is not None
        return link

    @property
    def mailbox(self) -> Mailbox:
        assert self.peers.mailbox is not None
        return self.peers.mailbox

    async def stop(self) -> None:
        """Ends its links and its connection."""
        await self.peers.end()
        await self.bus.aclose()


@contextlib.asynccontextmanager
async def linked_hubs(
    url: str | Sequence[str], hubs: Sequence[Any] | None = None, *, serves: object = None
) -> AsyncIterator[list[LinkedHub]]:
    """Runs hubs "a", "b" and so on, each of which has dialled all others.

    Args:
        url: Of NATS; a sequence has those of each hub.
        hubs: What they serve; None: two of ``SomeHub``.
        serves: What each serves to those that it dials.
    """
    served = hubs or [SomeHub(), SomeHub()]
    names = "abcdefgh"[: len(served)]
    urls = [url] * len(served) if isinstance(url, str) else url
    book, cluster = Book(*names), f"t{secrets.token_hex(6)}"
    started = [LinkedHub(name, hub, book, serves=serves) for name, hub in zip(names, served, strict=True)]
    async with contextlib.AsyncExitStack() as stack:
        for each, own_url in zip(started, urls, strict=True):
            await each.start(own_url, cluster)
            stack.push_async_callback(each.stop)
        await asyncio.gather(*(each.linked(name) for each in started for name in names if name != each.incarnation))
        yield started
