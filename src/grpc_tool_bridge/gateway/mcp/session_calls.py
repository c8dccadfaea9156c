"""The short way of a call within a session of the handshake protocol.

A call that is answered soon, and tells nothing, is answered with JSON. Any other one is answered with a stream of what
is kept of it in the events of its client, so that it can be read on over the next connection. The call itself goes on
until it is done, cancelled, or its session ends, whatever becomes of its connection.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from mcp.server.runner import modern_error_data
from mcp.server.streamable_http import REQUEST_CANCELLED, EventMessage
from mcp.shared.dispatcher import coerce_request_id
from mcp_types import ErrorData, JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCResponse
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, is_version_at_least
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from grpc_tool_bridge.aio.eager import EagerTasks
from grpc_tool_bridge.aio.notifier import Notifier
from grpc_tool_bridge.gateway.events import client_left
from grpc_tool_bridge.gateway.mcp.connections import OpenConnection
from grpc_tool_bridge.gateway.mcp.direct import body_of_call, is_json
from grpc_tool_bridge.gateway.mcp.plain_calls import PlainCall, complete, context_of, written
from grpc_tool_bridge.gateway.mcp.sdk_internals import send_related_request
from grpc_tool_bridge.gateway.mcp.sessions import Context
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers

# A call that takes longer than so many seconds gets a stream, which can be read on over another connection.
SOON_SECONDS = 0.25
# Seconds between the comments that keep a silent stream open.
PING_SECONDS = 15.0
# Frames that wait to be sent, and events that wait to become frames; who tells more waits.
_WAITING_FRAMES = 16
_MOST_BEHIND = 100
# The first version of the protocol whose clients read on where a stream broke.
_RESUMES = "2025-11-25"

_SINGLE = frozenset({b"accept", b"content-type", b"mcp-session-id", b"mcp-protocol-version"})
_STREAM = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


@dataclass(frozen=True, slots=True)
class SessionCall:
    """A call that can be answered here.

    Attributes:
        plain: What was read.
        found: The connection that it belongs to.
    """

    plain: PlainCall
    found: OpenConnection


class SessionCalls:
    """Answers calls within sessions.

    Args:
        handlers: Call the tools.
        retry: When a client whose connection broke connects again, in milliseconds.
    """

    def __init__(self, handlers: ToolHandlers, retry: int) -> None:
        self._handlers = handlers
        self._retry = retry
        self._tasks = EagerTasks()

    def read(self, scope: Scope, message: Message, found: OpenConnection) -> SessionCall | None:
        """Returns the call in a request whose body begins with a message; None: the SDK answers it."""
        if not _is_usual(scope["headers"], found):
            return None
        plain = body_of_call(message)
        # Who wants progress, or says more, gets it from the SDK.
        if plain is None or plain.meta or coerce_request_id(plain.request_id) in found.calls:
            return None
        return SessionCall(plain, found)

    async def answer(self, call: SessionCall, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a call."""
        running = _Running(call)
        first = await call.found.events.store_event(running.stream_id, None)
        work = self._handlers.call_tool(running.context(Request(scope, receive)), call.plain.params)
        task = self._tasks.start(work, running.done)
        if task is not None:
            key = coerce_request_id(call.plain.request_id)
            call.found.calls[key] = task
            task.add_done_callback(partial(_forget, call.found, key))
        if not running.answered.done():
            telling = asyncio.ensure_future(running.told.wait())
            waiting: set[asyncio.Future[Any]] = {running.answered, telling}
            await asyncio.wait(waiting, timeout=SOON_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            telling.cancel()
        if running.answered.done() and not running.told.is_set():
            call.found.events.forget(first)
            await self._send(running, await running.written(), send)
            return
        running.keep()
        await self._stream(running, first, receive, send)

    async def aclose(self) -> None:
        """Ends what still runs."""
        await self._tasks.aclose()

    async def _send(self, running: "_Running", answer: Mapping[str, Any], send: Send) -> None:
        body = await written(answer)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            running.session_header,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _stream(self, running: "_Running", first: str, receive: Receive, send: Send) -> None:
        """Sends what is kept of the call, until its answer was sent or the client has left."""
        frames: asyncio.Queue[bytes | None] = asyncio.Queue(_WAITING_FRAMES)

        async def take(event: EventMessage) -> None:
            await frames.put(await _frame(event))
            running.reader.took()

        async def read() -> None:
            await running.events.replay_events_after(first, take)
            await frames.put(None)

        headers = [*_STREAM, running.session_header]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if is_version_at_least(running.version, _RESUMES):
            primer = f"id: {first}\r\nretry: {self._retry}\r\ndata: \r\n\r\n"
            await send({"type": "http.response.body", "body": primer.encode(), "more_body": True})
        reading, leaving = asyncio.ensure_future(read()), asyncio.ensure_future(client_left(receive))
        try:
            while (frame := await _next(frames, leaving)) is not None:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            running.reader.leave()
            for task in (reading, leaving):
                task.cancel()
            await asyncio.wait({reading, leaving})


async def _next(frames: "asyncio.Queue[bytes | None]", leaving: "asyncio.Future[None]") -> bytes | None:
    """Returns what is sent next, or a comment if nothing comes; None: nothing more, or nobody reads it."""
    getting = asyncio.ensure_future(frames.get())
    try:
        waiting: set[asyncio.Future[Any]] = {getting, leaving}
        await asyncio.wait(waiting, timeout=PING_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if leaving.done():
            return None
        return getting.result() if getting.done() else b": ping\r\n\r\n"
    finally:
        getting.cancel()


class _Reader:
    """Who reads a stream: lets who writes wait while it is far behind."""

    def __init__(self) -> None:
        self._behind = 0
        self._left = False
        self._news = Notifier()

    def took(self) -> None:
        self._behind -= 1
        self._news.notify_all()

    def leave(self) -> None:
        self._left = True
        self._news.notify_all()

    async def told(self) -> None:
        self._behind += 1
        while self._behind > _MOST_BEHIND and not self._left:
            await self._news.wait()


class _Running:
    """A call that runs, and what has come of it; an ``Outbound`` to its client."""

    def __init__(self, call: SessionCall) -> None:
        self.call = call
        self.events = call.found.events
        self.stream_id = str(call.plain.request_id)
        self.version = call.found.connection.protocol_version
        self.session_header = (b"mcp-session-id", (call.found.connection.session_id or "").encode())
        self.told = asyncio.Event()
        self.reader = _Reader()
        self.answered: asyncio.Future[JSONRPCMessage] = asyncio.get_running_loop().create_future()
        self._is_kept = False

    def context(self, request: Request) -> Context:
        """Returns the context of the call for its handler."""
        return context_of(self.call.plain, self.call.found.connection, self, "jsonrpc", request)

    def done(self, result: Any, error: BaseException | None) -> None:
        """Takes what has come of the call."""
        request_id = self.call.plain.request_id
        answer: JSONRPCMessage
        if isinstance(error, Exception):
            answer = JSONRPCError(jsonrpc="2.0", id=request_id, error=modern_error_data(error))
        elif error is not None:
            data = ErrorData(code=REQUEST_CANCELLED, message="Request cancelled")
            answer = JSONRPCError(jsonrpc="2.0", id=request_id, error=data)
        else:
            answer = JSONRPCResponse(jsonrpc="2.0", id=request_id, result=dict(complete(result, self.version, {})))
        if not self.answered.done():
            self.answered.set_result(answer)
        if self._is_kept:
            self.events.keep(self.stream_id, answer)

    def keep(self) -> None:
        """Keeps the answer among the events, now or when it comes."""
        self._is_kept = True
        if self.answered.done():
            self.events.keep(self.stream_id, self.answered.result())

    async def written(self) -> dict[str, Any]:
        """Returns the answer as it is sent."""
        answer = await self.answered
        if isinstance(answer, JSONRPCResponse):
            return {"jsonrpc": "2.0", "id": answer.id, "result": answer.result}
        return answer.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def notify(self, method: str, params: Any, opts: Any = None) -> None:
        """Sends a notification with the call."""
        del opts
        more = {} if params is None else {"params": dict(params)}
        self.events.keep(self.stream_id, JSONRPCNotification(jsonrpc="2.0", method=method, **more))
        self.told.set()
        await self.reader.told()

    async def send_raw_request(self, method: str, params: Any, opts: Any = None) -> dict[str, Any]:
        """Sends a request with the call, and returns the answer to it."""
        self.told.set()
        return await send_related_request(
            self.call.found.connection, method, params, opts, request_id=self.call.plain.request_id
        )


def _is_usual(headers: Any, found: OpenConnection) -> bool:
    single: dict[bytes, bytes] = {}
    for key, value in headers:
        if key in _SINGLE:
            if key in single:
                return False
            single[key] = value
    accept, version = single.get(b"accept", b""), single.get(b"mcp-protocol-version")
    connection = found.connection
    return (
        b"application/json" in accept
        and b"text/event-stream" in accept
        and is_json(single.get(b"content-type", b""))
        and (version is None or version == connection.protocol_version.encode())
        and connection.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS
        and connection.initialize_accepted
    )


async def _frame(event: EventMessage) -> bytes:
    message: Any = event.message
    content = message.model_dump(mode="json", by_alias=True, exclude_unset=True)
    body = await written(content)
    return b"id: " + (event.event_id or "").encode() + b"\r\nevent: message\r\ndata: " + body + b"\r\n\r\n"


def _forget(found: OpenConnection, key: Any, task: "asyncio.Task[Any]") -> None:
    with contextlib.suppress(KeyError):
        if found.calls[key] is task:
            del found.calls[key]
