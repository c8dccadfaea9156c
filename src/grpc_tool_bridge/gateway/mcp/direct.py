"""The short way of a plain call of the latest protocol: one request in, one answer out, by the handler of all calls.

Nearly every call is such a one: an object of a few hundred bytes that has nothing unusual in it. The SDK reads it five
times over, and starts two tasks for a stream that nothing is sent on; that takes three quarters of the time of a call.
Here it is read once. What is in the least unusual, or wrong, is left to the SDK, which answers it.
"""

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.runner import modern_error_data
from mcp.server.session import ServerSession
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    CallToolRequestParams,
    ClientCapabilities,
    Implementation,
    InitializeRequestParams,
    RequestId,
    methods,
)
from mcp_types.version import LATEST_MODERN_VERSION
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from grpc_tool_bridge.gateway.hub_calls import HubCalls
from grpc_tool_bridge.gateway.mcp.results import is_small
from grpc_tool_bridge.gateway.mcp.sessions import SessionClients, SessionKey
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers
from grpc_tool_bridge.values.offload import in_reader

METHOD = "tools/call"

# Who calls is read once: a client sends the same with each of its calls.
_MAX_ENVELOPES = 256
_MAX_ENVELOPE_CHARS = 4_096
# The status of the error for a client that has left.
CLIENT_LEFT = 499

_FIELDS = {"jsonrpc", "id", "method", "params"}
_PARAMS = {"name", "arguments", "_meta"}
_META = {PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY}
_HEADERS = {
    b"mcp-protocol-version": LATEST_MODERN_VERSION.encode(),
    b"mcp-method": METHOD.encode(),
}
# Their values are looked at, so they may not come twice.
_SINGLE = frozenset({*_HEADERS, b"mcp-name", b"accept", b"content-type"})
_PARAMETER = b"mcp-param-"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class PlainCall:
    """A call that can be answered here.

    Attributes:
        request_id: Its id.
        params: What is called.
        meta: What the request says of itself.
        client: Who calls, if that is known.
        capabilities: What the client can do.
    """

    request_id: RequestId
    params: CallToolRequestParams
    meta: dict[str, Any]
    client: InitializeRequestParams | None
    capabilities: ClientCapabilities


class DirectCalls:
    """Answers plain calls.

    Args:
        calls: Makes calls that end when their client leaves.
        sessions: The sessions of the bridge.
        handlers: Call the tools.
        server_info: What each result says of the server.
    """

    def __init__(
        self, calls: HubCalls, sessions: SessionClients, handlers: ToolHandlers, server_info: Mapping[str, Any]
    ) -> None:
        self._calls = calls
        self._sessions = sessions
        self._handlers = handlers
        self._server_info = dict(server_info)
        self._envelopes: OrderedDict[str, tuple[InitializeRequestParams | None, ClientCapabilities]] = OrderedDict()

    def read(self, scope: Scope, message: Message, key: SessionKey) -> PlainCall | None:
        """Returns the call in a request whose body begins with a message; None: the SDK answers it."""
        name = _named(scope["headers"])
        session = self._sessions.find(key)
        if name is None or session is None or self._handlers.header_schema(session, name) is not None:
            # Arguments of the tool stand in headers too, or that is not known.
            return None
        found = body_of_call(message)
        if found is None:
            return None
        request_id, params = found
        meta = params.get("_meta")
        if params.get("name") != name or not isinstance(meta, dict) or not meta.keys() <= _META:
            return None
        envelope = self._envelope(meta, name)
        if envelope is None:
            return None
        call = CallToolRequestParams.model_construct(name=name, arguments=params.get("arguments"))
        return PlainCall(request_id, call, meta, *envelope)

    async def answer(self, call: PlainCall, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a call.

        Raises:
            HttpError: The client has gone.
        """
        request = Request(scope, receive)
        context = _context(call, request)
        status = 200
        try:
            result: Any = await self._calls.answer(request, self._handlers.call_tool(context, call.params))
            content = {"result": self._complete(result)}
        except Exception as error:
            if getattr(error, "status", None) == CLIENT_LEFT:
                raise
            data = modern_error_data(error)
            status = ERROR_CODE_HTTP_STATUS.get(data.code, status)
            content = {"error": data.model_dump(mode="json", by_alias=True, exclude_none=True)}
        answer = {"jsonrpc": "2.0", "id": call.request_id, **content}
        body = _written(answer) if is_small(content) else await in_reader(lambda: _written(answer))
        headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _complete(self, result: Any) -> dict[str, Any]:
        """Adds what every result says."""
        if isinstance(result, BaseModel):
            # Such as a question: not written by this package.
            dumped = result.model_dump(by_alias=True, mode="json", exclude_none=True)
            result = methods.serialize_server_result(METHOD, LATEST_MODERN_VERSION, dumped)
        meta = {SERVER_INFO_META_KEY: self._server_info, **result.get("_meta", {})}
        return {**result, "_meta": meta}

    def _envelope(
        self, meta: dict[str, Any], name: str
    ) -> tuple[InitializeRequestParams | None, ClientCapabilities] | None:
        """Returns who calls and what it can do; None: it is not valid."""
        key = repr(meta)
        found = self._envelopes.get(key)
        if found is not None:
            self._envelopes.move_to_end(key)
            return found
        if meta.get(PROTOCOL_VERSION_META_KEY) != LATEST_MODERN_VERSION:
            return None
        try:
            methods.validate_client_request(METHOD, LATEST_MODERN_VERSION, {"name": name, "_meta": meta})
            capabilities = ClientCapabilities.model_validate(meta.get(CLIENT_CAPABILITIES_META_KEY), by_name=False)
            client = None
            if CLIENT_INFO_META_KEY in meta:
                client = InitializeRequestParams(
                    protocol_version=LATEST_MODERN_VERSION,
                    capabilities=capabilities,
                    client_info=Implementation.model_validate(meta[CLIENT_INFO_META_KEY], by_name=False),
                )
        except ValidationError:
            return None
        if len(key) <= _MAX_ENVELOPE_CHARS:
            self._envelopes[key] = client, capabilities
            if len(self._envelopes) > _MAX_ENVELOPES:
                self._envelopes.popitem(last=False)
        return client, capabilities


def _named(headers: Any) -> str | None:
    """Returns the tool that the headers of a request name; None if they are not those of a plain call."""
    found: dict[bytes, bytes] = {}
    for key, value in headers:
        if key in _SINGLE:
            if key in found:
                return None
            found[key] = value
        elif key.startswith(_PARAMETER):
            return None
    accept = found.get(b"accept", b"")
    if b"application/json" not in accept or b"text/event-stream" not in accept:
        return None
    if not is_json(found.get(b"content-type", b"")):
        return None
    if any(found.get(key) != value for key, value in _HEADERS.items()):
        return None
    return found.get(b"mcp-name", b"").decode("latin-1") or None


def is_json(content_type: bytes) -> bool:
    """Returns whether a header says that the body is JSON."""
    return content_type.partition(b";")[0].strip().lower() == b"application/json"


def read_json(data: bytes) -> Any:
    """Reads JSON that is nothing unusual.

    Raises:
        ValueError: It is not valid, or not in UTF-8, or may have half of a character.
        RecursionError: It has too many levels.
    """
    if _SURROGATE.search(data):
        raise ValueError("there are surrogates")
    # Of bytes, the library would take UTF-16, too.
    return json.loads(data.decode())


def body_of_call(message: Message) -> tuple[RequestId, dict[str, Any]] | None:
    """Returns the id and the parameters of a call in the body of a request; None if it is not a plain one."""
    if message["type"] != "http.request" or message.get("more_body"):
        return None
    try:
        body = read_json(message.get("body", b""))
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict) or not body.keys() <= _FIELDS:
        return None
    request_id, params = body.get("id"), body.get("params")
    if body.get("jsonrpc") != "2.0" or body.get("method") != METHOD or not isinstance(params, dict):
        return None
    if not isinstance(request_id, int | str) or isinstance(request_id, bool):
        return None
    arguments = params.get("arguments")
    is_plain = params.keys() <= _PARAMS and (arguments is None or isinstance(arguments, dict))
    return (request_id, params) if is_plain else None


def _context(call: PlainCall, request: Request) -> ServerRequestContext[Any, Any]:
    connection = Connection(_NOBODY, protocol_version=LATEST_MODERN_VERSION, client_params=call.client)
    connection.client_capabilities = call.capabilities
    connection.initialized.set()
    exchange = _Exchange(call.request_id)
    return ServerRequestContext(
        session=ServerSession(exchange, connection),
        lifespan_context={},
        protocol_version=LATEST_MODERN_VERSION,
        method=METHOD,
        request_id=call.request_id,
        meta=call.meta,  # type: ignore[arg-type]
        request=request,
    )


def _written(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()


class _Nobody:
    """A channel to a client that cannot be told anything besides its answer."""

    async def send_raw_request(self, method: str, params: Any, opts: Any = None) -> dict[str, Any]:
        del params, opts
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Any, opts: Any = None) -> None:
        """Drops it: the request did not ask for any."""


_NOBODY = _Nobody()
_TRANSPORT = TransportContext(kind="streamable-http", can_send_request=False)


@dataclass
class _Exchange(_Nobody):
    """What the SDK needs to know of the request; a ``DispatchContext``."""

    request_id: RequestId
    transport: TransportContext = _TRANSPORT
    message_metadata: None = None
    can_send_request: bool = False
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Drops it: the request did not ask for any."""
