"""The chain of one session that this hub owns: what waits to be stored in it."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.cluster.bus.message import ROLLUP, Message, keep_for
from grpc_tool_bridge.cluster.journal import changes
from grpc_tool_bridge.cluster.journal.appending import (
    PAUSE_SECONDS,
    WRITE_TIMEOUT_SECONDS,
    Appender,
    BehindError,
    NotAppendedError,
)
from grpc_tool_bridge.cluster.journal.image import SessionImage
from grpc_tool_bridge.cluster.journal.pending import CallsAhead, PendingChange
from grpc_tool_bridge.cluster.journal.records import Author, body_of, part_bytes
from grpc_tool_bridge.cluster.journal.replay import apply
from grpc_tool_bridge.core.writes import Write
from grpc_tool_bridge.errors import AlreadyExistsError, StoreError, ToolBridgeError
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.proto.dspex_bridge_journal_pb2 import JournalBody

# More changes than this wait for the next record, so that the first ones are answered soon.
MAX_BATCH = 1_000

# What could not be stored and must not be lost is tried again after this many seconds, or with the next change.
RETRY_SECONDS = 1.0

# A chain is written anew when it has grown by so many bytes, or by so many times what it then has, or by so many
# messages: who takes the session reads all of it.
LONG_BYTES = 256 * 1024
LONG_TIMES = 3
LONG_COUNT = 1_000

# How long it is remembered why a session ended.
ENDED_SECONDS = 24 * 3600

_TOMBSTONE = {**ROLLUP, **keep_for(ENDED_SECONDS)}

# How often the end of a session with the same id may come before a beginning.
_BEGIN_TRIES = 5

MOVED = "session {!r} moved to another hub; call again"

_SNAPSHOT = JournalBody(snapshot=True).SerializeToString()

_log = logging.getLogger(__name__)

# What it means if a message that may have been stored is found to be: a part of a body, a whole one, or the end.
_PART, _WHOLE, _END = "part", "whole", "end"


# Called with a chain in which nothing more is stored: with None if its session has ended, else with the error for it.
OnEnd = Callable[["Chain", ToolBridgeError | None], None]


class Chain:
    """Stores the changes of a session in order: those that wait go into one record, of which one is on its way at once.

    If a record cannot be stored, neither can what waits, since it may be built on it.

    Args:
        appender: Appends for this life of the hub.
        image: What is stored.
        token: How often the session has been taken over.
        on_end: See ``OnEnd``.

    Attributes:
        image, token: As given.
        last: Sequence of its last message.
        count, size: Messages that it has, and their bytes.
        base: Bytes of its last snapshot, or of what that would be.
        lost: Why nothing more is stored in it; None while it may.
    """

    __slots__ = (
        "_appender", "_doubts", "_on_end", "_owed", "_retry", "_stored", "_task", "_voids",
        "_waiting", "base", "count", "image", "last", "lost", "size", "token",
    )  # fmt: skip

    def __init__(
        self,
        appender: Appender,
        image: SessionImage,
        *,
        token: int,
        on_end: OnEnd,
    ) -> None:
        self._appender = appender
        self._on_end = on_end
        self.image = image
        self.token = token
        self.last = self.count = self.size = self.base = 0
        self.lost: ToolBridgeError | None = None
        self._waiting: deque[PendingChange] | None = None
        # What is stored, and not settled yet.
        self._stored: Sequence[PendingChange] = ()
        self._owed: list[PendingChange] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        # The ids of messages that may have been stored after ``last``, of which one at most has been, and what each is.
        self._doubts: dict[str, str] | None = None
        # Bodies that were stored, though their callers were told that this is not known.
        self._voids: list[int] | None = None

    @property
    def session_id(self) -> str:
        """The session."""
        return self.image.session_id

    @property
    def _subject(self) -> str:
        return self._appender.bus.names.session(self.session_id)

    @property
    def is_begun(self) -> bool:
        """Whether its session is stored."""
        return self.count > 0

    @property
    def waiting(self) -> int:
        """Changes that are not stored yet, without those on their way."""
        return len(self._waiting or ())

    def submit(self, change: PendingChange) -> PendingChange:
        """Takes a change; it is stored together with the others of this turn of the loop."""
        if self.lost is not None:
            settle(change, None if self.image.ended is not None and change.is_moot else self.lost)
            return change
        if self._waiting is None:
            self._waiting = deque()
        if self._owed:
            self._try_again()
        self._waiting.append(change)
        self._go_on()
        return change

    def lose(self, error: ToolBridgeError) -> None:
        """Stores nothing more; what waits fails, and what is on its way says itself what becomes of it."""
        if self.lost is None:
            self.lost = error
            self._drop_waiting(error)

    def _drop_waiting(self, error: ToolBridgeError) -> None:
        self._stop_retry()
        self._owed = None
        self._fail_waiting(error)

    async def idle(self) -> None:
        """Waits until nothing is on its way; what is owed is tried once more."""
        if self._owed and self.lost is None:
            self._try_again()
            self._go_on()
        self._stop_retry()
        while self._task is not None:
            await asyncio.wait([self._task])

    # ------------------------------------------------------------------------------------------------ its queue

    def _go_on(self) -> None:
        if self._task is None and self._waiting:
            self._task = self._appender.tasks.spawn(self._run(), "chain")

    def seal_anew(self) -> None:
        """Writes the chain anew if it has values that ought to be sealed with another key than they are."""
        if self.image.is_due and self.lost is None and self._task is None:
            self._task = self._appender.tasks.spawn(self._run(anew=True), "chain")

    async def _run(self, *, anew: bool = False) -> None:
        batch: Sequence[PendingChange] = ()
        try:
            if anew:
                await self._compact()
            if self.waiting > 1:
                # They are of many callers, and more of them may come in the next turn.
                await asyncio.sleep(0)
            while self._waiting:
                batch = self._next()
                await self._commit(batch)
                batch = ()
                if self.lost is None and self._is_long:
                    await self._compact()
        except Exception as error:  # noqa: BLE001 - it is logged, and nobody waits for ever
            log_fault(_log, "the chain of a session has a fault", error=error)
            self._give_up(batch, unknown_error("the hub has a fault; report its log"))
        except asyncio.CancelledError:
            self._give_up(batch, unknown_error("the hub ends"))
            raise
        finally:
            self._tell_stored()
            self._task = None
            if self._waiting:
                self._go_on()
            else:
                # Most sessions are idle.
                self._waiting = None

    def _next(self) -> Sequence[PendingChange]:
        """Takes what goes into the next record; the end of a session goes alone."""
        waiting = self._waiting
        assert waiting  # noqa: S101 - the loop asks
        most = part_bytes(self._appender.bus.max_payload)
        batch: list[PendingChange] = []
        size = 0
        while waiting and len(batch) < MAX_BATCH:
            change = waiting[0]
            size += len(change.body)
            if batch and (size > most or change.kind == "end"):
                break
            batch.append(waiting.popleft())
            if change.kind == "end":
                break
        return batch

    async def _commit(self, batch: Sequence[PendingChange]) -> None:
        """Stores changes, and settles them."""
        calls = CallsAhead(self.image, time.time())
        planned = [change for change in batch if change.plan(calls)]
        if planned:
            try:
                await self._append_changes(planned)
            except NotAppendedError as error:
                self._fail(batch, error)
                return
            except BehindError as error:
                self._moved(batch, is_unsure=error.is_unsure)
                return
            except AlreadyExistsError as error:
                self._give_up(batch, error)
                return
        self._appender.metrics.changes += len(planned)
        for change in batch:
            change.apply(self.image)
        self._tell_stored()
        self._stored = batch
        if self._waiting and self.image.ended is None:
            # Those that wait are sent first: while NATS stores them, there is time to say that these are stored.
            asyncio.get_running_loop().call_soon(self._tell_stored)
            return
        self._tell_stored()
        if self.image.ended is not None:
            self._end()

    def _tell_stored(self) -> None:
        """Settles what is stored; before anything that comes after it is settled."""
        stored, self._stored = self._stored, ()
        for change in stored:
            settle(change, None)

    def _fail(self, batch: Sequence[PendingChange], error: NotAppendedError) -> None:
        """Fails changes, and what waits for them."""
        self._fail_waiting(NotAppendedError(error.why).error())
        for change in reversed(batch):
            settle(change, error.error())
        owed = [change for change in batch if change.is_owed]
        if owed and self.lost is None:
            self._owe(owed)

    def _fail_waiting(self, error: ToolBridgeError) -> None:
        self._tell_stored()
        lost, self._waiting = list(self._waiting or ()), None
        for change in reversed(lost):
            settle(change, error)
        owed = [change for change in lost if change.is_owed]
        if owed and self.lost is None:
            self._owe(owed)

    def _owe(self, changes: Iterable[PendingChange]) -> None:
        self._owed = [*changes, *(self._owed or ())]
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retry_now)

    def _retry_now(self) -> None:
        self._try_again()
        self._go_on()

    def _try_again(self) -> None:
        self._stop_retry()
        again, self._owed = self._owed or [], None
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.extend(again)

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _moved(self, batch: Sequence[PendingChange], *, is_unsure: bool) -> None:
        """Another hub has taken the session, or its end is stored: nothing more can be."""
        error = moved_error(self.session_id)
        self._give_up(batch, unknown_error(MOVED.format(self.session_id)) if is_unsure else error, error)

    def _give_up(
        self, batch: Sequence[PendingChange], error: ToolBridgeError, lost: ToolBridgeError | None = None
    ) -> None:
        if self.lost is None:
            self._tell_stored()
            self.lost = lost or error
            # First: who reads a run, or waits for a variable, is told that the session has moved, and not what fails.
            self._on_end(self, self.lost)
            self._drop_waiting(self.lost)
        for change in reversed(batch):
            settle(change, error)

    def _end(self) -> None:
        """Ends with the session: what comes after that belongs to nothing."""
        self.lost = StoreError(f"nothing was changed: session {self.session_id!r} has ended")
        self._stop_retry()
        self._owed = None
        lost, self._waiting = list(self._waiting or ()), None
        for change in lost:
            settle(change, None if change.is_moot else self.lost)
        self._on_end(self, None)

    # ------------------------------------------------------------------------------------------------- appending

    async def _append_changes(self, planned: Sequence[PendingChange]) -> None:
        """Appends a record with changes; raises as ``_append`` and ``_begin`` do."""
        first = planned[0].kind
        body = b"".join([change.body for change in planned])
        if first == "create":
            await self._begin(body + _SNAPSHOT)
        elif first == "end":
            await self._append(body + _SNAPSHOT, _END, _TOMBSTONE)
        else:
            await self._append(body, _WHOLE)

    async def _append(self, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> int:
        """Appends a body; returns the sequence of its first message.

        Raises:
            BehindError: Another hub has the session.
            NotAppendedError: It could not be stored in time.
        """
        until = time.monotonic() + WRITE_TIMEOUT_SECONDS
        while True:
            # Serialized messages are merged by writing one after the other.
            whole = body + JournalBody(voids=self._voids).SerializeToString() if self._voids else body
            try:
                return await self._append_parts(whole, kind, headers, until)
            except BehindError:
                if not await self._catches_up(until):
                    raise

    async def _begin(self, body: bytes) -> None:
        """Appends the beginning of a session, which may follow the end of another one with its id.

        Raises:
            AlreadyExistsError: There is such a session.
            BehindError, NotAppendedError: As for ``_append``.
        """
        for _ in range(_BEGIN_TRIES):
            try:
                await self._append(body, _WHOLE, ROLLUP if self.last else None)
            except BehindError:
                until = time.monotonic() + WRITE_TIMEOUT_SECONDS
                message = await self._appender.last(self._subject, until)
                if message is not None and not is_tombstone(message):
                    raise exists_error(self.session_id) from None
                self.last = message.sequence if message is not None else 0
            else:
                return
        raise BehindError(True)

    async def take(self, calls_end_at: float, until: float) -> None:
        """Takes the session for this life of the hub; nothing has been submitted.

        Args:
            calls_end_at: When calls are forgotten that were running, in seconds since the epoch.
            until: Time of the monotonic clock until which it is tried.

        Raises:
            BehindError, NotAppendedError: As for ``Appender.append``.
        """
        change = changes.take(calls_end_at)
        await self._append_parts(JournalBody(changes=[change]).SerializeToString(), _WHOLE, None, until)
        apply(self.image, change)

    async def _append_parts(self, body: bytes, kind: str, headers: Mapping[str, str] | None, until: float) -> int:
        first = 0
        subject, author = self._subject, Author(self._appender.owner, self.token)
        most = part_bytes(self._appender.bus.max_payload)
        for record in author.messages(self.session_id, body, most):
            record.previous = self.last
            data = record.SerializeToString()
            try:
                sequence = await self._appender.append(
                    subject, data, last=self.last, until=until, headers=None if record.part else headers
                )
            except NotAppendedError as error:
                if error.message_id:
                    self._doubts = {**(self._doubts or {}), error.message_id: _PART if record.more else kind}
                raise
            # What might have been stored in its place never will be.
            self._doubts = None
            self.last = sequence
            self.count += 1
            self.size += len(data)
            first = first or sequence
        self._voids = None
        return first

    async def _catches_up(self, until: float) -> bool:
        """Finds out whether the chain goes on with what was given up before, which is void; returns False if not."""
        for message_id, kind in (self._doubts or {}).items():
            try:
                sequence = await self._appender.found(self._subject, self.last, message_id, until)
            except BehindError:
                continue
            if sequence is None:
                # What is there cannot be read yet.
                await asyncio.sleep(PAUSE_SECONDS)
                return True
            if kind is _END:
                return False
            self._doubts = None
            self.last = sequence
            self.count += 1
            if kind is _WHOLE:
                self._voids = [*(self._voids or ()), sequence]
            return True
        return False

    # ------------------------------------------------------------------------------------------------ compaction

    @property
    def _is_long(self) -> bool:
        return (
            self.image.is_due
            or self.count > LONG_COUNT
            or self.size > self.base + max(LONG_BYTES, LONG_TIMES * self.base)
        )

    async def _compact(self) -> None:
        """Writes the chain anew, and removes what came before."""
        self.image.sweep(time.time())
        pieces = [_SNAPSHOT]
        turns = Turns()
        # Nothing else of the session is stored meanwhile.
        for change in self.image.snapshot():
            pieces.append(body_of(change))
            if turns.due:
                await turns.give()
        body = b"".join(pieces)
        if not self.image.is_due and self.count <= LONG_COUNT and self.size <= LONG_TIMES * len(body):
            # Most of it is what the session still has.
            self.base = len(body)
            return
        try:
            first = await self._append(body, _WHOLE)
        except NotAppendedError:
            # It is long still, so the next change tries again.
            return
        except BehindError:
            self._moved((), is_unsure=False)
            return
        self.count, self.size, self.base = 1, len(body), len(body)
        was_due, self.image.is_due = self.image.is_due, False
        self._appender.tasks.spawn(self._purge(first, was_due=was_due), "purge of a chain")

    async def _purge(self, up_to: int, *, was_due: bool) -> None:
        try:
            await self._appender.bus.purge(self._subject, up_to)
        except ToolBridgeError as error:
            # What was to be sealed anew is still there as it was.
            self.image.is_due = self.image.is_due or was_due
            _log.debug("a chain was not shortened, and will be when it is written anew: %s", error)


def is_tombstone(message: Message) -> bool:
    """Returns whether a message says that a session has ended: nothing else in a chain is deleted after a time."""
    return "Nats-TTL" in message.headers


def exists_error(session_id: str) -> ToolBridgeError:
    """Returns the error for a session that begins though there is one."""
    return AlreadyExistsError(f"session {session_id!r} exists already; attach to it, or choose another id")


def moved_error(session_id: str) -> ToolBridgeError:
    """Returns the error for a change of a session that another hub has."""
    return StoreError(f"nothing was changed: {MOVED.format(session_id)}")


def unknown_error(why: str) -> ToolBridgeError:
    """Returns the error for a change that may have been stored."""
    return StoreError(f"it is not known whether the change is stored: {why}", details={"outcome": "unknown"})


def settle(change: Write, error: ToolBridgeError | None) -> None:
    """Settles a change; a fault of who is told must not keep the others from being told."""
    try:
        change.settle(error)
    except Exception as fault:  # noqa: BLE001 - it is logged
        log_fault(_log, "a change of a session has a fault", error=fault)
