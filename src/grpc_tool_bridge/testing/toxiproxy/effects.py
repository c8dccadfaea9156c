"""What each type of toxic does to a stream.

The types, their attributes and their units are Toxiproxy's: times in milliseconds, but for the slicer's delay in
microseconds; sizes in bytes; the rate in units of 1,000 bytes per second.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from grpc_tool_bridge.testing.toxiproxy.channel import Ending
from grpc_tool_bridge.testing.toxiproxy.stage import Stage

# A limited rate is kept in pieces of so many seconds.
_PIECE_SECONDS = 0.1
_BYTES_PER_RATE = 1_000


class Effect(ABC):
    """The attributes of a toxic, and what they do.

    Attributes:
        capacity: Chunks that wait before it without holding up their sender.
    """

    capacity: ClassVar[int] = 16

    @abstractmethod
    async def pipe(self, stage: Stage) -> None:
        """Passes chunks on until the stream ends; may be cancelled, and started again with other attributes."""

    def end_at_removal(self, stage: Stage) -> Ending | None:  # noqa: ARG002 - most have dropped nothing
        """Returns how the stream ends when the effect is removed, because bytes are lost; None: it goes on."""
        return None


@dataclass(frozen=True)
class PassThrough(Effect):
    """Changes nothing."""

    async def pipe(self, stage: Stage) -> None:
        """Passes everything on."""
        while await stage.take() is not None:
            await stage.give()
        stage.end()


@dataclass(frozen=True, kw_only=True)
class Latency(Effect):
    """Passes bytes on ``latency`` milliseconds after they were read, give or take ``jitter``, in their order."""

    latency: int = 0
    jitter: int = 0
    capacity: ClassVar[int] = 1_024

    async def pipe(self, stage: Stage) -> None:
        """Holds each chunk back."""
        while (chunk := await stage.take()) is not None:
            delay = self.latency
            if self.jitter > 0:
                delay += stage.random.randrange(-self.jitter, self.jitter)
            due = chunk.time + delay / 1_000
            await asyncio.sleep(max(0.0, due - stage.now))
            await stage.give(time=due)
        stage.end()


@dataclass(frozen=True, kw_only=True)
class Bandwidth(Effect):
    """Passes ``rate`` times 1,000 bytes per second on; 0: none."""

    rate: int = 0

    async def pipe(self, stage: Stage) -> None:
        """Spends the time on each chunk that its bytes take."""
        per_second = self.rate * _BYTES_PER_RATE
        piece = int(per_second * _PIECE_SECONDS)
        wait = 0.0
        while (chunk := await stage.take()) is not None:
            if self.rate <= 0:
                await stage.stall()
            left = len(chunk.data)
            wait += left / per_second
            while left > piece:
                await asyncio.sleep(_PIECE_SECONDS)
                await stage.give(piece)
                left -= piece
                wait -= _PIECE_SECONDS
            began = stage.now
            await asyncio.sleep(max(0.0, wait))
            # It may have slept longer; the next chunk waits less.
            wait -= stage.now - began
            await stage.give()
        stage.end()


@dataclass(frozen=True, kw_only=True)
class SlowClose(Effect):
    """Passes the end of the stream on ``delay`` milliseconds later."""

    delay: int = 0

    async def pipe(self, stage: Stage) -> None:
        """Passes everything on, and the end later."""
        while await stage.take() is not None:
            await stage.give()
        await asyncio.sleep(self.delay / 1_000)
        stage.end()


@dataclass(frozen=True, kw_only=True)
class Timeout(Effect):
    """Drops everything, and closes the connection once nothing has come for ``timeout`` milliseconds; 0: never."""

    timeout: int = 0

    async def pipe(self, stage: Stage) -> None:
        """Drops each chunk."""
        seconds = self.timeout / 1_000 if self.timeout > 0 else None
        try:
            while True:
                async with asyncio.timeout(seconds):
                    chunk = await stage.take()
                if chunk is None:
                    stage.end()
                    return
                stage.drop()
        except TimeoutError:
            stage.end(Ending.CLOSED)

    def end_at_removal(self, stage: Stage) -> Ending | None:  # noqa: ARG002 - whether something came or not
        """Closes the connection."""
        return Ending.CLOSED


@dataclass(frozen=True, kw_only=True)
class ResetPeer(Effect):
    """Resets the connection ``timeout`` milliseconds after the first bytes, which are dropped, or their end."""

    timeout: int = 0

    async def pipe(self, stage: Stage) -> None:
        """Waits for something to come."""
        if not stage.is_triggered:
            await stage.take()
            stage.drop()
            stage.is_triggered = True
        await asyncio.sleep(self.timeout / 1_000)
        stage.end(Ending.RESET)

    def end_at_removal(self, stage: Stage) -> Ending | None:
        """Resets the connection at once where something has come."""
        return Ending.RESET if stage.is_triggered else None


@dataclass(frozen=True, kw_only=True)
class Slicer(Effect):
    """Cuts chunks into pieces of ``average_size`` bytes, give or take ``size_variation``, ``delay`` µs between them."""

    average_size: int = 0
    size_variation: int = 0
    delay: int = 0

    async def pipe(self, stage: Stage) -> None:
        """Passes each piece on by itself."""
        while (chunk := await stage.take()) is not None:
            for size in self.sizes(len(chunk.data), stage.random):
                await stage.give(size)
                await asyncio.sleep(self.delay / 1_000_000)
        stage.end()

    def sizes(self, total: int, random: Random) -> Iterator[int]:
        """Cuts ``total`` bytes about in half, and each half again, until the pieces are small enough."""
        left = [total]
        while left:
            size = left.pop()
            if self.average_size <= 0 or size <= max(1, self.average_size + self.size_variation):
                yield size
                continue
            middle = size // 2
            if self.size_variation > 0:
                middle += random.randrange(-self.size_variation, self.size_variation)
            middle = min(max(1, middle), size - 1)
            left += [size - middle, middle]


@dataclass(frozen=True, kw_only=True)
class LimitData(Effect):
    """Closes the connection once ``bytes`` bytes have been passed on."""

    bytes: int = 0

    async def pipe(self, stage: Stage) -> None:
        """Counts what it passes on."""
        while (chunk := await stage.take()) is not None:
            size = min(len(chunk.data), self.bytes - stage.passed)
            if size > 0:
                await stage.give(size)
                stage.passed += size
            if stage.passed >= self.bytes:
                stage.drop()
                stage.end(Ending.CLOSED)
                return
        stage.end()


PASS_THROUGH = PassThrough()

EFFECTS: dict[str, type[Effect]] = {
    "bandwidth": Bandwidth,
    "latency": Latency,
    "limit_data": LimitData,
    "noop": PassThrough,
    "reset_peer": ResetPeer,
    "slicer": Slicer,
    "slow_close": SlowClose,
    "timeout": Timeout,
}
