"""The short way of a plain call of the latest protocol over HTTP: one request in, one answer out.

Nearly every call is such a one: an object of a few hundred bytes that has nothing unusual in it. The SDK reads it five
times over, and starts two tasks for a stream that nothing is sent on; that takes three quarters of the time of a call.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcp.server.runner import modern_error_data
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    ClientCapabilities,
    Implementation,
    InitializeRequestParams,
    methods,
)
from mcp_types.version import LATEST_MODERN_VERSION
from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from grpc_tool_bridge.gateway.hub_calls import HubCalls
from grpc_tool_bridge.gateway.mcp.plain_calls import (
    META,
    METHOD,
    NOBODY,
    PlainCall,
    complete,
    connection_for,
    context_of,
    read_call,
    written,
)
from grpc_tool_bridge.gateway.mcp.sessions import SessionClients, SessionKey
from grpc_tool_bridge.gateway.mcp.tools import ToolHandlers

# Who calls is read once: a client sends the same with each of its calls.
_MAX_ENVELOPES = 256
_MAX_ENVELOPE_CHARS = 4_096
# The status of the error for a client that has left.
CLIENT_LEFT = 499

_HEADERS = {
    b"mcp-protocol-version": LATEST_MODERN_VERSION.encode(),
    b"mcp-method": METHOD.encode(),
}
# Their values are looked at, so they may not come twice.
_SINGLE = frozenset({*_HEADERS, b"mcp-name", b"accept", b"content-type"})
_PARAMETER = b"mcp-param-"


@dataclass(frozen=True, slots=True)
class DirectCall:
    """A call that can be answered here.

    Attributes:
        plain: What was read.
        client: Who calls, if that is known.
        capabilities: What the client can do.
    """

    plain: PlainCall
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

    def read(self, scope: Scope, message: Message, key: SessionKey) -> DirectCall | None:
        """Returns the call in a request whose body begins with a message; None: the SDK answers it."""
        name = _named(scope["headers"])
        session = self._sessions.find(key)
        if name is None or session is None or self._handlers.header_schema(session, name) is not None:
            # Arguments of the tool stand in headers too, or that is not known.
            return None
        plain = body_of_call(message)
        if plain is None or plain.params.name != name or plain.meta is None or not plain.meta.keys() <= META:
            return None
        envelope = self._envelope(plain.meta, name)
        return None if envelope is None else DirectCall(plain, *envelope)

    async def answer(self, call: DirectCall, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a call.

        Raises:
            HttpError: The client has gone.
        """
        request, plain = Request(scope, receive), call.plain
        connection = connection_for(call.client, call.capabilities)
        context = context_of(plain, connection, NOBODY, "streamable-http", request)
        status = 200
        content: dict[str, Any]
        try:
            result: Any = await self._calls.answer(request, self._handlers.call_tool(context, plain.params))
            content = {"result": complete(result, LATEST_MODERN_VERSION, self._server_info)}
        except Exception as error:
            if getattr(error, "status", None) == CLIENT_LEFT:
                raise
            data = modern_error_data(error)
            status = ERROR_CODE_HTTP_STATUS.get(data.code, status)
            content = {"error": data.model_dump(mode="json", by_alias=True, exclude_none=True)}
        body = await written({"jsonrpc": "2.0", "id": plain.request_id, **content})
        headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

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


def body_of_call(message: Message) -> PlainCall | None:
    """Reads the call in a request whose body is one message; None: it is not a plain one."""
    if message["type"] != "http.request" or message.get("more_body"):
        return None
    return read_call(message.get("body", b""))
