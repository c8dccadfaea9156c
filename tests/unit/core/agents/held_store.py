"""A durable store that stores what it has taken when a test says so."""

from collections.abc import Callable
from typing import Any

from grpc_tool_bridge.core.stored import StoredRun
from grpc_tool_bridge.core.writes import Settled, Write
from grpc_tool_bridge.errors import StoreError


class HeldStore:
    """Takes agents and runs as ``DurableStore`` does.

    Attributes:
        taken: What it was asked to do and has not settled.
        done: What it has stored, in order.
        is_shared: As of ``DurableStore``.
    """

    def __init__(self, *, is_shared: bool = False) -> None:
        self.is_shared = is_shared
        self.taken: list[tuple[tuple[Any, ...], Write]] = []
        self.done: list[tuple[Any, ...]] = []
        self._is_closed = False

    def store(self, count: int | None = None) -> None:
        """Stores what it has taken; with ``count`` only the first so many."""
        taken, self.taken = self.taken[:count], self.taken[len(self.taken[:count]) :]
        for what, write in taken:
            self.done.append(what)
            write.settle(None)

    def fail(self, text: str = "the disk is full", *, outcome: str = "") -> None:
        """Fails all that it has taken, the last first, as the SQLite store does; ``outcome``: what is known of it."""
        taken, self.taken = self.taken, []
        for _, write in reversed(taken):
            write.settle(StoreError(text, details={"outcome": outcome} if outcome else {}))

    def close(self) -> None:
        """Fails all that it takes from now on, at once."""
        self._is_closed = True

    def names(self) -> list[str]:
        """Names what it has taken and not settled."""
        return [what[0] for what, _ in self.taken]

    def _take(self, *what: Any, settled: Settled | None = None) -> Write:
        write = Write(settled)
        if self._is_closed:
            write.settle(StoreError("the store is closed"))
        else:
            self.taken.append((what, write))
        return write

    def add_agent(self, session_id: str, agent_id: str, definition: Any, *, settled: Settled | None = None) -> Write:
        return self._take("agent", session_id, agent_id, definition, settled=settled)

    def begin_run(self, session_id: str, run: StoredRun) -> Write:
        return self._take("run", session_id, run)

    def add_chunk(
        self, session_id: str, run_id: str, sequence: int, data: bytes, *, is_last: bool, settled: Settled | None = None
    ) -> Write:
        return self._take("chunk", session_id, run_id, sequence, data, is_last, settled=settled)

    def drop_chunks(self, session_id: str, run_id: str, before: int) -> Write:
        return self._take("drop chunks", session_id, run_id, before)

    def drop_run(self, session_id: str, run_id: str) -> Write:
        return self._take("drop run", session_id, run_id)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AssertionError(f"nothing of agents and runs asks for {name}")
