"""The sessions that this hub owns: its lease, their chains, and how it comes by them and loses them."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.journal.appending import Appender
from grpc_tool_bridge.cluster.journal.chain import Chain, moved_error
from grpc_tool_bridge.cluster.journal.image import SessionImage
from grpc_tool_bridge.cluster.members.hub_record import HubRecord
from grpc_tool_bridge.cluster.members.lease import Lease
from grpc_tool_bridge.cluster.members.leases import Leases
from grpc_tool_bridge.cluster.sessions.places import Ended, Mine, Missing, Orphan, Owned, Place
from grpc_tool_bridge.cluster.sessions.taking import ChainEnd, chain_end, chain_ends, take_chain
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.commit_metrics import CommitMetrics
from grpc_tool_bridge.core.sealing import StoreSealing
from grpc_tool_bridge.errors import StoreError, ToolBridgeError

# What is called with the ids of sessions that this hub no longer owns, and why.
OnLost = Callable[[Sequence[str], str], None]

# Between two tries to begin a new lease, or two looks at the leases of others.
PAUSE_SECONDS = 0.1
# How long a hub that stands alone waits until the lease of its earlier life has ended.
ALONE_SECONDS = 10.0
# How long a hub that ends waits until all is stored.
CLOSE_SECONDS = 10.0
# Answers that are no longer kept are freed so often.
SWEEP_SECONDS = 30.0
# Sessions that are taken at once when a hub begins.
TAKEN_AT_ONCE = 32

_log = logging.getLogger(__name__)


class OwnedSessions:
    """The sessions that this hub owns.

    Args:
        bus: The connection; it is open.
        settings: Those of the hub.
        info: What its lease tells of the hub.
        sealing: Seals and opens the values that are stored; None: there are no keys.

    Attributes:
        lease: That of this hub.
        leases: Those of all hubs.
        metrics: What was stored, over all lives.
        appender: Appends for the present life.
        ended: Why sessions ended here, by id, with the sequence of the message that says so, the latest last.
        on_lost: What is told of sessions that moved.
        fenced: Writes that were refused because another hub had taken the session.
    """

    def __init__(
        self, bus: Bus, settings: Settings, info: Mapping[str, Any], sealing: StoreSealing | None = None
    ) -> None:
        self._bus = bus
        self._sealing = sealing or StoreSealing()
        self._settings = settings
        self._info = info
        self._tasks = TaskSet()
        self._chains: dict[str, Chain] = {}
        self._taking: dict[str, asyncio.Future[None]] = {}
        # Earlier lives of this hub, which has forgotten what they owned.
        self._former: set[str] = set()
        self.lease = Lease(bus)
        self.leases = Leases(bus, self.lease)
        self.metrics = CommitMetrics()
        self.appender = self._new_appender()
        self.ended: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self.on_lost: list[OnLost] = []
        self.fenced = 0

    @property
    def waiting(self) -> int:
        """Changes that are not stored yet, besides those on their way."""
        return sum(chain.waiting for chain in self._chains.values())

    def __len__(self) -> int:
        return len(self._chains)

    # ---------------------------------------------------------------------------------------------- its lifetime

    async def open(self) -> None:
        """Begins a life.

        Raises:
            StoreError: NATS does not answer.
        """
        self.lease.on_lost(self._lease_lost)
        self.lease.watch(self._lease_changed)
        await self.lease.begin(**self._info)
        self.appender = self._new_appender()
        await self.leases.open()
        self._tasks.spawn(self._sweep_always(), "sweep of kept answers")

    async def _sweep_always(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep(time.time())

    async def sweep(self, now: float) -> None:
        """Frees what sessions no longer keep at a time, in seconds since the epoch; yields to other tasks."""
        turns = Turns()
        for chain in list(self._chains.values()):
            chain.image.sweep(now)
            if turns.due:
                await turns.give()

    async def alone(self) -> None:
        """Waits until no other hub has a lease.

        Raises:
            StoreError: Another hub renews its lease.
        """
        others = {record.incarnation: record for record in self._others()}
        until = time.monotonic() + ALONE_SECONDS
        while others:
            left = {record.incarnation: record for record in self._others()}
            if not left:
                return
            if time.monotonic() >= until or any(left[name].sequence != others[name].sequence for name in left):
                raise StoreError(
                    "another hub has this store; end it, or let both serve the cluster together", retryable=False
                )
            await asyncio.sleep(PAUSE_SECONDS)

    def _others(self) -> Iterable[HubRecord]:
        return [hub for hub in self.leases.hubs() if hub.incarnation != self.lease.incarnation]

    async def hand_over(self) -> None:
        """Stores what waits, and gives all sessions back: from then on, any other hub may take them."""
        idle = [asyncio.ensure_future(chain.idle()) for chain in list(self._chains.values())]
        if idle:
            _, late = await asyncio.wait(idle, timeout=CLOSE_SECONDS)
            for waiting in late:
                waiting.cancel()
        self.appender.lose("the hub ends")
        await self.appender.tasks.aclose()
        await self._tasks.aclose()
        await self.lease.close()
        self._chains.clear()

    async def aclose(self) -> None:
        """Hands all sessions over, unless that was done, and ends."""
        await self.hand_over()
        await self.leases.aclose()

    def _new_appender(self) -> Appender:
        return Appender(self._bus, self.lease.incarnation, self.lease.is_certain, self._settings, self.metrics)

    def _lease_changed(self) -> None:
        self.appender.changed.notify_all()

    def _lease_lost(self, why: str) -> None:
        """Forgets all sessions, and begins a new life."""
        text = f"the hub has lost its lease: {why}"
        _log.warning("%s; its sessions are served by others from now on", text)
        self.appender.lose(text)
        self._former.add(self.lease.incarnation)
        lost = list(self._chains.values())
        self._chains.clear()
        # First: who reads a run, or waits for a variable, is told that the session has moved, and not what fails here.
        self._tell_lost([chain.session_id for chain in lost], text)
        for chain in lost:
            chain.lose(moved_error(chain.session_id))
        self._tasks.spawn(self._begin_anew(), "lease of the hub")

    async def _begin_anew(self) -> None:
        while True:
            try:
                await self.lease.begin()
            except StoreError as error:
                _log.debug("no new lease yet: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                self.appender = self._new_appender()
                return

    def _tell_lost(self, session_ids: Sequence[str], why: str) -> None:
        if session_ids:
            for told in self.on_lost:
                told(session_ids, why)

    # -------------------------------------------------------------------------------------------------- sessions

    def chain(self, session_id: str) -> Chain | None:
        """Returns the chain of a session; None: this hub does not own it."""
        return self._chains.get(session_id)

    def begin(self, session_id: str) -> Chain:
        """Returns the chain of a session that begins here."""
        image = SessionImage(self._settings, session_id, self._sealing)
        chain = self._chains[session_id] = Chain(self.appender, image, token=1, on_end=self._chain_ended)
        chain.last = self.ended.get(session_id, ("", 0))[1]
        return chain

    def drop(self, chain: Chain) -> None:
        """Forgets a chain whose session could not begin."""
        if self._chains.get(chain.session_id) is chain:
            del self._chains[chain.session_id]

    def forget(self, session_id: str) -> None:
        """Gives a session up: nothing more is stored in it."""
        chain = self._chains.pop(session_id, None)
        if chain is not None:
            chain.lose(moved_error(session_id))

    def _chain_ended(self, chain: Chain, error: ToolBridgeError | None) -> None:
        was_mine = self._chains.get(chain.session_id) is chain
        self.drop(chain)
        if error is not None:
            if was_mine and chain.is_begun:
                self.fenced += 1
                self._tell_lost([chain.session_id], error.message)
            return
        self.remember(chain.session_id, chain.image.ended or "", chain.last)

    def remember(self, session_id: str, why: str, sequence: int) -> None:
        """Remembers why a session ended."""
        self.ended.pop(session_id, None)
        self.ended[session_id] = why, sequence
        while len(self.ended) > self._settings.ended_sessions:
            self.ended.popitem(last=False)

    # ------------------------------------------------------------------------------------------ those of others

    async def locate(self, session_id: str) -> Place:
        """Finds out where a session is.

        Raises:
            StoreError: NATS does not answer.
        """
        if session_id in self._chains:
            return Mine()
        message = await self._bus.last(self._bus.names.session(session_id))
        if session_id in self._chains:
            return Mine()
        if message is None:
            return Missing()
        end = chain_end(message)
        if end.ended is not None:
            return Ended(end.ended)
        return Orphan() if await self._is_gone(end.owner) else Owned(end.owner)

    async def take(self, session_id: str) -> Chain | None:
        """Takes a session whose hub is gone; see ``take_chain``. None also while it is being taken here."""
        taking = self._taking.get(session_id)
        if taking is not None:
            await asyncio.wait([taking])
            return None
        if session_id in self._chains:
            return None
        taken = self._taking[session_id] = asyncio.get_running_loop().create_future()
        appender = self.appender
        try:
            chain = await take_chain(
                appender, session_id, is_gone=self._is_gone, on_end=self._chain_ended, sealing=self._sealing
            )
            if chain is None or appender is not self.appender or session_id in self._chains:
                return None
            self._chains[session_id] = chain
            chain.seal_anew()
            return chain
        finally:
            del self._taking[session_id]
            taken.set_result(None)

    async def _is_gone(self, incarnation: str) -> bool:
        """Returns whether a life of a hub has ended, this one's earlier lives included."""
        if incarnation == self.lease.incarnation or incarnation in self._former:
            return True
        record = await self.leases.find(incarnation)
        return record is None or bool(record.closed)

    async def chain_ends(self) -> AsyncIterator[ChainEnd]:
        """Yields the end of each chain of the cluster; raises as ``chain_ends``."""
        async for end in chain_ends(self._bus):
            yield end

    async def orphans(self) -> AsyncIterator[str]:
        """Yields the sessions whose hub is gone."""
        async for end in chain_ends(self._bus):
            if end.ended is None and end.session_id not in self._chains and await self._is_gone(end.owner):
                yield end.session_id
