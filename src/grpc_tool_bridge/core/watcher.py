"""One open watch of a hub: the events that wait for it."""

from collections import deque

from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.core.sample import Sample
from grpc_tool_bridge.errors import ToolBridgeError
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.rpc.event_kinds import EVENT_KINDS

# Limits on the events that wait for one watcher.
MAX_EVENTS = 1_000
MAX_EVENT_BYTES = 1024 * 1024


class Watcher:
    """One open watch.

    Args:
        request: The request.

    Attributes:
        session_id: The session to watch; empty: all.
        calls_per_second: How many new calls to tell of; 0: all.
        is_thorough: Whether it is told of every call, at once.
        kinds: The kinds of events to send.
        with_arguments: Whether events include arguments and results.
        closed: The error that ends the watch; None while it is open.
    """

    def __init__(self, request: pb.WatchEventsRequest) -> None:
        self.session_id = request.session_id
        self.calls_per_second = request.calls_per_second
        self.is_thorough = not request.calls_per_second
        self.kinds = frozenset(request.kinds or EVENT_KINDS)
        self.with_arguments = request.include_arguments
        self.closed: ToolBridgeError | None = None
        # Each with its number, its bytes, and whether nobody else has it.
        self._waiting: deque[tuple[int, int, pb.AdminEvent, bool]] = deque()
        self._bytes = 0
        self._last = 0
        # Number of the last event that was taken.
        self._taken = 0
        self._changed = Notifier()
        self._sample: Sample | None = None
        # Calls that the sample had left out when the last event was taken.
        self._omitted = 0

    def wants(self, kind: str, session_id: str) -> bool:
        """Returns whether it wants an event of this kind and session; an empty ``session_id`` means no session."""
        return kind in self.kinds and (not self.session_id or self.session_id == session_id)

    def count_omitted(self, sample: Sample) -> None:
        """Tells from now on of the calls that the sample leaves out; it follows the watcher's session already."""
        self._sample, self._omitted = sample, sample.omitted(self.session_id)

    def put(self, event: pb.AdminEvent, size: int, *, is_own: bool = False) -> None:
        """Queues an event, which watchers share unless ``is_own``; drops the oldest events if there are too many."""
        self._last += 1
        self._waiting.append((self._last, size, event, is_own))
        self._bytes += size
        while len(self._waiting) > MAX_EVENTS or (self._bytes > MAX_EVENT_BYTES and len(self._waiting) > 1):
            self._bytes -= self._waiting.popleft()[1]
        self._changed.notify_all()

    def skip(self, count: int) -> None:
        """Counts events that were lost before they reached the queue."""
        self._last += count

    def close(self, error: ToolBridgeError) -> None:
        """Ends the watch after the queued events."""
        self.closed = error
        self._changed.notify_all()

    async def next(self) -> pb.AdminEvent:
        """Returns the next event.

        Raises:
            ToolBridgeError: There are no more.
        """
        while not self._waiting:
            if self.closed is not None:
                raise self.closed
            await self._changed.wait()
        number, size, event, is_own = self._waiting.popleft()
        self._bytes -= size
        numbered = event
        if not is_own:
            numbered = pb.AdminEvent()
            numbered.CopyFrom(event)
        numbered.sequence, numbered.dropped = number, number - self._taken - 1
        self._taken = number
        if self._sample is not None:
            omitted = self._sample.omitted(self.session_id)
            numbered.omitted_calls, self._omitted = omitted - self._omitted, omitted
        return numbered
