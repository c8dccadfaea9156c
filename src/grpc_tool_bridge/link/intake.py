"""Processes the frames that were received over a link, in slices between which others get a turn."""

import asyncio
import contextlib
from collections.abc import Callable, Generator, Sequence
from time import perf_counter

from grpc_tool_bridge.link.envelopes import split_frame
from grpc_tool_bridge.link.events import CallReceived, Event
from grpc_tool_bridge.link.flushing import FlushPolicy
from grpc_tool_bridge.link.protocol import Link

# After so many events, or so large a part of the open calls, other tasks get a turn: the first answers are sent while
# the rest is processed, so that both ends work concurrently. An additional frame costs as much as some ten calls.
SLICE_EVENTS = 64
SLICE_PART = 8
# They get one sooner if the events take long, such as calls that are refused with long errors.
FRAME_SECONDS = 0.02

# An envelope has at least two bytes. Larger frames are processed in parts of so many envelopes, at some 3 µs each.
MANY_ENVELOPES = 4_096
MANY_BYTES = 2 * MANY_ENVELOPES

# What is left of the processing of some frames; each step is one slice.
Work = Generator[None, None, None]


class Intake:
    """Processes what was received over one link.

    Args:
        link: The protocol.
        on_event: Called with each event, in order; it must not block.
        on_writable: Called after the frames: the link may take what waits.
        flush: Sends what waits, so that the first answers leave before the rest is processed.
        policy: When frames are sent.

    Attributes:
        received: A number that changes whenever something was received.
    """

    __slots__ = ("_ends_at", "_flush", "_link", "_on_writable", "_policy", "on_event", "received")

    def __init__(
        self,
        link: Link,
        *,
        on_event: Callable[[Event], None],
        on_writable: Callable[[], None],
        flush: Callable[[], None],
        policy: FlushPolicy,
    ) -> None:
        self.on_event = on_event
        self.received = 0
        self._link = link
        self._on_writable = on_writable
        self._flush = flush
        self._policy = policy
        # When the current slice has lasted long enough.
        self._ends_at = 0.0

    def process(self, frames: Sequence[bytes]) -> Work:
        """Processes frames that arrived together; yields whenever others should get a turn.

        Raises:
            ProtocolError: The peer broke the protocol.
        """
        self.received += 1
        self._begin_slice()
        last = frames[-1]
        for frame in frames:
            if len(frame) > MANY_BYTES:
                # It may have so many envelopes that others would have to wait.
                for part in split_frame(frame, MANY_ENVELOPES):
                    yield from self._take(part)
                    if len(part) < len(frame):
                        yield
                        self._begin_slice()
            else:
                yield from self._take(frame)
            if frame is not last and perf_counter() >= self._ends_at:
                self._flush()
                yield
                self._begin_slice()
        self._on_writable()
        self._flush()
        self._link.settle()

    def _begin_slice(self) -> None:
        self._ends_at = perf_counter() + FRAME_SECONDS

    def _take(self, frame: bytes) -> Work:
        link, on_event, policy = self._link, self.on_event, self._policy
        size = max(SLICE_EVENTS, len(link.calls) // SLICE_PART)
        events = link.receive(frame)
        # After the last one, the others get their turn anyway.
        last = len(events)
        policy.begin_reading()
        try:
            for number, event in enumerate(events, start=1):
                on_event(event)
                if number < last and (not number % size or perf_counter() >= self._ends_at):
                    policy.end_reading()
                    self._flush()
                    try:
                        yield
                    except asyncio.CancelledError:
                        # The link has forgotten these calls: their callers would wait for ever.
                        for rest in events[number:]:
                            if not isinstance(rest, CallReceived):
                                on_event(rest)
                        raise
                    self._begin_slice()
                    policy.begin_reading()
        finally:
            policy.end_reading()


def drop(work: Work) -> None:
    """Gives up the rest of some frames, except for the answers in the frame that was being processed."""
    with contextlib.suppress(asyncio.CancelledError):
        work.throw(asyncio.CancelledError())
