"""What was sent to the clients of the handshake protocol, kept for those whose connection breaks."""

import asyncio
import re
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCResponse

from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.errors import ResourceExhaustedError
from grpc_tool_bridge.rpc.budgets import Budget

# How long an event is kept, in seconds.
KEEP_SECONDS = 300.0
# Events of one client, and of all.
MAX_CLIENT_EVENTS = 1_000
MAX_EVENTS = 20_000
# The part of the hub's memory that all events may take.
MEMORY_PART = 16

_NUMBER = re.compile(r"[0-9]{1,18}")
# What an event takes besides its texts.
_EVENT_BYTES = 1_024


@dataclass(eq=False, slots=True)
class _Event:
    """An event; the first of a stream has no message, and one that is too large has lost it."""

    number: int
    stream_id: str
    message: JSONRPCMessage | None
    size: int
    owner: "SessionEvents"
    is_last: bool = False
    at: float = 0.0


class EventStores:
    """The events of all clients, bounded together: where there are too many, the oldest are forgotten.

    Args:
        memory: Charged with them.
        clock: Returns the time in seconds.
    """

    def __init__(self, memory: Budget, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._most_bytes = memory.limit // MEMORY_PART
        self._clock = clock
        # In the order in which they came.
        self._events: dict[_Event, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.size = 0

    def open(self) -> "SessionEvents":
        """Returns a store for a client that connects now."""
        return SessionEvents(self)

    def add(self, event: _Event) -> bool:
        """Keeps an event; returns False if there is no room for it."""
        if event.size > self._most_bytes:
            return False
        self._forget_old()
        while len(self._events) >= MAX_EVENTS or (self._events and self.size + event.size > self._most_bytes):
            self._forget_first()
        try:
            self._memory.take(event.size, "an event for an MCP client")
        except ResourceExhaustedError:
            return False
        event.at = self._clock()
        self._events[event] = None
        self.size += event.size
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(KEEP_SECONDS, self._expire)
        return True

    def release(self, event: _Event) -> None:
        """Forgets that an event takes memory."""
        if event in self._events:
            del self._events[event]
            self._memory.give_back(event.size)
            self.size -= event.size

    def close(self) -> None:
        """Forgets all events."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._events:
            self._forget_first()

    def _forget_first(self) -> None:
        event = next(iter(self._events))
        event.owner.drop(event)

    def _forget_old(self) -> None:
        before = self._clock() - KEEP_SECONDS
        while self._events and next(iter(self._events)).at <= before:
            self._forget_first()

    def _expire(self) -> None:
        self._timer = None
        self._forget_old()
        if self._events:
            wait = next(iter(self._events)).at + KEEP_SECONDS - self._clock()
            self._timer = asyncio.get_running_loop().call_later(max(wait, 0.01), self._expire)


class SessionEvents(EventStore):
    """The events of one client.

    Args:
        stores: Those of all.
    """

    def __init__(self, stores: EventStores) -> None:
        self._stores = stores
        self._events: dict[int, _Event] = {}
        self._last = 0
        self._news = Notifier()
        self._is_closed = False

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keeps an event; returns its id."""
        return self.keep(stream_id, message)

    def keep(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        """Keeps an event; returns its id."""
        self._last += 1
        is_last = isinstance(message, JSONRPCResponse | JSONRPCError)
        event = _Event(self._last, stream_id, message, _EVENT_BYTES + _chars(message), self, is_last)
        if not self._is_closed:
            while len(self._events) >= MAX_CLIENT_EVENTS:
                self.drop(next(iter(self._events.values())))
            is_kept = self._stores.add(event)
            if not is_kept and is_last:
                # Without it, a client would wait for the end.
                event.message, event.size = None, _EVENT_BYTES
                is_kept = self._stores.add(event)
            if is_kept:
                self._events[event.number] = event
            self._news.notify_all()
        return str(event.number)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        """Sends the events of a stream that came after one, and those that still come, until its answer was sent.

        Returns:
            None: nothing is left to be sent.
        """
        after = int(last_event_id) if _NUMBER.fullmatch(last_event_id) else 0
        first = self._events.get(after)
        if first is None:
            return None
        stream_id = first.stream_id
        while not self._is_closed:
            found = [event for event in self._events.values() if event.number > after and event.stream_id == stream_id]
            if not found:
                await self._news.wait()
            for event in found:
                after, message = event.number, event.message
                if message is not None:
                    await send_callback(EventMessage(message, str(event.number)))
                if event.is_last:
                    return None
        return None

    def forget(self, event_id: str) -> None:
        """Forgets an event by its id."""
        event = self._events.get(int(event_id))
        if event is not None:
            self.drop(event)

    def drop(self, event: _Event) -> None:
        """Forgets an event."""
        self._events.pop(event.number, None)
        self._stores.release(event)

    def close(self) -> None:
        """Forgets all events, and ends what is being sent: the client has gone."""
        self._is_closed = True
        while self._events:
            self.drop(next(iter(self._events.values())))
        self._news.notify_all()


# The store of the client whose first request is being answered.
opening_events: ContextVar[SessionEvents | None] = ContextVar("events of a client that connects", default=None)


def _chars(message: Any) -> int:
    """Returns about how many characters a message takes: those of its content, twice if it is structured as well."""
    result = getattr(message, "result", None)
    if not isinstance(result, dict):
        params = getattr(message, "params", None)
        return sum(len(str(value)) for value in params.values()) if isinstance(params, dict) else 0
    content = result.get("content")
    size = 0
    for block in content if isinstance(content, list) else ():
        inner = block.get("resource", block)
        size += sum(len(value) for value in inner.values() if isinstance(value, str))
    return 2 * size if "structuredContent" in result else size
