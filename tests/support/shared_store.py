"""A store in memory that several hubs of one process share, with owners: what NATS is to the hubs of a cluster."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from grpc_tool_bridge.cluster.sessions.places import Ended, Mine, Missing, Orphan, Owned, Place
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.stored import CommitTimes, StoredCall, StoredRun, StoredSession, StoredState
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.core.writes import Settled, Write
from grpc_tool_bridge.errors import AlreadyExistsError, StoreError, ToolBridgeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import CreateReActAgentRequest, ToolCallResponse


@dataclass(slots=True)
class _Chain:
    owner: str
    stored: StoredSession
    changes: list[Change] = field(default_factory=list)
    calls: dict[str, StoredCall] = field(default_factory=dict)
    ended: str | None = None


class Book:
    """What all hubs share.

    Attributes:
        chains: The sessions.
        closed: The incarnations whose leases are closed.
        reserved: The revisions that each has reserved.
    """

    def __init__(self) -> None:
        self.chains: dict[str, _Chain] = {}
        self.closed: set[str] = set()
        self.reserved: dict[str, int] = {}


class SharedStore:
    """One hub's way to the store; a ``DurableStore`` and a ``Locator``.

    Args:
        book: What all share.
        incarnation: This hub's.

    Attributes:
        certain: Whether it is certain.
        located: How often a session was looked for.
    """

    def __init__(self, book: Book, incarnation: str) -> None:
        self.book = book
        self.incarnation = incarnation
        self.certain = True
        self.located = 0
        self._lost: list[Callable[[Sequence[str], str], None]] = []
        self._watchers: list[Callable[[], None]] = []
        # Sessions that it has taken and not given up.
        self.taken: set[str] = set()

    # ------------------------------------------------------------------------------------------------ locating

    def is_certain(self) -> bool:
        return self.certain

    @property
    def failure(self) -> str:
        return "" if self.certain else "NATS does not answer"

    @property
    def is_shared(self) -> bool:
        return True

    @property
    def is_failing(self) -> bool:
        return not self.certain

    def watch_failure(self, changed: Callable[[], None]) -> None:
        self._watchers.append(changed)

    def become(self, certain: bool) -> None:
        """Makes it certain, or not."""
        self.certain = certain
        for changed in self._watchers:
            changed()

    async def locate(self, session_id: str) -> Place:
        self.located += 1
        chain = self.book.chains.get(session_id)
        if chain is None:
            return Missing()
        if chain.ended is not None:
            return Ended(chain.ended)
        if chain.owner == self.incarnation:
            return Mine()
        return Orphan() if chain.owner in self.book.closed else Owned(chain.owner)

    async def take(self, session_id: str) -> StoredSession | None:
        chain = self.book.chains[session_id]
        if chain.owner == self.incarnation and session_id in self.taken:
            return None
        if chain.owner != self.incarnation and chain.owner not in self.book.closed:
            return None
        former, chain.owner = chain.owner, self.incarnation
        stored = copy.deepcopy(chain.stored)
        stored.above = self.book.reserved.get(former, 0)
        self.taken.add(session_id)
        return stored

    def forget(self, session_id: str) -> None:
        self.taken.discard(session_id)

    def on_lost(self, callback: Callable[[Sequence[str], str], None]) -> None:
        self._lost.append(callback)

    def lose(self, session_ids: Sequence[str], why: str) -> None:
        """Tells that sessions are no longer this hub's."""
        self.taken.difference_update(session_ids)
        for callback in self._lost:
            callback(session_ids, why)

    # ------------------------------------------------------------------------------------------------- storing

    async def open(self, settings: Settings) -> StoredState:
        return StoredState("epoch", 0, [], {})

    async def aclose(self) -> None:
        self.book.closed.add(self.incarnation)

    def abandon(self) -> None:
        pass

    def reserve_revisions(self, up_to: int) -> Write:
        self.book.reserved[self.incarnation] = up_to
        return _settled(None)

    def _change(self, session_id: str, apply: Callable[[_Chain], object], settled: Settled | None = None) -> Write:
        chain = self.book.chains.get(session_id)
        if chain is None or chain.owner != self.incarnation or chain.ended is not None:
            return _settled(settled, StoreError(f"session {session_id!r} has moved"))
        apply(chain)
        return _settled(settled)

    def create_session(self, session: StoredSession, settled: Settled | None = None) -> Write:
        known = self.book.chains.get(session.session_id)
        if known is not None and known.ended is None:
            return _settled(settled, AlreadyExistsError("another hub has created it"))
        self.book.chains[session.session_id] = _Chain(self.incarnation, copy.deepcopy(session))
        return _settled(settled)

    def set_access(self, session_id: str, access: Any, settled: Settled | None = None) -> Write:
        def apply(chain: _Chain) -> None:
            chain.stored.access = access

        return self._change(session_id, apply, settled)

    def end_session(self, session_id: str, why: str, settled: Settled | None = None) -> Write:
        def apply(chain: _Chain) -> None:
            chain.ended = why

        return self._change(session_id, apply, settled)

    def set_variable(
        self, session_id: str, variable: Variable, *, previous: int, hides: bool, settled: Settled
    ) -> Write:
        del hides

        def apply(chain: _Chain) -> None:
            chain.stored.variables = [one for one in chain.stored.variables if one.name != variable.name] + [variable]
            chain.stored.revision = variable.revision
            operation = "update" if previous else "set"
            at, size = variable.updated_at, variable.size
            chain.changes.append(
                Change(operation, variable.name, variable.value, variable.revision, at, size, previous, variable.secret)
            )

        return self._change(session_id, apply, settled)

    def delete_variable(self, session_id: str, change: Change, *, settled: Settled) -> Write:
        def apply(chain: _Chain) -> None:
            chain.stored.variables = [one for one in chain.stored.variables if one.name != change.name]
            chain.stored.revision = chain.stored.deleted_at = change.revision
            chain.changes.append(change)

        return self._change(session_id, apply, settled)

    async def changes_after(self, session_id: str, revision: int) -> list[Change] | None:
        return [change for change in self.book.chains[session_id].changes if change.revision > revision]

    async def begin_call(self, session_id: str, key: str, used_for: bytes, *, again: bool) -> StoredCall | None:
        chain = self.book.chains[session_id]
        known = chain.calls.get(key)
        if known is not None and not (again and known.answer is None and known.used_for == used_for):
            return known
        await self._change(session_id, lambda chain: chain.calls.update({key: StoredCall(used_for, None)}))
        return None

    def keep_answer(self, session_id: str, key: str, answer: ToolCallResponse, settled: Settled | None = None) -> Write:
        def apply(chain: _Chain) -> None:
            chain.calls[key] = StoredCall(chain.calls[key].used_for, answer)

        return self._change(session_id, apply, settled)

    def free_call(self, session_id: str, key: str) -> Write:
        return self._change(session_id, lambda chain: chain.calls.pop(key, None))

    def add_agent(
        self,
        session_id: str,
        agent_id: str,
        definition: CreateReActAgentRequest,
        *,
        settled: Settled | None = None,
    ) -> Write:
        return self._change(session_id, lambda chain: chain.stored.agents.setdefault(agent_id, definition), settled)

    def begin_run(self, session_id: str, run: StoredRun) -> Write:
        return self._change(session_id, lambda chain: chain.stored.runs.append(run))

    def add_chunk(
        self, session_id: str, run_id: str, sequence: int, data: bytes, *, is_last: bool, settled: Settled | None = None
    ) -> Write:
        del sequence

        def apply(chain: _Chain) -> None:
            next(run for run in chain.stored.runs if run.run_id == run_id).chunks.append((data, is_last))

        return self._change(session_id, apply, settled)

    def drop_chunks(self, session_id: str, run_id: str, before: int) -> Write:
        del session_id, run_id, before
        return _settled(None)

    def drop_run(self, session_id: str, run_id: str) -> Write:
        def apply(chain: _Chain) -> None:
            chain.stored.runs = [run for run in chain.stored.runs if run.run_id != run_id]

        return self._change(session_id, apply)

    def counts(self) -> dict[str, int | float | str]:
        return {}

    def commit_times(self) -> CommitTimes:
        return CommitTimes((), 0.0)


def _settled(settled: Settled | None, error: ToolBridgeError | None = None) -> Write:
    write = Write(settled)
    write.settle(error)
    return write


_: type[DurableStore] = SharedStore
