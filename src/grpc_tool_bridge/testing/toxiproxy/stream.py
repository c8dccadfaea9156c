"""One direction of a connection: what is read at one end passes the toxics and is written at the other."""

import asyncio
from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol

from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.testing.toxiproxy.channel import Channel, Chunk, Ending
from grpc_tool_bridge.testing.toxiproxy.effects import PASS_THROUGH, Effect
from grpc_tool_bridge.testing.toxiproxy.stage import Stage
from grpc_tool_bridge.testing.toxiproxy.toxics import Toxic

CHUNK_BYTES = 32 * 1024


class Gate(Protocol):
    """Decides when bytes may be written, after all toxics, for all connections of a proxy together."""

    async def admit(self, came_at: float) -> None:
        """Waits until bytes that came at this time may be written."""

    def piece(self, data: memoryview) -> memoryview:
        """Returns the part of admitted bytes that may be written now."""

    def sent(self, size: int) -> None:
        """Counts bytes that have been written."""


class Stream:
    """Forwards the bytes of one direction.

    Args:
        reader: Where they come from.
        writer: Where they go.
        toxics: What they pass, in this order.
        chance: Makes the random numbers of a toxic in this connection.
        gate: Decides when bytes may be written; None: as soon as they have passed the toxics.
        is_transparent: Whether a failed connection is an error; else it is the end of what it sends.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        toxics: Iterable[Toxic],
        *,
        chance: Callable[[Toxic], Random],
        gate: Gate | None,
        is_transparent: bool,
    ) -> None:
        self._reader = reader
        self.writer = writer
        self._chance = chance
        self._gate = gate
        self._is_transparent = is_transparent
        self._tasks = TaskSet()
        self._is_over = False
        self._last = Channel(Effect.capacity)
        # It comes first, so that every toxic has a stage before it.
        self._first = Stage(Random(0), Effect.capacity, self._last)  # noqa: S311 - it changes nothing
        self._stages: dict[str, Stage] = {"": self._first}
        self._toxics: dict[str, Toxic] = {}
        self._initial = toxics

    async def run(self) -> Ending:
        """Forwards until the stream ends; returns how.

        Raises:
            ExceptionGroup: Of an ``OSError``: a connection has failed, and the stream is transparent.
        """
        # Makes drain() wait until the kernel has all bytes.
        self.writer.transport.set_write_buffer_limits(0)
        self._start("")
        for toxic in self._initial:
            self.add(toxic)
        try:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read())
                ending = await self._write()
                reading.cancel()
        finally:
            self._is_over = True
            await self._tasks.aclose()
        return ending

    def add(self, toxic: Toxic) -> None:
        """Adds a toxic after the others."""
        before = next(reversed(self._stages))
        stage = Stage(self._chance(toxic), toxic.effect.capacity, self._stages[before].out)
        self._stages[before].out = stage.inbox
        self._stages[toxic.name], self._toxics[toxic.name] = stage, toxic
        self._start(before)
        self._start(toxic.name)

    def update(self, toxic: Toxic) -> None:
        """Changes a toxic's attributes, also for bytes that wait for it."""
        self._toxics[toxic.name] = toxic
        self._start(toxic.name)

    def remove(self, toxic: Toxic) -> None:
        """Removes a toxic; bytes that wait for it go on immediately."""
        names = list(self._stages)
        before = names[names.index(toxic.name) - 1]
        stage = self._stages.pop(toxic.name)
        del self._toxics[toxic.name]
        if stage.task is not None:
            stage.task.cancel()
        ending = toxic.effect.end_at_removal(stage) if stage.roll < toxic.toxicity else None
        if ending is not None:
            stage.end(ending)
        else:
            stage.hand_over()
        self._stages[before].out = stage.out
        self._start(before)

    def _start(self, name: str) -> None:
        """Starts a stage, or starts it again: cancelled at its next step, the former task does nothing more."""
        if self._is_over:
            return
        stage, toxic = self._stages[name], self._toxics.get(name)
        if stage.task is not None:
            stage.task.cancel()
        effect = toxic.effect if toxic is not None and stage.roll < toxic.toxicity else PASS_THROUGH
        stage.task = self._tasks.spawn(effect.pipe(stage), f"toxic {name}")

    async def _read(self) -> None:
        loop, inbox = asyncio.get_running_loop(), self._first.inbox
        try:
            while data := await self._reader.read(CHUNK_BYTES):
                await inbox.put(Chunk(data, loop.time()))
        except OSError:
            if self._is_transparent:
                raise
        inbox.close(Ending.FINISHED)

    async def _write(self) -> Ending:
        try:
            while (chunk := await self._last.get()) is not None:
                if self._gate is None:
                    self.writer.write(chunk.data)
                    await self.writer.drain()
                else:
                    await self._write_through(self._gate, chunk)
            if self._gate is not None:
                await self._gate.admit(self._last.ended_at)
        except OSError:
            if self._is_transparent:
                raise
        return self._last.ending or Ending.FINISHED

    async def _write_through(self, gate: Gate, chunk: Chunk) -> None:
        rest = memoryview(chunk.data)
        while rest:
            await gate.admit(chunk.time)
            piece = gate.piece(rest)
            self.writer.write(piece)
            await self.writer.drain()
            gate.sent(len(piece))
            rest = rest[len(piece) :]
