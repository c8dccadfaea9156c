"""Hubs that are linked over a real NATS server, and the parts of such links."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import nats

from grpc_tool_bridge.cluster.endpoint import HubName
from grpc_tool_bridge.cluster.mailbox import Mailbox
from grpc_tool_bridge.cluster.peers import Peers
from grpc_tool_bridge.cluster.sealing import SECRET_BYTES, ClusterKey
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.link.listener import LinkServer
from support.hubs import SomeHub
from support.waiting import until

CLUSTER = "tests"
KEY = ClusterKey(b"k" * SECRET_BYTES)


@dataclass(frozen=True)
class Member:
    """A hub in the book."""

    incarnation: str
    name: str
    closed: bool = False


class Book:
    """A book of leases that the test writes."""

    def __init__(self, *incarnations: str) -> None:
        self.members = {each: Member(each, f"hub-{each}") for each in incarnations}
        self._callbacks: list[Callable[[Any, str], None]] = []

    def hubs(self) -> list[Member]:
        return list(self.members.values())

    def on_change(self, callback: Callable[[Any, str], None]) -> None:
        self._callbacks.append(callback)

    def join(self, incarnation: str) -> None:
        self._tell(Member(incarnation, f"hub-{incarnation}"), "joined")

    def close(self, incarnation: str) -> None:
        self._tell(Member(incarnation, f"hub-{incarnation}", closed=True), "closed")

    def _tell(self, member: Member, what: str) -> None:
        self.members[member.incarnation] = member
        for callback in self._callbacks:
            callback(member, what)


class LinkedHub:
    """One hub of a cluster.

    Attributes:
        nc: Its connection to NATS.
        hub: What it serves.
        mailbox, peers: Its links.
        serving: What is served over the links that others dialled.
    """

    def __init__(self, incarnation: str, hub: Any, book: Book, *, key: ClusterKey = KEY, serves: object = None) -> None:
        self.incarnation = incarnation
        self.hub = hub
        self.book = book
        self.serving = LinkServer(hub, Settings())
        self.nc: Any = None
        self._key, self._serves = key, serves

    async def start(self, servers: str | Sequence[str], **options: Any) -> None:
        """Connects and dials those that the book has."""

        async def lost() -> None:
            self.mailbox.on_state(is_connected=False)

        async def back() -> None:
            self.mailbox.on_state(is_connected=True)

        async def quiet(_: Exception) -> None:
            """What nats-py tells of lost connections is expected."""

        self.nc = await nats.connect(
            servers if isinstance(servers, str) else list(servers),
            disconnected_cb=lost,
            reconnected_cb=back,
            error_cb=quiet,
            reconnect_time_wait=0.05,
            max_reconnect_attempts=-1,
            pending_size=0,
            **options,
        )
        self.mailbox = Mailbox(self.nc, CLUSTER, self.incarnation)
        await self.mailbox.open()
        self.peers = Peers(
            self.mailbox,
            self._key,
            HubName(self.incarnation, f"hub-{self.incarnation}"),
            self.book,
            serve=self.serving.serve,
            serves=self._serves,
        )
        self.peers.open()

    async def linked(self, incarnation: str) -> Any:
        """Waits for the link to another; returns it."""
        await until(lambda: (link := self.peers.get(incarnation)) is not None and link.is_linked)
        return self.peers.get(incarnation)

    async def stop(self) -> None:
        """Ends its links and its connection."""
        await self.peers.aclose()
        await self.mailbox.aclose()
        await self.nc.close()


@contextlib.asynccontextmanager
async def linked_hubs(
    servers: str | Sequence[str], hubs: Sequence[Any] | None = None, *, serves: object = None, **options: Any
) -> AsyncIterator[list[LinkedHub]]:
    """Runs hubs "a", "b" and so on, each of which has dialled all others.

    Args:
        servers: Of NATS; a sequence of sequences has those of each hub.
        hubs: What they serve; None: two of ``SomeHub``.
        serves: What each serves to those that it dials.
        options: Of nats-py's ``connect``.
    """
    served = hubs or [SomeHub(), SomeHub()]
    names = "abcdefgh"[: len(served)]
    book = Book(*names)
    started = [LinkedHub(name, hub, book, serves=serves) for name, hub in zip(names, served, strict=True)]
    async with contextlib.AsyncExitStack() as stack:
        for each in started:
            await each.start(servers, **options)
            stack.push_async_callback(each.stop)
        await asyncio.gather(*(each.linked(name) for each in started for name in names if name != each.incarnation))
        yield started
