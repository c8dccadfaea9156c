"""Decides when the frames of links are sent."""

import asyncio
from typing import Protocol

from grpc_tool_bridge.aio.loop_internals import READY


class Flushed(Protocol):
    """What sends the frames of one link."""

    def flush(self) -> None:
        """Sends immediately what waits, unless the peer does not read."""


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
        self._after_frame: list[Flushed] = []

    def begin_reading(self) -> None:
        """Notes that the events of a frame are being processed."""
        self._reading = True

    def end_reading(self) -> None:
        """Sends what was alone: the events are processed, or other tasks get a turn before the rest."""
        self._reading = False
        while self._after_frame:
            self._after_frame.pop().flush()

    def schedule_alone(self, io: Flushed) -> None:
        """Flushes a link as soon as nothing more can come for the same frame."""
        if self._reading:
            self._after_frame.append(io)
            return
        loop = asyncio.get_running_loop()
        # The callbacks that it is about to run; a loop of which they are not known is assumed to be busy.
        if not getattr(loop, READY, True):
            io.flush()
        else:
            loop.call_soon(io.flush)
