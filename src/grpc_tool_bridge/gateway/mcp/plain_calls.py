"""Plain calls: requests that call a tool and have nothing unusual in them, which the gateway answers without the SDK.

The SDK reads a request several times over, and starts tasks and streams that nearly no call needs; that takes most of
the time of a call. There are three short ways: of the latest protocol over HTTP (``direct``), of a session of the
handshake protocol (``session_calls``), and over stdio (``direct_lines``). Each reads a call once, and leaves what is in
the least unusual, or wrong, to the SDK. What they share is here.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import anyio
from mcp.server.connection import Connection
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.transport_context import TransportContext
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    CallToolRequestParams,
    ClientCapabilities,
    InitializeRequestParams,
    RequestId,
    methods,
)
from mcp_types.version import LATEST_MODERN_VERSION
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json
from starlette.requests import Request

from grpc_tool_bridge.gateway.mcp.results import is_small
from grpc_tool_bridge.gateway.mcp.sessions import Context
from grpc_tool_bridge.values.offload import in_reader

METHOD = "tools/call"
# What a request of the latest protocol says of its client, and nothing else.
META = frozenset({PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY})

_FIELDS = frozenset({"jsonrpc", "id", "method", "params"})
_PARAMS = frozenset({"name", "arguments", "_meta"})
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class PlainCall:
    """A call as it was read.

    Attributes:
        request_id: The id of the request.
        params: What is called.
        meta: What the request says of itself; None: nothing.
    """

    request_id: RequestId
    params: CallToolRequestParams
    meta: dict[str, Any] | None


def read_call(body: bytes) -> PlainCall | None:
    """Reads a request; None: it is not a plain call."""
    try:
        item = _read_json(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(item, dict) or not item.keys() <= _FIELDS:
        return None
    request_id, params = item.get("id"), item.get("params")
    if item.get("jsonrpc") != "2.0" or item.get("method") != METHOD or not isinstance(params, dict):
        return None
    if not isinstance(request_id, int | str) or isinstance(request_id, bool) or not params.keys() <= _PARAMS:
        return None
    name, arguments, meta = params.get("name"), params.get("arguments"), params.get("_meta")
    if not isinstance(name, str) or not isinstance(arguments, dict | None) or not isinstance(meta, dict | None):
        return None
    if meta is None and "_meta" in params:
        return None
    return PlainCall(request_id, CallToolRequestParams.model_construct(name=name, arguments=arguments), meta)


def _read_json(data: bytes) -> Any:
    """Reads JSON that is nothing unusual.

    Raises:
        ValueError: It is not valid, or not in UTF-8, or may have half of a character.
        RecursionError: It has too many levels.
    """
    if _SURROGATE.search(data):
        raise ValueError("there are surrogates")
    # Of bytes, the library would take UTF-16, too.
    return json.loads(data.decode())


# ------------------------------------------------------------------------------------------------------- its context


class Outbound(Protocol):
    """How a client is told and asked something besides its answer."""

    async def send_raw_request(self, method: str, params: Any, opts: Any = None) -> dict[str, Any]:
        """Sends a request, and returns the answer to it."""
        ...

    async def notify(self, method: str, params: Any, opts: Any = None) -> None:
        """Sends a notification."""


class _Nobody:
    """A channel to a client that cannot be told anything besides its answer."""

    async def send_raw_request(self, method: str, params: Any, opts: Any = None) -> dict[str, Any]:
        del params, opts
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Any, opts: Any = None) -> None:
        """Drops it: the request did not ask for any."""


NOBODY = _Nobody()
Transport = Literal["jsonrpc", "streamable-http"]


@dataclass
class _Exchange:
    """What the SDK needs to know of a request that it has not read; a ``DispatchContext``."""

    request_id: RequestId
    outbound: Outbound
    kind: Transport
    message_metadata: None = None
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)

    @property
    def can_send_request(self) -> bool:
        return self.outbound is not NOBODY

    @property
    def transport(self) -> TransportContext:
        return TransportContext(kind=self.kind, can_send_request=self.can_send_request)

    async def send_raw_request(self, method: str, params: Any, opts: Any = None) -> dict[str, Any]:
        return await self.outbound.send_raw_request(method, params, opts)

    async def notify(self, method: str, params: Any, opts: Any = None) -> None:
        await self.outbound.notify(method, params, opts)

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Drops it: the request did not ask for any."""


def context_of(
    call: PlainCall, connection: Connection, outbound: Outbound, kind: Transport, request: Request | None = None
) -> Context:
    """Returns the context of a call for its handler.

    Args:
        call: The call.
        connection: Of its client.
        outbound: How the client is told something while the call runs.
        kind: What carries the messages, in the SDK's words.
        request: Over HTTP, the request.
    """
    return ServerRequestContext(
        session=ServerSession(_Exchange(call.request_id, outbound, kind), connection),
        lifespan_context={},
        protocol_version=connection.protocol_version,
        method=METHOD,
        request_id=call.request_id,
        meta=call.meta,  # type: ignore[arg-type]  # its keys are checked, but are not those of a class
        request=request,
    )


def connection_for(client: InitializeRequestParams | None, capabilities: ClientCapabilities | None) -> Connection:
    """Returns the connection of a request of the latest protocol, of which each has its own."""
    connection = Connection(NOBODY, protocol_version=LATEST_MODERN_VERSION, client_params=client)
    connection.client_capabilities = capabilities
    connection.initialized.set()
    return connection


# -------------------------------------------------------------------------------------------------------- its answer


def complete(result: Any, version: str, server_info: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a result of a handler as a client of a protocol version gets it.

    Results of the latest protocol say which server gave them; those before do not know ``resultType``.
    """
    if isinstance(result, BaseModel):
        # Such as a question: not written by this package.
        dumped = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        result = methods.serialize_server_result(METHOD, version, dumped)
    if version == LATEST_MODERN_VERSION:
        return {**result, "_meta": {SERVER_INFO_META_KEY: server_info, **result.get("_meta", {})}}
    return {key: value for key, value in result.items() if key != "resultType"}


async def written(message: Mapping[str, Any]) -> bytes:
    """Writes a message; a large one in a thread."""
    return write(message) if is_small(message) else await in_reader(lambda: write(message))


def write(message: Mapping[str, Any]) -> bytes:
    """Writes a message as JSON, on one line."""
    try:
        return to_json(message, inf_nan_mode="null")
    except PydanticSerializationError:
        # Half a character, which UTF-8 does not have.
        whole = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
        return whole.encode("utf-8", "replace")
