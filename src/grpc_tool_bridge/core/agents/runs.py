"""One run of an agent: its chunks as they come, and those who read them."""

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

# Chunks of one run that are kept, however small they are.
MAX_CHUNKS = 10_000

_LAST = frozenset({"result", "error"})


class RunMemory:
    """What the chunks of all runs of a hub together hold.

    Beyond the limit the runs that have been over for longest are forgotten, if nobody reads them; then the largest
    gives way, whoever's it is, and not the one that happens to grow.

    Args:
        max_bytes: The limit.
        memory: The hub's budget, of which they are a part; where it is full, runs that are over go early.

    Attributes:
        held: Bytes.
    """

    def __init__(self, max_bytes: int, memory: Budget | None = None) -> None:
        self._memory = memory or Budget(max_bytes, owner="the runs", setting="max_agent_run_bytes")
        self._lease = Lease(self._memory, "a chunk of a run")
        self._max_bytes = max_bytes
        self._runs: dict[Run, None] = {}
        self._over: dict[Run, None] = {}
        self.held = 0

    def take(self, run: "Run", size: int) -> None:
        """Counts a chunk that is kept, and makes room for it."""
        self._runs[run] = None
        self.held += size
        self._lease.set(self.held)
        while self.held > self._max_bytes or self._memory.is_over() is not None:
            spare = next((other for other in self._over if other.is_evictable), None)
            if spare is not None:
                spare.evict()
            elif not max(self._runs, key=lambda other: other.held).drop_oldest():
                return

    def give_back(self, size: int) -> None:
        """Counts what is kept no more."""
        self.held -= size
        self._lease.set(self.held)

    def note_over(self, run: "Run") -> None:
        """Takes a run that is over for one that may be forgotten."""
        self._over[run] = None

    def evict(self, run: "Run") -> None:
        """Counts the end of a run, with all that it held."""
        self.give_back(run.held)
        self._runs.pop(run, None)
        self._over.pop(run, None)


class Run:
    """A run, under way or over.

    It goes on without a reader for a while, so that one who was lost can attach again; then it is cancelled and, over,
    forgotten.

    Args:
        run_id: Its id.
        agent_id: Whose run it is.
        call: The call that it is.
        digest: Of what was asked for.
        max_bytes: Of chunks that are kept; the oldest give way.
        memory: What all runs share.
        ttl: Seconds without a reader.
        on_evicted: Called with the run once nobody can attach to it any more.

    Attributes:
        run_id, agent_id, call, digest: As given.
        over: Whether its last chunk is there.
        succeeded: Whether that is a result.
        error_type: Of the error that it ended with; empty where it has none.
        readers: Those who read it now.
        held: Bytes of its chunks that are kept.
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
        # Serialized, each with whether it is the last.
        self._chunks: deque[tuple[bytes, bool]] = deque()
        self._first = 0
        self.held = 0
        self._max_bytes = max_bytes
        self._memory = memory
        self._ttl = ttl
        self._on_evicted = on_evicted
        self._timer: asyncio.TimerHandle | None = None
        self._forgotten = False
        self._changed = Notifier()

    @property
    def is_evictable(self) -> bool:
        """Whether it may be forgotten to make room: it is over, and nobody reads it."""
        return self.over and not self.readers

    @property
    def due(self) -> int:
        """The number of the next chunk."""
        return self._first + len(self._chunks)

    # ------------------------------------------------------------------------------------------------- writing

    def put(self, data: bytes) -> None:
        """Takes the next chunk as the runtime gave it.

        Raises:
            ProtocolError: It is no chunk, or not the next.
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
        """Ends it with an error, unless it is over."""
        if not self.over:
            self._put(AgentExecutionChunk(error=error))

    def _put(self, chunk: AgentExecutionChunk) -> None:
        chunk.agent_id, chunk.run_id, chunk.sequence = self.agent_id, self.run_id, self.due
        is_last = chunk.WhichOneof("content") in _LAST
        data = chunk.SerializeToString()
        self._chunks.append((data, is_last))
        self.held += len(data)
        if not self._forgotten:
            self._memory.take(self, len(data))
        while (self.held > self._max_bytes or len(self._chunks) > MAX_CHUNKS) and self.drop_oldest():
            pass
        if is_last:
            self.over = True
            self.succeeded = chunk.HasField("result")
            self.error_type = chunk.error.type
            if not self._forgotten:
                self._memory.note_over(self)
            if not self.readers:
                # Whoever lost it has the whole time to come for the end of it.
                self._keep()
        self._changed.notify_all()

    def drop_oldest(self) -> bool:
        """Keeps its oldest chunk no more; false where it has no other."""
        if len(self._chunks) <= 1:
            return False
        dropped, _ = self._chunks.popleft()
        self._first += 1
        self.held -= len(dropped)
        if not self._forgotten:
            self._memory.give_back(len(dropped))
        return True

    # ------------------------------------------------------------------------------------------------- its life

    def begin(self) -> None:
        """Counts its time without a reader from now on."""
        self._keep()

    def cancel(self, error: ToolBridgeError) -> None:
        """Ends it early, with the model's call and the tool that it waits for."""
        if not self.over:
            self.call.cancel(error)

    def evict(self) -> None:
        """Stops its clock; nobody can attach to it any more."""
        self._stop()
        if not self._forgotten:
            self._forgotten = True
            self._memory.evict(self)
        self._on_evicted(self)

    def _keep(self) -> None:
        self._stop()
        if not self._forgotten:
            self._timer = asyncio.get_running_loop().call_later(self._ttl, self._nobody_came)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _nobody_came(self) -> None:
        if self.over:
            self.evict()
        else:
            self.cancel(CallCancelledError(f"the run was cancelled: nobody has read it for {self._ttl:g} s"))

    # ------------------------------------------------------------------------------------------------- reading

    async def read(self, sequence: int, *, steps: bool) -> AsyncGenerator[bytes, None]:
        """Yields its serialized chunks as they come, up to the last.

        Args:
            sequence: Number of the first.
            steps: Whether the steps are wanted, or the end alone.

        Raises:
            ValidationError: There is no such chunk; or the reader came too late, or is too slow: it is kept no more.
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
            f"chunk {sequence} of run {self.run_id!r} is kept no more; the oldest that is has the number "
            f"{self._first} (agent_run_bytes, max_agent_run_bytes)",
            details={"first_sequence": str(self._first)},
        )


class RunReader(AsyncGenerator[Any, None]):
    """Somebody who reads a run.

    Ended by ``aclose`` alone it was lost, and the run goes on for a while; one that wants it no more says ``cancel``.
    Of one that has ``gone`` nobody knows which it was: who gave the run a name means to come back for it.

    Args:
        chunks: What it reads.
        on_cancel: Called where it wants the run no more.
        named: Whether it gave the run its id.
    """

    def __init__(self, chunks: AsyncGenerator[Any, None], on_cancel: Callable[[], None], *, named: bool) -> None:
        self._chunks = chunks
        self._named = named
        self.cancel = on_cancel

    def gone(self) -> None:
        """Takes a reader that has gone, by a transport that does not say whether it cancelled or was lost."""
        if not self._named:
            self.cancel()

    async def asend(self, value: None) -> Any:
        """Returns the next chunk."""
        return await self._chunks.asend(value)

    async def athrow(self, *error: Any) -> Any:
        """As of a generator."""
        return await self._chunks.athrow(*error)

    async def aclose(self) -> None:
        """Reads no more."""
        await self._chunks.aclose()
