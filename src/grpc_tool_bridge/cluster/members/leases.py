"""The book of all hubs of a cluster, by their leases; and how one that is gone is closed."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster import clock
from grpc_tool_bridge.cluster.bus.bus import Bus
from grpc_tool_bridge.cluster.bus.message import ROLLUP, Message, keep_for
from grpc_tool_bridge.cluster.bus.watch import Watch
from grpc_tool_bridge.cluster.errors import AppendError, WrongSequenceError
from grpc_tool_bridge.cluster.members.hub_record import HubRecord, decoded
from grpc_tool_bridge.cluster.members.lease import CLOSED_SECONDS, Lease
from grpc_tool_bridge.cluster.names import is_token
from grpc_tool_bridge.errors import StoreError
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.errors.throttled_log import ThrottledLog

# How often it is looked whether a hub is gone, or the watch silent.
_LOOK_SECONDS = 0.1
# How often all leases are read while the watch is silent.
_POLL_SECONDS = 0.3
# Closed hubs that are remembered.
_MAX_CLOSED = 1_000
# Hubs that are there; each has links to all others.
MAX_HUBS = 1_000

_log = logging.getLogger(__name__)


class Change(StrEnum):
    """What has become of a hub."""

    JOINED = "joined"
    CHANGED = "changed"
    CLOSED = "closed"


class Leases:
    """Knows all hubs of the cluster, and closes the lease of one that no longer renews it.

    It hears of each renewal by a watch, of this hub's own ones too: when those do not come, the watch is dead, or the
    store cannot be read, and nobody is judged by what this hub did not hear.

    Args:
        bus: The connection.
        lease: This hub's own.
    """

    def __init__(self, bus: Bus, lease: Lease) -> None:
        self._bus, self._lease = bus, lease
        self._tasks = TaskSet()
        self._watch: Watch | None = None
        self._hubs: dict[str, HubRecord] = {}
        self._closed: dict[str, HubRecord] = {}
        # When each hub's record was last seen to change.
        self._seen: dict[str, float] = {}
        self._listeners: list[Callable[[HubRecord, Change], None]] = []
        self._heard_at = self._hearing_since = self._watch_heard_at = clock.now()
        self._polled_at = 0.0
        self._throttled = ThrottledLog(_log)
        self.remade = 0

    async def open(self) -> None:
        """Reads all leases, and begins to watch them.

        Raises:
            StoreError: They cannot be read.
        """
        self._heard_at = self._hearing_since = clock.now()
        await self._read()
        self._tasks.spawn(self._look_always(), "looking after the leases of hubs")
        self._tasks.spawn(self._watch_always(), "watching the leases of hubs")

    async def aclose(self) -> None:
        """Ends it."""
        await self._tasks.aclose()
        if self._watch is not None:
            await self._watch.aclose()

    def hubs(self) -> list[HubRecord]:
        """Returns all hubs whose lease is not closed, this one too, by their names."""
        return sorted(self._hubs.values(), key=lambda record: (record.name, record.incarnation))

    def get(self, incarnation: str) -> HubRecord | None:
        """Returns what is known of a hub's life; None: nothing, see ``find``."""
        return self._hubs.get(incarnation) or self._closed.get(incarnation)

    async def find(self, incarnation: str) -> HubRecord | None:
        """Reads the lease of a hub that is perhaps not in the book yet; None: it was closed long ago.

        Raises:
            StoreError: It cannot be read.
        """
        if (known := self.get(incarnation)) is not None:
            return known
        found = await self._bus.last(self._bus.names.hub(incarnation))
        if found is None:
            return None
        self._take(found)
        return self.get(incarnation)

    def on_change(self, listener: Callable[[HubRecord, Change], None]) -> None:
        """Has ``listener`` called when a hub joins, tells something new of itself, or is closed; not for renewals."""
        self._listeners.append(listener)

    async def close_dead(self) -> None:
        """Closes the lease of each hub that has not renewed it, while this hub could have heard of that."""
        limit = self._lease.terms.term + self._lease.terms.margin
        now = clock.now()
        if now - self._heard_at > self._lease.terms.term or not self._lease.is_certain():
            return
        silent = [
            record
            for record in self._hubs.values()
            if now - max(self._seen[record.incarnation], self._hearing_since) > limit
            and record.incarnation != self._lease.incarnation
        ]
        for record in silent:
            await self._close(record)

    async def _close(self, known: HubRecord) -> None:
        """Closes the lease of a hub, unless it has been renewed since."""
        subject = self._bus.names.hub(known.incarnation)
        why = f"it no longer renewed its lease, so hub {self._lease.record.name} has closed it"
        closed = replace(known, closed=why)
        headers = {**ROLLUP, **keep_for(CLOSED_SECONDS)}
        try:
            sequence = await self._bus.append(subject, closed.encoded(), last=known.sequence, headers=headers)
        except WrongSequenceError:
            await self._read_again(known)
        except AppendError as error:
            _log.warning("the lease of hub %s cannot be closed: %s", known.name, error)
        else:
            _log.warning("hub %s (%s) is gone: its lease was closed", known.name, known.incarnation)
            self._know(replace(closed, sequence=sequence))

    async def _read_again(self, known: HubRecord) -> None:
        """Reads the lease of a hub that is not as it was known: it is alive after all, or closed by another."""
        found = await self._bus.last(self._bus.names.hub(known.incarnation))
        if found is not None:
            self._take(found)
        else:
            self._know(replace(known, closed="its lease is gone from NATS", sequence=known.sequence + 1))

    async def _look_always(self) -> None:
        while True:
            try:
                await self._look()
            except StoreError as error:
                _log.debug("the leases of hubs cannot be read: %s", error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _look(self) -> None:
        now = clock.now()
        if self._is_watch_silent(now) and now - self._polled_at >= _POLL_SECONDS:
            self._polled_at = now
            await self._read()
        await self.close_dead()

    async def _read(self) -> None:
        for message in await self._bus.last_of([self._bus.names.hubs]):
            self._take(message)

    def _is_watch_silent(self, now: float) -> bool:
        is_open = self._watch is not None and not self._watch.is_broken
        return not is_open or now - self._watch_heard_at > self._lease.terms.term

    async def _watch_always(self) -> None:
        while True:
            if self._is_watch_silent(clock.now()):
                try:
                    await self._watch_anew()
                except StoreError as error:
                    _log.debug("the leases of hubs cannot be watched: %s", error)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _watch_anew(self) -> None:
        former, self._watch = self._watch, None
        if former is not None:
            self.remade += 1
            await former.aclose()
        watch = Watch(self._bus, self._bus.names.hubs, self._take_watched)
        await watch.open()
        self._watch_heard_at = clock.now()
        self._watch = watch

    def _take_watched(self, message: Message) -> None:
        if message.subject == self._bus.names.hub(self._lease.incarnation):
            self._watch_heard_at = clock.now()
        self._take(message)

    def _take(self, message: Message) -> None:
        incarnation = message.subject.rpartition(".")[2]
        if not is_token(incarnation):
            self._throttled.warning("a lease in NATS belongs to no hub: its subject is none; it is ignored")
            return
        known = self._hubs.get(incarnation) or self._closed.get(incarnation)
        if known is not None and message.sequence <= known.sequence:
            return
        record = decoded(incarnation, message.data, message.sequence)
        if incarnation in self._closed and not record.closed:
            # No hub can renew a lease that was closed, so it is not one that wrote this.
            self._throttled.warning(
                "somebody else has written to the closed lease of hub %s; that is ignored", incarnation
            )
            return
        if len(self._hubs) >= MAX_HUBS and incarnation not in self._hubs and not record.closed:
            self._throttled.warning("there are more than %d hubs; further ones are ignored", MAX_HUBS)
            return
        if incarnation == self._lease.incarnation:
            self._hear()
            self._lease.note_closed(record)
        self._know(record)

    def _hear(self) -> None:
        """Notes that this hub's own renewal came: what others stored before it has come too."""
        now = clock.now()
        if now - self._heard_at > self._lease.terms.term:
            # What came meanwhile is not known, so everybody's time begins anew.
            self._hearing_since = now
        self._heard_at = now

    def _know(self, record: HubRecord) -> None:
        incarnation = record.incarnation
        if record.closed:
            before = self._hubs.pop(incarnation, None)
            self._seen.pop(incarnation, None)
            is_new = incarnation not in self._closed
            self._closed[incarnation] = record
            while len(self._closed) > _MAX_CLOSED:
                self._closed.pop(next(iter(self._closed)))
            if is_new and before is not None:
                self._tell(record, Change.CLOSED)
            return
        before = self._hubs.get(incarnation)
        self._hubs[incarnation] = record
        self._seen[incarnation] = clock.now()
        if before is None:
            self._tell(record, Change.JOINED)
        elif replace(before, sequence=0) != replace(record, sequence=0):
            self._tell(record, Change.CHANGED)

    def _tell(self, record: HubRecord, change: Change) -> None:
        for listener in list(self._listeners):
            try:
                listener(record, change)
            except Exception as error:  # noqa: BLE001 - it is logged; whoever looks after the leases must go on
                log_fault(_log, "who is told of hubs has a fault", error=error)
