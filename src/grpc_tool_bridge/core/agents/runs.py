"""One run of an agent: its chunks and its readers."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.core.agents.run_writer import RunWriter
from grpc_tool_bridge.core.calls import HubCall
from grpc_tool_bridge.core.interfaces import DurableStore
from grpc_tool_bridge.core.stored import StoredRun
from grpc_tool_bridge.errors import (
    CallCancelledError,
    ProtocolError,
    ToolBridgeError,
    ValidationError,
    error_info,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import AgentExecutionChunk, ErrorInfo
from grpc_tool_bridge.rpc.budgets import Budget, Lease
from grpc_tool_bridge.rpc.nodes import read_message

# Chunks of one run that are kept, regardless of their size.
MAX_CHUNKS = 10_000

# Chunks of one run that may be on their way into a durable store; beyond that, its runtime waits.
MAX_UNSTORED = 1_000
MAX_UNSTORED_BYTES = 1024 * 1024

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
        """Counts a chunk of ``size`` bytes."""
        self._runs[run] = None
        self.held += size
        self._lease.set(self.held)

    def make_room(self) -> None:
        """Makes room for what was counted."""
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

    With a durable store, readers get a chunk when it is stored, so that nobody has seen what a crash could take back.
    The runtime goes on meanwhile.

    Args:
        run_id: Its id.
        agent_id: The agent.
        session_id: The session.
        call: The run as a call of the hub; None if an earlier life of the hub had it.
        started_at: Seconds since the epoch.
        digest: Digest of the request.
        max_bytes: Bytes of chunks to keep; the oldest are dropped.
        memory: The memory of all runs.
        ttl: Seconds to continue, or to be kept, without a reader.
        on_evicted: Called with the run when no reader can attach to it any more.
        durable: Keeps it beyond the life of the process, if set.

    Attributes:
        run_id, agent_id, session_id, call, started_at, digest: As given.
        ended: Whether it has its last chunk, which may be on its way into the durable store.
        over: Whether readers have its last chunk.
        succeeded: Whether that chunk is a result.
        error_type: Type of the error that it ended with; empty if there is none.
        readers: Number of readers.
        held: Bytes of its chunks.
        writer: Writes it to the durable store; None: there is none.
    """

    def __init__(
        self,
        run_id: str,
        agent_id: str,
        session_id: str,
        call: HubCall | None,
        *,
        started_at: float,
        digest: bytes,
        max_bytes: int,
        memory: RunMemory,
        ttl: float,
        on_evicted: Callable[["Run"], None],
        durable: DurableStore | None = None,
    ) -> None:
        self.run_id = run_id
        self.agent_id = agent_id
        self.session_id = session_id
        self.call = call
        self.started_at = started_at
        self.digest = digest
        self.ended = False
        self.over = False
        self.succeeded = False
        self.error_type = ""
        self.readers = 0
        # Serialized chunks, each with whether it is the last.
        self._chunks: deque[tuple[bytes, bool]] = deque()
        self._first = 0
        # The number of the next chunk, and the bytes of those that readers do not have yet.
        self._next = 0
        self._unstored_bytes = 0
        # The error that it was ended with.
        self._failure: ErrorInfo | None = None
        self.held = 0
        self._max_bytes = max_bytes
        self._memory = memory
        self._ttl = ttl
        self._on_evicted = on_evicted
        self._timer: asyncio.TimerHandle | None = None
        self._evicted = False
        self._changed = Notifier()
        self.writer: RunWriter | None = None
        if durable is not None:
            self.writer = RunWriter(durable, session_id, run_id, on_stored=self._stored, on_failed=self._not_stored)

    @property
    def is_evictable(self) -> bool:
        """Whether it may be evicted to make room: it is over and has no reader."""
        return self.over and not self.readers

    @property
    def due(self) -> int:
        """The number of the next chunk for readers."""
        return self._first + len(self._chunks)

    @property
    def is_ahead(self) -> bool:
        """Whether so much of it is on its way into the durable store that its runtime has to wait."""
        return self._unstored_bytes > MAX_UNSTORED_BYTES or self._next - self.due > MAX_UNSTORED

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
            raise ProtocolError(f"chunk {self._next} of the agent runtime is empty")
        if chunk.sequence != self._next:
            raise ProtocolError(
                f"the agent runtime's stream has a gap: chunk {chunk.sequence} came where {self._next} was due"
            )
        self._put(chunk)

    def fail(self, error: ErrorInfo) -> None:
        """Ends the run with ``error``, unless it has ended."""
        if not self.ended:
            self._failure = error
            self._put(AgentExecutionChunk(error=error))

    def _put(self, chunk: AgentExecutionChunk) -> None:
        sequence = self._next
        chunk.agent_id, chunk.run_id, chunk.sequence = self.agent_id, self.run_id, sequence
        is_last = self._note_content(chunk)
        data = chunk.SerializeToString()
        self._take(len(data))
        if self.writer is None or self.writer.stopped:
            self._show(data, is_last=is_last)
        else:
            self._unstored_bytes += len(data)
            self.writer.add(sequence, data, is_last=is_last)

    def _note_content(self, chunk: AgentExecutionChunk) -> bool:
        """Notes how the run ends if a chunk is its last, and returns whether it is."""
        if chunk.WhichOneof("content") not in _LAST:
            return False
        self.ended = True
        self.succeeded = chunk.HasField("result")
        self.error_type = chunk.error.type
        return True

    def _take(self, size: int) -> None:
        self._next += 1
        self.held += size
        if not self._evicted:
            self._memory.take(self, size)

    def _stored(self, data: bytes, is_last: bool) -> None:
        self._unstored_bytes -= len(data)
        self._show(data, is_last=is_last)

    def _not_stored(self, error: ToolBridgeError) -> None:
        """Ends the run: the durable store does not take more of it.

        It ends in memory, unless another hub could find more of it than this one knows: then nobody is told how it
        ended before that is stored, so that nobody finds it otherwise.
        """
        self._give_up_unstored()
        if self.writer is not None and self.writer.is_unsure:
            self.writer.go_on()
        self.fail(self._failure or _interrupted(f"the run was ended, since it could not be stored ({error.message})"))
        if self.call is not None:
            self.call.cancel(error)

    def _give_up_unstored(self) -> None:
        """Forgets the chunks that readers do not have yet."""
        self._give_back(self._unstored_bytes)
        self._unstored_bytes = 0
        self._next = self.due
        self.ended = self.over

    def _show(self, data: bytes, *, is_last: bool) -> None:
        """Gives a chunk to readers."""
        self._chunks.append((data, is_last))
        if not self._evicted:
            self._memory.make_room()
        while (self.held > self._max_bytes or len(self._chunks) > MAX_CHUNKS) and self.drop_oldest():
            pass
        if is_last:
            self.over = True
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
        self._give_back(len(dropped))
        if self.writer is not None:
            self.writer.drop_before(self._first)
        return True

    def _give_back(self, size: int) -> None:
        self.held -= size
        if not self._evicted:
            self._memory.give_back(size)

    async def room(self) -> None:
        """Waits until the durable store has caught up so far that the runtime may go on."""
        while self.is_ahead:
            await self._changed.wait()

    async def settled(self) -> None:
        """Waits until readers have all chunks."""
        while self._next > self.due:
            await self._changed.wait()

    # ------------------------------------------------------------------------------------------------- its life

    def begin(self) -> None:
        """Starts the timer for a run without a reader, and writes to the durable store that it begins."""
        self._keep()
        if self.writer is not None:
            self.writer.begin(StoredRun(self.run_id, self.agent_id, self.digest, self.started_at))

    def restore(self, first: int, chunks: Iterable[tuple[bytes, bool]]) -> None:
        """Takes over what an earlier life of the hub has stored; if the run was going on, it ends with an error.

        Args:
            first: Number of the first chunk.
            chunks: The serialized chunks, each with whether it is the last.
        """
        self._first = self._next = first
        self._keep()
        for data, is_last in chunks:
            if is_last:
                self._note_content(AgentExecutionChunk.FromString(data))
            self._take(len(data))
            self._show(data, is_last=is_last)
        self.fail(_interrupted("the hub ended while the run was going on"))

    def cancel(self, error: ToolBridgeError) -> None:
        """Cancels the run, with the model request and the tool that it waits for."""
        if not self.ended and self.call is not None:
            self.call.cancel(error)

    def evict(self) -> None:
        """Evicts the run: no reader can attach to it any more, and the durable store forgets it."""
        if self.writer is not None and not self._evicted:
            self.writer.drop()
        self.close()

    def close(self) -> None:
        """Lets no reader attach any more; what the durable store has of it stays as it is."""
        self._stop()
        if not self._evicted:
            self._evicted = True
            self._memory.evict(self)
        if self.writer is not None:
            self.writer.stop()
            self._give_up_unstored()
            self._changed.notify_all()
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


def _interrupted(why: str) -> ErrorInfo:
    """Returns the error of a run that had begun and cannot go on, through no fault of its own.

    Its type is none of the error table: those that are about the hub's state are retryable, and what the tools of the
    run have done, another run would do again.
    """
    text = f"{why}; its tools may have had their effects: find out before you start another run"
    return error_info(ToolBridgeError(text, error_type="RunInterrupted", details={"outcome": "unknown"}))


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
