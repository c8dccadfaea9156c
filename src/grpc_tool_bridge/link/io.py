"""Reads and writes the frames of a link, with tasks.

Only the two tasks in here wait for the stream: cancelling a read or a write of a gRPC stream cancels the stream. A
write may be started elsewhere, but only the writer awaits its end. The reader never waits for the writer. What is sent
over the link while a frame is being written goes into the next one; no timer waits for a frame to fill.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from grpc_tool_bridge.aio.eager import Write
from grpc_tool_bridge.errors import DeadlineExceededError
from grpc_tool_bridge.link.events import Event
from grpc_tool_bridge.link.flushing import Flushed, FlushPolicy
from grpc_tool_bridge.link.intake import Intake, drop
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.streams import FrameStream

# gRPC accepts a frame within some 20 µs; so many turns of the loop take less time than its sleep and wake-up.
WRITE_TURNS = 2


class LinkIO(Flushed, Protocol):
    """Moves the frames of one link.

    Attributes:
        link: The protocol.
    """

    link: Link
    _intake: Intake

    @property
    def received(self) -> int:
        """A number that changes whenever something was received."""
        return self._intake.received

    def flush(self) -> None:
        """Sends immediately what waits, unless a frame is being sent; then it goes into the next one."""

    def schedule_flush(self, *, alone: bool = False) -> None:
        """Sends what waits when ``FlushPolicy`` says."""

    def finish(self) -> None:
        """Sends what waits, and ends ``run``."""

    def abort(self) -> None:
        """Ends ``run`` without sending what waits."""

    async def run(self) -> None:
        """Reads and writes until the peer ends the stream, ``abort``, or ``finish`` was called and everything was sent.

        Raises:
            ProtocolError: The peer broke the protocol.
            DeadlineExceededError: The peer does not read.
            Exception: An error of the stream.
        """


class TaskIO(LinkIO):
    """The tasks of one link whose frames are read and written.

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
        self._on_writable = on_writable
        self._write_timeout = write_timeout
        self._policy = policy = policy or FlushPolicy()
        self._intake = Intake(link, on_event=on_event, on_writable=on_writable, flush=self.flush, policy=policy)
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
        """See ``LinkIO``."""
        if self._sleeper is not None and not self._sleeper.done() and self.link.has_output:
            self._begun = Write(self._stream.write(self.link.next_frame()))
            self._sleeper.set_result(None)

    def schedule_flush(self, *, alone: bool = False) -> None:
        """See ``LinkIO``."""
        if alone:
            self._policy.schedule_alone(self)
        elif self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)

    def finish(self) -> None:
        """See ``LinkIO``."""
        self._finishing = True
        self.schedule_flush()

    def abort(self) -> None:
        """See ``LinkIO``."""
        self._aborting = True
        # Nothing wakes the writer any more.
        self._sleeper = None
        if self._reader is not None:
            self._reader.cancel()

    async def run(self) -> None:
        """See ``LinkIO``."""
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
        stream, intake = self._stream, self._intake
        while (frame := await stream.read()) is not None:
            work = intake.process((frame,))
            for _ in work:
                try:
                    await asyncio.sleep(0)
                except asyncio.CancelledError:
                    drop(work)
                    raise

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
            self._error = unread(self._write_timeout)
            self.abort()


def unread(seconds: float) -> DeadlineExceededError:
    """Returns the error for a peer that does not read."""
    return DeadlineExceededError(f"the link was ended: its peer read nothing for {seconds:g} s")


def _retrieve(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
