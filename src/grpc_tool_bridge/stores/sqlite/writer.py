"""Writes changes to the SQLite file: those of many callers in one commit, in a thread of its own."""

import asyncio
import logging
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import chain, groupby
from operator import attrgetter
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from grpc_tool_bridge.aio import forks
from grpc_tool_bridge.core.commit_metrics import CommitMetrics
from grpc_tool_bridge.core.writes import Settled, Write
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.stores.sqlite.failures import (
    WriteFailure,
    at_limit,
    closed_error,
    ended_failure,
    is_unflushed,
    primary_code,
    write_failure,
)
from grpc_tool_bridge.stores.sqlite.statements import ROWS, TRY, of_rows, takes_rows

# More changes than this wait for the next commit, so that the first ones are answered soon.
MAX_BATCH = 2_000

# What could not be stored and must not be lost is tried again after this many seconds, or with the next change; and so
# is whether a store that failed can be written again.
RETRY_SECONDS = 1.0

# The same for what keeps the file tidy.
TIDY_AGAIN_SECONDS = 5.0

# A longer wait is looked at again: a row may say any time, and Python takes no wait of centuries.
MAX_WAIT_SECONDS = 3_600.0

# The file is tidied when no change has come for so many seconds, so that it is not what callers wait for who write
# again as soon as they are answered; or after so many changes, where a commit counts as some, for the pages that it
# writes anyway.
IDLE_SECONDS = 0.001
UNTIDY_CHANGES = 256
_COMMIT_AS_CHANGES = 16

# Bytes of a row besides its values.
_ROW_BYTES = 200

_FAULT = "a change in the store has a fault"

# Called with the name of each point on the way of a commit, in the writer's thread; for tests.
AtPoint = Callable[[str], None]

_log = logging.getLogger(__name__)


class Change(Write):
    """A change on its way into the file.

    Args:
        sql: The statement.
        parameters: Its parameters; with ``work``, what that writes.
        settled: As for ``Write``.
        owed: Whether it is tried again until it is stored: it only takes away, so nothing is built on it.
        frees: Whether it takes away, or replaces what is as large, and so is taken by a store that has reached its
            limit.
        work: Done instead of the statement; its result is kept in ``result``.

    Attributes:
        result: What ``work`` returned.
    """

    __slots__ = ("frees", "owed", "parameters", "result", "sql", "work")

    def __init__(
        self,
        sql: str,
        parameters: Sequence[Any],
        settled: Settled | None = None,
        *,
        owed: bool = False,
        frees: bool = False,
        work: Callable[[sqlite3.Connection], Any] | None = None,
    ) -> None:
        Write.__init__(self, settled)
        self.sql = sql
        self.parameters = parameters
        self.owed = owed
        self.frees = frees
        self.work = work
        self.result: Any = None

    @property
    def size(self) -> int:
        """Bytes that it adds to the file, about."""
        return _ROW_BYTES + sum(len(value) for value in self.parameters if isinstance(value, bytes | str))


class Upkeep(Protocol):
    """Keeps the file tidy between commits; all but ``refuses`` and ``is_short`` is called in the writer's thread."""

    def refuses(self, change: Change) -> bool:
        """Returns whether the store has no room for a change. Called in the loop."""

    @property
    def limit(self) -> int:
        """Bytes that the file may have; 0: any number."""

    @property
    def is_short(self) -> bool:
        """Whether there is hardly any room. Called in the loop."""

    def is_over_limit(self, size: int) -> bool:
        """Returns whether it is the limit, and not the disk, that so many bytes more have no room."""

    def note(self, batch: Sequence[Change]) -> None:
        """Notes what was committed."""

    def step(self) -> float | None:
        """Does a small part of what is to be done.

        Returns:
            Seconds until there is more to do; None: there is nothing until the next commit.

        Raises:
            sqlite3.Error: It could not be done.
            OSError: Likewise.
        """


class Writer:
    """Commits changes in order.

    The thread takes all that waits when it begins a commit: what came in one turn of the loop, or while the commit
    before was under way. If a commit fails, all that waits fails with it, since it may be built on what that commit
    had; only then does another one begin.

    Args:
        connection: The file; from now on only the writer uses it.
        name: The file, for logs.
        metrics: Counts the commits.
        upkeep: Keeps the file tidy.
        at_point: See ``AtPoint``; None in production.

    Attributes:
        failure: Why the last change could not be stored; empty once one could.
        is_failing: Whether nothing can be stored. A store that has reached its limit still takes what frees room.
        on_failure: Called in the loop when ``is_failing`` has changed, if set.
        waiting: Number of changes that are not stored yet.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        name: str,
        *,
        metrics: CommitMetrics,
        upkeep: Upkeep,
        at_point: AtPoint | None = None,
    ) -> None:
        self._connection = connection
        self._name = name
        self._metrics = metrics
        self._upkeep = upkeep
        self._at_point = at_point
        self._loop = asyncio.get_running_loop()
        # Stored with the next commit.
        self._owed: list[Change] = []
        self._retry: asyncio.TimerHandle | None = None
        self._is_trying = False
        # What all further changes fail with.
        self._refusal: Callable[[], ToolBridgeError] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._throttled = ThrottledLog(_log)
        self.failure = ""
        self.is_failing = False
        self.on_failure: Callable[[], None] | None = None
        self.waiting = 0
        self._changes: SimpleQueue[Change | None] = SimpleQueue()
        # After a failure the thread waits until the loop has handled it.
        self._handled: SimpleQueue[bool] = SimpleQueue()
        # What the thread is about to commit, and those of it that SQLite refused.
        self._batch: list[Change] = []
        self._at: Sequence[Change] = ()
        # When to tidy again, after it failed.
        self._tidy_at = 0.0
        # Changes since the file was tidied.
        self._untidy = UNTIDY_CHANGES
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()
        forks.watch(self)

    def submit(self, change: Change) -> Change:
        """Takes a change; it is committed together with the others of this turn of the loop."""
        if self._refusal is not None:
            _settle(change, self._refusal())
            return change
        if not change.frees and self._upkeep.refuses(change):
            # Before anything can be built on it.
            _settle(change, self._full())
            return change
        if self._owed:
            self._try_again()
        self.waiting += 1
        self._changes.put(change)
        return change

    def refuses(self, change: Change) -> bool:
        """Returns whether the store has no room for a change."""
        return self._upkeep.refuses(change)

    async def aclose(self) -> None:
        """Commits what waits, and ends the thread; what is owed and fails once more is left."""
        if self._owed:
            self._try_again()
        self._close()
        try:
            while self.waiting:
                self._idle = self._loop.create_future()
                await self._idle
            self._changes.put(None)
            await asyncio.to_thread(self._thread.join)
        except asyncio.CancelledError:
            # The file must not be given back while it is written.
            self.abandon()
            raise

    def abandon(self) -> None:
        """Commits what waits, and ends the thread; nobody is told any more."""
        self._close()
        self._changes.put(None)
        self._handled.put(False)
        self._thread.join()

    def forked(self) -> None:
        """Refuses what is submitted in a process that was forked, which has no thread to write it."""
        self._refusal = lambda: forks.refusal("the store")

    # ---------------------------------------------------------------------------------------------- in the loop

    def _close(self) -> None:
        if self._refusal is None:
            self._refusal = closed_error
        self._stop_retry()

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _full(self) -> ToolBridgeError:
        failure = at_limit(self._upkeep.limit)
        self._metrics.refused += 1
        self._fail(failure)
        self._throttled.warning("a change was refused: %s (%s)", failure.text, self._name)
        return failure.error()

    def _try_again(self) -> None:
        """Submits what is owed, and sees whether a store that failed can be written."""
        self._stop_retry()
        again, self._owed = self._owed, []
        if self.is_failing and not self._is_trying:
            self._is_trying = True
            # Whatever is written shows it, but what is the same as before is not written.
            again.append(Change(TRY, (time.time(),), self._tried, frees=True))
        self.waiting += len(again)
        for change in again:
            self._changes.put(change)

    def _tried(self, error: ToolBridgeError | None) -> None:
        del error
        self._is_trying = False

    def _committed(self, batch: Sequence[Change]) -> None:
        for change in batch:
            try:
                change.settle(None)
            except Exception:  # noqa: BLE001 - as in _settle, which would take longer
                _log.exception(_FAULT)
        if self.failure and (self.is_failing or not self._upkeep.is_short):
            self._works_again()
        self._no_longer_waiting(len(batch))

    def _failed(self, batch: Sequence[Change], refused: Sequence[Change], failure: WriteFailure) -> None:
        """Fails a batch and all that waits, and lets the thread go on."""
        lost = [*batch, *_all_of(self._changes)]
        what = f"{len(lost):,} changes" if len(lost) != 1 else "a change"
        self._throttled.warning("%s could not be stored in %s: %s", what, self._name, failure.text)
        # Nothing that waits is left, so what these undo cannot be built on.
        for change in reversed(lost):
            _settle(change, failure.error())
        self._fail(failure)
        # Callers may have submitted more meanwhile, which comes after what is owed. What SQLite never takes would fail
        # all that comes with it.
        never = set() if failure.is_of_store or failure.is_full else {id(change) for change in refused}
        again = [change for change in lost if change.owed and id(change) not in never]
        later = _all_of(self._changes)
        if later and self._refusal is None:
            for change in (*again, *later):
                self._changes.put(change)
            self.waiting += len(again)
        elif self._refusal is None and (again or self.is_failing):
            self._owed = again
            self._stop_retry()
            self._retry = self._loop.call_later(RETRY_SECONDS, self._try_again)
        self._handled.put(True)
        self._no_longer_waiting(len(lost))

    def _died(self) -> None:
        """Fails everything: the thread has ended by a fault."""
        failure = ended_failure()
        self._refusal = failure.error
        lost = [*self._batch, *_all_of(self._changes)]
        for change in reversed(lost):
            _settle(change, failure.error())
        self._fail(failure)
        self._no_longer_waiting(self.waiting)

    def _fail(self, failure: WriteFailure) -> None:
        self.failure = failure.text
        self._set_failing(is_failing=failure.is_of_store)

    def _works_again(self) -> None:
        self.failure = ""
        self._set_failing(is_failing=False)

    def _set_failing(self, *, is_failing: bool) -> None:
        if is_failing == self.is_failing:
            return
        self.is_failing = is_failing
        if not is_failing:
            _log.info("the store %s can be written again", self._name)
        if self.on_failure is not None:
            self.on_failure()

    def _no_longer_waiting(self, count: int) -> None:
        self.waiting -= count
        if not self.waiting and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    # --------------------------------------------------------------------------------------------- in the thread

    def _work(self) -> None:
        try:
            self._serve()
        except BaseException:  # noqa: BLE001 - it is logged, and nobody waits for ever
            _log.exception("the thread that writes the store %s has ended", self._name)
            self._tell(self._died)
        finally:
            self._connection.close()

    def _serve(self) -> None:
        goes_on = True
        while goes_on and (change := self._next()) is not None:
            batch = self._batch = [change]
            goes_on = self._take_more(batch)
            failure = self._commit(batch)
            if failure is None:
                self._tell(self._committed, batch)
                self._pass("told")
                self._batch = []
                self._upkeep.note(batch)
                self._untidy += _COMMIT_AS_CHANGES + len(batch)
            elif not self._tell(self._failed, batch, self._at, failure) or not self._handled.get():
                break

    def _next(self) -> Change | None:
        """Waits for a change, and tidies meanwhile; None: there will be none."""
        if self._untidy < UNTIDY_CHANGES:
            try:
                change = self._changes.get(timeout=IDLE_SECONDS)
            except Empty:
                pass
            else:
                if change is None:
                    # What was removed last is not left in the file.
                    self._tidy()
                    self._pass("tidied")
                return change
        while True:
            seconds = self._tidy()
            # If there is more to be done, some of it is after each commit.
            self._untidy = UNTIDY_CHANGES if seconds == 0.0 else 0
            self._pass("tidied")
            try:
                return self._changes.get(timeout=seconds if seconds is None else min(seconds, MAX_WAIT_SECONDS))
            except Empty:
                continue

    def _take_more(self, batch: list[Change]) -> bool:
        """Takes what waits into a batch; returns whether it goes on after it."""
        try:
            while len(batch) < MAX_BATCH:
                change = self._changes.get_nowait()
                if change is None:
                    return False
                batch.append(change)
        except Empty:
            pass
        return True

    def _tell(self, what: Callable[..., None], *args: Any) -> bool:
        """Calls a method in the loop; returns False if that is closed, and nobody waits.

        One that merely does not run now may run again, as between two calls of ``asyncio.Runner.run``.
        """
        try:
            self._loop.call_soon_threadsafe(what, *args)
        except RuntimeError:
            return False
        return True

    def _commit(self, batch: Sequence[Change]) -> WriteFailure | None:
        """Commits changes; returns None, or why it could not."""
        connection, began = self._connection, time.perf_counter()
        is_ending = False
        try:
            self._pass("received")
            connection.execute("BEGIN IMMEDIATE")
            self._pass("begun")
            for sql, changes in groupby(batch, attrgetter("sql")):
                self._execute(sql, list(changes))
            self._at = ()
            self._pass("written")
            is_ending = True
            connection.execute("COMMIT")
            self._pass("committed")
        except Exception as error:  # noqa: BLE001 - whatever a change does, the thread goes on
            return self._failure_of(error, batch, is_ending=is_ending)
        self._metrics.note(len(batch), time.perf_counter() - began)
        return None

    def _failure_of(self, error: Exception, batch: Sequence[Change], *, is_ending: bool) -> WriteFailure:
        """Undoes what a commit has begun, and returns why it failed."""
        self._metrics.failures += 1
        self._roll_back()
        if not isinstance(error, sqlite3.Error):
            # Its text may have a value in it.
            where = "".join(traceback.format_tb(error.__traceback__))
            _log.error("a change cannot be stored in %s: %s\n%s", self._name, type(error).__name__, where)
            return write_failure(error)
        is_full = primary_code(error) == sqlite3.SQLITE_FULL
        failure = write_failure(error, limit=self._limit_reached(batch) if is_full else 0)
        if is_ending and is_unflushed(error) and not self._is_overwritten():
            return WriteFailure(failure.text, is_known=False)
        return failure

    def _is_overwritten(self) -> bool:
        """Writes over what a commit has left in the log that was written and could not be flushed.

        After a crash, SQLite might find it whole, and take it for a commit like others.
        """
        try:
            self._connection.execute(TRY, (time.time(),))
        except sqlite3.Error:
            self._roll_back()
            return False
        return True

    def _limit_reached(self, batch: Sequence[Change]) -> int:
        try:
            return self._upkeep.limit if self._upkeep.is_over_limit(sum(change.size for change in batch)) else 0
        except sqlite3.Error:
            return 0

    def _execute(self, sql: str, changes: Sequence[Change]) -> None:
        self._at = changes
        if sql:
            rows = [change.parameters for change in changes]
            self._connection.executemany(sql, self._insert(sql, rows) if takes_rows(sql) else rows)
            return
        for change in changes:
            self._at = (change,)
            if change.work is not None:
                change.result = change.work(self._connection)

    def _insert(self, sql: str, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
        """Inserts many rows with few statements; returns those that are left."""
        done = 0
        for size in ROWS:
            while len(rows) - done >= size:
                parameters = tuple(chain.from_iterable(rows[done : done + size]))
                self._connection.execute(of_rows(sql, size), parameters)
                done += size
        return rows[done:] if done else rows

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            _log.debug("rolling back failed: %s", error)

    def _tidy(self) -> float | None:
        """Does a part of the upkeep; returns seconds until there is more, None: not before the next commit."""
        wait = self._tidy_at - time.monotonic()
        if wait > 0:
            return wait
        try:
            return self._upkeep.step()
        except (sqlite3.Error, OSError) as error:
            self._throttled.warning("the store %s could not be tidied, and will be later: %s", self._name, error)
        except Exception:  # noqa: BLE001 - it is logged, and what is stored is stored
            if self._throttled.admits("tidying"):
                _log.exception("the store %s could not be tidied", self._name)
        self._roll_back()
        self._tidy_at = time.monotonic() + TIDY_AGAIN_SECONDS
        return TIDY_AGAIN_SECONDS

    def _pass(self, point: str) -> None:
        if self._at_point is not None:
            self._at_point(point)


def _settle(change: Change, error: ToolBridgeError | None) -> None:
    """Settles a change; a fault of who is told must not keep the others from being told."""
    try:
        change.settle(error)
    except Exception:  # noqa: BLE001 - it is logged
        _log.exception(_FAULT)


def _all_of(changes: "SimpleQueue[Change | None]") -> list[Change]:
    """Takes all that waits."""
    found: list[Change] = []
    try:
        while True:
            change = changes.get_nowait()
            if change is not None:
                found.append(change)
    except Empty:
        return found
