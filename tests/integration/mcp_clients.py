"""Clients of ``/mcp``: the SDK's, and one that writes the requests itself."""

import itertools
import json
import re
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
from mcp.client import Client
from mcp_types import ElicitRequestFormParams, ElicitResult

from grpc_tool_bridge import BridgeServer
from grpc_tool_bridge.llm.mcp_names import ERROR_META, REQUEST_META

OLD, NEW = "2025-11-25", "2026-07-28"
VERSIONS = (OLD, NEW)

META = "io.modelcontextprotocol/"
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
_ids = itertools.count(1)


def mcp_url(server: BridgeServer, query: str = "") -> str:
    """Returns the address of a server for MCP clients."""
    return f"http://{server.http_address}/mcp{query}"


def sdk_client(server: BridgeServer, version: str, query: str = "", **options: Any) -> Client:
    """Returns the SDK's client for a version of the protocol."""
    return Client(mcp_url(server, query), mode=version if version == NEW else "legacy", **options)


def envelope(**more: Any) -> dict[str, Any]:
    """Returns what a request of the new protocol says of itself."""
    client = {"name": "raw", "version": "1"}
    named = {"protocolVersion": NEW, "clientCapabilities": {}, "clientInfo": client, **more}
    return {key if "/" in key or key == "progressToken" else f"{META}{key}": value for key, value in named.items()}


def new_request(method: str, params: Mapping[str, Any] | None = None, **meta: Any) -> tuple[dict[str, str], Any]:
    """Returns headers and body of a request of the new protocol."""
    given = {**(params or {}), "_meta": envelope(**meta)}
    headers = {**ACCEPT, "mcp-protocol-version": NEW, "mcp-method": method}
    if "name" in given:
        headers["mcp-name"] = given["name"]
    return headers, {"jsonrpc": "2.0", "id": next(_ids), "method": method, "params": given}


class RawClient:
    """Writes its requests itself.

    Args:
        server: The server.
        query: Of its address.
    """

    def __init__(self, server: BridgeServer, query: str = "") -> None:
        self.url = mcp_url(server, query)
        self.http = httpx.AsyncClient(timeout=None)
        self.session: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def new(self, method: str, params: Mapping[str, Any] | None = None, **meta: Any) -> httpx.Response:
        """Makes a request of the new protocol."""
        headers, body = new_request(method, params, **meta)
        return await self.http.post(self.url, headers=headers, json=body)

    async def call_new(self, name: str, arguments: Any = None, **meta: Any) -> dict[str, Any]:
        """Calls a tool by the new protocol; returns its result."""
        response = await self.new("tools/call", {"name": name, "arguments": arguments or {}}, **meta)
        return answer_of(response)["result"]  # type: ignore[no-any-return]

    async def connect(self, capabilities: Mapping[str, Any] | None = None, version: str = OLD) -> httpx.Response:
        """Opens a session of the old protocol."""
        params = {
            "protocolVersion": version,
            "capabilities": capabilities or {},
            "clientInfo": {"name": "raw", "version": "1"},
        }
        response = await self.old("initialize", params)
        assert response.status_code == 200, response.text
        self.session = {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": version}
        told = await self.notify("notifications/initialized")
        assert told.status_code == 202
        return response

    async def old(self, method: str, params: Any = None, request_id: Any = None) -> httpx.Response:
        """Makes a request of the old protocol."""
        return await self.http.post(
            self.url, headers={**ACCEPT, **self.session}, json=old_body(method, params, request_id)
        )

    async def notify(self, method: str, params: Any = None) -> httpx.Response:
        """Sends a notification of the old protocol."""
        body = {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}
        return await self.http.post(self.url, headers={**ACCEPT, **self.session}, json=body)

    async def call_old(self, name: str, arguments: Any = None, request_id: Any = None) -> dict[str, Any]:
        """Calls a tool by the old protocol; returns its result."""
        response = await self.old("tools/call", {"name": name, "arguments": arguments or {}}, request_id)
        return answer_of(response)["result"]  # type: ignore[no-any-return]

    @asynccontextmanager
    async def stream(self, method: str = "GET", *, body: Any = None, **headers: str) -> AsyncIterator["Frames"]:
        """Opens a stream of the old protocol."""
        given = {**ACCEPT, **self.session, **{key.replace("_", "-"): value for key, value in headers.items()}}
        async with self.http.stream(method, self.url, headers=given, json=body) as response:
            yield Frames(response)

    async def leave(self) -> httpx.Response:
        """Ends the session of the old protocol."""
        return await self.http.delete(self.url, headers={**ACCEPT, **self.session})


def old_body(method: str, params: Any = None, request_id: Any = None) -> dict[str, Any]:
    """Returns the body of a request of the old protocol."""
    number = next(_ids) if request_id is None else request_id
    return {"jsonrpc": "2.0", "id": number, "method": method, **({} if params is None else {"params": params})}


class Frames:
    """The events of a response, as they come.

    Args:
        response: The response.

    Attributes:
        response: As given.
        last_id: The id of the last event.
        retry: When to connect again, as it said.
        lines: Its lines.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.last_id = ""
        self.retry = ""
        self.lines = response.aiter_lines()

    async def next(self) -> Any:
        """Returns the next message; None for an event without one."""
        fields: dict[str, str] = {}
        async for line in self.lines:
            if line.startswith(":"):
                continue
            if line:
                name, _, text = line.partition(":")
                fields[name] = text.removeprefix(" ")
            elif fields:
                self.last_id = fields.get("id", self.last_id)
                self.retry = fields.get("retry", self.retry)
                return json.loads(fields["data"]) if fields.get("data") else None
        raise EOFError

    async def message(self) -> Any:
        """Returns the next message."""
        while (found := await self.next()) is None:
            pass
        return found


def answer_of(response: httpx.Response) -> dict[str, Any]:
    """Returns the answer in a response, whichever form it has."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        data = [line.removeprefix("data: ") for line in response.text.split("\r\n") if line.startswith("data: {")]
        return json.loads(data[-1])  # type: ignore[no-any-return]
    return response.json()  # type: ignore[no-any-return]


class Person:
    """Answers what a client asks its user.

    Args:
        *answers: In order; an ElicitResult, or the content that is accepted.

    Attributes:
        asked: The questions so far: each with its schema.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, Any]] = []

    async def __call__(self, context: Any, params: Any) -> ElicitResult:
        del context
        assert isinstance(params, ElicitRequestFormParams)
        self.asked.append((params.message, params.requested_schema))
        answer = self._answers.pop(0)
        return answer if isinstance(answer, ElicitResult) else ElicitResult(action="accept", content=answer)


@asynccontextmanager
async def mcp_client(server: BridgeServer, version: str, query: str = "", **options: Any) -> AsyncIterator[Client]:
    """A client of the server's ``/mcp`` that speaks one version of the protocol."""
    url = f"http://{server.http_address}/mcp{query}"
    async with Client(url, mode="legacy" if version == OLD else version, cache=None, **options) as client:
        yield client


@asynccontextmanager
async def without_deprecations() -> AsyncIterator[None]:
    """Lets a client use what later versions of the protocol have no more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def without_id(answer: Any) -> Any:
    """Takes the id that the hub made of a failed call out of an answer: each call has another."""
    result = answer.get("result", {})
    if result.get("isError") and "_meta" in result and ERROR_META in result["_meta"]:
        assert re.fullmatch("[0-9a-f]{32}", result["_meta"].pop(REQUEST_META))
    return answer
