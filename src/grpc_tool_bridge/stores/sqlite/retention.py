"""Removes from an SQLite store what the settings no longer keep, in slices between commits."""

import sqlite3
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.stores.sqlite import statements
from grpc_tool_bridge.stores.sqlite.history import floor_of, forget
from grpc_tool_bridge.stores.sqlite.tallies import Tally
from grpc_tool_bridge.stores.sqlite.writer import Change

# Expired answers are forgotten at least so often, in seconds.
SWEEP_SECONDS = 10.0

# Ended sessions are forgotten when there are this part of their number more.
ENDED_SLACK_PART = 8

# While room is short, all histories are searched at most so often, in seconds.
GIVE_UP_SECONDS = 1.0

# What one transaction removes at most, and how long the search for more may take, so that no caller has to wait for
# long: some milliseconds.
MAX_ROWS = 1_000
MAX_BYTES = 1024 * 1024
MAX_SECONDS = 0.002


class Retention:
    """Removes what the settings no longer keep. All is done in the writer's thread, between commits.

    Args:
        connection: The writer's.
        settings: ``watch_history``, ``watch_history_bytes``, ``max_session_answers``, ``max_session_answer_bytes``,
            ``ended_sessions``.
    """

    def __init__(self, connection: sqlite3.Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._changes = Tally(settings.watch_history, settings.watch_history_bytes)
        self._answers = Tally(settings.max_session_answers, settings.max_session_answer_bytes)
        # Sessions that have ended, of which there is something left.
        self._left: OrderedDict[str, None] = OrderedDict()
        self._ended = 0
        # Time of the clock when the next answer expires, and of the monotonic clock when that was last looked at.
        self._expires_at: float | None = None
        self._swept_at = time.monotonic()
        # How far the search for histories that can be given up has come.
        self._given_up_to = 0
        # When, on the monotonic clock, it may begin anew.
        self._give_up_at = 0.0

    def begin(self) -> None:
        """Looks for what an earlier life has left to do."""
        settings = self._settings
        for table in statements.OF_SESSION:
            self._left.update(
                (session_id, None)
                for (session_id,) in self._connection.execute(
                    f"SELECT DISTINCT session_id FROM {table} EXCEPT SELECT session_id FROM sessions"  # noqa: S608 - a name of ours
                )
            )
        over = self._connection.execute(
            "SELECT session_id FROM changes JOIN sessions USING (session_id) WHERE revision > history_floor "
            "GROUP BY session_id HAVING count(*) > ? OR total(size) > ?",
            (settings.watch_history, settings.watch_history_bytes),
        )
        for (session_id,) in over.fetchall():
            self._changes.look_at(session_id)
        over = self._connection.execute(
            "SELECT session_id FROM calls WHERE answer IS NOT NULL GROUP BY session_id "
            "HAVING count(*) > ? OR total(length(answer)) > ?",
            (settings.max_session_answers, settings.max_session_answer_bytes),
        )
        for (session_id,) in over.fetchall():
            self._answers.look_at(session_id)
        self._count_ended()
        self._look_at_answers()

    def note(self, batch: Iterable[Change]) -> None:
        """Notes what was committed."""
        for change in batch:
            sql, parameters = change.sql, change.parameters
            if sql is statements.SET:
                self._changes.add(parameters[statements.SET_SESSION], parameters[statements.SET_SIZE])
            elif sql is statements.DELETE:
                self._changes.add(parameters[statements.DELETE_SESSION], 0)
            elif sql is statements.KEEP_ANSWER:
                size = len(parameters[statements.ANSWER])
                self._answers.add(parameters[statements.ANSWER_SESSION], size)
                self._expire_by(parameters[statements.ANSWER_ENDS_AT])
            elif sql is statements.GIVE_UP_CALL:
                self._expire_by(parameters[statements.GIVEN_UP_ENDS_AT])
            elif sql is statements.END_SESSION:
                self._left[parameters[statements.ENDED_SESSION]] = None
                self._ended += 1

    def _expire_by(self, ends_at: float) -> None:
        # Each is kept as long as the others, so the first one ends first.
        if self._expires_at is None:
            self._expires_at = ends_at

    def step(self, *, give_up: bool = False) -> float | None:
        """Removes at most one slice.

        Args:
            give_up: Whether room is short: then histories are given up, the oldest first.

        Returns:
            Seconds until there is more to do, 0: at once; None: there is nothing until something was committed.
        """
        until = time.monotonic() + MAX_SECONDS
        if self._left:
            self._remove_left()
        elif self._changes.is_due:
            self._trim_histories(until)
        elif self._answers.is_due:
            self._trim_answers(until)
        elif self._ended > self._settings.ended_sessions + self._settings.ended_sessions // ENDED_SLACK_PART:
            self._trim_ended()
        elif self._sweep_in() == 0:
            self._sweep()
        elif not give_up or not self._give_up_history():
            return self._wait(give_up=give_up)
        return 0.0

    def _wait(self, *, give_up: bool) -> float | None:
        waits = [self._sweep_in(), max(0.0, self._give_up_at - time.monotonic()) if give_up else None]
        return min((wait for wait in waits if wait is not None), default=None)

    # ------------------------------------------------------------------------------------- sessions that have ended

    def _remove_left(self) -> None:
        """Removes a slice of what sessions have left; one that has nothing any more is forgotten."""
        connection, rows, held = self._connection, MAX_ROWS, MAX_BYTES
        connection.execute("BEGIN IMMEDIATE")
        while self._left and rows > 0 and held > 0:
            session_id = next(iter(self._left))
            if connection.execute("SELECT 1 FROM sessions WHERE session_id = ?", (session_id,)).fetchone() is not None:
                # It began again, with nothing.
                del self._left[session_id]
                continue
            removed = 0
            for table, (key, size) in statements.OF_SESSION.items():
                found = connection.execute(
                    f"SELECT {key}, {size} FROM {table} WHERE session_id = ? LIMIT ?",  # noqa: S608 - names of ours
                    (session_id, rows),
                )
                keys, taken = _slice(found, rows, held)
                connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", [(each,) for each in keys])  # noqa: S608 - as above
                removed += len(keys)
                rows -= len(keys)
                held -= taken
                if rows <= 0 or held <= 0:
                    break
            else:
                if not removed:
                    del self._left[session_id]
        connection.execute("COMMIT")

    def _count_ended(self) -> None:
        (self._ended,) = self._connection.execute("SELECT count(*) FROM ended_sessions").fetchone()

    def _trim_ended(self) -> None:
        """Forgets the sessions that ended first."""
        removed = self._connection.execute(
            "DELETE FROM ended_sessions WHERE number IN "
            "(SELECT number FROM ended_sessions ORDER BY number DESC LIMIT ? OFFSET ?)",
            (MAX_ROWS, self._settings.ended_sessions),
        ).rowcount
        self._ended -= removed
        if removed < MAX_ROWS:
            self._count_ended()

    # ------------------------------------------------------------------------------------------------- histories

    def _trim_histories(self, until: float) -> None:
        """Looks at the histories of sessions until a slice of one was removed."""
        connection = self._connection
        while time.monotonic() < until and (session_id := self._changes.take()) is not None:
            floor = floor_of(connection, session_id, self._settings)
            if floor is None:
                continue
            dropped = (
                "FROM changes WHERE session_id = ? AND revision <= ? AND revision > "
                "(SELECT history_floor FROM sessions WHERE session_id = ?)"
            )
            found = (session_id, floor, session_id)
            count, held = connection.execute(f"SELECT count(*), total(size) {dropped}", found).fetchone()
            if not count:
                continue
            up_to = floor
            if count > MAX_ROWS or held > MAX_BYTES:
                rows = connection.execute(f"SELECT revision, size {dropped} ORDER BY revision LIMIT {MAX_ROWS}", found)
                up_to = _slice(rows, MAX_ROWS, MAX_BYTES)[0][-1]
            self._forget({session_id: up_to})
            if up_to < floor:
                self._changes.look_at(session_id)
            return

    def _give_up_history(self) -> bool:
        """Gives up a slice of histories, the oldest changes first; returns False if there is nothing for now."""
        if time.monotonic() < self._give_up_at:
            return False
        rows = self._connection.execute(
            "SELECT revision, size, session_id, "
            "EXISTS (SELECT 1 FROM present WHERE present.revision = changes.revision) "
            "FROM changes WHERE revision > ? ORDER BY revision LIMIT ?",
            (self._given_up_to, MAX_ROWS),
        ).fetchall()
        if not rows:
            # What is present now may be history when this begins again.
            self._given_up_to = 0
            self._give_up_at = time.monotonic() + GIVE_UP_SECONDS
            return False
        revisions, _ = _slice(
            ((revision, 0 if stays else size) for revision, size, _, stays in rows), MAX_ROWS, MAX_BYTES
        )
        up_to = {session_id: revision for revision, _, session_id, stays in rows[: len(revisions)] if not stays}
        if up_to:
            self._forget(up_to)
        self._given_up_to = revisions[-1]
        return True

    def _forget(self, up_to: dict[str, int]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        for session_id, revision in up_to.items():
            forget(self._connection, session_id, revision)
        self._connection.execute("COMMIT")

    # --------------------------------------------------------------------------------------------------- answers

    def _trim_answers(self, until: float) -> None:
        """Looks at the answers of sessions until a slice of those of one was removed."""
        settings = self._settings
        while time.monotonic() < until and (session_id := self._answers.take()) is not None:
            rows = self._connection.execute(
                "SELECT number, length(answer) FROM calls WHERE session_id = ? AND answer IS NOT NULL "
                "ORDER BY ends_at DESC, number DESC",
                (session_id,),
            ).fetchall()
            kept, _ = _slice(rows, settings.max_session_answers, settings.max_session_answer_bytes, whole=True)
            dropped, _ = _slice(rows[len(kept) :], MAX_ROWS, MAX_BYTES)
            if dropped:
                self._remove_calls(dropped)
                self._answers.look_at(session_id)
                return

    def _sweep_in(self) -> float | None:
        """Returns the seconds until answers that have expired are to be forgotten; None: there are no answers."""
        if self._expires_at is None:
            return None
        return max(0.0, self._expires_at - time.time(), self._swept_at + SWEEP_SECONDS - time.monotonic())

    def _sweep(self) -> None:
        """Forgets a slice of the answers that have expired."""
        rows = self._connection.execute(
            "SELECT number, ifnull(length(answer), 0) FROM calls WHERE ends_at <= ? ORDER BY ends_at LIMIT ?",
            (time.time(), MAX_ROWS),
        )
        expired, _ = _slice(rows, MAX_ROWS, MAX_BYTES)
        if expired:
            self._remove_calls(expired)
        else:
            self._swept_at = time.monotonic()
            self._look_at_answers()

    def _look_at_answers(self) -> None:
        (self._expires_at,) = self._connection.execute(
            "SELECT min(ends_at) FROM calls WHERE ends_at IS NOT NULL"
        ).fetchone()

    def _remove_calls(self, numbers: Sequence[int]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("DELETE FROM calls WHERE number = ?", [(number,) for number in numbers])
        self._connection.execute("COMMIT")


def _slice(
    rows: Iterable[tuple[int, int | None]], most: int, most_bytes: int, *, whole: bool = False
) -> tuple[list[int], int]:
    """Returns the keys of the first rows, and their bytes together.

    Args:
        rows: Their keys, with their bytes.
        most: How many at most.
        most_bytes: Bytes of all at most; the first may have more.
        whole: Whether the first may not have more, either.
    """
    keys: list[int] = []
    held = 0
    for key, size in rows:
        if len(keys) >= most or (held + (size or 0) > most_bytes and (keys or whole)):
            break
        keys.append(key)
        held += size or 0
    return keys, held
