"""The short way of plain calls over stdio: one line in, one line out.

The SDK decides what a client is: only a call whose client has made one before by the SDK, and says the same of itself,
is answered here.
"""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel.server import Server
from mcp.server.runner import modern_error_data
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data
from mcp_types import CONNECTION_CLOSED, INTERNAL_ERROR, ErrorData, RequestId
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION

from grpc_tool_bridge.aio.descriptors import DescriptorWriter
from grpc_tool_bridge.aio.eager import EagerTasks
from grpc_tool_bridge.gateway.mcp.plain_calls import (
    META,
    METHOD,
    PlainCall,
    complete,
    connection_for,
    context_of,
    read_call,
    write,
    written,
)
from grpc_tool_bridge.gateway.mcp.sdk_internals import connection_of
from grpc_tool_bridge.gateway.mcp.sessions import Context
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers

# What clients may say of themselves in different ways.
MAX_CLIENTS = 256
# Longer lines are no plain calls: reading them twice would cost more than the short way saves.
MAX_LINE_BYTES = 64 * 1024

_MARK = f'"{METHOD}"'.encode()
_CANCELLED_MARK = b'"notifications/cancelled"'
_CANCELLED = "notifications/cancelled"
_VERSIONS = {LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Call:
    """A call in flight."""

    plain: PlainCall
    client: Connection
    task: "asyncio.Task[Any] | None" = None
    is_cancelled: bool = False

    @property
    def request_id(self) -> RequestId:
        return self.plain.request_id

    @property
    def version(self) -> str:
        return self.client.protocol_version


class DirectLines:
    """Answers plain calls.

    Args:
        server: Answers all others.
        handlers: Call the tools.
        writer: Where answers go.
    """

    def __init__(self, server: Server[Any], handlers: ToolHandlers, writer: DescriptorWriter) -> None:
        self._handlers = handlers
        self._writer = writer
        self._server_info = server.server_info_stamp
        self._tasks = EagerTasks()
        self._calls: dict[RequestId, _Call] = {}
        # The connections of clients that the SDK knows, by what they say of themselves; empty: a handshake said it.
        self._clients: OrderedDict[str, Connection] = OrderedDict()
        # Else something else wants to see each request, such as a tracer.
        self._is_used = len(server.middleware) == 1
        if self._is_used:
            server.middleware.append(_Lesson(self._learn))

    def take(self, line: bytes) -> bool:
        """Takes a line; returns whether it is answered here."""
        if not self._clients:
            return False
        if _MARK in line and len(line) <= MAX_LINE_BYTES:
            call = self._read(line)
            if call is not None:
                self._start(call)
                return True
        elif self._calls and _CANCELLED_MARK in line:
            self._cancel(line)
        return False

    async def aclose(self) -> None:
        """Cancels the calls in flight, and answers that the connection was closed."""
        await self._tasks.aclose()

    def _learn(self, context: Context) -> None:
        """Remembers a client whose call the SDK has let pass."""
        if context.method == METHOD and context.protocol_version in _VERSIONS:
            meta = (context.params or {}).get("_meta")
            is_modern = context.protocol_version == LATEST_MODERN_VERSION
            if is_modern is (meta is not None) and (meta is None or meta.keys() <= META):
                self._clients[_key(meta)] = connection_of(context)
                if len(self._clients) > MAX_CLIENTS:
                    self._clients.popitem(last=False)

    def _read(self, line: bytes) -> _Call | None:
        """Reads a plain call; None: it is none, or its client is not known."""
        plain = read_call(line)
        # An id that is text may stand for a number in a cancellation.
        if plain is None or type(plain.request_id) is not int or plain.request_id in self._calls:
            return None
        if plain.meta is not None and not plain.meta.keys() <= META:
            return None
        client = self._clients.get(_key(plain.meta))
        return None if client is None else _Call(plain, client)

    def _start(self, call: _Call) -> None:
        self._calls[call.request_id] = call

        def done(line: bytes | None, error: BaseException | None) -> None:
            self._calls.pop(call.request_id, None)
            data = ErrorData(code=CONNECTION_CLOSED, message="Connection closed")
            if error is not None and not isinstance(error, asyncio.CancelledError):
                _log.error("the answer to a call over stdio could not be written", exc_info=error)
                data = ErrorData(
                    code=INTERNAL_ERROR, message="the answer could not be written; the server's log says why"
                )
            if not call.is_cancelled:
                self._send(write(_error(call, data)) if line is None else line)

        call.task = self._tasks.start(self._answer(call), done)

    def _send(self, line: bytes) -> None:
        try:
            self._writer.write(line + b"\n")
        except OSError as error:
            _log.debug("an answer over stdio was not sent: %s", error)

    def _cancel(self, line: bytes) -> None:
        try:
            item = json.loads(line)
            request_id = item["params"]["requestId"] if item["method"] == _CANCELLED else None
        except (ValueError, RecursionError, LookupError, TypeError):
            return
        if isinstance(request_id, str) and request_id.isdecimal():
            request_id = int(request_id)
        call = self._calls.get(request_id) if type(request_id) is int else None
        if call is not None and call.task is not None:
            call.is_cancelled = True
            call.task.cancel()

    async def _answer(self, call: _Call) -> bytes:
        """Calls the tool; returns the answer."""
        try:
            result = await self._handlers.call_tool(_context(call), call.plain.params)
            content = complete(result, call.version, self._server_info)
        except Exception as error:  # noqa: BLE001 - it is answered as the SDK does
            return write(_error(call, _error_data(call, error)))
        return await written({"jsonrpc": "2.0", "id": call.request_id, "result": content})


class _Lesson:
    """A middleware that looks at requests which the SDK has answered.

    Args:
        learn: Is given each of them.
    """

    def __init__(self, learn: Callable[[Context], None]) -> None:
        self._learn = learn

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        result = await call_next(ctx)
        self._learn(ctx)
        return result


def _key(meta: dict[str, Any] | None) -> str:
    return "" if meta is None else repr(meta)


def _context(call: _Call) -> Context:
    connection = call.client
    if call.version == LATEST_MODERN_VERSION:
        connection = connection_for(call.client.client_params, call.client.client_capabilities)
    return context_of(call.plain, connection, connection.outbound, "jsonrpc")


def _error_data(call: _Call, error: Exception) -> ErrorData:
    if call.version == LATEST_MODERN_VERSION:
        return modern_error_data(error)
    data = handler_exception_to_error_data(error)
    if data is None:
        _log.error("the handler of a call over stdio failed", exc_info=error)
        data = ErrorData(code=0, message=str(error))
    return data


def _error(call: _Call, data: ErrorData) -> dict[str, Any]:
    error = data.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"jsonrpc": "2.0", "id": call.request_id, "error": error}
