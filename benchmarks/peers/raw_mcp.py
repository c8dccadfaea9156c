"""Clients of MCP servers that do as little as they can: the load of the figures about serving MCP.

They write prepared requests and look for the answer in the bytes, so that the server is what is measured. The SDK's own
client takes longer for a call than a server does.
"""

import asyncio
import json
import re
from collections import deque
from typing import Any, Self

from benchmarks.work import WrongAnswerError

LATEST = "2026-07-28"
HANDSHAKE = "2025-11-25"

_CLIENT = {"name": "benchmarks", "version": "1"}
_META = {
    "io.modelcontextprotocol/protocolVersion": LATEST,
    "io.modelcontextprotocol/clientInfo": _CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_INITIALIZE = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": _CLIENT}
_INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}
# Both servers write the sum as the text of the one block.
_TEXT = re.compile(rb'"text": ?"(-?\d+)"')
_ID = re.compile(rb'"id": ?(\d+)')
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
_SESSION = re.compile(rb"\r\nmcp-session-id: ([^\r]+)", re.IGNORECASE)
_CHUNKED = b"\r\ntransfer-encoding: chunked"


def _request(number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def _call(number: int, a: int, b: int, version: str) -> bytes:
    params: dict[str, Any] = {"name": "add", "arguments": {"a": a, "b": b}}
    if version == LATEST:
        params["_meta"] = _META
    return json.dumps(_request(number, "tools/call", params)).encode()


def _sum_in(answer: bytes) -> int:
    found = _TEXT.search(answer)
    if found is None:
        raise WrongAnswerError(f"the answer has no sum: {answer[:500]!r}")
    return int(found[1])


class RawHttpClient:
    """Calls an MCP server over streamable HTTP, over one connection for each concurrent call.

    Args:
        address: ``http://host:port/mcp``.
        version: Of the protocol. A client of the handshake protocol opens a session first.
    """

    def __init__(self, address: str, version: str) -> None:
        place, _, path = address.removeprefix("http://").partition("/")
        self._host, _, port = place.partition(":")
        self._port = int(port)
        self._version = version
        head = (
            f"POST /{path} HTTP/1.1\r\nHost: {place}\r\nContent-Type: application/json\r\n"
            "Accept: application/json, text/event-stream\r\n"
        )
        self._opening = head.encode()
        self._calling = f"{head}MCP-Protocol-Version: {version}\r\n".encode()
        if version == LATEST:
            self._calling += b"Mcp-Method: tools/call\r\nMcp-Name: add\r\n"
        self._number = 0
        self._free: deque[_Connection] = deque()
        self._all: list[_Connection] = []

    async def add(self, a: int, b: int) -> int:
        """Adds two integers by a call."""
        connection = self._free.pop() if self._free else await self._connect()
        # No two requests of a session have the same id.
        self._number += 1
        answer = await connection.ask(self._calling, _call(self._number, a, b, self._version))
        self._free.append(connection)
        return _sum_in(answer)

    async def __aenter__(self) -> Self:
        if self._version != LATEST:
            connection = await self._connect()
            body = json.dumps(_request(0, "initialize", _INITIALIZE)).encode()
            session = _SESSION.search(await connection.ask(self._opening, body))
            if session is None:
                raise WrongAnswerError("the server has opened no session")
            self._calling += b"Mcp-Session-Id: " + session[1] + b"\r\n"
            await connection.ask(self._calling, json.dumps(_INITIALIZED).encode())
            self._free.append(connection)
        return self

    async def __aexit__(self, *exception: object) -> None:
        for connection in self._all:
            connection.close()

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port)
        self._all.append(connection)
        return connection


class _Connection(asyncio.Protocol):
    """One request at a time over one connection that is kept alive."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._answer: asyncio.Future[bytes] | None = None
        self._arrived = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    async def ask(self, head: bytes, body: bytes) -> bytes:
        """Sends a request; returns the answer with its head, as it arrived."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._arrived += data
        if self._answer is not None and not self._answer.done() and self._is_whole():
            self._answer.set_result(self._arrived)
            self._arrived = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def _is_whole(self) -> bool:
        end = self._arrived.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = self._arrived[:end]
        if _CHUNKED in head.lower():
            return self._arrived.endswith(b"\r\n0\r\n\r\n")
        length = _LENGTH.search(head)
        return len(self._arrived) >= end + 4 + (int(length[1]) if length else 0)


class RawStdioClient:
    """Starts an MCP server and calls it over its standard streams.

    Args:
        *command: The program and its arguments.
        version: Of the protocol.
    """

    def __init__(self, *command: str, version: str) -> None:
        self._command = command
        self._version = version
        self._number = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}

    async def add(self, a: int, b: int) -> int:
        """Adds two integers by a call."""
        self._number += 1
        return _sum_in(await self._ask(self._number, _call(self._number, a, b, self._version)))

    async def __aenter__(self) -> Self:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe)
        self._reading = asyncio.create_task(self._read())
        if self._version != LATEST:
            await self._ask(0, json.dumps(_request(0, "initialize", _INITIALIZE)).encode())
            self._send(json.dumps(_INITIALIZED).encode())
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._process.stdin is not None  # it was started with a pipe
        self._process.stdin.close()
        await self._reading
        await self._process.wait()

    async def _ask(self, number: int, message: bytes) -> bytes:
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._send(message)
        return bytes(await answer)

    def _send(self, message: bytes) -> None:
        assert self._process.stdin is not None  # it was started with a pipe
        self._process.stdin.write(message + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None  # it was started with a pipe
        rest = b""
        while data := await self._process.stdout.read(256 * 1024):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                # The last id: that of the message follows what the server says of itself.
                found = _ID.search(line)
                if found is not None:
                    self._waiting.pop(int(found[1])).set_result(line)
        for answer in self._waiting.values():
            answer.set_exception(ConnectionResetError("the server ended"))
