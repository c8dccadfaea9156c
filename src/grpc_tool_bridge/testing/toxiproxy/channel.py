"""What flows between the stages of a stream: chunks of bytes, and how they end."""

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto


class Ending(Enum):
    """How a stream ends."""

    FINISHED = auto()
    """Its sender has sent everything."""
    CLOSED = auto()
    """A toxic closes the connection."""
    RESET = auto()
    """A toxic resets the connection."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes that were read together.

    Attributes:
        data: The bytes; at least one.
        time: When they were read, by the event loop's clock, plus the latencies that they have had.
    """

    data: bytes
    time: float


class Channel:
    """A bounded queue of chunks with one writer and one reader, either of which can be cancelled without a loss.

    Args:
        capacity: Chunks that it holds before its writer waits.

    Attributes:
        ending: How it ended, after its last chunk; None: more may come.
        ended_at: When it ended.
    """

    def __init__(self, capacity: int) -> None:
        self.ending: Ending | None = None
        self.ended_at = 0.0
        self._capacity = capacity
        self._chunks: deque[Chunk] = deque()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()

    async def get(self) -> Chunk | None:
        """Waits for the next chunk; None after the last one."""
        while not self._chunks:
            if self.ending is not None:
                return None
            self._readable.clear()
            await self._readable.wait()
        self._writable.set()
        return self._chunks.popleft()

    async def put(self, chunk: Chunk) -> None:
        """Adds a chunk as soon as there is room."""
        while len(self._chunks) >= self._capacity:
            self._writable.clear()
            await self._writable.wait()
        self.push(chunk)

    def push(self, chunk: Chunk) -> None:
        """Adds a chunk, room or not; what comes after the end is dropped."""
        if self.ending is None:
            self._chunks.append(chunk)
            self._readable.set()

    def take_all(self) -> list[Chunk]:
        """Takes what is there."""
        chunks = list(self._chunks)
        self._chunks.clear()
        self._writable.set()
        return chunks

    def close(self, ending: Ending) -> None:
        """Ends it; only the first end counts."""
        if self.ending is None:
            self.ending, self.ended_at = ending, asyncio.get_running_loop().time()
        self._readable.set()
