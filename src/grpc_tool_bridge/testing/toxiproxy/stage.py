"""A toxic's place in one stream."""

import asyncio
from random import Random

from grpc_tool_bridge.testing.toxiproxy.channel import Channel, Chunk, Ending


class Stage:
    """What an effect does its work with: it takes chunks from the stage before and gives them to the next one.

    A stage can be interrupted at any time: the chunk in hand stays in hand, and the next effect gets it again.

    Args:
        random: Decides whether the toxic takes part, and how it varies.
        capacity: Chunks that wait before the stage.
        out: What the next stage takes from.

    Attributes:
        passed: Bytes that a limited amount was spent on.
        is_triggered: Whether something came, for an effect that waits for it.
        task: What runs the effect.
    """

    def __init__(self, random: Random, capacity: int, out: Channel) -> None:
        self.random = random
        # Rolled once: a toxic that is changed later meets the same connections, more or fewer of them.
        self.roll = random.random()
        self.inbox = Channel(capacity)
        self.out = out
        self.passed = 0
        self.is_triggered = False
        self.task: asyncio.Task[None] | None = None
        self._hand: Chunk | None = None

    @property
    def now(self) -> float:
        """The time by the clock of chunks."""
        return asyncio.get_running_loop().time()

    async def take(self) -> Chunk | None:
        """Waits for the next chunk and keeps it in hand; None: there are no more."""
        if self._hand is None:
            self._hand = await self.inbox.get()
        return self._hand

    async def give(self, size: int | None = None, time: float | None = None) -> None:
        """Passes the chunk in hand on, or its first ``size`` bytes, as if it had been read at ``time``."""
        chunk = self._hand
        assert chunk is not None  # noqa: S101 - an effect gives what it has taken
        await self.out.put(Chunk(chunk.data[:size], chunk.time if time is None else time))
        rest = b"" if size is None else chunk.data[size:]
        self._hand = Chunk(rest, chunk.time) if rest else None

    def drop(self) -> None:
        """Forgets the chunk in hand."""
        self._hand = None

    def end(self, ending: Ending | None = None) -> None:
        """Gives nothing more; without ``ending``, in the way that the stage before has ended."""
        self.out.close(ending or self.inbox.ending or Ending.FINISHED)

    async def stall(self) -> None:
        """Waits until it is interrupted."""
        await asyncio.get_running_loop().create_future()

    def hand_over(self) -> None:
        """Gives everything that it holds to the next stage at once, and its end."""
        if self._hand is not None:
            self.out.push(self._hand)
            self._hand = None
        for chunk in self.inbox.take_all():
            self.out.push(chunk)
        if self.inbox.ending is not None:
            self.end()
