"""The durable store in an SQLite file."""

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.commit_metrics import CommitMetrics
from grpc_tool_bridge.core.interfaces import ValueSealer
from grpc_tool_bridge.core.sealed import ValuePlace
from grpc_tool_bridge.core.sealing import StoreSealing
from grpc_tool_bridge.core.stored import CommitTimes, StoredCall, StoredRun, StoredSession, StoredState
from grpc_tool_bridge.core.variable import Change as VariableChange
from grpc_tool_bridge.core.variable import Variable
from grpc_tool_bridge.core.writes import Settled
from grpc_tool_bridge.errors import StoreError, ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, InitializeSessionRequest, ToolCallResponse
from grpc_tool_bridge.stores.sqlite import statements
from grpc_tool_bridge.stores.sqlite.failures import RESTORE, reason
from grpc_tool_bridge.stores.sqlite.file import StoreFile
from grpc_tool_bridge.stores.sqlite.history import history_after
from grpc_tool_bridge.stores.sqlite.loading import DamagedRowError, load
from grpc_tool_bridge.stores.sqlite.sealing import hide_values, overwrite_deleted
from grpc_tool_bridge.stores.sqlite.upkeep import FileUpkeep
from grpc_tool_bridge.stores.sqlite.writer import AtPoint, Change, Writer


class SqliteStore:
    """The durable store in an SQLite file; see ``DurableStore``.

    Args:
        path: The file; it is made if it is not there.
        sealer: Seals values of secret variables; None: they are stored as they are.
        at_point: See ``AtPoint``; for tests.

    Attributes:
        path: The file itself, where ``path`` is a link.
    """

    def __init__(self, path: Path, *, sealer: ValueSealer | None = None, at_point: AtPoint | None = None) -> None:
        self._file = StoreFile(path)
        self._sealing = StoreSealing(sealer)
        self.path = self._file.path
        self._at_point = at_point
        self._metrics = CommitMetrics()
        self._writer: Writer | None = None
        self._on_failure: Callable[[], None] | None = None
        self._settings = Settings()
        self._reader: sqlite3.Connection | None = None
        self._reading = threading.Lock()

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r})"

    async def open(self, settings: Settings) -> StoredState:
        """See ``DurableStore``."""
        if self._writer is not None:
            raise StoreError(f"{self!r} serves a hub already; make another for another file")
        self._settings = settings
        opening = asyncio.ensure_future(asyncio.to_thread(self._open, settings))
        try:
            connection, state, upkeep = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The thread goes on; what it has opened is nobody's.
            opening.add_done_callback(self._opened_in_vain)
            raise
        self._writer = Writer(connection, str(self.path), metrics=self._metrics, upkeep=upkeep, at_point=self._at_point)
        self._writer.on_failure = self._on_failure
        return state

    def _open(self, settings: Settings) -> tuple[sqlite3.Connection, StoredState, FileUpkeep]:
        try:
            connection = self._file.open(settings.max_store_bytes)
            try:
                if self._sealing.sealer is not None:
                    overwrite_deleted(connection)
                state = load(connection, settings, self._sealing)
                assert self._file.log is not None  # noqa: S101 - it is open
                return connection, state, FileUpkeep(connection, settings, self._file.log)
            except BaseException:
                connection.close()
                self._file.close()
                raise
        except ToolBridgeError:
            raise
        except sqlite3.Error as error:
            raise StoreError(reason(error, self.path)) from None
        except Exception as error:  # noqa: BLE001 - what is in a row is not what was written there
            # Other texts may have a value in them.
            what = str(error) if isinstance(error, DamagedRowError) else type(error).__name__
            raise StoreError(f"the store {self.path} is damaged ({what}); {RESTORE}") from None

    def _opened_in_vain(self, opening: "asyncio.Future[tuple[sqlite3.Connection, StoredState, FileUpkeep]]") -> None:
        if not opening.cancelled() and opening.exception() is None:
            opening.result()[0].close()
            self._file.close()

    async def aclose(self) -> None:
        """See ``DurableStore``."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            # SQLite carries the log over when the last connection is closed: the writer's.
            self._close_reader()
            try:
                await writer.aclose()
            finally:
                self._file.close()

    def abandon(self) -> None:
        """See ``DurableStore``."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            self._close_reader()
            try:
                writer.abandon()
            finally:
                self._file.close()

    def _close_reader(self) -> None:
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def watch_failure(self, changed: Callable[[], None]) -> None:
        """See ``DurableStore``."""
        self._on_failure = changed
        if self._writer is not None:
            self._writer.on_failure = changed

    @property
    def failure(self) -> str:
        """See ``DurableStore``."""
        return self._writer.failure if self._writer is not None else ""

    @property
    def is_shared(self) -> bool:
        """See ``DurableStore``."""
        return False

    @property
    def is_failing(self) -> bool:
        """See ``DurableStore``."""
        return self._writer is not None and self._writer.is_failing

    def counts(self) -> dict[str, int | float | str]:
        """See ``DurableStore``."""
        metrics = self._metrics
        return {
            "store_commits": metrics.commits,
            "store_commit_seconds": metrics.seconds,
            "store_commit_most_seconds": metrics.most_seconds,
            "store_changes": metrics.changes,
            "store_failures": metrics.failures + metrics.refused,
            "store_waiting": self._writer.waiting if self._writer is not None else 0,
            **self._file.sizes(),
        }

    def commit_times(self) -> CommitTimes:
        """See ``DurableStore``."""
        return self._metrics.times()

    def _submit(
        self, sql: str, *parameters: Any, settled: Settled | None = None, owed: bool = False, frees: bool = False
    ) -> Change:
        return self._submitted(Change(sql, parameters, settled, owed=owed, frees=frees or owed))

    def _work(self, work: Callable[[sqlite3.Connection], Any], *written: Any, owed: bool = False) -> Change:
        return self._submitted(Change("", written, owed=owed, frees=owed, work=work))

    def _submitted(self, change: Change) -> Change:
        if self._writer is None:
            change.settle(StoreError("nothing was changed: the store is not open; its hub has not started, or ended"))
            return change
        return self._writer.submit(change)

    def reserve_revisions(self, up_to: int) -> Change:
        """See ``DurableStore``."""
        return self._submit(statements.RESERVE, up_to, owed=True)

    # ----------------------------------------------------------------------------------------------- sessions

    def create_session(self, session: StoredSession, settled: Settled | None = None) -> Change:
        """See ``DurableStore``."""
        request = InitializeSessionRequest(metadata=session.metadata, config=session.config)
        return self._submit(
            statements.CREATE_SESSION,
            session.session_id,
            session.created_at,
            request.SerializeToString(),
            settled=settled,
        )

    def end_session(self, session_id: str, why: str, settled: Settled | None = None) -> Change:
        """See ``DurableStore``."""
        return self._submit(statements.END_SESSION, session_id, why, time.time(), settled=settled, frees=True)

    # ---------------------------------------------------------------------------------------------- variables

    def set_variable(
        self, session_id: str, variable: Variable, *, previous: int, hides: bool, settled: Settled
    ) -> Change:
        """See ``DurableStore``."""
        value, tags = variable.value, variable.tags
        if variable.secret or self._sealing.seals_all:
            place = ValuePlace(session_id, variable.name, variable.revision)
            value = self._sealing.seal(value, place, secret=variable.secret)
        row = (
            variable.revision,
            session_id,
            variable.name,
            "update" if previous else "set",
            previous,
            variable.updated_at,
            variable.secret,
            value.type_url,
            value.value,
            variable.type,
            variable.size,
            variable.held,
            variable.created_at,
            variable.created_by,
            json.dumps(dict(tags)) if tags else None,
        )
        change = Change(statements.SET, row, settled)
        if hides and self._writer is not None and not self._writer.refuses(change):
            # It has its room: were it refused now, what it was before would be secret all the same.
            change.frees = True
            self._hide(session_id, variable.name)
        return self._submitted(change)

    def _hide(self, session_id: str, name: str) -> None:
        sealer = self._sealing.sealer
        if sealer is None:
            self._submit(statements.HIDE, session_id, name, frees=True)
        else:
            hide = partial(hide_values, session_id=session_id, name=name, sealer=sealer)
            self._submitted(Change("", (), frees=True, work=hide))

    def delete_variable(self, session_id: str, change: VariableChange, *, settled: Settled) -> Change:
        """See ``DurableStore``."""
        return self._submit(
            statements.DELETE,
            change.revision,
            session_id,
            change.name,
            change.previous,
            change.timestamp,
            change.secret,
            settled=settled,
            frees=True,
        )

    async def changes_after(self, session_id: str, revision: int) -> list[VariableChange] | None:
        """See ``DurableStore``."""
        return await asyncio.to_thread(
            self._read,
            partial(
                history_after,
                session_id=session_id,
                revision=revision,
                settings=self._settings,
                sealing=self._sealing,
            ),
        )

    def _read(self, read: Callable[[sqlite3.Connection], Any]) -> Any:
        """Reads what is stored, from any thread."""
        with self._reading:
            if self._writer is None:
                raise StoreError("the store is not open; its hub has not started, or ended")
            try:
                if self._reader is None:
                    self._reader = self._file.reader()
                return read(self._reader)
            except sqlite3.Error as error:
                raise StoreError(reason(error)) from None

    # ---------------------------------------------------------------------------- calls with an idempotency key

    async def begin_call(self, session_id: str, key: str, used_for: bytes, *, again: bool) -> StoredCall | None:
        """See ``DurableStore``."""
        now = time.time()

        def begin(connection: sqlite3.Connection) -> StoredCall | None:
            row = connection.execute(
                "SELECT used_for, answer, ends_at FROM calls WHERE session_id = ? AND key = ?", (session_id, key)
            ).fetchone()
            if row is not None:
                known, answer, ends_at = row
                if not isinstance(ends_at, float) or ends_at > now:
                    if answer is not None:
                        return StoredCall(known, _read_answer(answer))
                    if not (again and known == used_for):
                        return StoredCall(known, None)
            connection.execute(
                "INSERT OR REPLACE INTO calls (session_id, key, used_for, began_at) VALUES (?, ?, ?, ?)",
                (session_id, key, used_for, now),
            )
            return None

        change = self._work(begin, session_id, key, used_for)
        await change
        found: StoredCall | None = change.result
        return found

    def keep_answer(
        self, session_id: str, key: str, answer: ToolCallResponse, settled: Settled | None = None
    ) -> Change:
        """See ``DurableStore``."""
        ends_at = time.time() + self._settings.answer_ttl

        def kept(error: ToolBridgeError | None) -> None:
            if error is not None:
                # After a restart, what became of the call is not known, as long as its answer would have been kept.
                self._submit(statements.GIVE_UP_CALL, ends_at, session_id, key, owed=True)
            if settled is not None:
                settled(error)

        return self._submit(statements.KEEP_ANSWER, answer.SerializeToString(), ends_at, session_id, key, settled=kept)

    def free_call(self, session_id: str, key: str) -> Change:
        """See ``DurableStore``."""
        return self._submit(statements.FREE_CALL, session_id, key, owed=True)

    # ------------------------------------------------------------------------------------------ agents and runs

    def add_agent(
        self,
        session_id: str,
        agent_id: str,
        definition: CreateReActAgentRequest,
        *,
        settled: Settled | None = None,
    ) -> Change:
        """See ``DurableStore``."""
        return self._submit(statements.ADD_AGENT, session_id, agent_id, definition.SerializeToString(), settled=settled)

    def begin_run(self, session_id: str, run: StoredRun) -> Change:
        """See ``DurableStore``."""
        return self._submit(statements.BEGIN_RUN, session_id, run.run_id, run.agent_id, run.digest, run.started_at)

    def add_chunk(
        self, session_id: str, run_id: str, sequence: int, data: bytes, *, is_last: bool, settled: Settled | None = None
    ) -> Change:
        """See ``DurableStore``."""
        return self._submit(statements.ADD_CHUNK, session_id, run_id, sequence, is_last, data, settled=settled)

    def drop_chunks(self, session_id: str, run_id: str, before: int) -> Change:
        """See ``DurableStore``."""
        return self._submit(statements.DROP_CHUNKS, session_id, run_id, before, owed=True)

    def drop_run(self, session_id: str, run_id: str) -> Change:
        """See ``DurableStore``."""

        def drop(connection: sqlite3.Connection) -> None:
            for table in ("runs", "chunks"):
                connection.execute(
                    f"DELETE FROM {table} WHERE session_id = ? AND run_id = ?",  # noqa: S608 - a name of ours
                    (session_id, run_id),
                )

        return self._work(drop, owed=True)


def _read_answer(answer: Any) -> ToolCallResponse | None:
    """Returns an answer that was kept; None if it is damaged: then nobody knows what it was."""
    try:
        return ToolCallResponse.FromString(answer)
    except (DecodeError, TypeError):
        return None
