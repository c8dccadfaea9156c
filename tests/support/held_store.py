"""A durable store that stores when a test says so, and fails when a test says so."""

from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.stored import CommitTimes, StoredCall, StoredState
from grpc_tool_bridge.core.variable import Change
from grpc_tool_bridge.core.writes import Settled, Write
from grpc_tool_bridge.errors import StoreError, ToolBridgeError


class HeldStore:
    """Implements ``DurableStore``.

    Attributes:
        held: The changes on their way, in order: each verb with its arguments, and its write.
        done: The names of the verbs that were stored, in order.
        known: What ``begin_call`` finds, by key.
        history: What ``changes_after`` returns.
        state: What ``open`` returns.
        is_quick: Whether each change is stored at once.
        failing: The error that each change fails with at once, and what is on its way with it; None: it does not.
        refusing: The error that each change is refused with at once, as by a store at its limit; None: it is not.
        closed: Whether it was closed.
    """

    failure = ""
    is_failing = False
    is_shared = False

    def __init__(self, state: StoredState | None = None, *, is_quick: bool = False) -> None:
        self.state = state or StoredState("epoch", 0, [], {})
        self.held: list[tuple[str, tuple[Any, ...], Write]] = []
        self.done: list[str] = []
        self.known: dict[str, StoredCall] = {}
        self.history: list[Change] | None = None
        self.is_quick = is_quick
        self.failing: ToolBridgeError | None = None
        self.refusing: ToolBridgeError | None = None
        self.closed = False

    @property
    def waiting(self) -> list[str]:
        """The verbs on their way."""
        return [verb for verb, _, _ in self.held]

    def store(self, count: int | None = None) -> None:
        """Stores the first ``count`` changes on their way; None: all."""
        chosen, self.held = (self.held, []) if count is None else (self.held[:count], self.held[count:])
        for verb, _, write in chosen:
            self.done.append(verb)
            write.settle(None)

    def fail(self, error: ToolBridgeError | None = None) -> None:
        """Fails all that is on its way, the last first, as a store does."""
        lost, self.held = self.held, []
        for _, _, write in reversed(lost):
            write.settle(error or StoreError("nothing was changed: the disk is gone"))

    def _hold(self, verb: str, *args: Any, settled: Settled | None = None) -> Write:
        write = Write(settled)
        if self.refusing is not None:
            write.settle(self.refusing)
            return write
        self.held.append((verb, args, write))
        if self.failing is not None:
            self.fail(self.failing)
        elif self.is_quick:
            self.store()
        return write

    async def open(self, settings: Settings) -> StoredState:
        return self.state

    async def aclose(self) -> None:
        self.closed = True
        self.store()

    def abandon(self) -> None:
        self.closed = True

    def reserve_revisions(self, up_to: int) -> Write:
        return self._hold("reserve_revisions", up_to)

    def create_session(self, session: Any, settled: Settled | None = None) -> Write:
        return self._hold("create_session", session, settled=settled)

    def set_access(self, session_id: str, access: Any, settled: Settled | None = None) -> Write:
        return self._hold("set_access", session_id, access, settled=settled)

    def end_session(self, session_id: str, why: str, settled: Settled | None = None) -> Write:
        return self._hold("end_session", session_id, why, settled=settled)

    def set_variable(self, session_id: str, variable: Any, *, previous: int, hides: bool, settled: Settled) -> Write:
        return self._hold("set_variable", session_id, variable, previous, hides, settled=settled)

    def delete_variable(self, session_id: str, change: Change, *, settled: Settled) -> Write:
        return self._hold("delete_variable", session_id, change, settled=settled)

    async def changes_after(self, session_id: str, revision: int) -> list[Change] | None:
        return None if self.history is None else [change for change in self.history if change.revision > revision]

    async def begin_call(self, session_id: str, key: str, used_for: bytes, *, again: bool) -> StoredCall | None:
        await self._hold("begin_call", session_id, key, used_for, again)
        return self.known.get(key)

    def keep_answer(self, session_id: str, key: str, answer: Any, settled: Settled | None = None) -> Write:
        return self._hold("keep_answer", session_id, key, answer, settled=settled)

    def free_call(self, session_id: str, key: str) -> Write:
        return self._hold("free_call", session_id, key)

    def add_agent(self, session_id: str, agent_id: str, definition: Any, settled: Settled | None = None) -> Write:
        return self._hold("add_agent", session_id, agent_id, definition, settled=settled)

    def begin_run(self, session_id: str, run: Any) -> Write:
        return self._hold("begin_run", session_id, run)

    def add_chunk(
        self, session_id: str, run_id: str, sequence: int, data: bytes, *, is_last: bool, settled: Settled | None = None
    ) -> Write:
        return self._hold("add_chunk", session_id, run_id, sequence, data, is_last, settled=settled)

    def drop_chunks(self, session_id: str, run_id: str, before: int) -> Write:
        return self._hold("drop_chunks", session_id, run_id, before)

    def drop_run(self, session_id: str, run_id: str) -> Write:
        return self._hold("drop_run", session_id, run_id)

    def watch_failure(self, changed: Callable[[], None]) -> None:
        self.on_failure = changed

    def commit_times(self) -> CommitTimes:
        return CommitTimes([(float("inf"), 0)], 0.0)

    def counts(self) -> dict[str, int | float | str]:
        return {"store_waiting": len(self.held)}


def _has_all_verbs(store: HeldStore) -> DurableStore:
    return store
