"""Streams as server-sent events, or as JSON lines."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from grpc_tool_bridge.gateway.errors import ClientStalledError, error_response

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"

# A stream whose first event takes longer begins without it, so that its reader knows that it is open.
OPEN_SECONDS = 0.5
# A reader that has gone without a word is noticed when something is written.
KEEP_ALIVE_SECONDS = 15.0


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
    ends the stream.

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
        self._headers = {
            "content-type": NDJSON if lines else f"{SSE}; charset=utf-8",
            "cache-control": "no-store",
            # Else a proxy may hold back what is small.
            "x-accel-buffering": "no",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves it, as an ASGI application."""
        writing = asyncio.ensure_future(self._serve(scope, receive, send))
        leaving = asyncio.ensure_future(client_left(receive))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (writing, leaving):
                task.cancel()
            await asyncio.wait({writing, leaving})
            with contextlib.suppress(Exception):
                await self._events.aclose()
        if not writing.cancelled() and writing.exception() is not None:
            raise writing.exception()  # type: ignore[misc]  # it is there

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        reader = _Reader(self._events)
        first: Event | None = None
        try:
            with contextlib.suppress(StopAsyncIteration):
                first = await reader.next(OPEN_SECONDS)
        except asyncio.CancelledError:
            await reader.aclose()
            raise
        except Exception as error:  # noqa: BLE001 - every failure is a response
            await error_response(error)(scope, receive, send)
            return
        headers = [(name.encode(), value.encode("latin-1")) for name, value in self._headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            await self._write(send, self._encode(first) if first is not None else self._keep_alive)
            while True:
                event = await reader.next(KEEP_ALIVE_SECONDS)
                await self._write(send, self._encode(event) if event is not None else self._keep_alive)
        except StopAsyncIteration:
            pass
        except ClientStalledError:
            return
        except Exception as error:  # noqa: BLE001 - the status has gone out: it is told as an event
            body = json.loads(bytes(error_response(error).body))
            await self._write(send, self._encode(Event("error", body["error"])))
        finally:
            await reader.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _write(self, send: Send, data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})


class _Reader:
    """Reads events, with a timeout that does not cancel the pending one."""

    def __init__(self, events: AsyncIterator[Event]) -> None:
        self._events = events
        self._next: asyncio.Task[Event] | None = None

    async def next(self, seconds: float) -> Event | None:
        """Returns the next event; None if it does not come within ``seconds``."""
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._events))
        done, _ = await asyncio.wait({self._next}, timeout=seconds)
        if not done:
            return None
        task, self._next = self._next, None
        return task.result()

    async def aclose(self) -> None:
        """Reads nothing more."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait({self._next})


async def client_left(receive: Receive) -> None:
    """Waits until the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _dumps(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _sse(event: Event) -> bytes:
    number = f"id: {event.id}\n" if event.id else ""
    return f"event: {event.name}\n{number}data: {_dumps(event.data)}\n\n".encode()


def _line(event: Event) -> bytes:
    return f"{_dumps({event.name: event.data})}\n".encode()
