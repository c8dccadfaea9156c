"""Moves the frames of a link.

Only the two tasks in here wait for the stream: cancelling a read or a write of a gRPC stream cancels the stream. A
write may be begun elsewhere, but its end is the writer's to await. The reader never waits for the writer. Whatever was
given to the link while a frame was on its way goes into the next one; no timer waits for a frame to fill.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from grpc_tool_bridge.aio.eager import Write
from grpc_tool_bridge.aio.timeouts import ExpiredError, within
from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.errors import DeadlineExceededError
from grpc_tool_bridge.link.envelopes import split_frame
from grpc_tool_bridge.link.events import CallReceived, Event
from grpc_tool_bridge.link.protocol import Link

# After so many events, or so large a part of the calls that are open, the other tasks get a turn: the first answers go
# out while the rest is worked on, and both ends are busy at once. A frame more costs as much as some ten calls.
SLICE_EVENTS = 64
SLICE_PART = 8
# They get one sooner where the events take long, such as calls that are refused with much to say.
FRAME_SECONDS = 0.02

# An envelope takes at least two bytes. Of larger frames so many are taken at a time, at some 3 µs each.
MANY_ENVELOPES = 4_096
MANY_BYTES = 2 * MANY_ENVELOPES


class FrameStream(Protocol):
    """A stream of frames in both directions."""

    async def read(self) -> bytes | None:
        """Reads the next frame; None where the peer sends no more."""

    def write(self, frame: bytes) -> Coroutine[Any, Any, None]:
        """Sends a frame; returns once the stream takes another."""


class LinkIO:
    """The tasks of one link.

    Args:
        link: The protocol.
        stream: Where the frames go.
        on_event: Called with each event, in order; it must not block.
        on_turn: Called after each frame that was read or written: the link may take what waits.
        patience: Seconds that a frame waits for a peer that does not read; then the link is over.
    """

    def __init__(
        self,
        link: Link,
        stream: FrameStream,
        *,
        on_event: Callable[[Event], None],
        on_turn: Callable[[], None],
        patience: float,
    ) -> None:
        self.link = link
        self._stream = stream
        self._on_event = on_event
        self._on_turn = on_turn
        self._patience = patience
        self._sleeper: asyncio.Future[None] | None = None
        # Begun by ``push``; the writer waits for its end.
        self._pushed: Write | None = None
        self._finishing = self._aborting = False
        self._reader: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Sends what the link was given, together with what it is given before the writer's next turn."""
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def push(self) -> None:
        """Sends what the link was given at once; for whoever knows that waiting a turn would gather nothing more."""
        if self._sleeper is not None and not self._sleeper.done() and self.link.has_output:
            self._pushed = Write(self._stream.write(self.link.next_frame()))
            self._sleeper.set_result(None)

    def push_soon(self) -> None:
        """Sends what the link was given in the next turn of the loop.

        Calls that are made in one turn go in one frame. The first of them alone in a frame of its own would come back
        alone, and so would all that follow it: half the frames would carry one call each.
        """
        asyncio.get_running_loop().call_soon(self.push)

    def push_unless_busy(self) -> None:
        """Sends what the link was given: at once where nothing else is to run in this turn, else as ``push_soon``."""
        # An asyncio loop keeps here what it is about to run; any other loop is taken for busy.
        if getattr(asyncio.get_running_loop(), "_ready", True):
            self.push_soon()
        else:
            self.push()

    def finish(self) -> None:
        """Sends what waits, and ends ``run``."""
        self._finishing = True
        self.wake()

    def abort(self) -> None:
        """Ends ``run`` without sending what waits."""
        self._aborting = True
        if self._reader is not None:
            self._reader.cancel()

    async def run(self) -> None:
        """Reads and writes until the peer sends no more, ``abort``, or ``finish`` was called and everything was sent.

        Raises:
            ProtocolError: The peer broke the protocol.
            DeadlineExceededError: The peer does not read.
            Exception: As of the stream.
        """
        loop = asyncio.get_running_loop()
        self._reader = loop.create_task(self._read(), name="link reader")
        tasks = {self._reader, loop.create_task(self._write(), name="link writer")}
        if self._aborting:
            self._reader.cancel()
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            self._reader = None
            if self._pushed is not None:
                self._pushed.close()
                self._pushed = None
        for task in ended:
            if not self._aborting:
                task.result()

    async def _read(self) -> None:
        stream = self._stream
        while (frame := await stream.read()) is not None:
            if len(frame) > MANY_BYTES:
                await self._read_in_parts(frame)
            else:
                await self._take(frame)
            self._on_turn()
            self.push()

    async def _read_in_parts(self, frame: bytes) -> None:
        """Takes a frame that may have so many envelopes that others would have to wait."""
        for part in split_frame(frame, MANY_ENVELOPES):
            await self._take(part)
            if len(part) < len(frame):
                await asyncio.sleep(0)

    async def _take(self, frame: bytes) -> None:
        link, on_event = self.link, self._on_event
        size = max(SLICE_EVENTS, len(link.calls) // SLICE_PART)
        events = link.receive(frame)
        turns = Turns(FRAME_SECONDS) if len(events) > 1 else None
        for number, event in enumerate(events, start=1):
            on_event(event)
            if turns is not None and (not number % size or turns.due):
                self.push()
                try:
                    await turns.give()
                except asyncio.CancelledError:
                    # The link does not know these calls any more: who waits for them would never be told.
                    for rest in events[number:]:
                        if not isinstance(rest, CallReceived):
                            on_event(rest)
                    raise

    async def _write(self) -> None:
        link, stream = self.link, self._stream
        loop = asyncio.get_running_loop()
        while True:
            while self._pushed is not None or link.has_output:
                write, self._pushed = self._pushed or Write(stream.write(link.next_frame())), None
                try:
                    await within(write, self._patience)
                except ExpiredError:
                    raise DeadlineExceededError(
                        f"the link was ended: its peer read nothing for {self._patience:g} s"
                    ) from None
                except BaseException as error:
                    # The stream's own frames hold what they belong to.
                    error.__traceback__ = None
                    raise
                self._on_turn()
            if self._finishing:
                return
            self._sleeper = loop.create_future()
            await self._sleeper
