"""Moves the frames of a link whose stream calls it with each frame, such as a socket's.

A frame is processed in the turn of the event loop that it arrives in, and what it brought is sent in the same turn:
neither costs a switch of tasks. If the peer does not read, frames wait here and not in the stream.
"""

import asyncio
from collections.abc import Callable, Sequence

from grpc_tool_bridge.config import REQUEST_TIMEOUT
from grpc_tool_bridge.errors import DeadlineExceededError
from grpc_tool_bridge.link.events import Event
from grpc_tool_bridge.link.flushing import FlushPolicy
from grpc_tool_bridge.link.intake import Intake, Work, drop
from grpc_tool_bridge.link.io import LinkIO, TaskIO, unread
from grpc_tool_bridge.link.protocol import Link
from grpc_tool_bridge.link.streams import FrameStream, PushStream, Receiver

# After so many frames, which are up to half a megabyte each, others get a turn before more is sent.
SLICE_FRAMES = 4


class PushIO(LinkIO, Receiver):
    """Moves the frames of one link as they come.

    Args:
        link: The protocol.
        stream: Where the frames go.
        on_event: Called with each event, in order; it must not block.
        on_writable: Called after frames were received or sent: the link may take what waits.
        write_timeout: Seconds that frames wait for a peer that does not read; then the link ends.
        read_timeout: Seconds in which a frame that has begun to arrive must be complete; else the link ends.
        policy: When frames are sent; shared by the links of one end.
    """

    def __init__(
        self,
        link: Link,
        stream: PushStream,
        *,
        on_event: Callable[[Event], None],
        on_writable: Callable[[], None],
        write_timeout: float,
        read_timeout: float = REQUEST_TIMEOUT,
        policy: FlushPolicy | None = None,
    ) -> None:
        self.link = link
        self._stream = stream
        self._on_writable = on_writable
        self._write_timeout = write_timeout
        self._read_timeout = read_timeout
        self._policy = policy = policy or FlushPolicy()
        self._intake = Intake(link, on_event=on_event, on_writable=on_writable, flush=self.flush, policy=policy)
        self._loop = asyncio.get_running_loop()
        # Whether frames may be sent: not before ``run``, and not after its end.
        self._runs = False
        self._flushing = self._scheduled = self._finishing = self._aborting = False
        # What is left of the frames that are being processed, and those that arrived meanwhile.
        self._work: Work | None = None
        self._later: list[bytes] = []
        # How the stream ended, while the frames that arrived before are processed.
        self._stream_end: tuple[Exception | None] | None = None
        # When the stream stopped to take frames, and the timer that checks it.
        self._full_since: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        # Likewise of the frame that has arrived in part.
        self._partial_since: float | None = None
        self._partial_watch: asyncio.TimerHandle | None = None
        self._error: BaseException | None = None
        self._ended: asyncio.Future[None] | None = None

    def flush(self) -> None:
        """See ``LinkIO``."""
        link, stream = self.link, self._stream
        if not self._runs or self._flushing or (link.peer is None and not stream.speaks_first):
            # Nothing is said to a peer that has not said who it is.
            return
        self._flushing = True
        frames = 0
        try:
            while link.has_output and stream.is_writable:
                if frames == SLICE_FRAMES:
                    self.schedule_flush()
                    break
                frames += 1
                stream.send(link.next_frame(stream.frame_head))
                link.settle()
                self._on_writable()
        except BaseException as error:  # noqa: BLE001 - raised by ``run``: whoever flushes may have another link
            self._end(error)
        finally:
            self._flushing = False
        if not stream.is_writable and self._full_since is None:
            self._watch_stream()

    def schedule_flush(self, *, alone: bool = False) -> None:
        """See ``LinkIO``."""
        if alone:
            self._policy.schedule_alone(self)
        elif not self._scheduled and self._runs:
            self._scheduled = True
            self._loop.call_soon(self._flush_scheduled)

    def finish(self) -> None:
        """See ``LinkIO``."""
        self._finishing = True
        self._finish_if_sent()

    def abort(self) -> None:
        """See ``LinkIO``."""
        self._aborting = True
        self._end(None)

    async def run(self) -> None:
        """See ``LinkIO``."""
        if self._aborting:
            return
        ended = self._ended = self._loop.create_future()
        self._runs = True
        try:
            self._stream.attach(self)
            self.flush()
            self._finish_if_sent()
            await ended
        except GeneratorExit:
            # Its event loop has ended.
            self._work = None
            raise
        finally:
            self._runs = False
            for watch in (self._watch, self._partial_watch):
                if watch is not None:
                    watch.cancel()
            work, self._work = self._work, None
            if work is not None:
                drop(work)
        if self._error is not None:
            # The stack frames of its traceback keep the stream alive.
            raise self._error.with_traceback(None)

    # ------------------------------------------------------------------------------------------------ the stream

    def on_frames(self, frames: Sequence[bytes]) -> None:
        """See ``Receiver``."""
        if self._work is not None:
            self._later.extend(frames)
        elif self._runs:
            self._work = self._intake.process(frames)
            self._continue()

    def on_partial(self, size: int) -> None:
        """See ``Receiver``."""
        if not self._runs:
            return
        self._intake.received += 1
        if not size:
            self._partial_since = None
        elif self._partial_since is None:
            self._partial_since = self._loop.time()
            if self._partial_watch is None:
                self._partial_watch = self._loop.call_later(self._read_timeout, self._look_at_partial)
        self.link.hold_partial(size)

    def on_room(self) -> None:
        """See ``Receiver``."""
        self._full_since = None
        self.flush()
        if self._runs and not self.link.has_output:
            self._guarded(self._on_writable)
        self._finish_if_sent()

    def on_end(self, error: Exception | None) -> None:
        """See ``Receiver``."""
        if self._work is None:
            self._end(error)
        else:
            self._stream_end = (error,)

    # ------------------------------------------------------------------------------------------------- its turns

    def _continue(self) -> None:
        """Processes a slice of what was received."""
        work = self._work
        if work is None or not self._runs:
            return
        try:
            next(work)
        except StopIteration:
            self._work = None
        except BaseException as error:  # noqa: BLE001 - raised by ``run``
            self._work = None
            self._end(error)
            return
        else:
            # Others get a turn first.
            self._stream.pause()
            self._loop.call_soon(self._continue)
            return
        if self._later:
            frames, self._later = self._later, []
            self._work = self._intake.process(frames)
            self._loop.call_soon(self._continue)
        elif self._stream_end is not None:
            self._end(*self._stream_end)
        else:
            self._stream.resume()

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        self.flush()
        self._finish_if_sent()

    def _finish_if_sent(self) -> None:
        if self._finishing and self._runs and self._stream.is_writable:
            if self.link.has_output and (self.link.peer is not None or self._stream.speaks_first):
                self.schedule_flush()
            elif self._stream.is_sent():
                self._end(None)
            elif self._full_since is None:
                # The peer may never read it.
                self._watch_stream()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Makes a step of a callback; an error ends the link, and not the event loop's turn."""
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - raised by ``run``
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self._runs = False
        if self._ended is not None and not self._ended.done():
            self._error = error
            self._ended.set_result(None)

    def _watch_stream(self) -> None:
        self._full_since = self._loop.time()
        if self._watch is None:
            self._watch = self._loop.call_later(self._write_timeout, self._look_at_stream)

    def _look_at_stream(self) -> None:
        """Ends the link if the stream takes no frame for longer than ``write_timeout``."""
        self._watch = None
        if self._full_since is None:
            return
        left = self._full_since + self._write_timeout - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._look_at_stream)
        else:
            self._end(unread(self._write_timeout))

    def _look_at_partial(self) -> None:
        """Ends the link if a frame has been incomplete for longer than ``read_timeout``."""
        self._partial_watch = None
        if self._partial_since is None:
            return
        now = self._loop.time()
        if self._work is not None:
            # Nothing was received meanwhile.
            self._partial_since = now
        left = self._partial_since + self._read_timeout - now
        if left > 0:
            self._partial_watch = self._loop.call_later(left, self._look_at_partial)
        else:
            self._end(
                DeadlineExceededError(
                    f"the link was ended: a frame did not arrive whole within {self._read_timeout:g} s"
                )
            )


def io_of(
    link: Link,
    stream: FrameStream | PushStream,
    *,
    on_event: Callable[[Event], None],
    on_writable: Callable[[], None],
    write_timeout: float,
    read_timeout: float = REQUEST_TIMEOUT,
    policy: FlushPolicy | None = None,
) -> LinkIO:
    """Returns what moves the frames of a link over its stream; arguments as for ``PushIO``."""
    if isinstance(stream, PushStream):
        return PushIO(
            link,
            stream,
            on_event=on_event,
            on_writable=on_writable,
            write_timeout=write_timeout,
            read_timeout=read_timeout,
            policy=policy,
        )
    return TaskIO(link, stream, on_event=on_event, on_writable=on_writable, write_timeout=write_timeout, policy=policy)
