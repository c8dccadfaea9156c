"""Talks to an MCP server at an address, over streamable HTTP."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from grpc_tool_bridge.adapters.mcp.bounds import Bounds, too_large_text
from grpc_tool_bridge.adapters.mcp.config import ServerConfig

# Seconds to connect and to send; an answer may take as long as its call.
_CONNECT_SECONDS = 10.0
_SEND_SECONDS = 30.0
_EVENTS = "text/event-stream"


class TooLargeError(httpx2.StreamError):
    """The body of a response is over the limit."""


class _BoundedStream(httpx2.AsyncByteStream):
    """The body of a response; what reads it never gets more than the limit."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > self._limit:
                raise TooLargeError(too_large_text(size, self._limit, at_least=True))
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _bound(response: httpx2.Response, limit: int) -> None:
    """Bounds a response as it is sent, and as it is decoded: a compressed one may become a thousand times as large."""
    response.stream = _BoundedStream(response.stream, limit)
    decoded = response.aiter_bytes

    async def bounded(chunk_size: int | None = None) -> AsyncGenerator[bytes]:
        async for part in _BoundedStream(decoded(chunk_size), limit):
            yield part

    response.aiter_bytes = bounded  # type: ignore[method-assign]


class Refusals:
    """Remembers with which status a server refused requests, since the client's errors do not say it.

    Attributes:
        status: The last such status; 0: there was none.
    """

    def __init__(self) -> None:
        self.status = 0

    def note(self, response: httpx2.Response) -> None:
        """Takes note of a response."""
        if response.status_code >= httpx2.codes.BAD_REQUEST:
            self.status = response.status_code


@asynccontextmanager
async def open_http(
    config: ServerConfig, bounds: Bounds, refusals: Refusals, auth: httpx2.Auth | None
) -> AsyncGenerator[tuple[Any, Any], None]:
    """Opens a connection to a server, which is not contacted yet.

    Yields:
        Its streams of messages, to read and to write.
    """
    headers: Mapping[str, str] = config.headers
    timeout = httpx2.Timeout(_CONNECT_SECONDS, read=None, write=_SEND_SECONDS)

    async def on_response(response: httpx2.Response) -> None:
        refusals.note(response)
        # The events of a stream are bounded one by one.
        if not response.headers.get("content-type", "").lower().startswith(_EVENTS):
            _bound(response, bounds.message_bytes)

    client = httpx2.AsyncClient(
        headers=dict(headers), auth=auth, timeout=timeout, event_hooks={"response": [on_response]}
    )
    streams = streamable_http_client(config.url, http_client=client, max_sse_event_size=bounds.message_bytes)
    async with client, streams as (read, write):
        yield read, write
