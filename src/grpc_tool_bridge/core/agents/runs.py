"""One run of an agent: its chunks and its readers."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any

from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.errors import (
    CallCancelledError,
    ProtocolError,
    ToolBridgeError,
    ValidationError,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import AgentExecutionChunk, ErrorInfo
from grpc_tool_bridge.rpc.budgets import Budget, Lease
from grpc_tool_bridge.rpc.nodes import read_message

# Chunks of one run that are kept, regardless of their size.
MAX_CHUNKS = 10_000

_LAST = frozenset({"result", "error"})


class RunMemory:
    """The memory that the chunks of all runs of a hub hold.

    Above the limit, the ended runs without a reader are evicted, oldest first; then the largest run loses its oldest
    chunks, whichever run is growing.

    Args:
        max_bytes: The limit.
        memory: The hub's budget, to which they are charged; if it is full, ended runs are evicted early.

    Attributes:
        held: Bytes that are held.
    """

    def __init__(self, max_bytes: int, memory: Budget | None = None) -> None:
        self._memory = memory or Budget(max_bytes, owner="the runs", setting="max_agent_run_bytes")
        self._lease = Lease(self._memory, "a chunk of a run")
        self._max_bytes = max_bytes
        self._runs: dict[Run, None] = {}
        self._over: dict[Run, None] = {}
        self.held = 0

    def take(self, run: "Run", size: int) -> None:
        """Counts a kept chunk of ``size`` bytes, and makes room for it."""
        self._runs[run] = None
        self.held += size
        self._lease.set(self.held)
        while self.held > self._max_bytes or self._memory.is_over() is not None:
            evictable = next((other for other in self._over if other.is_evictable), None)
            if evictable is not None:
                evictable.evict()
            elif not max(self._runs, key=lambda other: other.held).drop_oldest():
                return

    def give_back(self, size: int) -> None:
        """Counts ``size`` bytes that are no longer kept."""
        self.held -= size
        self._lease.set(self.held)

    def note_over(self, run: "Run") -> None:
        """Notes that a run is over and may be evicted."""
        self._over[run] = None

    def evict(self, run: "Run") -> None:
        """Removes a run, with all that it held."""
        self.give_back(run.held)
        self._runs.pop(run, None)
        self._over.pop(run, None)


class Run:
    """A run, under way or over.

    It continues without a reader for a while, so that a reader whose connection was lost can attach again; then it is
    cancelled, or evicted if it is over.

    Args:
        run_id: Its id.
        agent_id: The agent.
        call: The run as a call of the hub.
        digest: Digest of the request.
        max_bytes: Bytes of chunks to keep; the oldest are dropped.
        memory: The memory of all runs.
        ttl: Seconds to continue, or to be kept, without a reader.
        on_evicted: Called with the run when no reader can attach to it any more.

    Attributes:
        run_id, agent_id, call, digest: As given.
        over: Whether it has its last chunk.
        succeeded: Whether that chunk is a result.
        error_type: Type of the error that it ended with; empty if there is none.
        readers: Number of readers.
        held: Bytes of its kept chunks.
    """

    def __init__(
        self,
        run_id: str,
        agent_id: str,
        call: HubCall,
        *,
        digest: bytes,
        max_bytes: int,
        memory: RunMemory,
        ttl: float,
        on_evicted: Callable[["Run"], None],
    ) -> None:
        self.run_id = run_id
        self.agent_id = agent_id
        self.call = call
        self.digest = digest
        self.over = False
        self.succeeded = False
        self.error_type = ""
        self.readers = 0
        # Serialized chunks, each with whether it is the last.
        self._chunks: deque[tuple[bytes, bool]] = deque()
        self._first = 0
        self.held = 0
        self._max_bytes = max_bytes
        self._memory = memory
        self._ttl = ttl
        self._on_evicted = on_evicted
        self._timer: asyncio.TimerHandle | None = None
        self._evicted = False
        self._changed = Notifier()

    @property
    def is_evictable(self) -> bool:
        """Whether it may be evicted to make room: it is over and has no reader."""
        return self.over and not self.readers

    @property
    def due(self) -> int:
        """The number of the next chunk."""
        return self._first + len(self._chunks)

    # ------------------------------------------------------------------------------------------------- writing

    def put(self, data: bytes) -> None:
        """Takes the next chunk from the runtime.

        Raises:
            ProtocolError: It is not a valid chunk, or not the next one.
        """
        try:
            chunk = read_message(AgentExecutionChunk, data, "the message")
        except Exception as failure:  # noqa: BLE001 - protobuf's DecodeError, which is the runtime's fault
            raise ProtocolError(
                f"a chunk of an agent's run, which a runtime sent, cannot be read: {str(failure)[:200]}"
            ) from None
        if chunk.WhichOneof("content") is None:
            raise ProtocolError(f"chunk {self.due} of the agent runtime is empty")
        if chunk.sequence != self.due:
            raise ProtocolError(
                f"the agent runtime's stream has a gap: chunk {chunk.sequence} came where {self.due} was due"
            )
        self._put(chunk)

    def fail(self, error: ErrorInfo) -> None:
        """Ends the run with ``error``, unless it is over."""
        if not self.over:
            self._put(AgentExecutionChunk(error=error))

    def _put(self, chunk: AgentExecutionChunk) -> None:
        chunk.agent_id, chunk.run_id, chunk.sequence = self.agent_id, self.run_id, self.due
        is_last = chunk.WhichOneof("content") in _LAST
        data = chunk.SerializeToString()
        self._chunks.append((data, is_last))
        self.held += len(data)
        if not self._evicted:
            self._memory.take(self, len(data))
        while (self.held > self._max_bytes or len(self._chunks) > MAX_CHUNKS) and self.drop_oldest():
            pass
        if is_last:
            self.over = True
            self.succeeded = chunk.HasField("result")
            self.error_type = chunk.error.type
            if not self._evicted:
                self._memory.note_over(self)
            if not self.readers:
                # A reader that lost its connection has the full time to attach for the end.
                self._keep()
        self._changed.notify_all()

    def drop_oldest(self) -> bool:
        """Drops the oldest chunk; returns False if it is the only one."""
        if len(self._chunks) <= 1:
            return False
        dropped, _ = self._chunks.popleft()
        self._first += 1
        self.held -= len(dropped)
        if not self._evicted:
            self._memory.give_back(len(dropped))
        return True

    # ------------------------------------------------------------------------------------------------- its life

    def begin(self) -> None:
        """Starts the timer for a run without a reader."""
        self._keep()

    def cancel(self, error: ToolBridgeError) -> None:
        """Cancels the run, with the model request and the tool that it waits for."""
        if not self.over:
            self.call.cancel(error)

    def evict(self) -> None:
        """Evicts the run: no reader can attach to it any more."""
        self._stop()
        if not self._evicted:
            self._evicted = True
            self._memory.evict(self)
        self._on_evicted(self)

    def _keep(self) -> None:
        self._stop()
        if not self._evicted:
            self._timer = asyncio.get_running_loop().call_later(self._ttl, self._nobody_came)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _nobody_came(self) -> None:
        if self.over:
            self.evict()
        else:
            self.cancel(CallCancelledError(f"the run was cancelled: it had no reader for {self._ttl:g} s"))

    # ------------------------------------------------------------------------------------------------- reading

    async def read(self, sequence: int, *, steps: bool) -> AsyncGenerator[bytes, None]:
        """Yields the serialized chunks as they arrive, up to the last.

        Args:
            sequence: Number of the first chunk.
            steps: Whether to yield the steps, or only the last chunk.

        Raises:
            ValidationError: There is no such chunk, or it was evicted because the reader is late or too slow.
        """
        if not 0 <= sequence <= self.due:
            raise ValidationError(f"run {self.run_id!r} has {self.due} chunks so far; from_sequence is {sequence}")
        self.readers += 1
        self._stop()
        try:
            while True:
                if sequence < self.due:
                    data, is_last = self._kept(sequence, steps=steps)
                    if steps or is_last:
                        yield data
                    sequence += 1
                    if is_last:
                        return
                elif self.over:
                    return
                else:
                    await self._changed.wait()
        finally:
            self.readers -= 1
            if not self.readers:
                self._keep()

    def _kept(self, sequence: int, *, steps: bool) -> tuple[bytes, bool]:
        if sequence >= self._first:
            return self._chunks[sequence - self._first]
        if not steps:
            return b"", False
        raise ValidationError(
            f"chunk {sequence} of run {self.run_id!r} was evicted; the oldest kept chunk is {self._first} "
            "(agent_run_bytes, max_agent_run_bytes)",
            details={"first_sequence": str(self._first)},
        )


class RunReader(AsyncGenerator[Any, None]):
    """A reader of a run.

    ``aclose`` means that its connection was lost: the run continues for a while. ``cancel`` ends the run. After
    ``gone`` it could be either, so the run continues only if its caller gave it an id, to attach to it again.

    Args:
        chunks: The chunks to read.
        on_cancel: Cancels the run.
        named: Whether the caller gave the run its id.
    """

    def __init__(self, chunks: AsyncGenerator[Any, None], on_cancel: Callable[[], None], *, named: bool) -> None:
        self._chunks = chunks
        self._named = named
        self.cancel = on_cancel

    def gone(self) -> None:
        """Handles a reader that has gone, over a transport that does not say whether it cancelled or was lost."""
        if not self._named:
            self.cancel()

    async def asend(self, value: None) -> Any:
        """Returns the next chunk."""
        return await self._chunks.asend(value)

    async def athrow(self, *error: Any) -> Any:
        """As for a generator."""
        return await self._chunks.athrow(*error)

    async def aclose(self) -> None:
        """Stops reading."""
        await self._chunks.aclose()
