"""Streams as server-sent events, or as JSON lines."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from grpc_tool_bridge.aio.turns import Turns
from grpc_tool_bridge.gateway.errors import error_response
from grpc_tool_bridge.gateway.outbox import Outbox

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

# A stream whose first event takes longer begins without it, so that its reader knows that it is open.
OPEN_SECONDS = 0.5
# A reader that has gone without a word is noticed when something is written.
KEEP_ALIVE_SECONDS = 15.0

_HEADERS = (
    (b"cache-control", b"no-store"),
    # Else a proxy may hold back what is small.
    (b"x-accel-buffering", b"no"),
)
# In ASCII: many readers of lines would end one at U+2028 too, and at others.
_encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class Event(NamedTuple):
    """One event.

    Attributes:
        name: "data", "progress", "log", "complete", "error" …
        data: What JSON has a form for.
        id: Where to go on after it; empty: nowhere.
    """

    name: str
    data: Any
    id: str = ""


def wants_lines(request: Request) -> bool:
    """Returns whether the reader asks for JSON lines."""
    return NDJSON in request.headers.get("accept", "")


class EventStream:
    """A response that goes on: each event as it comes, at the pace of its reader.

    An error before the first event is an ordinary response. A reader that disconnects, or does not read for too long,
    ends the stream. Events that follow each other at once are sent in one part.

    Args:
        events: What is sent; closed at the end.
        lines: Whether as JSON lines.
    """

    def __init__(
        self,
        events: AsyncGenerator[Event, None],
        *,
        lines: bool,
    ) -> None:
        self._events = events
        self._encode = _line if lines else _sse
        self._keep_alive = b"" if lines else b":\n\n"
        self._type = NDJSON if lines else f"{SSE}; charset=utf-8"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves it, as an ASGI application."""
        outbox = Outbox(self._keep_alive, opens_after=OPEN_SECONDS, again_after=KEEP_ALIVE_SECONDS)
        reading = asyncio.ensure_future(self._read(outbox))
        leaving = asyncio.ensure_future(client_left(receive))
        reading.add_done_callback(outbox.close)
        leaving.add_done_callback(outbox.close)
        try:
            if await outbox.wait():
                await send({"type": "http.response.start", "status": 200, "headers": self._headers()})
                while await outbox.wait() and not leaving.done():
                    await send({"type": "http.response.body", "body": outbox.take(), "more_body": True})
                if not leaving.done():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            elif not leaving.done() and (error := reading.exception()) is not None:
                await error_response(error)(scope, receive, send)
        finally:
            for task in (reading, leaving):
                task.cancel()
            await asyncio.wait({reading, leaving})
            with contextlib.suppress(Exception):
                await self._events.aclose()

    async def _read(self, outbox: Outbox) -> None:
        """Reads the events, as fast as they come and their reader takes them."""
        turns = Turns()
        try:
            async for event in self._events:
                outbox.put(self._encode(event))
                if outbox.is_full or turns.due:
                    if not await outbox.taken():
                        # The tool may have gone on although it was cancelled.
                        return
                    turns = Turns()
        except Exception as error:
            if not outbox.is_open:
                raise
            # The status has gone out.
            outbox.put(self._encode(Event("error", json.loads(bytes(error_response(error).body))["error"])))

    def _headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"content-type", self._type.encode()), *_HEADERS]


async def client_left(receive: Receive) -> None:
    """Waits until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _sse(event: Event) -> bytes:
    number = f"id: {event.id}\n" if event.id else ""
    return f"event: {event.name}\n{number}data: {_encoder.encode(event.data)}\n\n".encode()


def _line(event: Event) -> bytes:
    return f"{_encoder.encode({event.name: event.data})}\n".encode()
