"""Writes changes to the SQLite file: those of many callers in one commit, in a thread of its own."""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from grpc_tool_bridge.aio.loops import has_ended
from grpc_tool_bridge.core.writes import Settled, Write
from grpc_tool_bridge.errors import StoreError, ToolBridgeError
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.stores.sqlite.commit_metrics import CommitMetrics
from grpc_tool_bridge.stores.sqlite.failures import write_failure

# More changes than this wait for the next commit, so that the first ones are answered soon.
MAX_BATCH = 2_000

# What could not be stored and must not be lost is tried again after this many seconds, or with the next change.
RETRY_SECONDS = 1.0

# Called with the name of each point on the way of a commit, in the writer's thread; for tests.
AtPoint = Callable[[str], None]

MakeError = Callable[[], ToolBridgeError]

_log = logging.getLogger(__name__)


class Change(Write):
    """A change on its way into the file.

    Args:
        sql: The statement.
        parameters: Its parameters.
        settled: As for ``Write``.
        owed: Whether it is tried again until it is stored: it only takes away, so nothing is built on it.
        work: Done instead of the statement; its result is kept in ``result``.

    Attributes:
        result: What ``work`` returned.
    """

    __slots__ = ("owed", "parameters", "result", "sql", "work")

    def __init__(
        self,
        sql: str,
        parameters: Sequence[Any],
        settled: Settled | None = None,
        *,
        owed: bool = False,
        work: Callable[[sqlite3.Connection], Any] | None = None,
    ) -> None:
        super().__init__(settled)
        self.sql = sql
        self.parameters = parameters
        self.owed = owed
        self.work = work
        self.result: Any = None


class Writer:
    """Commits changes in order.

    The thread takes all that waits when it begins a commit: what came in one turn of the loop, or while the commit
    before was under way. If a commit fails, all that waits fails with it, since it may be built on what that commit
    had; only then does another one begin.

    Args:
        connection: The file; from now on only the writer uses it.
        path: Its path, for error texts.
        limit: Returns the bytes that the file is limited to if it has reached them, else 0; called in the thread.
        metrics: Counts the commits.
        after_commit: Called in the thread after a commit with what was committed; it keeps the file tidy.
        at_point: See ``AtPoint``; None in production.

    Attributes:
        failure: Why the last commit failed; empty after one that did not.
        waiting: Number of changes that are not stored yet.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        *,
        limit: Callable[[], int],
        metrics: CommitMetrics,
        after_commit: Callable[[Sequence[Change]], None],
        at_point: AtPoint | None = None,
    ) -> None:
        self._connection = connection
        self._path = path
        self._limit = limit
        self._metrics = metrics
        self._after_commit = after_commit
        self._at_point = at_point
        self._loop = asyncio.get_running_loop()
        # Stored with the next commit.
        self._owed: list[Change] = []
        self._retry: asyncio.TimerHandle | None = None
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        self._throttled = ThrottledLog(_log)
        self.failure = ""
        self.waiting = 0
        self._changes: SimpleQueue[Change | None] = SimpleQueue()
        # After a failure the thread waits until the loop has handled it.
        self._handled: SimpleQueue[bool] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="store", daemon=True)
        self._thread.start()

    def submit(self, change: Change) -> Change:
        """Takes a change; it is committed together with the others of this turn of the loop."""
        if self._closed:
            change.settle(StoreError("nothing was changed: the store is closed"))
            return change
        if self._owed:
            self._try_again()
        self.waiting += 1
        self._changes.put(change)
        return change

    async def aclose(self) -> None:
        """Commits what waits, and ends the thread; what is owed and fails once more is left."""
        self._try_again()
        self._closed = True
        while self.waiting:
            self._idle = self._loop.create_future()
            await self._idle
        self._changes.put(None)
        await asyncio.to_thread(self._thread.join)

    def abandon(self) -> None:
        """Commits what waits, and ends the thread; nobody is told any more."""
        self._closed = True
        self._changes.put(None)
        self._handled.put(False)
        self._thread.join()

    # ---------------------------------------------------------------------------------------------- in the loop

    def _try_again(self) -> None:
        """Submits what is owed."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        owed, self._owed = self._owed, []
        self.waiting += len(owed)
        for change in owed:
            self._changes.put(change)

    def _committed(self, batch: Sequence[Change]) -> None:
        self.failure = ""
        for change in batch:
            change.settle(None)
        self._no_longer_waiting(len(batch))

    def _failed(self, batch: Sequence[Change], make_error: MakeError) -> None:
        """Fails a batch and all that waits, and lets the thread go on."""
        lost = [*batch, *_all_of(self._changes)]
        self.failure = make_error().message
        self._throttled.warning("%d changes could not be stored: %s", len(lost), self.failure)
        # Nothing that waits is left, so what these undo cannot be built on.
        for change in reversed(lost):
            change.settle(make_error())
        # Callers may have submitted more meanwhile, which comes after what is owed.
        later = _all_of(self._changes)
        again = [change for change in lost if change.owed]
        if later and not self._closed:
            for change in (*again, *later):
                self._changes.put(change)
            self.waiting += len(again)
        elif again and not self._closed:
            self._owed = again
            self._retry = self._loop.call_later(RETRY_SECONDS, self._try_again)
        self._handled.put(True)
        self._no_longer_waiting(len(lost))

    def _no_longer_waiting(self, count: int) -> None:
        self.waiting -= count
        if not self.waiting and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    # --------------------------------------------------------------------------------------------- in the thread

    def _work(self) -> None:
        goes_on = True
        while goes_on and (change := self._changes.get()) is not None:
            batch = [change]
            goes_on = self._take_more(batch)
            make_error = self._commit(batch)
            if make_error is None:
                self._tell(self._committed, batch)
                self._pass("told")
                self._tidy(batch)
                self._pass("tidied")
            elif not self._tell(self._failed, batch, make_error) or not self._handled.get():
                break
        self._connection.close()

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
        """Calls a method in the loop; returns False if that has ended, and nobody waits."""
        if has_ended(self._loop):
            return False
        try:
            self._loop.call_soon_threadsafe(what, *args)
        except RuntimeError:
            return False
        return True

    def _commit(self, batch: Sequence[Change]) -> MakeError | None:
        """Commits changes; returns None, or what makes the errors of their callers."""
        connection, began = self._connection, time.perf_counter()
        try:
            self._pass("received")
            connection.execute("BEGIN IMMEDIATE")
            self._pass("begun")
            for sql, changes in groupby(batch, attrgetter("sql")):
                self._execute(sql, list(changes))
            self._pass("written")
            connection.execute("COMMIT")
            self._pass("committed")
        except sqlite3.Error as error:
            self._roll_back()
            self._metrics.failures += 1
            return write_failure(error, self._path, limit=self._limit())
        self._metrics.note(len(batch), time.perf_counter() - began)
        return None

    def _execute(self, sql: str, changes: Sequence[Change]) -> None:
        if sql:
            self._connection.executemany(sql, [change.parameters for change in changes])
            return
        for change in changes:
            if change.work is not None:
                change.result = change.work(self._connection)

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            _log.debug("rolling back failed: %s", error)

    def _tidy(self, batch: Sequence[Change]) -> None:
        try:
            self._after_commit(batch)
        except sqlite3.Error as error:
            self._roll_back()
            _log.debug("tidying the store failed: %s", error)

    def _pass(self, point: str) -> None:
        if self._at_point is not None:
            self._at_point(point)


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
