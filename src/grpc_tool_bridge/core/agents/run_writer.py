"""Writes a run to a durable store ahead of its readers."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.stored import StoredRun
from grpc_tool_bridge.core.writes import STORED, Write
from grpc_tool_bridge.errors import ToolBridgeError

# Seconds after which it is written again how a run ended.
RETRY_SECONDS = 1.0


class RunWriter:
    """Writes one run to a durable store.

    Many chunks are on their way at once, in order. If one cannot be stored, neither can those after it, and nothing
    more of the run is written.

    Args:
        durable: The store.
        session_id: The session of the run.
        run_id: The run.
        on_stored: Called with each chunk, and whether it is the last, when it is stored.
        on_failed: Called once with the error if a chunk could not be stored, after those before it are.

    Attributes:
        stopped: Whether nothing more is written.
        is_unsure: Whether other hubs may find chunks in the store that this one does not know to be there.
    """

    def __init__(
        self,
        durable: DurableStore,
        session_id: str,
        run_id: str,
        *,
        on_stored: Callable[[bytes, bool], None],
        on_failed: Callable[[ToolBridgeError], None],
    ) -> None:
        self._durable = durable
        self._session_id = session_id
        self._run_id = run_id
        self._on_stored = on_stored
        self._on_failed = on_failed
        self._beginning: Write = STORED
        # Chunks on their way, by number.
        self._unstored: deque[tuple[int, bytes, bool]] = deque()
        self._failure: ToolBridgeError | None = None
        # The first chunk that is kept, if the store is to be told; 0: it knows.
        self._first = 0
        # Until then, what is added is held back.
        self._pause: asyncio.TimerHandle | None = None
        self.stopped = False
        self.is_unsure = False

    def begin(self, run: StoredRun) -> None:
        """Writes that the run begins."""
        self._beginning = self._durable.begin_run(self._session_id, run)

    async def begun(self) -> None:
        """Waits until it is stored that the run begins; raises the error if it could not be."""
        try:
            await self._beginning
        except ToolBridgeError:
            self.stopped = True
            raise

    def add(self, sequence: int, data: bytes, *, is_last: bool) -> None:
        """Writes the next chunk."""
        if self._failure is not None:
            # What it follows could not be stored.
            return
        self._unstored.append((sequence, data, is_last))
        if self._pause is None:
            self._write(sequence, data, is_last=is_last)

    def _write(self, sequence: int, data: bytes, *, is_last: bool) -> None:
        settled = partial(self._settled, sequence)
        self._durable.add_chunk(self._session_id, self._run_id, sequence, data, is_last=is_last, settled=settled)

    def _settled(self, sequence: int, error: ToolBridgeError | None) -> None:
        if not self._unstored or sequence > self._unstored[-1][0]:
            # It was given up before.
            return
        if error is None:
            _, data, is_last = self._unstored.popleft()
            self._on_stored(data, is_last)
        else:
            self._failure = error
            if self._durable.is_shared and error.details.get("outcome") == "unknown":
                self.is_unsure = True
            while self._unstored and self._unstored[-1][0] >= sequence:
                self._unstored.pop()
        if self._failure is not None and not self._unstored:
            self.stopped = True
            self._on_failed(self._failure)

    def go_on(self) -> None:
        """Writes again after a failure, in a while: the next chunk takes the place of those that were not stored."""
        self._failure, self.stopped = None, False
        self._pause = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._write_held)

    def _write_held(self) -> None:
        self._pause = None
        for sequence, data, is_last in tuple(self._unstored):
            self._write(sequence, data, is_last=is_last)

    def drop_before(self, sequence: int) -> None:
        """Removes the chunks before one, those of one turn of the event loop together."""
        if self.stopped:
            return
        if not self._first:
            asyncio.get_running_loop().call_soon(self._drop_chunks)
        self._first = sequence

    def _drop_chunks(self) -> None:
        before, self._first = self._first, 0
        if not self.stopped:
            self._durable.drop_chunks(self._session_id, self._run_id, before)

    def drop(self) -> None:
        """Removes the run."""
        self.stop()
        self._durable.drop_run(self._session_id, self._run_id)

    def stop(self) -> None:
        """Writes nothing more, and gives up the chunks on their way."""
        self.stopped = True
        self._unstored.clear()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
