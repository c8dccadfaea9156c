"""What the chain of a session says: the session with all that belongs to it."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from google.protobuf import any_pb2

from grpc_tool_bridge.cluster.journal import changes
from grpc_tool_bridge.cluster.journal.changes import KeptCall
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.sealed import UnreadableValue, ValuePlace, is_sealed
from grpc_tool_bridge.core.sealing import StoreSealing
from grpc_tool_bridge.core.stored import StoredRun, StoredSession
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.proto.dspex_bridge_journal_pb2 import JournalChange
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, SessionConfig


class Past(NamedTuple):
    """A variable's state in the history, which the session shares with it while it is the present one.

    Attributes:
        variable: The state.
        previous: Revision of the state that it replaced; 0: it was new.
        secret: Whether it is secret, or has become so since.
    """

    variable: Variable
    previous: int
    secret: bool

    @property
    def revision(self) -> int:
        """Revision of the change."""
        return self.variable.revision

    @property
    def size(self) -> int:
        """Bytes of the value."""
        return self.variable.size

    def change(self) -> Change:
        """Returns it as watches report it."""
        variable = self.variable
        return Change(
            "update" if self.previous else "set",
            variable.name,
            variable.value,
            variable.revision,
            variable.updated_at,
            variable.size,
            self.previous,
            self.secret,
        )


_NO_KEYS = StoreSealing()
_NO_METADATA: dict[str, str] = {}
_NO_VARIABLES: Mapping[str, Variable] = {}
_NO_CALLS: Mapping[str, KeptCall] = {}


class SessionImage:
    """What the chain of a session says. Parts that most sessions do not use are there once they are used.

    It shares its objects with the session in memory. Nothing changes one of them.

    Args:
        settings: ``watch_history``, ``watch_history_bytes``, ``max_session_answers``, ``max_session_answer_bytes``.
        session_id: The session.
        sealing: Seals and opens the values of its chain; None: there are no keys.

    Attributes:
        is_due: Whether its chain has values that ought to be sealed anew.
        session_id, created_at, metadata, config: As in ``StoredSession``.
        revision: Revision of the last change of its variables; 0: there was none.
        deleted_at: Revision of the last deletion; 0: there was none.
        floor: Changes up to this revision are no longer kept.
        ended: Why it has ended; None: it has not.
        ended_at: When, in seconds since the epoch.
    """

    __slots__ = (
        "_agents",
        "_answer_bytes",
        "_calls",
        "_history",
        "_history_bytes",
        "_runs",
        "_sealing",
        "_settings",
        "_variables",
        "config",
        "created_at",
        "deleted_at",
        "ended",
        "ended_at",
        "floor",
        "is_due",
        "lost_delete",
        "metadata",
        "revision",
        "session_id",
    )

    def __init__(self, settings: Settings, session_id: str, sealing: StoreSealing | None = None) -> None:
        self._settings = settings
        self._sealing = sealing or _NO_KEYS
        self.is_due = False
        self.session_id = session_id
        self.created_at = 0.0
        self.metadata = _NO_METADATA
        self.config: SessionConfig | None = None
        self.revision = self.deleted_at = self.floor = self.lost_delete = 0
        self.ended: str | None = None
        self.ended_at = 0.0
        self._variables: dict[str, Variable] | None = None
        self._history: deque[Past | Change] | None = None
        self._history_bytes = 0
        self._calls: dict[str, KeptCall] | None = None
        self._answer_bytes = 0
        self._agents: dict[str, CreateReActAgentRequest] | None = None
        self._runs: dict[str, StoredRun] | None = None

    def create(self, session: StoredSession, *, floor: int = 0, lost_delete: int = 0) -> None:
        """Begins with a session that has nothing.

        Args:
            session: The session.
            floor: Changes up to this revision are no longer kept.
            lost_delete: Revision of the last deletion among them.
        """
        self.created_at, self.config = session.created_at, session.config
        self.metadata = session.metadata or _NO_METADATA
        self.floor = self.revision = floor
        self.lost_delete = self.deleted_at = lost_delete

    def end(self, why: str, at: float) -> None:
        """Ends the session."""
        self.ended, self.ended_at = why, at

    def take(self, calls_end_at: float) -> None:
        """Notes that another hub has it: what became of calls that were running is not known."""
        if self._calls is not None:
            for key, call in self._calls.items():
                if not call.ends_at:
                    self._calls[key] = call._replace(ends_at=calls_end_at)

    # ---------------------------------------------------------------------------------------------- variables

    def set_variable(self, variable: Variable, previous: int, *, hides: bool = False, forgotten: bool = False) -> None:
        """Takes the next state of a variable.

        Args:
            variable: The state.
            previous: Revision of the state that it replaces.
            hides: Whether what it was before becomes secret, too.
            forgotten: Whether the history does not have it.
        """
        if self._variables is None:
            self._variables = {}
        self._variables[variable.name] = variable
        if forgotten:
            self.revision = max(self.revision, variable.revision)
            return
        if hides:
            self._hide(variable.name)
            # What it was before is in the chain as it is.
            self.is_due = self._sealing.sealer is not None
        self._add(Past(variable, previous, variable.secret), variable.revision, variable.size)

    def opened(self, value: any_pb2.Any, name: str, revision: int, *, secret: bool) -> any_pb2.Any | UnreadableValue:
        """Returns a value of the chain as it was before it was sealed; as ``StoreSealing.open``."""
        sealer = self._sealing.sealer
        if sealer is not None and sealer.is_due(value, secret=secret):
            self.is_due = True
        if not is_sealed(value):
            return value
        return self._sealing.open(value, ValuePlace(self.session_id, name, revision), secret=secret)

    def _stored(self, variable: Variable, *, secret: bool) -> any_pb2.Any:
        place = ValuePlace(self.session_id, variable.name, variable.revision)
        return self._sealing.seal(variable.value, place, secret=secret)

    def delete_variable(self, change: Change) -> None:
        """Removes a variable."""
        if self._variables is not None:
            self._variables.pop(change.name, None)
        self.deleted_at = max(self.deleted_at, change.revision)
        self._add(change, change.revision, change.size)

    def _add(self, change: Past | Change, revision: int, size: int) -> None:
        if self._history is None:
            self._history = deque()
        history, settings = self._history, self._settings
        history.append(change)
        self._history_bytes += size
        self.revision = max(self.revision, revision)
        while len(history) > settings.watch_history or (
            self._history_bytes > settings.watch_history_bytes and len(history) > 1
        ):
            dropped = history.popleft()
            self._history_bytes -= dropped.size
            self.floor = dropped.revision
            if isinstance(dropped, Change):
                self.lost_delete = dropped.revision

    def _hide(self, name: str) -> None:
        history = self._history or deque()
        for index, change in enumerate(history):
            if isinstance(change, Change):
                if change.name == name:
                    history[index] = replace(change, secret=True)
            elif change.variable.name == name:
                history[index] = change._replace(secret=True)

    def changes_after(self, revision: int) -> list[Change] | None:
        """Returns the changes after a revision, in order; None if some of them are no longer kept."""
        if revision < self.floor:
            return None
        found: list[Change] = []
        for change in reversed(self._history or ()):
            if change.revision <= revision:
                break
            found.append(change if isinstance(change, Change) else change.change())
        found.reverse()
        return found

    # -------------------------------------------------------------------------- calls with an idempotency key

    def call(self, key: str) -> KeptCall | None:
        """Returns the call that has a key; None if there is none."""
        return (self._calls or _NO_CALLS).get(key)

    def set_call(self, key: str, call: KeptCall | None) -> None:
        """Takes what a call has become; None: it is forgotten."""
        if self._calls is None:
            self._calls = {}
        self._forget(key)
        if call is None:
            return
        # The one that was answered last is the last.
        self._calls[key] = call
        if call.answer is not None:
            self._answer_bytes += len(call.answer)
            self._trim_answers()

    def _forget(self, key: str) -> None:
        known = self._calls.pop(key, None) if self._calls is not None else None
        if known is not None and known.answer is not None:
            self._answer_bytes -= len(known.answer)

    def _trim_answers(self) -> None:
        """Forgets answers beyond the limits, the oldest first."""
        settings, calls = self._settings, self._calls or {}
        over = len(calls) - settings.max_session_answers
        if over <= 0 and self._answer_bytes <= settings.max_session_answer_bytes:
            return
        answered = [key for key, call in calls.items() if call.answer is not None]
        over = len(answered) - settings.max_session_answers
        for index, key in enumerate(answered):
            if index >= over and self._answer_bytes <= settings.max_session_answer_bytes:
                return
            self._forget(key)

    def sweep(self, now: float) -> None:
        """Forgets the calls that are no longer kept."""
        for key in [key for key, call in (self._calls or _NO_CALLS).items() if call.is_over(now)]:
            self._forget(key)

    # ----------------------------------------------------------------------------------------- agents and runs

    def add_agent(self, agent_id: str, definition: CreateReActAgentRequest) -> None:
        """Takes an agent; one that is there already stays as it is."""
        if self._agents is None:
            self._agents = {}
        self._agents.setdefault(agent_id, definition)

    def begin_run(self, run: StoredRun) -> None:
        """Takes a new run."""
        if self._runs is None:
            self._runs = {}
        self._runs.pop(run.run_id, None)
        self._runs[run.run_id] = run

    def add_chunk(self, run_id: str, sequence: int, data: bytes, *, is_last: bool) -> None:
        """Takes the next chunk of a run; that of a run that was dropped belongs to nothing."""
        run = self._runs.get(run_id) if self._runs is not None else None
        if run is None:
            return
        if not run.chunks:
            run.first = sequence
        run.chunks.append((data, is_last))

    def drop_chunks(self, run_id: str, before: int) -> None:
        """Forgets the chunks of a run before one."""
        run = self._runs.get(run_id) if self._runs is not None else None
        if run is not None and run.chunks:
            count = min(max(0, before - run.first), len(run.chunks))
            del run.chunks[:count]
            run.first += count

    def drop_run(self, run_id: str) -> None:
        """Forgets a run."""
        if self._runs is not None:
            self._runs.pop(run_id, None)

    # -------------------------------------------------------------------------------------------------- itself

    def to_stored(self) -> StoredSession:
        """Returns the session as a hub takes it over; the runs are copies, since a session in memory drops chunks."""
        return StoredSession(
            self.session_id,
            self.created_at,
            dict(self.metadata),
            self.config,
            sorted((self._variables or _NO_VARIABLES).values(), key=lambda variable: variable.revision),
            self.revision,
            self.deleted_at,
            dict(self._agents or {}),
            [replace(run, chunks=list(run.chunks)) for run in (self._runs or {}).values()],
        )

    def snapshot(self, now: float | None = None) -> Iterator[JournalChange]:
        """Yields the changes that make such an image of an empty one; what is swept meanwhile may be among them."""
        now = time.time() if now is None else now
        bare = StoredSession(self.session_id, self.created_at, self.metadata, self.config)
        yield changes.create(bare, floor=self.floor, lost_delete=self.lost_delete)
        past = {change.revision for change in self._history or () if not isinstance(change, Change)}
        for variable in (self._variables or _NO_VARIABLES).values():
            if variable.revision not in past:
                value = self._stored(variable, secret=variable.secret)
                yield changes.set_variable(variable, 0, value, forgotten=True)
        for change in self._history or ():
            if isinstance(change, Change):
                yield changes.delete_variable(change)
            else:
                value = self._stored(change.variable, secret=change.secret)
                yield changes.set_variable(change.variable, change.previous, value, secret=change.secret)
        for key, call in list((self._calls or _NO_CALLS).items()):
            if not call.is_over(now):
                yield from changes.kept_call(key, call)
        for agent_id, definition in (self._agents or {}).items():
            yield changes.add_agent(agent_id, definition)
        for run in (self._runs or {}).values():
            yield changes.begin_run(run)
            for number, (data, is_last) in enumerate(run.chunks, run.first):
                yield changes.add_chunk(run.run_id, number, data, is_last=is_last)
