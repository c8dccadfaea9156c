"""Reads and writes the frames of a link, and decides when they are sent.

Only the two tasks in here wait for the stream: cancelling a read or a write of a gRPC stream cancels the stream. A
write may be started elsewhere, but only the writer awaits its end. The reader never waits for the writer. What is sent
over the link while a frame is being written goes into the next one; no timer waits for a frame to fill.
"""

import asyncio
from collections.abc import Callable

from grpc_tool_bridge.aio.eager import Write
from grpc_tool_bridge.aio.loop_internals import is_idle
from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.errors import DeadlineExceededError
from grpc_tool_bridge.link.envelopes import split_frame
from grpc_tool_bridge.link.events import CallReceived, Event
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.streams import FrameStream

# After so many events, or so large a part of the open calls, other tasks get a turn: the first answers are sent while
# the rest is processed, so that both ends work concurrently. An additional frame costs as much as some ten calls.
SLICE_EVENTS = 64
SLICE_PART = 8
# They get one sooner if the events take long, such as calls that are refused with long errors.
FRAME_SECONDS = 0.02

# An envelope has at least two bytes. Larger frames are processed in parts of so many envelopes, at some 3 µs each.
MANY_ENVELOPES = 4_096
MANY_BYTES = 2 * MANY_ENVELOPES


# gRPC accepts a frame within some 20 µs; so many turns of the loop take less time than its sleep and wake-up.
WRITE_TURNS = 2


class FlushPolicy:
    """Decides when frames are sent; shared by all links of an end.

    A payload is sent in the event loop's next turn, with all that come until then: if the first of many calls had a
    frame of its own, it would come back alone, and so would all that follow it. Half the frames would carry one call
    each.

    A call that is *alone*, so that no answer is on its way that could bring others, is sent sooner: once the frame that
    is being read is processed, which may bring more for the same link; if none is being read, immediately, unless the
    loop is about to run something else.
    """

    __slots__ = ("_after_frame", "_reading")

    def __init__(self) -> None:
        self._reading = False
        self._after_frame: list[LinkIO] = []

    def begin_reading(self) -> None:
        """Notes that the events of a frame are being processed."""
        self._reading = True

    def end_reading(self) -> None:
        """Sends what was alone: the events are processed, or other tasks get a turn before the rest."""
        self._reading = False
        while self._after_frame:
            self._after_frame.pop().flush()

    def schedule_alone(self, io: "LinkIO") -> None:
        """Flushes a link as soon as nothing more can come for the same frame."""
        if self._reading:
            self._after_frame.append(io)
            return
        loop = asyncio.get_running_loop()
        if is_idle(loop):
            io.flush()
        else:
            loop.call_soon(io.flush)


class LinkIO:
    """The tasks of one link.

    Args:
        link: The protocol.
        stream: Where the frames go.
        on_event: Called with each event, in order; it must not block.
        on_writable: Called after each frame that was read or written: the link may take what waits.
        write_timeout: Seconds that a frame waits for a peer that does not read; then the link ends.
        policy: When frames are sent; shared by the links of one end.
    """

    def __init__(
        self,
        link: Link,
        stream: FrameStream,
        *,
        on_event: Callable[[Event], None],
        on_writable: Callable[[], None],
        write_timeout: float,
        policy: FlushPolicy | None = None,
    ) -> None:
        self.link = link
        self._stream = stream
        self._on_event = on_event
        self._on_writable = on_writable
        self._write_timeout = write_timeout
        self._policy = policy or FlushPolicy()
        self._sleeper: asyncio.Future[None] | None = None
        # Started by ``flush``; the writer awaits its end.
        self._begun: Write | None = None
        # When the current write began, and the timer that checks it: not a timer for each write.
        self._writing_since: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._finishing = self._aborting = False
        self._error: DeadlineExceededError | None = None
        self._reader: asyncio.Task[None] | None = None

    def flush(self) -> None:
        """Sends immediately what waits, unless a frame is being written; then it goes into the next one."""
        if self._sleeper is not None and not self._sleeper.done() and self.link.has_output:
            self._begun = Write(self._stream.write(self.link.next_frame()))
            self._sleeper.set_result(None)

    def schedule_flush(self, *, alone: bool = False) -> None:
        """Sends what waits when ``FlushPolicy`` says."""
        if alone:
            self._policy.schedule_alone(self)
        elif self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def finish(self) -> None:
        """Sends what waits, and ends ``run``."""
        self._finishing = True
        self.schedule_flush()

    def abort(self) -> None:
        """Ends ``run`` without sending what waits."""
        self._aborting = True
        # Nothing wakes the writer any more.
        self._sleeper = None
        if self._reader is not None:
            self._reader.cancel()

    async def run(self) -> None:
        """Reads and writes until the peer ends the stream, ``abort``, or ``finish`` was called and everything was sent.

        Raises:
            ProtocolError: The peer broke the protocol.
            DeadlineExceededError: The peer does not read.
            Exception: An error of the stream.
        """
        loop = asyncio.get_running_loop()
        self._reader = loop.create_task(self._read(), name="link reader")
        tasks = {self._reader, loop.create_task(self._write(), name="link writer")}
        if self._aborting:
            self._reader.cancel()
        left = False
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        except GeneratorExit:
            # Its event loop has ended, and the tasks with it.
            left = True
            raise
        finally:
            if not left:
                await self._end(tasks)
        if self._error is not None:
            raise self._error
        for task in ended:
            if not self._aborting:
                task.result()

    async def _end(self, tasks: set[asyncio.Task[None]]) -> None:
        if self._watch is not None:
            self._watch.cancel()
        for task in tasks:
            # The link ends with one error; asyncio would log the other one, and those of a link that was aborted.
            task.add_done_callback(_retrieve)
            task.cancel()
        await asyncio.wait(tasks)
        self._reader = None
        if self._begun is not None:
            self._begun.close()
            self._begun = None

    async def _read(self) -> None:
        stream, link = self._stream, self.link
        while (frame := await stream.read()) is not None:
            if len(frame) > MANY_BYTES:
                await self._read_in_parts(frame)
            else:
                await self._take(frame)
            self._on_writable()
            self.flush()
            link.settle()

    async def _read_in_parts(self, frame: bytes) -> None:
        """Processes a frame that may have so many envelopes that other tasks would have to wait."""
        for part in split_frame(frame, MANY_ENVELOPES):
            await self._take(part)
            if len(part) < len(frame):
                await asyncio.sleep(0)

    async def _take(self, frame: bytes) -> None:
        link, on_event, policy = self.link, self._on_event, self._policy
        size = max(SLICE_EVENTS, len(link.calls) // SLICE_PART)
        events = link.receive(frame)
        turns = Turns(FRAME_SECONDS) if len(events) > 1 else None
        policy.begin_reading()
        try:
            for number, event in enumerate(events, start=1):
                on_event(event)
                if turns is not None and (not number % size or turns.due):
                    policy.end_reading()
                    self.flush()
                    try:
                        await turns.give()
                    except asyncio.CancelledError:
                        # The link has forgotten these calls: their callers would wait for ever.
                        for rest in events[number:]:
                            if not isinstance(rest, CallReceived):
                                on_event(rest)
                        raise
                    policy.begin_reading()
        finally:
            policy.end_reading()

    async def _write(self) -> None:
        link, stream = self.link, self._stream
        loop = asyncio.get_running_loop()
        while True:
            while self._begun is not None or link.has_output:
                write, self._begun = self._begun or Write(stream.write(link.next_frame())), None
                self._writing_since = loop.time()
                if self._watch is None:
                    self._watch = loop.call_later(self._write_timeout, self._look_at_write)
                try:
                    await write.wait(WRITE_TURNS)
                except BaseException as error:
                    # The stack frames of the traceback keep the stream alive.
                    error.__traceback__ = None
                    raise
                self._writing_since = None
                link.settle()
                self._on_writable()
            if self._finishing:
                return
            self._sleeper = loop.create_future()
            await self._sleeper

    def _look_at_write(self) -> None:
        """Ends the link if the current write takes longer than ``write_timeout``."""
        self._watch = None
        if self._writing_since is None:
            return
        loop = asyncio.get_running_loop()
        left = self._writing_since + self._write_timeout - loop.time()
        if left > 0:
            self._watch = loop.call_later(left, self._look_at_write)
        else:
            self._error = DeadlineExceededError(
                f"the link was ended: its peer read nothing for {self._write_timeout:g} s"
            )
            self.abort()


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
