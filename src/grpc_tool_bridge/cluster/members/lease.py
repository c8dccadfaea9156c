"""A hub's own lease: how it knows that what it owns is still its own."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.cluster import clock
from grpc_tool_bridge.cluster.bus.bus import Bus, new_message_id
from grpc_tool_bridge.cluster.bus.message import ROLLUP, keep_for
from grpc_tool_bridge.cluster.errors import AppendError, WrongSequenceError
from grpc_tool_bridge.cluster.members.hub_record import HubRecord, decoded
from grpc_tool_bridge.errors import StoreError, UnavailableError

# A closed lease stays for a while, for those who know the hub; who finds no lease of a hub knows that it is closed.
CLOSED_SECONDS = 600.0
# How long a hub that stops tries to close its lease; else the others do.
_CLOSE_SECONDS = 5.0
# Between two attempts to renew, where one has failed.
_RETRY_SECONDS = 0.1
# Renewals without an acknowledgement that may have been stored, which are remembered.
_MAX_OPEN = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """The seconds of leases, the same for all hubs of a cluster.

    A hub is certain for ``term - margin`` from the start of a renewal; the others wait for ``term + margin`` from when
    they have seen one. The margins are for clocks that do not run alike.

    Attributes:
        term: How long a renewal is good for.
        renew: How often a lease is renewed.
        attempt: How long one attempt may take.
        margin: What each side adds or leaves out.
    """

    term: float = 1.0
    renew: float = 0.3
    attempt: float = 0.5
    margin: float = 0.2


TERMS = Terms()


class Lease:
    """The lease of this hub, renewed in the background.

    Once another hub has closed it, it is lost for good: whoever has it forgets what it owned, and begins anew.

    Args:
        bus: The connection.
        terms: Its seconds.
    """

    def __init__(self, bus: Bus, terms: Terms = TERMS) -> None:
        self._bus, self.terms = bus, terms
        self._tasks = TaskSet()
        self._record = HubRecord("")
        self._last = 0
        self._certain_until = 0.0
        self._is_held = False
        # When each renewal began that may have been stored without an acknowledgement, by its id.
        self._open: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._stored: asyncio.Future[None] | None = None
        self._lost: list[Callable[[str], None]] = []
        self._watchers: list[Callable[[], None]] = []
        self._was_certain = False
        self._running_out: asyncio.TimerHandle | None = None
        self.failure = ""
        self.renewals = self.failures = 0
        self.renewal_seconds = 0.0

    @property
    def incarnation(self) -> str:
        """The random id of this life of the hub; empty before ``begin``."""
        return self._record.incarnation

    @property
    def record(self) -> HubRecord:
        """What it tells the others, or soon will."""
        return replace(self._record, sequence=self._last)

    def is_certain(self) -> bool:
        """Whether nobody else can own what this hub owns; quick."""
        return clock.now() < self._certain_until

    def on_lost(self, callback: Callable[[str], None]) -> None:
        """Has ``callback`` called with the reason when another hub has closed the lease."""
        self._lost.append(callback)

    def watch(self, changed: Callable[[], None]) -> None:
        """Has ``changed`` called when the hub has become certain, and when it no longer is."""
        self._watchers.append(changed)

    async def begin(self, **info: Any) -> HubRecord:
        """Begins a life of the hub, with a new id.

        Args:
            **info: Fields of ``HubRecord``; those that are left out stay as they were in the life before.

        Raises:
            StoreError: The lease cannot be stored.
        """
        await self._stop()
        given = {"started": time.time(), **info, "closed": "", "incarnation": secrets.token_hex(10)}
        self._record = replace(self._record, **given)
        self._open.clear()
        begun = clock.now()
        self._last = await self._bus.append_surely(self._subject, self._record.encoded(), last=0, headers=ROLLUP)
        self._is_held = True
        self._renewed(begun)
        self._tasks.spawn(self._renew_always(), "renewing the hub's lease")
        return self.record

    def set(self, **info: Any) -> None:
        """Changes what the next renewal tells, such as ``room``.

        Args:
            **info: Fields of ``HubRecord``.
        """
        self._record = replace(self._record, **info)

    async def update(self, **info: Any) -> None:
        """Changes what the lease tells, and returns when that is stored.

        Args:
            **info: Fields of ``HubRecord``.

        Raises:
            UnavailableError: The lease was lost, or not begun.
        """
        if not self._is_held:
            raise UnavailableError("this hub has no lease in NATS")
        self.set(**info)
        if self._stored is None:
            self._stored = asyncio.get_running_loop().create_future()
        self._changed.set()
        await asyncio.shield(self._stored)

    async def close(self, why: str = "the hub has stopped") -> None:
        """Ends this life of the hub, so that others may take at once what it owned; the last thing that it does.

        Args:
            why: For the others.
        """
        was_held = self._is_held
        await self._stop()
        if not was_held:
            return
        record = replace(self._record, closed=why)
        headers = {**ROLLUP, **keep_for(CLOSED_SECONDS)}
        try:
            await self._append_closed(record.encoded(), headers)
        except StoreError as error:
            _log.warning("the hub's lease was not closed, so the others wait for its end: %s", error)

    async def _append_closed(self, data: bytes, headers: dict[str, str]) -> None:
        try:
            await self._bus.append_surely(
                self._subject, data, last=self._last, headers=headers, patience=_CLOSE_SECONDS
            )
        except WrongSequenceError:
            found = await self._bus.last(self._subject)
            # A renewal that was on its way when it stopped; else another hub has closed it.
            if found is not None and found.message_id in self._open:
                await self._bus.append_surely(
                    self._subject, data, last=found.sequence, headers=headers, patience=_CLOSE_SECONDS
                )

    @property
    def _subject(self) -> str:
        return self._bus.names.hub(self._record.incarnation)

    async def _stop(self) -> None:
        await self._tasks.aclose()
        self._is_held = False
        self._certain_until = 0.0
        if self._running_out is not None:
            self._running_out.cancel()
        self._tell_waiting("the hub's lease was given up")
        self._tell_if_changed()

    async def _renew_always(self) -> None:
        while True:
            begun = clock.now()
            is_renewed = await self._renew(begun)
            if not self._is_held:
                return
            wait = self.terms.renew - (clock.now() - begun) if is_renewed else _RETRY_SECONDS
            if not self._changed.is_set() or not is_renewed:
                await self._pause(max(wait, 0.0), wakes=is_renewed)

    async def _pause(self, seconds: float, *, wakes: bool) -> None:
        try:
            async with asyncio.timeout(seconds):
                await (self._changed.wait() if wakes else asyncio.get_running_loop().create_future())
        except TimeoutError:
            return

    async def _renew(self, begun: float) -> bool:
        """Renews once; returns whether that is stored."""
        self._changed.clear()
        waiting, self._stored = self._stored, None
        message_id = new_message_id()
        try:
            self._open[message_id] = begun
            self._last = await self._bus.append(
                self._subject,
                self._record.encoded(),
                last=self._last,
                headers=ROLLUP,
                timeout=self.terms.attempt,
                message_id=message_id,
            )
        except AppendError as error:
            self._wait_on(waiting)
            await self._not_renewed(error)
            return False
        except asyncio.CancelledError:
            self._wait_on(waiting)
            raise
        self.renewals += 1
        self.renewal_seconds += clock.now() - begun
        self._renewed(begun)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        return True

    def _wait_on(self, waiting: "asyncio.Future[None] | None") -> None:
        """Has those that wait for what they changed wait for the next renewal, with those that came meanwhile."""
        if waiting is None:
            return
        later, self._stored = self._stored, waiting
        self._changed.set()
        if later is not None:
            waiting.add_done_callback(lambda done: _copy_outcome(done, later))

    async def _not_renewed(self, error: AppendError) -> None:
        self.failures += 1
        self.failure = str(error)
        # A lease that is gone has no message left.
        if isinstance(error, WrongSequenceError) and not (error.last and error.is_outdated(self._last)):
            try:
                await self._is_still_held()
            except StoreError as unread:
                self.failure = str(unread)
        while len(self._open) > _MAX_OPEN:
            self._open.pop(next(iter(self._open)))

    async def _is_still_held(self) -> bool:
        """Looks whose the last message of the lease is: a renewal of its own, or one that has closed it."""
        found = await self._bus.last(self._subject)
        if found is None:
            self._lose("its lease is gone from NATS")
            return False
        record = decoded(self.incarnation, found.data, found.sequence)
        if record.closed:
            self.note_closed(record)
            return False
        begun = self._open.get(found.message_id or "")
        if found.sequence > self._last and begun is None:
            self._lose("its lease was written by another")
            return False
        self._last = max(self._last, found.sequence)
        if begun is not None:
            self._renewed(begun)
        return True

    def note_closed(self, record: HubRecord) -> None:
        """Takes notice that another hub has closed the lease."""
        if record.incarnation == self.incarnation and record.closed:
            self._lose(record.closed)

    def _renewed(self, begun: float) -> None:
        self._open.clear()
        self.failure = ""
        self._certain_until = max(self._certain_until, begun + self.terms.term - self.terms.margin)
        if self._running_out is not None:
            self._running_out.cancel()
        left = self._certain_until - clock.now()
        # A moment later, so that it has run out then.
        self._running_out = asyncio.get_running_loop().call_later(max(left, 0.0) + 0.001, self._tell_if_changed)
        self._tell_if_changed()

    def _lose(self, why: str) -> None:
        if not self._is_held:
            return
        self._is_held = False
        self._certain_until = 0.0
        self.failure = f"the other hubs have given it up: {why}"
        _log.warning("the lease of this hub is lost: %s", why)
        self._tell_waiting(self.failure)
        self._tell_if_changed()
        self._changed.set()
        for callback in list(self._lost):
            callback(why)

    def _tell_waiting(self, why: str) -> None:
        waiting, self._stored = self._stored, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(UnavailableError(f"not stored: {why}"))
            # Who waited may be gone.
            waiting.exception()

    def _tell_if_changed(self) -> None:
        is_certain = self.is_certain()
        if is_certain is not self._was_certain:
            self._was_certain = is_certain
            for changed in list(self._watchers):
                changed()


def _copy_outcome(done: "asyncio.Future[None]", later: "asyncio.Future[None]") -> None:
    if later.done():
        return
    if done.cancelled():
        later.cancel()
    elif (error := done.exception()) is not None:
        later.set_exception(error)
    else:
        later.set_result(None)
