"""The short way of plain calls over stdio: one line in, one line out, by the handler of all calls.

The SDK reads a call several times over, and hands it through four queues and two tasks; that takes most of the time of
a call. Here it is read once. The SDK decides what a client is: only a call whose client has made one before by the SDK,
and says the same of itself, is answered here. What is in the least unusual, or wrong, is left to the SDK.
"""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.runner import modern_error_data
from mcp.server.session import ServerSession
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import handler_exception_to_error_data
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    CONNECTION_CLOSED,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    CallToolRequestParams,
    ErrorData,
    RequestId,
    methods,
)
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION
from pydantic import BaseModel
from pydantic_core import to_json

from grpc_tool_bridge.aio.descriptors import DescriptorWriter
from grpc_tool_bridge.aio.eager import EagerTasks
from grpc_tool_bridge.gateway.mcp.direct import read_json
from grpc_tool_bridge.gateway.mcp.results import is_small
from grpc_tool_bridge.gateway.mcp.sessions import Context, connection_of
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers
from grpc_tool_bridge.values.offload import in_reader

METHOD = "tools/call"

# What clients may say of themselves in different ways.
MAX_CLIENTS = 256
# Longer lines are no plain calls: reading them twice would cost more than the short way saves.
MAX_LINE_BYTES = 64 * 1024

_MARK = b'"tools/call"'
_CANCELLED_MARK = b'"notifications/cancelled"'
_CANCELLED = "notifications/cancelled"
_FIELDS = {"jsonrpc", "id", "method", "params"}
_PARAMS = {"name", "arguments", "_meta"}
_META = {PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY}
_VERSIONS = {LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION}

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Call:
    """A call in flight."""

    request_id: RequestId
    params: CallToolRequestParams
    meta: dict[str, Any] | None
    client: Connection
    task: "asyncio.Task[Any] | None" = None
    is_cancelled: bool = False


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
            if is_modern is (meta is not None) and (meta is None or meta.keys() <= _META):
                self._clients[_key(meta)] = connection_of(context)
                if len(self._clients) > MAX_CLIENTS:
                    self._clients.popitem(last=False)

    def _read(self, line: bytes) -> _Call | None:
        """Reads a plain call; None: it is none, or its client is not known."""
        try:
            item = read_json(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(item, dict) or not item.keys() <= _FIELDS or item.get("jsonrpc") != "2.0":
            return None
        params, request_id = item.get("params"), item.get("id")
        if item.get("method") != METHOD or not isinstance(params, dict) or not params.keys() <= _PARAMS:
            return None
        # An id that is text may stand for a number in a cancellation.
        if type(request_id) is not int or request_id in self._calls:
            return None
        name, arguments, meta = params.get("name"), params.get("arguments"), params.get("_meta")
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            return None
        if "_meta" in params and not (isinstance(meta, dict) and meta.keys() <= _META):
            return None
        client = self._clients.get(_key(meta))
        if client is None:
            return None
        return _Call(request_id, CallToolRequestParams.model_construct(name=name, arguments=arguments), meta, client)

    def _start(self, call: _Call) -> None:
        self._calls[call.request_id] = call

        def done(line: bytes | None, error: BaseException | None) -> None:
            self._calls.pop(call.request_id, None)
            if error is not None and not isinstance(error, asyncio.CancelledError):
                _log.error("a call over stdio failed: %r", error)
            elif not call.is_cancelled:
                closed = ErrorData(code=CONNECTION_CLOSED, message="Connection closed")
                self._write(line or _written(_error(call, closed)))

        call.task = self._tasks.start(self._answer(call), done)

    def _write(self, line: bytes) -> None:
        try:
            self._writer.write(line)
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
            content = {"result": self._complete(call, await self._handlers.call_tool(_context(call), call.params))}
        except Exception as error:  # noqa: BLE001 - it is answered as the SDK does
            return _written(_error(call, _error_data(call, error)))
        answer = {"jsonrpc": "2.0", "id": call.request_id, **content}
        return _written(answer) if is_small(content) else await in_reader(lambda: _written(answer))

    def _complete(self, call: _Call, result: Any) -> Mapping[str, Any]:
        """Adds what results of the latest protocol say, or leaves out what those before do not know."""
        version = call.client.protocol_version
        if isinstance(result, BaseModel):
            # Such as a question: not written by this package.
            dumped = result.model_dump(by_alias=True, mode="json", exclude_none=True)
            result = methods.serialize_server_result(METHOD, version, dumped)
        if version == LATEST_MODERN_VERSION:
            return {**result, "_meta": {SERVER_INFO_META_KEY: self._server_info, **result.get("_meta", {})}}
        return {key: value for key, value in result.items() if key != "resultType"}


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


def _context(call: _Call) -> ServerRequestContext[Any, Any]:
    version = call.client.protocol_version
    connection = call.client
    if version == LATEST_MODERN_VERSION:
        # Each request has one of its own.
        connection = Connection(_NOBODY, protocol_version=version, client_params=call.client.client_params)
        connection.client_capabilities = call.client.client_capabilities
        connection.initialized.set()
    return ServerRequestContext(
        session=ServerSession(_Exchange(call.request_id, connection), connection),
        lifespan_context={},
        protocol_version=version,
        method=METHOD,
        request_id=call.request_id,
        meta=call.meta,  # type: ignore[arg-type]
    )


def _error_data(call: _Call, error: Exception) -> ErrorData:
    if call.client.protocol_version == LATEST_MODERN_VERSION:
        return modern_error_data(error)
    data = handler_exception_to_error_data(error)
    if data is None:
        _log.error("the handler of a call over stdio failed", exc_info=error)
        data = ErrorData(code=0, message=str(error))
    return data


def _error(call: _Call, data: ErrorData) -> dict[str, Any]:
    error = data.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"jsonrpc": "2.0", "id": call.request_id, "error": error}


def _written(answer: Any) -> bytes:
    return to_json(answer, inf_nan_mode="null") + b"\n"


class _Nobody:
    """A channel to a client that cannot be told anything besides its answer."""

    async def send_raw_request(self, method: str, params: Any, opts: Any = None) -> dict[str, Any]:
        del params, opts
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Any, opts: Any = None) -> None:
        """Drops it: the request did not ask for any."""


_NOBODY = _Nobody()
_TRANSPORT = TransportContext(kind="jsonrpc", can_send_request=True)
_TRANSPORT_WITHOUT_REQUESTS = TransportContext(kind="jsonrpc", can_send_request=False)


@dataclass
class _Exchange:
    """What the SDK needs to know of the request; a ``DispatchContext``."""

    request_id: RequestId
    connection: Connection
    message_metadata: None = None
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)

    @property
    def can_send_request(self) -> bool:
        return self.connection.outbound is not _NOBODY

    @property
    def transport(self) -> TransportContext:
        return _TRANSPORT if self.can_send_request else _TRANSPORT_WITHOUT_REQUESTS

    async def send_raw_request(self, method: str, params: Any, opts: Any = None) -> dict[str, Any]:
        return await self.connection.outbound.send_raw_request(method, params, opts)

    async def notify(self, method: str, params: Any, opts: Any = None) -> None:
        await self.connection.outbound.notify(method, params, opts)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Drops it: the request did not ask for any."""
