"""One connection to an MCP server over gRPC: from its start to its loss.

The service cannot tell that its tools have changed, so they are looked at again and again. Nor can it tell of progress
or log lines.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx2
from mcp_types import Tool as McpTool

from grpc_tool_bridge.adapters.mcp.bounds import Bounds, too_large_text
from grpc_tool_bridge.adapters.mcp.config import ServerConfig
from grpc_tool_bridge.adapters.mcp.grpc_failures import call_failure, list_failure
from grpc_tool_bridge.adapters.mcp.grpc_messages import request_of, result_of, tool_of
from grpc_tool_bridge.adapters.mcp.http import Refusals
from grpc_tool_bridge.adapters.mcp.results import Shape, read_value
from grpc_tool_bridge.adapters.mcp.stdio import ProcessConnection
from grpc_tool_bridge.aio.tasks import TaskSet
from grpc_tool_bridge.errors import ExternalToolError, MessageTooLargeError, ProtocolError
from grpc_tool_bridge.rpc.nodes import check_message
from grpc_tool_bridge.tools.context import ToolContext
from grpc_tool_bridge.transport.addresses import join_address
from grpc_tool_bridge.transport.channel import MESSAGE_HEADROOM, Connection
from grpc_tool_bridge.transport.status import RpcError
from grpc_tool_bridge.values.mcp_messages import (
    CALL_TOOL,
    LIST_TOOLS,
    TOOL_KEY,
    VERSION_KEY,
    VERSIONS,
    messages,
    path_of,
)

T = TypeVar("T")

# Seconds between two looks at the list of tools; longer if the server says that a list stays good for longer.
LOOK_SECONDS = 30.0
_MOST_LOOK_SECONDS = 600.0
# Smaller answers are read in the event loop.
_SMALL_BYTES = 64 * 1024
# What of a name may stand in metadata as it is.
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


class GrpcConnection:
    """An open connection.

    Args:
        config: The server.
        bounds: Its limits.

    Attributes:
        changed: Set when the tools of the server may have changed.
        lost: Set when the connection is lost.
        process: None: the server is no process of this one.
        refusals: None of HTTP.
    """

    def __init__(self, config: ServerConfig, bounds: Bounds) -> None:
        self._config = config
        self._bounds = bounds
        self._headers = tuple((key.lower(), value) for key, value in config.headers.items())
        self._version = VERSIONS[-1]
        self._look_seconds = LOOK_SECONDS
        self._tasks = TaskSet()
        self._why = ""
        self._list: Any = None
        self._call: Any = None
        self.process: ProcessConnection | None = None
        self.changed = asyncio.Event()
        self.lost = asyncio.Event()
        self.refusals = Refusals()

    @asynccontextmanager
    async def opened(self, auth: httpx2.Auth | None) -> AsyncGenerator[Self, None]:
        """Opens a channel, and closes it at the end."""
        del auth
        parts = urlsplit(self._config.url)
        uses_tls = parts.scheme.lower() == "grpcs"
        # As over HTTPS.
        authorities = os.environ.get("SSL_CERT_FILE", "") if uses_tls else ""
        way = Connection(
            address=join_address(parts.hostname or "", parts.port or 0),
            tls=uses_tls,
            tls_ca=Path(authorities) if authorities else None,
            # gRPC's own limit is then that of the bounds.
            max_message_bytes=max(1, self._bounds.message_bytes // MESSAGE_HEADROOM),
        )
        channel = way.open()
        try:
            # Bytes in, bytes out: what an answer costs is checked before it is read.
            self._list = channel.unary_unary(path_of(LIST_TOOLS))
            self._call = channel.unary_unary(path_of(CALL_TOOL))
            self._tasks.spawn(self._watch(channel), "watch an MCP server over gRPC")
            self._tasks.spawn(self._look(), "tools of an MCP server over gRPC")
            yield self
        finally:
            await self._tasks.aclose()
            await channel.close()

    async def why(self) -> str:
        """Says why the connection was lost."""
        return self._why or "the connection was lost"

    async def _watch(self, channel: Any) -> None:
        """Notices that the server is gone, and that it is back before anyone has called."""
        was_ready = False
        while True:
            state = channel.get_state(try_to_connect=True)
            if was_ready and state.name in ("TRANSIENT_FAILURE", "SHUTDOWN"):
                self._why = "the connection was lost"
                self.lost.set()
                return
            if state.name == "READY":
                if was_ready:
                    # It was away in between, and may be another one now.
                    self.changed.set()
                was_ready = True
            await channel.wait_for_state_change(state)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_seconds)
            self.changed.set()

    # ---------------------------------------------------------------------------------------------- what it does

    async def list_tools(self) -> list[McpTool]:
        """Lists the tools of the server.

        Raises:
            UnreachableError: It does not answer.
            UnavailableError: It refuses to.
            ProtocolError: There are too many tools, or they cannot be read.
        """
        data = await self._listed()
        name, bounds = self._config.name, self._bounds
        if len(data) > bounds.list_bytes:
            raise ProtocolError(f"MCP server {name}: its list of tools has over {bounds.list_bytes:,} bytes, the limit")
        response = await _parsed(messages.ListToolsResponse, data, bounds, f"MCP server {name}: its list of tools")
        if len(response.tools) > bounds.tools:
            raise ProtocolError(f"MCP server {name}: it lists over {bounds.tools:,} tools, which is the limit")
        self._look_seconds = min(max(LOOK_SECONDS, response.ttl.seconds), _MOST_LOOK_SECONDS)
        return await _read(len(data), lambda: [tool_of(tool) for tool in response.tools])

    async def _listed(self) -> bytes:
        for is_last in (False, True):
            try:
                data: bytes = await self._list(
                    b"", timeout=self._bounds.request_seconds, metadata=(*self._headers, (VERSION_KEY, self._version))
                )
            except RpcError as error:
                other = _version_in(error)
                if is_last or other is None or other == self._version:
                    raise list_failure(error) from None
                self._version = other
            else:
                return data
        raise AssertionError("the last try returns or raises")

    async def call(self, shape: Shape, arguments: dict[str, Any], context: ToolContext) -> Any:
        """Calls a tool and returns its result as a value.

        Raises:
            ValidationError: An argument has no exact form over gRPC.
            ExternalToolError: The call has failed, or the server is gone.
        """
        data = request_of(shape.tool, arguments)
        limit = self._bounds.message_bytes
        if len(data) > limit:
            error = MessageTooLargeError.of("the request", len(data), limit)
            raise shape.error("MessageTooLarge", error.message)
        named = (TOOL_KEY, quote(shape.tool, safe=_PLAIN))
        try:
            answer: bytes = await self._call(
                data, timeout=context.time_left(), metadata=(*self._headers, (VERSION_KEY, self._version), named)
            )
        except RpcError as error:
            failure = call_failure(error, shape, await self.why() if self.lost.is_set() else "")
            if failure.error_type == "ToolNotFound":
                # The list is an old one.
                self.changed.set()
            raise failure from None
        return await self._value(answer, shape)

    async def _value(self, answer: bytes, shape: Shape) -> Any:
        if len(answer) > self._bounds.message_bytes:
            raise shape.error("MessageTooLarge", too_large_text(len(answer), self._bounds.message_bytes))
        try:
            response = await _parsed(messages.CallToolResponse, answer, self._bounds, "its answer")
            result = await _read(len(answer), lambda: result_of(response, shape))
        except ExternalToolError:
            raise
        except ProtocolError as error:
            raise shape.error("ProtocolError", error.message) from None
        return await read_value(result, shape)


async def _parsed(kind: Any, data: bytes, bounds: Bounds, what: str) -> Any:
    """Parses a message; raises ProtocolError if it cannot be read, or has too many parts."""

    def parse() -> Any:
        try:
            check_message(data, kind, what, bounds.containers)
        except MessageTooLargeError:
            raise ProtocolError(f"{what} has over {bounds.containers:,} parts, the limit") from None
        return kind.FromString(data)

    return await _read(len(data), parse, what)


async def _read(size: int, read: Callable[[], T], what: str = "what it says") -> T:
    """Reads something, in a thread if it is large.

    Raises:
        ProtocolError: It cannot be read.
    """
    try:
        return read() if size <= _SMALL_BYTES else await asyncio.to_thread(read)
    except (ProtocolError, ExternalToolError):
        raise
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError, and all that a wrong message may lead to
        text = " ".join(str(error).split())[:300]
        raise ProtocolError(f"{what} is not valid: {text}") from None


def _version_in(error: Any) -> str | None:
    """Returns the version of MCP that a server names which refuses another; None: it names none that is known."""
    for metadata in (error.initial_metadata(), error.trailing_metadata()):
        for key, value in metadata or ():
            if key == VERSION_KEY and value in VERSIONS:
                return str(value)
    return None
